//! The containers that are a cluster's nodes, as the Docker Engine knows them.

use std::time::Duration;

use serde::Deserialize;

use super::ClusterState;
use crate::process::{Cancel, Capture, Command, capture};

/// An engine that lists its containers later than this is not waited for.
const LISTED_WITHIN: Duration = Duration::from_secs(3);

/// A container and its state in Docker's words: `running`, `exited`, `paused`, `created`, `restarting`, `removing`, `dead`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    #[serde(rename = "Names")]
    pub(super) name: String,
    pub(super) state: String,
}

impl Container {
    fn is_up(&self) -> bool {
        matches!(self.state.as_str(), "running" | "restarting")
    }
}

/// The containers that meet all these conditions of `docker ps --filter`. Nothing where the engine does not answer.
pub(super) async fn list(filters: &[String], cancel: &Cancel) -> Option<Vec<Container>> {
    let filters = filters.iter().flat_map(|filter| ["--filter".to_owned(), filter.clone()]);
    let args = ["ps", "--all", "--no-trunc", "--format", "{{json .}}"].map(str::to_owned);
    let command = Command::new("docker").args(args).args(filters);
    let limits = Capture { timeout: LISTED_WITHIN, ..Capture::default() };
    let output = capture(&command, cancel, limits).await.ok()?;
    Some(parse(&output.stdout_text()))
}

/// One object of JSON a line; anything else is a warning of the client.
fn parse(text: &str) -> Vec<Container> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The state of a cluster whose nodes are these containers. `Running` means no more than that all of them run.
pub(super) fn state(nodes: &[Container]) -> ClusterState {
    let named = |is: fn(&Container) -> bool| nodes.iter().filter(move |node| is(node)).map(|node| node.name.clone());
    let down: Vec<_> = named(|node| !node.is_up() && node.state != "paused").collect();
    if nodes.is_empty() {
        ClusterState::Absent
    } else if down.len() == nodes.len() {
        ClusterState::Stopped
    } else if !down.is_empty() {
        ClusterState::NodesDown(down)
    } else if named(|node| node.state == "paused").next().is_some() {
        ClusterState::Paused
    } else {
        ClusterState::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docker 29 prints them, shortened; the first line is what a client says whose configuration is unreadable.
    const LISTED: &str = r#"WARNING: Error loading config file: /root/.docker/config.json: permission denied
{"Command":"\"/usr/local/bin/entr…\"","CreatedAt":"2026-11-30 09:00:00 +0000 UTC","ID":"b1","Image":"kindest/node:v1.36.3","Labels":"io.x-k8s.kind.cluster=todo","Names":"todo-control-plane","State":"running","Status":"Up 3 minutes"}
{"ID":"b2","Names":"todo-worker","State":"exited","Status":"Exited (137) 2 minutes ago"}
"#;

    #[test]
    fn listed_containers_are_read_past_warnings() {
        let names: Vec<_> = parse(LISTED).into_iter().map(|container| (container.name, container.state)).collect();
        assert_eq!(
            names,
            [("todo-control-plane".into(), "running".into()), ("todo-worker".into(), "exited".to_owned())]
        );
    }

    #[test]
    fn containers_decide_the_state() {
        let of = |states: &[&str]| {
            let nodes: Vec<_> = states
                .iter()
                .enumerate()
                .map(|(at, state)| Container { name: format!("n{at}"), state: (*state).to_owned() })
                .collect();
            state(&nodes)
        };
        assert_eq!(of(&[]), ClusterState::Absent);
        assert_eq!(of(&["exited", "created"]), ClusterState::Stopped);
        assert_eq!(of(&["running", "exited"]), ClusterState::NodesDown(vec!["n1".into()]));
        assert_eq!(of(&["paused", "running"]), ClusterState::Paused);
        assert_eq!(of(&["running", "restarting"]), ClusterState::Running);
    }
}
