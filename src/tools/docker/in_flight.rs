//! Layers that are on their way to a store. Two images that share a large layer bring it once: the second one waits for the
//! first, and then finds the layer there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The layers that are on their way to one store.
#[derive(Debug, Default)]
pub(in crate::tools) struct InFlight {
    layers: Mutex<HashSet<String>>,
    ended: Notify,
}

/// Layers that one image brings. They are on their way until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    to: Arc<InFlight>,
    layers: Vec<String>,
}

impl InFlight {
    /// Claims layers. When another image brings some of them already, waits until that one has come to its end, and claims
    /// nothing: the caller has to look again at what is missing.
    pub(super) async fn claim(self: &Arc<Self>, layers: Vec<String>) -> Option<Claim> {
        let ended = self.ended.notified();
        {
            let mut known = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
            if !layers.iter().any(|layer| known.contains(layer)) {
                known.extend(layers.iter().cloned());
                return Some(Claim { to: Arc::clone(self), layers });
            }
        }
        ended.await;
        None
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut known = self.to.layers.lock().unwrap_or_else(PoisonError::into_inner);
        self.layers.iter().for_each(|layer| {
            known.remove(layer);
        });
        drop(known);
        self.to.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[tokio::test]
    async fn image_that_shares_a_layer_waits_for_the_other_one() {
        let to = Arc::new(InFlight::default());
        let first = to.claim(layers(&["base", "a"])).await.unwrap();
        let other = to.claim(layers(&["b"])).await.unwrap();
        let waiting = tokio::spawn({
            let to = Arc::clone(&to);
            async move { to.claim(layers(&["base", "c"])).await.is_none() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap());
        // The base is there now; what is still missing can be claimed.
        assert!(to.claim(layers(&["base", "c"])).await.is_some());
        drop(other);
    }
}
