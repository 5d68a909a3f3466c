//! Large blobs that are fetched: those that are large enough, from several peers together.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Mutex, PoisonError, Weak},
};

use smol::lock::{OnceCell, Semaphore, SemaphoreGuardArc};

use super::{Arc, Follower, claims::Claim};
use crate::{
    content::ContentId,
    limits::{follow::LARGE_LANES, transfer::SHARED_BYTES},
    transfer::Swarm,
};

/// The large blobs that are fetched.
pub(super) struct Swarms {
    /// All of them, whether from several peers or not: a reader joins any.
    all: Mutex<BTreeMap<ContentId, Weak<Claimed>>>,
    /// So many are fetched at a time: one that has begun ends before another begins.
    places: Arc<Semaphore>,
}

impl Default for Swarms {
    fn default() -> Self {
        Self { all: Mutex::default(), places: Arc::new(Semaphore::new(LARGE_LANES)) }
    }
}

/// A swarm, for as long as anybody fetches.
pub(super) struct Claimed {
    swarm: Swarm,
    place: OnceCell<SemaphoreGuardArc>,
    _claim: Claim<ContentId>,
}

impl Claimed {
    /// Waits until its turn has come, if there are too many.
    pub(super) async fn begin(&self, swarms: &Swarms) {
        self.place.get_or_init(|| swarms.places.acquire_arc()).await;
    }
}

impl Deref for Claimed {
    type Target = Swarm;

    fn deref(&self) -> &Swarm {
        &self.swarm
    }
}

impl Follower {
    /// A place among those that fetch a large blob; none if others are at it, and it is not shared.
    pub(super) fn join(&self, id: ContentId, size: u64) -> Option<Arc<Claimed>> {
        let swarm = self.join_reading(id, size)?;
        let is_shared = size >= SHARED_BYTES || Arc::strong_count(&swarm) == 1;
        (swarm.size() == size && is_shared && swarm.is_open()).then_some(swarm)
    }

    /// The same for a reader, who may always join; none if a batch of small files is at it.
    pub(super) fn join_reading(&self, id: ContentId, size: u64) -> Option<Arc<Claimed>> {
        let mut swarms = self.swarms.all.lock().unwrap_or_else(PoisonError::into_inner);
        swarms.retain(|_, swarm| swarm.strong_count() > 0);
        if let Some(swarm) = swarms.get(&id).and_then(Weak::upgrade) {
            return Some(swarm);
        }
        let claim = self.blobs.claim(id)?;
        let swarm = Swarm::new(Arc::clone(self.library.store()), self.library.node_id(), id, size);
        let swarm = Arc::new(Claimed { swarm, place: OnceCell::new(), _claim: claim });
        swarms.insert(id, Arc::downgrade(&swarm));
        Some(swarm)
    }
}
