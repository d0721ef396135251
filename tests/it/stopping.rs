//! However a run is stopped, it stops where the work is done, says how far it came, and leaves nothing behind.
//!
//! The terminal is a real one, made by `script`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::api_faults::{Fault, Proxy};
use crate::support::{Bed, Project, has_open, program, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A task that runs until it is ended, and says so at once; one that needs it; and one beside it that ends well.
const SLOW: &str = "[stack]\nname = \"@name@\"\n[limits]\ngrace = \"300ms\"\n\
    [task.slow]\nrun = \"echo $$ > pid; echo ready; exec sleep 1000\"\n\
    [task.after]\nrun = \"touch after\"\nneeds = [\"task.slow\"]\n";

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Nothing is left of a run: no child, no lock that is held, no file half written.
#[track_caller]
fn assert_nothing_is_left(project: &Project) {
    let pid = fs::read_to_string(project.path().join("pid")).unwrap();
    assert!(!is_alive(&pid), "the child is left");
    assert!(!project.path().join("after").exists(), "something was started");
    let lock = File::open(project.path().join(".stack/lock")).unwrap();
    lock.try_lock().expect("the lock is free");
    for entry in fs::read_dir(project.path().join(".stack")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == ".gitignore" || !name.starts_with('.'), "{name} is left");
    }
}

/// `stack` on a terminal of its own, from a shell that says how it ended and what the terminal was like.
fn on_a_terminal(project: &Project, command: &str) -> Child {
    let line = format!(
        "trap : INT; stty -a > tty-before; '{}' {command}; echo $? > code; stty -a > tty-after",
        program().display()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--command", &line, "/dev/null"]).current_dir(project.path());
    command.env("TERM", "xterm").env("SHELL", "/bin/sh").env_remove("NO_COLOR").env_remove("STACK_FILE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn ctrl_c_on_a_terminal_sums_up_and_leaves_the_terminal_as_it_was() {
    let project = Project::empty("stopping");
    project.write("stack.toml", SLOW);
    let mut terminal = on_a_terminal(&project, "apply");
    wait_until("the task starts", || project.path().join("pid").exists());
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    let mut printed = String::new();
    terminal.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    terminal.wait().unwrap();
    drop(keyboard);
    let read = |file: &str| fs::read_to_string(project.path().join(file)).unwrap();
    assert_eq!(read("code").trim(), "130", "{printed}");
    let last = printed.trim_end().rsplit('\n').next().unwrap();
    assert!(last.contains("cancelled:2"), "{printed}");
    assert_eq!(read("tty-before"), read("tty-after"));
    assert_eq!(printed.matches("\x1b[?25l").count(), printed.matches("\x1b[?25h").count(), "the cursor is hidden");
    assert_nothing_is_left(&project);
}

#[test]
fn ctrl_c_is_an_answer_to_a_question() {
    let project = Project::empty("stopping");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"true\"\n");
    let mut terminal = on_a_terminal(&project, "destroy");
    let mut printed = terminal.stdout.take().unwrap();
    let mut seen = String::new();
    while !seen.contains("[y/N]") {
        let mut piece = [0; 100];
        let count = printed.read(&mut piece).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    assert_eq!(end_of(&mut terminal), Some(0));
    drop(keyboard);
    assert_eq!(fs::read_to_string(project.path().join("code")).unwrap().trim(), "130");
}

#[test]
fn a_task_that_asks_at_the_terminal_fails_at_once_and_says_so() {
    let project = Project::empty("stopping");
    let ask = "printf 'Password: ' > /dev/tty; read answer < /dev/tty; echo $answer";
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n[task.ask]\nrun = \"echo $$ > pid; {ask}\"\n"));
    let mut terminal = on_a_terminal(&project, "apply");
    let keyboard = terminal.stdin.take().unwrap();
    let mut printed = String::new();
    terminal.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    terminal.wait().unwrap();
    drop(keyboard);
    assert_eq!(fs::read_to_string(project.path().join("code")).unwrap().trim(), "1", "{printed}");
    assert!(printed.contains("wants an answer from the terminal") && printed.contains("sudo -n"), "{printed}");
    assert_nothing_is_left(&project);
}

