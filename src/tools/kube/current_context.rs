//! Keeps the kubeconfig's current context over a command of another tool that changes it.
//!
//! minikube, kind and k3d make a cluster that they start the current context. Only that one line of a kubeconfig is ever
//! rewritten here; all other bytes stay.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::config::Kubeconfig;

use super::cluster::kubeconfig_files;

/// How long another program may hold the lock of a kubeconfig, which kubectl, kind and others take to write it.
const LOCKED_FOR: Duration = Duration::from_secs(2);

/// The key of the line.
const KEY: &str = "current-context:";

/// The current context as it was, in every file of a kubeconfig.
#[derive(Debug)]
pub struct CurrentContext {
    /// Of the files together: the first that names one wins.
    name: Option<String>,
    files: Vec<(PathBuf, Option<String>)>,
}

impl CurrentContext {
    /// Reads it. `kubeconfig` is the value of `$KUBECONFIG`, else it is `~/.kube/config`.
    pub fn read(kubeconfig: Option<&OsStr>) -> Self {
        let files: Vec<_> = kubeconfig_files(kubeconfig)
            .into_iter()
            .map(|file| (current_of(&file), file))
            .map(|(c, f)| (f, c))
            .collect();
        let name = files.iter().find_map(|(_, current)| current.clone());
        Self { name, files }
    }

    /// Makes it current again, if it was set, still exists, and another one is current now. Says whether it did.
    ///
    /// # Errors
    /// When a file can't be written; it is as it was then.
    pub fn restore(&self) -> io::Result<bool> {
        let Some(name) = &self.name else { return Ok(false) };
        let read = |file: &Path| Kubeconfig::read_from(file).ok();
        let exists = |file: &PathBuf| {
            read(file).is_some_and(|config| config.contexts.iter().any(|context| context.name == *name))
        };
        if !self.files.iter().any(|(file, _)| exists(file)) {
            return Ok(false);
        }
        let mut restored = false;
        for (file, before) in &self.files {
            if current_of(file) != *before {
                write(file, before.as_deref().unwrap_or_default())?;
                restored = true;
            }
        }
        Ok(restored)
    }
}

/// The current context that a file names.
fn current_of(file: &Path) -> Option<String> {
    Kubeconfig::read_from(file).ok()?.current_context.filter(|name| !name.is_empty())
}

/// Replaces the file by one with another current context, under the lock that kubectl takes.
fn write(file: &Path, name: &str) -> io::Result<()> {
    // A link stays one.
    let file = fs::canonicalize(file)?;
    let _lock = Lock::take(&file)?;
    let text = fs::read_to_string(&file)?;
    let Some(changed) = with_current(&text, name) else { return Ok(()) };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(changed.as_bytes())?;
    new.as_file().set_permissions(fs::metadata(&file)?.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&file).map_err(|error| error.error)?;
    Ok(())
}

/// The text with that current context; nothing when it has no line for it, and is not one in which a line can be added.
fn with_current(text: &str, name: &str) -> Option<String> {
    let line = format!("{KEY} {}", quoted(name));
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    if let Some(old) = lines.iter_mut().find(|old| old.starts_with(KEY)) {
        let end = if old.ends_with("\r\n") {
            "\r\n"
        } else if old.ends_with('\n') {
            "\n"
        } else {
            ""
        };
        let line = format!("{line}{end}");
        *old = &line;
        return Some(lines.concat());
    }
    // Go's tools write mappings in blocks, one key of the top level a line.
    let is_block = lines.iter().any(|line| line.starts_with("contexts:") || line.starts_with("apiVersion:"));
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    is_block.then(|| format!("{text}{gap}{line}\n"))
}

/// A name as YAML takes it, which is without quotes where it can't be taken for anything but text.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@');
    let reads_as_text = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&name.to_ascii_lowercase().as_str());
    match name.chars().all(is_plain) && reads_as_text {
        true => name.to_owned(),
        // JSON's strings are YAML's, too.
        false => serde_json::Value::from(name).to_string(),
    }
}

