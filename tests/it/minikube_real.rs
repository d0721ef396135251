//! What only a real minikube shows: its states, what its commands do to the kubeconfig, and loads onto its nodes.
//!
//! The third tier: `make test-minikube` runs it, on a profile that it makes for that. Each test has the profile for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Bed, Project, Run, succeed};

/// The profile of the run, which answers.
struct Profile {
    name: String,
    project: Project,
}

/// A run, and how long it took.
struct Timed {
    run: Run,
    took: Duration,
}

impl Profile {
    fn get(tag: &str) -> Self {
        let kind = std::env::var("STACK_TEST_MINIKUBE").unwrap_or_default();
        assert_eq!(kind, "real", "this test needs a real minikube: run `make test-minikube`");
        let name = Bed::get().profile;
        let project = Project::on_the_bed(tag);
        project.write(
            "stack.toml",
            &format!("[stack]\nname = \"@name@\"\n[cluster]\ndriver = \"minikube\"\nprofile = \"{name}\"\n"),
        );
        let profile = Self { name, project };
        profile.minikube(&["status"]);
        profile
    }

    fn minikube(&self, args: &[&str]) {
        succeed(Command::new("minikube").args(args).args(["--profile", &self.name]));
    }

    fn timed(&self, what: &str, args: &[&str]) -> Timed {
        let begun = Instant::now();
        let run = self.project.stack(args);
        let took = begun.elapsed();
        eprintln!("figure: {what}: {:.2} s", took.as_secs_f64());
        Timed { run, took }
    }

    /// What a plan says of the cluster, within a second on a quiet machine.
    #[track_caller]
    fn planned(&self, state: &str) -> String {
        let Timed { run, took } = self.timed(&format!("plan, {state}"), &["plan", "cluster"]);
        let run = run.expect_code(0);
        assert!(took < Duration::from_secs(5), "a plan of a profile that is {state} took {took:?}");
        run.stdout
    }

    /// What status says of it, which has to be as quick.
    #[track_caller]
    fn shown(&self, state: &str) -> String {
        let Timed { run, took } = self.timed(&format!("status, {state}"), &["status"]);
        assert!(took < Duration::from_secs(5), "a status of a profile that is {state} took {took:?}");
        run.stdout
    }

    /// What minikube recorded of its last command.
    fn events(&self) -> String {
        let home = std::env::var("MINIKUBE_HOME").unwrap_or_else(|_| std::env::var("HOME").unwrap());
        let folder = std::path::Path::new(&home).join(".minikube/profiles").join(&self.name);
        fs::read_to_string(folder.join("events.json")).unwrap_or_default()
    }

    #[track_caller]
    fn applied(&self, state: &str) -> Run {
        let Timed { run, took: _ } = self.timed(&format!("apply, {state}"), &["apply", "cluster"]);
        run.expect_code(0)
    }
}

/// A process that does not outlive its test.
struct Killed(std::process::Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn current_context() -> String {
    let output = Command::new("kubectl").args(["config", "current-context"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_paused_profile_is_named_and_unpaused() {
    let profile = Profile::get("paused");
    profile.minikube(&["pause"]);
    let plan = profile.planned("paused");
    assert!(plan.contains("is paused: apply unpauses it"), "{plan}");
    let status = profile.shown("paused");
    assert!(
        status.contains("  Paused\n") && status.contains(&format!("minikube unpause -p {}", profile.name)),
        "{status}"
    );
    let run = profile.applied("paused");
    assert!(!run.stdout.contains("minikube v"), "it was started anew:\n{}", run.stdout);
    profile.minikube(&["status"]);
}

#[test]
fn a_stopped_profile_is_named_and_started_and_the_current_context_stays() {
    let profile = Profile::get("stopped");
    succeed(Command::new("kubectl").args(["config", "set-context", "other", "--cluster", "other"]));
    succeed(Command::new("kubectl").args(["config", "use-context", "other"]));
    profile.minikube(&["stop"]);
    let plan = profile.planned("stopped");
    assert!(plan.contains("is stopped: apply starts it"), "{plan}");
    let status = profile.shown("stopped");
    assert!(
        status.contains("  Stopped\n") && status.contains(&format!("minikube start -p {}", profile.name)),
        "{status}"
    );
    profile.applied("stopped");
    assert_eq!(current_context(), "other");
    profile.minikube(&["status"]);
}

#[test]
fn a_profile_without_a_context_gets_it_without_a_start() {
    let profile = Profile::get("context");
    succeed(Command::new("kubectl").args(["config", "delete-context", &profile.name]));
    let plan = profile.planned("without a context");
    assert!(plan.contains("has no context for it: apply adds it"), "{plan}");
    let run = profile.applied("without a context");
    assert!(!run.stdout.contains("minikube v"), "it was started anew:\n{}", run.stdout);
    profile.minikube(&["status"]);
}

#[test]
fn a_start_that_goes_on_is_named_and_one_that_was_interrupted_is_finished() {
    let profile = Profile::get("cut");
    let mut start = Command::new("minikube");
    start.args(["start", "--profile", &profile.name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut start = Killed(start.spawn().unwrap());
    let begun = Instant::now();
    let sentence = "is starting (another `minikube start` is at work): apply waits for it";
    let mut plan = String::new();
    while !plan.contains(sentence) {
        assert!(begun.elapsed() < Duration::from_secs(60), "a start that goes on was not seen:\n{plan}");
        plan = profile.planned("starting");
    }
    start.kill();
    let plan = profile.planned("interrupted");
    assert!(plan.contains("did not finish: apply finishes it"), "{plan}\n{}", profile.events());
    profile.applied("interrupted");
    assert!(profile.planned("running").starts_with("skip"));
}

#[test]
fn a_small_change_of_a_large_image_is_a_small_load() {
    let profile = Profile::get("load");
    let project = &profile.project;
    project.append("stack.toml", "[image.app]\ncontext = \"app\"\n");
    // Random bytes are not packed any smaller: 250 MB stay, and one changes.
    project
        .write("app/Dockerfile", "FROM busybox:stable\nRUN head -c 250000000 /dev/urandom >/ballast\nCOPY content /\n");
    let content = |seed: u8| fs::write(project.path().join("app/content"), random(seed)).unwrap();
    content(1);
    project.stack(&["apply", "build:app"]).expect_code(0);
    let load = |what: &str| {
        let timed = profile.timed(what, &["apply", "--format", "json"]);
        let run = timed.run.expect_code(0);
        let sent = run
            .events()
            .iter()
            .filter(|event| event["arrived"] == true)
            .map(|event| event["sent"].as_u64().unwrap())
            .sum();
        (timed.took, sent)
    };
    let (first, sent): (Duration, u64) = load("first load of 250 MB");
    assert!(sent > 250_000_000, "{sent}");
    let (nothing, sent) = load("nothing to do");
    assert_eq!(sent, 0);
    content(2);
    project.stack(&["apply", "build:app"]).expect_code(0);
    let (change, sent) = load("load of a change of 1 MB");
    assert!(sent < 2_000_000, "{sent} bytes were sent for 1 MB");
    assert!(change < first && nothing < first, "{first:?} {change:?} {nothing:?}");
}

/// A megabyte that no compressor makes smaller.
fn random(seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..1_000_000).map(|_| next()).collect()
}
