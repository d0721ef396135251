//! The loop: an event to the scheduler, its effects to the world, and again.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use futures::FutureExt;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::{AttemptKind, AttemptResult, ExecEvent, RunReport, Runner, Stops};
use crate::error::Class;
use crate::process::{CancelLevel, CancelSource};
use crate::sched::{Effect, End, Event, Input, InvalidInput, Level, Scheduler, StopReason, Summary, Timer, Verdict};

/// After so many results that came at once, signals and timers are looked at.
const BATCH: u32 = 256;

/// How long what is taken away has to be gone.
const TO_GO: Duration = Duration::from_secs(1);

/// How often it is asked whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// Runs every step of `input` as far as it can be run, and returns when nothing of the run lives any more.
///
/// `on_event` is called from the run's own task, and must not block. Dropping the future ends every attempt.
///
/// # Errors
/// If the input makes no sense; then nothing was started.
pub async fn run<R: Runner>(
    input: Input,
    runner: Arc<R>,
    mut stops: Stops,
    on_event: impl FnMut(ExecEvent) + Send,
) -> Result<RunReport, InvalidInput> {
    let mut scheduler = Scheduler::new(input)?;
    let mut driver = Driver::new(runner, on_event);
    let mut stops_open = true;
    let mut at_once = 0;
    driver.happened.push_back(Event::Begin);
    loop {
        while let Some(event) = driver.happened.pop_front() {
            let now = driver.begun.elapsed();
            if let Some(summary) = driver.carry_out(scheduler.handle(event, now)) {
                // Attempts end before their steps do, so there are none; what is left are timers.
                return Ok(RunReport { summary, took: now });
            }
            at_once += 1;
            if at_once == BATCH {
                break;
            }
        }
        let more = at_once == BATCH;
        at_once = 0;
        let timer = driver.timers.peek().map(|Reverse((at, _))| driver.begun + *at);
        tokio::select! {
            biased;
            stop = stops.recv(), if stops_open => match stop {
                Some(reason) => driver.happened.push_front(Event::Stop(reason)),
                None => stops_open = false,
            },
            // What has ended counts before a timer that is late, as all are after a pause of the whole process.
            Some(joined) = driver.attempts.join_next_with_id() => driver.joined(joined),
            () = async { sleep_until(timer.unwrap_or(driver.begun)).await }, if timer.is_some() => {
                if let Some(Reverse((_, timer))) = driver.timers.pop() {
                    driver.happened.push_back(Event::Timer(timer));
                }
            }
            // Other tasks get their turn, and so do the branches above.
            () = tokio::task::yield_now(), if more => {}
            // Nothing lives, nothing is awaited, and yet the run is not over: that cannot be, and must not hang.
            else => driver.happened.push_back(Event::Stop(StopReason::Kill)),
        }
    }
}

struct Driver<R, F> {
    runner: Arc<R>,
    on_event: F,
    begun: Instant,
    /// What the scheduler has to be told next.
    happened: VecDeque<Event>,
    attempts: JoinSet<AttemptResult>,
    /// The live attempts by the id of their task, and the tasks of steps with a live attempt.
    live: HashMap<tokio::task::Id, Attempt>,
    tasks: HashMap<u32, AbortHandle>,
    /// Of steps that have begun and have not reached their final state.
    begun_steps: HashMap<u32, Begun>,
    timers: BinaryHeap<Reverse<(Duration, Timer)>>,
}

struct Attempt {
    step: u32,
    attempt: u32,
    cancel: CancelSource,
}

struct Begun {
    at: Instant,
    result: Option<AttemptResult>,
}

impl<R: Runner, F: FnMut(ExecEvent) + Send> Driver<R, F> {
    fn new(runner: Arc<R>, on_event: F) -> Self {
        Self {
            runner,
            on_event,
            begun: Instant::now(),
            happened: VecDeque::new(),
            attempts: JoinSet::new(),
            live: HashMap::new(),
            tasks: HashMap::new(),
            begun_steps: HashMap::new(),
            timers: BinaryHeap::new(),
        }
    }

