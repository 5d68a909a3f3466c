//! What peers did, good and bad, until whoever judges them asks.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use smol::channel::{Receiver, Sender, bounded};

use crate::{content::NodeId, limits::network::PEERS};

/// What one peer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deed {
    /// Bytes that it sent and that proved right.
    pub verified_bytes: u64,
    /// How often it sent bytes that proved wrong.
    pub corrupt: u32,
    /// How often it broke the rules otherwise.
    pub violations: u32,
    /// How often it took too long.
    pub timeouts: u32,
}

/// What all peers did since it was asked last. Sums, so that a peer costs the same whatever it does; of more than [`PEERS`] at
/// a time the rest is lost.
pub struct Deeds {
    of: Mutex<BTreeMap<NodeId, Deed>>,
    /// Full while there are any.
    any: (Sender<()>, Receiver<()>),
    /// Of all, since the beginning.
    verified_bytes: AtomicU64,
}

impl Default for Deeds {
    fn default() -> Self {
        Self { of: Mutex::default(), any: bounded(1), verified_bytes: AtomicU64::new(0) }
    }
}

impl Deeds {
    /// The peer sent so many bytes that proved right.
    pub fn verified(&self, peer: NodeId, bytes: u64) {
        self.verified_bytes.fetch_add(bytes, Relaxed);
        self.add(peer, |deed| deed.verified_bytes = deed.verified_bytes.saturating_add(bytes));
    }

    /// Bytes from all peers that proved right, since the beginning.
    pub fn verified_bytes(&self) -> u64 {
        self.verified_bytes.load(Relaxed)
    }

    /// The peer sent bytes that proved wrong.
    pub fn corrupt(&self, peer: NodeId) {
        self.add(peer, |deed| deed.corrupt = deed.corrupt.saturating_add(1));
    }

    /// The peer broke the rules.
    pub fn violation(&self, peer: NodeId) {
        self.add(peer, |deed| deed.violations = deed.violations.saturating_add(1));
    }

    /// The peer took too long.
    pub fn timeout(&self, peer: NodeId) {
        self.add(peer, |deed| deed.timeouts = deed.timeouts.saturating_add(1));
    }

    fn add(&self, peer: NodeId, add: impl FnOnce(&mut Deed)) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.len() < PEERS || of.contains_key(&peer) {
            add(of.entry(peer).or_default());
        }
        drop(of);
        // Full: it was said already.
        let _ = self.any.0.try_send(());
    }

    /// Waits until there are any.
    pub async fn any(&self) {
        // It never closes: the other end is here.
        let _ = self.any.1.recv().await;
    }

    /// All since this was called last.
    pub fn take(&self) -> BTreeMap<NodeId, Deed> {
        std::mem::take(&mut self.of.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_are_summed_and_bounded() {
        let deeds = Deeds::default();
        for number in 0..2 * PEERS {
            let mut node = NodeId([0; 32]);
            node.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
            deeds.verified(node, 10);
            deeds.verified(node, 5);
            deeds.timeout(node);
        }
        smol::block_on(deeds.any());
        let taken = deeds.take();
        assert_eq!(taken.len(), PEERS);
        assert_eq!(deeds.verified_bytes(), 2 * PEERS as u64 * 15);
        let expected = Deed { verified_bytes: 15, timeouts: 1, ..Deed::default() };
        assert!(taken.values().all(|deed| *deed == expected));
        assert!(deeds.take().is_empty());
        let peer = NodeId([1; 32]);
        deeds.corrupt(peer);
        deeds.violation(peer);
        smol::block_on(deeds.any());
        assert_eq!(deeds.take()[&peer], Deed { corrupt: 1, violations: 1, ..Deed::default() });
    }
}
