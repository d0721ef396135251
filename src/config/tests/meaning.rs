//! What a right file means.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::json;

use super::*;
use crate::graph::{Graph, ImageFacts};

const HEAD: &str = "[stack]\nname = \"todo\"\n";

fn with_head(text: &str) -> StackFile {
    right(&format!("{HEAD}{text}"))
}

/// The values of chart `a`, of which nothing is to be known from a run.
fn values(file: &str) -> serde_json::Value {
    let stack = with_head(&format!("[cluster]\ndriver = \"kind\"\n{file}"));
    Value::Map(stack.charts["a"].set.clone()).resolve(&NoOutputs).unwrap().redacted()
}

#[test]
fn the_example_of_the_contract_is_read() {
    let stack = right(EXAMPLE);
    let cluster = stack.cluster.as_ref().unwrap();
    assert_eq!((cluster.driver.value, cluster.memory, cluster.cpus), (Driver::Minikube, Some(4 << 30), Some(2)));
    assert_eq!(stack.images["backend"].dockerfile.absolute, Path::new("/home/dev/dockerfiles/backend.Dockerfile"));
    assert_eq!(stack.charts["todo"].namespace, "todo");
    assert_eq!(stack.ready["api"].options.timeout, Some(Duration::from_secs(120)));
    let graph = Graph::build(&stack, &ImageFacts::default()).unwrap();
    let order: Vec<_> = graph.order().iter().map(|step| graph.id(*step).to_string()).collect();
    assert_eq!(order, ["cluster", "build:backend", "load:backend", "chart:todo", "ready:api", "task:migrate"]);
}

#[test]
fn references_are_put_in_and_keep_their_type_when_they_are_the_whole_string() {
    let values = values(
        r#"
[vars]
n = 3
x = 1.5
yes = true
text = "t"
made = "${var.text}-${stack.name}"
[chart.a]
path = "a"
[chart.a.set]
whole = "${var.n}"
float = "${ var.x }"
flag = "${var.yes}"
within = "n=${var.n} x=${var.x} ${var.yes}"
literal = "$${var.n} and $$${var.n} cost $5"
made = "${var.made}"
nested = { list = ["${var.text}", 1, true], "a.b" = "${cluster.name}/${cluster.context}/${cluster.namespace}" }
empty = ""
"#,
    );
    assert_eq!(
        values,
        json!({
            "whole": 3, "float": 1.5, "flag": true, "within": "n=3 x=1.5 true",
            "literal": "${var.n} and $${var.n} cost $5", "made": "t-todo",
            "nested": { "list": ["t", 1, true], "a.b": "todo/kind-todo/default" }, "empty": "",
        })
    );
}

#[test]
fn numbers_take_the_place_of_text_where_text_is_asked_for() {
    let stack = with_head("[vars]\nversion = 7\n[image.a]\ncontext = \"a\"\ntarget = \"${var.version}\"\n");
    assert_eq!(stack.images["a"].target.as_deref(), Some("7"));
}

#[test]
fn numbers_and_booleans_may_come_from_variables() {
    let stack = with_head(
        "[vars]\nport = 80\nstart = false\ntime = \"3m\"\n[cluster]\ndriver = \"kind\"\nstart = \"${var.start}\"\n\
         [ready.a]\nhttp = { service = \"a\", port = \"${var.port}\" }\ntimeout = \"${var.time}\"\n",
    );
    assert!(!stack.cluster.unwrap().start);
    assert_eq!(stack.ready["a"].options.timeout, Some(Duration::from_secs(180)));
    let Check::Http(HttpCheck { target: HttpTarget::Service { port, .. }, .. }) = &stack.ready["a"].check else {
        panic!("not an HTTP check");
    };
    assert_eq!(*port, 80);
}

