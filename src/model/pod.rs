//! Pods and their states.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::machine::Machine;

/// The state of a pod: *Pending -> Running -> Terminating -> Deleted*, *Pending -> Failed*, *Running ->
/// CrashLoopBackOff*, and what real clusters add to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum PodState {
    /// Accepted, but not all of its containers run yet.
    Pending,
    /// Its containers run.
    Running,
    /// A container keeps ending and is being held back before its next start.
    CrashLoopBackOff,
    /// Its containers have ended well and will not run again, as those of a job do.
    Succeeded,
    /// It has ended badly, or can never start.
    Failed,
    /// Its deletion was asked for.
    Terminating,
    /// It is gone.
    Deleted,
}

impl Machine for PodState {
    const EDGES: &'static [(Self, Self)] = {
        use PodState::{CrashLoopBackOff, Deleted, Failed, Pending, Running, Succeeded, Terminating};
        &[
            (Pending, Running),
            (Pending, Failed),
            (Pending, Terminating),
            (Running, CrashLoopBackOff),
            (Running, Succeeded),
            (Running, Failed),
            (Running, Terminating),
            (CrashLoopBackOff, Running),
            (CrashLoopBackOff, Failed),
            (CrashLoopBackOff, Terminating),
            (Succeeded, Terminating),
            (Failed, Terminating),
            // A pod that could not be started for want of an image, say, starts when the image appears.
            (Failed, Running),
            (Terminating, Deleted),
        ]
    };
}

impl fmt::Display for PodState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A pod as `status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What made it: `Deployment todo-backend`.
    pub owner: String,
    /// Its state.
    pub state: PodState,
    /// How many of its containers are ready.
    pub ready: usize,
    /// How many containers it has.
    pub containers: usize,
    /// How often its containers were started again.
    pub restarts: i64,
    /// The node that it is on.
    pub node: String,
    /// Its address.
    pub ip: String,
    /// The images of its containers.
    pub images: Vec<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What is wrong with it, in plain words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What a pod's state follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodFacts<'a> {
    /// `status.phase`.
    pub phase: &'a str,
    /// Whether its deletion was asked for.
    pub terminating: bool,
    /// Whether a container waits with the reason `CrashLoopBackOff`, or has just ended after earlier restarts.
    pub crashing: bool,
    /// Whether a container can never start as things are: its image or its configuration is not there.
    pub cannot_start: bool,
}

impl PodState {
    /// The state that follows from the facts.
    pub fn of(facts: &PodFacts<'_>) -> Self {
        match facts.phase {
            _ if facts.terminating => Self::Terminating,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ if facts.crashing => Self::CrashLoopBackOff,
            _ if facts.cannot_start => Self::Failed,
            "Running" => Self::Running,
            _ => Self::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_follows_from_the_facts() {
        let state = |phase, terminating, crashing, cannot_start| {
            PodState::of(&PodFacts { phase, terminating, crashing, cannot_start })
        };
        assert_eq!(state("Running", true, true, false), PodState::Terminating);
        assert_eq!(state("Running", false, true, false), PodState::CrashLoopBackOff);
        // An init container that crashes leaves its pod in the phase Pending.
        assert_eq!(state("Pending", false, true, false), PodState::CrashLoopBackOff);
        assert_eq!(state("Pending", false, false, true), PodState::Failed);
        assert_eq!(state("Pending", false, false, false), PodState::Pending);
        assert_eq!(state("", false, false, false), PodState::Pending);
        assert_eq!(state("Failed", false, true, false), PodState::Failed);
    }
}
