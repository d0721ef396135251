//! What keeps a pod from being ready.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::trouble::{Cause, End, Rules, Severity, Trouble};
use super::words;
use super::world::{World, event_time};
use crate::model::pod::{PodFacts, PodState};
use crate::tools::kube::object::{Condition, Object, time_of};

// Kubernetes writes times without parts of a second.
const CUT_TIME: SignedDuration = SignedDuration::from_secs(1);

// A container that was started again is only believed after it ran longer than the first pauses between restarts.
const RESTARTED_SETTLE: Duration = Duration::from_secs(10);

// How long the first answer of a liveness probe is waited for at most, where no readiness probe answers before it.
const LIVENESS_SETTLE: Duration = Duration::from_secs(10);

// How long a busy node may take from starting a container to telling the answer of its first probe. Eight containers
// starting at once on two cores: up to 5 s were seen.
const FIRST_PROBE: u64 = 7;

/// The state of a pod in the model's words.
pub(crate) fn state(pod: &Object) -> PodState {
    let facts = PodFacts {
        phase: pod.text("/status/phase"),
        terminating: pod.is_terminating(),
        crashing: containers(pod).any(|container| {
            container.waiting() == "CrashLoopBackOff" || (container.restarts() > 0 && container.has_failed(pod))
        }),
        cannot_start: containers(pod).any(|container| {
            matches!(
                container.waiting(),
                "InvalidImageName"
                    | "ErrImageNeverPull"
                    | "ErrImagePull"
                    | "ImagePullBackOff"
                    | "CreateContainerConfigError"
                    | "CreateContainerError"
                    | "RunContainerError"
                    | "StartError"
            )
        }),
    };
    PodState::of(&facts)
}

/// Whether a pod is ready, which one that has ended well counts as too.
pub(super) fn is_ready(pod: &Object) -> bool {
    pod.condition("Ready").is_some_and(|ready| ready.is_true()) && !pod.is_terminating()
}

/// When all of a pod's containers will have run long enough to be believed; None when they have.
///
/// The time counts from when the kubelet said that the pod is ready, if that is later than the start of the container: on a
/// node under load both the start and the end of a container are reported late. Both times are cut to whole seconds, so a
/// second is added. Kubelet looks for ended containers once a second; with containerd it reports one that ends at once as
/// running first.
pub(super) fn settles_at(pod: &Object, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
    let ready_since = pod.condition("Ready").filter(Condition::is_true).and_then(|ready| ready.since);
    let probe = |name: &str, probe: &str| {
        let containers = pod.list("/spec/containers").iter().chain(pod.list("/spec/initContainers"));
        let mut named = containers.filter(|container| container.get("name").and_then(Value::as_str) == Some(name));
        named.find_map(|container| container.get(probe))
    };
    containers(pod)
        .filter(|container| !container.is_init() && probe(container.name(), "readinessProbe").is_none())
        .filter_map(|container| {
            let started = container.json.pointer("/state/running/startedAt").and_then(time_of)?;
            let mut needed = if container.restarts() > 0 { RESTARTED_SETTLE.max(rules.settle) } else { rules.settle };
            if let Some(liveness) = probe(container.name(), "livenessProbe") {
                // Only its first answer tells whether the container will be left alone.
                let seconds = |key: &str, default| liveness.get(key).and_then(Value::as_u64).unwrap_or(default);
                let first = seconds("initialDelaySeconds", 0) + 2 * seconds("periodSeconds", 10) + FIRST_PROBE;
                needed = needed.max(Duration::from_secs(first).min(LIVENESS_SETTLE));
            }
            let seen = ready_since.map_or(started, |since| since.max(started));
            seen.checked_add(CUT_TIME + SignedDuration::try_from(needed).unwrap_or_default()).ok()
        })
        .max()
        .filter(|at| *at > now)
}

/// Everything that keeps a pod from being ready.
pub(super) fn troubles(pod: &Object, world: &World, rules: &Rules, now: Timestamp) -> Vec<Trouble> {
    let mut found = containers(pod)
        .filter_map(|container| container_trouble(&container, pod, world, rules, now))
        .collect::<Vec<_>>();
    if found.iter().all(|trouble| trouble.severity == Severity::Slow) {
        found.extend(pod_trouble(pod, world));
    }
    for trouble in &mut found {
        trouble.pod = Some(pod.name().to_owned());
    }
    found
}

