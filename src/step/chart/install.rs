//! What Helm does for a chart step: dependencies, recovery of what was left half done, the upgrade itself, and what
//! upgrades that failed have left behind.

use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::inputs::{self, HelmValues};
use super::{PATIENCE, TIMEOUT, host};
use crate::config::{Chart as Spec, ChartSource as Source, ValuesSource};
use crate::error::Class;
use crate::event::Stream;
use crate::model::release::{Release, ReleaseStatus};
use crate::process::Cancel;
use crate::step::{Speaker, StepError, World, of_helm, of_kube, values};
use crate::tools::helm::{self, ChartSource, HelmError, PostRenderer, Recovered, Session, Upgrade, releases};
use crate::tools::kube::records::Holder;
use crate::tools::kube::{Cluster, Object, manifest};
use crate::tools::redact::Redactor;

/// The Helm of this run, for a namespace of this cluster.
pub(in crate::step) async fn session<'a>(
    world: &'a World,
    cluster: &'a Cluster,
    namespace: &'a str,
    redactor: &'a Redactor,
    cancel: &'a Cancel,
) -> Result<Session<'a>, StepError> {
    Ok(Session {
        helm: world.helm().await?,
        context: cluster.context(),
        kubeconfig: cluster.kubeconfig(),
        namespace,
        cancel,
        redactor,
    })
}

/// Fetches the dependencies of a chart of this project, where what its lock names is not there; whether it had to.
pub(super) async fn dependencies(session: &Session<'_>, spec: &Spec, speaker: &Speaker) -> Result<bool, StepError> {
    let Source::Path(path) = &spec.source else { return Ok(false) };
    if !helm::needs_dependencies(&path.absolute) {
        return Ok(false);
    }
    speaker.progress("fetching the chart's dependencies", None, None);
    let said = |stream: Stream, line: &str| speaker.output(stream, line);
    session.dependency_build(&path.absolute, said).await.map_err(of_helm)?;
    Ok(true)
}

/// Whether nothing can be rendered before dependencies have been fetched.
pub(super) fn lacks_dependencies(spec: &Spec) -> bool {
    match &spec.source {
        Source::Path(path) => helm::lacks_dependencies(&path.absolute),
        Source::Published { .. } => false,
    }
}

/// Makes a release usable again that was left in the middle of an operation.
pub(super) async fn recover(
    world: &World,
    session: &Session<'_>,
    cluster: &Cluster,
    release: &str,
    holder: Option<&Holder>,
    speaker: &Speaker,
) -> Result<(), StepError> {
    match helm::recover(session, cluster, release, holder, &host(world), PATIENCE).await.map_err(of_helm)? {
        Recovered::Nothing | Recovered::Waited => {}
        Recovered::Failed { status, .. } => {
            speaker.warn(&format!("release {release} was left {status} by somebody who is gone; going on from there"))
        }
        Recovered::Removed => {
            speaker.warn(&format!("the removal of release {release} was left half done; it is done now"));
        }
    }
    Ok(())
}

/// What Helm is to install.
pub(super) fn wanted(world: &World, spec: &Spec, values: Option<&HelmValues>) -> Result<Upgrade, StepError> {
    Ok(Upgrade {
        release: spec.release.clone(),
        chart: match &spec.source {
            Source::Path(path) => ChartSource::Path(path.absolute.clone()),
            Source::Published { chart, version, repo } => {
                ChartSource::Remote { name: chart.value.clone(), version: version.clone(), repo: repo.clone() }
            }
        },
        values_files: values_files(spec),
        values: values.map_or_else(|| Json::Object(Map::new()), |HelmValues(values)| values.clone()),
        timeout: spec.options.timeout.unwrap_or(TIMEOUT),
        post_renderer: post_renderer(world, spec)?,
        adopt: spec.adopt,
        stack: Some(world.stack_name().to_owned()),
        description: Some(format!("applied by stack {}", env!("CARGO_PKG_VERSION"))),
    })
}

fn values_files(spec: &Spec) -> Vec<PathBuf> {
    spec.values
        .iter()
        .map(|source| match source {
            ValuesSource::File(path) => path.absolute.clone(),
            ValuesSource::Url(url) => PathBuf::from(url),
        })
        .collect()
}

fn post_renderer(world: &World, spec: &Spec) -> Result<Option<PostRenderer>, StepError> {
    let words = spec.post_render.iter().map(|argument| values::text(world, argument)).collect::<Result<Vec<_>, _>>();
    let words = words.map_err(|step| StepError::new(Class::Internal, format!("post-render waits for {step}")))?;
    let mut words = words.into_iter();
    Ok(words.next().map(|program| {
        let own = inputs::own_program(world, &program);
        PostRenderer { program: own.unwrap_or_else(|| PathBuf::from(program)), args: words.collect() }
    }))
}

