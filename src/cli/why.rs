//! `stack why`: the inputs of a step, and what changed since it was last applied.

use serde_json::json;

use super::Stop;
use super::args::{Format, Why};
use super::open::{self, Opened, Reading};
use super::settings::Settings;
use crate::error::{ExitCode, Failure};
use crate::run;
use crate::step::Options;

pub(super) async fn run(settings: &Settings, args: &Why) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Check)?;
    let found = opened.graph.matching(&args.step).map_err(|error| open::unknown_step(&error))?;
    let step = match found.as_slice() {
        [step] => *step,
        several => {
            let ids: Vec<_> = several.iter().map(|&step| opened.graph.id(step).to_string()).collect();
            let failure = Failure::new(ExitCode::Usage, format!("`{}` means several steps", args.step));
            return Err(failure.with_help(format!("name one of {}", ids.join(", "))).into());
        }
    };
    let world = opened.world(settings, Options::default());
    let explained = run::explain(&world, step).await.map_err(|error| open::missing(&error))?;
    if args.format == Format::Json {
        let inputs: serde_json::Map<_, _> =
            explained.inputs.iter().map(|input| (input.path.clone(), json!(input.full))).collect();
        settings.console.result_line(json!({
            "step": explained.id,
            "action": explained.decision.action,
            "reason": explained.decision.reason,
            "key": explained.key,
            "inputs": inputs,
            "changes": explained.decision.changes,
            "notes": explained.notes,
        }));
    } else {
        settings.console.why(&explained);
    }
    Ok(ExitCode::Done)
}
