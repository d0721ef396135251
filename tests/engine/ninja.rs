//! The same graphs under Debian's `ninja-build`: what runs, what fails, what is never started, and in which order.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use stack::exec::{self, AttemptResult, Runner};
use stack::process::{self, Cancel};
use stack::sched::Verdict;

use crate::case::{AttemptCase, Case, Rng, StepCase};
use crate::check::{Precision, check};
use crate::reality::{child_line, real_case, trace_of_log};
use crate::trace::What;

/// A case as a `build.ninja`. Its outputs are never made, so everything is out of date.
fn build_file(case: &Case, log: &Path) -> String {
    let mut file = String::new();
    for (pool, slots) in case.pools.iter().enumerate() {
        writeln!(file, "pool p{pool}\n  depth = {slots}").unwrap();
    }
    for (step, known) in (0..).zip(&case.steps) {
        let line = child_line(case, log, step, 1);
        writeln!(file, "rule r{step}\n  command = {line}\n  pool = p{}", known.pool).unwrap();
        write!(file, "build o{step}: r{step}").unwrap();
        for need in &known.needs {
            write!(file, " o{need}").unwrap();
        }
        writeln!(file).unwrap();
    }
    file
}

/// Runs `case` under ninja, as far as it goes; returns what the children wrote.
fn run_ninja(case: &Case) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, "").unwrap();
    std::fs::write(folder.path().join("build.ninja"), build_file(case, &log)).unwrap();
    let output = Command::new("ninja")
        .args(["-k", "0", "-j", &case.jobs.to_string()])
        .current_dir(folder.path())
        .output()
        .expect("`ninja` has to be installed for this test: `apt-get install ninja-build`");
    let fails = case.steps.iter().any(|step| matches!(step.attempts[0].verdict, Verdict::Failed(_)));
    assert!(output.status.success() || fails, "{}", String::from_utf8_lossy(&output.stdout));
    std::fs::read_to_string(log).unwrap()
}

struct Children {
    case: Case,
    log: std::path::PathBuf,
}

impl Runner for Children {
    async fn run(self: Arc<Self>, step: u32, attempt: u32, cancel: Cancel) -> AttemptResult {
        let line = process::Command::shell(child_line(&self.case, &self.log, step, attempt));
        match (process::run(&line, &cancel, |_, _| {}).await, self.case.attempt(step, attempt).verdict) {
            (Ok(_), _) => AttemptResult::done("ended"),
            (Err(error), Verdict::Failed(class)) => AttemptResult::failed(class, error.to_string()),
            (Err(error), _) => panic!("{error}"),
        }
    }
}

/// Runs the same children under `stack`'s engine.
async fn run_stack(case: &Case) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    std::fs::write(&log, "").unwrap();
    let (_stop, stops) = exec::stop_channel();
    let runner = Arc::new(Children { case: case.clone(), log: log.clone() });
    exec::run(case.input(), runner, stops, |_| {}).await.unwrap();
    std::fs::read_to_string(log).unwrap()
}

fn started(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.starts_with('s')).collect()
}

fn without_retries(case: Case) -> Case {
    let steps = case.steps.into_iter().map(|step| {
        let attempts = vec![step.attempts[0]];
        StepCase { retries: 0, attempts, ..step }
    });
    Case { steps: steps.collect(), ..case }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ninja_runs_the_same_steps_in_an_order_of_the_same_rules() {
    for seed in 200..212 {
        let case = without_retries(real_case(seed, 40));
        // Its pools have no parts.
        let case = Case { within: vec![None; case.pools.len()], ..case };
        let (ours, theirs) = (run_stack(&case).await, run_ninja(&case));
        for (who, log) in [("stack", &ours), ("ninja", &theirs)] {
            let trace = trace_of_log(&case, log, &[]);
            check(&case, &trace, Precision::Observed)
                .unwrap_or_else(|what| panic!("seed {seed}, {who}: {what}\n{log}"));
        }
        let [ours, theirs] = [&ours, &theirs].map(|log| started(log).into_iter().collect::<BTreeSet<_>>());
        assert_eq!(ours, theirs, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ninja_agrees_to_the_step_where_the_order_is_forced() {
    let rng = &mut Rng::new(7);
    // One chain through all steps, numbered at random, with further needs that change nothing.
    let order = rng.permutation(60);
    let mut steps =
        vec![StepCase { attempts: vec![AttemptCase { takes: 0, ..AttemptCase::PLAIN }], ..StepCase::plain() }; 60];
    for at in 1..60_u64 {
        let mut needs = vec![order[at as usize - 1]];
        needs.extend((0..3).map(|_| order[rng.below(at) as usize]));
        needs.sort_unstable();
        needs.dedup();
        steps[order[at as usize] as usize].needs = needs;
    }
    let case = Case {
        steps,
        jobs: 4,
        pools: vec![1000],
        within: vec![None],
        keep_going: true,
        deadline: None,
        stops: Vec::new(),
        noise: 0,
    };
    let (ours, theirs) = (run_stack(&case).await, run_ninja(&case));
    assert_eq!(started(&ours), started(&theirs));
    let forced: Vec<u32> = trace_of_log(&case, &ours, &[])
        .iter()
        .filter_map(|record| if let What::Start { step, .. } = record.what { Some(step) } else { None })
        .collect();
    assert_eq!(forced, order);
}
