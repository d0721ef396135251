//! What `stack destroy` takes away although somebody still has a hand on it.
//!
//! Needs the test bed.

use crate::support::{Bed, Project};

#[test]
fn an_image_goes_from_the_node_although_a_container_of_a_pod_that_is_gone_is_kept() {
    let bed = Bed::get();
    let project = Project::on_the_bed("ended");
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n\
             [cluster]\ndriver = \"minikube\"\nprofile = \"{}\"\n\
             [image.app]\ncontext = \"app\"\n",
            bed.profile
        ),
    );
    project.write("app/Dockerfile", "FROM busybox:stable\nCOPY Dockerfile /@name@\n");
    project.apply();
    let plan = project.plan();
    let image = plan["load:app"].1.split(' ').next().expect("the image's name").to_owned();
    let container = format!("{}-ended", project.name);
    bed.node_docker(&["run", "--network", "none", "--name", &container, &image, "busybox", "true"]);

    let destroyed = project.stack(&["destroy", "--yes", "--images"]);
    bed.node_docker(&["rm", &container]);
    let destroyed = destroyed.expect_code(0);
    assert!(destroyed.stdout.contains("1 tag of"), "{}", destroyed.stdout);
    let left = bed.node_docker(&["image", "ls", "--quiet", "--filter", &format!("reference={}-*", project.name)]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