/// What is wrong with the pod as a whole.
fn pod_trouble(pod: &Object, world: &World) -> Option<Trouble> {
    if pod.text("/status/phase") == "Failed" {
        let words = [pod.text("/status/reason"), pod.text("/status/message")];
        let cause = if words[0] == "Evicted" || words[0] == "NodeLost" { Cause::Evicted } else { Cause::Crash };
        let last_end = containers(pod).find_map(|container| container.ended()).filter(|_| words[0].is_empty());
        let mut trouble = Trouble::new(cause, Severity::AfterGrace, join(&words));
        trouble.last_end = last_end;
        return Some(trouble);
    }
    if let Some(scheduled) = pod.condition("PodScheduled").filter(|scheduled| scheduled.is_false()) {
        let mut trouble = Trouble::new(Cause::Unschedulable, Severity::AfterRoom, scheduled.message);
        trouble.since = scheduled.since;
        if scheduled.message.contains("PersistentVolumeClaim") || scheduled.message.contains("persistentvolumeclaim") {
            trouble.cause = Cause::Volume;
        }
        return Some(trouble);
    }
    let creating = containers(pod)
        .any(|container| matches!(container.waiting(), "ContainerCreating" | "PodInitializing"))
        || (containers(pod).next().is_none() && !pod.text("/spec/nodeName").is_empty());
    if creating {
        let volume = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"];
        if let Some(event) = world.event(pod, &volume) {
            return Some(Trouble::new(Cause::Volume, Severity::AfterGrace, event.text("/message")));
        }
        let sandbox = ["FailedCreatePodSandBox", "FailedCreatePodContainer", "NetworkNotReady"];
        if let Some(event) = world.event(pod, &sandbox) {
            return Some(Trouble::new(Cause::Sandbox, Severity::AfterGrace, event.text("/message")));
        }
    }
    None
}

/// What is wrong with one container.
fn container_trouble(
    container: &Container<'_>,
    pod: &Object,
    world: &World,
    rules: &Rules,
    now: Timestamp,
) -> Option<Trouble> {
    let message = container.json.pointer("/state/waiting/message").and_then(Value::as_str).unwrap_or_default();
    let told = |cause, severity| Some(container.trouble(cause, severity, message));
    match container.waiting() {
        "InvalidImageName" => return told(Cause::ImageName, Severity::AtOnce),
        "ErrImageNeverPull" => return told(Cause::ImageMissing, Severity::AtOnce),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "SignatureValidationFailed" => {
            let own = rules.owns(container.image());
            let cause = if own { Cause::ImageMissing } else { Cause::ImagePull };
            let mut trouble =
                container.trouble(cause, if own { Severity::AtOnce } else { Severity::AfterGrace }, message);
            // "Back-off pulling image" says nothing; the event has the reason.
            if let Some(event) = world
                .events_of(pod)
                .into_iter()
                .find(|event| event.text("/reason") == "Failed" && event.text("/message").contains("pull image"))
            {
                trouble.message = event.text("/message").to_owned();
            }
            return Some(trouble);
        }
        "ImageInspectError" => return told(Cause::Start, Severity::AfterGrace),
        "CreateContainerConfigError" => return told(Cause::Config, Severity::AfterGrace),
        "CreateContainerError" | "RunContainerError" | "StartError" | "ContainerCannotRun" => {
            return told(Cause::Start, Severity::AfterGrace);
        }
        "CrashLoopBackOff" => return Some(container.crash(pod, world)),
        _ => {}
    }
    if container.ended().is_some() {
        let kept_off = pod.text("/spec/restartPolicy") == "Never" && container.place == Place::Main;
        // What a pod without restarts ended with is told by its phase, once all of its containers have ended.
        return (container.has_failed(pod) && !kept_off).then(|| container.crash(pod, world));
    }
    let running = container.json.pointer("/state/running")?;
    let ready = container.json.get("ready").and_then(Value::as_bool).unwrap_or(false);
    let ended_before = container.json.pointer("/lastState/terminated").is_some();
    let started = running.get("startedAt").and_then(time_of);
    let young = started.is_some_and(|started| {
        now.duration_since(started) < SignedDuration::try_from(RESTARTED_SETTLE).unwrap_or_default()
    });
    if container.is_init() {
        return (container.restarts() > 0 && ended_before).then(|| container.crash(pod, world));
    }
    if ended_before && (!ready || young) {
        return Some(container.crash(pod, world));
    }
    if ready {
        // Unhealthy for its liveness probe, it will be killed as soon as that has failed often enough.
        let dying = liveness_event(pod, world).filter(|event| event_time(event) >= started)?;
        return Some(container.trouble(Cause::Liveness, Severity::AfterGrace, dying.text("/message")));
    }
    let unhealthy = world.event(pod, &["Unhealthy"]).map_or("", |event| event.text("/message"));
    let mut trouble = container.trouble(Cause::Probe, Severity::Slow, unhealthy);
    trouble.since = started;
    Some(trouble)
}

