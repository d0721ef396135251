//! What the tests that drive the real program share: the test bed's address, a project in a temporary folder, and runs
//! of `stack` in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program under test: the release build when `make test` made one, else the one that cargo built for the tests.
pub fn program() -> PathBuf {
    std::env::var_os("STACK_TEST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_stack").into(), PathBuf::from)
}

/// An environment variable of the test bed.
fn bed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: this test needs the test bed. Run `make test`, or `eval \"$(tests/testbed/env)\"` first.")
    })
}

/// The test bed: a Docker Engine, a Kubernetes cluster whose nodes are containers of it, and Helm.
pub struct Bed {
    /// The cluster's name for the tool that made it, also a context of the kubeconfig.
    pub profile: String,
    /// The tool that made it, as a stack file names it.
    pub driver: String,
}

impl Bed {
    /// The bed that `tests/testbed/env` describes. Fails the test when there is none.
    pub fn get() -> Self {
        bed("KUBECONFIG");
        Self { profile: bed("STACK_TESTBED_PROFILE"), driver: bed("STACK_TESTBED_DRIVER") }
    }

    /// What the table `[cluster]` of a stack file says of the bed's cluster.
    pub fn cluster(&self) -> String {
        self.cluster_of(&self.driver)
    }

    /// The same for another tool that knows the cluster as well.
    pub fn cluster_of(&self, driver: &str) -> String {
        format!("driver = \"{driver}\"\nprofile = \"{}\"\n", self.profile)
    }

    /// The context that `stack` uses for it.
    pub fn context(&self) -> String {
        if self.driver == "kind" { format!("kind-{}", self.profile) } else { self.profile.clone() }
    }

    /// The names of its nodes, which are those of their containers, in their order.
    pub fn nodes(&self) -> Vec<String> {
        let listed = self.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]);
        let mut nodes: Vec<_> = listed.split_whitespace().map(str::to_owned).collect();
        nodes.sort();
        nodes
    }

    /// What a line of shell prints on a node.
    pub fn on_node(&self, node: &str, line: &str) -> String {
        let output = host_docker(&["exec", node, "sh", "-c", line]);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The nodes that have an image of this name with all that belongs to it.
    pub fn nodes_with(&self, image: &str) -> Vec<String> {
        let line = format!("ctr -n k8s.io images check 'name==docker.io/library/{image}' 2>/dev/null");
        let has = |node: &String| self.on_node(node, &line).contains(" complete ");
        self.nodes().into_iter().filter(has).collect()
    }

    /// The names on a node that begin with this repository.
    pub fn images_on(&self, node: &str, repository: &str) -> Vec<String> {
        let listed = self.on_node(node, "ctr -n k8s.io images ls -q");
        let full = format!("docker.io/library/{repository}:");
        let names = listed.lines().filter(|name| name.starts_with(&full));
        names.map(|name| name.trim_start_matches("docker.io/library/").to_owned()).collect()
    }

    /// Takes a name of an image away from every node.
    pub fn remove_from_nodes(&self, image: &str) {
        for node in self.nodes() {
            self.on_node(&node, &format!("ctr -n k8s.io images rm --sync docker.io/library/{image} 2>/dev/null"));
        }
    }

    /// Gives an image another name on every node, which that of another image may be so far.
    pub fn tag_on_nodes(&self, image: &str, name: &str) {
        for node in self.nodes() {
            let (from, to) = (format!("docker.io/library/{image}"), format!("docker.io/library/{name}"));
            self.on_node(&node, &format!("ctr -n k8s.io images tag --force {from} {to}"));
        }
    }

    /// Runs `kubectl` against the cluster.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let output = succeed(Command::new("kubectl").args(["--context", &self.profile]).args(args));
        String::from_utf8(output.stdout).expect("kubectl prints UTF-8")
    }

    /// Whether an object exists.
    pub fn has(&self, args: &[&str]) -> bool {
        let mut all = vec!["get", "--ignore-not-found", "-o", "name"];
        all.extend_from_slice(args);
        !self.kubectl(&all).trim().is_empty()
    }
}