/// Has Helm install or upgrade the release. What the chart says to its user is told later, once, from the release.
pub(super) async fn upgrade(
    session: &Session<'_>,
    cluster: &Cluster,
    upgrade: &Upgrade,
    speaker: &Speaker,
) -> Result<(), StepError> {
    let mut notes = false;
    let said = |stream: Stream, line: &str| {
        notes |= stream == Stream::Stdout && line.trim_end() == "NOTES:";
        if !notes {
            speaker.output(stream, line);
        }
    };
    match session.upgrade(upgrade, said).await {
        Ok(upgraded) => Ok(upgraded),
        Err(error) => Err(explained(cluster, error).await),
    }
}

/// Objects that upgrades which failed have made and that are not part of the release any more. Helm compares a new
/// revision with the last one that was deployed, so that what a failed one in between has made would stay for ever.
pub(super) async fn sweep(cluster: &Cluster, now: &Release, speaker: &Speaker) -> Result<(), StepError> {
    let history = releases::history(cluster, &now.namespace, &now.name).await.map_err(of_helm)?;
    let before = history.iter().rev().filter(|revision| revision.revision < now.revision);
    // Older failures were swept when the revision after them was deployed.
    let failed = before.take_while(|revision| revision.status == ReleaseStatus::Failed);
    let mut kept = None;
    for revision in failed {
        let found = releases::revision(cluster, &now.namespace, &now.name, revision.revision).await.map_err(of_helm)?;
        // A revision that could not even be rendered has left nothing.
        let Some(left) = found.and_then(|found| manifest::objects(&found.manifest, &now.namespace).ok()) else {
            continue;
        };
        let kept = match &mut kept {
            Some(kept) => kept,
            None => kept.insert(super::objects(now)?),
        };
        for object in left {
            let reference = object.reference();
            if !kept.iter().any(|kept| kept.reference().same_as(&reference))
                && remove_left(cluster, now, &object).await?
            {
                speaker.warn(&format!("removed {reference}, which revision {} had left", revision.revision));
            }
        }
    }
    Ok(())
}

/// Removes an object that a failed revision made, when it says itself that it belongs to the release.
async fn remove_left(cluster: &Cluster, release: &Release, object: &Object) -> Result<bool, StepError> {
    let Ok(kind) = cluster.kind(object.api_version(), object.kind()).await else { return Ok(false) };
    let namespace =
        if kind.namespaced && object.namespace().is_empty() { &release.namespace } else { object.namespace() };
    let Some(live) = cluster.get(&kind, namespace, object.name()).await.map_err(of_kube)? else { return Ok(false) };
    if !helm::owns(release, &live) || live.annotation("helm.sh/resource-policy") == Some("keep") {
        return Ok(false);
    }
    cluster.delete(&kind, namespace, object.name(), false).await.map_err(of_kube)
}

/// The error of Helm. A kind that the cluster does not serve in the version of the chart is looked for in the other versions
/// of its group.
async fn explained(cluster: &Cluster, error: HelmError) -> StepError {
    if let HelmError::Failed { message, .. } = &error {
        for (kind, api_version) in unserved(message) {
            if let Some(served) = cluster.served_as(&api_version, &kind).await {
                let help = format!("`apiVersion: {served}` for {kind}: the kind is there as {served}");
                return StepError::of(&error, error.class(), Some(help));
            }
        }
    }
    of_helm(error)
}

/// The kinds with their `apiVersion` of which Helm says that the cluster does not know them.
fn unserved(message: &str) -> Vec<(String, String)> {
    let quoted = |text: &str| text.split('"').nth(1).map(str::to_owned);
    let plain = message.replace('\\', "");
    let parts = plain.split("no matches for kind ").skip(1);
    parts.filter_map(|part| Some((quoted(part)?, quoted(part.split_once(" in version ")?.1)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_not_served_are_read_from_what_helm_says() {
        let three = "resource mapping not found for name: \"web\" namespace: \"\" from \"\": no matches for kind \"PodDisruptionBudget\" in version \"policy/v1beta1\"\nensure CRDs are installed first";
        let expected = [("PodDisruptionBudget".to_owned(), "policy/v1beta1".to_owned())];
        assert_eq!(unserved(three), expected);
        assert_eq!(unserved(&three.replace('"', "\\\"")), expected, "as a log has it");
        assert!(unserved("no matches for kind \"W\"").is_empty());
    }
}
