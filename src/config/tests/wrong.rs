//! What is said of wrong files, as people see it. Each snapshot is read by a person before it is accepted.

use super::*;
use crate::graph::{Graph, ImageFacts};

const HEAD: &str = "[stack]\nname = \"todo\"\n\n[cluster]\ndriver = \"minikube\"\n\n";

#[track_caller]
fn said_of(text: &str) -> String {
    match load_text(text) {
        Err(errors) => render(&errors),
        Ok(stack) => match Graph::build(&stack, &ImageFacts::default()) {
            Err(errors) => render(&errors),
            Ok(_) => panic!("nothing is said of\n{text}"),
        },
    }
}

/// Snapshots what is said of a file that begins rightly.
macro_rules! said {
    ($name:ident, $text:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(said_of(&format!("{HEAD}{}", $text)));
        }
    };
}

said!(
    unknown_keys,
    "[image.api]\ncontxt = \"api\"\ndocker-file = \"Dockerfile\"\ncolour = \"red\"\n\n[imag.web]\ncontext = \"web\"\n"
);

said!(
    wrong_types,
    "[image.api]\ncontext = 7\nargs = [\"A=1\"]\nplatform = [\"linux/amd64\"]\nneeds = \"task.gen\"\nretries = \"3\"\n\
     timeout = 90\n\n[chart.api]\npath = \"c\"\nadopt = \"yes\"\nvalues = \"values.yaml\"\nset = { a = 2020-01-01 }\n"
);

said!(
    missing_keys,
    "[image.api]\n\n[chart.api]\nrelease = \"api\"\n\n[ready.api]\ntcp = { service = \"api\" }\n\n[task.t]\ncache = false\n"
);

said!(
    bad_words_and_numbers,
    "[image.api]\ncontext = \"api\"\nload = \"layer\"\ntimeout = \"five minutes\"\n\n[ready.api]\n\
     http = { service = \"api\", port = 80000 }\n\n[limits]\njobs = 0\n\n[cache]\nregistry = \"host:5000/todo\"\nmode = \"readonly\"\n"
);

said!(
    bad_names,
    "[image.Back_End]\ncontext = \"a\"\n\n[chart.-x]\npath = \"c\"\nrelease = \"Todo App\"\n\n[task.\"\"]\nrun = \"true\"\n"
);

said!(
    registries_that_are_none,
    "registry = \"localhost:5000/team:v1\"\n\n[cache]\nregistry = \"https://registry.example/todo\"\n"
);

#[test]
fn text_in_another_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.toml");
    let said = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        render(&load(&path, &LoadOptions::new(&|_| None)).unwrap_err())
            .replace(&path.display().to_string(), "stack.toml")
    };
    insta::assert_snapshot!(said(b"[stack]\nname = \"caf\xe9\"\n"));
    assert!(said(b"\xff\xfe[\0s\0").contains("it looks like UTF-16"));
}

said!(
    references_to_nothing,
    "[vars]\nreplicas = 1\n\n[image.backend]\ncontext = \"a\"\n\n[chart.todo]\npath = \"c\"\n[chart.todo.set]\n\
     tag = \"${image.bakend.tag}\"\nfield = \"${image.backend.tga}\"\nvar = \"${var.replica}\"\nenv = \"${env.UNSET}\"\n\
     short = \"${backend.tag}\"\nroot = \"${imge.backend.tag}\"\nshell = \"${HOME}\"\nopen = \"a ${var.replicas b\"\n\
     cluster = \"${cluster.nam}\"\nlong = \"${image.backend}\"\n"
);

said!(
    needs_of_nothing,
    "[chart.todo]\npath = \"c\"\nneeds = [\"chart.tood\", \"backend\", \"image:backend\", \"tsk.gen\", \"task.backend\", \"what\"]\n\n\
     [image.backed]\ncontext = \"a\"\n"
);

said!(
    a_cycle_is_the_path_that_closes_it,
    "[image.app]\ncontext = \"a\"\nneeds = [\"task.seed\"]\n\n[chart.app]\npath = \"c\"\nset = { tag = \"${image.app.tag}\" }\n\n\
     [ready.app]\nworkload = \"deployment/app\"\nneeds = [\"chart.app\"]\n\n[task.seed]\nrun = \"seed\"\nneeds = [\"ready.app\"]\n"
);

said!(a_step_that_needs_itself, "[task.again]\nrun = \"echo ${task.again.stdout}\"\n");

said!(
    two_of_one_name,
    "[image.app]\ncontext = \"a\"\n\n[chart.app]\npath = \"c\"\n\n[image.app]\ncontext = \"b\"\ncontext = \"c\"\n"
);

