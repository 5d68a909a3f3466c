//! What all streams that are served share: slots, limits, and the account of what was sent.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{
    limiter::{Limiter, Meter},
    slots::{Paused, Slots},
    throttle::Priority,
};
use crate::{clock, content::NodeId};

/// The upload slots of a node, and what it has sent: one for all blob streams. Clones share the slots.
#[derive(Clone)]
pub struct Uploads {
    shared: Arc<Shared>,
    /// Who gets what is sent.
    peer: NodeId,
    /// A slot is only taken if many are free, and given back with each pause.
    is_throttled: bool,
}

struct Shared {
    slots: Mutex<Slots>,
    sent_bytes: AtomicU64,
    limiter: Limiter,
}

/// A slot, given back when it is dropped.
pub(super) struct Slot {
    shared: Arc<Shared>,
    peer: NodeId,
    taken: Instant,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.slots().give_back(self.peer);
    }
}

impl Slot {
    /// Whether it is another's turn.
    pub fn is_over(&self) -> bool {
        self.shared.slots().is_over(clock::now(), self.peer, self.taken)
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uploads {
    /// At most `slots` streams are sent content at a time, normally
    /// [`UPLOAD_SLOTS`](crate::limits::transfer::UPLOAD_SLOTS).
    pub fn new(slots: usize) -> Self {
        let slots = Mutex::new(Slots::new(slots));
        let shared = Shared { slots, sent_bytes: AtomicU64::new(0), limiter: Limiter::default() };
        Self { shared: Arc::new(shared), peer: NodeId([0; 32]), is_throttled: false }
    }

    /// The same slots, for a stream of this peer.
    pub fn of(&self, peer: NodeId) -> Self {
        Self { peer, ..self.clone() }
    }

    /// The same slots, for a peer that gets one only while others leave more than half of them, and less of a limited rate.
    pub fn throttled(self) -> Self {
        Self { is_throttled: true, ..self }
    }

    /// So many slots from now on.
    pub fn set_slots(&self, slots: usize) {
        self.shared.slots().set_count(slots);
    }

    /// These peers are sent nothing from now on: what was begun is sent to the end of the answer.
    pub fn set_paused(&self, paused: Paused) {
        self.shared.slots().set_paused(paused);
    }

    /// What bounds the rate of all that is sent.
    pub fn limiter(&self) -> &Limiter {
        &self.shared.limiter
    }

    /// Bytes of content, without hashes and heads, that were sent since the start.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Relaxed)
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        self.shared.sent_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.is_throttled
    }

    pub(super) fn meter(&self) -> Meter {
        self.limiter().meter(self.peer, if self.is_throttled { Priority::Low } else { Priority::Normal })
    }

    pub(super) fn take(&self) -> Option<Slot> {
        let (mut slots, now) = (self.shared.slots(), clock::now());
        let is_taken = match self.is_throttled {
            true => slots.take_spare(now, self.peer),
            false => slots.take(now, self.peer),
        };
        is_taken.then(|| Slot { shared: self.shared.clone(), peer: self.peer, taken: now })
    }
}
