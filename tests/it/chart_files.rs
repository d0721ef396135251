//! A chart's key has exactly the files that Helm looks at. The judge is what `helm package` puts into an archive.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use stack::key::files;

use crate::support::succeed;

const FILES: [&str; 18] = [
    "values.yaml",
    "values.schema.json",
    "README.md",
    "templates/a.yaml",
    "templates/.hidden",
    "templates/sub/.deep",
    "docs/a.md",
    "docs/deep/b.txt",
    "a.bak",
    "files/a.bak",
    "files/b.txt",
    "files/[id].txt",
    ".env",
    ".git/config",
    "ci/test-values.yaml",
    "charts/sub/Chart.yaml",
    "charts/sub/templates/x.yaml",
    "charts/sub/a.bak",
];

const IGNORE_FILES: [&str; 14] = [
    "",
    "# a comment\n\n",
    "*.bak",
    "/*.bak",
    "docs/",
    "docs",
    "deep/\n.git\n.env",
    "docs/deep",
    "deep/b.txt",
    "files/*.txt",
    "files/\\[id\\].txt",
    "charts/sub/*.bak\nci/",
    "**/a.bak\nREADME.md",
    ".helmignore",
];

fn chart(ignore: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in FILES {
        let path = folder.path().join("c").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = if file.ends_with(".json") { "{}" } else { "" };
        fs::write(path, content).unwrap();
    }
    for (path, name) in [("c/Chart.yaml", "c"), ("c/charts/sub/Chart.yaml", "sub")] {
        fs::write(folder.path().join(path), format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n")).unwrap();
    }
    fs::write(folder.path().join("c/.helmignore"), ignore).unwrap();
    folder
}

/// Nothing when Helm refuses the chart.
fn helms(helm: &str, folder: &Path) -> Option<BTreeSet<String>> {
    let packed = Command::new(helm).current_dir(folder).args(["package", "c", "-d", "out"]).output().unwrap();
    if !packed.status.success() {
        return None;
    }
    let archive = GzDecoder::new(fs::File::open(folder.join("out/c-0.1.0.tgz")).unwrap());
    let mut files = BTreeSet::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let path = entry.unwrap().path().unwrap().into_owned();
        files.insert(path.strip_prefix("c").unwrap().to_str().unwrap().to_owned());
    }
    Some(files)
}

#[test]
fn a_chart_has_the_files_that_helm_sees() {
    for helm in ["STACK_TESTBED_HELM3", "STACK_TESTBED_HELM4"] {
        let helm = std::env::var(helm).expect("this test needs the test bed: run `make test`");
        succeed(Command::new(&helm).arg("version"));
        let mut judged = 0;
        for ignore in IGNORE_FILES {
            let folder = chart(ignore);
            let ours = files::chart(&folder.path().join("c"), &mut files::Looked::default()).unwrap();
            let ours: BTreeSet<String> = ours.into_iter().map(|file| file.path).collect();
            if let Some(helms) = helms(&helm, folder.path()) {
                assert_eq!(ours, helms, "{ignore:?}");
                judged += 1;
            }
        }
        assert!(judged >= IGNORE_FILES.len() - 2, "{helm} refused too many: {judged} judged");
    }
}

#[test]
fn our_own_charts_are_clean_under_both_majors() {
    for helm in ["STACK_TESTBED_HELM3", "STACK_TESTBED_HELM4"] {
        let helm = std::env::var(helm).expect("this test needs the test bed: run `make test`");
        for chart in ["charts/todo-chatbot", "charts/todo-database"] {
            let chart = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(chart);
            succeed(Command::new(&helm).args(["lint", "--strict"]).arg(chart));
        }
    }
}

/// A values file that Helm reads with other words than it was looked at with, and that is as before when Helm is done.
#[test]
fn a_file_that_helm_saw_otherwise_is_no_proof() {
    use std::os::unix::fs::PermissionsExt;
    let bed = crate::support::Bed::get();
    let mut project = crate::support::Project::on_the_bed("there-and-back");
    project.write("own/Chart.yaml", "apiVersion: v2\nname: own\nversion: 0.1.0\n");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: all}\ndata: {word: {{ .Values.word }}, nothing: '{{ lookup \"v1\" \"Secret\" \"a\" \"b\" | len }}'}\n";
    project.write("own/templates/map.yaml", map);
    project.write("v.yaml", "word: before\n");
    project
        .write("stack.toml", &crate::chart_support::file(&bed, "[chart.own]\npath = \"own\"\nvalues = [\"v.yaml\"]\n"));
    let real = crate::chart_support::helm(3);
    let helm = format!(
        "#!/bin/sh\ncase $1 in upgrade) ;; *) exec {real} \"$@\";; esac\n\
         mv v.yaml kept; echo 'word: meanwhile' > v.yaml; {real} \"$@\"; code=$?; mv kept v.yaml; exit $code\n",
        real = real.display()
    );
    project.write(".swapping/helm", &helm);
    let script = project.path().join(".swapping/helm");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    project.set_env("PATH", format!("{}:{path}", script.parent().unwrap().display()));
    let run = project.stack(&["apply"]).expect_code(0);
    assert!(run.stdout.contains("v.yaml changed while Helm was at it"), "{}", run.stdout);
    let live = || bed.kubectl(&["-n", &project.name, "get", "configmap", "all", "-o", "jsonpath={.data.word}"]);
    assert_eq!(live(), "meanwhile");
    let (action, why) = project.plan()["chart:own"].clone();
    assert_eq!(action, "run");
    assert!(why.contains("changed while Helm read them"), "{why}");
    // What `lookup` finds is nobody's to know.
    let why = project.stack(&["why", "chart:own"]).expect_code(0);
    assert!(why.stdout.contains("own/templates/map.yaml uses `lookup`"), "{}", why.stdout);
    crate::chart_support::use_helm(&mut project, 3);
    project.apply();
    let live = bed.kubectl(&["-n", &project.name, "get", "configmap", "all", "-o", "jsonpath={.data.word}"]);
    assert_eq!(live, "before");
    assert_eq!(project.plan()["chart:own"].0, "skip");
}
