//! Runs on tokio: what the driver adds to the scheduler.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::process::{CancelLevel, Command, ProcessError};
use crate::sched::{Failing, Input, Limits, Needs, StepSpec, StopReason};

/// A runner made of two functions.
struct Fake<N, R> {
    now: N,
    run: R,
}

impl<N, R, F> Runner for Fake<N, R>
where
    N: Fn(u32) -> Option<AttemptResult> + Send + Sync + 'static,
    R: Fn(u32, u32, Cancel) -> F + Send + Sync + 'static,
    F: Future<Output = AttemptResult> + Send + 'static,
{
    fn try_now(&self, step: u32) -> Option<AttemptResult> {
        (self.now)(step)
    }

    fn run(self: Arc<Self>, step: u32, attempt: u32, cancel: Cancel) -> impl Future<Output = AttemptResult> + Send {
        (self.run)(step, attempt, cancel)
    }
}

fn later<R, F>(run: R) -> Arc<impl Runner>
where
    R: Fn(u32, u32, Cancel) -> F + Send + Sync + 'static,
    F: Future<Output = AttemptResult> + Send + 'static,
{
    Arc::new(Fake { now: |_| None, run })
}

/// A chain of steps, each of which needs the one before.
fn chain(steps: u32) -> Input {
    let needs: Needs = (0..steps).map(|step| step.checked_sub(1)).collect();
    Input { needs, steps: vec![StepSpec::default(); steps as usize], limits: Limits::jobs(NonZeroU32::new(4).unwrap()) }
}

async fn run_all<R: Runner>(input: Input, runner: Arc<R>) -> (RunReport, Vec<ExecEvent>) {
    let (_stop, stops) = stop_channel();
    let mut events = Vec::new();
    let report = run(input, runner, stops, |event| events.push(event)).await.unwrap();
    (report, events)
}

fn ends(events: &[ExecEvent]) -> Vec<(u32, End)> {
    events
        .iter()
        .filter_map(|event| match event {
            ExecEvent::Finished { step, end, .. } => Some((*step, *end)),
            ExecEvent::Retry { .. } => None,
        })
        .collect()
}

#[tokio::test]
async fn what_is_decided_at_once_is_never_spawned() {
    let runner = Arc::new(Fake {
        now: |step| (step != 1).then(|| AttemptResult::skipped("equal")),
        run: async |step, _, _| {
            assert_eq!(step, 1);
            AttemptResult::done("changed").with_note("sent 1 MB")
        },
    });
    let (report, events) = run_all(chain(3), runner).await;
    assert_eq!((report.summary.done, report.summary.skipped), (1, 2));
    assert_eq!(ends(&events), [(0, End::Skipped), (1, End::Done), (2, End::Skipped)]);
    let ExecEvent::Finished { result: Some(result), .. } = &events[1] else { panic!("{events:?}") };
    assert_eq!(result.note.as_deref(), Some("sent 1 MB"));
}

