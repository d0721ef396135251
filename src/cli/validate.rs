//! `stack validate`: the stack file and its graph, offline; every error, not only the first.

use super::Stop;
use super::open::{Opened, Reading};
use super::settings::Settings;
use crate::error::ExitCode;
use crate::report::Palette;

pub(super) fn run(settings: &Settings) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Check)?;
    let good = Palette::GOOD;
    settings.console.line(format_args!(
        "{good}valid{good:#}: {} describes stack {} with {} steps",
        opened.stack.shown(),
        opened.graph.stack(),
        opened.graph.len()
    ));
    Ok(ExitCode::Done)
}
