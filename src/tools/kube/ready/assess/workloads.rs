//! The rules for what runs pods: deployments, sets, jobs and pods themselves.

use serde_json::Value;

use super::{Assessment, Case, Progress, of_pods, pods_word};
use crate::model::deployment::DeploymentState;
use crate::tools::kube::object::Object;
use crate::tools::kube::ready::pods;
use crate::tools::kube::ready::trouble::{Cause, Severity, Trouble};
use crate::tools::kube::ready::world::{World, event_time};

impl Case<'_> {
    pub(super) fn deployment(&self) -> Assessment {
        let newest = self.newest_set().map(|set| set.uid().to_owned());
        let mut assessment = self.rollout_of_deployment();
        let paused = self.object.at("/spec/paused") == Some(&Value::Bool(true));
        if !self.unseen {
            if let Some(set) = &newest {
                self.judge_pods(&mut assessment, |world| world.pods_of(set).map(AsRef::as_ref).collect());
            }
            if let Some(failure) = self.object.condition("ReplicaFailure").filter(|failure| failure.is_true()) {
                assessment.troubles.push(refused(failure.message));
            }
            let given_up = self.object.condition("Progressing").filter(|c| c.reason == "ProgressDeadlineExceeded");
            if let Some(given_up) = given_up {
                assessment.progress = Progress::Failed;
                assessment.troubles.push(Trouble::new(Cause::Deadline, Severity::AtOnce, given_up.message));
            }
        }
        assessment.state = match assessment.progress {
            _ if paused => DeploymentState::Paused,
            Progress::Ready => DeploymentState::Active,
            Progress::Progressing => DeploymentState::Updating,
            Progress::Failed => DeploymentState::Failed,
        }
        .to_string();
        assessment
    }

    /// The newest replica set; none while it has not been seen yet. What is seen of deployments and of replica sets comes by
    /// two watches, and the pods of an older set must not be judged for the newest.
    fn newest_set(&self) -> Option<&Object> {
        let revision = |object: &Object| object.annotation("deployment.kubernetes.io/revision").map(str::to_owned);
        let newest = *self.world.replica_sets_of(self.object.uid()).first()?;
        (revision(newest) == revision(self.object)).then_some(newest)
    }

    /// The order of kstatus: the first counter that is behind says what is awaited.
    fn rollout_of_deployment(&self) -> Assessment {
        let asked = self.asked();
        let (all, updated) = (self.count("replicas"), self.count("updatedReplicas"));
        let (ready, available) = (self.count("readyReplicas"), self.count("availableReplicas"));
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        if self.object.at("/spec/paused") == Some(&Value::Bool(true)) {
            return self.ready("paused");
        }
        if asked > all || asked > updated {
            return self.on_the_way(format!("{updated} of {asked} new pods made, {ready} ready"));
        }
        if all > asked {
            return self.on_the_way(format!("{} old {} still there", all - asked, pods_word(all - asked)));
        }
        if updated > available || asked > ready {
            return self.on_the_way(format!("{} of {asked} new pods ready", ready.min(available)));
        }
        self.ready(of_pods(asked))
    }

    pub(super) fn stateful_set(&self) -> Assessment {
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        let asked = self.asked();
        let (ready, updated) = (self.count("readyReplicas"), self.count("updatedReplicas"));
        let revision = self.object.text("/status/updateRevision");
        let on_delete = self.object.text("/spec/updateStrategy/type") == "OnDelete";
        let partition = self.object.number("/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
        let mut assessment = if asked > ready {
            self.on_the_way(format!("{ready} of {asked} pods ready"))
        } else if self.count("replicas") > asked {
            self.on_the_way(format!("{} pods to go", self.count("replicas") - asked))
        } else if !on_delete && (asked - partition).max(0) > updated {
            self.on_the_way(format!("{updated} of {} pods updated", (asked - partition).max(0)))
        } else if !on_delete && partition == 0 && self.object.text("/status/currentRevision") != revision {
            self.on_the_way("waiting for its controller to finish the rollout")
        } else {
            self.ready(of_pods(asked))
        };
        let newest = |pod: &&Object| on_delete || pod.label("controller-revision-hash") == Some(revision);
        self.judge_pods(&mut assessment, |world| {
            world.pods_of(self.object.uid()).map(AsRef::as_ref).filter(newest).collect()
        });
        assessment.troubles.extend(self.refused_pods());
        assessment
    }

    pub(super) fn daemon_set(&self) -> Assessment {
        if self.unseen {
            return self.on_the_way("its controller has not seen the change yet");
        }
        let asked = self.count("desiredNumberScheduled");
        let (updated, ready) = (self.count("updatedNumberScheduled"), self.count("numberReady"));
        let on_delete = self.object.text("/spec/updateStrategy/type") == "OnDelete";
        let mut assessment = if self.count("currentNumberScheduled") < asked {
            self.on_the_way(format!("{} of {asked} nodes have a pod", self.count("currentNumberScheduled")))
        } else if !on_delete && updated < asked {
            self.on_the_way(format!("{updated} of {asked} pods updated"))
        } else if self.count("numberAvailable") < asked || ready < asked {
            self.on_the_way(format!("{ready} of {asked} pods ready"))
        } else {
            self.ready(of_pods(asked))
        };
        let generation = self.object.annotation("deprecated.daemonset.template.generation");
        let newest = |pod: &&Object| match (generation, pod.label("pod-template-generation")) {
            (Some(newest), Some(its)) => newest == its,
            (None, _) | (_, None) => true,
        };
        self.judge_pods(&mut assessment, |world| {
            world.pods_of(self.object.uid()).map(AsRef::as_ref).filter(newest).collect()
        });
        assessment.troubles.extend(self.refused_pods());
        assessment
    }

    pub(super) fn replica_set(&self) -> Assessment {
        let asked = self.asked();
        let ready = self.count("readyReplicas").min(self.count("availableReplicas"));
        let mut assessment = if self.unseen {
            self.on_the_way("its controller has not seen the change yet")
        } else if ready < asked {
            self.on_the_way(format!("{ready} of {asked} pods ready"))
        } else if self.count("replicas") > asked {
            self.on_the_way(format!("{} pods to go", self.count("replicas") - asked))
        } else {
            self.ready(of_pods(asked))
        };
        self.judge_pods(&mut assessment, |world| world.pods_of(self.object.uid()).map(AsRef::as_ref).collect());
        if let Some(failure) = self.object.condition("ReplicaFailure").filter(|failure| failure.is_true()) {
            assessment.troubles.push(refused(failure.message));
        }
        assessment
    }

    pub(super) fn job(&self) -> Assessment {
        if self.object.condition("Complete").is_some_and(|complete| complete.is_true()) {
            return self.ready("complete");
        }
        if let Some(failed) = self.object.condition("Failed").filter(|failed| failed.is_true()) {
            let mut assessment = self.failed(Cause::Job, failed.message);
            // The pod that failed last tells more than the job.
            let mut pods = self.world.pods_of(self.object.uid()).collect::<Vec<_>>();
            pods.sort_by_key(|pod| pod.created());
            if let (Some(pod), Some(trouble)) = (pods.last(), assessment.troubles.first_mut()) {
                trouble.pod = Some(pod.name().to_owned());
                let ended = pods::containers(pod).find_map(|container| {
                    let end = container.last_end().filter(|end| end.exit_code != 0)?;
                    Some((container, end))
                });
                if let Some((container, end)) = ended {
                    trouble.container = Some(container.name().to_owned());
                    trouble.init = container.is_init();
                    trouble.last_end = Some(end);
                }
            }
            return assessment;
        }
        if self.object.at("/spec/suspend") == Some(&Value::Bool(true)) {
            return self.ready("suspended");
        }
        let (done, failed) = (self.count("succeeded"), self.count("failed"));
        let wanted = self.object.number("/spec/completions").unwrap_or(1);
        let tries = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let mut assessment = self.on_the_way(format!("{done} of {wanted} done{tries}"));
        self.judge_pods(&mut assessment, |world| {
            let pods = world.pods_of(self.object.uid()).map(AsRef::as_ref);
            pods.filter(|pod: &&Object| !matches!(pod.text("/status/phase"), "Failed" | "Succeeded")).collect()
        });
        for trouble in &mut assessment.troubles {
            // How often to try again is the job's own affair: it will say when it has failed.
            if matches!(trouble.cause, Cause::Crash | Cause::OutOfMemory | Cause::Init | Cause::Probe | Cause::Liveness)
            {
                trouble.severity = Severity::Slow;
            }
        }
        assessment.troubles.extend(self.refused_pods());
        assessment
    }

    pub(super) fn pod(&self) -> Assessment {
        let phase = self.object.text("/status/phase");
        let mut assessment = match phase {
            "Succeeded" => self.ready("has ended well"),
            "Failed" => self.on_the_way("has failed"),
            _ if pods::is_ready(self.object) => self.ready("running"),
            phase => self.on_the_way(if phase.is_empty() { "accepted" } else { phase }.to_lowercase()),
        };
        self.judge_pods(&mut assessment, |_| vec![self.object]);
        if phase == "Failed" {
            // Nobody makes another one.
            assessment.progress = Progress::Failed;
            assessment.troubles.iter_mut().for_each(|trouble| trouble.severity = Severity::AtOnce);
        }
        assessment.state = pods::state(self.object).to_string();
        assessment
    }

    /// Adds what is wrong with a workload's newest pods, and lets those that have just started settle.
    fn judge_pods<'w>(&'w self, assessment: &mut Assessment, pods: impl FnOnce(&'w World) -> Vec<&'w Object>) {
        let pods = pods(self.world);
        let current = pods.iter().filter(|pod| !pod.is_terminating());
        for pod in current.clone() {
            assessment.troubles.extend(pods::troubles(pod, self.world, self.rules, self.now));
        }
        if assessment.progress == Progress::Ready {
            let settled_at = current.filter_map(|pod| pods::settles_at(pod, self.rules, self.now)).max();
            let crashing = assessment.troubles.iter().any(|trouble| trouble.severity != Severity::Slow);
            if settled_at.is_some() || crashing {
                assessment.progress = Progress::Progressing;
                assessment.state = format!("{:?}", Progress::Progressing);
                if !crashing {
                    assessment.detail.push_str(", just started");
                }
                assessment.look_again = settled_at;
            }
        }
    }

    /// The pods that the API server would not take, for controllers that tell it by events alone.
    fn refused_pods(&self) -> Option<Trouble> {
        let event = self.world.event(self.object, &["FailedCreate"])?;
        // The event stays for an hour; only one that is newer than the last change counts.
        let fresh = event_time(event) >= self.object.created();
        let asked = self.count("desiredNumberScheduled").max(self.object.number("/spec/replicas").unwrap_or(1));
        let there = self.world.pods_of(self.object.uid()).count();
        (fresh && i64::try_from(there).unwrap_or(i64::MAX) < asked).then(|| refused(event.text("/message")))
    }
}

/// Pods that the API server will not take.
fn refused(message: &str) -> Trouble {
    let (cause, severity) = if message.contains("exceeded quota") {
        (Cause::Quota, Severity::AtOnce)
    } else if message.contains("denied the request") || message.contains("admission webhook") {
        (Cause::Admission, Severity::AtOnce)
    } else if message.contains("failed calling webhook") || message.contains("being terminated") {
        // The webhook's own pods may still be on their way.
        (Cause::Admission, Severity::AfterGrace)
    } else {
        (Cause::Create, Severity::AtOnce)
    };
    Trouble::new(cause, severity, message)
}
