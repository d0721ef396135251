//! What is wrong, in the words of a good colleague, and what to try. The cluster's own words are kept where nothing
//! better is known.

use serde_json::Value;

use super::trouble::{Cause, Trouble};
use crate::tools::kube::object::{Object, ObjectRef};

/// One line for a trouble that may still pass.
pub(super) fn short(object: &ObjectRef, trouble: &Trouble) -> String {
    let place = place(object, trouble);
    let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
    format!("{object}{place}: {}", what(trouble, None))
}

/// `pod web-1, container web`, of what the object is not itself.
pub(super) fn place(object: &ObjectRef, trouble: &Trouble) -> String {
    let pod = trouble.pod.as_ref().filter(|pod| object.kind != "Pod" || object.name != **pod);
    let pod = pod.map(|pod| format!("pod {pod}"));
    let word = if trouble.init { "init container" } else { "container" };
    let container = trouble.container.as_ref().map(|container| format!("{word} {container}"));
    [pod, container].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What is wrong. `pod` is the pod that it is about, when it is at hand.
pub(super) fn what(trouble: &Trouble, pod: Option<&Object>) -> String {
    let message = trouble.message.trim();
    let spec = pod.and_then(|pod| spec_of(pod, trouble.container.as_deref()));
    let image = spec.and_then(|spec| spec.get("image")?.as_str()).map(|image| format!(" {image}")).unwrap_or_default();
    let with_message =
        |words: String| if message.is_empty() { words } else { format!("{words}: {}", first_line(message)) };
    let ended = || trouble.last_end.as_ref().map_or_else(|| "it ends".to_owned(), |end| end.to_string());
    let again = match trouble.restarts {
        0 => String::new(),
        1 => ", started again once".to_owned(),
        n => format!(", started again {n} times"),
    };
    match trouble.cause {
        Cause::ImageName => with_message(format!("the image name{image} is not valid")),
        Cause::ImageMissing => format!("the image{image} is not on the node, and nothing may or can bring it there"),
        Cause::ImagePull => with_message(format!("the image{image} cannot be pulled")),
        Cause::Config => config(message),
        Cause::Start => start(message),
        Cause::Crash if trouble.container.is_none() => with_message(format!("it has failed ({})", ended())),
        Cause::Crash => with_message(format!("it keeps ending: {}{again}", ended())),
        Cause::OutOfMemory => {
            let limit = pod.zip(trouble.container.as_deref()).and_then(|(pod, container)| memory_limit(pod, container));
            let limit = limit.map(|limit| format!(" at {limit}")).unwrap_or_default();
            match &trouble.last_end {
                Some(end) if !end.out_of_memory() => {
                    format!("killed from outside ({end}), most likely out of memory{limit}{again}")
                }
                _ => format!("out of memory{limit} (OOMKilled){again}"),
            }
        }
        Cause::Init => with_message(format!("it runs before the others and ends with an error: {}{again}", ended())),
        Cause::Probe => probe(message, spec),
        Cause::Liveness if message.is_empty() => {
            format!("it was killed from outside ({}), most likely since its liveness probe failed{again}", ended())
        }
        Cause::Liveness => {
            format!("its liveness probe fails, so that it is started again and again: {}", probe_words(message))
        }
        Cause::Unschedulable => unschedulable(message, pod),
        Cause::Volume => volume(object_kind(trouble), message),
        Cause::Sandbox => with_message("its sandbox or network cannot be made".to_owned()),
        Cause::Evicted => with_message("it was removed from its node".to_owned()),
        Cause::Quota => quota(message),
        Cause::Admission => with_message("the cluster's admission refuses its pods".to_owned()),
        Cause::Create => with_message("the cluster refuses its pods".to_owned()),
        Cause::Deadline => with_message("Kubernetes gave the rollout up".to_owned()),
        Cause::Job => {
            let end =
                trouble.last_end.as_ref().map(|end| format!(", its last container with {end}")).unwrap_or_default();
            with_message(format!("the job has failed{end}"))
        }
        Cause::NoEndpoints => message.to_owned(),
        Cause::Names => with_message("the names of the new kind are not accepted".to_owned()),
        Cause::Stalled => with_message("its controller says that it is stalled".to_owned()),
        Cause::Missing => message.to_owned(),
        Cause::Terminating => with_message("it is being deleted and does not go".to_owned()),
    }
}

/// What to try.
pub(super) fn suggestion(object: &ObjectRef, trouble: &Trouble, pod: Option<&Object>) -> Option<String> {
    let namespace = &object.namespace;
    let target = trouble.pod.as_deref().unwrap_or(&object.name);
    let spec = pod.and_then(|pod| spec_of(pod, trouble.container.as_deref()));
    let text = match trouble.cause {
        Cause::ImageName => "correct the image's name and tag in the chart's values".to_owned(),
        Cause::ImageMissing => {
            "let this stack build and load the image: the values should say `${image.NAME.repository}` and `${image.NAME.tag}`".to_owned()
        }
        Cause::ImagePull => {
            "check the image's name and tag, and that the node reaches its registry; an image that this stack builds is named by `${image.NAME.tag}`".to_owned()
        }
        Cause::Config if trouble.message.contains("runAsNonRoot") => {
            "let the image run as a user that is not root (USER with a number), or set runAsUser".to_owned()
        }
        Cause::Config => "create what is missing, or correct the name or key in the chart".to_owned(),
        Cause::Start if trouble.message.contains("not found") || trouble.message.contains("no such file") => {
            "correct the command in the chart, or put the program into the image".to_owned()
        }
        Cause::Start => format!("kubectl -n {namespace} describe pod {target}"),
        Cause::Crash | Cause::Init | Cause::Job => match trouble.last_end.as_ref().map(|end| end.exit_code) {
            Some(126 | 127) => "correct the command in the chart, or put the program into the image".to_owned(),
            Some(0) => "its program ends although it should serve: let it stay in the foreground, or make it a Job".to_owned(),
            _ => format!(
                "the log above says why; all of it: kubectl -n {namespace} logs {target}{}",
                trouble.container.as_ref().map(|c| format!(" -c {c}")).unwrap_or_default()
            ),
        },
        Cause::OutOfMemory => "raise resources.limits.memory, or let it use less".to_owned(),
        Cause::Probe | Cause::Liveness => {
            let kind = if trouble.cause == Cause::Probe { "readinessProbe" } else { "livenessProbe" };
            let where_to = spec.and_then(|spec| spec.get(kind)).and_then(probe_target);
            let where_to = where_to.map(|place| format!(" ({place})")).unwrap_or_default();
            format!("does the program listen where its {kind} asks{where_to}? Does it need longer to start (initialDelaySeconds, startupProbe)?")
        }
        Cause::Unschedulable => "ask for less (resources.requests), free some room, or give the cluster more".to_owned(),
        Cause::Volume if ["secret \"", "configmap \""].iter().any(|word| trouble.message.contains(word)) => {
            "create what is missing, or correct the name in the chart".to_owned()
        }
        Cause::Volume => format!("kubectl -n {namespace} get pvc,pv; kubectl get storageclass"),
        Cause::Sandbox | Cause::Create | Cause::Deadline => format!("kubectl -n {namespace} describe {} {}", object.kind.to_lowercase(), object.name),
        Cause::Evicted => "kubectl describe nodes shows what the node is short of".to_owned(),
        Cause::Quota => format!("raise the quota or ask for less: kubectl -n {namespace} describe resourcequota"),
        Cause::Admission => "change what the message names, or the policy that refuses it".to_owned(),
        Cause::NoEndpoints => "compare the service's selector with the labels of the pods".to_owned(),
        Cause::Terminating => format!("kubectl -n {namespace} get {} {} -o yaml shows its finalizers", object.kind.to_lowercase(), object.name),
        Cause::Names | Cause::Stalled | Cause::Missing => return None,
    };
    Some(text)
}

/// The container's part of the pod's spec.
pub(super) fn spec_of<'a>(pod: &'a Object, container: Option<&str>) -> Option<&'a Value> {
    let container = container?;
    let all = pod.list("/spec/initContainers").iter().chain(pod.list("/spec/containers"));
    all.into_iter().find(|spec| spec.get("name").and_then(Value::as_str) == Some(container))
}

