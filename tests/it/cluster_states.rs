//! The states of a cluster that does not answer, or not in full: named at once, and changed by the least that helps.
//!
//! minikube, kind and Docker are small scripts here, which answer as the real ones do in states that can't be had on demand;
//! the API server is a thread. The same states of a real minikube are in `minikube_real.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Project, Run, Running};

/// Everything here is decided in less than a second on a quiet machine; without it, it takes a minute and more.
const SOON: Duration = Duration::from_secs(8);

const MINIKUBE: &str = r#"#!/bin/sh
echo "minikube $*" >>"$DIR/log"
case $1 in
    status)
        cat "$DIR/status" || exit 85
        exit "$(cat "$DIR/status-code")"
        ;;
    start)
        if [ -e "$DIR/start-fails" ]; then
            cat "$DIR/start-fails" >&2
            exit 80
        fi
        cp "$DIR/kubeconfig-after" "$KUBECONFIG"
        rm -rf "$DIR/.minikube/profiles/todo/events.json"
        touch "$DIR/answers"
        ;;
    update-context) cp "$DIR/kubeconfig-after" "$KUBECONFIG" && touch "$DIR/answers" ;;
    unpause | node) touch "$DIR/answers" ;;
esac
"#;

const DOCKER: &str = r#"#!/bin/sh
case $1 in
    ps) cat "$DIR/containers" ;;
    *) echo "docker $*" >>"$DIR/log" && touch "$DIR/answers" ;;
esac
"#;

