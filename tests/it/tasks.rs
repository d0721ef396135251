//! Tasks run when something that they depend on changed, or what they made is not as they made it, and not otherwise.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Project, Run, Running, succeed, with_outcome};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Code generation, and something that stands on it.
const STACK: &str = r#"[stack]
name = "@name@"

[task.generate]
run = "mkdir -p gen && sort names/*.txt > gen/names.py && echo ran >> generate.log && echo $(wc -l < gen/names.py) names"
inputs = ["names/*.txt"]
outputs = ["gen/**"]

[task.use]
run = ["sh", "-c", "cat gen/names.py > used && echo ran >> use.log", "${task.generate.stdout}"]
inputs = ["gen/*.py"]
outputs = ["used"]
"#;

fn project() -> Project {
    let project = Project::empty("tasks");
    project.write("stack.toml", STACK);
    project.write("names/a.txt", "ada\n");
    project.write("names/b.txt", "bob\n");
    project
}

/// Applies, and says which steps ran, by `done`.
#[track_caller]
pub(crate) fn done(project: &Project) -> Vec<String> {
    let outcomes = project.apply();
    with_outcome(&outcomes, "done").into_iter().map(str::to_owned).collect()
}

pub(crate) fn finished(run: &Run, step: &str) -> Value {
    run.events()
        .into_iter()
        .find(|event| event["event"] == "step-finished" && event["step"] == step)
        .expect("it finished")
}

pub(crate) fn lines(project: &Project, file: &str) -> usize {
    fs::read_to_string(project.path().join(file)).map_or(0, |text| text.lines().count())
}

const BOTH: [&str; 2] = ["task:generate", "task:use"];
pub(crate) const NONE: [&str; 0] = [];

#[test]
fn a_task_runs_when_what_it_depends_on_or_what_it_made_changed() {
    let project = project();
    assert_eq!(done(&project), BOTH);
    assert_eq!(fs::read_to_string(project.path().join("used")).unwrap(), "ada\nbob\n");
    assert_eq!(done(&project), NONE, "nothing changed");
    project.write("names/a.txt", "ada\n");
    assert_eq!(done(&project), NONE, "written again with the same content");
    project.write("names/c.txt", "cyd\n");
    assert!(project.plan()["task:generate"].1.contains("names/c.txt"), "{:?}", project.plan());
    assert_eq!(done(&project), BOTH, "a new file matches its pattern");
    fs::remove_file(project.path().join("gen/names.py")).unwrap();
    assert_eq!(project.plan()["task:generate"].1, "its output gen/names.py is gone");
    assert_eq!(done(&project), ["task:generate"], "what it makes again is what it was, so what stands on it is right");
    project.write("used", "by hand");
    assert_eq!(project.plan()["task:use"].1, "its output used was changed");
    assert_eq!(done(&project), ["task:use"]);
    project.edit("stack.toml", "sort names", "sort -r names");
    assert_eq!(done(&project), BOTH, "the command changed");
    fs::remove_dir_all(project.path().join(".stack")).unwrap();
    assert_eq!(done(&project), BOTH, "without a record of it");
    assert_eq!(done(&project), NONE);
}

#[test]
fn a_plan_runs_nothing_and_says_why() {
    let project = project();
    let plan = project.plan();
    assert_eq!(plan["task:generate"].0, "run");
    assert_eq!(plan["task:use"].0, "unknown", "its command holds what the other one prints");
    assert_eq!(lines(&project, "generate.log"), 0);
    done(&project);
    let plan = project.plan();
    assert_eq!(plan["task:generate"], ("skip".into(), "its output is there, made from these inputs".into()));
    assert_eq!(plan["task:use"].0, "skip");
}

#[test]
fn the_same_output_stops_a_change() {
    let project = project();
    done(&project);
    // The lines in another order in the files, the same after sorting.
    project.write("names/a.txt", "bob\n");
    project.write("names/b.txt", "ada\n");
    assert_eq!(done(&project), ["task:generate"]);
}

#[test]
fn a_task_without_a_cache_runs_every_time() {
    let project = Project::empty("tasks");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.smoke]\nrun = \"echo ran >> log\"\ncache = false\n");
    for times in 1..=3 {
        assert_eq!(done(&project), ["task:smoke"]);
        assert_eq!(lines(&project, "log"), times);
    }
}

