//! Why something is not ready: the pod, the container, the reason, its last words, its warnings, and what to try.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::assess::{Assessment, Progress};
use super::pods::{self, containers};
use super::trouble::{Cause, Severity, Trouble};
use super::words;
use super::world::World;
use crate::error::Class;
use crate::tools::kube::cluster::{Cluster, with_query};
use crate::tools::kube::kinds::Kind;
use crate::tools::kube::object::{Object, ObjectRef};

/// The most of a log that is read for them.
const LOG_BYTES: usize = 16 * 1024;

const FINDINGS: usize = 5;
const LOG_LINES: usize = 15;
const EVENTS: usize = 3;
// A node that does not answer must not delay the rest of the diagnosis.
const LOG_PATIENCE: Duration = Duration::from_secs(3);

/// Why something is not ready.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// What was found, the most telling first.
    pub findings: Vec<Finding>,
    /// Everything that is not ready, with how far it has come.
    pub unready: Vec<Unready>,
}

/// An object that is not ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unready {
    /// Which object.
    pub object: ObjectRef,
    /// How far it has come.
    pub detail: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The object that is not ready because of it.
    pub object: ObjectRef,
    /// `pod web-1, container web`.
    pub place: String,
    /// What it is.
    pub cause: Cause,
    /// What is wrong, in plain words.
    pub what: String,
    /// How many more pods show the same.
    pub more_pods: usize,
    /// The last lines that the container printed before it ended, or has printed so far.
    pub log: Vec<String>,
    /// The newest warnings about the pod or the object.
    pub events: Vec<String>,
    /// What to try.
    pub suggestion: Option<String>,
}

impl Diagnosis {
    /// The most telling finding in one line.
    pub fn headline(&self) -> String {
        if let Some(finding) = self.findings.first() {
            return finding.headline();
        }
        match self.unready.as_slice() {
            [] => "everything is ready".to_owned(),
            [one] => format!("{}: {}", one.object, one.detail),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.object, first.detail, rest.len()),
        }
    }

    /// What to try first.
    pub fn suggestion(&self) -> Option<String> {
        self.findings.first()?.suggestion.clone()
    }

    /// Whose turn it is.
    pub fn class(&self) -> Class {
        match self.findings.first().map(|finding| finding.cause) {
            Some(Cause::Unschedulable | Cause::ImagePull | Cause::Sandbox | Cause::Evicted | Cause::Volume) => {
                Class::Environment
            }
            _ => Class::Input,
        }
    }

    /// Rewrites every text that comes from outside: for taking out secrets.
    pub fn rewrite(&mut self, rewrite: impl Fn(&str) -> String) {
        for finding in &mut self.findings {
            finding.what = rewrite(&finding.what);
            finding.suggestion = finding.suggestion.as_deref().map(&rewrite);
            for line in finding.log.iter_mut().chain(&mut finding.events) {
                *line = rewrite(line);
            }
        }
        for unready in &mut self.unready {
            unready.detail = rewrite(&unready.detail);
        }
    }

    /// When the API server was never heard.
    pub(super) fn of_silence(cluster: &Cluster, said: Option<String>) -> Self {
        let detail = said.unwrap_or_else(|| format!("the API server at {} did not answer in time", cluster.address()));
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Cluster".to_owned(),
            namespace: String::new(),
            name: cluster.context().to_owned(),
        };
        Self { findings: Vec::new(), unready: vec![Unready { object, detail }] }
    }
}

impl Finding {
    fn headline(&self) -> String {
        let place = if self.place.is_empty() { String::new() } else { format!(", {}", self.place) };
        format!("{}{place}: {}", self.object, self.what)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.findings.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}", finding.headline())?;
            match finding.more_pods {
                0 => {}
                1 => writeln!(f, "  1 more pod shows the same")?,
                more => writeln!(f, "  {more} more pods show the same")?,
            }
            if !finding.log.is_empty() {
                writeln!(f, "  its last lines:")?;
                finding.log.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
            }
            if !finding.events.is_empty() {
                writeln!(f, "  warnings:")?;
                finding.events.iter().try_for_each(|event| writeln!(f, "    {event}"))?;
            }
            if let Some(suggestion) = &finding.suggestion {
                writeln!(f, "  try: {suggestion}")?;
            }
        }
        let told = |object: &ObjectRef| self.findings.iter().any(|finding| finding.object == *object);
        let rest = self.unready.iter().filter(|unready| !told(&unready.object)).collect::<Vec<_>>();
        if !rest.is_empty() {
            writeln!(f, "{}", if self.findings.is_empty() { "not ready:" } else { "also not ready:" })?;
            rest.iter().try_for_each(|unready| writeln!(f, "  {}: {}", unready.object, unready.detail))?;
        }
        Ok(())
    }
}

