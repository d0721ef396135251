//! What the state machines of the model have in common.
//!
//! A machine is a set of states and the edges between them. What we see of a cluster are moments: between two of them
//! an object may have gone through several states. A [`Tracker`] turns moments into transitions along the edges, so that
//! whoever follows them sees only steps that the model knows.

use std::collections::VecDeque;
use std::fmt::{Debug, Display};

use serde::Serialize;

/// A state of a machine.
pub trait Machine: Copy + Eq + Debug + Display + 'static {
    /// The edges: from which state to which.
    const EDGES: &'static [(Self, Self)];

    /// The shortest way along the edges, without its start. Empty when there is none, or none is needed.
    fn route(from: Self, to: Self) -> Vec<Self> {
        let mut ways = VecDeque::from([vec![from]]);
        let mut seen = vec![from];
        while let Some(way) = ways.pop_front() {
            let Some(&here) = way.last() else { continue };
            if here == to {
                return way.into_iter().skip(1).collect();
            }
            for (_, next) in Self::EDGES.iter().filter(|(start, _)| *start == here) {
                if !seen.contains(next) {
                    seen.push(*next);
                    let mut longer = way.clone();
                    longer.push(*next);
                    ways.push_back(longer);
                }
            }
        }
        Vec::new()
    }
}

/// A step from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Transition<S> {
    /// The state before.
    pub from: S,
    /// The state now.
    pub to: S,
}

/// Follows one object through its states.
#[derive(Debug, Clone, Copy)]
pub struct Tracker<S> {
    state: S,
}

impl<S: Machine> Tracker<S> {
    /// Follows an object that is first seen in `state`.
    pub fn new(state: S) -> Self {
        Self { state }
    }

    /// The state seen last.
    pub fn state(&self) -> S {
        self.state
    }

    /// The object is seen in `to`: which transitions it made since. Where the model knows no way, the jump is one
    /// transition: the cluster is right, even when it surprises us.
    pub fn see(&mut self, to: S) -> Vec<Transition<S>> {
        if to == self.state {
            return Vec::new();
        }
        let mut route = S::route(self.state, to);
        if route.is_empty() {
            route.push(to);
        }
        route
            .into_iter()
            .map(|next| {
                let transition = Transition { from: self.state, to: next };
                self.state = next;
                transition
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::PodState::{self, CrashLoopBackOff, Deleted, Failed, Pending, Running, Terminating};

    #[test]
    fn moments_become_steps_along_the_edges() {
        let mut pod = Tracker::new(Pending);
        let steps =
            |pod: &mut Tracker<PodState>, to| pod.see(to).iter().map(|step| (step.from, step.to)).collect::<Vec<_>>();
        assert_eq!(steps(&mut pod, CrashLoopBackOff), [(Pending, Running), (Running, CrashLoopBackOff)]);
        assert_eq!(steps(&mut pod, CrashLoopBackOff), []);
        assert_eq!(steps(&mut pod, Deleted), [(CrashLoopBackOff, Terminating), (Terminating, Deleted)]);
        assert_eq!(steps(&mut pod, Failed), [(Deleted, Failed)]);
    }
}