#[test]
fn what_needs_a_task_without_outputs_runs_after_it() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.migrate]\nrun = \"true\"\ninputs = [\"migrations\"]\n\
         [task.smoke]\nrun = \"true\"\nneeds = [\"task.migrate\"]\n",
    );
    project.write("migrations/1.sql", "create");
    assert_eq!(done(&project), ["task:migrate", "task:smoke"]);
    assert_eq!(done(&project), NONE);
    project.write("migrations/2.sql", "alter");
    assert_eq!(done(&project), ["task:migrate", "task:smoke"]);
}

#[test]
fn a_failure_is_explained_and_blocks_what_needs_it() {
    let project = project();
    project.edit("stack.toml", "mkdir -p gen", "echo no such luck >&2; exit 3; mkdir -p gen");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let failed = finished(&run, "task:generate");
    assert_eq!((&failed["outcome"], &failed["class"]), (&"failed".into(), &"input".into()));
    assert_eq!(failed["reason"], "`sh` ended with exit code 3");
    assert_eq!(failed["diagnosis"], "no such luck");
    let blocked = finished(&run, "task:use");
    assert_eq!((&blocked["outcome"], &blocked["reason"]), (&"blocked".into(), &"blocked by task:generate".into()));
}

#[test]
fn what_failed_or_was_blocked_can_be_tried_again_by_itself() {
    let project = Project::empty("tasks");
    let run = project.stack(&["apply", "--from-failed"]);
    assert_eq!(run.code, 2, "there is no stack file");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[limits]\njobs = 1\n\
         [task.base]\nrun = \"true\"\n[task.other]\nrun = \"true\"\n\
         [task.bad]\nrun = \"echo tried >> log; test -e fixed\"\nneeds = [\"task.base\"]\n\
         [task.after]\nrun = \"true\"\nneeds = [\"task.bad\"]\n\
         [task.last]\nrun = \"true\"\nneeds = [\"task.after\"]\n",
    );
    let run = project.stack(&["apply", "--keep-going", "--format", "json"]).expect_code(1);
    for step in ["task:after", "task:last"] {
        assert_eq!(finished(&run, step)["by"], "task:bad", "what blocked it is named");
    }
    let picked = |args: &[&str]| {
        let run = project.stack(&[&["plan", "--from-failed", "--format", "json"], args].concat()).expect_code(0);
        let plan: Value = serde_json::from_str(&run.stdout).unwrap();
        plan["steps"].as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(picked(&[]), ["task:base", "task:bad", "task:after", "task:last"]);
    assert_eq!(picked(&["--no-deps"]), ["task:bad", "task:after", "task:last"]);
    assert_eq!(picked(&["--no-deps", "task:b*"]), ["task:bad"]);
    assert_eq!(picked(&["--no-deps", "--downstream", "after"]), ["task:after", "task:last"]);
    project.stack(&["apply", "--from-failed"]).expect_code(1);
    assert_eq!(lines(&project, "log"), 2);
    project.write("fixed", "");
    let run = project.stack(&["apply", "--from-failed", "--format", "json"]).expect_code(0);
    let outcomes = run.outcomes();
    assert_eq!(with_outcome(&outcomes, "done"), ["task:after", "task:bad", "task:last"]);
    let run = project.stack(&["apply", "--from-failed"]).expect_code(0);
    assert!(run.stdout.contains("nothing failed or was blocked the last time"), "{}", run.stdout);
    assert_eq!(lines(&project, "log"), 3);
}

#[test]
fn only_failures_that_may_pass_are_tried_again() {
    let project = Project::empty("tasks");
    // Whoever allows retries says that the failures of the command may pass; that there is no such program does not.
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.a]\nrun = [\"no-such-program\"]\nretries = 3\nbackoff = \"10ms\"\n",
    );
    let run = project.stack(&["apply", "--format", "json"]).expect_code(3);
    assert_eq!(finished(&run, "task:a")["class"], "environment");
    assert!(!run.stdout.contains("step-retry"), "{}", run.stdout);
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"false\"\nretries = 2\nbackoff = \"10ms\"\n",
    );
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let events = run.events();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    let delays: Vec<_> = of("step-retry").iter().map(|event| event["delay_seconds"].as_f64().unwrap()).collect();
    assert_eq!(delays, [0.01, 0.02]);
    assert_eq!(of("step-started").len(), 3);
    assert_eq!(finished(&run, "task:a")["class"], "transient");
}