/// How much memory a container may use, as its pod says it: `128Mi`.
pub(super) fn memory_limit(pod: &Object, container: &str) -> Option<String> {
    spec_of(pod, Some(container))?.pointer("/resources/limits/memory").map(plain)
}

/// Whether a trouble with a volume is about a pod that wants it, or about the claim itself.
fn object_kind(trouble: &Trouble) -> &'static str {
    if trouble.pod.is_some() { "Pod" } else { "PersistentVolumeClaim" }
}

/// Why a volume is not there.
fn volume(kind: &str, message: &str) -> String {
    for (word, name) in
        [("secret", "Secret"), ("configmap", "ConfigMap"), ("persistentvolumeclaim", "PersistentVolumeClaim")]
    {
        if let Some((_, rest)) = message.split_once(&format!("{word} \""))
            && let Some((missing, rest)) = rest.split_once('"')
            && rest.trim_start().starts_with("not found")
        {
            return format!("{name} {missing}, which a volume of it needs, does not exist");
        }
    }
    if message.contains("unbound immediate PersistentVolumeClaims") {
        return "a claim that it needs is not bound to a volume yet".to_owned();
    }
    let words = if kind == "Pod" { "a volume of it cannot be mounted" } else { "no volume is bound to it" };
    if message.is_empty() { words.to_owned() } else { format!("{words}: {}", first_line(message)) }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}