/// The file `NAME.lock`, which those who write a kubeconfig create and remove.
struct Lock(PathBuf);

impl Lock {
    fn take(file: &Path) -> io::Result<Self> {
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let begun = Instant::now();
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => return Ok(Self(path.into())),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && begun.elapsed() < LOCKED_FOR => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(current: &str, contexts: &[&str]) -> String {
        let contexts: String = contexts
            .iter()
            .map(|name| format!("- context:\n    cluster: c\n    user: u\n  name: {name} # kept\n"))
            .collect();
        let current = if current.is_empty() { String::new() } else { format!("current-context: {current}\n") };
        format!("apiVersion: v1\nclusters: []\ncontexts:\n{contexts}{current}kind: Config\nusers: []\n")
    }

    /// What a file holds after a tool wrote `after` over `before`, and whether it was restored.
    fn restored(before: Option<&str>, after: &str) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        if let Some(before) = before {
            fs::write(&file, before).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        }
        let current = CurrentContext::read(Some(file.as_os_str()));
        fs::write(&file, after).unwrap();
        let restored = current.restore().unwrap();
        if before.is_some() {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no lock and no other file is left");
        (fs::read_to_string(&file).unwrap(), restored)
    }

    #[test]
    fn the_current_context_is_restored_and_nothing_else_changes() {
        let after = config("todo", &["prod", "todo"]);
        let (text, done) = restored(Some(&config("prod", &["prod"])), &after);
        assert_eq!((text, done), (after.replace("current-context: todo", "current-context: prod"), true));
    }

    #[test]
    fn a_current_context_that_was_not_set_or_is_gone_is_left_to_the_tool() {
        let after = config("todo", &["prod", "todo"]);
        for before in
            [None, Some(config("", &["prod"])), Some(config("\"\"", &["prod"])), Some(config("gone", &["gone"]))]
        {
            assert_eq!(restored(before.as_deref(), &after), (after.clone(), false), "{before:?}");
        }
        let same = config("prod", &["prod", "todo"]);
        assert_eq!(restored(Some(&config("prod", &["prod"])), &same), (same, false));
    }

    #[test]
    fn a_tool_that_removes_the_line_gets_it_back() {
        let (text, done) = restored(Some(&config("prod", &["prod"])), &config("", &["prod", "todo"]));
        assert!(done && text.ends_with("users: []\ncurrent-context: prod\n"), "{text}");
    }

    #[test]
    fn of_several_files_each_gets_its_own_back() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        fs::write(&one, config("", &["other"])).unwrap();
        fs::write(&two, config("prod", &["prod"])).unwrap();
        let list = std::env::join_paths([&one, &two]).unwrap();
        let current = CurrentContext::read(Some(&list));
        // minikube writes to the first file.
        fs::write(&one, config("todo", &["other", "todo"])).unwrap();
        assert!(current.restore().unwrap());
        assert_eq!(current_of(&one), None);
        assert_eq!(current_of(&two).as_deref(), Some("prod"));
        assert_eq!(CurrentContext::read(Some(&list)).name.as_deref(), Some("prod"));
    }

    #[test]
    fn a_link_to_a_kubeconfig_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["real", "link"].map(|name| folder.path().join(name));
        fs::write(&file, config("prod", &["prod", "todo"])).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let current = CurrentContext::read(Some(link.as_os_str()));
        fs::write(&file, config("todo", &["prod", "todo"])).unwrap();
        assert!(current.restore().unwrap());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(current_of(&file).as_deref(), Some("prod"));
    }

    #[test]
    fn names_are_quoted_where_they_would_be_read_as_something_else() {
        for (name, expected) in [
            ("kind-todo", "kind-todo"),
            ("arn:aws:eks:eu-1:1:cluster/x", "\"arn:aws:eks:eu-1:1:cluster/x\""),
            ("true", "\"true\""),
            ("1", "\"1\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(name), expected);
            let text = with_current("apiVersion: v1\ncurrent-context: x\n", name).unwrap();
            assert_eq!(Kubeconfig::from_yaml(&text).unwrap().current_context.unwrap(), name);
        }
    }
}