#[test]
fn pools_limit_how_many_run_and_the_longest_goes_first() {
    let project = Project::empty("tasks");
    let mut stack = "[stack]\nname = \"@name@\"\n[limits]\njobs = 4\n[limits.pools]\ndb = 1\n".to_owned();
    // Each says when it begins and when it ends; the file is in the order of the appends.
    for (name, seconds) in [("a", "0.02"), ("b", "0.02"), ("c", "0.3")] {
        stack += &format!(
            "[task.{name}]\nrun = \"echo +{name} >> log; sleep {seconds}; echo -{name} >> log\"\npool = \"db\"\ncache = false\n"
        );
    }
    project.write("stack.toml", &stack);
    let order = || {
        let _ = fs::remove_file(project.path().join("log"));
        done(&project);
        fs::read_to_string(project.path().join("log")).unwrap().replace('\n', "")
    };
    // One at a time, in the order of the file; then what took longest the last time goes first.
    assert_eq!(order(), "+a-a+b-b+c-c");
    assert!(order().starts_with("+c-c+"));
}

#[test]
fn tasks_in_pools_are_tasks_all_the_same() {
    let project = Project::empty("tasks");
    let mut stack = "[stack]\nname = \"@name@\"\n[limits]\njobs = 4\ntasks = 1\npools = { db = 4 }\n".to_owned();
    for (name, more) in [("a", "pool = \"db\""), ("b", "pool = \"db\""), ("c", "")] {
        stack += &format!("[task.{name}]\nrun = \"echo + >> log; sleep 0.05; echo - >> log\"\n{more}\n");
    }
    project.write("stack.toml", &stack);
    done(&project);
    assert_eq!(fs::read_to_string(project.path().join("log")).unwrap().replace('\n', ""), "+-+-+-");
}

#[test]
fn what_is_not_known_of_a_need_is_not_taken_for_a_change() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"exit 1\"\n\
         [task.b]\nrun = \"true\"\nneeds = [\"task.a\"]\ncache = false\n",
    );
    let run = project.stack(&["apply", "--no-deps", "task:b", "--format", "json"]).expect_code(0);
    let warnings: Vec<Value> = run.events().into_iter().filter(|event| event["event"] == "warning").collect();
    assert_eq!(
        warnings.iter().map(|event| event["message"].as_str().unwrap()).collect::<Vec<_>>(),
        [
            "task:a has to run first and was left out, so it is not known what this ran with: it will run again the next time"
        ]
    );
}

#[test]
fn what_was_found_right_is_believed_only_while_every_fact_is_the_same() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.base]\nrun = \"cat seed > base\"\ninputs = [\"seed\"]\noutputs = [\"base\"]\n\
         [task.a]\nrun = [\"sh\", \"-c\", \"cat base in/* > out; echo $X\"]\ninputs = [\"in\", \"base\"]\n\
         outputs = [\"out\"]\nenv = { X = \"1\" }\ncwd = \".\"\nneeds = [\"task.base\"]\n",
    );
    project.write("seed", "seed");
    project.write("in/one", "one");
    assert_eq!(done(&project), ["task:a", "task:base"]);
    // Proofs are written as soon as no file is so new that it could change unseen.
    let proven = project.path().join(".stack/proven");
    let start = Instant::now();
    while !proven.exists() {
        assert_eq!(done(&project), NONE);
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is ever proven");
    }
    assert_eq!(done(&project), NONE);
    let a = ["task:a"];
    project.edit("stack.toml", "X = \"1\"", "X = \"2\"");
    assert_eq!(done(&project), a, "its environment");
    project.edit("stack.toml", "echo $X", "echo  $X");
    assert_eq!(done(&project), a, "its command");
    assert_eq!(done(&project), NONE);
    // The same size and the same time of the content: only the time of the metadata tells.
    let out = project.path().join("out");
    let modified = fs::metadata(&out).unwrap().modified().unwrap();
    fs::write(&out, "seedtwo").unwrap();
    fs::File::options().write(true).open(&out).unwrap().set_modified(modified).unwrap();
    assert_eq!(done(&project), a, "its output");
    project.write("in/two", "");
    assert_eq!(done(&project), a, "a new file in a folder");
    fs::remove_file(project.path().join("in/two")).unwrap();
    assert_eq!(done(&project), a, "a file less");
    project.write("seed", "deed");
    assert_eq!(done(&project), ["task:a", "task:base"], "what it needs");
    // The facts of before: but meanwhile it did something else, so they prove nothing.
    project.write("seed", "seed");
    assert_eq!(done(&project), ["task:a", "task:base"]);
    fs::remove_file(&out).unwrap();
    assert_eq!(done(&project), a, "its output is gone");
    project.edit("stack.toml", "cwd = \".\"\n", "cwd = \".\"\ncache = false\n");
    assert_eq!(done(&project), a);
    assert_eq!(done(&project), a, "it runs every time");
    // A damaged set is no set.
    project.edit("stack.toml", "cache = false\n", "");
    fs::write(&proven, "noise").unwrap();
    assert!(project.stack(&["plan"]).expect_code(0).stderr.contains("proven is ignored"));
}

