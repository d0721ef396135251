//! `on-failure = "rollback"`: back to the last revision that was ready. What was never ready is removed again, when this
//! stack made it.

use super::{Content, PATIENCE, TIMEOUT, install, wait};
use crate::config::Chart as Spec;
use crate::model::release::ReleaseStatus;
use crate::process::Cancel;
use crate::step::{Speaker, StepError, World, of_helm, of_kube};
use crate::tools::helm::Session;
use crate::tools::helm::releases::{self, Revision};
use crate::tools::kube::Cluster;
use crate::tools::kube::records::{self, Holder, RecordId};

/// Where to go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    /// To this revision.
    To(u64),
    /// To nothing: it was never ready, and nobody but this stack ever made a revision of it.
    Remove,
    /// Nothing was changed, or there is nothing to go back to.
    Stay,
}

/// What a failed chart step goes back from.
pub(super) struct Failed<'a> {
    pub(super) world: &'a World,
    pub(super) spec: &'a Spec,
    pub(super) cluster: &'a Cluster,
    pub(super) session: &'a Session<'a>,
    pub(super) record: &'a RecordId,
    /// Who marked the record as in doubt: this process.
    pub(super) holder: &'a Holder,
    /// What was recorded when it was ready last.
    pub(super) ready: Option<Content>,
    pub(super) speaker: &'a Speaker,
    pub(super) cancel: &'a Cancel,
}

impl Failed<'_> {
    /// Goes back; the failure stays a failure, and says what became of the release.
    pub(super) async fn go_back(self, error: StepError) -> StepError {
        let release = &self.spec.release;
        let history = match releases::history(self.cluster, &self.spec.namespace, release).await {
            Ok(history) => history,
            Err(unknown) => return also(error, &of_helm(unknown)),
        };
        let ready = self.ready.as_ref().filter(|ready| ready.release == *release);
        let ready = ready.map(|ready| (ready.revision, ready.uid.as_str()));
        let back = target(&history, ready, self.world.stack_name());
        // Whoever reads along has to know why before anything is taken back.
        let told = |what: &str| {
            let why = error.diagnosis.as_deref().map(|text| format!("\n{text}")).unwrap_or_default();
            self.speaker.warn(&format!("{}; {what}{why}", error.reason));
        };
        let result = match back {
            Back::Stay => return error,
            Back::To(revision) => {
                told(&format!("going back to revision {revision}"));
                self.to(revision).await
            }
            Back::Remove => {
                told(&format!("removing release {release} again, which was never ready"));
                self.remove().await
            }
        };
        match result {
            Ok(done) => StepError { reason: format!("{}; {done}", error.reason), ..error },
            Err(second) => also(error, &second),
        }
    }

    async fn to(self, target: u64) -> Result<String, StepError> {
        let Self { world, spec, cluster, session, speaker, cancel, .. } = self;
        install::recover(world, session, cluster, &spec.release, Some(self.holder), speaker).await?;
        let timeout = spec.options.timeout.unwrap_or(TIMEOUT);
        let said = |stream, line: &str| speaker.output(stream, line);
        session.rollback(&spec.release, target, timeout, said).await.map_err(of_helm)?;
        let now = releases::latest(cluster, &spec.namespace, &spec.release).await.map_err(of_helm)?;
        let Some(now) = now.filter(|now| now.status == ReleaseStatus::Deployed) else {
            return Ok(format!("helm went back to revision {target}, and the release is not deployed"));
        };
        if spec.wait {
            let deadline = tokio::time::Instant::now() + timeout;
            wait(world, cluster, spec, (&now, &super::objects(&now)?), deadline, speaker, cancel).await?;
        }
        if let Some(ready) = self.ready {
            // Made from what the older record says: with those inputs, there is nothing to do.
            Content { revision: now.revision, uid: now.uid, ..ready }.write(cluster, self.record, None).await?;
        }
        Ok(format!("went back to revision {target}, which is ready as revision {}", now.revision))
    }

    async fn remove(self) -> Result<String, StepError> {
        let Self { world, spec, cluster, session, speaker, .. } = self;
        install::recover(world, session, cluster, &spec.release, Some(self.holder), speaker).await?;
        let said = |stream, line: &str| speaker.output(stream, line);
        session.uninstall(&spec.release, PATIENCE, said).await.map_err(of_helm)?;
        records::delete(cluster, self.record).await.map_err(of_kube)?;
        Ok("it was never ready, and was removed again".to_owned())
    }
}

