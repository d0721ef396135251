//! Real children, side by side: the same promises, read from what the children themselves wrote down.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stack::error::Class;
use stack::exec::{self, AttemptResult, ExecEvent, RunReport, Runner};
use stack::process::{self, Cancel, Command, ProcessError};
use stack::sched::{End, StopReason, Verdict};

use crate::case::{Case, Rng, StepCase, graph};
use crate::check::{Precision, check};
use crate::trace::{Record, What};

/// What the child of an attempt does, as a shell line: it writes down its start and its end in `log`.
pub fn child_line(case: &Case, log: &Path, step: u32, attempt: u32) -> String {
    let does = case.attempt(step, attempt);
    let code = if matches!(does.verdict, Verdict::Failed(_)) { 7 } else { 0 };
    let seconds = does.takes as f64 / 1000.0;
    let log = log.display();
    format!("echo s {step} {attempt} >>{log}; sleep {seconds}; echo e {step} {attempt} >>{log}; exit {code}")
}

/// Runs the children of a case, and writes down in the order of the run's own task what it does.
struct Children {
    case: Case,
    log: PathBuf,
    starts: Arc<Mutex<Vec<Record>>>,
    begun: Instant,
}

impl Runner for Children {
    fn run(self: Arc<Self>, step: u32, attempt: u32, cancel: Cancel) -> impl Future<Output = AttemptResult> + Send {
        // Up to here this is the run's own task.
        let at = self.begun.elapsed().as_millis() as u64;
        self.starts.lock().unwrap().push(Record { at, what: What::Start { step, attempt } });
        async move {
            let command = Command::shell(child_line(&self.case, &self.log, step, attempt));
            match process::run(&command, &cancel, |_, _| {}).await {
                Ok(_) => AttemptResult::done("ended"),
                Err(error @ (ProcessError::Exit { .. } | ProcessError::Cancelled { .. })) => {
                    let class = match self.case.attempt(step, attempt).verdict {
                        Verdict::Failed(class) => class,
                        Verdict::Done | Verdict::Skipped => Class::Input,
                    };
                    AttemptResult::failed(class, error.to_string())
                }
                Err(error) => panic!("{error}: {error:?}"),
            }
        }
    }
}

/// Runs `case` on real children; stops it after `stop_after`. Returns what the run told and what its children wrote.
async fn run_children(case: &Case, stop_after: Option<Duration>) -> (RunReport, Vec<Record>, String) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, "").unwrap();
    let trace = Arc::new(Mutex::new(Vec::new()));
    let begun = Instant::now();
    let runner = Children { case: case.clone(), log: log.clone(), starts: Arc::clone(&trace), begun };
    let (stop, stops) = exec::stop_channel();
    let asked = Arc::new(AtomicBool::new(false));
    if let Some(after) = stop_after {
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            asked.store(true, Ordering::SeqCst);
            let _ = stop.send(StopReason::Interrupt);
        });
    }
    let mut told_stop = false;
    let mut attempts: HashMap<u32, u32> = HashMap::new();
    let on_event = |event| {
        let mut trace = trace.lock().unwrap();
        let at = begun.elapsed().as_millis() as u64;
        let started: HashSet<(u32, u32)> = trace
            .iter()
            .filter_map(|record| match record.what {
                What::Start { step, attempt } => Some((step, attempt)),
                _ => None,
            })
            .collect();
        let mut record = |what| trace.push(Record { at, what });
        match event {
            ExecEvent::Retry { step, attempt, delay, .. } => {
                attempts.insert(step, attempt);
                record(What::Ended { step, attempt, verdict: Verdict::Failed(Class::Transient) });
                record(What::Retry { step, delay: delay.as_millis() as u64 });
            }
            ExecEvent::Finished { step, end, result, .. } => {
                // The run tells of a stop by what it does: it cancels, or it gives up a retry that it has announced.
                let tries = started.iter().filter(|(other, _)| *other == step).count();
                let gave_up = matches!(end, End::Failed { class: Class::Transient, .. })
                    && tries <= usize::from(case.steps[step as usize].retries)
                    && asked.load(Ordering::SeqCst);
                let cancelled = matches!(end, End::Cancelled { reason: StopReason::Interrupt, .. });
                if (cancelled || gave_up) && !told_stop {
                    told_stop = true;
                    record(What::Stop(StopReason::Interrupt));
                }
                if let Some(result) = result {
                    let verdict = match result.kind {
                        exec::AttemptKind::Done => Verdict::Done,
                        exec::AttemptKind::Skipped => Verdict::Skipped,
                        exec::AttemptKind::Failed(class) => Verdict::Failed(class),
                    };
                    let attempt = attempts.get(&step).copied().unwrap_or(0) + 1;
                    // A step whose wait for a retry was cut short ended with the attempt that was told already.
                    if started.contains(&(step, attempt)) {
                        record(What::Ended { step, attempt, verdict });
                    }
                }
                record(What::Final { step, end });
            }
        }
    };
    let report = exec::run(case.input(), Arc::new(runner), stops, on_event).await.unwrap();
    let records = trace.lock().unwrap().clone();
    (report, records, std::fs::read_to_string(log).unwrap())
}

