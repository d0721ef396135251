//! `stack schema`: the JSON schema of stack files, for editors.

use super::settings::Settings;
use crate::config;
use crate::error::ExitCode;

pub(super) fn run(settings: &Settings) -> ExitCode {
    let schema = config::json_schema();
    let text = serde_json::to_string_pretty(&schema).unwrap_or_else(|_| schema.to_string());
    settings.console.result_line(text);
    ExitCode::Done
}