/// The failure, and that going back has failed too.
fn also(error: StepError, second: &StepError) -> StepError {
    let first = error.diagnosis.map(|text| format!("{text}\n")).unwrap_or_default();
    let why = second.diagnosis.as_deref().map(|text| format!("\n{text}")).unwrap_or_default();
    let diagnosis = format!("{first}going back has failed as well: {}{why}", second.reason);
    StepError { class: error.class, reason: error.reason, diagnosis: Some(diagnosis) }
}

/// Decides by the history, oldest first, and by the revision that was recorded as ready.
fn target(history: &[Revision], ready: Option<(u64, &str)>, stack: &str) -> Back {
    let Some(now) = history.last() else { return Back::Stay };
    let was_good = |revision: &&Revision| {
        revision.revision < now.revision
            && matches!(revision.status, ReleaseStatus::Deployed | ReleaseStatus::Superseded)
    };
    if let Some((ready, uid)) = ready {
        // Older versions recorded no uid.
        let is_it = |revision: &Revision| revision.revision == ready && (uid.is_empty() || revision.uid == uid);
        let found = history.iter().filter(was_good).any(is_it);
        return if found { Back::To(ready) } else { Back::Stay };
    }
    // Nothing of ours was ever ready. What somebody else had installed is theirs to have back.
    let theirs = |revision: &&Revision| revision.stack.as_deref() != Some(stack);
    if !history.iter().any(|revision| theirs(&revision)) {
        return Back::Remove;
    }
    history.iter().rev().filter(theirs).find(was_good).map_or(Back::Stay, |revision| Back::To(revision.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(revisions: &[(u64, &str, Option<&str>)]) -> Vec<Revision> {
        let revision = |(revision, status, stack): &(u64, &str, Option<&str>)| Revision {
            release: "web".into(),
            namespace: "web".into(),
            revision: *revision,
            uid: format!("uid-{revision}"),
            status: ReleaseStatus::parse(status),
            stack: stack.map(str::to_owned),
        };
        revisions.iter().map(revision).collect()
    }

    #[test]
    fn back_to_what_was_ready_and_never_to_what_was_not() {
        let ours = Some("todo");
        let upgraded = history(&[(1, "superseded", ours), (2, "superseded", ours), (3, "deployed", ours)]);
        assert_eq!(target(&upgraded, Some((1, "uid-1")), "todo"), Back::To(1));
        assert_eq!(target(&upgraded, Some((3, "uid-3")), "todo"), Back::Stay, "nothing was changed");
        assert_eq!(target(&upgraded, Some((7, "uid-7")), "todo"), Back::Stay, "the history does not reach back so far");
        assert_eq!(target(&upgraded, Some((1, "other")), "todo"), Back::Stay, "installed anew by somebody else");
        assert_eq!(target(&upgraded, None, "todo"), Back::Remove);
        assert_eq!(target(&[], None, "todo"), Back::Stay);
        let failed = history(&[(1, "superseded", ours), (2, "failed", ours), (3, "pending-upgrade", ours)]);
        assert_eq!(
            target(&failed, Some((2, "uid-2")), "todo"),
            Back::Stay,
            "a failed revision is nothing to go back to"
        );
    }

    #[test]
    fn what_somebody_else_installed_is_never_removed() {
        let adopted = history(&[(1, "superseded", None), (2, "deployed", Some("todo"))]);
        assert_eq!(target(&adopted, None, "todo"), Back::To(1));
        let broken = history(&[(1, "failed", Some("other")), (2, "deployed", Some("todo"))]);
        assert_eq!(target(&broken, None, "todo"), Back::Stay);
    }
}
