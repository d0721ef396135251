//! `stack` asks the API server for nothing that it warns of, which most often is a kind that is going to be removed.
//!
//! Needs the test bed.

use crate::support::{Bed, Project};

const OBJECTS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      initContainers: [{name: beside, restartPolicy: Always, image: '{{ .Values.image }}', command: [busybox, sleep, '3600']}]
      containers:
      - name: web
        image: '{{ .Values.image }}'
        command: [busybox, httpd, -f, -p, '8080', -h, /]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: set}
spec:
  serviceName: set
  selector: {matchLabels: {app: set}}
  template:
    metadata: {labels: {app: set}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: set, image: '{{ .Values.image }}', command: [busybox, sleep, '3600']}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: job, image: '{{ .Values.image }}', command: [busybox, 'true']}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {a: '{{ .Values.a }}'}
";

#[test]
fn a_kind_that_another_version_of_its_group_serves_is_named_with_it() {
    let bed = Bed::get();
    let driver = std::env::var("STACK_TESTBED_DRIVER").unwrap_or_else(|_| "minikube".to_owned());
    let project = Project::on_the_bed("served");
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n[cluster]\ndriver = \"{driver}\"\nprofile = \"{}\"\nnamespace = \"@name@\"\n\
             [chart.old]\npath = \"chart\"\n",
            bed.profile
        ),
    );
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: old\nversion: 0.1.0\n");
    let budget =
        "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: old}\nspec: {minAvailable: 1}\n";
    project.write("chart/templates/budget.yaml", budget);
    let run = project.stack(&["apply"]).expect_code(1);
    let said = run.stdout + &run.stderr;
    assert!(said.contains("the kind is there as policy/v1") && !said.contains("CustomResourceDefinition"), "{said}");
}

#[test]
fn stack_causes_no_warning_of_the_api_server() {
    let bed = Bed::get();
    let driver = std::env::var("STACK_TESTBED_DRIVER").unwrap_or_else(|_| "minikube".to_owned());
    let mut project = Project::on_the_bed("warn");
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n\
             [cluster]\ndriver = \"{driver}\"\nprofile = \"{}\"\nnamespace = \"@name@\"\n\
             [image.web]\ncontext = \"web\"\n\
             [chart.web]\npath = \"chart\"\nset = {{ image = \"${{image.web.ref}}\", a = \"one\" }}\n\
             [ready.web]\nhttp = {{ service = \"web\", port = 80, path = \"/page\" }}\nneeds = [\"chart.web\"]\n",
            bed.profile
        ),
    );
    project.write("web/Dockerfile", "FROM busybox:stable\nCOPY page /\n");
    project.write("web/page", "@name@\n");
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.1.0\n");
    project.write("chart/values.yaml", "image: none\na: none\n");
    project.write("chart/templates/all.yaml", OBJECTS);
    project.set_env("STACK_LOG", "stack::api_warning=warn");
    let quiet = |args: &[&str]| {
        let run = project.stack(args).expect_code(0);
        assert!(!run.stderr.contains("the API server warns"), "stack {}:\n{}", args.join(" "), run.stderr);
    };
    quiet(&["apply"]);
    quiet(&["plan", "--diff"]);
    quiet(&["apply"]);
    quiet(&["status"]);
    quiet(&["logs", "web"]);
    project.edit("stack.toml", "a = \"one\"", "a = \"two\"");
    quiet(&["diff"]);
    quiet(&["apply"]);
    quiet(&["gc"]);
    quiet(&["destroy", "--yes"]);
}
