//! Which files count for a task, and what of them does.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use crate::support::Project;
use crate::tasks::{NONE, done};

/// Applies until what was found right is remembered, so that what comes next has to be noticed in spite of it.
fn settle(project: &Project) {
    let proven = project.path().join(".stack/proven");
    let start = Instant::now();
    while !proven.exists() {
        assert_eq!(done(project), NONE);
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is ever proven");
    }
    assert_eq!(done(project), NONE);
}

#[test]
fn who_may_execute_a_file_counts() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.gen]\nrun = \"cp gen.sh out.sh && chmod 755 out.sh\"\n\
         inputs = [\"gen.sh\"]\noutputs = [\"out.sh\"]\n",
    );
    project.write("gen.sh", "#!/bin/sh\n");
    let set = |file: &str, mode| fs::set_permissions(project.path().join(file), Permissions::from_mode(mode)).unwrap();
    set("gen.sh", 0o755);
    let gen_task = ["task:gen"];
    assert_eq!(done(&project), gen_task);
    settle(&project);
    set("out.sh", 0o644);
    assert_eq!(project.plan()["task:gen"].1, "its output out.sh can't be executed any more");
    assert_eq!(done(&project), gen_task);
    assert_eq!(done(&project), NONE);
    set("gen.sh", 0o644);
    assert_eq!(project.plan()["task:gen"], ("run".into(), "~ gen.sh".into()));
    assert_eq!(done(&project), gen_task);
    set("gen.sh", 0o600);
    assert_eq!(done(&project), NONE, "who may read it does not");
}

#[test]
fn links_to_folders_and_what_is_behind_them_count() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.gen]\nrun = \"echo ran >> log\"\ninputs = [\"src/**\"]\n",
    );
    for file in ["src/a", "real/f", "other/f"] {
        project.write(file, file);
    }
    let outside = tempfile::tempdir().unwrap();
    let link = |name: &str, target: &str| {
        let _ = fs::remove_file(project.path().join(name));
        symlink(target, project.path().join(name)).unwrap();
    };
    link("src/l", "../real");
    link("src/out", outside.path().to_str().unwrap());
    let gen_task = ["task:gen"];
    assert_eq!(done(&project), gen_task);
    settle(&project);
    let why = project.stack(&["why", "task:gen"]).expect_code(0);
    assert!(why.stdout.contains("src/out is a link to ") && why.stdout.contains("not looked at"), "{}", why.stdout);
    project.write("real/f", "edited");
    assert_eq!(project.plan()["task:gen"].1, "~ src/l/f");
    assert_eq!(done(&project), gen_task, "a file behind a link");
    link("src/l", "../other");
    assert_eq!(done(&project), gen_task, "the link leads elsewhere");
    fs::remove_file(project.path().join("src/l")).unwrap();
    assert_eq!(done(&project), gen_task, "the link is gone");
    link("src/out", "/");
    assert_eq!(done(&project), gen_task, "a link that is not followed leads elsewhere");
    assert_eq!(done(&project), NONE);
}

#[test]
fn patterns_from_the_root_of_everything_are_looked_at_and_exclusions_refused() {
    let project = Project::empty("tasks");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("in.txt"), "one").unwrap();
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\nallow-outside = true\n[task.gen]\nrun = \"true\"\ninputs = [\"{}/*.txt\"]\n",
            outside.path().display()
        ),
    );
    assert_eq!(done(&project), ["task:gen"]);
    fs::write(outside.path().join("in.txt"), "two").unwrap();
    assert_eq!(done(&project), ["task:gen"]);
    assert_eq!(done(&project), NONE);
    project.edit("stack.toml", "inputs = [", "inputs = [\"no/such/*\", ");
    let nothing = "no file matches the input no/such/*";
    assert_eq!(project.stack(&["plan"]).expect_code(0).stdout.matches(nothing).count(), 1);
    let told = project.stack(&["apply", "--format", "json"]).expect_code(0).events();
    let warnings = told.iter().filter(|event| event["event"] == "warning" && event["message"] == nothing);
    assert_eq!(warnings.count(), 1);
    project.edit("stack.toml", "inputs = [", "inputs = [\"!src/gen/**\", ");
    project.stack(&["validate"]).expect_code(2).expect_stderr("`!` does not exclude");
}
