//! Every event in every state, as a table to be read; and the rules that the table does not show.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use super::*;
use crate::error::Class;

fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Step 0 with a retry and a deadline; step 1 needs it; step 2 needs nothing, in a pool of its own.
fn input() -> Input {
    let first = StepSpec { retries: 1, backoff_ms: 10, deadline_ms: NonZeroU32::new(100), ..StepSpec::default() };
    let other = StepSpec { pool: 1, ..StepSpec::default() };
    Input {
        needs: [vec![], vec![0], vec![]].into_iter().collect(),
        steps: vec![first, StepSpec::default(), other],
        limits: Limits {
            pools: vec![nonzero(1), nonzero(1)],
            terminate_within: at(30),
            kill_within: at(20),
            ..Limits::jobs(nonzero(2))
        },
    }
}

const FINISHED: fn(u32, u32, Verdict) -> Event = |step, attempt, verdict| Event::Finished { step, attempt, verdict };
const TRANSIENT: Verdict = Verdict::Failed(Class::Transient);
const OVERDUE: Event = Event::Timer(Timer::Attempt { step: 0, attempt: 1 });

/// A way into each state of step 0, by name: the limits of jobs, and the events at time 0.
fn states() -> Vec<(&'static str, u32, Vec<Event>)> {
    let done = FINISHED(0, 1, Verdict::Done);
    let broken = FINISHED(0, 1, Verdict::Failed(Class::Input));
    vec![
        ("not begun", 2, vec![]),
        ("ready", 1, vec![Event::Begin]),
        ("running", 2, vec![Event::Begin]),
        ("overdue", 2, vec![Event::Begin, OVERDUE]),
        ("stopping", 2, vec![Event::Begin, Event::Stop(StopReason::Interrupt)]),
        ("backoff", 2, vec![Event::Begin, FINISHED(0, 1, TRANSIENT)]),
        (
            "second attempt",
            2,
            vec![Event::Begin, FINISHED(0, 1, TRANSIENT), Event::Timer(Timer::Backoff { step: 0, attempt: 1 })],
        ),
        ("done", 2, vec![Event::Begin, done]),
        ("failed, fail-fast", 2, vec![Event::Begin, broken]),
        ("all over", 2, vec![Event::Begin, done, FINISHED(1, 1, Verdict::Done), FINISHED(2, 1, Verdict::Done)]),
    ]
}

fn events() -> Vec<Event> {
    let mut events = vec![Event::Begin];
    for verdict in [Verdict::Done, Verdict::Skipped, TRANSIENT, Verdict::Failed(Class::Input)] {
        events.extend([1, 2].map(|attempt| FINISHED(0, attempt, verdict)));
    }
    events.extend([
        Event::Timer(Timer::Run),
        OVERDUE,
        Event::Timer(Timer::Attempt { step: 0, attempt: 2 }),
        Event::Timer(Timer::Backoff { step: 0, attempt: 1 }),
        Event::Timer(Timer::Harder { step: 0, attempt: 1, level: Level::Kill }),
        Event::Timer(Timer::Harder { step: 0, attempt: 1, level: Level::Abandon }),
    ]);
    events
        .extend([StopReason::FailFast, StopReason::Deadline, StopReason::Interrupt, StopReason::Kill].map(Event::Stop));
    events
}

#[test]
fn every_event_in_every_state() {
    let mut table = String::new();
    for (name, jobs, before) in states() {
        writeln!(table, "## {name}").unwrap();
        let mut ignored = Vec::new();
        for event in events() {
            let mut input = input();
            input.limits.jobs = nonzero(jobs);
            if name == "ready" {
                // With one job, the step with more behind it goes first.
                input.steps[2].estimate_ms = 1000;
            }
            let mut scheduler = Scheduler::new(input).unwrap();
            for &event in &before {
                let _ = scheduler.handle(event, at(0));
            }
            let effects = scheduler.handle(event, at(50));
            if effects.is_empty() {
                ignored.push(format!("{event:?}"));
                continue;
            }
            writeln!(table, "{event:?}").unwrap();
            for effect in effects {
                writeln!(table, "  -> {effect:?}").unwrap();
            }
        }
        writeln!(table, "nothing comes of {}\n", ignored.join(", ")).unwrap();
    }
    insta::assert_snapshot!(table);
}