/// Puts a script in front of `ctr` in a container, which is `$ctr` in it. An empty script changes nothing.
pub fn wrap_ctr(container: &str, script: &str) {
    let text =
        format!("#!/bin/sh\nctr=$(PATH=/usr/local/bin:/usr/bin:/bin command -v ctr)\n{script}\nexec $ctr \"$@\"\n");
    let line = "mkdir -p /usr/local/sbin; cd /usr/local/sbin; cat >ctr.new; chmod 755 ctr.new; mv ctr.new ctr";
    let mut command = Command::new("docker");
    let mut child = command
        .args(["exec", "--interactive", container, "sh", "-c", line])
        .stdin(Stdio::piped())
        .spawn()
        .expect("docker is on PATH");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
}

/// Runs the Docker client against the host's daemon.
pub fn host_docker(args: &[&str]) -> Output {
    succeed(Command::new("docker").args(args))
}

/// Runs a command that has to succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Waits until this holds, and fails the test when it takes too long.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A stack of its own in a temporary folder. What it made in the world goes when it is dropped.
pub struct Project {
    folder: tempfile::TempDir,
    /// The stack's name, which is also its namespace; no other test has it.
    pub name: String,
    env: Vec<(String, String)>,
    clean: bool,
}

impl Project {
    /// An empty folder; `tag` shows in the names of all that it makes.
    pub fn empty(tag: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("stack-test-").tempdir().expect("a temporary folder");
        let unique = folder.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let unique: String = unique.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let unique = &unique[unique.len().saturating_sub(6)..];
        Self { name: format!("t-{tag}-{unique}"), folder, env: Vec::new(), clean: false }
    }

    /// A folder whose stack is removed from the cluster, the node and the host when the test is over.
    pub fn on_the_bed(tag: &str) -> Self {
        let mut project = Self::empty(tag);
        project.clean = true;
        project
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Sets an environment variable for every run of `stack`.
    pub fn set_env(&mut self, name: &str, value: impl Into<String>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
    }

    /// Writes a file, with the folders above it. `@name@` in it stands for the stack's name.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        fs::write(path, text.replace("@name@", &self.name)).expect("a file");
    }

    /// Changes a file.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let full = self.path().join(path);
        let text = fs::read_to_string(&full).expect("the file is there");
        assert!(text.contains(from), "{path} has no {from:?}");
        fs::write(full, text.replace(from, to)).expect("a file");
    }

    /// Adds to the end of a file.
    pub fn append(&self, path: &str, text: &str) {
        let full = self.path().join(path);
        let before = fs::read_to_string(&full).expect("the file is there");
        fs::write(full, before + text).expect("a file");
    }

    /// Lets a stack file that was copied, and that takes its profile from `STACK_PROFILE`, use the bed's cluster.
    pub fn use_cluster(&mut self, path: &str, bed: &Bed) {
        let full = self.path().join(path);
        let text = fs::read_to_string(&full).expect("the file is there");
        let sized =
            |line: &&str| bed.driver == "minikube" || !(line.starts_with("cpus = ") || line.starts_with("memory = "));
        let text: String = text.lines().filter(sized).map(|line| format!("{line}\n")).collect();
        fs::write(full, text).expect("a file");
        self.edit(path, "driver = \"minikube\"", &format!("driver = \"{}\"", bed.driver));
        self.set_env("STACK_PROFILE", &bed.profile);
    }

    /// Copies a folder of the checkout into the project.
    pub fn copy(&self, from: &str, to: &str) {
        let target = self.path().join(to);
        fs::create_dir_all(target.parent().expect("a folder above")).expect("a folder");
        succeed(Command::new("cp").arg("-r").arg(checkout().join(from)).arg(target));
    }

    /// The command `stack` in this folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.path()).args(args).stdin(Stdio::null());
        command.env_remove("STACK_FILE").envs(self.env.iter().cloned());
        command
    }

    /// Runs `stack` to its end.
    pub fn stack(&self, args: &[&str]) -> Run {
        let output = self.command(args).output().expect("stack starts");
        Run::new(args, output)
    }

    /// `stack apply`, which has to succeed: how each step ended.
    pub fn apply(&self) -> BTreeMap<String, String> {
        self.stack(&["apply", "--format", "json"]).expect_code(0).outcomes()
    }

    /// `stack plan`: for each step, its action and its reason.
    pub fn plan(&self) -> BTreeMap<String, (String, String)> {
        let run = self.stack(&["plan", "--format", "json"]).expect_code(0);
        let plan: Value = serde_json::from_str(&run.stdout).expect("a plan is JSON");
        let text = |step: &Value, field: &str| step[field].as_str().expect("a text").to_owned();
        plan["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .map(|step| (text(step, "id"), (text(step, "action"), text(step, "reason"))))
            .collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if !self.clean {
            return;
        }
        let run = self.stack(&["destroy", "--yes", "--images"]);
        if run.code != 0 && !std::thread::panicking() {
            panic!("destroy failed:\n{}{}", run.stdout, run.stderr);
        }
    }
}

