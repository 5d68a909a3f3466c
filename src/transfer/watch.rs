//! Telling a peer what is here of a blob, and what comes.

use std::time::{Duration, Instant};

use event_listener::EventListener;
use futures::FutureExt;
use smol::Timer;

use crate::{
    clock,
    content::ContentId,
    limits::wire::{HAVE_INTERVAL_MS, HAVE_RANGES},
    store::{Holding, Store, StoreError},
    wire::{
        Frame,
        blob::{Have, Range, Reply},
    },
};

/// A blob that a peer watches.
pub(super) struct Watching {
    id: ContentId,
    store: Store,
    holding: Holding,
    /// Ready when there may be more than was looked at.
    news: EventListener,
    /// When the next look is due, if there is more.
    next_at: Instant,
    has_more: bool,
    has_told: bool,
}

impl Watching {
    pub(super) fn new(store: &Store, id: ContentId) -> Self {
        Self {
            id,
            store: store.clone(),
            holding: store.holding(id),
            news: store.news(),
            next_at: clock::now(),
            has_more: true,
            has_told: false,
        }
    }

    /// Waits until a look is due.
    pub(super) async fn due(&mut self) {
        if !self.has_more {
            (&mut self.news).await;
            self.has_more = true;
        }
        Timer::at(self.next_at).await;
    }

    /// What is to be told now, if anything is. Blocks.
    pub(super) fn look(&mut self) -> Result<Option<Frame>, StoreError> {
        let now = clock::now();
        if now < self.next_at || (!self.has_more && (&mut self.news).now_or_never().is_none()) {
            return Ok(None);
        }
        // What comes while it is looked at is looked at again.
        self.news = self.store.news();
        let ranges = self.holding.more(HAVE_RANGES)?;
        self.has_more = ranges.len() == HAVE_RANGES;
        if !self.has_more {
            self.next_at = now + Duration::from_millis(HAVE_INTERVAL_MS);
        }
        let is_told = self.has_told && ranges.is_empty();
        self.has_told = true;
        let ranges = ranges.into_iter().map(|it| Range { start: it.start, len: it.end - it.start }).collect();
        let have = Have { id: self.id, size: self.holding.size(), ranges };
        Ok((!is_told).then(|| Reply::Have(have).into_frame()))
    }

    /// Whether there is nothing more to come.
    pub(super) fn is_over(&self) -> bool {
        self.holding.is_whole()
    }
}