/// What is missing of a container's configuration.
fn config(message: &str) -> String {
    let quoted = || message.split('"').nth(1).unwrap_or_default();
    if let Some(rest) = message.strip_prefix("couldn't find key ") {
        // couldn't find key KEY in ConfigMap NAMESPACE/NAME
        let mut words = rest.split(' ');
        if let (Some(key), Some("in"), Some(kind), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        {
            return format!("{kind} {} has no key {key:?}", name.rsplit('/').next().unwrap_or(name));
        }
    }
    if message.starts_with("configmap \"") && message.ends_with("not found") {
        return format!("ConfigMap {} does not exist", quoted());
    }
    if message.starts_with("secret \"") && message.ends_with("not found") {
        return format!("Secret {} does not exist", quoted());
    }
    if message.contains("runAsNonRoot") {
        return format!("it may not run as root, and its image does: {}", first_line(message));
    }
    format!("its configuration cannot be used: {}", first_line(message))
}

/// Why a container cannot be started.
fn start(message: &str) -> String {
    if let Some(at) = message.find("exec: \"") {
        let program = message[at + 7..].split('"').next().unwrap_or_default();
        if message.contains("permission denied") {
            return format!("its command {program:?} may not be executed");
        }
        return format!("its command {program:?} is not in the image");
    }
    if message.is_empty() {
        return "it cannot be started".to_owned();
    }
    // Runtimes put the cause last.
    let cause = message.rsplit(": ").take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(": ");
    format!("it cannot be started: {}", first_line(&cause))
}

/// Why a container that runs is not ready.
fn probe(message: &str, spec: Option<&Value>) -> String {
    let kind = if message.starts_with("Startup") { "startupProbe" } else { "readinessProbe" };
    let place = spec.and_then(|spec| spec.get(kind)).and_then(probe_target).map(|place| format!(" ({place})"));
    let name = if kind == "startupProbe" { "startup probe" } else { "readiness probe" };
    match (message.is_empty(), place) {
        (true, Some(place)) => format!("it runs, and its {name}{place} has not passed yet"),
        (true, None) => "it runs, and is not ready yet".to_owned(),
        (false, place) => format!("its {name}{} does not pass: {}", place.unwrap_or_default(), probe_words(message)),
    }
}

/// A probe's message without what everybody knows.
fn probe_words(message: &str) -> String {
    let words = message.split_once("probe failed:").map_or(message, |(_, words)| words.trim_start());
    if words.contains("connection refused") {
        let port = words.split(" connect:").next().and_then(|text| text.trim_end_matches(':').rsplit(':').next());
        let port = port.filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        return port
            .map_or_else(|| "connection refused".to_owned(), |port| format!("connection refused on port {port}"));
    }
    if let Some((_, code)) = words.split_once("statuscode: ") {
        return format!("HTTP status {}", first_line(code));
    }
    if words.contains("context deadline exceeded") || words.contains("Client.Timeout") {
        return "no answer in time".to_owned();
    }
    let line = first_line(words);
    if line.is_empty() { "its command failed".to_owned() } else { line.to_owned() }
}

/// Where a probe asks: `GET /health on port 8000`.
fn probe_target(probe: &Value) -> Option<String> {
    if let Some(http) = probe.get("httpGet") {
        let path = http.get("path").and_then(Value::as_str).unwrap_or("/");
        return Some(format!("GET {path} on port {}", plain(http.get("port")?)));
    }
    if let Some(tcp) = probe.get("tcpSocket") {
        return Some(format!("port {}", plain(tcp.get("port")?)));
    }
    let command = probe.pointer("/exec/command")?.as_array()?;
    Some(command.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
}

/// Why no node takes a pod.
fn unschedulable(message: &str, pod: Option<&Object>) -> String {
    let wanted = |resource: &str| {
        let containers = pod.map(|pod| pod.list("/spec/containers")).unwrap_or_default();
        let requests = containers.iter().filter_map(|c| c.pointer(&format!("/resources/requests/{resource}")));
        requests.map(plain).collect::<Vec<_>>().join(" + ")
    };
    for (words, resource, unit) in [("Insufficient cpu", "cpu", "CPUs"), ("Insufficient memory", "memory", "memory")] {
        if message.contains(words) {
            let wanted = wanted(resource);
            let wanted = if wanted.is_empty() { String::new() } else { format!("{wanted} ") };
            return format!("no node has {wanted}{unit} free: {}", first_line(message));
        }
    }
    format!("no node takes the pod: {}", first_line(message))
}

fn quota(message: &str) -> String {
    match message.split_once("exceeded quota: ") {
        Some((_, rest)) => format!("the quota {} does not allow it", first_line(rest)),
        None => format!("a quota does not allow it: {}", first_line(message)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::trouble::Severity;
    use super::*;

    fn words(cause: Cause, message: &str) -> String {
        let pod = Object::new(json!({"kind": "Pod", "spec": {"containers": [{
            "name": "web", "image": "todo:1",
            "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "4"}},
            "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
        }]}}));
        let mut trouble = Trouble::new(cause, Severity::AfterGrace, message);
        trouble.container = Some("web".into());
        what(&trouble, Some(&pod))
    }

    #[test]
    fn plain_words() {
        assert_eq!(words(Cause::OutOfMemory, ""), "out of memory at 128Mi (OOMKilled)");
        assert_eq!(words(Cause::Config, "configmap \"settings\" not found"), "ConfigMap settings does not exist");
        assert_eq!(
            words(Cause::Config, "couldn't find key COLOR in ConfigMap todo/settings"),
            "ConfigMap settings has no key \"COLOR\""
        );
        assert_eq!(
            words(Cause::Start, "failed to create: exec: \"nope\": executable file not found in $PATH: unknown"),
            "its command \"nope\" is not in the image"
        );
        assert_eq!(
            words(
                Cause::Probe,
                "Readiness probe failed: Get \"http://10.244.0.9:8000/health\": dial tcp 10.244.0.9:8000: connect: connection refused"
            ),
            "its readiness probe (GET /health on port 8000) does not pass: connection refused on port 8000"
        );
        assert_eq!(
            words(Cause::Probe, "Readiness probe failed:"),
            "its readiness probe (GET /health on port 8000) does not pass: its command failed"
        );
        assert_eq!(
            words(Cause::Probe, "Readiness probe failed: HTTP probe failed with statuscode: 503"),
            "its readiness probe (GET /health on port 8000) does not pass: HTTP status 503"
        );
        assert_eq!(
            words(Cause::Unschedulable, "0/1 nodes are available: 1 Insufficient cpu."),
            "no node has 4 CPUs free: 0/1 nodes are available: 1 Insufficient cpu."
        );
        assert_eq!(
            words(
                Cause::Quota,
                "pods \"web-1\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1"
            ),
            "the quota small, requested: pods=1, used: pods=1, limited: pods=1 does not allow it"
        );
    }
}
