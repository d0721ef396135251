//! What minikube keeps of a profile in its own folder: the nodes it has, and the steps of the command that ran last.
//!
//! Read from minikube's sources (1.38): `profiles/NAME/config.json` is the profile, and `profiles/NAME/events.json` has
//! one CloudEvent a line. `start`, `stop`, `pause` and `unpause` begin that file anew and hold it open until they end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::Activity;

/// Where no process can be looked at, a command whose file was written to this recently counts as alive.
const RECENT: Duration = Duration::from_secs(60);

/// A profile's folder.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    folder: PathBuf,
}

/// A profile's `config.json`, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ProfileConfig {
    #[serde(default)]
    name: String,
    /// What the nodes run in: `docker`, `podman`, `kvm2`, …
    #[serde(default)]
    pub(super) driver: String,
    #[serde(default)]
    nodes: Vec<ProfileNode>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProfileNode {
    #[serde(default)]
    name: String,
}

impl ProfileConfig {
    /// The names of the nodes, of their machines and of their containers: all are the same.
    pub(super) fn machines(&self) -> Vec<String> {
        let machine = |node: &ProfileNode| {
            let is_alone = self.nodes.len() == 1;
            if is_alone || node.name.is_empty() { self.name.clone() } else { format!("{}-{}", self.name, node.name) }
        };
        self.nodes.iter().map(machine).collect()
    }
}

/// How far the command came that minikube ran last on a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastCommand {
    pub(super) activity: Activity,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its last step is `Done`.
    Done,
    /// It wrote all but `Done`, which minikube writes at the moment when it exits and sometimes loses.
    Nearly,
    /// It had not begun to change a node.
    Untouched,
    /// It ended before that, or goes on.
    Open,
}

impl LastCommand {
    /// Whether it was a start that changed nodes and did not come to its end.
    pub(super) fn is_open_start(self) -> bool {
        self.activity == Activity::Starting && self.end == End::Open
    }

    /// Whether it paused the profile. What goes on is no command that ran.
    pub(super) fn is_pause(self) -> bool {
        self.activity == Activity::Pausing
    }

    /// Whether its last word is missing: it may still run.
    pub(super) fn is_open(self) -> bool {
        self.end != End::Done
    }
}

/// The steps of `minikube start` before it changes a node.
const HARMLESS: [&str; 3] = ["Initial Minikube Setup", "Selecting Driver", "Downloading Artifacts"];

impl Profile {
    /// The folder of a profile below `home`, the value of `$MINIKUBE_HOME`, or else below `user_home`.
    pub(super) fn find(home: Option<&Path>, user_home: Option<&Path>, name: &str) -> Option<Self> {
        let base = match home.filter(|home| !home.as_os_str().is_empty()) {
            Some(home) if home.ends_with(".minikube") => home.to_owned(),
            Some(home) => home.join(".minikube"),
            None => user_home?.join(".minikube"),
        };
        Some(Self { folder: base.join("profiles").join(name) })
    }

    /// The profile's configuration, if it exists.
    pub(super) fn config(&self) -> Option<ProfileConfig> {
        serde_json::from_slice(&fs::read(self.folder.join("config.json")).ok()?).ok()
    }

    /// The command that ran last, if it is known.
    pub(super) fn last_command(&self) -> Option<LastCommand> {
        // A command that was killed may have written half a character.
        last_command(&String::from_utf8_lossy(&fs::read(self.events()).ok()?))
    }

    /// What another process of minikube does with the profile now.
    pub(super) fn activity(&self) -> Option<Activity> {
        let last = self.last_command().filter(|last| last.is_open())?;
        is_held_open(&self.events()).then_some(last.activity)
    }

    fn events(&self) -> PathBuf {
        self.folder.join("events.json")
    }
}

/// Reads `events.json`.
fn last_command(text: &str) -> Option<LastCommand> {
    let event = |line: &str| serde_json::from_str::<Value>(line).ok();
    let mut activity = None;
    let mut end = End::Untouched;
    for event in text.lines().filter_map(event) {
        let is = |kind: &str| event.get("type").and_then(Value::as_str) == Some(kind);
        let data = |key: &str| event.pointer(&format!("/data/{key}")).and_then(Value::as_str).unwrap_or_default();
        if is("io.k8s.sigs.minikube.error") && !data("exitcode").is_empty() && end != End::Untouched {
            end = End::Open;
        }
        if !is("io.k8s.sigs.minikube.step") {
            continue;
        }
        let step = data("name");
        activity = activity.or_else(|| begun_by(step));
        end = match step {
            "Done" => End::Done,
            "Enabling Addons" => End::Nearly,
            step if HARMLESS.contains(&step) && end == End::Untouched => End::Untouched,
            _ => End::Open,
        };
    }
    activity.map(|activity| LastCommand { activity, end })
}

