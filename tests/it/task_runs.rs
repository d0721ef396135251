//! What runs of tasks remember, and what is told when a command fails.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Project, Running, succeed};
use crate::tasks::{NONE, crowd, done, finished, lines};

/// An apply that has found the lock taken, and waits for it.
fn waiting(project: &Project, args: &[&str]) -> Child {
    let mut command = project.command(&[&["apply", "--wait"], args].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for it"), "{said}");
    child
}

fn printed(child: Child, code: i32) -> String {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_changes_while_an_apply_waits_counts() {
    let project = crowd("");
    let lock = File::open(project.path().join(".stack/lock")).unwrap();
    lock.lock().unwrap();
    let second = waiting(&project, &[]);
    project.write("in", "2");
    project.append("stack.toml", "[task.new]\nrun = \"true\"\n");
    drop(lock);
    let said = printed(second, 0);
    assert!(said.contains("done:101 skipped:0"), "{said}");
}

#[test]
fn an_apply_that_was_waited_for_is_the_last_one() {
    // One that only does something else forgets nothing of it; and one that wants what failed gets that.
    for args in [&["other"][..], &["--from-failed", "--format", "json"]] {
        let project = Project::empty("tasks");
        project.write(
            "stack.toml",
            "[stack]\nname = \"@name@\"\n[task.other]\nrun = \"true\"\ncache = false\n\
             [task.bad]\nrun = \"echo ready; while ! test -e go; do sleep 0.02; done; exit 1\"\n",
        );
        let first = Running::until(&project, "ready");
        let second = waiting(&project, args);
        project.write("go", "");
        assert_eq!(first.end().0, Some(1));
        let is_other = args.len() == 1;
        let said = printed(second, i32::from(!is_other));
        assert!(is_other || (said.contains("task:bad") && !said.contains("nothing failed")), "{said}");
        project.stack(&["apply", "--from-failed"]).expect_code(1);
    }
}

#[test]
fn after_an_apply_that_was_killed_nothing_is_taken_for_done() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"echo $$ > pid; echo ready; test -e go || exec sleep 1000\"\n\
         [task.b]\nrun = \"true\"\nneeds = [\"task.a\"]\n",
    );
    let first = Running::until(&project, "ready");
    let last = ["--from-failed", "--format", "json"];
    first.send(Signal::KILL);
    let pid = fs::read_to_string(project.path().join("pid")).unwrap();
    kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    let killed = format!("(process {}, since 20", first.id());
    assert_eq!(first.end().0, None);
    let plan = project.stack(&["plan", last[0]]).expect_code(0).expect_stderr(&killed);
    assert!(plan.stdout.contains("task:a") && plan.stdout.contains("task:b"), "{}", plan.stdout);
    project.write("go", "");
    let run = project.stack(&[&["apply"], &last[..]].concat()).expect_code(0).expect_stderr(&killed);
    assert_eq!(run.outcomes().len(), 2);
    let run = project.stack(&["apply", last[0]]).expect_code(0);
    assert!(run.stdout.contains("nothing failed or was blocked the last time"), "{}", run.stdout);
}

#[test]
fn an_input_that_changed_and_changed_back_counts() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n\
         [task.a]\nrun = \"cp in out; echo ready; while ! test -e go; do sleep 0.02; done\"\n\
         inputs = [\"in\"]\noutputs = [\"out\"]\n",
    );
    project.write("in", "B");
    let running = Running::until(&project, "ready");
    project.write("in", "A");
    project.write("in", "B");
    project.write("go", "");
    let (code, said) = running.end();
    assert_eq!(code, Some(0));
    assert!(said.contains("in changed while it ran and is as it was before"), "{said}");
    assert_eq!(project.plan()["task:a"].1, "its inputs changed while it ran the last time");
    assert_eq!(done(&project), ["task:a"]);
    assert_eq!(done(&project), NONE);
}

#[test]
fn a_command_that_leaves_its_inputs_as_they_were_runs_once_more_and_no_further() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n\
         [task.touch]\nrun = \"touch in other\"\ninputs = [\"in\"]\n\
         [task.make]\nrun = \"cp in made.txt\"\ninputs = [\"*.txt\"]\noutputs = [\"made.txt\"]\nneeds = [\"task.touch\"]\n\
         [task.always]\nrun = \"touch other\"\ninputs = [\"other\"]\ncache = false\nneeds = [\"task.touch\"]\n",
    );
    for file in ["in", "other", "made.txt"] {
        project.write(file, "1");
    }
    let all = ["task:always", "task:make", "task:touch"];
    assert_eq!(done(&project), all);
    assert_eq!(done(&project), all, "who touched it is not known yet");
    assert_eq!(done(&project), ["task:always"]);
    project.write("in", "2");
    project.write("made.txt", "2");
    assert_eq!(done(&project), all);
    assert_eq!(done(&project), ["task:always"], "it is now");
}