#[test]
fn a_large_run_does_not_list_what_it_skips() {
    let project = Project::empty("tasks");
    let tasks: String = (0..100).map(|task| format!("[task.t{task}]\nrun = \"true\"\n")).collect();
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n{tasks}"));
    let run = project.stack(&["apply"]).expect_code(0);
    assert!(run.stdout.contains("task:t99") && run.stdout.contains("done:100 skipped:0"), "{}", run.stdout);
    let run = project.stack(&["apply"]).expect_code(0);
    assert_eq!(run.stdout.trim().lines().count(), 1, "{}", run.stdout);
    assert!(run.stdout.contains("done:0 skipped:100 failed:0"), "{}", run.stdout);
    assert!(project.stack(&["apply", "--verbose"]).stdout.contains("task:t99"));
}

#[test]
fn a_record_that_can_not_be_written_costs_another_run_and_nothing_else() {
    let project = Project::empty("unwritten");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.one]\nrun = \"true\"\n[task.two]\nrun = \"true\"\nneeds = [\"task.one\"]\n",
    );
    let tasks = project.path().join(".stack/tasks");
    std::fs::create_dir_all(&tasks).unwrap();
    for _ in 0..2 {
        let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
        assert_eq!(with_outcome(&run.outcomes(), "done").len(), 2, "{}", run.stdout);
        assert!(run.stdout.contains("its record in .stack/ can't be written"), "{}", run.stdout);
    }
    std::fs::remove_dir(&tasks).unwrap();
    project.stack(&["apply"]).expect_code(0);
    assert!(project.plan().values().all(|(action, _)| action == "skip"));
}

#[test]
fn outputs_that_were_promised_have_to_be_there() {
    let project = project();
    project.edit("stack.toml", "gen/**", "generated/**");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    let failed = finished(&run, "task:generate");
    assert_eq!(failed["reason"], "it made no file that matches its output `generated/**`");
}

#[test]
fn a_program_that_is_missing_has_the_code_of_that() {
    let project = Project::empty("tasks");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.a]\nrun = [\"no-such-program\"]\n");
    let run = project.stack(&["apply"]).expect_code(3);
    assert!(format!("{}{}", run.stdout, run.stderr).contains("`no-such-program` was not found"), "{run:?}");
}

#[test]
fn a_task_that_may_fail_is_tried_again() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.flaky]\nrun = \"echo ran >> log; test $(wc -l < log) -ge 3\"\n\
         retries = 2\nbackoff = \"10ms\"\n",
    );
    assert_eq!(done(&project), ["task:flaky"]);
    assert_eq!(lines(&project, "log"), 3);
}

#[test]
fn a_command_that_a_signal_ended_failed_as_one_with_an_exit_code() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.a]\nrun = [\"sh\", \"-c\", \"echo x >> tries; kill -SEGV $$\"]\n",
    );
    project.stack(&["apply"]).expect_code(1);
    assert_eq!(lines(&project, "tries"), 1);
    project.append("stack.toml", "retries = 2\nbackoff = \"10ms\"\n");
    project.stack(&["apply"]).expect_code(1);
    assert_eq!(lines(&project, "tries"), 4, "and it is tried again");
}

#[test]
fn an_output_that_is_no_file_any_more_was_changed() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"rm -rf made; echo x > made\"\noutputs = [\"made\"]\n",
    );
    assert_eq!(done(&project), ["task:a"]);
    let made = project.path().join("made");
    let replace: [fn(&std::path::Path); 3] = [
        |path| fs::create_dir(path).unwrap(),
        |path| drop(succeed(std::process::Command::new("mkfifo").arg(path))),
        |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
    ];
    for replace in replace {
        fs::remove_file(&made).unwrap();
        replace(&made);
        assert_eq!(project.plan()["task:a"].1, "its output made was changed");
        assert_eq!(done(&project), ["task:a"]);
        assert_eq!(done(&project), NONE);
    }
}