/// A container's status.
pub(crate) struct Container<'a> {
    /// The status.
    pub(crate) json: &'a Value,
    place: Place,
}

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It runs to its end before the others.
    Init,
    /// It starts before the others, and runs as long as they do: an init container with `restartPolicy: Always`.
    Sidecar,
    /// It is one of those that the pod is for.
    Main,
}

/// The containers of a pod, those that run first coming first.
pub(crate) fn containers(pod: &Object) -> impl Iterator<Item = Container<'_>> {
    let first = |json| Container { json, place: if is_sidecar(pod, json) { Place::Sidecar } else { Place::Init } };
    let init = pod.list("/status/initContainerStatuses").iter().map(first);
    init.chain(pod.list("/status/containerStatuses").iter().map(|json| Container { json, place: Place::Main }))
}

/// How many containers of a pod run at the same time, sidecars included.
pub(crate) fn running_together(pod: &Object) -> usize {
    let is_sidecar = |spec: &&Value| spec.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    pod.list("/spec/containers").len() + pod.list("/spec/initContainers").iter().filter(is_sidecar).count()
}

fn is_sidecar(pod: &Object, status: &Value) -> bool {
    let specs = pod.list("/spec/initContainers").iter();
    let mut named = specs.filter(|spec| spec.get("name").is_some() && spec.get("name") == status.get("name"));
    named.any(|spec| spec.get("restartPolicy").and_then(Value::as_str) == Some("Always"))
}

/// Whether the containers that a pod is for have all ended, after which its sidecars are stopped.
fn is_over(pod: &Object) -> bool {
    let main = pod.list("/status/containerStatuses");
    !main.is_empty() && main.iter().all(|status| status.pointer("/state/terminated").is_some())
}

impl Container<'_> {
    /// Whether it runs to its end before the others start.
    pub(crate) fn is_init(&self) -> bool {
        self.place == Place::Init
    }

    fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.text("/name")
    }

    fn image(&self) -> &str {
        self.text("/image")
    }

    /// Why it waits; empty when it does not.
    pub(crate) fn waiting(&self) -> &str {
        self.text("/state/waiting/reason")
    }

    /// Whether it has been started at all.
    pub(crate) fn has_run(&self) -> bool {
        let ran = ["/state/running", "/state/terminated", "/lastState/terminated"];
        ran.iter().any(|state| self.json.pointer(state).is_some())
    }

    /// How often it was started again.
    pub(crate) fn restarts(&self) -> i64 {
        self.json.get("restartCount").and_then(Value::as_i64).unwrap_or(0)
    }

    /// How it ended, when it is not running now.
    pub(crate) fn ended(&self) -> Option<End> {
        self.json.pointer("/state/terminated").map(end)
    }

    /// It has ended, and should not have, or not so.
    fn has_failed(&self, pod: &Object) -> bool {
        let may_end = match self.place {
            Place::Init => true,
            Place::Sidecar if is_over(pod) => return false,
            Place::Sidecar => false,
            Place::Main => pod.text("/spec/restartPolicy") != "Always",
        };
        self.ended().is_some_and(|end| end.exit_code != 0 || !may_end)
    }

    /// How it ended last, now or before it was started again.
    pub(crate) fn last_end(&self) -> Option<End> {
        self.ended().or_else(|| self.json.pointer("/lastState/terminated").map(end))
    }

    fn has_liveness_probe(&self, pod: &Object) -> bool {
        words::spec_of(pod, Some(self.name())).is_some_and(|spec| spec.get("livenessProbe").is_some())
    }

    fn trouble(&self, cause: Cause, severity: Severity, message: &str) -> Trouble {
        let mut trouble = Trouble::new(cause, severity, message);
        trouble.container = Some(self.name().to_owned());
        trouble.init = self.is_init();
        trouble.restarts = self.restarts();
        trouble.last_end = self.last_end();
        trouble
    }

    fn crash(&self, pod: &Object, world: &World) -> Trouble {
        let last = self.last_end();
        let liveness = liveness_event(pod, world);
        let (cause, message) = match (&last, liveness) {
            (Some(end), _) if end.out_of_memory() => (Cause::OutOfMemory, String::new()),
            // Between two attempts the container waits like one that crashes; how it ended still tells that it never ran.
            (Some(end), _) if end.never_ran() => (Cause::Start, end.message.clone()),
            // Killed by the kubelet after its probe failed; a crash of its own has another exit code.
            (Some(end), Some(event)) if matches!(end.exit_code, 0 | 137 | 143) => {
                (Cause::Liveness, event.text("/message").to_owned())
            }
            // The event of a busy node comes later than the end of the container that it tells of.
            (Some(end), None) if matches!(end.exit_code, 137 | 143) && self.has_liveness_probe(pod) => {
                (Cause::Liveness, String::new())
            }
            // A runtime can miss the kernel's word that there was no memory left; few others send signal 9.
            (Some(end), None) if end.exit_code == 137 && words::memory_limit(pod, self.name()).is_some() => {
                (Cause::OutOfMemory, String::new())
            }
            _ if self.is_init() => (Cause::Init, String::new()),
            (Some(end), _) => (Cause::Crash, end.message.clone()),
            (None, _) => (Cause::Crash, String::new()),
        };
        self.trouble(cause, Severity::AfterGrace, &message)
    }
}