/// Finds out why something is not ready, fetching the logs that tell.
pub(crate) async fn diagnose(cluster: &Cluster, world: &World, assessments: Vec<Assessment>) -> Diagnosis {
    let unready = assessments.iter().filter(|assessment| assessment.progress != Progress::Ready);
    let mut diagnosis = Diagnosis {
        findings: Vec::new(),
        unready: unready
            .clone()
            .map(|assessment| Unready { object: assessment.object.clone(), detail: assessment.detail.clone() })
            .collect(),
    };
    let mut candidates: Vec<(Finding, &Trouble, Option<Arc<Object>>)> = Vec::new();
    let mut ranked = unready
        .flat_map(|assessment| assessment.troubles.iter().map(move |trouble| (assessment, trouble)))
        .collect::<Vec<_>>();
    ranked.sort_by_key(|(_, trouble)| rank(trouble));
    let late = late_words(cluster, &ranked).await;
    for (assessment, trouble) in ranked {
        let trouble = late.iter().find(|(known, _)| std::ptr::eq(*known, trouble)).map_or(trouble, |(_, told)| told);
        let namespace = &assessment.object.namespace;
        let pod = trouble.pod.as_ref().and_then(|pod| world.named("Pod", namespace, pod)).map(Arc::clone);
        let what = words::what(trouble, pod.as_deref());
        let same = candidates.iter_mut().find(|(known, first, _)| {
            known.object == assessment.object
                && first.key().0 == trouble.key().0
                && first.container == trouble.container
        });
        if let Some((known, ..)) = same {
            known.more_pods += 1;
            continue;
        }
        // What follows from something else that is said already only distracts.
        let explained = candidates.iter().any(|(known, ..)| known.object == assessment.object);
        if is_consequence(trouble) && (explained || trouble.cause == Cause::NoEndpoints && !candidates.is_empty()) {
            continue;
        }
        let suggestion = words::suggestion(&assessment.object, trouble, pod.as_deref());
        let finding = Finding {
            object: assessment.object.clone(),
            place: words::place(&assessment.object, trouble),
            cause: trouble.cause,
            events: events(world, &assessment.object, pod.as_deref(), &trouble.message),
            what,
            more_pods: 0,
            log: Vec::new(),
            suggestion,
        };
        candidates.push((finding, trouble, pod));
    }
    candidates.truncate(FINDINGS);
    let with_logs = candidates.into_iter().map(|(mut finding, trouble, pod)| async move {
        if let Some(pod) = pod.filter(|_| has_log(trouble.cause)) {
            finding.log = log(cluster, &pod, trouble).await;
        }
        finding
    });
    diagnosis.findings = futures::future::join_all(with_logs).await;
    diagnosis
}

/// Troubles whose event has not arrived yet, with its words: a busy node tells late, and whoever reads wants to know.
async fn late_words<'t>(cluster: &Cluster, ranked: &[(&'t Assessment, &'t Trouble)]) -> Vec<(&'t Trouble, Trouble)> {
    let silent = ranked.iter().filter(|(_, trouble)| trouble.cause == Cause::Liveness && trouble.message.is_empty());
    let asked = silent.take(FINDINGS).map(|(assessment, trouble)| async move {
        let pod = trouble.pod.as_deref()?;
        let told = liveness_words(cluster, &assessment.object.namespace, pod).await?;
        Some((*trouble, Trouble { message: told, ..(*trouble).clone() }))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

/// What the event of a failed liveness probe says, waited for a moment.
async fn liveness_words(cluster: &Cluster, namespace: &str, pod: &str) -> Option<String> {
    let kind = Kind::known("v1", "Event")?;
    let fields = format!("type!=Normal,involvedObject.name={pod}");
    let asking = async {
        loop {
            let events = cluster.list(&kind, Some(namespace), None, Some(&fields)).await.ok()?;
            let words = events.iter().map(|event| event.text("/message")).find(|words| words.starts_with("Liveness"));
            if let Some(words) = words {
                return Some(words.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::time::timeout(LOG_PATIENCE, asking).await.ok().flatten()
}

/// The pods of a workload that count: those of its newest template.
pub(super) fn newest_pods<'w>(object: &ObjectRef, world: &'w World) -> Vec<&'w Object> {
    let Some(found) = world.find(object) else { return Vec::new() };
    match object.kind.as_str() {
        "Pod" => vec![found.as_ref()],
        "Deployment" => {
            let newest = world.replica_sets_of(found.uid()).first().map(|set| set.uid().to_owned());
            newest.map(|set| world.pods_of(&set).map(AsRef::as_ref).collect()).unwrap_or_default()
        }
        _ => world.pods_of(found.uid()).map(AsRef::as_ref).collect(),
    }
}

/// All pods of a workload, those on their way out too.
pub(crate) fn all_pods<'w>(object: &ObjectRef, world: &'w World) -> Vec<&'w Object> {
    let Some(found) = world.find(object) else { return Vec::new() };
    match object.kind.as_str() {
        "Deployment" => {
            let sets = world.replica_sets_of(found.uid());
            sets.into_iter().flat_map(|set| world.pods_of(set.uid())).map(AsRef::as_ref).collect()
        }
        _ => newest_pods(object, world),
    }
}

fn rank(trouble: &Trouble) -> (u8, u8) {
    let severity = match trouble.severity {
        Severity::AtOnce => 0,
        Severity::AfterGrace => 1,
        Severity::AfterRoom => 2,
        Severity::Slow => 3,
    };
    // "The rollout was given up" is true and says nothing: whatever a pod says comes first.
    (if is_consequence(trouble) { 4 } else { severity }, u8::from(trouble.pod.is_none()))
}

fn is_consequence(trouble: &Trouble) -> bool {
    match trouble.cause {
        Cause::Deadline => true,
        Cause::NoEndpoints => trouble.severity == Severity::Slow,
        _ => false,
    }
}

fn has_log(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Crash | Cause::OutOfMemory | Cause::Init | Cause::Probe | Cause::Liveness | Cause::Job | Cause::Start
    )
}

/// The last lines of the container: of its life before this one, when that is the one that ended.
async fn log(cluster: &Cluster, pod: &Object, trouble: &Trouble) -> Vec<String> {
    let Some(container) = trouble
        .container
        .as_deref()
        .or_else(|| pod.list("/spec/containers").first().and_then(|container| container.get("name")?.as_str()))
    else {
        return Vec::new();
    };
    let ended_now = containers(pod).any(|status| status.name() == container && status.ended().is_some());
    let previous = trouble.restarts > 0 && !ended_now && trouble.cause != Cause::Probe;
    let mut lines = Vec::new();
    for previous in [previous, !previous] {
        let text = tokio::time::timeout(LOG_PATIENCE, tail(cluster, pod, container, previous)).await;
        lines = text.unwrap_or_default();
        // The one before may have been cleaned away; the one now may not have said anything yet.
        if !lines.is_empty() || trouble.restarts == 0 {
            break;
        }
    }
    lines
}

async fn tail(cluster: &Cluster, pod: &Object, container: &str, previous: bool) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}/log", pod.namespace(), pod.name());
    let (lines, limit, previous) = (LOG_LINES.to_string(), LOG_BYTES.to_string(), previous.to_string());
    let query =
        [("container", container), ("tailLines", lines.as_str()), ("limitBytes", &limit), ("previous", &previous)];
    last_lines(&cluster.get_text(&with_query(&path, &query), "read a log").await.unwrap_or_default())
}

