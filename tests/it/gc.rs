//! `stack gc` removes what nothing uses any more, on the host and the nodes, and nothing else.

use serde_json::Value;

use crate::node_support::{Cluster, OwnNode, Runtime};
use crate::support::{Bed, Project, host_docker};

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  replicas: 0
  selector:
    matchLabels:
      app: app
  template:
    metadata:
      labels:
        app: app
    spec:
      containers:
        - name: app
          image: {{ .Values.image }}
";

/// The tags of the stack's image that go and that stay, each with where it is and who uses it.
fn verdicts(project: &Project, args: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut all = vec!["gc", "--format", "json"];
    all.extend_from_slice(args);
    let run = project.stack(&all).expect_code(0);
    let gc: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(gc["removed"], !args.contains(&"--dry-run"));
    let list = |field: &str| {
        let images = gc[field].as_array().expect("a list").iter();
        let text = |image: &Value, field: &str| image[field].as_str().unwrap_or_default().to_owned();
        images
            .map(|image| format!("{} {} {}", text(image, "place"), text(image, "id"), text(image, "usedBy")))
            .collect()
    };
    (list("remove"), list("keep"))
}

/// The IDs of the stack's images on the host.
fn ids(project: &Project) -> Vec<String> {
    let repository = format!("{}-app", project.name);
    let listed = host_docker(&["images", "--no-trunc", "--format", "{{.ID}}", &repository]);
    let mut ids: Vec<_> = String::from_utf8(listed.stdout).expect("UTF-8").lines().map(str::to_owned).collect();
    ids.dedup();
    ids
}

#[test]
fn gc_removes_what_neither_the_file_nor_a_pod_nor_a_kept_release_uses() {
    let bed = Bed::get();
    let containerd = OwnNode::start(&bed, "x2", Runtime::Containerd);
    let cluster = Cluster::with(&bed, &[&containerd]);
    let mut project = Project::on_the_bed("gc");
    cluster.show(&mut project);
    let toml = format!(
        "[stack]\nname = \"@name@\"\n[cluster]\n{}start = false\nnamespace = \"@name@\"\n[image.app]\ncontext = \"app\"\n[chart.app]\npath = \"chart\"\n[chart.app.set]\nimage = \"${{image.app.ref}}\"\n",
        bed.cluster()
    );
    project.write("stack.toml", &toml);
    project.write("app/Dockerfile", "FROM scratch\nCOPY content /\n");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
    project.write("chart/values.yaml", "image: none\n");
    project.write("chart/templates/app.yaml", DEPLOYMENT);
    let mut built = Vec::new();
    for content in ["one", "two", "three"] {
        project.write("app/content", &format!("{content} of @name@"));
        project.stack(&["apply"]).expect_code(0);
        built.extend(ids(&project).into_iter().filter(|id| !built.contains(id)).collect::<Vec<_>>());
    }
    let [one, two, three] = &built[..] else { panic!("{built:?}") };

    // Every release that can be rolled back to keeps its image.
    let (remove, keep) = verdicts(&project, &["--dry-run"]);
    assert_eq!(remove, Vec::<String>::new());
    let user = |id: &str| keep.iter().find(|line| line.starts_with(&format!("host {id}"))).expect("it stays").clone();
    assert!(user(one).contains("revision 1") && user(two).contains("revision 2"), "{keep:?}");
    assert!(user(three).contains("the stack file, as image app"), "{keep:?}");

    // One that can't be rolled back to does not.
    bed.kubectl(&["-n", &project.name, "delete", "secret", "sh.helm.release.v1.app.v1"]);
    let (remove, _) = verdicts(&project, &["--dry-run"]);
    assert!(remove.iter().all(|line| line.contains(one.as_str())), "{remove:?}");
    let nodes = bed.nodes();
    for place in nodes.iter().map(String::as_str).chain(["host", &containerd.name]) {
        assert!(remove.contains(&format!("{place} {one} ")), "{remove:?}");
    }
    // Nobody to ask: nothing goes.
    project.stack(&["gc"]).expect_code(2).expect_stderr("nobody is there to be asked");
    assert!(ids(&project).contains(one));

    let (removed, _) = verdicts(&project, &["--yes"]);
    assert_eq!(removed, remove);
    assert!(!ids(&project).contains(one) && ids(&project).contains(two) && ids(&project).contains(three));
    let tag = &one["sha256:".len()..][..12];
    assert!(!containerd.ask("ctr -n k8s.io images ls -q").contains(tag));
    for node in &nodes {
        let left = bed.images_on(node, &format!("{}-app", project.name));
        assert!(left.len() == 2 && !left.contains(&format!("{}-app:{tag}", project.name)), "{left:?}");
    }
    assert!(containerd.ask("ctr -n k8s.io images ls -q").contains(&two["sha256:".len()..][..12]));
    project.stack(&["gc"]).expect_code(0).expect_stderr("nothing to remove");
    assert!(project.apply().values().all(|outcome| outcome == "skipped"));
}
