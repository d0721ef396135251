//! `stack destroy` takes images away although an ended container still refers to them.
//!
//! Needs the test bed.

use crate::node_support::{Cluster, OwnNode, Runtime};
use crate::support::{Bed, Project};

#[test]
fn image_goes_from_a_containerd_node_although_an_ended_container_is_kept() {
    let bed = Bed::get();
    let project = one_image(&bed);
    project.apply();
    let plan = project.plan();
    let image = plan["load:app"].1.split(' ').next().expect("the image's name").to_owned();
    let node = bed.nodes().pop().expect("a node");
    let container = format!("{}-ended", project.name);
    bed.on_node(
        &node,
        &format!("ctr -n k8s.io run --null-io docker.io/library/{image} {container} busybox true && ctr -n k8s.io container info {container}"),
    );

    let destroyed = project.stack(&["destroy", "--yes", "--images"]);
    bed.on_node(&node, &format!("ctr -n k8s.io container rm {container}"));
    let destroyed = destroyed.expect_code(0);
    assert!(destroyed.stdout.contains(&format!("{} tags of", bed.nodes().len())), "{}", destroyed.stdout);
    for node in bed.nodes() {
        assert_eq!(bed.images_on(&node, &format!("{}-app", project.name)), Vec::<String>::new());
    }
}

#[test]
fn image_goes_from_a_docker_node_although_an_ended_container_is_kept() {
    let bed = Bed::get();
    let docker = OwnNode::start(&bed, "x1", Runtime::Docker);
    let cluster = Cluster::of(&bed, &[&docker]);
    let mut project = one_image(&bed);
    cluster.show(&mut project);
    project.apply();
    let plan = project.plan();
    let image = plan["load:app"].1.split(' ').next().expect("the image's name").to_owned();
    docker.ask(&format!("docker run --network none --name ended {image} busybox true"));

    project.stack(&["destroy", "--yes", "--images"]).expect_code(0);
    docker.ask("docker rm ended");
    assert_eq!(docker.ask(&format!("docker image ls --quiet --filter 'reference={}-*'", project.name)), "");
}

fn one_image(bed: &Bed) -> Project {
    let project = Project::on_the_bed("ended");
    project.write(
        "stack.toml",
        &format!("[stack]\nname = \"@name@\"\n[cluster]\n{}[image.app]\ncontext = \"app\"\n", bed.cluster()),
    );
    project.write("app/Dockerfile", "FROM busybox:stable\nCOPY Dockerfile /@name@\n");
    project
}
