//! The kinds of checks of `[ready.NAME]`: one look, or a wait by watches where the cluster tells of changes.

use std::cmp::Reverse;
use std::time::Duration;

use serde_json::json;

use super::condition::Question;
use super::ready::{argument, text};
use super::{Speaker, StepError, World, of_kube, watching};
use crate::config::{Check, HttpCheck, HttpTarget, Ready as Spec, Run, Template};
use crate::error::Class;
use crate::event::Stream;
use crate::process::{self, Cancel, Command, ProcessError};
use crate::tools::kube::probe::{ProbeError, ServicePort};
use crate::tools::kube::ready::{Progress, ReadyOptions, Rules, diagnose_now, observe_ready, wait_ready};
use crate::tools::kube::{Cluster, Object};

/// How long a watched check may take when the stack file says nothing.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How many of the pods behind a Service are looked at to explain it.
const PODS: usize = 3;

/// What one look at a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes; the sentence says what was seen.
    Passes(String),
    /// It does not pass yet.
    NotYet(String),
    /// It never will.
    Never(String),
}

/// What is checked, in words.
pub(super) fn describe(_world: &World, check: &Check) -> String {
    match check {
        Check::Workload(name) => format!("workload {name}"),
        Check::Job(name) => format!("job {name}"),
        Check::Service(name) => format!("service {name}"),
        Check::Http(HttpCheck { target: HttpTarget::Service { service, port, path }, status, .. }) => {
            format!("http {service}:{port}{path} answers {status}")
        }
        Check::Http(HttpCheck { target: HttpTarget::Url(url), status, .. }) => format!("{url} answers {status}"),
        Check::Tcp { service, port } => format!("tcp {service}:{port}"),
        Check::Condition(check) => format!("condition of {}", check.resource),
        Check::Run { run: Run::Argv(argv), .. } => argv.iter().map(Template::to_string).collect::<Vec<_>>().join(" "),
        Check::Run { run: Run::Shell(line), .. } => line.to_string(),
    }
}

/// Whether the cluster tells of changes, so that nothing has to be tried again and again.
pub(super) fn is_watched(check: &Check) -> bool {
    match check {
        Check::Workload(_) | Check::Job(_) | Check::Service(_) | Check::Condition(_) => true,
        Check::Http(_) | Check::Tcp { .. } | Check::Run { .. } => false,
    }
}

/// Whether it is well, as far as that can be seen without a connection of one's own to a pod. `None`: it takes a proper
/// look, with [`once`], to know.
pub(super) async fn glance(world: &World, spec: &Spec) -> Result<Option<Verdict>, StepError> {
    let Check::Http(HttpCheck { target: HttpTarget::Service { service, port, path }, status, contains, headers, tls }) =
        &spec.check
    else {
        return Ok(None);
    };
    // The API server keeps some headers to itself, and changes links in pages.
    if contains.is_some() || !headers.is_empty() {
        return Ok(None);
    }
    let to = ServicePort { service: text(world, service)?, namespace: text(world, &spec.namespace)?, port: *port };
    let path = text(world, path)?;
    let seen = world.cluster().await?.http_glance(&to, &path, *tls).await;
    let passes = |seen| Verdict::Passes(format!("{}:{port}{path} answers {seen}", to.service));
    Ok(seen.filter(|seen| seen == status).map(passes))
}