said!(
    two_that_are_the_same,
    "[chart.a]\npath = \"a\"\nrelease = \"app\"\n\n[chart.b]\npath = \"b\"\nrelease = \"app\"\n\n\
     [image.a]\ncontext = \"a\"\nrepository = \"app\"\n\n[image.b]\ncontext = \"b\"\nrepository = \"app\"\n"
);

said!(
    paths_that_leave_the_folder,
    "[image.app]\ncontext = \"../app\"\nsecrets = [{ id = \"ca\", src = \"/etc/ssl/cert.pem\" }]\n\n\
     [chart.app]\npath = \"/charts/app\"\nvalues = [\"a/../../b.yaml\"]\n\n[task.t]\nrun = \"true\"\ninputs = [\"../**\"]\n"
);

said!(
    what_excludes_each_other,
    "[chart.a]\npath = \"a\"\nchart = \"oci://host/a\"\n\n[ready.b]\njob = \"b\"\nservice = \"b\"\n\n\
     [image.c]\ncontext = \"c\"\nsecrets = [{ id = \"s\", src = \"s\", env = \"S\" }]\n"
);

said!(
    what_cannot_be_known_when_the_file_is_read,
    "[vars]\nkey = { default = \"k\", secret = true }\ntag = \"${image.app.tag}\"\n\n[image.app]\ncontext = \"${image.app.id}\"\n\
     repository = \"${var.key}\"\n\n[chart.app]\npath = \"c\"\nworkloads = \"${chart.app.revision}\"\n"
);

said!(
    secrets_among_the_arguments_of_commands,
    "[vars]\nkey = { default = \"k\", secret = true }\n\n[chart.c]\npath = \"c\"\npost-render = [\"sed\", \"${var.key}\"]\n\n\
     [ready.r]\nrun = [\"curl\", \"-H\", \"x: ${var.key}\"]\n\n[task.t]\nrun = \"login ${var.key}\"\nenv = { KEY = \"${var.key}\" }\n"
);

said!(
    secrets_that_would_stay_in_an_image,
    "[vars]\nkey = { default = \"k\", secret = true }\n\n[image.i]\ncontext = \"i\"\nargs = { STAMP = 1, TOK = \"x-${var.key}\" }\n\
     labels = { by = \"${var.key}\" }\nsecrets = [{ id = \"tok\", value = \"${var.key}\" }]\n"
);

said!(
    pools_and_loads_that_are_not_there,
    "[limits.pools]\ndatabase = 1\n\n[image.base]\ncontext = \"b\"\nload = \"none\"\n\n\
     [task.t]\nrun = \"true\"\npool = \"databse\"\nneeds = [\"load.base\"]\n\n[chart.c]\nchart = \"oci://host/c\"\n"
);

#[test]
fn no_cluster() {
    insta::assert_snapshot!(said_of(
        "[stack]\nname = \"todo\"\n\n[chart.a]\npath = \"a\"\nset = { ip = \"${cluster.ip}\" }\n"
    ));
}

#[test]
fn a_context_without_its_name() {
    insta::assert_snapshot!(said_of("[stack]\nname = \"todo\"\n\n[cluster]\ndriver = \"context\"\n"));
}

#[test]
fn what_kind_and_k3d_have_not() {
    let of = |driver: &str, rest: &str| {
        said_of(&format!("[stack]\nname = \"todo\"\n\n[cluster]\ndriver = \"{driver}\"\n{rest}"))
    };
    let minikubes = "node-driver = \"docker\"\ncontainer-runtime = \"docker\"\ncpus = 2\nmemory = \"4g\"\ndisk = \"20g\"\naddons = [\"ingress\"]\n";
    insta::assert_snapshot!("kind_is_not_minikube", of("kind", minikubes));
    insta::assert_snapshot!("k3d_is_not_minikube", of("k3d", "profile = \"my_cluster\"\nmemory = \"4g\"\n"));
    insta::assert_snapshot!(
        "kind_with_two_answers",
        of(
            "kind",
            "nodes = 2\nprofile = \"Todo\"\nstart-args = [\"--config=k.yaml\"]\n\n[image.api]\ncontext = \"api\"\nload = \"direct\"\n"
        )
    );
    let long = "a-name-that-is-far-too-long-for-k3d";
    let text = format!("[stack]\nname = \"{long}\"\n\n[cluster]\ndriver = \"k3d\"\n");
    insta::assert_snapshot!("k3d_with_a_long_name", said_of(&text));
}

#[test]
fn the_wrong_version() {
    insta::assert_snapshot!(said_of(
        "[stack]\nname = \"todo\"\nrequires = \">=99\"\n[profile.a.stack]\nrequires = \"new\"\n"
    ));
}

