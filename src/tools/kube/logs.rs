//! Logs of pods: of those that there are, and, when they are followed, of those that come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::AsyncBufReadExt;
use http::Request;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cluster::{Cluster, with_query};
use super::error::KubeError;
use super::kinds::Kind;
use super::object::Object;
use super::ready::pod_containers;
use super::watch::FeedKey;
use crate::process::{Cancel, CancelLevel};

/// Which pods.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSelector {
    /// Their namespace.
    pub namespace: String,
    /// What makes them: `Deployment web`.
    pub owner: String,
    /// The labels that they carry.
    pub labels: Value,
    /// The images that they run.
    pub images: Vec<String>,
}

impl PodSelector {
    /// The pods that an object of a manifest makes, or is; none of what runs no pods.
    pub fn of(object: &Object) -> Option<Self> {
        let template = match object.kind() {
            "Pod" => "",
            "CronJob" => "/spec/jobTemplate/spec/template",
            _ => "/spec/template",
        };
        let labels = match (object.kind(), object.at("/spec/selector/matchLabels")) {
            ("Job", _) => serde_json::json!({ "job-name": object.name() }),
            (_, Some(labels)) => labels.clone(),
            (_, None) => object.at(&format!("{template}/metadata/labels"))?.clone(),
        };
        let containers = object.list(&format!("{template}/spec/containers"));
        if containers.is_empty() || labels.as_object().is_none_or(serde_json::Map::is_empty) {
            return None;
        }
        let images = containers.iter().filter_map(|container| container.get("image")?.as_str());
        Some(Self {
            namespace: object.namespace().to_owned(),
            owner: object.reference().to_string(),
            images: images.map(str::to_owned).collect(),
            labels,
        })
    }

    fn selects(&self, pod: &Object) -> bool {
        let labels = self.labels.as_object().into_iter().flatten();
        pod.namespace() == self.namespace && labels.into_iter().all(|(name, value)| pod.label(name) == value.as_str())
    }
}

/// How much of the logs, and of which containers.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on with what comes.
    pub follow: bool,
    /// Only what is younger than this.
    pub since: Option<Duration>,
    /// Only so many of the last lines of each container.
    pub tail: Option<u64>,
    /// Of the containers' lives before these.
    pub previous: bool,
    /// Only containers of these names; of all when there are none.
    pub containers: Vec<String>,
}

/// A line that a container printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where the pod is.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// The line, without its end.
    pub line: String,
}

/// A life of a container: a container that is started again begins another log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Life {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    restarts: i64,
}

/// Sends what the containers of pods have printed; with `follow`, until cancelled. Says how many containers that were.
///
/// # Errors
/// When the pods can't be listed. A log that can't be read is left out while others can.
pub async fn logs(
    cluster: &Cluster,
    selectors: &[PodSelector],
    options: &LogOptions,
    cancel: &Cancel,
    lines: mpsc::UnboundedSender<LogLine>,
) -> Result<usize, KubeError> {
    if options.follow {
        return follow(cluster, selectors, options, cancel, lines).await;
    }
    let mut seen = HashSet::new();
    let mut failure = None;
    for namespace in namespaces(selectors) {
        let pods = cluster.list(&pods(), Some(namespace), None, None).await?;
        let mut of_pods = lives(pods.iter(), selectors, options).collect::<Vec<_>>();
        of_pods.sort_by(|a, b| (&a.pod, &a.container).cmp(&(&b.pod, &b.container)));
        for life in of_pods {
            match read(cluster, &life, options, &lines).await {
                Ok(()) => _ = seen.insert(life),
                Err(error) => failure = Some(error),
            }
        }
    }
    match failure {
        Some(error) if seen.is_empty() => Err(error),
        Some(_) | None => Ok(seen.len()),
    }
}

