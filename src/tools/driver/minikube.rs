//! minikube's command line: `start` creates and starts, `status` says how it is, and `docker-env` tells where a node's
//! engine is.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use super::containers::{self, Container};
use super::profile::{LastCommand, Profile, ProfileConfig};
use super::{ClusterDriver, ClusterState, DriverError, NewCluster, NodeDocker, owned};
use crate::process::{Cancel, Capture, ProcessError, capture};

/// How long `minikube status` may take: half a second on a quiet machine. It asks an API server that refuses connections for
/// 15 s, which is an answer, too.
const STATUS_WITHIN: Duration = Duration::from_secs(8);

/// minikube's exit code when there is no such profile.
const NO_PROFILE: i32 = 85;

/// The arguments that create a profile, or start it when it is stopped.
pub(super) fn start(profile: &str, new: &NewCluster) -> Vec<String> {
    let mut args = vec!["start".to_owned(), "--profile".to_owned(), profile.to_owned()];
    let mut flag = |name: &str, value: Option<String>| args.extend(value.map(|value| format!("--{name}={value}")));
    flag("driver", new.node_driver.clone());
    flag("nodes", (new.nodes > 1).then(|| new.nodes.to_string()));
    flag("container-runtime", new.container_runtime.clone());
    flag("cpus", new.cpus.map(|count| count.to_string()));
    flag("memory", new.memory.map(mebibytes));
    flag("disk-size", new.disk.map(mebibytes));
    flag("kubernetes-version", new.kubernetes_version.clone());
    flag("addons", (!new.addons.is_empty()).then(|| new.addons.join(",")));
    args.extend(new.args.iter().cloned());
    args
}

impl ClusterDriver {
    /// The Docker daemon in the node, for images.
    ///
    /// # Errors
    /// When there is none, or the tool fails.
    pub async fn node_docker(&self, cancel: &Cancel) -> Result<NodeDocker, DriverError> {
        let args = ["docker-env", "--profile", &self.name, "--shell", "none", "-o", "json"].map(str::to_owned);
        let output = self.ask(args.to_vec(), cancel).await;
        let no_docker = |reason| DriverError::NoDocker { profile: self.name.clone(), reason };
        let output = match output {
            Ok(output) => output,
            // minikube's own exit codes; see the facts about minikube in the decisions.
            Err(DriverError::Failed { source: ProcessError::Exit { code: 51, .. }, .. }) => {
                return Err(no_docker("its driver is none"));
            }
            Err(DriverError::Failed { source: ProcessError::Exit { code: 81, .. }, .. }) => {
                return Err(no_docker("it has several nodes"));
            }
            Err(DriverError::Failed { source: ProcessError::Exit { code: 14, .. }, .. }) => {
                return Err(no_docker("its container runtime is not docker"));
            }
            Err(error) => return Err(error),
        };
        let answer: DockerEnv = json_in(&output.stdout_text())
            .map_err(|source| DriverError::Output { command: self.shown(&args), source })?;
        let tls = !answer.tls_verify.is_empty() && answer.tls_verify != "0";
        let cert_path = (tls && !answer.cert_path.is_empty()).then(|| PathBuf::from(answer.cert_path));
        Ok(NodeDocker { host: answer.host, cert_path })
    }
}