fn liveness_event<'w>(pod: &Object, world: &'w World) -> Option<&'w Object> {
    let events = world.events_of(pod).into_iter().map(AsRef::as_ref);
    events.into_iter().find(|event: &&Object| {
        event.text("/reason") == "Unhealthy" && event.text("/message").contains("Liveness probe failed")
    })
}

fn end(json: &Value) -> End {
    let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    End {
        reason: text("reason"),
        exit_code: json.get("exitCode").and_then(Value::as_i64).unwrap_or(0),
        signal: json.get("signal").and_then(Value::as_i64).filter(|signal| *signal != 0),
        message: text("message").trim().to_owned(),
        finished: json.get("finishedAt").and_then(time_of),
    }
}

fn join(words: &[&str]) -> String {
    words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    /// A pod with a native sidecar, in these states.
    fn with_sidecar(sidecar: Value, main: Value) -> Object {
        let status = |name: &str, state: Value| {
            let mut status = json!({"name": name, "restartCount": 0, "ready": false});
            status.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
            status
        };
        Object::new(json!({
            "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web-1", "namespace": "a", "uid": "u1"},
            "spec": {"restartPolicy": "Never", "nodeName": "n", "containers": [{"name": "web"}], "initContainers": [
                {"name": "setup"},
                {"name": "proxy", "restartPolicy": "Always", "readinessProbe": {}}]},
            "status": {"phase": "Running",
                "initContainerStatuses": [
                    status("setup", json!({"ready": true, "state": {"terminated": {"exitCode": 0}}})),
                    status("proxy", sidecar)],
                "containerStatuses": [status("web", main)]},
        }))
    }

    fn causes(pod: &Object) -> Vec<(String, Cause)> {
        let found = troubles(pod, &World::default(), &Rules::default(), Timestamp::now());
        found.into_iter().map(|trouble| (trouble.container.unwrap_or_default(), trouble.cause)).collect()
    }

    #[test]
    fn a_sidecar_is_judged_as_a_container_that_runs_on() {
        let runs = json!({"ready": true, "state": {"running": {"startedAt": "2026-11-01T00:00:00Z"}}});
        let unready = json!({"state": {"running": {"startedAt": "2026-11-01T00:00:00Z"}}});
        let ended = |code: i64| json!({"state": {"terminated": {"exitCode": code}}});
        assert_eq!(causes(&with_sidecar(runs.clone(), runs.clone())), []);
        assert_eq!(causes(&with_sidecar(unready, runs.clone())), [("proxy".to_owned(), Cause::Probe)]);
        // It may not end while the others run, with 0 neither.
        assert_eq!(causes(&with_sidecar(ended(0), runs.clone())), [("proxy".to_owned(), Cause::Crash)]);
        assert_eq!(causes(&with_sidecar(ended(1), runs.clone())), [("proxy".to_owned(), Cause::Crash)]);
        // Of a pod whose work is done it is stopped by the kubelet.
        assert_eq!(causes(&with_sidecar(ended(143), ended(0))), []);
        let pod = with_sidecar(runs.clone(), runs);
        assert_eq!(running_together(&pod), 2);
        assert_eq!(containers(&pod).filter(|container| !container.is_init()).count(), 2);
    }

    use serde_json::json;

    use super::*;

    fn pod(status: &Value) -> Object {
        Object::new(json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "web-1", "namespace": "a", "uid": "u1"},
            "spec": {"restartPolicy": "Always", "nodeName": "n", "containers": [{"name": "web"}]},
            "status": status,
        }))
    }

    fn one(state: &Value, more: &Value) -> Object {
        let mut status =
            json!({"name": "web", "image": "todo-web:1", "restartCount": 0, "ready": false, "state": state});
        for (key, value) in more.as_object().unwrap() {
            status[key] = value.clone();
        }
        pod(&json!({"phase": "Pending", "containerStatuses": [status]}))
    }

    fn judge(pod: &Object) -> Option<(Cause, Severity)> {
        let rules = Rules { own_images: vec!["todo-web".into()], ..Rules::default() };
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        troubles(pod, &World::default(), &rules, now).first().map(|trouble| (trouble.cause, trouble.severity))
    }

    #[test]
    fn a_container_that_was_killed_was_killed_for_its_liveness_probe() {
        let ended = |code: i64, probe: &str| {
            let state = json!({"terminated": {"reason": "Error", "exitCode": code}});
            let mut json = one(&state, &json!({"restartCount": 1})).into_json();
            json["spec"]["containers"][0][probe] = json!({"exec": {"command": ["false"]}});
            judge(&Object::new(json)).map(|(cause, _)| cause)
        };
        assert_eq!(ended(137, "livenessProbe"), Some(Cause::Liveness));
        assert_eq!(ended(143, "livenessProbe"), Some(Cause::Liveness));
        assert_eq!(ended(1, "livenessProbe"), Some(Cause::Crash));
        assert_eq!(ended(137, "readinessProbe"), Some(Cause::Crash));
    }

    #[test]
    fn what_containers_wait_for() {
        let waiting =
            |reason: &str, image: &str| judge(&one(&json!({"waiting": {"reason": reason}}), &json!({"image": image})));
        assert_eq!(waiting("InvalidImageName", "x"), Some((Cause::ImageName, Severity::AtOnce)));
        assert_eq!(waiting("ErrImageNeverPull", "x"), Some((Cause::ImageMissing, Severity::AtOnce)));
        assert_eq!(waiting("ImagePullBackOff", "nginx:1"), Some((Cause::ImagePull, Severity::AfterGrace)));
        assert_eq!(waiting("ImagePullBackOff", "todo-web:9"), Some((Cause::ImageMissing, Severity::AtOnce)));
        assert_eq!(waiting("CreateContainerConfigError", "x"), Some((Cause::Config, Severity::AfterGrace)));
        assert_eq!(waiting("RunContainerError", "x"), Some((Cause::Start, Severity::AfterGrace)));
        assert_eq!(waiting("CrashLoopBackOff", "x"), Some((Cause::Crash, Severity::AfterGrace)));
        assert_eq!(waiting("ContainerCreating", "x"), None);
    }

    #[test]
    fn a_crash_is_seen_through_all_its_phases() {
        let ended = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        let recent = json!({"running": {"startedAt": "2026-11-23T09:59:58Z"}});
        let long = json!({"running": {"startedAt": "2026-11-23T09:50:00Z"}});
        let crash = Some((Cause::Crash, Severity::AfterGrace));
        assert_eq!(judge(&one(&ended, &json!({}))), crash);
        let before = json!({"restartCount": 1, "lastState": ended.clone(), "ready": true});
        assert_eq!(judge(&one(&recent, &before)), crash, "a restarted container is ready only for the moment");
        assert_eq!(judge(&one(&long, &before)), None);
        let unready = json!({"restartCount": 1, "lastState": ended, "ready": false});
        assert_eq!(judge(&one(&long, &unready)), crash);
        assert_eq!(judge(&one(&long, &json!({"ready": true}))), None);
        assert_eq!(judge(&one(&long, &json!({}))), Some((Cause::Probe, Severity::Slow)));
    }

    #[test]
    fn what_could_never_be_started_is_no_crash_in_any_phase() {
        let message = "failed to create task: exec: \"nope\": executable file not found in $PATH: unknown";
        let start = |reason: &str| json!({"terminated": {"exitCode": 127, "reason": reason, "message": message}});
        let phases = |reason: &str| {
            let refused = json!({"waiting": {"reason": "RunContainerError", "message": message}});
            let waits = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}});
            let again = json!({"restartCount": 1, "lastState": start(reason)});
            [one(&refused, &json!({})), one(&start(reason), &json!({})), one(&waits, &again)]
        };
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        for reason in ["ContainerCannotRun", "StartError"] {
            let found = phases(reason).map(|pod| {
                let found = troubles(&pod, &World::default(), &Rules::default(), now).remove(0);
                (found.cause, found.message.clone(), found.key().0)
            });
            let expected = (Cause::Start, message.to_owned(), found[0].2);
            assert!(found.iter().all(|one| *one == expected), "{reason}: {found:#?}");
        }
        let crash = judge(&one(&json!({"terminated": {"exitCode": 127, "reason": "Error"}}), &json!({})));
        assert_eq!(crash, Some((Cause::Crash, Severity::AfterGrace)), "a shell that misses a command did run");
    }

    #[test]
    fn memory_and_init_containers_are_told_apart() {
        let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(judge(&one(&ended, &json!({}))), Some((Cause::OutOfMemory, Severity::AfterGrace)));
        let missed = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
        assert_eq!(judge(&one(&missed, &json!({}))), Some((Cause::Crash, Severity::AfterGrace)), "nothing limits it");
        let mut limited = one(&missed, &json!({})).into_json();
        limited["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "16Mi"}});
        assert_eq!(judge(&Object::new(limited)), Some((Cause::OutOfMemory, Severity::AfterGrace)));
        let init = pod(&json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "init", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]}));
        assert_eq!(judge(&init), Some((Cause::Init, Severity::AfterGrace)));
        assert_eq!(state(&init), PodState::CrashLoopBackOff);
        let done = pod(&json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "init", "restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}));
        assert_eq!(judge(&done), None);
        let at_last = pod(&json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "init", "restartCount": 1, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
             "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}));
        assert_eq!((judge(&at_last), state(&at_last)), (None, PodState::Pending));
    }

    #[test]
    fn a_liveness_probe_that_kills_is_named() {
        let event = Object::new(json!({"kind": "Event", "reason": "Unhealthy",
            "message": "Liveness probe failed: connection refused", "involvedObject": {"kind": "Pod", "uid": "u1"}}));
        let world = World::new([Arc::new(event)]);
        let ended = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let found = troubles(&one(&ended, &json!({"restartCount": 1})), &world, &Rules::default(), now);
        assert_eq!(
            (found[0].cause, found[0].message.as_str()),
            (Cause::Liveness, "Liveness probe failed: connection refused")
        );
    }

    #[test]
    fn no_room_and_no_volume() {
        let unscheduled = |message: &str| {
            judge(&pod(&json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]})))
        };
        assert_eq!(
            unscheduled("0/1 nodes are available: 1 Insufficient cpu."),
            Some((Cause::Unschedulable, Severity::AfterRoom))
        );
        assert_eq!(
            unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            Some((Cause::Volume, Severity::AfterRoom))
        );
    }

    #[test]
    fn a_container_that_just_started_has_to_settle() {
        let now = "2026-11-23T10:00:00Z".parse::<Timestamp>().unwrap();
        let rules = Rules::default();
        let started = |at: &str, restarts: i64| {
            one(&json!({"running": {"startedAt": at}}), &json!({"ready": true, "restartCount": restarts}))
        };
        let at = |pod: &Object| settles_at(pod, &rules, now).map(|at| at.to_string());
        assert_eq!(at(&started("2026-11-23T09:59:59Z", 0)).unwrap(), "2026-11-23T10:00:02Z");
        assert_eq!(at(&started("2026-11-23T09:59:50Z", 0)), None);
        assert_eq!(at(&started("2026-11-23T09:59:55Z", 1)).unwrap(), "2026-11-23T10:00:06Z");
        // The kubelet of a node under load reported it nine seconds after its start, and would report its end as late.
        let mut late = started("2026-11-23T09:59:50Z", 0).into_json();
        late["status"]["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T09:59:59Z"}]);
        assert_eq!(at(&Object::new(late)).unwrap(), "2026-11-23T10:00:02Z");
    }
}
