//! kind's command line, which creates clusters and never starts one: its nodes are containers, which Docker starts.

use super::{ClusterDriver, DriverError, NewCluster, docker, owned};
use crate::event::Stream;
use crate::process::Cancel;

/// The arguments that create a cluster, and what they are to read: the number of nodes has no flag.
fn create(cluster: &str, new: &NewCluster) -> (Vec<String>, String) {
    let mut args = owned(&["create", "cluster", "--name", cluster]);
    args.extend(new.kubernetes_version.iter().map(|version| format!("--image=kindest/node:{version}")));
    let config = config(new.nodes);
    args.extend((!config.is_empty()).then(|| "--config=-".to_owned()));
    args.extend(new.args.iter().cloned());
    (args, config)
}

/// kind's own file for so many nodes; nothing for what it makes by itself.
fn config(nodes: u32) -> String {
    if nodes <= 1 {
        return String::new();
    }
    let mut text = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n".to_owned();
    (1..nodes).for_each(|_| text.push_str("- role: worker\n"));
    text
}

impl ClusterDriver {
    /// Creates the cluster, or starts the containers that it consists of.
    pub(super) async fn kind_start(
        &self,
        new: &NewCluster,
        cancel: &Cancel,
        on_line: &mut (dyn FnMut(Stream, &str) + Send),
    ) -> Result<(), DriverError> {
        let listed = self.ask(owned(&["get", "nodes", "--name", &self.name]), cancel).await?.stdout_text();
        let nodes: Vec<_> = listed.lines().filter(|line| !line.is_empty()).collect();
        if nodes.is_empty() {
            let (args, config) = create(&self.name, new);
            return self.run_with(args, &config, cancel, on_line).await;
        }
        docker("start", nodes.into_iter().map(str::to_owned).collect(), cancel, on_line).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_passed_on() {
        let new = NewCluster { nodes: 1, ..NewCluster::default() };
        assert_eq!(create("todo", &new), (owned(&["create", "cluster", "--name", "todo"]), String::new()));
        let new = NewCluster {
            nodes: 3,
            kubernetes_version: Some("v1.32.0".into()),
            args: vec!["--wait=1m".into()],
            ..NewCluster::default()
        };
        let (args, config) = create("todo", &new);
        let flags = ["--image=kindest/node:v1.32.0", "--config=-", "--wait=1m"];
        assert_eq!(args, [&["create", "cluster", "--name", "todo"][..], &flags].concat());
        let nodes = "nodes:\n- role: control-plane\n- role: worker\n- role: worker\n";
        assert_eq!(config, format!("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n{nodes}"));
    }
}