async fn follow(
    cluster: &Cluster,
    selectors: &[PodSelector],
    options: &LogOptions,
    cancel: &Cancel,
    lines: mpsc::UnboundedSender<LogLine>,
) -> Result<usize, KubeError> {
    let key = |namespace: &str| FeedKey { kind: pods(), namespace: Some(namespace.to_owned()), fields: None };
    let feeds = namespaces(selectors).into_iter().map(|namespace| cluster.feed(key(namespace)).0).collect::<Vec<_>>();
    let mut changes = feeds.iter().map(|feed| feed.changes()).collect::<Vec<_>>();
    let mut seen = HashSet::new();
    let mut readers = JoinSet::new();
    loop {
        changes.iter_mut().for_each(|change| change.mark_unchanged());
        if let Some(trouble) = feeds.iter().filter_map(|feed| feed.trouble()).find(|trouble| trouble.refused) {
            return Err(KubeError::Forbidden { action: "watch pods".to_owned(), message: trouble.message });
        }
        let objects = feeds.iter().flat_map(|feed| feed.objects()).collect::<Vec<Arc<Object>>>();
        for life in lives(objects.iter().map(AsRef::as_ref), selectors, options) {
            if seen.insert(life.clone()) {
                let (cluster, options, lines) = (cluster.clone(), options.clone(), lines.clone());
                // What can't be followed now, such as a container that is being removed, may be said by the next.
                readers.spawn(async move { read(&cluster, &life, &options, &lines).await });
            }
        }
        let changed = futures::future::select_all(changes.iter_mut().map(|change| Box::pin(change.changed())));
        tokio::select! {
            _ = cancel.raised(CancelLevel::Terminate) => return Ok(seen.len()),
            () = lines.closed() => return Ok(seen.len()),
            _ = changed => {}
        }
    }
}

fn pods() -> Kind {
    Kind { api_version: "v1".to_owned(), kind: "Pod".to_owned(), plural: "pods".to_owned(), namespaced: true }
}

fn namespaces(selectors: &[PodSelector]) -> Vec<&str> {
    let mut namespaces = selectors.iter().map(|selector| selector.namespace.as_str()).collect::<Vec<_>>();
    namespaces.sort_unstable();
    namespaces.dedup();
    namespaces
}

/// The containers that have, or had, something to say.
fn lives<'a>(
    pods: impl Iterator<Item = &'a Object>,
    selectors: &[PodSelector],
    options: &LogOptions,
) -> impl Iterator<Item = Life> {
    let wanted = |name: &str| options.containers.is_empty() || options.containers.iter().any(|only| only == name);
    let of_pod = |pod: &'a Object| {
        pod_containers(pod)
            .filter(|container| container.has_run() && wanted(container.name()))
            .map(|container| Life {
                namespace: pod.namespace().to_owned(),
                pod: pod.name().to_owned(),
                uid: pod.uid().to_owned(),
                container: container.name().to_owned(),
                restarts: container.restarts(),
            })
            .collect::<Vec<_>>()
    };
    pods.filter(|pod| selectors.iter().any(|selector| selector.selects(pod)))
        .flat_map(of_pod)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Sends the lines of one life of a container, to the end of the log or of the container.
async fn read(
    cluster: &Cluster,
    life: &Life,
    options: &LogOptions,
    lines: &mpsc::UnboundedSender<LogLine>,
) -> Result<(), KubeError> {
    let action = format!("read the log of {}", life.pod);
    let path = format!("/api/v1/namespaces/{}/pods/{}/log", life.namespace, life.pod);
    let since = options.since.map(|since| since.as_secs().max(1).to_string());
    let tail = options.tail.map(|tail| tail.to_string());
    let mut query = vec![("container", life.container.as_str())];
    query.extend(options.follow.then_some(("follow", "true")));
    query.extend(options.previous.then_some(("previous", "true")));
    query.extend(since.as_deref().map(|since| ("sinceSeconds", since)));
    query.extend(tail.as_deref().map(|tail| ("tailLines", tail)));
    let request = Request::get(with_query(&path, &query)).body(Vec::new());
    let request = request.map_err(|error| KubeError::Answer { action: action.clone(), reason: error.to_string() })?;
    let stream = cluster.client().request_stream(request).await.map_err(|error| cluster.explain(&action, error))?;
    let mut stream = std::pin::pin!(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let cut = |error: std::io::Error| KubeError::Answer { action: action.clone(), reason: error.to_string() };
        if stream.read_until(b'\n', &mut line).await.map_err(cut)? == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        let Life { namespace, pod, container, .. } = life.clone();
        if lines.send(LogLine { namespace, pod, container, line }).is_err() {
            break;
        }
    }
    Ok(())
}
