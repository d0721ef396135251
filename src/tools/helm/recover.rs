//! Releases that were left in the middle of an operation.
//!
//! Helm writes `pending-…` before it begins and refuses every later operation while that stands. When whoever began it
//! is gone, the revision is marked as failed, which is what Helm itself does when an operation fails in its hands: the
//! next upgrade then compares with the last revision that was deployed (or, when there never was one, with the one that
//! failed) and brings everything to what the chart says. Compared with a rollback this costs one write instead of a
//! rollout of the old state in between; compared with an uninstall it keeps volumes and addresses.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::error::HelmError;
use super::releases;
use super::run::Session;
use crate::model::release::{Release, ReleaseStatus};
use crate::tools::kube::Cluster;
use crate::tools::kube::records::Holder;

/// How long an operation that somebody else began counts as alive: what Helm gives an operation by default.
const FOREIGN_LIFE: Duration = Duration::from_secs(300);

/// What [`recover`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// The release was in no operation, or is not installed.
    Nothing,
    /// An operation of a `helm` on this machine was still going on and has finished meanwhile.
    Waited,
    /// A revision that was left pending counts as failed now.
    Failed {
        /// What it was: `pending-upgrade`, …
        status: ReleaseStatus,
        /// Since when.
        since: Option<Timestamp>,
    },
    /// A removal that was begun has been finished.
    Removed,
}

/// Makes a release usable again that was left in the middle of an operation. `holder` is who the record of the release
/// says was at it last, if there is one; `host` is this machine. A `helm` that is alive on this machine is waited for,
/// at most `patience`.
pub async fn recover(
    session: &Session<'_>,
    cluster: &Cluster,
    release: &str,
    holder: Option<&Holder>,
    host: &str,
    patience: Duration,
) -> Result<Recovered, HelmError> {
    let stuck = |release: &Release| release.status.is_pending() || release.status == ReleaseStatus::Uninstalling;
    // First of all: a `helm` that outlived its stack may be about to begin, and nothing in the cluster tells of it yet.
    let waited = wait_for_helm(release, session.namespace, patience).await;
    let Some(found) = releases::latest(cluster, session.namespace, release).await?.filter(stuck) else {
        return Ok(if waited { Recovered::Waited } else { Recovered::Nothing });
    };
    if helm_is_at(Path::new("/proc"), release, session.namespace) {
        return Err(busy(&found, "another helm"));
    }
    if let Some(who) = alive(&found, holder, host, Timestamp::now()) {
        return Err(busy(&found, &who));
    }
    if found.status == ReleaseStatus::Uninstalling {
        session.uninstall(release, FOREIGN_LIFE, |_, _| {}).await?;
        return Ok(Recovered::Removed);
    }
    let description = format!("{} was interrupted; marked as failed by stack", found.status);
    releases::mark_failed(cluster, &found, &description).await?;
    Ok(Recovered::Failed { status: found.status, since: found.updated })
}

fn busy(release: &Release, who: &str) -> HelmError {
    HelmError::Busy {
        release: release.name.clone(),
        status: release.status.to_string(),
        since: release.updated.map_or_else(|| "an unknown time".to_owned(), |since| since.to_string()),
        who: who.to_owned(),
    }
}

/// Who may still be at an operation that no `helm` of this machine is at.
fn alive(release: &Release, holder: Option<&Holder>, host: &str, now: Timestamp) -> Option<String> {
    let age = release.updated.map(|since| now.duration_since(since));
    let young = age.is_some_and(|age| age < jiff::SignedDuration::try_from(FOREIGN_LIFE).unwrap_or_default());
    match holder {
        // It was begun here, by a stack whose helm is gone.
        Some(holder) if holder.host == host => None,
        Some(holder) if young => Some(format!("stack with pid {} on {}", holder.pid, holder.host)),
        None if young => Some("somebody else, maybe on another machine,".to_owned()),
        Some(_) | None => None,
    }
}

/// Waits while a `helm` on this machine is at the release; whether there was one.
async fn wait_for_helm(release: &str, namespace: &str, patience: Duration) -> bool {
    let mut seen = false;
    let gone = async {
        let mut pause = Duration::from_millis(20);
        while helm_is_at(Path::new("/proc"), release, namespace) {
            seen = true;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    };
    let _ = tokio::time::timeout(patience, gone).await;
    seen
}

/// Whether a process on this machine is a `helm` that changes the release.
fn helm_is_at(proc: &Path, release: &str, namespace: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(proc) else { return false };
    entries.flatten().any(|entry| {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        is_process
            && std::fs::read(entry.path().join("cmdline")).is_ok_and(|cmdline| {
                let args = cmdline.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect::<Vec<_>>();
                is_helm_at(&args.iter().map(AsRef::as_ref).collect::<Vec<_>>(), release, namespace)
            })
    })
}

fn is_helm_at(args: &[&str], release: &str, namespace: &str) -> bool {
    let Some((program, args)) = args.split_first() else { return false };
    let is_helm = Path::new(program).file_name().is_some_and(|name| name.to_string_lossy().starts_with("helm"));
    let changes = ["install", "upgrade", "rollback", "uninstall", "delete"];
    let other_namespace = args
        .iter()
        .zip(args.iter().skip(1))
        .any(|(flag, value)| matches!(*flag, "--namespace" | "-n") && *value != namespace);
    is_helm && args.iter().any(|arg| changes.contains(arg)) && args.contains(&release) && !other_namespace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::chart::Chart;

    fn pending(updated: &str) -> Release {
        Release {
            uid: String::new(),
            name: "todo".into(),
            namespace: "todo".into(),
            revision: 2,
            status: ReleaseStatus::PendingUpgrade,
            first_deployed: None,
            updated: updated.parse().ok(),
            description: String::new(),
            chart: Chart::default(),
            values: serde_json::Value::Null,
            manifest: String::new(),
            notes: String::new(),
            stack: None,
            failed_hooks: Vec::new(),
        }
    }

    #[test]
    fn who_counts_as_alive() {
        let now = "2026-11-23T10:00:00Z".parse::<Timestamp>().unwrap();
        let holder = |host: &str| Holder { host: host.into(), pid: 7, since: now };
        let (young, old) = (pending("2026-11-23T09:59:00Z"), pending("2026-11-23T09:50:00Z"));
        assert_eq!(alive(&young, Some(&holder("here")), "here", now), None);
        assert_eq!(alive(&young, Some(&holder("there")), "here", now).unwrap(), "stack with pid 7 on there");
        assert_eq!(alive(&old, Some(&holder("there")), "here", now), None);
        assert!(alive(&young, None, "here", now).is_some());
        assert_eq!(alive(&old, None, "here", now), None);
    }

    #[test]
    fn a_helm_at_the_release_is_known_by_its_arguments() {
        let at = |line: &str| is_helm_at(&line.split(' ').collect::<Vec<_>>(), "todo", "ns");
        assert!(at("/usr/bin/helm upgrade todo chart --install --namespace ns"));
        assert!(at("helm4 rollback todo 3"));
        assert!(!at("helm upgrade todo chart --namespace other"));
        assert!(!at("helm upgrade other chart --namespace ns"));
        assert!(!at("helm status todo"));
        assert!(!at("vim upgrade todo"));
    }
}