impl ClusterDriver {
    /// The state of the profile. What its own files and its containers say takes no time; `minikube status` is asked beside
    /// them, and decides what they leave open.
    pub(super) async fn minikube_state(&self, cancel: &Cancel) -> Option<ClusterState> {
        let profile = self.profile();
        if let Some(activity) = profile.as_ref().and_then(Profile::activity) {
            return Some(ClusterState::Busy(activity));
        }
        let config = profile.as_ref().and_then(Profile::config);
        let last = profile.as_ref().and_then(Profile::last_command);
        let mut told = pin!(self.status(cancel));
        let mut early = None;
        let mut nodes_run = false;
        if let Some(config) = &config {
            let mut listed = pin!(self.minikube_containers(config, cancel));
            let listed = tokio::select! {
                listed = &mut listed => listed,
                told = &mut told => {
                    early = Some(told);
                    listed.await
                }
            };
            match listed.map(|nodes| containers::state(&nodes)) {
                Some(ClusterState::Absent) => return Some(ClusterState::Stopped),
                Some(state @ (ClusterState::Stopped | ClusterState::NodesDown(_))) => return Some(state),
                // The nodes run, and the last word of minikube about the profile is that it is paused.
                Some(ClusterState::Running) if last.is_some_and(LastCommand::is_pause) => {
                    return Some(ClusterState::Paused);
                }
                Some(ClusterState::Running) => nodes_run = true,
                Some(_) | None => {}
            }
        }
        let told = match early {
            Some(told) => told,
            None => told.await,
        };
        // A profile whose machine is gone has no state, and is started as one that is stopped.
        let gone = config.is_some().then_some(ClusterState::Stopped);
        match told {
            Told::State(ClusterState::Absent) => gone.or(Some(ClusterState::Absent)),
            Told::State(state) => Some(state),
            Told::Nothing if nodes_run => Some(ClusterState::NoApiServer),
            Told::Nothing => None,
        }
    }

    /// What `minikube status` says.
    async fn status(&self, cancel: &Cancel) -> Told {
        let args = owned(&["status", "--profile", &self.name, "--output", "json"]);
        let limits = Capture { timeout: STATUS_WITHIN, ..Capture::default() };
        let output = match capture(&self.command(args), cancel, limits).await {
            Ok(output) => output,
            Err(ProcessError::Exit { code: NO_PROFILE, .. }) => return Told::State(ClusterState::Absent),
            // Its exit code is a sum of what does not run; what it prints says it.
            Err(ProcessError::Exit { output, .. }) => *output,
            Err(error) => {
                tracing::debug!(%error, "minikube does not say how the profile is");
                return Told::Nothing;
            }
        };
        state_of(&output.stdout_text()).map_or(Told::Nothing, Told::State)
    }

    /// The containers of the profile's nodes, those that are gone included. Nothing where the nodes are no containers of
    /// Docker's.
    pub(super) async fn minikube_containers(&self, config: &ProfileConfig, cancel: &Cancel) -> Option<Vec<Container>> {
        let machines = config.machines();
        if config.driver != "docker" || machines.is_empty() {
            return None;
        }
        let filters: Vec<_> = machines.iter().map(|machine| format!("name=^/?{machine}$")).collect();
        let mut nodes = containers::list(&filters, cancel).await?;
        for machine in machines {
            if !nodes.iter().any(|node| node.name == machine) {
                nodes.push(Container { name: machine, state: "exited".to_owned() });
            }
        }
        Some(nodes)
    }
}

/// The answer of `minikube status`.
enum Told {
    State(ClusterState),
    /// It has none, or not soon enough.
    Nothing,
}

/// What a profile lacks whose cluster answers and has these nodes, by its own files.
pub(super) fn shortfall(profile: &Profile, nodes: &[(&str, bool)]) -> Option<ClusterState> {
    let last = profile.last_command();
    let is_open_start = last.is_some_and(|last| last.is_open_start());
    if is_open_start && let Some(activity) = profile.activity() {
        return Some(ClusterState::Busy(activity));
    }
    let machines = profile.config().map(|config| config.machines()).unwrap_or_default();
    if nodes.len() < machines.len() {
        let missing = machines.into_iter().filter(|machine| !nodes.iter().any(|(name, _)| name == machine));
        return Some(ClusterState::NodesMissing(missing.collect()));
    }
    is_open_start.then_some(ClusterState::Unfinished)
}

/// A node in the answer of `minikube status -o json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeStatus {
    name: String,
    host: String,
    #[serde(rename = "APIServer")]
    api_server: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Statuses {
    One(NodeStatus),
    Several(Vec<NodeStatus>),
}