#[tokio::test]
async fn a_panic_is_a_failure_of_the_step_alone() {
    let later = later(async |_, _, _| panic!("boo {}", 1));
    let at_once = Arc::new(Fake { now: |_| panic!("boo 1"), run: async |_, _, _| AttemptResult::done("") });
    let (_, events) = run_all(chain(2), later).await;
    let (_, same) = run_all(chain(2), at_once).await;
    for events in [events, same] {
        let failed = End::Failed { class: Class::Internal, overdue: None };
        assert_eq!(ends(&events), [(0, failed), (1, End::Blocked { by: 0 })]);
        let ExecEvent::Finished { result: Some(result), .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!(result.reason, "a mistake of `stack` itself: boo 1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_after_its_backoff() {
    let mut input = chain(1);
    input.steps[0] = StepSpec { retries: 2, backoff_ms: 1500, ..StepSpec::default() };
    let runner = later(async |_, attempt, _| match attempt {
        3 => AttemptResult::done("worked"),
        _ => AttemptResult::failed(Class::Transient, format!("reset {attempt}")),
    });
    let (report, events) = run_all(input, runner).await;
    assert_eq!(report.summary.done, 1);
    let retry = |attempt, delay| ExecEvent::Retry {
        step: 0,
        attempt,
        reason: format!("reset {attempt}"),
        delay: Duration::from_millis(delay),
    };
    assert_eq!(events[..2], [retry(1, 1500), retry(2, 3000)]);
    assert!(report.took >= Duration::from_millis(4500));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_past_its_deadline_is_stopped_and_failed() {
    let mut input = chain(1);
    input.steps[0].deadline_ms = NonZeroU32::new(2500);
    let runner = later(async |_, _, cancel: Cancel| {
        cancel.raised(CancelLevel::Terminate).await;
        AttemptResult::failed(Class::Input, "was stopped")
    });
    let (report, events) = run_all(input, runner).await;
    assert_eq!(report.summary.failed, 1);
    let ExecEvent::Finished { end, result: Some(result), took, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(*end, End::Failed { class: Class::Transient, overdue: Some(Duration::from_millis(2500)) });
    assert_eq!(result.reason, "took longer than 2.5 s");
    assert!(*took >= Duration::from_millis(2500));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_heeds_nothing_is_taken_away() {
    let input = chain(2);
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Arc::clone(&dropped);
    let (stop, stops) = stop_channel();
    let runner = later(move |_, _, _| {
        let count = Count(Arc::clone(&count));
        stop.send(StopReason::Interrupt).unwrap();
        async move {
            let _count = count;
            std::future::pending().await
        }
    });
    let mut events = Vec::new();
    let report = run(input, runner, stops, |event| events.push(event)).await.unwrap();
    assert_eq!(report.summary.stopped, Some(StopReason::Interrupt));
    let cancelled = End::Cancelled { reason: StopReason::Interrupt, by: None };
    assert_eq!(ends(&events), [(1, cancelled), (0, cancelled)]);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_blocks_its_thread_does_not_keep_the_run() {
    let mut input = chain(1);
    input.limits.kill_within = Duration::from_millis(1);
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let (stop, stops) = stop_channel();
    let runner = later(move |_, _, _| {
        let blocked = Arc::clone(&blocked);
        stop.send(StopReason::Kill).unwrap();
        async move {
            let _ = blocked.lock().unwrap().recv();
            AttemptResult::done("ended at last")
        }
    });
    let report = run(input, runner, stops, |_| {}).await.unwrap();
    assert_eq!((report.summary.cancelled, report.summary.stopped), (1, Some(StopReason::Kill)));
    drop(release);
}

#[tokio::test]
async fn dropping_the_run_ends_the_children_of_its_attempts() {
    let (sender, mut pids) = tokio::sync::mpsc::unbounded_channel::<u32>();
    let sender = Mutex::new(sender);
    let runner = later(move |_, _, cancel| {
        let sender = sender.lock().unwrap().clone();
        async move {
            let command = Command::shell("trap '' TERM; echo $$; sleep 1000");
            let result = crate::process::run(&command, &cancel, |_, line| {
                sender.send(line.parse().unwrap()).unwrap();
            });
            match result.await {
                Err(error @ ProcessError::Cancelled { .. }) => panic!("nobody cancelled it: {error}"),
                _ => AttemptResult::done("ended"),
            }
        }
    });
    let task = tokio::spawn(run_all(chain(1), runner));
    let pid = pids.recv().await.unwrap();
    task.abort();
    let start = std::time::Instant::now();
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(start.elapsed() < Duration::from_secs(20), "the child is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn independent_steps_run_side_by_side() {
    let barrier = Arc::new(tokio::sync::Barrier::new(4));
    let input = Input { needs: (0..4).map(|_| None).collect(), ..chain(4) };
    let runner = later(move |_, _, _| {
        let barrier = Arc::clone(&barrier);
        async move {
            // Would wait for ever if the four were not there at the same time.
            barrier.wait().await;
            AttemptResult::done("met")
        }
    });
    let (report, _) = run_all(input, runner).await;
    assert_eq!(report.summary.done, 4);
}

#[tokio::test]
async fn keep_going_goes_on_beside_a_failure() {
    let mut input = Input { needs: [None, Some(0), None].into_iter().collect(), ..chain(3) };
    input.limits.failing = Failing::KeepGoing;
    input.limits.jobs = NonZeroU32::MIN;
    let runner = Arc::new(Fake {
        now: |step| (step == 0).then(|| AttemptResult::failed(Class::Input, "no")),
        run: async |_, _, _| AttemptResult::done("yes"),
    });
    let (report, _) = run_all(input, runner).await;
    let Summary { done, failed, blocked, .. } = report.summary;
    assert_eq!((done, failed, blocked), (1, 1, 1));
}

#[tokio::test]
async fn a_run_of_nothing_is_over_at_once() {
    let (report, events) = run_all(chain(0), later(async |_, _, _| AttemptResult::done(""))).await;
    assert_eq!(report.summary, Summary::default());
    assert!(events.is_empty());
}
