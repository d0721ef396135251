//! k3d's command line.

use serde::Deserialize;

use super::{ClusterDriver, DriverError, NewCluster, owned};
use crate::process::Cancel;

/// The arguments that create a cluster.
pub(super) fn create(cluster: &str, new: &NewCluster) -> Vec<String> {
    let mut args = owned(&["cluster", "create", cluster]);
    args.extend(new.kubernetes_version.iter().map(|version| format!("--image=rancher/k3s:{}", tag(version))));
    args.extend((new.nodes > 1).then(|| format!("--agents={}", new.nodes - 1)));
    args.extend(new.args.iter().cloned());
    args
}

/// The arguments that start one that is stopped.
pub(super) fn start(cluster: &str) -> Vec<String> {
    owned(&["cluster", "start", cluster])
}

/// The tag of the k3s image of a version, which k3s itself writes `v1.32.0+k3s1`: a tag can't have a `+`.
fn tag(version: &str) -> String {
    if version.contains("k3s") { version.replace('+', "-") } else { format!("{version}-k3s1") }
}

impl ClusterDriver {
    /// Whether k3d knows a cluster of this name, running or not.
    pub(super) async fn is_known_to_k3d(&self, cancel: &Cancel) -> Result<bool, DriverError> {
        #[derive(Deserialize)]
        struct Listed {
            name: String,
        }
        let args = owned(&["cluster", "list", "-o", "json"]);
        let output = self.ask(args.clone(), cancel).await?;
        let listed: Vec<Listed> = serde_json::from_slice(&output.stdout)
            .map_err(|source| DriverError::Output { command: self.shown(&args), source })?;
        Ok(listed.iter().any(|cluster| cluster.name == self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_passed_on() {
        let new = NewCluster { nodes: 1, ..NewCluster::default() };
        assert_eq!(create("todo", &new), ["cluster", "create", "todo"]);
        let new = NewCluster {
            nodes: 2,
            kubernetes_version: Some("v1.32.0".into()),
            args: vec!["--no-lb".into()],
            ..NewCluster::default()
        };
        let expected = ["cluster", "create", "todo", "--image=rancher/k3s:v1.32.0-k3s1", "--agents=1", "--no-lb"];
        assert_eq!(create("todo", &new), expected);
    }

    #[test]
    fn versions_become_tags_as_k3s_publishes_them() {
        for (version, expected) in [
            ("v1.32.0", "v1.32.0-k3s1"),
            ("v1.32.0+k3s2", "v1.32.0-k3s2"),
            ("v1.32.0-k3s2", "v1.32.0-k3s2"),
            ("v1.32.0-rc1+k3s1", "v1.32.0-rc1-k3s1"),
        ] {
            assert_eq!(tag(version), expected);
        }
    }
}
