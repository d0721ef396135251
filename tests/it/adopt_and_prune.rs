//! Whose a release is: what this stack did not make is left alone, and what left the file goes.

use std::process::Command;

use crate::chart_support::{file, helm, project, reason, release, use_helm, write_chart};
use crate::support::{Bed, Project, succeed};

/// Deletes a namespace that a test made by hand.
struct Namespace<'a>(&'a Bed, String);

impl Namespace<'_> {
    /// Leaves it to whoever has made it.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["delete", "namespace", &self.1, "--wait=false", "--ignore-not-found"]);
    }
}

fn by_hand<'a>(bed: &'a Bed, project: &Project, major: u64, args: &[&str]) -> Namespace<'a> {
    let mut helm = Command::new(helm(major));
    helm.current_dir(project.path()).args(args).args(["--kube-context", &bed.profile, "--namespace", &project.name]);
    succeed(helm.arg("--create-namespace"));
    Namespace(bed, project.name.clone())
}

#[test]
fn a_release_made_by_hand_is_refused_without_adopt_and_taken_over_with_it() {
    let bed = Bed::get();
    for major in [3, 4] {
        let mut project = project(&bed, "adopt");
        use_helm(&mut project, major);
        let _namespace = by_hand(&bed, &project, major, &["install", "web", "web", "--set", "maps={old}"]);
        let plan = project.stack(&["plan"]).expect_code(2);
        assert!(plan.stderr.contains("adopt = true"), "{}", plan.stderr);
        let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
        assert!(reason(&run, "chart:web").contains("this stack did not install it"), "{}", run.stdout);
        assert_eq!(release(&bed, &project, "web"), Some((1, "deployed".into())), "nothing was done");
        // Nor is it removed by a stack that does not own it.
        project.stack(&["destroy", "--yes"]).expect_code(0);
        assert_eq!(release(&bed, &project, "web"), Some((1, "deployed".into())));

        project.append("stack.toml", "adopt = true\n");
        let (action, why) = &project.plan()["chart:web"];
        assert_eq!(action, "run");
        assert!(why.contains("is taken over"), "{why}");
        project.apply();
        assert_eq!(release(&bed, &project, "web"), Some((2, "deployed".into())), "Helm {major}");
        assert!(!bed.has(&["-n", &project.name, "configmap/web-old"]), "what is not in the chart any more goes");
        assert_eq!(project.plan()["chart:web"].0, "skip");

        // Another release of the same name and number is not the one that was made.
        succeed(Command::new(helm(major)).args([
            "uninstall",
            "web",
            "--kube-context",
            &bed.profile,
            "-n",
            &project.name,
        ]));
        for _ in 0..2 {
            by_hand(&bed, &project, major, &["upgrade", "--install", "web", "web", "--set", "replicas=0"]).keep();
        }
        assert_eq!(release(&bed, &project, "web"), Some((2, "deployed".into())));
        let (action, why) = &project.plan()["chart:web"];
        assert_eq!(action, "run", "Helm {major}");
        assert!(why.contains("installed by hand"), "{why}");
        project.apply();
        assert_eq!(project.plan()["chart:web"].0, "skip");
    }
}

#[test]
fn objects_made_by_hand_are_taken_over_with_adopt() {
    let bed = Bed::get();
    let project = project(&bed, "adoptobj");
    project.append("stack.toml", "set = { maps = [\"one\"] }\n");
    bed.kubectl(&["create", "namespace", &project.name]);
    let _namespace = Namespace(&bed, project.name.clone());
    bed.kubectl(&["-n", &project.name, "create", "configmap", "web-one", "--from-literal=a=by-hand"]);
    let run = project.stack(&["apply"]).expect_code(1);
    assert!(run.stdout.contains("`adopt = true` takes it over"), "{}", run.stdout);
    project.append("stack.toml", "adopt = true\n");
    project.apply();
    let data = bed.kubectl(&["-n", &project.name, "get", "configmap", "web-one", "-o", "jsonpath={.data.a}"]);
    assert_eq!(data, "b");
}

#[test]
fn what_left_the_file_is_shown_and_removed_and_nothing_else() {
    let bed = Bed::get();
    let project = project(&bed, "prune");
    write_chart(&project, "db");
    write_chart(&project, "kept");
    let more = "[chart.db]\npath = \"db\"\nset = { replicas = 0, maps = [\"one\", \"two\"] }\n\
                [chart.kept]\npath = \"kept\"\nprune = false\nset = { replicas = 0 }\n";
    project.append("stack.toml", more);
    project.apply();
    let _kept = by_hand(&bed, &project, 3, &["install", "foreign", "web", "--set", "replicas=0"]);

    // An object within a chart.
    project.edit("stack.toml", "[\"one\", \"two\"]", "[\"one\"]");
    let plan = project.stack(&["plan"]).expect_code(0);
    assert!(plan.stdout.contains("removes ConfigMap db-two"), "{}", plan.stdout);
    project.apply();
    assert!(!bed.has(&["-n", &project.name, "configmap/db-two"]));

    // Whole charts: one goes, one is to stay, and of what is not ours nothing is said at all.
    project.write("stack.toml", &file(&bed, "[chart.web]\npath = \"web\"\n"));
    let plan = project.stack(&["plan", "--exit-code"]).expect_code(5);
    assert!(plan.stdout.contains("chart:db") && plan.stdout.contains("left the stack file"), "{}", plan.stdout);
    assert!(!plan.stdout.contains("chart:kept") && !plan.stdout.contains("foreign"), "{}", plan.stdout);
    // Only a run over everything knows what is left over.
    project.stack(&["apply", "chart:web"]).expect_code(0);
    assert!(release(&bed, &project, "db").is_some());
    let outcomes = project.apply();
    assert_eq!(outcomes.get("chart:db").map(String::as_str), Some("done"), "{outcomes:?}");
    assert_eq!(release(&bed, &project, "db"), None);
    assert!(!bed.has(&["-n", &project.name, "deployment/db"]));
    for stays in ["kept", "foreign", "web"] {
        assert!(release(&bed, &project, stays).is_some(), "{stays} is gone");
    }
    assert!(project.stack(&["plan", "--exit-code"]).expect_code(0).stdout.contains("run:0"));
}

#[test]
fn a_release_that_is_called_otherwise_now_takes_the_place_of_the_old_one() {
    let bed = Bed::get();
    let project = project(&bed, "rename");
    project.append("stack.toml", "set = { replicas = 0 }\n");
    project.apply();
    project.append("stack.toml", "");
    project.edit("stack.toml", "path = \"web\"", "path = \"web\"\nrelease = \"site\"");
    project.apply();
    assert_eq!((release(&bed, &project, "web"), release(&bed, &project, "site")), (None, Some((1, "deployed".into()))));
    // A chart that is called otherwise in the file keeps its release.
    project.edit("stack.toml", "[chart.web]", "[chart.page]");
    project.apply();
    assert!(release(&bed, &project, "site").is_some());
    assert!(project.stack(&["plan", "--exit-code"]).expect_code(0).stdout.contains("run:0"));
}
