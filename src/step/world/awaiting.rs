//! What a run waits for at the moment, so that a wait of more than a moment can be named.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::World;

/// Everything that is waited for.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    now: Mutex<BTreeMap<String, usize>>,
}

impl Awaiting {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Every change is one insertion or removal.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something is waited for as long as this lives.
#[derive(Debug)]
pub(in crate::step) struct Awaited<'w> {
    world: &'w World,
    what: String,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let mut now = self.world.awaiting.lock();
        match now.get_mut(&self.what) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(now.remove(&self.what)),
        }
    }
}

impl World {
    /// Says that something is waited for, such as `the Docker Engine`.
    pub(in crate::step) fn await_for(&self, what: impl Into<String>) -> Awaited<'_> {
        let what = what.into();
        *self.awaiting.lock().entry(what.clone()).or_default() += 1;
        Awaited { world: self, what }
    }

    /// What is waited for: `waiting for the Docker Engine, the API server of minikube profile todo`. Nothing where that is
    /// not known.
    pub fn awaited(&self) -> Option<String> {
        let now = self.awaiting.lock();
        let names: Vec<_> = now.keys().map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("waiting for {}", names.join(", ")))
    }
}
