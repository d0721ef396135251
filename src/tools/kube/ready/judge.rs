//! From assessments to a verdict: how long each trouble has lasted, and whether that is too long. Pure: the clock is an
//! argument.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::assess::{Assessment, Progress};
use super::trouble::{Cause, Rules, Severity, Trouble};
use crate::tools::kube::object::ObjectRef;

/// What is to be done now.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Verdict {
    /// Everything is ready.
    Ready,
    /// Something is on its way. Look again when something changes, and at this moment at the latest.
    Wait(Option<Timestamp>),
    /// Something will not become ready by itself.
    Failed,
}

/// A trouble seen for the first time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// The object that it keeps from becoming ready.
    pub object: ObjectRef,
    /// The trouble.
    pub trouble: Trouble,
}

type Key = (ObjectRef, Cause, Option<String>, Option<String>);

/// Remembers since when each trouble lasts.
#[derive(Debug)]
pub struct Judge {
    rules: Rules,
    begun: bool,
    seen: HashMap<Key, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    since: Timestamp,
    /// Restarts from before anybody was waiting do not count.
    restarts_before: i64,
}

impl Judge {
    /// Begins with a clean memory.
    pub fn new(rules: Rules) -> Self {
        Self { rules, begun: false, seen: HashMap::new() }
    }

    /// The verdict over everything that has to become ready, and the troubles that are new.
    pub fn judge(&mut self, assessments: &[Assessment], now: Timestamp) -> (Verdict, Vec<Sighting>) {
        let mut seen = HashMap::new();
        let mut sightings = Vec::new();
        let mut failed = false;
        let mut look_again: Option<Timestamp> = None;
        let mut sooner = |at: Timestamp| look_again = Some(look_again.map_or(at, |known: Timestamp| known.min(at)));
        for assessment in assessments {
            failed |= assessment.progress == Progress::Failed;
            assessment.look_again.into_iter().for_each(&mut sooner);
            if assessment.progress == Progress::Ready {
                continue;
            }
            for trouble in &assessment.troubles {
                let (cause, pod, container) = trouble.key();
                let key = (assessment.object.clone(), cause, pod.map(str::to_owned), container.map(str::to_owned));
                let known = self.seen.get(&key).copied();
                let entry = known
                    .unwrap_or(Seen { since: now, restarts_before: if self.begun { 0 } else { trouble.restarts } });
                // What is not there yet is likely to come with the next event.
                let worth_a_word = trouble.severity != Severity::Slow && trouble.cause != Cause::Missing;
                if known.is_none() && worth_a_word {
                    sightings.push(Sighting { object: assessment.object.clone(), trouble: trouble.clone() });
                }
                seen.insert(key, entry);
                match self.fails_at(trouble, &entry, now) {
                    Some(at) if at <= now => failed = true,
                    Some(at) => sooner(at),
                    None => {}
                }
            }
        }
        self.seen = seen;
        self.begun = true;
        let verdict = if failed {
            Verdict::Failed
        } else if assessments.iter().all(|assessment| assessment.progress == Progress::Ready) {
            Verdict::Ready
        } else {
            Verdict::Wait(look_again)
        };
        (verdict, sightings)
    }

    fn fails_at(&self, trouble: &Trouble, seen: &Seen, now: Timestamp) -> Option<Timestamp> {
        let after = |patience| {
            let patience = SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX);
            seen.since.checked_add(patience).ok()
        };
        match trouble.severity {
            Severity::AtOnce => Some(now),
            Severity::AfterGrace if trouble.restarts - seen.restarts_before >= self.rules.max_restarts.max(1) => {
                Some(now)
            }
            Severity::AfterGrace => after(self.rules.grace),
            Severity::AfterRoom => after(self.rules.unschedulable),
            Severity::Slow => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn assessment(progress: Progress, troubles: Vec<Trouble>) -> Assessment {
        Assessment {
            object: ObjectRef {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                namespace: "a".into(),
                name: "web".into(),
            },
            progress,
            state: String::new(),
            detail: String::new(),
            troubles,
            look_again: None,
            warning: None,
        }
    }

    fn crash(cause: Cause, restarts: i64) -> Trouble {
        let mut trouble = Trouble::new(cause, Severity::AfterGrace, "");
        trouble.pod = Some("web-1".into());
        trouble.container = Some("web".into());
        trouble.restarts = restarts;
        trouble
    }

    fn judge() -> Judge {
        Judge::new(Rules { grace: Duration::from_secs(30), max_restarts: 3, ..Rules::default() })
    }

    #[test]
    fn the_grace_runs_from_the_first_sight_through_all_phases_of_a_crash() {
        let mut judge = judge();
        let progressing = |trouble| [assessment(Progress::Progressing, vec![trouble])];
        let (verdict, seen) = judge.judge(&progressing(crash(Cause::Crash, 0)), now(0));
        assert_eq!((verdict, seen.len()), (Verdict::Wait(Some(now(30))), 1));
        let (verdict, seen) = judge.judge(&progressing(crash(Cause::OutOfMemory, 1)), now(20));
        assert_eq!((verdict, seen.len()), (Verdict::Wait(Some(now(30))), 0));
        let (verdict, seen) = judge.judge(&progressing(crash(Cause::Start, 1)), now(25));
        assert_eq!((verdict, seen.len()), (Verdict::Wait(Some(now(30))), 0));
        assert_eq!(judge.judge(&progressing(crash(Cause::Crash, 1)), now(30)).0, Verdict::Failed);
    }

    #[test]
    fn a_trouble_that_passes_begins_anew() {
        let mut judge = judge();
        let _ = judge.judge(&[assessment(Progress::Progressing, vec![crash(Cause::Crash, 0)])], now(0));
        let _ = judge.judge(&[assessment(Progress::Progressing, vec![])], now(20));
        let (verdict, _) = judge.judge(&[assessment(Progress::Progressing, vec![crash(Cause::Crash, 1)])], now(31));
        assert_eq!(verdict, Verdict::Wait(Some(now(61))));
    }

    #[test]
    fn restarts_count_from_when_the_wait_began() {
        let mut judge = judge();
        let progressing = |restarts| [assessment(Progress::Progressing, vec![crash(Cause::Crash, restarts)])];
        assert!(matches!(judge.judge(&progressing(50), now(0)).0, Verdict::Wait(_)));
        assert!(matches!(judge.judge(&progressing(52), now(1)).0, Verdict::Wait(_)));
        assert_eq!(judge.judge(&progressing(53), now(2)).0, Verdict::Failed);
    }

    #[test]
    fn what_is_final_fails_at_once_and_what_is_slow_never() {
        let trouble = |severity| [assessment(Progress::Progressing, vec![Trouble::new(Cause::Probe, severity, "")])];
        assert_eq!(judge().judge(&trouble(Severity::AtOnce), now(0)).0, Verdict::Failed);
        assert_eq!(judge().judge(&trouble(Severity::Slow), now(0)).0, Verdict::Wait(None));
        assert_eq!(judge().judge(&trouble(Severity::AfterRoom), now(0)).0, Verdict::Wait(Some(now(30))));
        assert_eq!(judge().judge(&[assessment(Progress::Ready, vec![])], now(0)).0, Verdict::Ready);
        assert_eq!(judge().judge(&[], now(0)).0, Verdict::Ready);
    }
}
