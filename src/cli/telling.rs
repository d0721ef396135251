//! Tells of a run while it goes on.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::Stop;
use super::open;
use super::settings::Settings;
use crate::event::EventReceiver;
use crate::exec::Stops;
use crate::report::{Follow, follow};
use crate::sched::StopReason;

/// How long the output may take once the run was to end at once.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The reporter of a run, which has a thread of its own: an output that nobody reads holds up neither the run nor whoever
/// wants to stop it.
pub(super) struct Telling {
    follower: JoinHandle<Follow>,
    /// The signals since the run began, which gets its own.
    stops: Stops,
}

impl Telling {
    /// Begins to tell. With `keep`, what became of every step is kept and not only the failures.
    pub(super) fn begin(settings: &Settings, receiver: EventReceiver, keep: bool) -> Result<Self, Stop> {
        let stops = open::stops()?;
        let (console, verbose, runtime) = (settings.console.clone(), settings.verbose, Handle::current());
        let follower = tokio::task::spawn_blocking(move || runtime.block_on(follow(receiver, console, verbose, keep)));
        Ok(Self { follower, stops })
    }

    /// Waits until everything is told, and returns what was seen. Once somebody wants the run to stop, or it `is_late`, an
    /// output that nobody reads is waited for no longer than `grace`, and hardly at all when asked again: then nothing is
    /// returned.
    pub(super) async fn end(self, grace: Duration, is_late: bool) -> Option<Follow> {
        let Self { mut follower, mut stops } = self;
        let mut until = is_late.then(|| Instant::now() + grace);
        loop {
            let over = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The reporter has nothing to fail at; if it panicked, the run's own result still counts.
                seen = &mut follower => return Some(seen.unwrap_or_default()),
                Some(reason) = stops.recv() => {
                    let patience = if reason == StopReason::Kill { AT_ONCE } else { grace };
                    let next = Instant::now() + patience;
                    until = Some(until.map_or(next, |until: Instant| until.min(next)));
                }
                () = over => return None,
            }
        }
    }
}
