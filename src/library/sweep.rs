//! Taking away what work that was cut short left behind: files that were taken in and never listed, or that are listed no
//! more and were not yet removed.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{Library, LibraryError, editions, names, publish::copy_path, state::Record};
use crate::content::{CollectionKey, ContentId};

/// What a collection lists.
#[derive(Default)]
struct Expected {
    ids: HashSet<ContentId>,
    /// Hashes of ids and the names that their files may have: a set of the names would be large.
    files: HashSet<u64>,
    /// The same of names that they have only while they have none of those.
    waiting: HashSet<u64>,
    hasher: RandomState,
}

impl Library {
    /// Takes away what an `add` or `rm` that was cut short left behind. For a node that starts: nothing else goes on.
    pub fn sweep(&self) -> Result<(), LibraryError> {
        let (library, found) = (self.store.library(), self.store.found());
        let is_left = |record: &Record| {
            record.unfinished || found.iter().any(|path| path.starts_with(library.join(&record.folder)))
        };
        let records = self.lock().records.clone();
        for (key, record) in records.into_iter().filter(|(_, record)| !record.folder.is_empty() && is_left(record)) {
            if record.unwanted {
                self.drop_mirror(&key)?;
            } else if record.floor > 0 && self.summary(&key).is_none() {
                // Its manifest is damaged or gone: nobody knows what it lists.
                continue;
            }
            log::info!("taking away what work that was cut short left of {:?}", record.folder);
            self.sweep_collection(&key, &record.folder)?;
            self.set_unfinished(&key, false)?;
        }
        Ok(())
    }

    /// Writes down that work on a collection is under way, or done.
    pub(super) fn set_unfinished(&self, key: &CollectionKey, unfinished: bool) -> Result<(), LibraryError> {
        let Some(mut record) = self.record(key) else { return Ok(()) };
        record.unfinished = unfinished;
        self.put_record(key, &record)?;
        self.lock().records.insert(*key, record);
        Ok(())
    }

    fn sweep_collection(&self, key: &CollectionKey, folder: &str) -> Result<(), LibraryError> {
        let expected = self.expected(key, folder)?;
        let library = self.store.library();
        let sources: Vec<PathBuf> = self.notes(key)?.sources().into_values().collect();
        let others = self.other_sources(key)?;
        let mut left: Vec<(ContentId, PathBuf)> = Vec::new();
        self.store.for_each(&mut |id, info| {
            let (ours, elsewhere): (Vec<_>, Vec<_>) =
                info.paths.iter().partition(|path| path.starts_with(library.join(folder)));
            let is_good = |path: &&PathBuf| expected.has(&expected.files, &id, &library, path);
            let has_good = ours.iter().any(is_good);
            let is_waiting = |path: &&PathBuf| !has_good && expected.has(&expected.waiting, &id, &library, path);
            left.extend(ours.into_iter().filter(|it| !is_good(it) && !is_waiting(it)).map(|it| (id, it.clone())));
            // Files that are shared in place are only forgotten.
            let is_below = |path: &PathBuf, folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
            let is_left =
                |path: &&PathBuf| !path.starts_with(&library) && is_below(path, &sources) && !is_below(path, &others);
            if !expected.ids.contains(&id) {
                left.extend(elsewhere.into_iter().filter(is_left).map(|path| (id, path.clone())));
            }
            ControlFlow::Continue(())
        })?;
        Ok(self.store.remove(&left)?)
    }

    fn expected(&self, key: &CollectionKey, folder: &str) -> Result<Expected, LibraryError> {
        let mut expected = Expected::default();
        let notes = self.notes(key)?;
        for item in self.all_items(key)? {
            let (item, _) = item?;
            if notes.is_unwanted(&item.path) {
                continue;
            }
            let apart = format!("{folder}/{}", names::case_path(&item.path));
            for name in copy_path(folder, &item.path).iter().map(|path| path.as_str()).chain([&*apart]) {
                expected.files.insert(expected.hash(&item.id, Path::new(name)));
            }
            if let Some(waiting) = editions::waiting_path(folder, &item.path, &item.id) {
                expected.waiting.insert(expected.hash(&item.id, Path::new(waiting.as_str())));
            }
            expected.ids.insert(item.id);
        }
        Ok(expected)
    }
}

impl Expected {
    fn hash(&self, id: &ContentId, below_library: &Path) -> u64 {
        self.hasher.hash_one((id, below_library))
    }

    fn has(&self, among: &HashSet<u64>, id: &ContentId, library: &Path, path: &Path) -> bool {
        path.strip_prefix(library).is_ok_and(|below| among.contains(&self.hash(id, below)))
    }
}