/// Looks once.
pub(super) async fn once(
    world: &World,
    spec: &Spec,
    cancel: &Cancel,
    on_line: &mut (dyn FnMut(Stream, &str) + Send),
) -> Result<Verdict, StepError> {
    match &spec.check {
        Check::Workload(_) | Check::Job(_) | Check::Service(_) => watched_once(world, spec).await,
        Check::Http(http) => http_once(world, spec, http).await,
        Check::Tcp { service, port } => {
            let to =
                ServicePort { service: text(world, service)?, namespace: text(world, &spec.namespace)?, port: *port };
            let connected = world.cluster().await?.tcp_connect(&to).await;
            probed(connected.map(|()| Verdict::Passes(format!("{}:{port} accepts connections", to.service))))
        }
        Check::Condition(check) => {
            let question = Question::of(world, spec, check).await?;
            let found = world.cluster().await?.get(&question.kind, &question.namespace, &question.name).await;
            Ok(question.verdict(found.map_err(of_kube)?.as_ref()))
        }
        Check::Run { run, env } => {
            let mut command = match run {
                Run::Argv(argv) => {
                    let argv = argv.iter().map(|word| argument(world, word)).collect::<Result<Vec<_>, _>>()?;
                    let mut words = argv.into_iter();
                    Command::new(words.next().unwrap_or_default()).args(words)
                }
                Run::Shell(line) => Command::shell(argument(world, line)?),
            };
            command = command.cwd(&world.stack().root).grace(world.stack().limits.grace);
            for (name, value) in env {
                let value = value.resolve(world).map_err(|error| StepError::new(Class::Internal, error.to_string()))?;
                command = command.env(name, secrecy::ExposeSecret::expose_secret(&value.exposed_text()).to_owned());
            }
            match process::run(&command, cancel, on_line).await {
                Ok(_) => Ok(Verdict::Passes("the command ended well".to_owned())),
                Err(error @ ProcessError::Exit { .. }) => Ok(Verdict::NotYet(error.to_string())),
                Err(error) => Err(StepError::of(&error, error.class(), None)),
            }
        }
    }
}

async fn http_once(world: &World, spec: &Spec, http: &HttpCheck) -> Result<Verdict, StepError> {
    let headers = http.headers.iter().map(|(name, value)| Ok((name.clone(), text(world, value)?)));
    let headers = headers.collect::<Result<Vec<_>, StepError>>()?;
    let (answer, shown) = match &http.target {
        HttpTarget::Service { service, port, path } => {
            let path = text(world, path)?;
            let to =
                ServicePort { service: text(world, service)?, namespace: text(world, &spec.namespace)?, port: *port };
            let shown = format!("{}:{port}{path}", to.service);
            (world.cluster().await?.http_get(&to, &path, &headers, http.tls).await, shown)
        }
        HttpTarget::Url(url) => {
            let url = text(world, url)?;
            (crate::tools::kube::probe::get(&url, &headers).await, url)
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return probed(Err(error)),
    };
    if answer.status != http.status {
        return Ok(Verdict::NotYet(format!("{shown} answers {}, not {}", answer.status, http.status)));
    }
    if let Some(wanted) = &http.contains {
        let wanted = text(world, wanted)?;
        if !answer.body.contains(&wanted) {
            return Ok(Verdict::NotYet(format!("the answer of {shown} does not hold {wanted:?}")));
        }
    }
    Ok(Verdict::Passes(format!("{shown} answers {}", answer.status)))
}

/// What is missing now may come; what the cluster refuses is an error.
fn probed(result: Result<Verdict, ProbeError>) -> Result<Verdict, StepError> {
    match result {
        Ok(verdict) => Ok(verdict),
        Err(
            error @ (ProbeError::NoService { .. }
            | ProbeError::NoPod { .. }
            | ProbeError::NoAnswer { .. }
            | ProbeError::NoServer { .. }),
        ) => Ok(Verdict::NotYet(error.to_string())),
        Err(error @ (ProbeError::NoPort { .. } | ProbeError::Request(_))) => Ok(Verdict::Never(error.to_string())),
        Err(ProbeError::Kube(error)) => Err(of_kube(error)),
    }
}

/// The object that a watched check is about.
async fn watched(world: &World, spec: &Spec) -> Result<Option<(Object, ReadyOptions)>, StepError> {
    let (kind, name) = match &spec.check {
        Check::Workload(name) => resource(world, name).await?,
        Check::Job(name) => {
            (world.cluster().await?.kind("batch/v1", "Job").await.map_err(of_kube)?, text(world, name)?)
        }
        Check::Service(name) => {
            (world.cluster().await?.kind("v1", "Service").await.map_err(of_kube)?, text(world, name)?)
        }
        Check::Http(_) | Check::Tcp { .. } | Check::Condition(_) | Check::Run { .. } => return Ok(None),
    };
    let namespace = text(world, &spec.namespace)?;
    let object = Object::new(json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace},
    }));
    let timeout = spec.options.timeout.unwrap_or(TIMEOUT);
    Ok(Some((object, ReadyOptions { rules: rules(world, spec), timeout, namespace })))
}