/// The state that an answer of `minikube status -o json` describes: an object for one node, an array for several.
fn state_of(text: &str) -> Option<ClusterState> {
    let nodes = match json_in::<Statuses>(text).ok()? {
        Statuses::One(node) => vec![node],
        Statuses::Several(nodes) if nodes.is_empty() => return None,
        Statuses::Several(nodes) => nodes,
    };
    let down: Vec<_> = nodes.iter().filter(|node| node.host != "Running").map(|node| node.name.clone()).collect();
    let any = |word: &str| nodes.iter().any(|node| node.api_server == word);
    Some(if any("Paused") {
        ClusterState::Paused
    } else if nodes.iter().all(|node| node.host == "Nonexistent") {
        ClusterState::Absent
    } else if down.len() == nodes.len() {
        ClusterState::Stopped
    } else if !down.is_empty() {
        ClusterState::NodesDown(down)
    } else if any("Running") {
        ClusterState::Running
    } else {
        ClusterState::NoApiServer
    })
}

/// The first value of this shape in a text which may hold warnings, other JSON and words of a shell, such as `false exit
/// code 81`, around it.
fn json_in<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    let begins = |(at, _): &(usize, char)| *at == 0 || text.as_bytes()[at - 1] == b'\n';
    let places = text.char_indices().filter(begins).filter(|(_, first)| matches!(first, '{' | '['));
    let mut failed = serde_json::Error::custom("it holds no JSON");
    for (at, _) in places {
        match serde_json::Deserializer::from_str(&text[at..]).into_iter::<T>().next() {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) => failed = error,
            None => {}
        }
    }
    Err(failed)
}

/// The reason in minikube's own words: the line `X Exiting due to GUEST_START: …` with its further lines, and the
/// suggestion. Without them the last lines of minikube are a box that asks for a bug report.
pub(super) fn reason(stderr: &str) -> Option<String> {
    let lines: Vec<&str> = stderr.lines().map(str::trim_end).collect();
    let at = lines.iter().rposition(|line| line.contains("Exiting due to "))?;
    let is_note =
        |line: &str| line.starts_with(['*', '\u{1f4a1}', '\u{2755}', '!', '\u{256d}', '\u{2502}', '\u{2570}', '|']);
    let mut words =
        vec![lines[at].trim_start_matches(|sign: char| !sign.is_ascii_alphanumeric() || sign == 'X').to_owned()];
    let rest = &lines[at + 1..];
    words.extend(rest.iter().take_while(|line| !line.is_empty() && !is_note(line)).map(|line| line.trim().to_owned()));
    if let Some(place) = rest.iter().position(|line| line.contains("Suggestion: ")) {
        let text = rest[place].split_once("Suggestion: ").map_or("", |(_, text)| text);
        words.push(format!("minikube suggests: {text}"));
        let further = rest[place + 1..].iter().take_while(|line| line.starts_with(' ') && !line.trim().is_empty());
        words.extend(further.map(|line| line.trim().to_owned()));
    }
    Some(words.join("\n"))
}

/// Whether minikube ended since it was run as root.
pub(super) fn refuses_root(stderr: &str) -> bool {
    stderr.contains("Exiting due to DRV_AS_ROOT")
}

fn mebibytes(bytes: u64) -> String {
    format!("{}mb", bytes >> 20)
}

#[derive(Debug, Deserialize)]
struct DockerEnv {
    #[serde(rename = "DOCKER_TLS_VERIFY", default)]
    tls_verify: String,
    #[serde(rename = "DOCKER_HOST")]
    host: String,
    #[serde(rename = "DOCKER_CERT_PATH", default)]
    cert_path: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Command;

    /// As the real one prints it for one node that is paused; the exit code is 2.
    const PAUSED: &str = r#"{"Name":"todo","Host":"Running","Kubelet":"Stopped","APIServer":"Paused","Kubeconfig":"Configured","Worker":false}"#;