#[test]
fn a_task_that_takes_too_long_is_ended() {
    let project = Project::empty("tasks");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.slow]\nrun = \"sleep 1000\"\ntimeout = \"200ms\"\n");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
    assert_eq!(finished(&run, "task:slow")["reason"], "took longer than 0.2 s");
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A task that ignores TERM and forks, and one that needs it.
const STUBBORN: &str = r#"[stack]
name = "@name@"

[limits]
grace = "300ms"

[task.stubborn]
run = "trap '' TERM; (while :; do sleep 1000; done) & echo $! > pids; echo $$ >> pids; echo ready; while :; do sleep 1000; done"

[task.after]
run = "touch after"
needs = ["task.stubborn"]
"#;

#[test]
fn an_interrupt_ends_everything_and_still_sums_up() {
    let project = Project::empty("tasks");
    project.write("stack.toml", STUBBORN);
    for signals in [&[Signal::INT][..], &[Signal::TERM], &[Signal::HUP], &[Signal::INT, Signal::TERM]] {
        let start = Instant::now();
        let running = Running::until(&project, "ready");
        for &signal in signals {
            running.send(signal);
        }
        let (code, rest) = running.end();
        assert_eq!(code, Some(130), "{signals:?}: {rest}");
        assert!(start.elapsed() < Duration::from_secs(20), "{signals:?}");
        let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
        assert_eq!((&last["event"], &last["outcome"]), (&"run-finished".into(), &"cancelled".into()), "{rest}");
        assert_eq!(last["cancelled"], 2, "{rest}");
        let pids = fs::read_to_string(project.path().join("pids")).unwrap();
        assert!(pids.lines().count() == 2 && !pids.lines().any(is_alive), "{signals:?}: {pids}");
        assert!(!project.path().join("after").exists());
    }
    // The lock is free and nothing else is left.
    let run = project.stack(&["plan"]).expect_code(0);
    assert!(run.stdout.contains("task:stubborn"), "{}", run.stdout);
    let left: Vec<_> =
        fs::read_dir(project.path().join(".stack")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".tmp")), "{left:?}");
}

#[test]
fn a_crash_in_a_task_is_never_taken_for_success() {
    let project = Project::empty("tasks");
    let stack = "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"echo begun; . ./script\"\ninputs = [\"script\"]\n";
    project.write("stack.toml", stack);
    project.write("script", "true");
    assert_eq!(done(&project), ["task:a"]);
    assert_eq!(done(&project), NONE);
    // With other inputs the task begins, and everything dies under it.
    project.write("script", "echo $$ > pid; echo half; exec sleep 1000");
    let running = Running::until(&project, "half");
    running.send(Signal::KILL);
    running.end();
    let pid = fs::read_to_string(project.path().join("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    // Nobody was there any more to end the task itself.
    let _ = kill_process(pid, Signal::KILL);
    // The inputs are those of the success again; what the other ones did is not known.
    project.write("script", "true");
    assert_eq!(done(&project), ["task:a"]);
}

#[test]
fn a_second_apply_stops_and_names_the_first_or_waits_for_it() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.long]\nrun = \"echo ready; cat gate; echo ran >> log\"\n",
    );
    let gate = project.path().join("gate");
    crate::support::succeed(std::process::Command::new("mkfifo").arg(&gate));
    let first = Running::until(&project, "ready");
    let second = project.stack(&["apply"]).expect_code(4);
    assert!(second.stderr.contains(&format!("process {}, since 20", first.id())), "{}", second.stderr);
    let mut waiting = project.command(&["apply", "--wait"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(waiting.stderr.as_mut().unwrap()), &mut said).unwrap();
    assert!(said.contains("waiting for it"), "{said}");
    fs::write(&gate, "").unwrap();
    assert_eq!(first.end().0, Some(0));
    assert!(waiting.wait().unwrap().success());
    assert_eq!(lines(&project, "log"), 1, "the second found nothing to do");
}