/// The trace that the children wrote, of a run that kept going; `told` says how the steps without
/// children ended.
pub fn trace_of_log(case: &Case, log: &str, told: &[(u32, End)]) -> Vec<Record> {
    let mut trace = Vec::new();
    let mut record = |at: usize, what| trace.push(Record { at: at as u64, what });
    let mut written = vec![false; case.steps.len()];
    for (at, line) in log.lines().enumerate() {
        let mut words = line.split(' ');
        let mark = words.next().unwrap();
        let [step, attempt] = [(); 2].map(|()| words.next().unwrap().parse::<u32>().unwrap());
        written[step as usize] = true;
        if mark == "s" {
            record(at, What::Start { step, attempt });
            continue;
        }
        let verdict = case.attempt(step, attempt).verdict;
        record(at, What::Ended { step, attempt, verdict });
        match verdict {
            Verdict::Done | Verdict::Skipped => record(at, What::Final { step, end: End::Done }),
            Verdict::Failed(class) => {
                let again = class == Class::Transient && attempt <= u32::from(case.steps[step as usize].retries);
                record(
                    at,
                    if again {
                        What::Retry { step, delay: 0 }
                    } else {
                        What::Final { step, end: End::Failed { class, overdue: None } }
                    },
                );
            }
        }
    }
    for &(step, end) in told.iter().filter(|(step, _)| !written[*step as usize]) {
        record(log.len(), What::Final { step, end });
    }
    trace
}

/// A case for real children: brief, without waits.
pub fn real_case(seed: u64, size: u32) -> Case {
    let rng = &mut Rng::new(seed);
    let mut case = Case::of_size(rng, size);
    let needs = graph(rng, size);
    for (step, needs) in case.steps.iter_mut().zip(needs) {
        for attempt in &mut step.attempts {
            attempt.takes = if rng.chance(1, 3) { rng.below(20) } else { 0 };
            if attempt.verdict == Verdict::Skipped {
                attempt.verdict = Verdict::Done;
            }
        }
        let attempts = std::mem::take(&mut step.attempts);
        *step = StepCase { needs, pool: step.pool, retries: step.retries, attempts, ..StepCase::plain() };
    }
    Case { deadline: None, stops: Vec::new(), keep_going: true, jobs: case.jobs.min(8), ..case }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_children_are_run_as_promised() {
    for seed in 0..12 {
        let case = real_case(seed, 40);
        let (report, told, log) = run_children(&case, None).await;
        assert_eq!(report.summary.cancelled, 0);
        check(&case, &told, Precision::Observed).unwrap_or_else(|what| panic!("seed {seed}, told: {what}\n{told:#?}"));
        let ends: Vec<(u32, End)> = told
            .iter()
            .filter_map(|record| if let What::Final { step, end } = record.what { Some((step, end)) } else { None })
            .collect();
        assert_eq!(ends.len(), 40, "seed {seed}");
        let written = trace_of_log(&case, &log, &ends);
        check(&case, &written, Precision::Observed).unwrap_or_else(|what| panic!("seed {seed}, log: {what}\n{log}"));
        for record in written {
            if let What::Final { step, end } = record.what {
                assert!(ends.contains(&(step, end)), "seed {seed}, step {step}: {end:?} was not told");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_children_start_no_more_after_a_failure_or_a_stop() {
    for seed in 100..112 {
        let case = Case { keep_going: false, ..real_case(seed, 40) };
        let stop_after = (seed % 2 == 0).then(|| Duration::from_millis(seed % 7 * 5));
        let (report, told, log) = run_children(&case, stop_after).await;
        check(&case, &told, Precision::Observed).unwrap_or_else(|what| panic!("seed {seed}: {what}\n{told:#?}"));
        let started = log.lines().filter(|line| line.starts_with('s')).count();
        let starts = told.iter().filter(|record| matches!(record.what, What::Start { .. })).count();
        // A child that was stopped right away may not have come to write.
        assert!(started <= starts, "seed {seed}");
        let summary = report.summary;
        let ends = summary.done + summary.failed + summary.blocked + summary.cancelled;
        assert_eq!(ends, 40, "seed {seed}");
        if let Some(reason) = summary.stopped {
            assert!(summary.failed > 0 || reason == StopReason::Interrupt, "seed {seed}");
        }
    }
}
