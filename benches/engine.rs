//! What the engine itself costs: `cargo bench --bench engine`.
//!
//! Steps planned and dispatched without work, from 10^3 to 10^6, and 10,000 children of `true` beside ninja.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a table for people, made by a tool for developers")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stack::error::Class;
use stack::exec::{self, AttemptResult, Runner};
use stack::process::{self, Cancel, Command};
use stack::sched::{Effect, Event, Input, Limits, Needs, Scheduler, StepSpec, Verdict};

/// How often what is compared is run, in turns; the best counts.
const ROUNDS: usize = 5;

fn main() {
    scale();
    children();
}

/// A graph with about two needs for each step, among the thousand steps before it. As in a file written by people, what
/// belongs together stands together, in no order.
fn input(steps: u32, jobs: u32) -> Input {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % u64::from(below)) as u32
    };
    // 7919 has no factor in common with 1000: each thousand steps are numbered in an order of their own.
    let number = |at: u32| at / 1000 * 1000 + at % 1000 * 7919 % 1000;
    let mut needs_of = vec![Vec::new(); steps as usize];
    for at in 1..steps {
        let count = random(5);
        needs_of[number(at) as usize] = (0..count).map(|_| number(at - 1 - random(at.min(1000)))).collect();
    }
    let mut needs = Needs::with_capacity(steps as usize, steps as usize * 2);
    for step in needs_of {
        needs.push(step);
    }
    let steps = (0..steps).map(|_| StepSpec { estimate_ms: random(10_000), ..StepSpec::default() }).collect();
    Input { needs, steps, limits: Limits::jobs(NonZeroU32::new(jobs).unwrap_or(NonZeroU32::MIN)) }
}

/// A runner for which every step is as it should be.
struct Nothing;

impl Runner for Nothing {
    fn try_now(&self, _step: u32) -> Option<AttemptResult> {
        Some(AttemptResult::skipped("nothing changed"))
    }

    async fn run(self: Arc<Self>, _step: u32, _attempt: u32, _cancel: Cancel) -> AttemptResult {
        AttemptResult::failed(Class::Internal, "was decided at once")
    }
}

fn scale() {
    println!(
        "Steps without work: planned, and dispatched by the scheduler alone and by the whole engine; processor time, best of {ROUNDS}\n"
    );
    println!("| steps | plan | dispatch | plan and dispatch by the engine | of one step | peak memory |");
    println!("|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for exponent in 3..=6 {
        let steps = 10_u32.pow(exponent);
        let given = input(steps, 8);
        let mut best = [Duration::MAX; 3];
        for _ in 0..ROUNDS {
            let (mine, again) = (given.clone(), given.clone());
            let start = processor_time();
            let mut scheduler = Scheduler::new(mine).expect("the graph has no cycle");
            let planned = processor_time() - start;
            let start = processor_time();
            dispatch(&mut scheduler);
            let dispatched = processor_time() - start;
            drop(scheduler);
            let (_stop, stops) = exec::stop_channel();
            let mut finished = 0_u32;
            let start = processor_time();
            let run = exec::run(again, Arc::new(Nothing), stops, |event| {
                black_box(event);
                finished += 1;
            });
            let report = runtime.block_on(run).expect("the graph has no cycle");
            let engine = processor_time() - start;
            assert_eq!((report.summary.skipped, finished), (steps, steps));
            for (best, time) in best.iter_mut().zip([planned, dispatched, engine]) {
                *best = time.min(*best);
            }
        }
        let [planned, dispatched, engine] = best.map(show);
        let each = best[2].as_nanos() / u128::from(steps);
        let memory = peak_memory() / 1024;
        println!("| {steps} | {planned} | {dispatched} | {engine} | {each} ns | {memory} MB |");
    }
    println!();
}

/// Tells the scheduler at once of each step it starts that it is done.
fn dispatch(scheduler: &mut Scheduler) {
    let mut events = std::collections::VecDeque::from([Event::Begin]);
    while let Some(event) = events.pop_front() {
        for effect in scheduler.handle(event, Duration::ZERO) {
            if let Effect::Start { step, attempt } = *effect {
                events.push_back(Event::Finished { step, attempt, verdict: Verdict::Done });
            }
        }
    }
}

/// The time that this process has been on a processor: what the work takes on a machine that has nothing else to do.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// The most memory that this process has held, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// A runner for which every step is a child of its own.
struct True;

impl Runner for True {
    async fn run(self: Arc<Self>, _step: u32, _attempt: u32, cancel: Cancel) -> AttemptResult {
        match process::run(&Command::new("true"), &cancel, |_, _| {}).await {
            Ok(_) => AttemptResult::done("ran"),
            Err(error) => AttemptResult::failed(error.class(), error.to_string()),
        }
    }
}

fn children() {
    const STEPS: u32 = 10_000;
    let jobs = std::thread::available_parallelism().map_or(2, usize::from) as u32 + 2;
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = "rule r\n  command = true\n".to_owned();
    for step in 0..STEPS {
        writeln!(file, "build o{step}: r").expect("memory");
    }
    std::fs::write(folder.path().join("build.ninja"), file).expect("a file");
    let ninja = || {
        let start = Instant::now();
        let status = std::process::Command::new("ninja")
            .args(["--quiet", "-j", &jobs.to_string()])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => start.elapsed(),
            _ => Duration::MAX,
        }
    };
    let engine = |workers: usize| {
        let mut runtime = match workers {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        if workers > 0 {
            runtime.worker_threads(workers);
        }
        let runtime = runtime.enable_all().build().expect("a runtime");
        let given = Input {
            needs: (0..STEPS).map(|_| None).collect(),
            steps: vec![StepSpec::default(); STEPS as usize],
            limits: Limits::jobs(NonZeroU32::new(jobs).unwrap_or(NonZeroU32::MIN)),
        };
        let (_stop, stops) = exec::stop_channel();
        let start = Instant::now();
        let report = runtime.block_on(exec::run(given, Arc::new(True), stops, |_| {})).expect("no cycle");
        assert_eq!(report.summary.done, STEPS);
        start.elapsed()
    };
    let mut best = [Duration::MAX; 4];
    for _ in 0..ROUNDS {
        for (best, time) in best.iter_mut().zip([ninja(), engine(0), engine(1), engine(2)]) {
            *best = time.min(*best);
        }
    }
    println!("{STEPS} children of `true`, {jobs} at a time, best of {ROUNDS}\n");
    println!("| who | time | of ninja's |");
    println!("|---|---|---|");
    for (who, time) in ["ninja", "engine, one thread", "engine, 1 worker", "engine, 2 workers"].into_iter().zip(best) {
        let ratio = time.as_secs_f64() / best[0].as_secs_f64();
        println!("| {who} | {} | {ratio:.2} |", show(time));
    }
}

fn show(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