    /// Carries out `effects`; returns the summary if the run is over.
    fn carry_out(&mut self, effects: &[Effect]) -> Option<Summary> {
        for &effect in effects {
            match effect {
                Effect::Start { step, attempt } => self.start(step, attempt),
                Effect::Retry { step, attempt, overdue, delay } => {
                    let result = self.begun_steps.get_mut(&step).and_then(|begun| begun.result.as_mut());
                    let reason = match result {
                        Some(result) => {
                            explain(result, overdue);
                            result.reason.clone()
                        }
                        None => String::new(),
                    };
                    (self.on_event)(ExecEvent::Retry { step, attempt, reason, delay });
                }
                Effect::ArmTimer { timer, at } => self.timers.push(Reverse((at, timer))),
                Effect::Cancel { step, level, .. } => self.cancel(step, level),
                Effect::Finish { step, end } => self.finish(step, end),
                Effect::RunOver(summary) => return Some(summary),
            }
        }
        None
    }

    fn start(&mut self, step: u32, attempt: u32) {
        // The clock is read once for a step that is decided at once, and nothing is allocated but its texts.
        let begun = self.begun_steps.entry(step).or_insert_with(|| Begun { at: Instant::now(), result: None });
        let now = catch_unwind(AssertUnwindSafe(|| self.runner.try_now(step)));
        if let Some(result) = now.unwrap_or_else(|panic| Some(panicked(&*panic))) {
            self.happened.push_back(Event::Finished { step, attempt, verdict: verdict(&result) });
            begun.result = Some(result);
            return;
        }
        let source = CancelSource::new();
        let attempt_run = Arc::clone(&self.runner).run(step, attempt, source.cancel());
        let guarded = AssertUnwindSafe(attempt_run).catch_unwind();
        let handle = self.attempts.spawn(async move { guarded.await.unwrap_or_else(|panic| panicked(&*panic)) });
        self.live.insert(handle.id(), Attempt { step, attempt, cancel: source });
        self.tasks.insert(step, handle);
    }

    fn cancel(&mut self, step: u32, level: Level) {
        let Some(task) = self.tasks.get(&step) else { return };
        let level = match level {
            Level::Terminate => CancelLevel::Terminate,
            Level::Kill => CancelLevel::Kill,
            Level::Abandon => return self.abandon(step),
        };
        if let Some(attempt) = self.live.get(&task.id()) {
            attempt.cancel.raise(level);
        }
    }

    /// Takes an attempt away. One that blocks its thread can't be, so another task stands for it from now on, and waits no
    /// longer than [`TO_GO`].
    fn abandon(&mut self, step: u32) {
        let Some(task) = self.tasks.remove(&step) else { return };
        let Some(attempt) = self.live.remove(&task.id()) else { return };
        task.abort();
        let last = self.attempts.spawn(async move {
            let until = Instant::now() + TO_GO;
            while !task.is_finished() && Instant::now() < until {
                sleep(LOOK).await;
            }
            AttemptResult::failed(Class::Internal, "did not stop when it was asked to, and was taken away")
        });
        self.live.insert(last.id(), attempt);
        self.tasks.insert(step, last);
    }

    /// A task has ended.
    fn joined(&mut self, joined: Result<(tokio::task::Id, AttemptResult), JoinError>) {
        let (id, result) = match joined {
            Ok(joined) => joined,
            Err(error) => (error.id(), AttemptResult::failed(Class::Internal, format!("its task failed: {error}"))),
        };
        let Some(Attempt { step, attempt, .. }) = self.live.remove(&id) else { return };
        self.tasks.remove(&step);
        self.happened.push_back(Event::Finished { step, attempt, verdict: verdict(&result) });
        if let Some(begun) = self.begun_steps.get_mut(&step) {
            begun.result = Some(result);
        }
    }

    fn finish(&mut self, step: u32, end: End) {
        let (mut result, took) = match self.begun_steps.remove(&step) {
            Some(Begun { at, result }) => (result, at.elapsed()),
            None => (None, Duration::ZERO),
        };
        if let (Some(result), End::Failed { overdue, .. }) = (&mut result, end) {
            explain(result, overdue);
        }
        (self.on_event)(ExecEvent::Finished { step, end, result, took });
    }
}

/// An attempt that its deadline ended only knows that it was asked to stop.
fn explain(result: &mut AttemptResult, overdue: Option<Duration>) {
    if let Some(deadline) = overdue {
        result.reason = format!("took longer than {} s", deadline.as_secs_f64());
    }
}

fn verdict(result: &AttemptResult) -> Verdict {
    match result.kind {
        AttemptKind::Done => Verdict::Done,
        AttemptKind::Skipped => Verdict::Skipped,
        AttemptKind::Failed(class) => Verdict::Failed(class),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> AttemptResult {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    AttemptResult::failed(Class::Internal, format!("a mistake of `stack` itself: {what}"))
}
