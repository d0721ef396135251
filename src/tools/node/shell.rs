//! Runs commands on a node, from this machine.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;

use crate::process::{Cancel, Capture, Command, Output, Piped, ProcessError, capture, pipe};

/// How long a question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The way to run commands on a node.
#[derive(Debug, Clone)]
pub struct NodeShell {
    node: String,
    /// What comes before the command.
    program: &'static str,
    args: Vec<String>,
    /// Whether a shell on the node reads the command's words again.
    reads_again: bool,
}

impl NodeShell {
    /// Through `minikube ssh`; the user there may use `sudo`.
    pub fn minikube(profile: &str, node: &str) -> Self {
        let args = ["ssh", "--profile", profile, "--node", node, "--", "sudo"].map(str::to_owned).to_vec();
        Self { node: node.to_owned(), program: "minikube", args, reads_again: true }
    }

    /// Through `docker exec`, for nodes that are containers of this machine's engine, as those of kind and k3d are.
    pub fn container(node: &str) -> Self {
        Self::through("docker", &["exec", "--interactive", node], node)
    }

    /// Through a program that runs the words behind its own as they are.
    pub fn through(program: &'static str, args: &[&str], node: &str) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { node: node.to_owned(), program, args, reads_again: false }
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    fn command(&self, words: &[&str]) -> Command {
        let shown = |word: &&str| if self.reads_again { quoted(word) } else { (*word).to_owned() };
        Command::new(self.program).args(&self.args).args(words.iter().map(shown))
    }

    /// Runs a command and gives what it printed.
    pub(super) async fn ask(&self, words: &[&str]) -> Result<Output, ProcessError> {
        let limits = Capture { timeout: ANSWER_WITHIN, ..Capture::default() };
        capture(&self.command(words), &Cancel::never(), limits).await
    }

    /// Runs a command that reads `input`.
    pub(super) async fn feed(
        &self,
        words: &[&str],
        input: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Output, ProcessError> {
        pipe(&self.command(words), input, &Cancel::never()).await
    }

    /// Starts a command that is spoken with.
    pub(super) fn open(&self, words: &[&str]) -> Result<Piped, ProcessError> {
        Piped::spawn(&self.command(words))
    }
}

/// A word as a shell has to read it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_on_the_node_reads_the_words_that_were_meant() {
        let shell = NodeShell::minikube("p", "m02");
        let command = format!("{:?}", shell.command(&["sh", "-c", "echo 'a b' $1"]));
        assert!(command.contains(r#""ssh", "--profile", "p", "--node", "m02", "--", "sudo", "sh", "-c""#), "{command}");
        assert_eq!(quoted("echo 'a b' $1"), r"'echo '\''a b'\'' $1'");
        assert_eq!(quoted("name==docker.io/library/a:b"), "name==docker.io/library/a:b");
    }
}