#[test]
fn a_terminal_that_is_closed_ends_the_run_like_an_interrupt() {
    let project = Project::empty("stopping");
    project.write("stack.toml", SLOW);
    let mut terminal = on_a_terminal(&project, "apply");
    wait_until("the task starts", || project.path().join("pid").exists());
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let state = project.path().join(".stack/state.json");
    wait_until("it ends in an orderly way", || {
        fs::read_to_string(&state).is_ok_and(|text| text.contains("notreached"))
    });
    let lock = File::open(project.path().join(".stack/lock")).unwrap();
    wait_until("it lets the lock go", || lock.try_lock().is_ok());
    drop(lock);
    assert_nothing_is_left(&project);
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_work() {
    for format in ["text", "json"] {
        let project = Project::empty("stopping");
        project.write(
            "stack.toml",
            "[stack]\nname = \"@name@\"\n[limits]\njobs = 1\n\
             [task.a]\nrun = \"echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; touch a\"\n\
             [task.b]\nrun = \"echo three; echo four; touch b\"\nneeds = [\"task.a\"]\n",
        );
        let mut command = project.command(&["apply", "--verbose", "--format", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut String::new()).unwrap();
        drop(output);
        project.write("go", "");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{format}");
        assert!(project.path().join("a").exists() && project.path().join("b").exists(), "{format}");
    }
}

/// A run with JSON events, read line by line.
struct Run {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    seen: Vec<Value>,
}

impl Run {
    fn start(project: &Project) -> Self {
        let mut command = project.command(&["apply", "--format", "json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, seen: Vec::new() }
    }

    fn next(&mut self) -> Option<&Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        self.seen.push(serde_json::from_str(&line).unwrap());
        self.seen.last()
    }

    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) {
        while let Some(event) = self.next() {
            if wanted(event) {
                return;
            }
        }
        panic!("it never came: {:#?}", self.seen);
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How it ended, and its last word.
    fn end(mut self) -> (Option<i32>, Value, Vec<Value>) {
        while self.next().is_some() {}
        let last = self.seen.last().cloned().unwrap_or_default();
        (self.child.wait().unwrap().code(), last, self.seen)
    }
}

fn of(events: &[Value], kind: &str, step: &str) -> Value {
    let found = events.iter().find(|event| event["event"] == kind && event["step"] == step);
    found.cloned().unwrap_or_else(|| panic!("no {kind} of {step} in {events:#?}"))
}

#[test]
fn a_second_interrupt_kills_at_once() {
    let project = Project::empty("stopping");
    // Ten minutes of grace, and a task that takes them.
    project.write(
        "stack.toml",
        "[stack]\nname = \"@name@\"\n[limits]\ngrace = \"10m\"\n\
         [task.slow]\nrun = \"trap 'echo asked' TERM; echo $$ > pid; echo ready; while :; do sleep 0.05; done\"\n",
    );
    let start = Instant::now();
    let mut run = Run::start(&project);
    run.wait_for(|event| event["line"] == "ready");
    run.send(Signal::INT);
    run.wait_for(|event| event["line"] == "asked");
    run.send(Signal::INT);
    let (code, last, _) = run.end();
    assert_eq!((code, &last["outcome"]), (Some(130), &"cancelled".into()));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_nothing_is_left(&project);
}

/// How `child` ended, which has to be soon; it does not outlive the test.
#[track_caller]
fn end_of(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it does not end");
        }
        std::thread::yield_now();
    }
}

/// A task that prints without an end.
const FLOOD: &str = "[stack]\nname = \"@name@\"\n[limits]\ngrace = \"@grace@\"\n\
    [task.flood]\nrun = \"echo $$ > pid; exec yes aaaa\"\n";

#[test]
fn an_output_that_nobody_reads_does_not_keep_a_run_from_stopping() {
    // The run's own deadline and a short grace; one signal and a short grace; two signals and a long one.
    for (grace, signals) in [("300ms", 0), ("300ms", 1), ("10m", 2)] {
        for format in ["text", "json"] {
            let project = Project::empty("stopping");
            project.write("stack.toml", &FLOOD.replace("@grace@", grace));
            if signals == 0 {
                project.edit("stack.toml", "[limits]", "[limits]\ndeadline = \"1s\"");
            }
            let mut command = project.command(&["apply", "--verbose", "--format", format]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let output = child.stdout.take().unwrap();
            wait_until("the pipe is full", || rustix::io::ioctl_fionread(&output).unwrap() > 60_000);
            let pid = fs::read_to_string(project.path().join("pid")).unwrap();
            if signals > 0 {
                kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            }
            wait_until("the task is ended", || !is_alive(&pid));
            if signals > 1 {
                kill_process(Pid::from_child(&child), Signal::INT).unwrap();
            }
            let code = if signals > 0 { 130 } else { 1 };
            assert_eq!(end_of(&mut child), Some(code), "{signals} signals, {grace}, {format}");
            assert_nothing_is_left(&project);
        }
    }
}

#[test]
fn an_output_that_is_read_late_is_complete_and_in_order() {
    let project = Project::empty("stopping");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.count]\nrun = \"seq -f 'n%.0f' 300000\"\n");
    let mut command = project.command(&["apply", "--verbose"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    wait_until("the pipe is full", || rustix::io::ioctl_fionread(&output).unwrap() > 60_000);
    let lines = BufReader::new(output).lines().map(Result::unwrap);
    let mut next = 1;
    for line in lines {
        if let Some((_, number)) = line.split_once("| n") {
            assert_eq!(number, next.to_string());
            next += 1;
        }
        assert!(!line.contains("dropped"), "{line}");
    }
    assert_eq!((end_of(&mut child), next), (Some(0), 300_001));
}

#[test]
fn an_apply_that_waits_for_the_lock_can_be_stopped() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let project = Project::empty("stopping");
        project.write("stack.toml", "[stack]\nname = \"@name@\"\n[task.a]\nrun = \"touch after; exit 1\"\n");
        project.stack(&["apply"]).expect_code(1);
        fs::remove_file(project.path().join("after")).unwrap();
        let lock = File::open(project.path().join(".stack/lock")).unwrap();
        lock.lock().unwrap();
        let mut command = project.command(&["apply", "--wait"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("waiting for it"), "{line}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(end_of(&mut child), Some(130), "{signal:?}");
        assert!(!project.path().join("after").exists(), "something was started");
        drop(lock);
    }
}

#[test]
fn an_apply_that_looks_for_its_tools_can_be_stopped() {
    let mut project = Project::empty("stopping");
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[image.a]\ncontext = \"a\"\n");
    project.write("a/Dockerfile", "FROM scratch\n");
    // An engine that takes calls and answers none.
    let socket = project.path().join("engine");
    let engine = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    project.set_env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let mut command = project.command(&["apply"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let call = engine.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let start = Instant::now();
    assert_eq!(end_of(&mut child), Some(130));
    assert!(start.elapsed() < Duration::from_secs(4), "it was not the call that ended");
    drop(call);
}

#[test]
fn a_file_that_takes_long_to_read_does_not_keep_a_run_from_stopping() {
    const IMAGE: &str = "[image.a]\ncontext = \".\"\n";
    const INPUT: &str = "[task.a]\nrun = \"touch after\"\ninputs = [\"big\"]\n";
    const OUTPUT: &str = "[task.a]\nrun = \"truncate -s 200G big\"\noutputs = [\"big\"]\n";
    // Before and after the command, by the context of a build, and while only looking.
    for (command, stack, begins) in
        [("apply", INPUT, false), ("apply", OUTPUT, true), ("apply", IMAGE, false), ("watch", INPUT, false)]
    {
        let project = Project::empty("stopping");
        project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n{stack}"));
        project.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        let big = project.path().canonicalize().unwrap().join("big");
        if !begins {
            File::create(&big).unwrap().set_len(200 << 30).unwrap();
        }
        let mut child = project.command(&[command, "--format", "json"]);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the file is read", || has_open(child.id(), &big));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(end_of(&mut child), Some(130), "{command} {stack}");
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said.contains("step-started"), begins, "{said}");
        assert!(!project.path().join("after").exists(), "something was started");
    }
}

#[test]
fn a_run_past_its_deadline_is_stopped_and_says_so() {
    let project = Project::empty("stopping");
    project.write("stack.toml", SLOW);
    project.edit("stack.toml", "[limits]", "[limits]\ndeadline = \"500ms\"");
    let (code, last, events) = Run::start(&project).end();
    assert_eq!((code, &last["outcome"]), (Some(1), &"cancelled".into()));
    assert_eq!(of(&events, "step-finished", "task:after")["reason"], "the run took longer than its deadline");
    let told = |event: &Value| event["event"] == "warning" && event["message"].as_str().unwrap().contains("0.5 s");
    assert!(events.iter().any(told), "{events:#?}");
    assert_nothing_is_left(&project);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_looks_for_what_has_left_the_file_can_be_stopped() {
    let proxy = Proxy::start().await;
    // Records of releases are Secrets.
    proxy.connect(|_, path| path.contains("secrets").then_some(Fault::Late(Duration::from_secs(600)))).await;
    let mut project = Project::empty("stopping");
    let cluster = "[cluster]\ndriver = \"context\"\ncontext = \"faulty\"\n";
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n{cluster}[task.a]\nrun = \"echo $$ > pid\"\n"));
    project.set_env("KUBECONFIG", proxy.kubeconfig.display().to_string());
    let mut run = Run::start(&project);
    for _ in ["cluster", "task:a"] {
        run.wait_for(|event| event["event"] == "step-finished");
    }
    run.send(Signal::INT);
    assert_eq!(end_of(&mut run.child), Some(130));
    assert_nothing_is_left(&project);
}

#[test]
fn a_check_by_a_command_ends_in_an_orderly_way() {
    let project = Project::empty("stopping");
    let line = "trap 'echo t > cleaned; exit 1' TERM; echo $$ > pid; echo ready; sleep 1000 & wait";
    project.write("stack.toml", &format!("[stack]\nname = \"@name@\"\n[ready.a]\nrun = \"{line}\"\n"));
    let mut run = Run::start(&project);
    run.wait_for(|event| event["line"] == "ready");
    run.send(Signal::TERM);
    let (code, last, _) = run.end();
    assert_eq!((code, &last["cancelled"]), (Some(130), &1.into()));
    assert!(project.path().join("cleaned").exists(), "it had no grace");
    assert_nothing_is_left(&project);
}

#[test]
fn what_ended_while_everything_stood_still_has_ended_in_time() {
    let project = Project::empty("stopping");
    let mut stack = "[stack]\nname = \"@name@\"\n[limits]\njobs = 8\n".to_owned();
    for task in 0..8 {
        let run = format!("echo $$ > pid{task}; while [ ! -e go ]; do sleep 0.01; done; echo made > made{task}");
        stack += &format!("[task.t{task}]\nrun = \"{run}\"\noutputs = [\"made{task}\"]\ntimeout = \"2s\"\n");
    }
    project.write("stack.toml", &stack);
    let run = Run::start(&project);
    let pid = |task| fs::read_to_string(project.path().join(format!("pid{task}"))).unwrap_or_default();
    wait_until("all tasks run", || (0..8).all(|task| pid(task).ends_with('\n')));
    let all_run = Instant::now();
    run.send(Signal::STOP);
    project.write("go", "");
    wait_until("all tasks end", || (0..8).all(|task| !is_alive(&pid(task))));
    wait_until("their time is over", || all_run.elapsed() > Duration::from_secs(2));
    run.send(Signal::CONT);
    let (code, last, events) = run.end();
    assert_eq!((code, &last["done"]), (Some(0), &8.into()), "{events:#?}");
}

/// Whether a process of this machine was started with this argument: the engine of the test bed runs its builds here.
fn is_running(argument: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
}

#[test]
fn an_interrupted_build_stops_in_the_engine() {
    Bed::get();
    let project = Project::on_the_bed("stopping");
    // A duration that is told from any other.
    let seconds = format!("{}.{}", 1000 + std::process::id() % 1000, std::process::id());
    project.write("stack.toml", "[stack]\nname = \"@name@\"\n[image.slow]\ncontext = \"slow\"\nload = \"none\"\n");
    project.write("slow/Dockerfile", &format!("FROM busybox:stable\nRUN echo @name@ && sleep {seconds}\n"));
    let mut run = Run::start(&project);
    run.wait_for(|event| event["event"] == "step-started");
    wait_until("the build runs", || is_running(&seconds));
    run.send(Signal::TERM);
    let (code, last, _) = run.end();
    assert_eq!((code, &last["cancelled"]), (Some(130), &1.into()));
    wait_until("the engine stops building", || !is_running(&seconds));
}

/// Writes a stack with one chart, of which its templates are missing; with these further keys.
fn write_chart(project: &Project, bed: &Bed, keys: &str) {
    project.write(
        "stack.toml",
        &format!(
            "[stack]\nname = \"@name@\"\n[cluster]\n{}start = false\n\
             namespace = \"@name@\"\n[chart.app]\npath = \"chart\"\n{keys}\n",
            bed.cluster()
        ),
    );
    project.write("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n");
}

#[test]
fn a_look_that_is_stopped_leaves_nothing() {
    let bed = Bed::get();
    let project = Project::empty("stopping");
    write_chart(&project, &bed, "post-render = [\"./slow\"]");
    project.write("chart/templates/all.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n");
    project.write("slow", &format!("#!/bin/sh\necho $$ > '{}/pid'\nexec sleep 1000\n", project.path().display()));
    fs::set_permissions(project.path().join("slow"), fs::Permissions::from_mode(0o755)).unwrap();
    for args in [&["plan", "--diff"][..], &["diff"]] {
        let mut child = project.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = || fs::read_to_string(project.path().join("pid")).unwrap_or_default();
        wait_until("helm is at the post-renderer", || pid().ends_with('\n'));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(end_of(&mut child), Some(130), "{args:?}");
        wait_until("nothing is left of helm", || !is_alive(&pid()));
        fs::remove_file(project.path().join("pid")).unwrap();
    }
}

#[test]
fn an_interrupted_release_is_finished_or_recovered() {
    let bed = Bed::get();
    let mut project = Project::on_the_bed("stopping");
    project.set_env("STACK_PROFILE", &bed.profile);
    write_chart(&project, &bed, "wait = false");
    project.write("chart/values.yaml", "x: 1\n");
    // A hook keeps Helm at it.
    project.write(
        "chart/templates/all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {x: '{{ .Values.x }}'}\n---\n\
         apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: hook\n  annotations: {helm.sh/hook: 'pre-install,pre-upgrade'}\n\
         spec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n\
         \x20     - {name: hook, image: 'busybox:stable', imagePullPolicy: Never, command: [sleep, '2']}\n",
    );
    let space = ["--namespace", &project.name];
    let interrupted = |signals: &[Signal]| {
        let mut run = Run::start(&project);
        run.wait_for(|event| event["event"] == "step-started" && event["step"] == "chart:app");
        let hook = ["get", "job", "hook", "--ignore-not-found", "-o", "jsonpath={.status.active}"];
        wait_until("helm is at its hook", || bed.kubectl(&[&space[..], &hook].concat()) == "1");
        signals.iter().for_each(|signal| run.send(*signal));
        let (code, last, _) = run.end();
        assert_eq!((code, &last["outcome"]), (Some(130), &"cancelled".into()));
    };
    let release = |status: &str| {
        let labels = format!("owner=helm,name=app,status={status}");
        bed.has(&[&space[..], &["secret", "--selector", &labels]].concat())
    };
    // Once: what Helm has begun it may finish.
    interrupted(&[Signal::INT]);
    assert!(release("deployed") && !release("pending-install"));
    // Twice: it is left half-way, and the next apply finds it so and goes on.
    project.edit("chart/templates/all.yaml", "'2'", "'600'");
    interrupted(&[Signal::INT, Signal::TERM]);
    assert!(release("pending-upgrade"));
    project.edit("chart/templates/all.yaml", "'600'", "'0'");
    assert_eq!(project.apply()["chart:app"], "done");
    assert!(release("deployed") && !release("pending-upgrade"));
    assert_eq!(project.apply()["chart:app"], "skipped");
}
