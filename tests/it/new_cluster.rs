//! A cluster that was deleted and made again is a new target: what the old one had counts for nothing, and what stands
//! elsewhere stays as it is.
//!
//! Needs the test bed, and has it for itself: its cluster goes twice.

use std::process::Command;

use crate::small::{self, agree, assert_right, expect_nothing};
use crate::support::{Bed, succeed};

const ALL_OF_THE_CLUSTER: [&str; 4] = ["chart:one", "chart:two", "load:base", "load:top"];

#[test]
fn a_cluster_that_was_deleted_and_made_again_gets_everything_and_nothing_else_is_done() {
    let bed = Bed::get();
    let project = small::project_with(&bed, "anew", "minikube");
    let minikube = |command: &str| succeed(Command::new("minikube").args(["-p", &bed.profile, command]));
    project.apply();
    expect_nothing(&project, "the first apply");

    // Somebody else makes it again.
    minikube("delete");
    minikube("start");
    let (plan, ran) = agree(&project, "another cluster");
    assert_eq!(ran, ALL_OF_THE_CLUSTER);
    for (step, reason) in
        [("load:base", "the cluster is another one than the last time"), ("chart:one", "release one is not installed")]
    {
        assert_eq!((plan[step].0.as_str(), plan[step].1.as_str()), ("run", reason));
    }
    assert_right(&bed, &project, "another cluster");
    expect_nothing(&project, "another cluster");

    // Nobody does but apply.
    minikube("delete");
    let (plan, ran) = agree(&project, "no cluster");
    assert_eq!(ran, ["chart:one", "chart:two", "cluster", "load:base", "load:top"]);
    assert_eq!(plan["cluster"].0, "run");
    assert!(plan["cluster"].1.ends_with("does not exist: apply creates it"), "{plan:?}");
    assert_right(&bed, &project, "no cluster");
    expect_nothing(&project, "no cluster");
}
