//! A way to a node's Docker Engine that has no address of its own here: a socket on this machine whose connections are
//! carried by a command on the node.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::{AbortHandle, JoinSet};

use super::shell::NodeShell;
use crate::tools::docker::{DockerError, Endpoint};

/// An open way. Closed, with all connections, when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Tunnel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: TempDir,
    serving: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const SOCKET: &str = "docker.sock";

impl Tunnel {
    /// Opens a way to the Docker Engine of a node.
    ///
    /// # Errors
    /// When this machine refuses a socket.
    pub fn open(shell: NodeShell) -> Result<Self, DockerError> {
        let refused = |error: std::io::Error| DockerError::Unexpected {
            place: "this machine".to_owned(),
            reason: format!("no socket can be opened for node {}: {error}", shell.node()),
        };
        let folder = tempfile::Builder::new().prefix("stack-node-").tempdir().map_err(refused)?;
        let listener = UnixListener::bind(folder.path().join(SOCKET)).map_err(refused)?;
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shell = shell.clone();
                connections.spawn(async move {
                    match shell.open(&["docker", "system", "dial-stdio"]).await {
                        Ok(conversation) => conversation.join(stream).await,
                        // The connection closes, which its other end reports.
                        Err(error) => tracing::debug!(node = shell.node(), %error, "no way to the node"),
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { inner: Arc::new(Inner { folder, serving: serving.abort_handle() }) })
    }

    /// Where to connect to.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.inner.folder.path().join(SOCKET))
    }
}
