//! Names what a run waits for, once that takes longer than a moment.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;

use super::{Speaker, World};
use crate::graph::StepKind;

/// A wait that takes longer than this is named: a person takes a second of silence for a program that hangs.
pub const LONG: Duration = Duration::from_millis(700);

/// How often it is looked whether something else is waited for.
const AGAIN: Duration = Duration::from_millis(500);

/// Tells, until it is dropped, what a step waits for before it has started.
pub async fn name_waits(world: &World, kind: StepKind, speaker: &Speaker) -> Infallible {
    let mut named = String::new();
    sleep(LONG).await;
    loop {
        let awaited = world.awaited().unwrap_or_else(|| looking(kind).to_owned());
        if awaited != named {
            speaker.waiting(&awaited);
            named = awaited;
        }
        sleep(AGAIN).await;
    }
}

/// What a step of this kind does before it starts.
fn looking(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Cluster => "asking the cluster",
        StepKind::Build => "reading the files of the image",
        StepKind::Load => "asking the nodes for their images",
        StepKind::Chart => "rendering the chart and reading its release",
        StepKind::Ready => "checking",
        StepKind::Task => "reading the files of the task",
    }
}