#[test]
fn variables_come_from_the_command_line_then_the_environment_then_their_default() {
    let text = format!(
        "{HEAD}[vars]\nn = {{ env = \"N\", default = 1 }}\n[image.a]\ncontext = \"a\"\nargs = {{ n = \"${{var.n}}\" }}\n"
    );
    let n = |vars: &[(&str, &str)], env: EnvLookup<'_>| {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let stack =
            load_with(&text, &LoadOptions { vars, ..LoadOptions::new(env) }).map_err(|errors| render(&errors))?;
        Ok::<_, String>(stack.images["a"].args["n"].resolve(&NoOutputs).unwrap().exposed())
    };
    let env = |name: &str| (name == "N").then(|| "2".to_owned());
    assert_eq!(n(&[], &no_env).unwrap(), json!(1));
    assert_eq!(n(&[], &env).unwrap(), json!(2));
    assert_eq!(n(&[("n", "3"), ("n", "4")], &env).unwrap(), json!(4));
    assert!(n(&[("n", "four")], &env).unwrap_err().contains("the command line gives it another type"));
    assert!(n(&[("nn", "1")], &env).unwrap_err().contains("did you mean `n`?"));
}

#[test]
fn secrets_stay_secret_wherever_they_are_put_in() {
    let text = format!(
        "{HEAD}[vars]\nkey = {{ env = \"KEY\", secret = true }}\nurl = \"http://${{var.key}}@host\"\n\
         [task.a]\nrun = \"login\"\nenv = {{ KEY = \"${{var.key}}\", URL = \"${{var.url}}\" }}\n"
    );
    let env = |name: &str| (name == "KEY").then(|| "hunter2".to_owned());
    let stack = load_with(&text, &LoadOptions::new(&env)).unwrap();
    let url = stack.tasks["a"].env["URL"].resolve(&NoOutputs).unwrap();
    assert!(url.is_secret());
    assert_eq!(url.exposed_text().expose_secret(), "http://hunter2@host");
    assert!(!format!("{stack:?} {url:?}").contains("hunter2"));
}

#[test]
fn commands_that_only_look_do_not_ask_for_variables() {
    let text =
        format!("{HEAD}[vars]\nkey = {{ env = \"KEY\" }}\n[task.a]\nrun = \"echo ${{var.key}} ${{env.UNSET}}\"\n");
    assert_eq!(load_text(&text).unwrap_err().errors().len(), 2);
    assert!(load_with(&text, &LoadOptions { lenient: true, ..LoadOptions::new(&no_env) }).is_ok());
}

#[test]
fn profiles_are_merged_deeply_and_the_last_one_wins() {
    let text = format!(
        "{HEAD}[vars]\na = 1\nb = 1\n[cluster]\ndriver = \"minikube\"\nprofile = \"p\"\ncpus = 2\n[image.x]\ncontext = \"x\"\nargs = {{ A = \"${{var.a}}\", B = \"${{var.b}}\" }}\n\
         [profile.one]\nvars = {{ a = 2, b = 2 }}\ncluster = {{ driver = \"context\", context = \"ci\" }}\n\
         [profile.two.vars]\nb = 3\n[profile.two.image.y]\ncontext = \"y\"\n[profile.three.vars]\nx = {{ env = \"ONLY_IN_CI\" }}\n"
    );
    let args = |profiles: &[&str]| {
        let profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
        let stack = load_with(&text, &LoadOptions { profiles, ..LoadOptions::new(&no_env) }).unwrap();
        let args = Value::Map(stack.images["x"].args.clone()).resolve(&NoOutputs).unwrap().exposed();
        (args, stack)
    };
    let (none, stack) = args(&[]);
    assert_eq!(none, json!({ "A": 1, "B": 1 }));
    assert_eq!(stack.images.len(), 1);
    let (both, stack) = args(&["one", "two"]);
    assert_eq!(both, json!({ "A": 2, "B": 3 }));
    assert_eq!(stack.images.len(), 2);
    let cluster = stack.cluster.unwrap();
    assert_eq!((cluster.driver.value, cluster.context.as_str(), cluster.cpus), (Driver::Context, "ci", Some(2)));
    assert_eq!(args(&["two", "one"]).0, json!({ "A": 2, "B": 2 }));
}

