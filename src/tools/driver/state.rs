//! The states of a local cluster as its own tool knows them, and what each of them needs.
//!
//! The API server of a paused or stopped cluster answers late or never. Its tool, the tool's files and the engine that runs
//! the nodes answer in tenths of a second. This file owns the words of a state; it does not ask anything.

use super::Kind;

/// The state of a cluster, by its tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterState {
    /// The tool knows no cluster of this name.
    Absent,
    /// No node of it runs.
    Stopped,
    /// Its nodes, or the control plane in them, are frozen.
    Paused,
    /// Some nodes run and these do not.
    NodesDown(Vec<String>),
    /// Another process of the tool changes it now.
    Busy(Activity),
    /// The last start failed or was interrupted after it had begun to change the nodes.
    Unfinished,
    /// Kubernetes has fewer nodes than the tool's configuration.
    NodesMissing(Vec<String>),
    /// Its nodes run, and the API server in them does not.
    NoApiServer,
    /// The tool calls it running.
    Running,
}

/// What a process of the tool does with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It creates or starts it.
    Starting,
    /// It stops it.
    Stopping,
    /// It pauses it.
    Pausing,
    /// It unpauses it.
    Unpausing,
    /// It deletes it.
    Deleting,
}

impl Activity {
    /// The command of the tool that does it.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Starting => "start",
            Self::Stopping => "stop",
            Self::Pausing => "pause",
            Self::Unpausing => "unpause",
            Self::Deleting => "delete",
        }
    }

    const fn participle(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Pausing => "pausing",
            Self::Unpausing => "unpausing",
            Self::Deleting => "going away",
        }
    }
}

impl ClusterState {
    /// The state in one or two words, as `status` shows it: `Stopped`.
    pub fn word(&self) -> String {
        match self {
            Self::Absent => "Does not exist".to_owned(),
            Self::Stopped => "Stopped".to_owned(),
            Self::Paused => "Paused".to_owned(),
            Self::NodesDown(nodes) => format!("{} down", of_nodes(nodes)),
            Self::Busy(activity) => capital(activity.participle()),
            Self::Unfinished => "Start not finished".to_owned(),
            Self::NodesMissing(nodes) => format!("{} missing", of_nodes(nodes)),
            Self::NoApiServer => "API server does not answer".to_owned(),
            Self::Running => "Running".to_owned(),
        }
    }

    /// What is the case, as a sentence about `title`, such as `minikube profile todo`.
    pub fn sentence(&self, title: &str, kind: Kind) -> String {
        match self {
            Self::Absent => format!("{title} does not exist"),
            Self::Stopped => format!("{title} is stopped"),
            Self::Paused => format!("{title} is paused"),
            Self::NodesDown(nodes) if nodes.len() == 1 => format!("{} is down (container exited)", of_nodes(nodes)),
            Self::NodesDown(nodes) => format!("{} are down (containers exited)", of_nodes(nodes)),
            Self::Busy(activity) => {
                let (doing, program) = (activity.participle(), kind.program());
                format!("{title} is {doing} (another `{program} {}` is at work)", activity.command())
            }
            Self::Unfinished => format!("the last start of {title} did not finish"),
            Self::NodesMissing(nodes) => format!("Kubernetes lacks {} of {title}", of_nodes(nodes)),
            Self::NoApiServer => format!("the nodes of {title} run, but its API server does not answer"),
            Self::Running => format!("{title} runs, but its API server does not answer"),
        }
    }

    /// What `apply` does about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Absent => "apply creates it",
            Self::Paused => "apply unpauses it",
            Self::NodesDown(nodes) if nodes.len() > 1 => "apply starts them",
            Self::Busy(Activity::Starting | Activity::Unpausing) => "apply waits for it",
            Self::Busy(Activity::Stopping | Activity::Pausing | Activity::Deleting) => {
                "apply waits for that and starts it again"
            }
            Self::Unfinished => "apply finishes it",
            Self::NodesMissing(_) => "apply starts it again",
            Self::Stopped | Self::NodesDown(_) | Self::NoApiServer | Self::Running => "apply starts it",
        }
    }

    /// The command by which a person does the same, where there is one.
    pub fn command(&self, kind: Kind, name: &str) -> Option<String> {
        let docker = |verb: &str| match kind {
            Kind::Kind => format!("docker {verb} $(kind get nodes --name {name})"),
            Kind::K3d | Kind::Minikube => format!("docker {verb} $(docker ps -aqf label=k3d.cluster={name})"),
        };
        Some(match (self, kind) {
            (Self::Busy(_), _) => return None,
            (Self::Paused, Kind::Minikube) => format!("minikube unpause -p {name}"),
            (Self::Paused, Kind::Kind | Kind::K3d) => docker("unpause"),
            (_, Kind::Minikube) => format!("minikube start -p {name}"),
            (Self::Absent, Kind::Kind) => format!("kind create cluster --name {name}"),
            (_, Kind::Kind) => docker("start"),
            (Self::Absent, Kind::K3d) => format!("k3d cluster create {name}"),
            (_, Kind::K3d) => format!("k3d cluster start {name}"),
        })
    }
}

fn of_nodes(nodes: &[String]) -> String {
    format!("{} {}", if nodes.len() == 1 { "node" } else { "nodes" }, nodes.join(", "))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_name_the_cluster_and_what_apply_does() {
        let title = "minikube profile todo";
        let shown = |state: &ClusterState| format!("{}: {}", state.sentence(title, Kind::Minikube), state.remedy());
        for (state, expected) in [
            (ClusterState::Absent, "minikube profile todo does not exist: apply creates it"),
            (ClusterState::Stopped, "minikube profile todo is stopped: apply starts it"),
            (ClusterState::Paused, "minikube profile todo is paused: apply unpauses it"),
            (
                ClusterState::NodesDown(vec!["todo-m02".into()]),
                "node todo-m02 is down (container exited): apply starts it",
            ),
            (
                ClusterState::Busy(Activity::Starting),
                "minikube profile todo is starting (another `minikube start` is at work): apply waits for it",
            ),
            (ClusterState::Unfinished, "the last start of minikube profile todo did not finish: apply finishes it"),
        ] {
            assert_eq!(shown(&state), expected);
        }
    }

    #[test]
    fn the_command_of_a_state_is_the_least_that_helps() {
        let command = |state: ClusterState, kind| state.command(kind, "todo");
        assert_eq!(command(ClusterState::Paused, Kind::Minikube).unwrap(), "minikube unpause -p todo");
        assert_eq!(command(ClusterState::Stopped, Kind::Minikube).unwrap(), "minikube start -p todo");
        assert_eq!(command(ClusterState::Stopped, Kind::Kind).unwrap(), "docker start $(kind get nodes --name todo)");
        assert_eq!(command(ClusterState::Absent, Kind::K3d).unwrap(), "k3d cluster create todo");
        assert_eq!(command(ClusterState::Busy(Activity::Starting), Kind::Minikube), None);
    }
}