/// A machine with these tools, a profile or cluster `todo`, and an API server that answers once the file `answers` exists.
struct Machine {
    project: Project,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(driver: &str) -> Self {
        let mut project = Project::empty("states");
        project.write(
            "stack.toml",
            &format!("[stack]\nname = \"@name@\"\n[cluster]\ndriver = \"{driver}\"\nprofile = \"todo\"\n"),
        );
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        let bin = dir.join("bin");
        fs::create_dir(&bin).unwrap();
        let kind =
            "#!/bin/sh\necho \"kind $*\" >>\"$DIR/log\"\n[ \"$1 $2\" != \"get nodes\" ] || echo todo-control-plane\n";
        for (name, text) in [("minikube", MINIKUBE), ("docker", DOCKER), ("kind", kind)] {
            fs::write(bin.join(name), text).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn({
            let dir = dir.clone();
            move || serve(&listener, &dir)
        });
        project.set_env("DIR", dir.display().to_string());
        project.set_env("MINIKUBE_HOME", dir.display().to_string());
        project.set_env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        project.set_env("KUBECONFIG", dir.join("kubeconfig").display().to_string());
        let machine = Self { project, folder };
        let context = if driver == "kind" { "kind-todo" } else { "todo" };
        machine.put("kubeconfig", &kubeconfig(&address, context, &[context]));
        machine.put("kubeconfig-after", &kubeconfig(&address, context, &[context]));
        machine.nodes(&[("todo", true)]);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The API server answers.
    fn answers(&self) {
        self.put("answers", "");
    }

    /// The nodes that Kubernetes has, with whether they are ready.
    fn nodes(&self, nodes: &[(&str, bool)]) {
        let node = |(name, ready): &(&str, bool)| {
            json!({"metadata": {"name": name, "uid": name}, "status": {
                "addresses": [{"type": "InternalIP", "address": "192.168.49.2"}],
                "conditions": [{"type": "Ready", "status": if *ready { "True" } else { "Unknown" },
                    "message": if *ready { "" } else { "Kubelet stopped posting node status." }}],
                "nodeInfo": {"architecture": "amd64", "containerRuntimeVersion": "containerd://2.4.2", "kubeletVersion": "v1.36.3"}}})
        };
        let items: Vec<_> = nodes.iter().map(node).collect();
        self.put("nodes", &json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": items}).to_string());
    }

    /// minikube has a profile of these nodes in Docker's containers, each in a state of Docker's.
    fn profile(&self, containers: &[(&str, &str)]) {
        let nodes: Vec<_> = containers
            .iter()
            .map(|(name, _)| json!({"Name": name.strip_prefix("todo-").unwrap_or_default(), "KubernetesVersion": "v1.36.3"}))
            .collect();
        let config = json!({"Name": "todo", "Driver": "docker", "Nodes": nodes});
        self.put(".minikube/profiles/todo/config.json", &config.to_string());
        self.containers(containers);
    }

    fn containers(&self, containers: &[(&str, &str)]) {
        let line = |(name, state): &(&str, &str)| json!({"Names": name, "State": state}).to_string() + "\n";
        self.put("containers", &containers.iter().map(line).collect::<String>());
    }

    /// The steps of the command that minikube ran last.
    fn last_command(&self, steps: &[&str]) {
        let event = |step: &&str| {
            json!({"specversion": "1.0", "type": "io.k8s.sigs.minikube.step", "data": {"name": step}}).to_string()
                + "\n"
        };
        self.put(".minikube/profiles/todo/events.json", &steps.iter().map(event).collect::<String>());
    }

    /// What `minikube status` answers.
    fn status(&self, host: &str, api_server: &str, code: i32) {
        let status = json!({"Name": "todo", "Host": host, "Kubelet": "Stopped", "APIServer": api_server,
            "Kubeconfig": "Configured", "Worker": false});
        self.put("status", &status.to_string());
        self.put("status-code", &code.to_string());
    }

    /// Runs `stack`, which has to come to its end soon.
    #[track_caller]
    fn soon(&self, args: &[&str]) -> Run {
        let begun = Instant::now();
        let run = self.project.stack(args);
        assert!(begun.elapsed() < SOON, "{args:?} took {:?}\n{}{}", begun.elapsed(), run.stdout, run.stderr);
        run
    }

    /// What a plan says of the cluster.
    #[track_caller]
    fn planned(&self) -> String {
        let run = self.soon(&["plan", "cluster", "--format", "json"]).expect_code(0);
        let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let step = &plan["steps"][0];
        assert_eq!(step["action"], "run", "{plan}");
        step["reason"].as_str().unwrap().to_owned()
    }

    /// The commands of tools since this was asked last, but for questions.
    fn commands(&self) -> Vec<String> {
        let text = self.read("log");
        let _ = fs::remove_file(self.path("log"));
        let is_question = |line: &&str| line.starts_with("minikube status") || line.starts_with("kind get");
        text.lines().filter(|line| !is_question(line)).map(str::to_owned).collect()
    }

    /// An apply that makes the cluster answer, by these commands.
    #[track_caller]
    fn applies_by(&self, reason: &str, commands: &[&str]) {
        assert_eq!(self.planned(), reason);
        assert_eq!(self.commands(), Vec::<String>::new(), "a plan only asks");
        let run = self.soon(&["apply", "cluster", "--format", "json"]).expect_code(0);
        assert_eq!(run.outcomes()["cluster"], "done");
        let started = run.events().into_iter().find(|event| event["event"] == "step-started").unwrap();
        assert_eq!(started["reason"], reason);
        assert_eq!(self.commands(), commands);
    }
}

fn kubeconfig(address: &str, current: &str, contexts: &[&str]) -> String {
    let contexts: String =
        contexts.iter().map(|name| format!("- context:\n    cluster: c\n    user: u\n  name: {name}\n")).collect();
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    server: http://{address}\n  name: c\ncontexts:\n{contexts}current-context: {current}\nkind: Config\nusers:\n- name: u\n  user: {{}}\n"
    )
}

/// An API server as far as the cluster's step goes. Until it answers, it accepts connections and says nothing.
fn serve(listener: &TcpListener, dir: &Path) {
    for stream in listener.incoming().flatten() {
        let dir = dir.to_owned();
        std::thread::spawn(move || speak(stream, &dir));
    }
}

fn speak(mut stream: TcpStream, dir: &Path) -> Option<()> {
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&bytes[..count]);
        if !request.windows(4).any(|end| end == b"\r\n\r\n") {
            continue;
        }
        if !dir.join("answers").exists() {
            std::thread::park();
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        request.clear();
        let path = text.split_whitespace().nth(1)?;
        let (status, body) = match path.split('?').next()? {
            "/api/v1/namespaces/kube-system" => {
                ("200 OK", json!({"metadata": {"name": "kube-system", "uid": "u-1"}}).to_string())
            }
            "/version" => ("200 OK", json!({"gitVersion": "v1.36.3"}).to_string()),
            "/api/v1/nodes" => ("200 OK", fs::read_to_string(dir.join("nodes")).ok()?),
            _ => (
                "404 Not Found",
                json!({"kind": "Status", "code": 404, "message": path, "reason": "NotFound", "status": "Failure"})
                    .to_string(),
            ),
        };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
    }
}

#[test]
fn a_paused_profile_is_unpaused() {
    let machine = Machine::new("minikube");
    machine.profile(&[("todo", "running")]);
    machine.status("Running", "Paused", 2);
    let run = machine.soon(&["status"]).expect_code(3);
    assert!(run.stdout.contains("cluster  minikube todo  Paused"), "{}", run.stdout);
    assert!(run.stdout.contains("`minikube unpause -p todo`"), "{}", run.stdout);
    machine.applies_by(
        "minikube profile todo is paused: apply unpauses it",
        &["minikube unpause --profile todo --all-namespaces"],
    );
}

#[test]
fn a_paused_profile_is_known_by_what_minikube_did_last() {
    let machine = Machine::new("minikube");
    machine.profile(&[("todo", "running")]);
    machine.last_command(&["Pausing", "Done"]);
    // `minikube status` need not be waited for, which takes seconds on a busy machine.
    machine.put("bin/minikube", &MINIKUBE.replace("status)", "status)\n        sleep 60"));
    machine.applies_by(
        "minikube profile todo is paused: apply unpauses it",
        &["minikube unpause --profile todo --all-namespaces"],
    );
}

#[test]
fn a_stopped_profile_is_started_and_status_says_how() {
    let machine = Machine::new("minikube");
    machine.profile(&[("todo", "exited")]);
    // `minikube stop` takes the context out of the kubeconfig.
    machine.put("kubeconfig", &kubeconfig("127.0.0.1:1", "other", &["other"]));
    let run = machine.soon(&["status"]).expect_code(3);
    assert!(run.stdout.contains("cluster  minikube todo  Stopped"), "{}", run.stdout);
    assert!(run.stdout.contains("help: `stack apply cluster`, or `minikube start -p todo`"), "{}", run.stdout);
    assert!(!run.stdout.contains("context"), "{}", run.stdout);
    let json = machine.soon(&["status", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["cluster"]["status"], "Stopped");
    machine.commands();
    machine.applies_by("minikube profile todo is stopped: apply starts it", &["minikube start --profile todo"]);
}

#[test]
fn a_profile_that_does_not_exist_is_created() {
    let machine = Machine::new("minikube");
    machine.put("kubeconfig", &kubeconfig("127.0.0.1:1", "other", &["other"]));
    machine.applies_by("minikube profile todo does not exist: apply creates it", &["minikube start --profile todo"]);
}

#[test]
fn a_node_that_is_down_is_started_alone() {
    let machine = Machine::new("minikube");
    machine.answers();
    machine.profile(&[("todo", "running"), ("todo-m02", "exited")]);
    machine.nodes(&[("todo", true), ("todo-m02", false)]);
    let run = machine.soon(&["status"]).expect_code(0);
    assert!(run.stdout.contains("cluster  minikube todo  node todo-m02 down\n"), "{}", run.stdout);
    machine.applies_by(
        "node todo-m02 is down (container exited): apply starts it",
        &["minikube node start m02 --profile todo"],
    );
}

#[test]
fn a_profile_that_runs_without_a_context_gets_it_and_is_not_started_anew() {
    let machine = Machine::new("minikube");
    machine.profile(&[("todo", "running")]);
    machine.status("Running", "Running", 4);
    machine.put("kubeconfig", &kubeconfig("127.0.0.1:1", "other", &["other"]));
    machine.applies_by(
        "minikube profile todo runs, but the kubeconfig has no context for it: apply adds it",
        &["minikube update-context --profile todo"],
    );
}

#[test]
fn a_start_that_was_interrupted_is_finished() {
    let machine = Machine::new("minikube");
    machine.answers();
    machine.profile(&[("todo", "running")]);
    machine.last_command(&["Initial Minikube Setup", "Selecting Driver", "Starting Node", "Verifying Kubernetes"]);
    machine.applies_by(
        "the last start of minikube profile todo did not finish: apply finishes it",
        &["minikube start --profile todo"],
    );
    machine.last_command(&["Initial Minikube Setup", "Starting Node", "Enabling Addons", "Done"]);
    assert_eq!(machine.soon(&["apply", "cluster", "--format", "json"]).outcomes()["cluster"], "skipped");
}

#[test]
fn a_second_node_that_kubernetes_lacks_is_started_again() {
    let machine = Machine::new("minikube");
    machine.answers();
    machine.profile(&[("todo", "running"), ("todo-m02", "running")]);
    machine.applies_by(
        "Kubernetes lacks node todo-m02 of minikube profile todo: apply starts it again",
        &["minikube start --profile todo"],
    );
}

#[test]
fn a_start_of_another_process_is_waited_for() {
    let machine = Machine::new("minikube");
    machine.profile(&[("todo", "running")]);
    machine.last_command(&["Initial Minikube Setup", "Starting Node"]);
    let events = machine.path(".minikube/profiles/todo/events.json");
    // What `minikube start` does as long as it runs.
    let held = fs::File::open(&events).unwrap();
    let reason = "minikube profile todo is starting (another `minikube start` is at work): apply waits for it";
    assert_eq!(machine.planned(), reason);
    let named = "waiting for another `minikube start` of minikube profile todo";
    let running = Running::until_event(&machine.project, |event| event["message"] == named);
    machine.last_command(&["Initial Minikube Setup", "Starting Node", "Enabling Addons", "Done"]);
    machine.answers();
    drop(held);
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");
    assert_eq!(machine.commands(), Vec::<String>::new(), "it was started by the other one");
}

#[test]
fn a_cluster_that_answers_costs_no_question_to_its_tool() {
    let machine = Machine::new("minikube");
    machine.answers();
    machine.profile(&[("todo", "running")]);
    assert_eq!(machine.soon(&["apply", "cluster", "--format", "json"]).outcomes()["cluster"], "skipped");
    assert_eq!(machine.read("log"), "");
}

#[test]
fn a_node_that_is_not_ready_is_named() {
    let machine = Machine::new("minikube");
    machine.answers();
    machine.profile(&[("todo", "running"), ("todo-m02", "running")]);
    machine.nodes(&[("todo", true), ("todo-m02", false)]);
    let run = machine.soon(&["plan", "cluster"]).expect_code(0);
    assert!(
        run.stdout.contains("answers (v1.36.3); node todo-m02 is not ready: Kubelet stopped posting"),
        "{}",
        run.stdout
    );
}

#[test]
fn an_apply_names_within_a_second_what_it_waits_for() {
    let machine = Machine::new("minikube");
    // The tool has no answer either: the API server is waited for, and not for ever.
    machine.put("bin/minikube", "#!/bin/sh\n[ $1 != status ] || sleep 30\ntouch \"$DIR/answers\"\n");
    let begun = Instant::now();
    let run = machine.project.stack(&["apply", "cluster", "--format", "json"]).expect_code(0);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let time = |event: &serde_json::Value| event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let events = run.events();
    let waiting = events.iter().find(|event| event["event"] == "step-waiting").unwrap();
    let message = waiting["message"].as_str().unwrap();
    assert!(message.starts_with("waiting for the API server of minikube profile todo"), "{message}");
    let waited = (time(waiting) - time(&events[0])).total(jiff::Unit::Second).unwrap();
    assert!(waited < 2.0, "it was silent for {waited} s");
}

#[test]
fn an_engine_that_does_not_answer_is_named_before_the_run_begins() {
    let mut machine = Machine::new("minikube");
    machine.answers();
    machine.project.append("stack.toml", "[image.app]\ncontext = \"app\"\n");
    machine.project.write("app/Dockerfile", "FROM scratch\n");
    let socket = machine.path("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    machine.project.set_env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let mut command = machine.project.command(&["apply"]);
    let mut child = command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("waiting for") && line.contains("the Docker Engine"), "{line}");
}

#[test]
fn the_current_context_stays_what_it_was() {
    let machine = Machine::new("minikube");
    machine.profile(&[("todo", "exited")]);
    let after = machine
        .read("kubeconfig-after")
        .replace("  name: todo\n", "  name: todo\n- context:\n    cluster: c\n    user: u\n  name: prod\n");
    machine.put("kubeconfig-after", &after);
    machine.put("kubeconfig", &kubeconfig("127.0.0.1:1", "prod", &["prod"]));
    machine.soon(&["apply", "cluster"]).expect_code(0);
    assert_eq!(machine.read("kubeconfig"), after.replace("current-context: todo", "current-context: prod"));
}

#[test]
fn a_failed_start_shows_its_reason_and_not_the_box_below_it() {
    let machine = Machine::new("minikube");
    machine.profile(&[("todo", "exited")]);
    let said = "! The image will be updated\nX Exiting due to GUEST_START: failed to start node: no route to host\n* Suggestion: check the network\n* \n╭───────╮\n│  * please let us know │\n│ minikube logs --file=logs.txt │\n│ attach it │\n│ thanks │\n╰───────╯\n";
    machine.put("start-fails", said);
    let run = machine.project.stack(&["apply", "cluster", "--format", "json"]).expect_code(1);
    let end = run.events().into_iter().find(|event| event["event"] == "step-finished").unwrap();
    let reason = end["reason"].as_str().unwrap();
    assert!(
        reason.ends_with("GUEST_START: failed to start node: no route to host\nminikube suggests: check the network"),
        "{reason}"
    );

    machine.put(
        "start-fails",
        "X Exiting due to DRV_AS_ROOT: The \"docker\" driver should not be used with root privileges.\n",
    );
    let run = machine.project.stack(&["apply", "cluster", "--format", "json"]).expect_code(1);
    let end = run.events().into_iter().find(|event| event["event"] == "step-finished").unwrap();
    let help = "set start-args = [\"--force\"], or MINIKUBE_FORCE=true: minikube's docker driver refuses root";
    assert!(end["diagnosis"].as_str().unwrap().contains(help), "{end}");
}

#[test]
fn containers_of_kind_say_how_the_cluster_is() {
    let machine = Machine::new("kind");
    machine.containers(&[("todo-control-plane", "paused"), ("todo-worker", "paused")]);
    machine.applies_by(
        "kind cluster todo is paused: apply unpauses it",
        &["docker unpause todo-control-plane todo-worker"],
    );
    let machine = Machine::new("kind");
    machine.containers(&[("todo-control-plane", "exited")]);
    machine.applies_by("kind cluster todo is stopped: apply starts it", &["docker start todo-control-plane"]);
    let machine = Machine::new("kind");
    machine.answers();
    machine.nodes(&[("todo-control-plane", true), ("todo-worker", false)]);
    machine.containers(&[("todo-control-plane", "running"), ("todo-worker", "exited")]);
    machine.applies_by("node todo-worker is down (container exited): apply starts it", &["docker start todo-worker"]);
}

#[test]
fn an_api_server_that_never_answers_is_given_up() {
    let machine = Machine::new("minikube");
    machine.project.edit(
        "stack.toml",
        "driver = \"minikube\"\nprofile = \"todo\"",
        "driver = \"context\"\ncontext = \"todo\"",
    );
    let begun = Instant::now();
    let run = machine.project.stack(&["plan", "cluster"]).expect_code(3);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(run.stderr.contains("cannot be reached: no answer within 10 s"), "{}", run.stderr);
}