fn last_lines(log: &str) -> Vec<String> {
    // The last line of one that was too long was cut, and could end with one half of a secret, which nobody would recognise.
    let whole = if log.len() < LOG_BYTES { log.len() } else { log.rfind('\n').unwrap_or_default() };
    let lines = log[..whole].lines().map(str::trim_end).filter(|line| !line.is_empty());
    let lines = lines.map(str::to_owned).collect::<Vec<_>>();
    lines[lines.len().saturating_sub(LOG_LINES)..].to_vec()
}

/// The newest warnings about the pod, else about the object; without those that say what is said already.
fn events(world: &World, object: &ObjectRef, pod: Option<&Object>, said: &str) -> Vec<String> {
    let of_pod = pod.map(|pod| world.events_of(pod)).unwrap_or_default();
    let mut sources = of_pod;
    if sources.is_empty()
        && let Some(found) = world.find(object)
    {
        sources = world.events_of(found);
        sources.extend(world.replica_sets_of(found.uid()).first().map(|set| world.events_of(set)).unwrap_or_default());
    }
    let mut told = Vec::<String>::new();
    for event in sources {
        let message = event.text("/message").trim();
        let line = message.lines().next().unwrap_or_default();
        let count = event.number("/count").or_else(|| event.number("/series/count")).filter(|count| *count > 1);
        let count = count.map(|count| format!(" (x{count})")).unwrap_or_default();
        let known = told.iter().any(|known| known.contains(line)) || message == said.trim();
        if !known && !line.is_empty() {
            told.push(format!("{}: {line}{count}", event.text("/reason")));
        }
        if told.len() == EVENTS {
            break;
        }
    }
    told
}

/// What is wrong with one pod, in plain words, for those who list pods.
pub(crate) fn pod_trouble(
    pod: &Object,
    world: &World,
    rules: &super::trouble::Rules,
    now: jiff::Timestamp,
) -> Option<String> {
    if pod.is_terminating() {
        return None;
    }
    let found = pods::troubles(pod, world, rules, now);
    found.iter().min_by_key(|trouble| rank(trouble)).map(|trouble| words::what(trouble, Some(pod)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_told_by_its_last_whole_lines() {
        assert_eq!(last_lines("one\n\ntwo \nthree"), ["one", "two", "three"]);
        let long = "x".repeat(LOG_BYTES - 8);
        assert_eq!(last_lines(&format!("{long}\nsecret-"))[..], [long]);
        assert_eq!(last_lines(&"x".repeat(LOG_BYTES)), [""; 0]);
    }
}
