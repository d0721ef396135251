//! Secrets of tasks: they reach the command by its environment, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;

use crate::support::Project;
use crate::tasks::{NONE, done, finished, lines};

#[test]
fn secrets_reach_the_command_and_nothing_else() {
    let mut project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[vars]\ntoken = { env = \"TOKEN\", secret = true }\n[task.a]\n\
         run = \"echo token is $TOKEN; test $TOKEN = hunter2-secret\"\nenv = { TOKEN = \"${var.token}\" }\n",
    );
    project.set_env("TOKEN", "hunter2-secret");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
    assert!(!run.stdout.contains("hunter2"), "{}", run.stdout);
    assert!(run.stdout.contains("token is "));
    assert_eq!(done(&project), NONE);
    project.set_env("TOKEN", "hunter3-secret");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    assert_eq!(finished(&run, "task:a")["outcome"], "failed", "another secret, so it runs");
    assert_no_secret_is_kept(&project);
}

/// Fails the test if a secret of these tests is in a file of `.stack/`.
fn assert_no_secret_is_kept(project: &Project) {
    for entry in fs::read_dir(project.path().join(".stack")).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains("hunter"), "{}", path.display());
    }
}

#[test]
fn what_a_command_prints_is_not_kept_when_a_secret_is_in_it() {
    let mut project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[vars]\ntoken = { env = \"TOKEN\", secret = true }\n[task.login]\n\
         run = \"echo ran >> log; echo session-$TOKEN\"\nenv = { TOKEN = \"${var.token}\" }\n",
    );
    project.set_env("TOKEN", "hunter2-secret");
    assert_eq!(done(&project), ["task:login"]);
    assert_eq!(done(&project), NONE, "nobody asks for what it printed");
    project.append(
        "stack.toml",
        "[task.use]\nrun = \"test $SESSION = session-hunter2-secret\"\nenv = { SESSION = \"${task.login.stdout}\" }\n",
    );
    assert!(project.plan()["task:login"].1.contains("was not kept"), "{:?}", project.plan());
    assert_eq!(done(&project), ["task:login", "task:use"]);
    // It makes no files, so what it did is only known by running it, and what stands on it follows.
    assert_eq!(done(&project), ["task:login", "task:use"]);
    assert_eq!(lines(&project, "log"), 3);
    let why = project.stack(&["why", "task:use"]).expect_code(0);
    assert!(!why.stdout.contains("hunter"), "{}", why.stdout);
    project.edit("stack.toml", "test $SESSION =", "test ${task.login.stdout} =");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let reason = finished(&run, "task:use")["reason"].to_string();
    assert!(reason.contains("among the arguments") && !run.stdout.contains("hunter"), "{}", run.stdout);
    assert_no_secret_is_kept(&project);
}

#[test]
fn a_secret_is_hidden_in_other_forms_and_by_its_lines() {
    let mut project = Project::empty("tasks");
    project.write(
        "print.py",
        "import json, os, urllib.parse\nt = os.environ['TOKEN']\n\
         print(json.dumps([t]), urllib.parse.quote(t))\nprint(os.environ['KEY'])\n",
    );
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[vars]\ntoken = { env = \"TOKEN\", secret = true }\n\
         key = { env = \"KEY\", secret = true }\n[task.a]\nrun = \"python3 print.py\"\n\
         env = { TOKEN = \"${var.token}\", KEY = \"${var.key}\" }\n",
    );
    project.set_env("TOKEN", "hunter2 \"quoted\"é");
    project.set_env("KEY", "{\nhunter\na1b2\n}");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
    let printed: Vec<_> = run.events().into_iter().filter(|event| event["event"] == "step-output").collect();
    let lines: Vec<_> = printed.iter().map(|event| event["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["[\"***\"] ***", "{", "***", "***", "}"]);
    assert_no_secret_is_kept(&project);
}