#[test]
fn stacks_in_one_folder_know_nothing_of_each_other() {
    let project = Project::empty("tasks");
    for (file, stack) in [("a.toml", "one"), ("b.toml", "two")] {
        let text = format!(
            "[stack]\nname = \"{stack}\"\n[task.t]\nrun = \"echo {stack} >> log\"\n[task.u]\nrun = \"test -e ok\"\n"
        );
        project.write(file, &text);
    }
    let ended = |file: &str, command: &str, code| {
        let run = project.stack(&["-f", file, command, "--keep-going", "--format", "json"]).expect_code(code);
        finished(&run, "task:t")["outcome"].clone()
    };
    assert_eq!(ended("a.toml", "apply", 1), "done");
    let plan = project.stack(&["-f", "b.toml", "plan"]).expect_code(0);
    assert!(plan.stdout.contains("it has not run here with success yet"), "{}", plan.stdout);
    project.stack(&["-f", "b.toml", "apply", "--from-failed"]).expect_code(0);
    assert_eq!(lines(&project, "log"), 1, "nothing of the other one has failed");
    project.write("ok", "");
    assert_eq!(ended("b.toml", "apply", 0), "done");
    for file in ["a.toml", "b.toml", "a.toml"] {
        assert_eq!(ended(file, "apply", 0), "skipped");
    }
    assert_eq!(lines(&project, "log"), 2);
}

#[test]
fn a_command_may_remove_what_is_remembered() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.clean]\nrun = \"rm -rf .stack\"\n\
         [task.between]\nrun = \"true\"\nneeds = [\"task.clean\"]\n\
         [task.again]\nrun = \"rm -rf .stack\"\nneeds = [\"task.between\"]\n\
         [task.long]\nrun = \"echo ready; cat gate\"\nneeds = [\"task.again\"]\n",
    );
    let gate = project.path().join("gate");
    succeed(std::process::Command::new("mkfifo").arg(&gate));
    let first = Running::until(&project, "ready");
    let second = project.stack(&["apply"]).expect_code(4);
    assert!(second.stderr.contains(&format!("process {}, since 20", first.id())), "{}", second.stderr);
    fs::write(&gate, "").unwrap();
    assert_eq!(first.end().0, Some(0));
    assert_eq!(done(&project), NONE);
}

#[test]
fn what_a_command_said_last_is_told_of_both_its_streams() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.test]\nrun = \"echo 'FAILED: test_login'; echo 'DeprecationWarning' >&2; exit 1\"\n",
    );
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let failed = finished(&run, "task:test");
    let mut said: Vec<&str> = failed["diagnosis"].as_str().unwrap().lines().collect();
    // Two pipes are read as they come.
    said.sort_unstable();
    assert_eq!(said, ["DeprecationWarning", "FAILED: test_login"]);
}

#[test]
fn what_the_system_takes_from_nobody_is_told_by_its_name() {
    let project = Project::empty("tasks");
    let stack = |made: &str, uses: &str| {
        let text = format!("[stack]\nname = \"@name@\"\n[task.big]\nrun = \"{made}\"\n[task.use]\n{uses}\n");
        project.write("stack.toml", &text);
        let failed = finished(&project.stack(&["apply", "--format", "json"]).expect_code(1), "task:use");
        assert_eq!(failed["class"], "input");
        assert!(failed["diagnosis"].as_str().unwrap().contains("`outputs` of task.big"), "{failed}");
        failed["reason"].as_str().unwrap().to_owned()
    };
    let nul = "printf 'a\\\\0b'";
    let said = stack(nul, "run = [\"echo\", \"${task.big.stdout}\"]");
    assert_eq!(said, "`${task.big.stdout}` holds a NUL byte, and an argument of a command can't");
    if cfg!(target_os = "linux") {
        let long = "head -c 200000 /dev/zero | tr '\\\\0' x";
        let limit = "of a command takes 131071 at most";
        for uses in ["run = \"echo ${task.big.stdout}\"", "run = [\"echo\", \"x${task.big.stdout}\"]"] {
            let said = stack(long, uses);
            assert_eq!(said, format!("`${{task.big.stdout}}` is 200000 bytes long, and an argument {limit}"));
        }
        let said = stack(long, "run = \"true\"\nenv = { TEXT = \"${task.big.stdout}\" }");
        assert_eq!(said, format!("`${{task.big.stdout}}` is 200000 bytes long, and the variable `TEXT` {limit}"));
    }
}
