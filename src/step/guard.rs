//! Guard rails: no cluster that looks remote is changed unless somebody has named it, and which one it is is said before
//! the first change.

use super::{StepError, World};
use crate::config::Driver;
use crate::error::Class;
use crate::event::{EventKind, Events};
use crate::graph::StepKind;
use crate::model::glob;
use crate::tools::kube::looks_local;

/// Makes sure that the cluster may be changed: a context that looks remote has to be named in the file or on the command
/// line. What minikube, kind and k3d run is on this machine.
///
/// # Errors
/// When it looks remote and nobody has named it.
pub(super) async fn may_change(world: &World) -> Result<(), StepError> {
    let Some(spec) = world.stack().cluster.as_ref().filter(|spec| spec.driver.value == Driver::Context) else {
        return Ok(());
    };
    let context = &spec.context;
    let named = spec.allow_contexts.iter().map(|pattern| &pattern.value).chain(&world.options().allow_contexts);
    // Names of contexts have slashes that mean nothing.
    let plain = |text: &str| text.replace('/', "\u{1}");
    if named.into_iter().any(|pattern| glob::matches(&plain(pattern), &plain(context))) {
        return Ok(());
    }
    let cluster = world.connect_cluster().await?;
    if looks_local(context, cluster.address()) {
        return Ok(());
    }
    let reason = format!("context {context} looks remote ({}), and nothing allows changing it", cluster.address());
    Err(StepError::new(Class::Input, reason).with_diagnosis(format!(
        "try `allow-contexts = [\"{context}\"]` in [cluster], or `--allow-context {context}` on the command line"
    )))
}

/// Says, once in a run and before its first change of a cluster, which cluster and which namespaces that is.
pub fn announce(world: &World, kind: StepKind, events: &Events) {
    match kind {
        StepKind::Build | StepKind::Ready | StepKind::Task => return,
        StepKind::Cluster | StepKind::Load | StepKind::Chart => {}
    }
    let Some(spec) = world.stack().cluster.as_ref().filter(|_| world.is_first_change()) else { return };
    let mut namespaces = world.stack().charts.values().map(|chart| chart.namespace.clone()).collect::<Vec<_>>();
    namespaces.sort();
    namespaces.dedup();
    events.send(EventKind::RunTarget {
        context: spec.context.clone(),
        server: world.known_cluster().map(|cluster| cluster.address().to_owned()),
        namespaces,
    });
}