/// A profile can name another driver, and take nothing away.
#[test]
fn what_is_left_over_from_another_driver_is_no_mistake() {
    let text = format!(
        "{HEAD}[cluster]\ndriver = \"minikube\"\ncpus = 2\naddons = [\"ingress\"]\nnodes = 2\n\
         [profile.kind.cluster]\ndriver = \"kind\"\n[profile.more.cluster]\ncpus = 4\n"
    );
    let with = |profiles: &[&str]| {
        let profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
        load_with(&text, &LoadOptions { profiles, ..LoadOptions::new(&no_env) })
    };
    let cluster = with(&["kind"]).unwrap().cluster.unwrap();
    assert_eq!((cluster.driver.value, cluster.nodes), (Driver::Kind, 2));
    assert!(with(&["more", "kind"]).is_ok(), "what stands below the driver is left over, wherever it stands");
    let errors = with(&["kind", "more"]).unwrap_err();
    assert_eq!(errors.errors().len(), 1);
    assert!(errors.errors()[0].message().contains("`cpus`"), "{errors}");
}

#[test]
fn clusters_have_their_contexts_by_the_rule_of_their_driver() {
    for (cluster, name, context) in [
        ("driver = \"minikube\"", "todo", "todo"),
        ("driver = \"minikube\"\nprofile = \"p\"", "p", "p"),
        ("driver = \"kind\"", "todo", "kind-todo"),
        ("driver = \"k3d\"\nprofile = \"p\"", "p", "k3d-p"),
        ("driver = \"context\"\ncontext = \"c\"\nprofile = \"left over\"", "c", "c"),
    ] {
        let stack = with_head(&format!("[cluster]\n{cluster}\n"));
        let cluster = stack.cluster.unwrap();
        assert_eq!((cluster.name.as_str(), cluster.context.as_str()), (name, context));
    }
}

#[test]
fn without_a_cluster_images_are_built_and_not_loaded() {
    let stack = with_head("[image.a]\ncontext = \"a\"\n[task.t]\nrun = \"true\"\nneeds = [\"image.a\"]\n");
    assert_eq!(stack.images["a"].load, LoadMode::None);
    assert_eq!(stack.images["a"].repository.value, "todo-a");
    let graph = Graph::build(&stack, &ImageFacts::default()).unwrap();
    assert_eq!(graph.len(), 2);
}

#[test]
fn paths_are_relative_to_the_file() {
    let stack = with_head("[image.a]\ncontext = \"x/../a/./b/\"\nsecrets = [{ id = \"s\", src = \"/etc/x\" }]\n");
    assert_eq!(stack.images["a"].context.absolute, Path::new("/home/dev/a/b"));
    assert_eq!(stack.images["a"].dockerfile.absolute, Path::new("/home/dev/a/b/Dockerfile"));
}

#[test]
fn files_that_are_there_are_found_and_links_do_not_lead_outside() {
    let outside = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("app/backend")).unwrap();
    std::fs::write(root.join("app/backend/Dockerfile"), "FROM scratch\n").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.join("app/away")).unwrap();
    let load_context = |context: &str| {
        let path = root.join("stack.toml");
        std::fs::write(
            &path,
            format!("{HEAD}[image.a]\ncontext = \"{context}\"\ndockerfile = \"app/backend/Dockerfile\"\n"),
        )
        .unwrap();
        load(&path, &LoadOptions::new(&no_env)).map(|_| ()).map_err(|errors| render(&errors))
    };
    assert_eq!(load_context("app/backend"), Ok(()));
    assert!(load_context("app/backned").unwrap_err().contains("did you mean `app/backend`?"));
    assert!(load_context("ap/backend").unwrap_err().contains("did you mean `app/backend`?"));
    assert!(load_context("app/backend/Dockerfile").unwrap_err().contains("a folder is needed"));
    assert!(load_context("app/away").unwrap_err().contains("a link on the way leads outside"));
}

/// Seen with `[profile.ci.cluster] profile = …`: the key of the cluster was taken for profiles within a profile.
#[test]
fn a_profile_may_name_another_minikube_profile() {
    with_head("[cluster]\ndriver = \"minikube\"\n[profile.ci.cluster]\nprofile = \"ci\"\n");
}
