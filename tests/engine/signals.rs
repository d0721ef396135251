//! Every signal, at every moment, with every kind of work: the run ends as asked, and nothing of it is left.
//!
//! A process that is sent signals must be one of its own: the test binary starts itself again, as the run.

use std::io::{BufRead, BufReader, Read};
use std::num::NonZeroU32;
use std::process::{Child, Command as StdCommand, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stack::error::Class;
use stack::exec::{self, AttemptResult, ExecEvent, Runner};
use stack::process::{self, Cancel, CancelLevel, Command, OnTerminate};
use stack::sched::{Input, Limits, StepSpec};

/// Says to the test binary that it is the run, and what its first step does.
const WORK: &str = "STACK_ENGINE_TEST_WORK";

/// How long a child may ignore TERM.
const GRACE: Duration = Duration::from_millis(400);

/// Longer than any of this can take.
const LONG: Duration = Duration::from_secs(30);

/// What the first step does. The second one needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// A child that dies of TERM.
    Plain,
    /// A child that ends in an orderly way at TERM.
    Orderly,
    /// A child that ignores TERM and forks, as does what it forked.
    Stubborn,
    /// A child that may finish, and soon does.
    Finishing,
    /// No child: a call that heeds the request.
    Call,
    /// No child: a call that heeds nothing.
    Deaf,
    /// Nothing lives: a step waits for its second attempt.
    Waiting,
}

impl Work {
    const ALL: [Self; 7] =
        [Self::Plain, Self::Orderly, Self::Stubborn, Self::Finishing, Self::Call, Self::Deaf, Self::Waiting];

    fn command(self) -> Option<Command> {
        let line = match self {
            Self::Plain => "echo pid $$; echo ready; exec sleep 1000",
            Self::Orderly => "trap 'echo orderly; exit 1' TERM; echo pid $$; echo ready; while :; do sleep 0.01; done",
            Self::Stubborn => {
                "trap '' TERM INT HUP; (while :; do sleep 1000; done) & echo pid $!; echo pid $$; echo ready; \
                 while :; do sleep 1000; done"
            }
            Self::Finishing => "echo pid $$; echo ready; sleep 0.2; echo finished",
            Self::Call | Self::Deaf | Self::Waiting => return None,
        };
        let command = Command::shell(line).grace(GRACE);
        Some(if self == Self::Finishing { command.on_terminate(OnTerminate::LetFinish).grace(LONG) } else { command })
    }
}

/// The run, in the process that is sent the signals.
struct Run(Work);

impl Runner for Run {
    async fn run(self: Arc<Self>, step: u32, _attempt: u32, cancel: Cancel) -> AttemptResult {
        assert_eq!(step, 0, "nothing starts after a signal");
        if let Some(command) = self.0.command() {
            return match process::run(&command, &cancel, |_, line| println!("{line}")).await {
                Ok(_) => AttemptResult::done("ended"),
                Err(error) => AttemptResult::failed(Class::Environment, error.to_string()),
            };
        }
        if self.0 != Work::Waiting {
            println!("ready");
        }
        match self.0 {
            Work::Call => cancel.raised(CancelLevel::Terminate).await,
            Work::Waiting => return AttemptResult::failed(Class::Transient, "try again"),
            _ => std::future::pending().await,
        };
        AttemptResult::failed(Class::Environment, "was stopped")
    }
}

/// Not a test by itself: the run that the tests below start in a process of its own.
#[test]
fn the_run_that_is_sent_signals() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work = Work::ALL.into_iter().find(|known| format!("{known:?}") == work).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stops = exec::watch_signals().unwrap();
        let second = Duration::from_secs(1);
        let spec = StepSpec { retries: 1, backoff_ms: 60_000, ..StepSpec::default() };
        let input = Input {
            needs: [vec![], vec![0]].into_iter().collect(),
            steps: vec![spec; 2],
            limits: Limits { terminate_within: second, kill_within: second, ..Limits::jobs(NonZeroU32::MIN) },
        };
        let report = exec::run(input, Arc::new(Run(work)), stops, |event| match event {
            ExecEvent::Retry { .. } => println!("ready"),
            ExecEvent::Finished { step, end, .. } => println!("end {step} {end:?}"),
        });
        println!("over {:?}", report.await.unwrap().summary.stopped);
    });
}

struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    lines: Vec<String>,
    started: Instant,
}