/// The command whose first step this is.
fn begun_by(step: &str) -> Option<Activity> {
    Some(match step {
        "Stopping" | "PowerOff" => Activity::Stopping,
        "Pausing" => Activity::Pausing,
        "Unpausing" => Activity::Unpausing,
        "Deleting" => Activity::Deleting,
        "Done" | "" => return None,
        _ => Activity::Starting,
    })
}

/// Whether a process holds this file open. Processes of other users can't be looked at, and count as none.
fn is_held_open(file: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        let written = fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        return written.and_then(|time| time.elapsed().ok()).is_some_and(|age| age < RECENT);
    };
    let Ok(file) = fs::canonicalize(file) else { return false };
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    processes.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_process)).any(|entry| {
        let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        open.filter_map(|open| fs::read_link(open.path()).ok()).any(|open| open == file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of an `events.json` with these steps.
    fn events(steps: &[&str]) -> String {
        let line = |step: &&str| match step.strip_prefix("exit ") {
            Some(code) => format!(
                r#"{{"specversion":"1.0","id":"1","source":"https://minikube.sigs.k8s.io/","type":"io.k8s.sigs.minikube.error","data":{{"exitcode":"{code}","message":"no"}}}}"#
            ),
            None => format!(
                r#"{{"specversion":"1.0","id":"1","source":"https://minikube.sigs.k8s.io/","type":"io.k8s.sigs.minikube.step","data":{{"currentstep":"0","message":"m","name":"{step}","totalsteps":"19"}}}}"#
            ),
        };
        steps.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    const SETUP: &str = "Initial Minikube Setup";

    #[test]
    fn a_start_is_open_once_it_has_changed_a_node_and_until_it_is_done() {
        for (steps, open) in [
            (&[SETUP, "Selecting Driver"][..], false),
            (&[SETUP, "Selecting Driver", "exit 78"], false),
            (&[SETUP, "Selecting Driver", "Starting Node", "Creating Container"], true),
            (&[SETUP, "Starting Node", "Verifying Kubernetes", "Enabling Addons", "Done"], false),
            // The last event is lost when minikube exits before it is written.
            (&[SETUP, "Starting Node", "Verifying Kubernetes", "Enabling Addons"], false),
            // A second node comes after the addons of the first.
            (&[SETUP, "Starting Node", "Enabling Addons", "Starting Node", "exit 80"], true),
            (&["Stopping", "PowerOff", "Done"], false),
            (&["Pausing"], false),
        ] {
            assert_eq!(last_command(&events(steps)).unwrap().is_open_start(), open, "{steps:?}");
        }
        assert_eq!(last_command("not JSON\n"), None);
    }

    #[test]
    fn a_command_that_holds_the_file_open_is_at_work() {
        let home = tempfile::tempdir().unwrap();
        let profile = Profile::find(Some(home.path()), None, "todo").unwrap();
        fs::create_dir_all(&profile.folder).unwrap();
        assert!(profile.folder.ends_with(".minikube/profiles/todo"));
        assert_eq!(profile.activity(), None);
        fs::write(profile.events(), events(&[SETUP, "Starting Node"])).unwrap();
        assert_eq!(profile.activity(), None, "nothing holds it open");
        let held = fs::File::open(profile.events()).unwrap();
        assert_eq!(profile.activity(), Some(Activity::Starting));
        drop(held);
        fs::write(profile.events(), events(&["Pausing", "Done"])).unwrap();
        let _held = fs::File::open(profile.events()).unwrap();
        assert_eq!(profile.activity(), None, "it is done");
    }

    #[test]
    fn nodes_are_named_as_their_machines() {
        let config = |text: &str| serde_json::from_str::<ProfileConfig>(text).unwrap();
        let one = config(r#"{"Name":"todo","Driver":"docker","Nodes":[{"Name":"m01","ControlPlane":true}]}"#);
        assert_eq!((one.machines(), one.driver.as_str()), (vec!["todo".to_owned()], "docker"));
        let two = config(r#"{"Name":"todo","Driver":"kvm2","Nodes":[{"Name":""},{"Name":"m02","Worker":true}]}"#);
        assert_eq!(two.machines(), ["todo", "todo-m02"]);
    }

    #[test]
    fn a_profile_is_below_the_home_of_minikube() {
        let folder = |home: Option<&str>, user: Option<&str>| {
            Profile::find(home.map(Path::new), user.map(Path::new), "p").map(|profile| profile.folder)
        };
        assert_eq!(folder(Some("/m"), Some("/root")), Some("/m/.minikube/profiles/p".into()));
        assert_eq!(folder(Some("/m/.minikube"), None), Some("/m/.minikube/profiles/p".into()));
        assert_eq!(folder(Some(""), Some("/root")), Some("/root/.minikube/profiles/p".into()));
        assert_eq!(folder(None, None), None);
    }
}