/// So many tasks that a second thread looks at them before their turn.
pub(crate) fn crowd(extra: &str) -> Project {
    let project = Project::empty("tasks");
    let tasks: String = (0..100).map(|i| format!("[task.t{i}]\nrun = \"true\"\ninputs = [\"in\"]\n")).collect();
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n{tasks}{extra}"));
    for file in ["in", "seed", "go", "made"] {
        project.write(file, "1");
    }
    // Proofs are written as soon as no file is so new that it could change unseen.
    let proven = project.path().join(".stack/proven");
    let start = Instant::now();
    while !proven.exists() || !done(&project).is_empty() {
        done(&project);
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is ever proven");
    }
    project
}

#[test]
fn what_was_seen_early_does_not_outlive_a_change_of_this_run() {
    // Nothing says that one comes after the other; but what takes long is begun first, and there is room for one only.
    let project = crowd(
        "[task.make]\nrun = \"sleep 0.1; cp seed made\"\ninputs = [\"seed\"]\n\
         [task.use]\nrun = \"cp made used\"\ninputs = [\"made\"]\noutputs = [\"used\"]\n[limits]\njobs = 1\n",
    );
    project.write("seed", "2");
    assert_eq!(done(&project), ["task:make", "task:use"]);
    assert_eq!(fs::read_to_string(project.path().join("used")).unwrap(), "2");
    assert_eq!(done(&project), NONE);
    project.write("in", "2");
    assert_eq!(done(&project).len(), 100);
}

#[test]
fn what_was_seen_early_does_not_outlive_a_run_that_was_waited_for() {
    let project = crowd(
        "[task.make]\nrun = \"echo ready; while ! test -e go; do sleep 0.02; done; cp seed made\"\ninputs = [\"seed\"]\n\
         [task.use]\nrun = \"cp made used\"\ninputs = [\"made\"]\noutputs = [\"used\"]\n",
    );
    let go = project.path().join("go");
    fs::remove_file(&go).unwrap();
    project.write("seed", "2");
    let first = Running::until(&project, "ready");
    let mut second = project.command(&["apply", "--wait"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(second.stderr.take().unwrap()), &mut said).unwrap();
    assert!(said.contains("waiting for it"), "{said}");
    project.write("go", "");
    assert_eq!(first.end().0, Some(0));
    assert!(second.wait().unwrap().success());
    assert_eq!(fs::read_to_string(project.path().join("used")).unwrap(), "2");
}

#[test]
fn a_task_that_changes_its_own_inputs_is_told_so() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"echo more >> in.txt; test ! -e bad\"\ninputs = [\"in.txt\"]\n",
    );
    project.write("in.txt", "one\n");
    let why = |project: &Project| project.plan()["task:a"].1.clone();
    assert_eq!(why(&project), "it has not run here with success yet");
    let run = project.stack(&["apply", "--format", "json"]).expect_code(0);
    assert!(run.stdout.contains("its inputs changed while it ran"), "{}", run.stdout);
    assert_eq!(why(&project), "its inputs changed while it ran the last time");
    project.write("bad", "");
    project.stack(&["apply"]).expect_code(1);
    assert_eq!(why(&project), "it has not run here with success yet", "the last time it failed");
    fs::remove_file(project.path().join("bad")).unwrap();
    project.edit("stack.toml", "echo more >> in.txt; ", "");
    assert_eq!(done(&project), ["task:a"]);
    assert_eq!(done(&project), NONE);
}

#[test]
fn what_is_too_long_to_be_kept_fails_the_step_that_wants_it() {
    let project = Project::empty("tasks");
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[task.long]\nrun = \"head -c 1100000 /dev/zero | tr '\\\\0' x; echo ran >> log\"\n",
    );
    assert_eq!(done(&project), ["task:long"]);
    assert_eq!(done(&project), NONE, "nobody wants it");
    project.append("stack.toml", "[task.use]\nrun = \"test -n $TEXT\"\nenv = { TEXT = \"${task.long.stdout}\" }\n");
    for times in 2..=3 {
        let run = project.stack(&["apply", "--format", "json"]).expect_code(1);
        let failed = finished(&run, "task:use");
        assert_eq!(
            failed["reason"],
            "task:long printed 1100000 bytes, and `${task.long.stdout}` holds 1048576 at most"
        );
        assert!(failed["diagnosis"].as_str().unwrap().contains("outputs"), "{failed}");
        assert_eq!(lines(&project, "log"), times);
    }
    project.edit("stack.toml", "head -c 1100000", "head -c 1000");
    assert_eq!(done(&project), ["task:long", "task:use"]);
}
