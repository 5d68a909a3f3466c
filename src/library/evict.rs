//! Making room: what was only read goes first (`cache`). What publishers have withdrawn is kept only as long as nobody needs its room, and goes by last use. What they
//! offer is never deleted for that.

use std::{
    collections::{BTreeSet, BinaryHeap},
    path::PathBuf,
    sync::PoisonError,
    time::SystemTime,
};

use super::{Item, Library, LibraryError, Summary, editions, manifest::Items};
use crate::{
    content::ContentId,
    limits::library::EVICT_ITEMS,
    store::{BlobState, StoreError},
};

/// An item that may go. In the order of their last use.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    used: SystemTime,
    bytes: u64,
    path: String,
    id: ContentId,
    files: Vec<(ContentId, PathBuf)>,
    /// Which collection kept it.
    collection: usize,
}

impl Library {
    /// Whether so many more bytes have room, for which items go that nobody offers any more; none does if all of them would
    /// not do.
    pub(super) fn make_room(&self, bytes: u64) -> Result<bool, LibraryError> {
        let _evicting = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let missing_bytes = match self.store.check_room(bytes) {
                Ok(()) => return Ok(true),
                Err(StoreError::NoSpace { missing_bytes, .. } | StoreError::OverQuota { missing_bytes, .. }) => {
                    missing_bytes
                }
                Err(error) => return Err(error.into()),
            };
            if self.evict_cached(missing_bytes)? > 0 {
                continue;
            }
            let kept = self.collections();
            let (oldest, all_bytes) = self.least_recently_used(&kept, missing_bytes)?;
            if oldest.is_empty() || all_bytes < missing_bytes {
                return Ok(false);
            }
            self.evict(&kept, oldest)?;
        }
    }

    /// Of the items that nobody offers any more those that were not used for longest, enough for so many bytes but at most
    /// [`EVICT_ITEMS`]; and the bytes of all.
    fn least_recently_used(
        &self,
        kept: &[Summary],
        missing_bytes: u64,
    ) -> Result<(BinaryHeap<Candidate>, u64), LibraryError> {
        let (mut oldest, mut bytes, mut all_bytes) = (BinaryHeap::new(), 0, 0);
        for (collection, summary) in kept.iter().enumerate() {
            for item in Items::of(self.kept(&summary.key)?) {
                let Some(candidate) = self.candidate(collection, &summary.folder, item?)? else { continue };
                all_bytes += candidate.bytes;
                bytes += candidate.bytes;
                oldest.push(candidate);
                let is_spare = |newest: &Candidate| bytes - newest.bytes >= missing_bytes || oldest.len() > EVICT_ITEMS;
                if oldest.peek().is_some_and(is_spare) {
                    bytes -= oldest.pop().map_or(0, |newest| newest.bytes);
                }
            }
        }
        Ok((oldest, all_bytes))
    }

    /// None if its bytes are not here, or have a name that another item or the owner gave them.
    fn candidate(&self, collection: usize, folder: &str, item: Item) -> Result<Option<Candidate>, LibraryError> {
        let Some(info) = self.store.info(&item.id)?.filter(|info| info.state == BlobState::Complete) else {
            return Ok(None);
        };
        let names: Vec<_> = editions::files_of(self, folder, &item).collect();
        if !info.paths.iter().all(|path| names.iter().any(|(_, name)| name == path)) {
            return Ok(None);
        }
        let used = info.paths.iter().filter_map(|path| path.metadata().and_then(|file| file.accessed()).ok()).max();
        let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
        let files = info.paths.into_iter().map(|path| (item.id, path)).collect();
        let (path, id) = (item.path.into_string(), item.id);
        Ok(Some(Candidate { used, bytes: item.size, path, id, files, collection }))
    }

    /// They are listed no more first: files that a power cut leaves behind are swept away at the next start.
    fn evict(&self, kept: &[Summary], items: BinaryHeap<Candidate>) -> Result<(), LibraryError> {
        let items = items.into_vec();
        for (collection, summary) in kept.iter().enumerate() {
            let mine = || items.iter().filter(|it| it.collection == collection);
            let gone: BTreeSet<_> = mine().map(|it| (&*it.path, it.id)).collect();
            if gone.is_empty() {
                continue;
            }
            self.set_unfinished(&summary.key, true)?;
            self.prune_kept(&summary.key, &mut |item| !gone.contains(&(&*item.path, item.id)))?;
            self.store.remove(&mine().flat_map(|it| it.files.clone()).collect::<Vec<_>>())?;
            self.set_unfinished(&summary.key, false)?;
            log::info!("{} withdrawn files of {:?} made room", gone.len(), summary.name);
        }
        Ok(())
    }
}
