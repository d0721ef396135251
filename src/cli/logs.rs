//! `stack logs`: what the pods behind components print.

use tokio::sync::mpsc;

use super::Stop;
use super::args::Logs;
use super::open::{self, Opened, Reading, stops};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::process::CancelSource;
use crate::report::LogView;
use crate::run;
use crate::step::Options;
use crate::tools::kube::{LogLine, LogOptions};

pub(super) async fn run(settings: &Settings, args: &Logs) -> Result<ExitCode, Stop> {
    let mut stops = stops()?;
    let world = Opened::read(settings, Reading::Look)?.world(settings, Options::default());
    let options = LogOptions {
        follow: args.follow,
        since: args.since,
        tail: args.tail,
        previous: args.previous,
        containers: args.containers.clone(),
    };
    let source = CancelSource::new();
    let cancel = source.cancel();
    let (sender, mut lines) = mpsc::unbounded_channel::<LogLine>();
    let (console, redactor) = (settings.console.clone(), world.redactor().clone());
    let printed = tokio::spawn(async move {
        let mut view = LogView::new(console);
        while let Some(mut line) = lines.recv().await {
            line.line = redactor.text(&line.line);
            view.show(&line);
        }
    });
    let reading = run::follow_logs(&world, &args.names, &options, &cancel, sender);
    let mut interrupted = false;
    tokio::pin!(reading);
    let result = loop {
        tokio::select! {
            result = &mut reading => break result,
            Some(_) = stops.recv(), if !interrupted => {
                interrupted = true;
                source.raise(crate::process::CancelLevel::Terminate);
            }
        }
    };
    // The printer ends with the channel; if it panicked, there is nobody to tell.
    let _ = printed.await;
    let containers = result.map_err(|error| open::missing(&error))?;
    if containers == 0 && !interrupted {
        settings.console.warning("no container of these has run yet");
    }
    Ok(if interrupted && !args.follow { ExitCode::Interrupted } else { ExitCode::Done })
}
