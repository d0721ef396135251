//! minikube's command line: `start` creates and starts, and `docker-env` tells where a node's engine is.

use std::path::PathBuf;

use serde::Deserialize;

use super::{ClusterDriver, DriverError, NewCluster, NodeDocker};
use crate::process::{Cancel, ProcessError};

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
        let bytes = output.stdout;
        let answer: DockerEnv = serde_json::from_slice(&bytes)
            .map_err(|source| DriverError::Output { command: self.shown(&args), source })?;
        let tls = !answer.tls_verify.is_empty() && answer.tls_verify != "0";
        let cert_path = (tls && !answer.cert_path.is_empty()).then(|| PathBuf::from(answer.cert_path));
        Ok(NodeDocker { host: answer.host, cert_path })
    }
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
