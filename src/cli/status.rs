//! `stack status`: cluster, images, releases, deployments, services and pods, with their states.

use std::time::Duration;

use super::Stop;
use super::args::{Format, Status};
use super::open::{self, Opened, Reading, stops};
use super::settings::Settings;
use crate::error::{Class, ExitCode};
use crate::exec::Stops;
use crate::run;
use crate::step::{Options, StepError};

/// The pause between two looks. One look costs a handful of requests.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(settings: &Settings, args: &Status) -> Result<ExitCode, Stop> {
    if args.watch {
        return watch(settings, args.format, stops()?).await;
    }
    let status = look(settings).await?;
    show(settings, args.format, &status, &json(&status)?);
    Ok(if status.is_whole() { ExitCode::Done } else { ExitCode::Missing })
}

/// Shows what there is, and again whenever that has changed, until somebody stops it or nobody reads it any more.
async fn watch(settings: &Settings, format: Format, mut stops: Stops) -> Result<ExitCode, Stop> {
    let mut shown = String::new();
    loop {
        // From the file on, since that may have changed too, and a cluster may have been made again.
        let status = tokio::select! {
            status = look(settings) => status?,
            _ = stops.recv() => return Ok(ExitCode::Interrupted),
        };
        let now = json(&status)?;
        if now != shown {
            if settings.console.is_interactive() {
                settings.console.clear();
            }
            if !show(settings, format, &status, &now) {
                return Ok(ExitCode::Done);
            }
            shown = now;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stops.recv() => return Ok(ExitCode::Interrupted),
        }
    }
}

async fn look(settings: &Settings) -> Result<run::Status, Stop> {
    let world = Opened::read(settings, Reading::Look)?.world(settings, Options::default());
    run::status(&world).await.map_err(|error| open::missing(&error))
}

fn json(status: &run::Status) -> Result<String, Stop> {
    serde_json::to_string(status).map_err(|error| open::missing(&StepError::new(Class::Internal, error.to_string())))
}

/// False when nobody reads any more.
fn show(settings: &Settings, format: Format, status: &run::Status, json: &str) -> bool {
    match format {
        Format::Json => settings.console.result(&format!("{json}\n")),
        Format::Text => settings.console.status(status),
    }
}
