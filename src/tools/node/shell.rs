//! Runs commands on a node: in the container that the node is, by `ssh` on the machine that it is, or through another
//! program.
//!
//! In every way bytes are whole in both directions, stderr is separate, no terminal is asked for, and a command that reads
//! its input ends when the run does, since its input then ends.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::machine::Machine;
use crate::process::{Cancel, Capture, Command, Output, Piped, capture, pipe};
use crate::tools::docker::{Engine, ExecError, ExecStreams};

/// How long a question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The way to run commands on a node.
#[derive(Debug, Clone)]
pub struct NodeShell {
    node: String,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    /// The node is this container of this engine.
    Container { engine: Engine, id: String },
    /// A program on this machine runs the command there.
    Program {
        program: &'static str,
        /// What comes before the command.
        args: Vec<String>,
        /// Whether a shell on the node reads the command's words again.
        reads_again: bool,
    },
}

/// A command on a node that is spoken with.
#[derive(Debug)]
pub(super) enum Conversation {
    Container(ExecStreams),
    Program(Piped),
}

impl NodeShell {
    /// In the container that the node is, through the API of its engine.
    pub fn container(engine: Engine, id: String, node: &str) -> Self {
        Self { node: node.to_owned(), way: Way::Container { engine, id } }
    }

    /// On the machine that the node is, by `ssh`; its user may use `sudo`.
    pub fn machine(machine: &Machine, node: &str) -> Self {
        let mut args = machine.ssh_arguments();
        args.extend(["--", "sudo", "-n"].map(str::to_owned));
        Self { node: node.to_owned(), way: Way::Program { program: "ssh", args, reads_again: true } }
    }

    /// The last resort: through `minikube ssh`, whose own client asks for a terminal and spoils bytes, so that it has to
    /// use the `ssh` program. It makes every exit code but 0 a 1.
    pub fn minikube(profile: &str, node: &str) -> Self {
        let args = ["ssh", "--native-ssh=false", "--profile", profile, "--node", node, "--", "sudo", "-n"];
        let args = args.map(str::to_owned).to_vec();
        Self { node: node.to_owned(), way: Way::Program { program: "minikube", args, reads_again: true } }
    }

    /// Through a program that runs the words behind its own as they are.
    pub fn through(program: &'static str, args: &[&str], node: &str) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { node: node.to_owned(), way: Way::Program { program, args, reads_again: false } }
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Runs a command and gives what it printed.
    ///
    /// # Errors
    /// Anything but exit code 0 within a minute.
    pub async fn ask(&self, words: &[&str]) -> Result<Output, ExecError> {
        match &self.way {
            Way::Container { engine, id } => engine.exec(id, words, ANSWER_WITHIN).await,
            Way::Program { program, args, reads_again } => {
                let limits = Capture { timeout: ANSWER_WITHIN, ..Capture::default() };
                Ok(capture(&command(program, args, *reads_again, words), &Cancel::never(), limits).await?)
            }
        }
    }

    /// Runs a command that reads `input`.
    ///
    /// # Errors
    /// Anything but exit code 0.
    pub async fn feed(
        &self,
        words: &[&str],
        input: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Output, ExecError> {
        match &self.way {
            Way::Container { engine, id } => engine.exec_with_input(id, words, input).await,
            Way::Program { program, args, reads_again } => {
                Ok(pipe(&command(program, args, *reads_again, words), input, &Cancel::never()).await?)
            }
        }
    }

    /// Starts a command that is spoken with.
    pub(super) async fn open(&self, words: &[&str]) -> Result<Conversation, ExecError> {
        Ok(match &self.way {
            Way::Container { engine, id } => Conversation::Container(engine.exec_start(id, words, true).await?),
            Way::Program { program, args, reads_again } => {
                Conversation::Program(Piped::spawn(&command(program, args, *reads_again, words))?)
            }
        })
    }
}

impl Conversation {
    /// Carries bytes both ways until either side ends.
    pub(super) async fn join(self, stream: impl AsyncRead + AsyncWrite + Send) {
        match self {
            Self::Container(streams) => streams.join(stream).await,
            Self::Program(child) => child.join(stream).await,
        }
    }
}

fn command(program: &'static str, args: &[String], reads_again: bool, words: &[&str]) -> Command {
    let shown = |word: &&str| if reads_again { quoted(word) } else { (*word).to_owned() };
    Command::new(program).args(args).args(words.iter().map(shown))
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

    fn shown(shell: &NodeShell, words: &[&str]) -> String {
        match &shell.way {
            Way::Program { program, args, reads_again } => format!("{:?}", command(program, args, *reads_again, words)),
            Way::Container { .. } => panic!("no program is run"),
        }
    }

    #[test]
    fn shell_on_the_node_reads_the_words_that_were_meant() {
        let shell = NodeShell::minikube("p", "m02");
        let command = shown(&shell, &["sh", "-c", "echo 'a b' $1"]);
        let start = r#""ssh", "--native-ssh=false", "--profile", "p", "--node", "m02", "--", "sudo", "-n", "sh", "-c""#;
        assert!(command.contains(start), "{command}");
        assert_eq!(quoted("echo 'a b' $1"), r"'echo '\''a b'\'' $1'");
        assert_eq!(quoted("name==docker.io/library/a:b"), "name==docker.io/library/a:b");
    }
}
