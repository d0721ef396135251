//! `stack gc`: old images of this stack, on the host and the nodes, that nothing uses any more.

use super::Stop;
use super::args::{Format, Gc, Steps};
use super::open::{self, Opened, Reading, check_tools, locked};
use super::settings::Settings;
use crate::error::{Class, ExitCode, Failure};
use crate::exec::stop_channel;
use crate::graph::{StepKind, StepSet};
use crate::report::bytes;
use crate::run::{self, PlanOptions, Selected};
use crate::step::{Options, StepError};

pub(super) async fn run(settings: &Settings, args: &Gc) -> Result<ExitCode, Stop> {
    let opened = Opened::read(settings, Reading::Look)?;
    let all = opened.select(&Steps::default())?;
    let world = opened.world(settings, Options::default());
    let of_images = |&step: &crate::graph::StepIndex| {
        matches!(world.graph().id(step).kind(), StepKind::Build | StepKind::Load | StepKind::Cluster)
    };
    let images = StepSet::of(world.graph(), all.iter().filter(of_images));
    check_tools(&world, &images).await?;
    // Nothing of this stack may be built or deployed between the look and the removal.
    let lock = world.store().lock("gc").map_err(locked)?;
    // What is built from the files as they are now is found by looking at all builds.
    let (_never, mut stops) = stop_channel();
    run::plan(&world, Selected::new(world.graph(), &images), PlanOptions::default(), &mut stops).await;
    let mut found = run::gc(&world).await.map_err(|error| open::missing(&error))?;
    if args.format == Format::Text {
        show(settings, &found);
    }
    let nothing = found.remove.is_empty() && found.forget.is_empty();
    if !args.dry_run && !nothing {
        if !args.yes && !open::asked(settings, "remove it? [y/N] ").await? {
            return Err(Failure::new(ExitCode::Usage, "nothing was removed").into());
        }
        run::sweep(&world, &mut found).await.map_err(|error| open::missing(&error))?;
    }
    drop(lock);
    if args.format == Format::Json {
        let text = serde_json::to_string(&found)
            .map_err(|error| open::missing(&StepError::new(Class::Internal, error.to_string())))?;
        settings.console.result_line(text);
    }
    let failed: Vec<_> = found.remove.iter().filter_map(|image| Some((image, image.error.as_ref()?))).collect();
    for (image, error) in &failed {
        settings.console.warning(&format!("{} stays on {}: {error}", image.name, image.place));
    }
    if found.removed && args.format == Format::Text {
        settings.console.result_line(format_args!("{} image names removed", found.remove.len() - failed.len()));
    }
    Ok(if failed.is_empty() { ExitCode::Done } else { ExitCode::StepFailed })
}

/// What goes, and who uses the rest.
fn show(settings: &Settings, gc: &run::Gc) {
    let line = |line: &dyn std::fmt::Display| settings.console.error_line(format_args!("{line}"));
    if gc.remove.is_empty() && gc.forget.is_empty() {
        line(&"nothing to remove: everything is in use");
    } else {
        line(&"this removes:");
    }
    for image in &gc.remove {
        let size = image.size.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
        line(&format_args!("  {} on {}{size}", image.name, image.place));
    }
    for step in &gc.forget {
        line(&format_args!("  what is remembered of {step}, which has left the file"));
    }
    for image in &gc.keep {
        let user = image.used_by.as_deref().unwrap_or_default();
        line(&format_args!("  stays: {} on {}, used by {user}", image.name, image.place));
    }
}