    #[test]
    fn the_status_of_a_profile_is_its_state() {
        let node = |name: &str, host: &str, api: &str| {
            format!(
                r#"{{"Name":"{name}","Host":"{host}","Kubelet":"x","APIServer":"{api}","Kubeconfig":"x","Worker":false}}"#
            )
        };
        let several = |nodes: &[String]| format!("[{}]", nodes.join(","));
        for (text, state) in [
            (PAUSED.to_owned(), Some(ClusterState::Paused)),
            (node("todo", "Stopped", "Stopped"), Some(ClusterState::Stopped)),
            (node("todo", "Running", "Running"), Some(ClusterState::Running)),
            (node("todo", "Running", "Stopped"), Some(ClusterState::NoApiServer)),
            (node("todo", "Nonexistent", "Nonexistent"), Some(ClusterState::Absent)),
            (
                several(&[node("todo", "Running", "Running"), node("todo-m02", "Stopped", "Stopped")]),
                Some(ClusterState::NodesDown(vec!["todo-m02".into()])),
            ),
            (
                several(&[node("todo", "Running", "Running"), node("todo-m02", "Running", "Irrelevant")]),
                Some(ClusterState::Running),
            ),
            // What comes before it on the same stream is no part of it.
            (
                format!("! Executing \"docker container inspect\" took an unusually long time: 2.1s\n{PAUSED}"),
                Some(ClusterState::Paused),
            ),
            (
                r#"{"specversion":"1.0","type":"io.k8s.sigs.minikube.info","data":{"message":"Profile not found"}}"#
                    .into(),
                None,
            ),
            ("[]".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(state_of(&text), state, "{text}");
        }
    }

    #[test]
    fn json_is_found_among_warnings_and_words_of_a_shell() {
        let text = "! a warning {\n{\"DOCKER_TLS_VERIFY\":\"1\",\"DOCKER_HOST\":\"tcp://192.168.49.2:2376\"}\n* done\n";
        assert_eq!(json_in::<DockerEnv>(text).unwrap().host, "tcp://192.168.49.2:2376");
        assert!(json_in::<DockerEnv>("false exit code 81\n").is_err());
    }

    #[test]
    fn the_reason_is_the_line_with_the_exit_and_not_the_box() {
        let stderr = "! Failing to connect to https://registry.k8s.io/ from inside the minikube container\n\
             X Exiting due to GUEST_START: failed to start node: wait 6m0s for node: context deadline exceeded\n\
             * Suggestion: Check output of 'journalctl -xeu kubelet'\n\
             * Related issue: https://github.com/kubernetes/minikube/issues/4172\n* \n\
             \u{256d}────────────╮\n│  * If the above advice does not help, please let us know: │\n╰────────────╯\n";
        let expected = "Exiting due to GUEST_START: failed to start node: wait 6m0s for node: context deadline exceeded\n\
             minikube suggests: Check output of 'journalctl -xeu kubelet'";
        assert_eq!(reason(stderr).unwrap(), expected);
        let emoji = "❌  Exiting due to MK_USAGE: no\n💡  Suggestion: \n\n    - one\n    - two\n";
        assert!(reason(emoji).unwrap().starts_with("Exiting due to MK_USAGE: no"));
        assert_eq!(reason("kind: ERROR: failed to create cluster\n"), None);
    }

    #[tokio::test]
    async fn a_refusal_of_root_has_the_way_out() {
        let stderr = "X Exiting due to DRV_AS_ROOT: The \"docker\" driver should not be used with root privileges.";
        let script = format!("echo '{stderr}' >&2; exit 78");
        let source = capture(&Command::shell(script), &Cancel::never(), Capture::default()).await.unwrap_err();
        let error = DriverError::Failed { command: "minikube start".into(), source };
        assert!(error.to_string().ends_with("should not be used with root privileges."), "{error}");
        let help = "set start-args = [\"--force\"], or MINIKUBE_FORCE=true: minikube's docker driver refuses root";
        assert_eq!(error.help().unwrap(), help);
    }

    #[test]
    fn only_what_was_said_is_passed_on() {
        let new = NewCluster { nodes: 1, ..NewCluster::default() };
        assert_eq!(start("todo", &new), ["start", "--profile", "todo"]);
        let new = NewCluster {
            nodes: 2,
            cpus: Some(2),
            memory: Some(4 << 30),
            kubernetes_version: Some("v1.32.0".into()),
            args: vec!["--wait=all".into()],
            ..NewCluster::default()
        };
        let expected = [
            "start",
            "--profile",
            "todo",
            "--nodes=2",
            "--cpus=2",
            "--memory=4096mb",
            "--kubernetes-version=v1.32.0",
            "--wait=all",
        ];
        assert_eq!(start("todo", &new), expected);
    }
}