/// Tells `events` to a scheduler, one each millisecond, and returns all effects.
fn effects_of(input: Input, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
    let mut scheduler = Scheduler::new(input).unwrap();
    let mut all = Vec::new();
    for (time, event) in (0..).zip(events) {
        all.extend_from_slice(scheduler.handle(event, at(time)));
    }
    all
}

fn starts(effects: &[Effect]) -> Vec<u32> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Start { step, .. } = effect { Some(*step) } else { None })
        .collect()
}

fn plain(needs: Needs, jobs: u32) -> Input {
    Input { steps: vec![StepSpec::default(); needs.len()], needs, limits: Limits::jobs(nonzero(jobs)) }
}

#[test]
fn only_a_worse_reason_replaces_a_reason() {
    let reasons = [StopReason::FailFast, StopReason::Deadline, StopReason::Interrupt, StopReason::Kill];
    for first in reasons {
        for second in reasons {
            let mut scheduler = Scheduler::new(plain([None].into_iter().collect(), 1)).unwrap();
            for event in [Event::Begin, Event::Stop(first), Event::Stop(second)] {
                let _ = scheduler.handle(event, at(0));
            }
            assert_eq!(scheduler.stopped(), Some(first.max(second)));
        }
    }
}

#[test]
fn a_deadline_by_which_all_ends_well_has_stopped_nothing() {
    let late = Event::Timer(Timer::Run);
    for (ends, stopped) in [
        ([Verdict::Done, Verdict::Skipped], None),
        ([Verdict::Done, Verdict::Failed(Class::Input)], Some(StopReason::Deadline)),
    ] {
        let input = plain([None, None].into_iter().collect(), 2);
        let ended = [FINISHED(0, 1, ends[0]), FINISHED(1, 1, ends[1])];
        let effects = effects_of(input, [Event::Begin, late].into_iter().chain(ended));
        let Some(Effect::RunOver(summary)) = effects.last() else { panic!("{effects:?}") };
        assert_eq!(summary.stopped, stopped, "{ends:?}");
    }
}

#[test]
fn a_full_pool_holds_up_nobody_else() {
    let mut input = plain((0..4).map(|_| None).collect(), 3);
    input.limits.pools = vec![nonzero(1), NonZeroU32::MAX];
    for step in &mut input.steps[..3] {
        step.estimate_ms = 1000;
    }
    input.steps[3].pool = 1;
    assert_eq!(starts(&effects_of(input, [Event::Begin])), [0, 3]);
}

#[test]
fn a_part_of_a_pool_takes_its_slots() {
    // 0 and 1 in a part with 4 slots of a pool with 2, 2 and 3 in the pool itself, 4 in neither.
    let mut input = plain((0..5).map(|_| None).collect(), 8);
    input.limits.pools = vec![nonzero(2), nonzero(4), NonZeroU32::MAX];
    input.limits.within = vec![None, Some(0)];
    for (step, pool) in [1, 1, 0, 0, 2].into_iter().enumerate() {
        input.steps[step].pool = pool;
    }
    let done = |step| FINISHED(step, 1, Verdict::Done);
    assert_eq!(starts(&effects_of(input.clone(), [Event::Begin])), [0, 1, 4]);
    assert_eq!(starts(&effects_of(input.clone(), [Event::Begin, done(1), done(0)])), [0, 1, 4, 2, 3]);
    // A full part keeps nobody from the rest of the pool.
    input.limits.pools[1] = nonzero(1);
    assert_eq!(starts(&effects_of(input, [Event::Begin, done(2)])), [0, 2, 4, 3]);
}

