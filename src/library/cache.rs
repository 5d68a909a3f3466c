//! Room for what is here only because somebody read it: what was not read for longest makes room for what is read now, and all
//! of it for what is mirrored.

use std::sync::PoisonError;

use super::{Library, LibraryError};
use crate::{content::ContentId, limits::store::CACHED, store::Cached};

impl Library {
    /// Whether a blob of so many bytes has room among what is read, which may take `cache_bytes`.
    pub(super) fn make_cache_room(&self, id: &ContentId, bytes: u64, cache_bytes: u64) -> Result<bool, LibraryError> {
        {
            let _evicting = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
            let mut cached = self.store.cached()?;
            cached.retain(|it| it.id != *id);
            let taken_bytes: u64 = cached.iter().map(|it| it.bytes).sum();
            cached.retain(|it| !it.is_busy);
            cached.sort_unstable();
            let missing_bytes = taken_bytes.saturating_add(bytes).saturating_sub(cache_bytes);
            // Of many small ones, looking through them takes longest.
            let spare = cached.len().saturating_sub(CACHED - 1);
            let spare_bytes: u64 = cached[..spare].iter().map(|it| it.bytes).sum();
            if cached.iter().map(|it| it.bytes).sum::<u64>() < missing_bytes {
                return Ok(false);
            }
            self.evict_first(&cached, missing_bytes.max(spare_bytes))?;
        }
        self.make_room(self.store.room_for(id, bytes)?)
    }

    /// Deletes so many bytes of what was read, or all of it; how many. For who holds the lock of evictions.
    pub(super) fn evict_cached(&self, missing_bytes: u64) -> Result<u64, LibraryError> {
        let mut cached = self.store.cached()?;
        cached.retain(|it| !it.is_busy);
        cached.sort_unstable();
        self.evict_first(&cached, missing_bytes)
    }

    fn evict_first(&self, cached: &[Cached], missing_bytes: u64) -> Result<u64, LibraryError> {
        let mut freed_bytes = 0;
        for it in cached {
            if freed_bytes >= missing_bytes {
                break;
            }
            self.store.evict(&it.id)?;
            log::info!("{} was read from another node and made room", it.id);
            freed_bytes += it.bytes;
        }
        Ok(freed_bytes)
    }
}