#[test]
fn variables_without_a_value() {
    insta::assert_snapshot!(said_of(
        "[stack]\nname = \"todo\"\n\n[vars]\na = { env = \"UNSET\" }\nb = { secret = true }\nc = \"${var.d}\"\nd = \"${var.a}\"\n\n\
         [task.t]\nrun = \"${var.a} ${var.d}\"\n"
    ));
}

#[test]
fn profiles() {
    let text = "[stack]\nname = \"todo\"\n\n[profile.ci]\ncluster = { drivr = \"context\" }\n\n[profile.ci.profile.x]\n\n[profile.dev.vars]\na = 1\n";
    insta::assert_snapshot!("profiles_not_chosen", said_of(text));
    let options = LoadOptions { profiles: vec!["ci".to_owned(), "dve".to_owned()], ..LoadOptions::new(&no_env) };
    insta::assert_snapshot!("profiles_chosen", render(&load_with(text, &options).unwrap_err()));
}

said!(
    commands_that_run_nothing,
    "[task.a]\nrun = []\n\n[task.b]\nrun = [\"\"]\n\n[task.c]\nrun = \"\"\n\n[task.d]\nrun = \" \"\n\n[ready.e]\nrun = []\n"
);

said!(
    no_time_and_no_names,
    "[task.a]\nrun = \"true\"\ntimeout = \"0s\"\nenv = { \"\" = \"x\", \"A=B\" = \"y\", C = \"z\" }\n\n[limits]\ndeadline = \"0s\"\n"
);

said!(
    things_without_a_name,
    "[task]\nrun = \"x\"\n[task.ok]\nrun = \"true\"\n\n[image]\ncontext = \".\"\n\n[chart]\npath = \"c\"\n\n[ready]\nx = 1\ntcp = 1\n"
);

said!(
    what_the_system_takes_from_nobody,
    "[vars]\nn = \"a\\u0000b\"\n\n[task.a]\nrun = [\"echo\", \"a\\u0000b\"]\nenv = { N = \"${var.n}\", M = \"m\" }\n\n\
     [task.b]\nrun = \"echo ${task.a.stdout} \\u0000\"\n"
);

said!(
    patterns_that_are_mistakes,
    "[task.a]\nrun = \"true\"\ninputs = [\"\", \"~/x\", \"./.stack/lock\", \".stackable\", \".\"]\n\
     outputs = [\".\", \"todo-stack.toml\", \"./stack.toml\", \".stack/x\"]\n"
);

said!(
    an_output_in_the_output_of_another_task,
    "[task.a]\nrun = \"true\"\noutputs = [\"out\", \"out/b\", \"outer/x\"]\n\n[task.b]\nrun = \"true\"\noutputs = [\"out/x/y\"]\n"
);

said!(
    one_output_of_two_tasks,
    "[task.a]\nrun = \"true\"\noutputs = [\"gen/a\", \"gen/*\"]\n\n[task.b]\nrun = \"true\"\noutputs = [\"gen/*\", \"./gen//a\"]\n"
);

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(said_of(""));
}

#[test]
fn not_toml() {
    insta::assert_snapshot!(said_of("[stack\nname = \"todo\"\n\n[image.app]\ncontext = app\nargs = { A = 1\n"));
}

#[test]
fn a_place_is_found_behind_escapes_and_in_long_strings() {
    insta::assert_snapshot!(said_of(&format!(
        "{HEAD}[task.a]\nrun = \"\"\"\necho \\\"x\\\"\necho ${{var.x}} ${{var.x}}\n\"\"\"\n\n[task.b]\nrun = '''echo ${{var.y}}'''\n"
    )));
}

#[test]
fn many_errors_are_cut_off() {
    let tasks: String = (0..200).map(|n| format!("[task.t{n}]\nrn = \"x\"\n")).collect();
    let errors = load_text(&format!("{HEAD}{tasks}")).unwrap_err();
    assert_eq!(errors.errors().len(), 200);
    let said = render(&errors);
    assert!(said.contains("has 200 errors, of which these are the first 50"), "{said}");
    assert_eq!(said.matches("has no key `rn`").count(), 50);
}

/// Thousands of errors are found in no time: nothing is compared with everything.
#[test]
fn thousands_of_errors_are_no_burden() {
    let tasks: String = (0..2_000)
        .map(|n| format!("[task.t{n}]\nrun = \"${{task.x{n}.stdout}} ${{var.a{n}}}\"\nneeds = [\"task.y{n}\"]\n"))
        .collect();
    let errors = load_text(&format!("{HEAD}{tasks}")).unwrap_err();
    assert_eq!(errors.errors().len(), 6_000);
}
