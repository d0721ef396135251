//! The dependencies of a chart on this machine: what its `Chart.yaml` and `Chart.lock` name, and what of it is there.

use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tools::kube::yaml;

/// A dependency that is packed from a folder on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDependency {
    /// Its name.
    pub name: String,
    /// Where its chart is.
    pub folder: PathBuf,
}

impl LocalDependency {
    /// Whether a file of the chart, by its path within, is the archive that this dependency was packed into.
    pub fn is_archive(&self, path: &str) -> bool {
        archive_of(path, &self.name)
    }
}

/// A dependency as a chart declares it.
struct Declared {
    name: String,
    version: String,
    repository: String,
}

/// The dependencies that are packed from folders on this machine.
pub fn local_dependencies(chart: &Path) -> Vec<LocalDependency> {
    let local = |declared: Declared| {
        let folder = declared.repository.strip_prefix("file://")?;
        Some(LocalDependency { folder: chart.join(folder), name: declared.name })
    };
    read(&chart.join("Chart.yaml")).into_iter().filter_map(local).collect()
}

/// Whether something that the chart depends on has to be fetched before it is installed: what its lock names is not there,
/// or may have changed where it is packed from.
pub fn needs_dependencies(chart: &Path) -> bool {
    let unpacked = |name: &str| chart.join("charts").join(name).join("Chart.yaml").is_file();
    local_dependencies(chart).iter().any(|local| !unpacked(&local.name)) || lacks_dependencies(chart)
}

/// Whether something that the chart depends on is not there, in the version that its lock names.
pub fn lacks_dependencies(chart: &Path) -> bool {
    let declared = read(&chart.join("Chart.yaml"));
    let locked = read(&chart.join("Chart.lock"));
    declared.iter().any(|declared| {
        if chart.join("charts").join(&declared.name).join("Chart.yaml").is_file() {
            return false;
        }
        let version = locked.iter().find(|locked| locked.name == declared.name).map(|locked| &locked.version);
        match version {
            Some(version) => !chart.join("charts").join(format!("{}-{version}.tgz", declared.name)).is_file(),
            None => !has_archive(chart, &declared.name),
        }
    })
}

/// The repositories by address that the chart's dependencies come from. Helm only takes those from a repository that it
/// has been told of.
pub(super) fn unknown_repositories(chart: &Path) -> Vec<String> {
    let mut found = read(&chart.join("Chart.yaml"))
        .into_iter()
        .map(|declared| declared.repository)
        .filter(|repository| repository.starts_with("http://") || repository.starts_with("https://"))
        .collect::<Vec<_>>();
    found.sort();
    found.dedup();
    let known = own_repositories().and_then(|path| yaml::parse(&std::fs::read_to_string(path).ok()?).ok());
    let known = known.as_ref().and_then(|known| known.get("repositories")?.as_array());
    let is_known = |address: &String| {
        let mut urls = known.into_iter().flatten().filter_map(|repository| repository.get("url")?.as_str());
        urls.any(|url| trimmed(url) == trimmed(address))
    };
    found.retain(|address| !is_known(address));
    found
}

fn trimmed(address: &str) -> &str {
    address.trim_end_matches('/')
}

/// Helm's list of repositories, when there is one.
pub(super) fn own_repositories() -> Option<PathBuf> {
    let named = env::var_os("HELM_REPOSITORY_CONFIG").map(PathBuf::from);
    let usual = || {
        let config = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        Some(config.or_else(|| Some(env::home_dir()?.join(".config")))?.join("helm/repositories.yaml"))
    };
    named.or_else(usual).filter(|path| path.is_file())
}

fn has_archive(chart: &Path, name: &str) -> bool {
    let entries = std::fs::read_dir(chart.join("charts")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| archive_of(&format!("charts/{}", entry.file_name().to_string_lossy()), name))
}

fn archive_of(path: &str, name: &str) -> bool {
    let version = path.strip_prefix("charts/").and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
    version.and_then(|version| version.strip_suffix(".tgz")).is_some_and(is_version)
}

/// `1.2.3-rc.1+build`, `v1.2.3` or `1.2`, and not the rest of a longer name: `2fa-1.0.0`.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let is_short = text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    is_short || semver::Version::parse(text).is_ok()
}

/// What a `Chart.yaml` or `Chart.lock` names; nothing where there is no such file. What is wrong with it, Helm says.
fn read(file: &Path) -> Vec<Declared> {
    let parsed = std::fs::read_to_string(file).ok().and_then(|text| yaml::parse(&text).ok());
    let listed = parsed.as_ref().and_then(|chart| chart.get("dependencies")?.as_array());
    let declared = |dependency: &Value| {
        let text = |key: &str| dependency.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Declared { name: text("name"), version: text("version"), repository: text("repository") }
    };
    listed.into_iter().flatten().map(declared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lock: &str, archives: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir_all(path.join("charts")).unwrap();
        let yaml =
            "name: a\ndependencies:\n- {name: redis, version: 1.x, repository: \"https://charts.example/stable/\"}\n";
        std::fs::write(path.join("Chart.yaml"), yaml).unwrap();
        if !lock.is_empty() {
            std::fs::write(path.join("Chart.lock"), lock).unwrap();
        }
        archives.iter().for_each(|archive| std::fs::write(path.join("charts").join(archive), "").unwrap());
        folder
    }

    #[test]
    fn what_the_lock_names_has_to_be_there() {
        let lock = "dependencies:\n- {name: redis, version: 1.2.3}\n";
        assert!(needs_dependencies(chart(lock, &[]).path()));
        assert!(needs_dependencies(chart(lock, &["redis-1.2.2.tgz"]).path()));
        assert!(!needs_dependencies(chart(lock, &["redis-1.2.3.tgz"]).path()));
        assert!(needs_dependencies(chart("", &["redis-cluster-1.0.0.tgz"]).path()));
        assert!(!needs_dependencies(chart("", &["redis-1.0.0.tgz"]).path()));
        assert_eq!(unknown_repositories(chart("", &[]).path()), ["https://charts.example/stable/"]);
    }

    #[test]
    fn what_is_packed_from_a_folder_is_packed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let yaml = "name: a\ndependencies:\n- {name: lib, version: 1.0.0, repository: \"file://../lib\"}\n";
        std::fs::write(folder.path().join("Chart.yaml"), yaml).unwrap();
        assert!(needs_dependencies(folder.path()));
        let local = local_dependencies(folder.path());
        assert_eq!(local[0].folder, folder.path().join("../lib"));
        assert!(local[0].is_archive("charts/lib-1.0.0.tgz") && !local[0].is_archive("charts/lib-two-1.0.0.tgz"));
        for (file, is_its_own) in [("v1.0.0-rc.1+b", true), ("1.2", true), ("2fa-1.0.0", false), ("vpn-1.0.0", false)] {
            assert_eq!(local[0].is_archive(&format!("charts/lib-{file}.tgz")), is_its_own, "{file}");
        }
        std::fs::create_dir_all(folder.path().join("charts/lib")).unwrap();
        std::fs::write(folder.path().join("charts/lib/Chart.yaml"), "name: lib\n").unwrap();
        assert!(!needs_dependencies(folder.path()), "one that lies unpacked in charts/ is the one that counts");
    }
}
