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
fn links_that_a_task_made_count() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.gen]\nrun = \"\"\"\nrm -rf out; mkdir -p out/v1 out/v2; echo 1 >out/v1/f; echo 1 >out/v2/f
        ln -s v1 out/current; ln -s nowhere out/dangling; ln -s v1/f out/file\"\"\"\noutputs = [\"out/**\"]\n\
         [task.one]\nrun = \"ln -sfn nowhere one\"\noutputs = [\"one\"]\n",
    );
    let link = |name: &str, target: &str| {
        let _ = fs::remove_file(project.path().join(name));
        symlink(target, project.path().join(name)).unwrap();
    };
    assert_eq!(done(&project), ["task:gen", "task:one"]);
    settle(&project);
    let why = || project.plan()["task:gen"].clone();
    assert_eq!(why().1, "its 5 outputs are there, made from these inputs");
    let ways: [(&str, &str, &str); 6] = [
        ("out/current", "v2", "its output out/current is a link to v2 now, not to v1"),
        ("out/current", "", "its output out/current is gone"),
        ("out/dangling", "elsewhere", "its output out/dangling is a link to elsewhere now, not to nowhere"),
        ("out/dangling", "", "its output out/dangling is gone"),
        ("out/file", "v2/f", "its output out/file is a link to v2/f now, not to v1/f"),
        ("out/file", "", "its output out/file is gone"),
    ];
    for (name, target, reason) in ways {
        if target.is_empty() {
            fs::remove_file(project.path().join(name)).unwrap();
        } else {
            link(name, target);
        }
        assert_eq!(why(), ("run".into(), reason.into()));
        assert_eq!(done(&project), ["task:gen"]);
        assert_eq!(done(&project), NONE);
    }
    link("one", "here");
    assert_eq!(done(&project), ["task:one"], "an output that is a link to nothing");
}

#[test]
fn the_program_of_a_task_counts() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.gen]\nrun = [\"../gen.sh\"]\ncwd = \"in\"\n[task.other]\nrun = [\"/bin/true\"]\n",
    );
    let program = |text: &str| {
        project.write("gen.sh", text);
        fs::set_permissions(project.path().join("gen.sh"), Permissions::from_mode(0o755)).unwrap();
    };
    project.write("in/x", "");
    program("#!/bin/sh\n");
    assert_eq!(done(&project), ["task:gen", "task:other"]);
    settle(&project);
    program("#!/bin/sh\n# another\n");
    assert_eq!(project.plan()["task:gen"], ("run".into(), "~ gen.sh".into()));
    assert_eq!(done(&project), ["task:gen"]);
    assert_eq!(done(&project), NONE);
}

#[test]
fn a_space_in_an_output_makes_it_no_other() {
    let project = Project::empty("tasks");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"touch 'x y' x\"\noutputs = [\"x y\"]\n");
    assert_eq!(done(&project), ["task:a"]);
    project.edit("stack.toml", "[\"x y\"]", "[\"x\", \"y\"]");
    assert_eq!(project.plan()["task:a"].0, "run", "nothing has made y");
}

#[test]
fn a_link_to_itself_is_one_that_leads_nowhere() {
    let project = Project::empty("tasks");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.t]\nrun = \"true\"\ninputs = [\"in/**\"]\n");
    project.write("in/a", "");
    symlink("self", project.path().join("in/self")).unwrap();
    assert_eq!(done(&project), ["task:t"]);
    assert_eq!(done(&project), NONE);
    fs::remove_file(project.path().join("in/self")).unwrap();
    assert_eq!(project.plan()["task:t"].1, "- in/self");
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
