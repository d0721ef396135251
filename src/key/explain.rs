//! What changed between the manifest of now and the one of the last apply, input by input.

use serde::Serialize;

use super::manifest::{Group, Input, Manifest, Value};
use super::recorded::RecordedManifest;

/// The input that says which cluster a step works on.
pub const CLUSTER: &str = "cluster";

/// One input that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The input's path, such as `arg.PYTHON_VERSION`.
    pub input: String,
    /// Its value at the last apply; absent for an input that is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its value now; absent for an input that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The change in the words of the field, for people: `~ app/main.py`, `arg PYTHON_VERSION 3.11 -> 3.12`.
    #[serde(skip)]
    pub shown: String,
}

/// All inputs that differ, those of now in their order and then those that are gone. Unknown inputs are left out, and files
/// that are going to be made anew: they may turn out to be equal.
pub fn changes(before: &RecordedManifest, now: &Manifest) -> Vec<Change> {
    let mut changes = Vec::new();
    // Which of the earlier ones are still there.
    let mut stays = vec![false; before.inputs.len()];
    // Mostly they are in the same order.
    let mut expected = 0;
    for input in now.inputs() {
        let path = input.path();
        let at = before.inputs.find(&path, expected);
        if let Some(at) = at {
            stays[at] = true;
            expected = at + 1;
        }
        if matches!(input.value, Value::Unknown { .. }) || now.is_awaited(&path) {
            continue;
        }
        match at.and_then(|at| before.inputs.get(at)) {
            Some(old) if input.value.is_recorded_as(&old) => {}
            old => changes.push(change(&input, old.as_ref())),
        }
    }
    let gone_now = before.inputs.iter().zip(&stays).filter(|((path, _), stays)| !**stays && !now.is_awaited(path));
    changes.extend(gone_now.map(|((path, old), _)| gone(path, &old)));
    // A Dockerfile that is a file of its context as well is told once.
    let definitions = changes.iter().filter(|change| change.input.starts_with("definition."));
    let told: Vec<String> = definitions.map(|change| change.shown.clone()).collect();
    changes.retain(|change| !(change.input.starts_with("file.") && told.contains(&change.shown)));
    changes
}

pub(super) fn change(input: &Input, old: Option<&Value>) -> Change {
    let (from, to) = (old.map(Value::shown), input.value.shown());
    let name = &input.name;
    let arrow = || match &from {
        Some(from) => format!("{} -> {}", quoted(from), quoted(&to)),
        None => format!("= {} (new)", quoted(&to)),
    };
    let shown = match input.group {
        Group::Definition | Group::File => format!("{} {name}", if old.is_some() { '~' } else { '+' }),
        Group::Secret => format!("secret {name} {}", if old.is_some() { "changed" } else { "is new" }),
        // A base that is there stands for itself by a digest.
        Group::Base if matches!(input.value, Value::Text(_)) => format!("base {name} is not there"),
        Group::Base if from.is_some() => format!("base {name} moved"),
        Group::Base => format!("base {name} is new"),
        Group::Image => {
            format!("image {name} {}", from.as_ref().map_or("is new".to_owned(), |_| format!("changed {}", arrow())))
        }
        Group::Arg => format!("arg {name} {}", arrow()),
        Group::Value => format!("values {name} {}", arrow()),
        Group::Env => format!("env {name} {}", arrow()),
        // Known by its uid, which tells a person nothing.
        Group::Target if name == CLUSTER && from.is_some() => {
            "the cluster is another one than the last time".to_owned()
        }
        Group::Setting | Group::Target | Group::Output => format!("{name} {}", arrow()),
    };
    Change {
        input: input.path(),
        from: old.map(|old| old.text().into_owned()),
        to: Some(input.value.text().into_owned()),
        shown,
    }
}

pub(super) fn gone(path: &str, old: &Value) -> Change {
    let shown = match path.split_once('.') {
        Some(("definition" | "file", name)) => format!("- {name}"),
        Some(("value", name)) => format!("values {name} is gone"),
        Some((group, name)) => format!("{group} {name} is gone"),
        None => format!("{path} is gone"),
    };
    Change { input: path.to_owned(), from: Some(old.text().into_owned()), to: None, shown }
}

/// Empty and blank-padded texts in quotes, since they can't be seen otherwise.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.trim() != text { format!("{text:?}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_change_is_told_in_its_own_words() {
        let mut before = Manifest::new("build");
        before.text(Group::Arg, "PYTHON_VERSION", "3.11");
        before.digest(Group::File, "app/main.py", "blake3:aa");
        before.digest(Group::File, "app/old.py", "blake3:aa");
        before.digest(Group::Base, "debian:bookworm-slim", "sha256:aa");
        before.digest(Group::Base, "tools:1", "sha256:aa");
        before.text(Group::Value, "replicas", "1");
        before.text(Group::Setting, "target", "runtime");
        let mut now = Manifest::new("build");
        now.text(Group::Arg, "PYTHON_VERSION", "3.12");
        now.digest(Group::File, "app/main.py", "blake3:bb");
        now.digest(Group::File, "app/new.py", "blake3:bb");
        now.digest(Group::Base, "debian:bookworm-slim", "sha256:bb");
        now.text(Group::Base, "tools:1", "not there yet");
        now.text(Group::Value, "replicas", "");
        now.text(Group::Setting, "target", "runtime");
        before.text(Group::Env, "X", "a");
        before.text(Group::Target, CLUSTER, "0b5d1b1c-6d5e-4d0c-9d0e-1f2a3b4c5d6e");
        now.text(Group::Target, CLUSTER, "7c1f0a9e-0e4b-4a3d-8a55-d1c2b3a49586");
        now.text(Group::Env, "X", "a\nb\u{1b}[31mred");
        let shown: Vec<_> = changes(&before.recorded().unwrap(), &now).into_iter().map(|change| change.shown).collect();
        assert_eq!(
            shown,
            [
                "arg PYTHON_VERSION 3.11 -> 3.12",
                "~ app/main.py",
                "+ app/new.py",
                "base debian:bookworm-slim moved",
                "base tools:1 is not there",
                "values replicas 1 -> \"\"",
                "the cluster is another one than the last time",
                "env X a -> \"a\\nb\\u{1b}[31mred\"",
                "- app/old.py",
            ]
        );
    }

    #[test]
    fn equal_manifests_have_equal_keys_and_no_changes() {
        let mut manifest = Manifest::new("chart");
        manifest.text(Group::Value, "a", "1");
        let recorded = manifest.recorded().unwrap();
        assert_eq!(changes(&recorded, &manifest), []);
        assert_eq!(recorded.key, manifest.key().unwrap());
    }

    #[test]
    fn a_dockerfile_within_its_context_is_told_once() {
        let of = |context: &str, definition: &str| {
            let mut manifest = Manifest::new("build");
            manifest.digest(Group::File, "Dockerfile", context);
            manifest.digest(Group::File, "app", context);
            manifest.digest(Group::Definition, "Dockerfile", definition);
            manifest
        };
        let told = |now: &Manifest| {
            let changes = changes(&of("a", "a").recorded().unwrap(), now);
            changes.into_iter().map(|change| (change.input, change.shown)).collect::<Vec<_>>()
        };
        assert_eq!(told(&of("a", "a")), []);
        let both = [("file.app", "~ app"), ("definition.Dockerfile", "~ Dockerfile")];
        assert_eq!(told(&of("b", "b")), both.map(|(input, shown)| (input.to_owned(), shown.to_owned())));
        assert_ne!(of("a", "a").key(), of("a", "b").key());
    }
}
