//! Commands on a node, by every way that leads there: bytes are whole, stderr is separate, exit codes are true, and there
//! is no terminal.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use futures::stream;
use stack::process::ProcessError;
use stack::tools::docker::{Engine, ExecError};
use stack::tools::node::{Machine, NodeShell};

use crate::support::{host_docker, succeed, wait_until};

/// Bytes of the large input.
const LARGE: usize = 20_000_000;

/// All 256 values, again and again, in an order that no line end or control character survives by chance.
fn all_values(count: usize) -> Vec<u8> {
    (0..count).map(|index| ((index * 167) ^ (index >> 8)) as u8).collect()
}

fn pieces(bytes: &[u8]) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let pieces: Vec<_> = bytes.chunks(60_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

/// What has to hold of every way. `tells_codes` is whether the way passes on exit codes beside 0 and 1.
async fn check(shell: &NodeShell, tells_codes: bool) {
    let large = all_values(LARGE);
    let (digest, small) = (succeed_sha256(&large), &large[..1 << 20]);

    let output = shell.feed(&["sha256sum"], pieces(&large)).await.unwrap();
    assert!(output.stdout_text().starts_with(&digest), "{}", output.stdout_text());

    let script = "cat; echo 'a warning' >&2";
    let output = shell.feed(&["sh", "-c", script], pieces(&small[..60_000])).await.unwrap();
    assert_eq!(output.stdout, &small[..60_000]);
    assert_eq!(output.stderr_text().trim(), "a warning");

    let output = shell.ask(&["sh", "-c", "echo out; echo 'ctr: deprecated' >&2; [ -t 0 ] && echo terminal || true"]);
    let output = output.await.unwrap();
    assert_eq!((output.stdout_text(), output.stderr_text().trim()), ("out\n".into(), "ctr: deprecated"));

    let error = shell.ask(&["sh", "-c", "echo out; echo why >&2; exit 7"]).await.unwrap_err();
    let ExecError::Ended(ProcessError::Exit { code, output, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(*code, if tells_codes { 7 } else { 1 });
    assert_eq!(output.stdout_text(), "out\n");
    assert!(output.stderr_text().contains("why"), "{}", output.stderr_text());

    // Words arrive as they are, whatever a shell would make of them.
    let words = ["printf", "%s|", "a b", "$HOME", "'\"", "*", "", "\\n"];
    let output = shell.ask(&words).await.unwrap();
    assert_eq!(output.stdout_text(), "a b|$HOME|'\"|*||\\n|");
}

fn succeed_sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let output = succeed(Command::new("sha256sum").arg(file.path()));
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// A container that goes with the test.
struct Container(String);

impl Container {
    fn start() -> Self {
        let name = format!("t-node-shell-{}", std::process::id());
        host_docker(&["run", "--detach", "--rm", "--name", &name, "busybox:stable", "sleep", "600"]);
        Self(name)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.0]).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn container_of_an_engine_is_reached_by_its_api() {
    let container = Container::start();
    let engine = Engine::local(|name| std::env::var(name).ok()).await.unwrap();
    let found = engine.running_container(&container.0).await.unwrap().unwrap();
    assert_eq!(found.addresses.len(), 1);
    check(&NodeShell::container(engine.clone(), found.id.clone(), "n"), true).await;

    // A command that reads its input ends with its input, also when the run is stopped in the middle of it.
    let shell = NodeShell::container(engine.clone(), found.id, "n");
    let endless = futures::StreamExt::chain(pieces(&all_values(100_000)), stream::pending());
    let running = tokio::spawn(async move { shell.feed(&["sh", "-c", "cat > /dev/null; sleep 0"], endless).await });
    let is_running = |name: &str| {
        let output = host_docker(&["top", name, "-eo", "pid,args"]);
        String::from_utf8(output.stdout).unwrap().contains("cat > /dev/null")
    };
    wait_until("the command starts", || is_running(&container.0));
    running.abort();
    wait_until("the command ends with its input", || !is_running(&container.0));

    host_docker(&["kill", &container.0]);
    wait_until("it is gone", || !is_listed(&container.0));
    assert_eq!(engine.running_container(&container.0).await.unwrap(), None);
}

fn is_listed(name: &str) -> bool {
    let output = host_docker(&["ps", "--all", "--quiet", "--filter", &format!("name={name}")]);
    !output.stdout.is_empty()
}

/// An SSH server of the test's own, as a machine of minikube's has one.
struct Server {
    _folder: tempfile::TempDir,
    child: Child,
    machine: Machine,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host", "user"] {
            succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]));
        }
        fs::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = [
            format!("HostKey={}", path("host")),
            format!("AuthorizedKeysFile={}", path("user.pub")),
            format!("Port={port}"),
            "ListenAddress=127.0.0.1".into(),
            "StrictModes=no".into(),
            "UsePAM=no".into(),
            "PidFile=none".into(),
            "PermitRootLogin=yes".into(),
        ];
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", "/dev/null"]).args(options.iter().flat_map(|option| ["-o", option]));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("openssh-server is installed");
        let machine = Machine { address: "127.0.0.1".into(), port, user: "root".into(), key: path("user").into() };
        wait_until("the SSH server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { _folder: folder, child, machine }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_is_reached_by_ssh() {
    let server = Server::start();
    check(&NodeShell::machine(&server.machine, "n"), true).await;
    let gone = Machine { port: 1, ..server.machine.clone() };
    let error = NodeShell::machine(&gone, "n").ask(&["true"]).await.unwrap_err();
    assert!(matches!(error, ExecError::Ended(ProcessError::Exit { code: 255, .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn minikube_ssh_is_the_last_resort() {
    let profile = std::env::var("STACK_TESTBED_PROFILE").expect("run `make test`, which brings the test bed up");
    let node = format!("{profile}-control-plane");
    check(&NodeShell::minikube(&profile, &node), false).await;
}
