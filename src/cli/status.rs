//! `stack status`: cluster, images, releases, deployments, services and pods, with their states.

use super::Stop;
use super::args::{Format, Status};
use super::open::{self, Opened};
use super::settings::Settings;
use crate::error::{Class, ExitCode};
use crate::run;
use crate::step::{Options, StepError};

pub(super) async fn run(settings: &Settings, args: &Status) -> Result<ExitCode, Stop> {
    let world = Opened::read(settings, true)?.world(settings, Options::default());
    let status = run::status(&world).await.map_err(|error| open::missing(&error))?;
    if args.format == Format::Json {
        let text = serde_json::to_string(&status)
            .map_err(|error| open::missing(&StepError::new(Class::Internal, error.to_string())))?;
        settings.console.result_line(text);
    } else {
        settings.console.status(&status);
    }
    let gone = status.cluster.is_some_and(|cluster| cluster.view.is_none());
    Ok(if gone { ExitCode::Missing } else { ExitCode::Done })
}