impl Process {
    fn start(work: Work, before: &str) -> Self {
        let binary = std::env::current_exe().unwrap();
        let line = format!("{before} exec \"$0\" --exact signals::the_run_that_is_sent_signals --nocapture");
        let mut child = StdCommand::new("sh")
            .args(["-c", &line])
            .arg(binary)
            .env(WORK, format!("{work:?}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, lines: Vec::new(), started: Instant::now() }
    }

    /// Reads on until there is a line that starts with `start`.
    fn wait_for(&mut self, start: &str) {
        while !self.lines.iter().any(|line| line.starts_with(start)) {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "no `{start}` in {:#?}", self.lines);
            // The test harness of the other process begins its line itself.
            let line = line.trim_end().rsplit(" ... ").next().unwrap().to_owned();
            self.lines.push(line);
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads the rest and waits for its end. Returns how long the process lived.
    fn end(mut self) -> (Vec<String>, Duration) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        self.lines.extend(rest.lines().map(str::to_owned));
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {:#?}", self.lines);
        (self.lines, self.started.elapsed())
    }
}

/// Nothing that was started is alive, by the time the run is over.
fn assert_nothing_is_left(lines: &[String], what: &str) {
    let pids: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("pid ")).collect();
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{what}: {pid} is left: {stat}");
    }
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|known| known == line)
}

#[test]
fn one_signal_ends_everything_in_an_orderly_way() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        // All at once: what takes a second of waiting for each takes it for all together.
        let mut processes = Work::ALL.map(|work| (work, Process::start(work, "")));
        for (_, process) in &mut processes {
            process.wait_for("ready");
            process.send(signal);
        }
        for (work, process) in processes {
            let what = format!("{signal:?}, {work:?}");
            let (lines, took) = process.end();
            assert!(took < LONG, "{what}: took {took:?}");
            assert_nothing_is_left(&lines, &what);
            assert!(has(&lines, "over Some(Interrupt)"), "{what}: {lines:#?}");
            let first = match work {
                Work::Finishing => "end 0 Done",
                Work::Waiting => "end 0 Failed { class: Transient, overdue: None }",
                _ => "end 0 Cancelled { reason: Interrupt, by: None }",
            };
            assert!(has(&lines, first), "{what}: {lines:#?}");
            let second = match work {
                Work::Waiting => "end 1 Blocked { by: 0 }",
                _ => "end 1 Cancelled { reason: Interrupt, by: None }",
            };
            assert!(has(&lines, second), "{what}: {lines:#?}");
            assert_eq!(has(&lines, "orderly"), work == Work::Orderly, "{what}: {lines:#?}");
            assert_eq!(has(&lines, "finished"), work == Work::Finishing, "{what}: {lines:#?}");
            assert!(work != Work::Stubborn || took >= GRACE, "{what}: it was given no grace");
        }
    }
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    for (first, second) in [(Signal::INT, Signal::INT), (Signal::TERM, Signal::INT), (Signal::HUP, Signal::TERM)] {
        for work in [Work::Stubborn, Work::Finishing, Work::Deaf] {
            let what = format!("{first:?}, {second:?}, {work:?}");
            let mut process = Process::start(work, "");
            process.wait_for("ready");
            process.send(first);
            // The first one has arrived when the second step is given up: sent together, they might be taken for one.
            process.wait_for("end 1");
            process.send(second);
            let (lines, took) = process.end();
            assert!(took < LONG, "{what}: took {took:?}");
            assert_nothing_is_left(&lines, &what);
            assert!(has(&lines, "over Some(Kill)"), "{what}: {lines:#?}");
            assert!(has(&lines, "end 0 Cancelled { reason: Kill, by: None }"), "{what}: {lines:#?}");
            assert!(!has(&lines, "finished"), "{what}: {lines:#?}");
        }
    }
}

#[test]
fn a_quit_is_a_second_signal_from_the_start() {
    let mut process = Process::start(Work::Stubborn, "");
    process.wait_for("ready");
    process.send(Signal::QUIT);
    let (lines, took) = process.end();
    assert!(took < LONG, "took {took:?}");
    assert_nothing_is_left(&lines, "quit");
    assert!(has(&lines, "over Some(Kill)"), "{lines:#?}");
}

#[test]
fn a_signal_that_was_ignored_before_stays_ignored() {
    // As under `nohup`: the hang-up is not heard, the next signal is the first.
    let mut process = Process::start(Work::Call, "trap '' HUP;");
    process.wait_for("ready");
    process.send(Signal::HUP);
    process.send(Signal::TERM);
    let (lines, _) = process.end();
    assert!(has(&lines, "over Some(Interrupt)"), "{lines:#?}");
}