/// A finished run of `stack`.
#[derive(Debug)]
pub struct Run {
    args: String,
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it printed for people beside its result.
    pub stderr: String,
}

impl Run {
    /// The end of a run.
    pub fn new(args: &[&str], output: Output) -> Self {
        Self {
            args: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stack {}\n{}{}", self.args, self.stdout, self.stderr);
        self
    }

    /// Fails the test unless stderr says this.
    #[track_caller]
    pub fn expect_stderr(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stack {} did not say {text:?}:\n{}", self.args, self.stderr);
        self
    }

    /// The events of `--format json`.
    pub fn events(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }

    /// How each step ended.
    pub fn outcomes(&self) -> BTreeMap<String, String> {
        let finished = self.events().into_iter().filter(|event| event["event"] == "step-finished");
        let text = |event: &Value, field: &str| event[field].as_str().expect("a text").to_owned();
        finished.map(|event| (text(&event, "step"), text(&event, "outcome"))).collect()
    }
}

/// The steps that ended in a given way, in order of their ids.
pub fn with_outcome<'a>(outcomes: &'a BTreeMap<String, String>, outcome: &str) -> Vec<&'a str> {
    outcomes.iter().filter(|(_, known)| *known == outcome).map(|(step, _)| step.as_str()).collect()
}

/// Whether a process has a file open, by its real path.
pub fn has_open(process: u32, file: &Path) -> bool {
    let held = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    held.into_iter().any(|held| fs::read_link(held.path()).is_ok_and(|held| held == file))
}

/// A run of `stack` that is going on.
pub struct Running {
    child: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Starts a run.
    pub fn start(project: &Project, args: &[&str]) -> Self {
        let mut child = project.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Starts an apply, and waits until a task prints this line.
    pub fn until(project: &Project, line: &str) -> Self {
        Self::until_event(project, |event| event["line"] == line)
    }

    /// Starts an apply, and waits until it tells such an event.
    pub fn until_event(project: &Project, is_it: impl Fn(&Value) -> bool) -> Self {
        let mut running = Self::start(project, &["apply", "--format", "json"]);
        loop {
            let mut read = String::new();
            assert!(running.output.read_line(&mut read).unwrap() > 0, "the run ended before that");
            let event: Value = serde_json::from_str(&read).unwrap();
            if is_it(&event) {
                return running;
            }
        }
    }

    /// Waits until it has a file open.
    pub fn until_open(&mut self, file: &Path) {
        while !has_open(self.id(), file) {
            assert_eq!(self.child.try_wait().unwrap(), None, "the run ended before that");
            std::thread::yield_now();
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: its exit code, and what it still printed.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}