#[test]
fn the_longest_remaining_path_starts_first() {
    // 0 alone and long; 1 -> 2, together longer.
    let mut input = plain([None, None, Some(1)].into_iter().collect(), 1);
    input.steps[0].estimate_ms = 100;
    input.steps[1].estimate_ms = 60;
    input.steps[2].estimate_ms = 60;
    let done = |step| FINISHED(step, 1, Verdict::Done);
    assert_eq!(starts(&effects_of(input, [Event::Begin, done(1), done(0)])), [1, 0, 2]);
}

#[test]
fn a_blocked_step_names_the_root() {
    // 0 -> 1 -> 2, and 3 -> 2.
    let mut input = plain([vec![], vec![0], vec![1, 3], vec![]].into_iter().collect(), 2);
    input.limits.failing = Failing::KeepGoing;
    let broken = Verdict::Failed(Class::Input);
    let effects = effects_of(input, [Event::Begin, FINISHED(0, 1, broken), FINISHED(3, 1, broken)]);
    let ends: Vec<(u32, End)> = effects
        .iter()
        .filter_map(|effect| if let Effect::Finish { step, end } = effect { Some((*step, *end)) } else { None })
        .collect();
    let failed = End::Failed { class: Class::Input, overdue: None };
    assert_eq!(ends, [(0, failed), (1, End::Blocked { by: 0 }), (2, End::Blocked { by: 0 }), (3, failed)]);
    let summary = Summary { failed: 2, blocked: 2, ..Summary::default() };
    assert_eq!(effects.last(), Some(&Effect::RunOver(summary)));
}

#[test]
fn waits_double_and_stop_growing() {
    let mut input = plain([None].into_iter().collect(), 1);
    input.steps[0] = StepSpec { retries: 100, backoff_ms: 400, ..StepSpec::default() };
    let mut scheduler = Scheduler::new(input).unwrap();
    let _ = scheduler.handle(Event::Begin, at(0));
    let mut waits = Vec::new();
    for attempt in 1..=100 {
        for effect in scheduler.handle(FINISHED(0, attempt, TRANSIENT), at(0)) {
            if let Effect::Retry { delay, .. } = effect {
                waits.push(delay.as_millis());
            }
        }
        let _ = scheduler.handle(Event::Timer(Timer::Backoff { step: 0, attempt }), at(0));
    }
    assert_eq!(waits.len(), 100);
    assert_eq!(waits[..4], [400, 800, 1600, 3200]);
    assert!(waits[8..].iter().all(|&wait| wait == 60_000));
}

#[test]
fn a_run_that_is_stopped_before_it_begins_starts_nothing() {
    let effects =
        effects_of(plain([None].into_iter().collect(), 1), [Event::Stop(StopReason::Interrupt), Event::Begin]);
    assert_eq!(starts(&effects), [0; 0]);
    assert!(matches!(effects.last(), Some(Effect::RunOver(Summary { cancelled: 1, .. }))));
}

#[test]
fn input_that_makes_no_sense_is_refused() {
    let refused = |change: fn(&mut Input)| {
        let mut input = input();
        change(&mut input);
        Scheduler::new(input).unwrap_err()
    };
    assert_eq!(refused(|input| input.steps.truncate(2)), InvalidInput::Lengths { needs: 3, specs: 2 });
    assert_eq!(refused(|input| input.steps[1].pool = 2), InvalidInput::UnknownPool { step: 1, pool: 2 });
    for (within, pool, whole) in [(vec![Some(2)], 0, 2), (vec![Some(0)], 0, 0), (vec![Some(1), Some(0)], 0, 1)] {
        let mut input = input();
        input.limits.within = within;
        assert_eq!(Scheduler::new(input).unwrap_err(), InvalidInput::BadPart { pool, within: whole });
    }
    let needs = |needs: [Vec<u32>; 3]| needs.into_iter().collect::<Needs>();
    let mut unknown = input();
    unknown.needs = needs([vec![], vec![3], vec![]]);
    assert_eq!(Scheduler::new(unknown).unwrap_err(), InvalidInput::UnknownNeed { step: 1, need: 3 });
    let mut cycle = input();
    cycle.needs = needs([vec![1], vec![0], vec![]]);
    assert!(matches!(Scheduler::new(cycle).unwrap_err(), InvalidInput::Cycle { .. }));
}
