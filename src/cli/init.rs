//! `stack init`: a first stack file from what is in the folder.

use std::io::Write;

use super::Stop;
use super::args::Init;
use super::settings::Settings;
use crate::error::{ExitCode, Failure};
use crate::init::{found, name_of, stack_file};
use crate::report::Palette;

const FILE: &str = "stack.toml";

pub(super) fn run(settings: &Settings, args: &Init) -> Result<ExitCode, Stop> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(ExitCode::Usage, "the current folder is gone").with_source(error))?;
    let folder = here.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let found = found(&here);
    let text = stack_file(&name_of(args.name.as_deref().unwrap_or(&folder)), &found);
    if args.stdout {
        settings.console.result(&text);
        return Ok(ExitCode::Done);
    }
    let written = std::fs::File::create_new(here.join(FILE)).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let failure = Failure::new(ExitCode::Usage, format!("can't write {FILE}"));
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => failure.with_help("there is one: `--stdout` only shows a new one"),
            _ => failure.with_source(error),
        }
    })?;
    let good = Palette::GOOD;
    let (images, charts) = (found.images.len(), found.charts.len());
    settings.console.line(format_args!("{good}wrote{good:#} {FILE}: {images} images, {charts} charts"));
    settings.console.line("look it through, then `stack plan` shows what it would do");
    Ok(ExitCode::Done)
}