fn rules(world: &World, spec: &Spec) -> Rules {
    Rules {
        grace: spec.patience.grace,
        max_restarts: spec.patience.max_restarts.into(),
        // Its pods may be those of any release.
        needs_endpoints: true,
        own_images: world.stack().images.values().map(|image| image.repository.value.clone()).collect(),
        ..Rules::default()
    }
}

async fn watched_once(world: &World, spec: &Spec) -> Result<Verdict, StepError> {
    let Some((object, options)) = watched(world, spec).await? else {
        return Err(StepError::new(Class::Internal, "this check is not watched"));
    };
    let cluster = world.cluster().await?;
    let objects = std::slice::from_ref(&object);
    let found = observe_ready(cluster, objects, &options.rules, &options.namespace).await.map_err(of_kube)?;
    let unready = found.iter().find(|assessment| assessment.progress != Progress::Ready);
    Ok(match unready {
        Some(assessment) => Verdict::NotYet(format!("{} is not ready: {}", assessment.object, assessment.detail)),
        None => Verdict::Passes(format!("{} is ready", object.reference())),
    })
}

/// Waits for a watched check.
pub(super) async fn watch(world: &World, spec: &Spec, speaker: &Speaker, cancel: &Cancel) -> Result<String, StepError> {
    if let Check::Condition(check) = &spec.check {
        let question = Question::of(world, spec, check).await?;
        return question.wait(world, spec.options.timeout.unwrap_or(TIMEOUT), speaker, cancel).await;
    }
    let Some((object, options)) = watched(world, spec).await? else {
        return Err(StepError::new(Class::Internal, "this check is not watched"));
    };
    let cluster = world.cluster().await?;
    let objects = std::slice::from_ref(&object);
    let waited = wait_ready(cluster, objects, &options, cancel, |event| watching::tell(speaker, event)).await;
    waited.map_err(watching::not_ready)?;
    Ok(format!("{} is ready", object.reference()))
}

/// What is wrong with the workloads behind a Service that does not answer.
pub(super) async fn diagnose(world: &World, spec: &Spec) -> Option<String> {
    let service = match &spec.check {
        Check::Http(HttpCheck { target: HttpTarget::Service { service, .. }, .. }) | Check::Tcp { service, .. } => {
            service
        }
        _ => return None,
    };
    let cluster = world.cluster().await.ok()?;
    let namespace = text(world, &spec.namespace).ok()?;
    let name = text(world, service).ok()?;
    let object = Object::new(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
    }));
    let mut objects = vec![object];
    objects.extend(pods_behind(cluster, &namespace, &name).await.unwrap_or_default());
    let found = diagnose_now(cluster, &objects, &rules(world, spec), &namespace).await.ok()?;
    let said = found.to_string();
    (!said.trim().is_empty()).then(|| said.trim_end().to_owned())
}

/// The newest pods that a Service stands for: what is wrong with it is most often wrong with them.
async fn pods_behind(cluster: &Cluster, namespace: &str, service: &str) -> Option<Vec<Object>> {
    let service = cluster.get(&cluster.kind("v1", "Service").await.ok()?, namespace, service).await.ok()??;
    let selector = service.at("/spec/selector")?.as_object()?;
    let labels: Vec<_> =
        selector.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
    if labels.is_empty() {
        return None;
    }
    let kind = cluster.kind("v1", "Pod").await.ok()?;
    let mut pods = cluster.list(&kind, Some(namespace), Some(&labels.join(",")), None).await.ok()?;
    pods.sort_by_key(|pod| Reverse(pod.created()));
    pods.truncate(PODS);
    Some(pods.into_iter().map(|pod| pod.of_kind("v1", "Pod")).collect())
}

/// `KIND/NAME`, or `KIND.GROUP/NAME`, as the cluster knows it.
pub(super) async fn resource(
    world: &World,
    template: &Template,
) -> Result<(crate::tools::kube::Kind, String), StepError> {
    let shown = text(world, template)?;
    let Some((kind, name)) = shown.split_once('/') else {
        return Err(StepError::new(Class::Input, format!("`{shown}` names no object; write KIND/NAME")));
    };
    let kind = world.cluster().await?.find_kind(kind).await.map_err(of_kube)?;
    Ok((kind, name.to_owned()))
}
