//! Which pods a name on the command line means, and what they print.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::error::Class;
use crate::graph::StepKind;
use crate::process::Cancel;
use crate::step::{self, StepError, World};
use crate::tools::kube::{LogLine, LogOptions, Object, PodSelector, logs};

/// Sends what the pods of the named components print: of charts by name, id or pattern, of workloads and services by name,
/// of images by id. Of everything when nothing is named. Says how many containers that were.
///
/// # Errors
/// When a name means nothing, or the cluster can't be asked.
pub async fn follow_logs(
    world: &Arc<World>,
    names: &[String],
    options: &LogOptions,
    cancel: &Cancel,
    lines: mpsc::UnboundedSender<LogLine>,
) -> Result<usize, StepError> {
    let followed = follow(world, names, options, cancel, lines).await;
    followed.map_err(|error| error.redacted(world.redactor()))
}

async fn follow(
    world: &Arc<World>,
    names: &[String],
    options: &LogOptions,
    cancel: &Cancel,
    lines: mpsc::UnboundedSender<LogLine>,
) -> Result<usize, StepError> {
    let mut releases = Vec::new();
    for chart in world.stack().charts.keys() {
        releases.push((chart.to_string(), step::release_objects(world, chart).await?));
    }
    let mut selectors = Vec::new();
    for name in names {
        let found = named(world, &releases, name);
        if found.is_empty() {
            let known = releases.iter().flat_map(|(_, objects)| objects).filter_map(PodSelector::of);
            let known = known.map(|selector| selector.owner).collect::<Vec<_>>().join(", ");
            let reason = format!("`{name}` is no component of this stack that runs");
            let help = if known.is_empty() { "nothing of it runs".to_owned() } else { format!("what runs: {known}") };
            return Err(StepError::new(Class::Input, reason).with_diagnosis(help));
        }
        selectors.extend(found);
    }
    if names.is_empty() {
        selectors.extend(releases.iter().flat_map(|(_, objects)| objects).filter_map(PodSelector::of));
    }
    let cluster = world.cluster().await?;
    let read = logs(cluster, &selectors, options, cancel, lines).await;
    read.map_err(|error| StepError::of(&error, error.class(), error.help()))
}

/// The pods that a name means.
fn named(world: &World, releases: &[(String, Vec<Object>)], name: &str) -> Vec<PodSelector> {
    let mut charts = Vec::new();
    let mut images = Vec::new();
    for step in world.graph().matching(name).unwrap_or_default() {
        let id = world.graph().id(step);
        match id.kind() {
            StepKind::Chart => charts.push(id.name().to_owned()),
            StepKind::Build | StepKind::Load => {
                images.extend(world.stack().images.get(id.name()).map(|image| image.repository.value.clone()));
            }
            StepKind::Cluster | StepKind::Ready | StepKind::Task => {}
        }
    }
    let mut found = Vec::new();
    for (chart, objects) in releases {
        let whole = charts.contains(chart);
        for object in objects {
            if let Some(selector) = PodSelector::of(object) {
                let runs =
                    |image: &String| selector.images.iter().any(|own| own.split([':', '@']).next() == Some(image));
                if whole || is_called(object, name) || images.iter().any(runs) {
                    found.push(selector);
                }
            } else if object.kind() == "Service" && is_called(object, name) {
                found.extend(object.at("/spec/selector").map(|labels| PodSelector {
                    namespace: object.namespace().to_owned(),
                    owner: object.reference().to_string(),
                    labels: labels.clone(),
                    images: Vec::new(),
                }));
            }
        }
    }
    found
}

/// Whether `name` or `kind/name` means an object.
fn is_called(object: &Object, name: &str) -> bool {
    match name.split_once('/') {
        Some((kind, name)) => object.kind().eq_ignore_ascii_case(kind.trim_end_matches('s')) && object.name() == name,
        None => object.name() == name,
    }
}
