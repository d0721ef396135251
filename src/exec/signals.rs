//! From signals to requests to stop: the first one is a wish, the second one an order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::sched::StopReason;

/// The requests to stop that a run listens to.
pub type Stops = mpsc::UnboundedReceiver<StopReason>;

/// A way to stop a run by hand.
pub fn stop_channel() -> (mpsc::UnboundedSender<StopReason>, Stops) {
    mpsc::unbounded_channel()
}

/// Listens to SIGINT, SIGTERM and SIGHUP from now on, for as long as the process lives. The first of them asks the run
/// to stop ([`StopReason::Interrupt`]), each further one to do so at once ([`StopReason::Kill`]). SIGQUIT, which is Ctrl-\\,
/// is such a further one from the start.
///
/// A signal that was ignored when the process started stays ignored: that is how `nohup`, and a shell that starts a
/// background job, say that it shall not reach us.
///
/// # Errors
/// If the system refuses the handlers.
pub fn watch_signals() -> io::Result<Stops> {
    let ignored = ignored_at_start();
    let (sender, stops) = stop_channel();
    let listen = |kind: SignalKind| -> io::Result<Option<Signal>> {
        if ignored & (1 << (kind.as_raw_value() - 1)) != 0 { Ok(None) } else { signal(kind).map(Some) }
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut quit = listen(SignalKind::quit())?;
    tokio::spawn(async move {
        let mut reason = StopReason::Interrupt;
        loop {
            tokio::select! {
                () = received(&mut interrupt) => {}
                () = received(&mut terminate) => {}
                () = received(&mut hangup) => {}
                () = received(&mut quit) => reason = StopReason::Kill,
                // Nobody listens any more once the run is over; the system's handlers stay, so that a late Ctrl-C does
                // not cut off the summary.
                () = sender.closed() => return,
            }
            let _ = sender.send(reason);
            reason = StopReason::Kill;
        }
    });
    Ok(stops)
}

async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// The signals that are ignored now, one bit for each, the lowest for signal 1. Nothing where the system does not say.
fn ignored_at_start() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
