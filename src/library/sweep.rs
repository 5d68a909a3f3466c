//! Taking away what work that was cut short left behind: files that were taken in and never listed, or that are listed no
//! more and were not yet removed; and downloads of what nobody lists.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{Item, Library, LibraryError, editions, state::Record};
use crate::{
    content::{CollectionKey, ContentId},
    store::StoreError,
};

/// A collection in which work was cut short, and what it lists.
struct Marked {
    key: CollectionKey,
    folder: String,
    ids: HashSet<ContentId>,
    /// Hashes of ids and the names that their files may have: a set of the names would be large.
    files: HashSet<u64>,
    /// The same of names that they have only while they have none of those.
    waiting: HashSet<u64>,
    hasher: RandomState,
    /// Folders and files that it shares in place.
    sources: Vec<PathBuf>,
    /// Those of the other collections of this node.
    others: Vec<PathBuf>,
}

/// Files of a blob.
type Files = BTreeSet<(ContentId, PathBuf)>;

impl Library {
    /// Takes away what an `add`, an `rm` or a fetch that was cut short left behind. For a node that starts: nothing else goes
    /// on.
    pub fn sweep(&self) -> Result<(), LibraryError> {
        self.store.check_library()?;
        let (library, found) = (self.store.library(), self.store.found());
        let is_left = |record: &Record| {
            record.unfinished || found.iter().any(|path| path.starts_with(library.join(&record.folder)))
        };
        let records = self.lock().records.clone();
        let mut marked = Vec::new();
        for (key, record) in records.into_iter().filter(|(_, record)| !record.folder.is_empty() && is_left(record)) {
            if record.unwanted {
                self.drop_mirror(&key)?;
            } else if record.floor > 0 && self.summary(&key).is_none() {
                // Its manifest is damaged or gone: nobody knows what it lists.
                continue;
            }
            log::info!("taking away what work that was cut short left of {:?}", record.folder);
            marked.push(self.marked(key, record.folder)?);
        }
        if !marked.is_empty() {
            let (left, waiting) = self.look(&marked)?;
            self.store.remove(&left.into_iter().collect::<Vec<_>>())?;
            self.put_back(&marked, &waiting)?;
        }
        for Marked { key, .. } in &marked {
            self.finish_edits(key)?;
            self.set_unfinished(key, false)?;
        }
        self.discard_unlisted()
    }

    /// Writes down that work on a collection is under way, or done; the mark goes when all is done.
    pub(super) fn set_unfinished(&self, key: &CollectionKey, unfinished: bool) -> Result<(), LibraryError> {
        if self.record(key).is_none() {
            return Ok(());
        }
        self.count_work(key, unfinished);
        // Whoever writes last sees how many there are then.
        self.put_record(key, |record| record.unfinished = self.lock().at_work.get(key).is_some_and(|count| *count > 0))
    }

    /// Counts as held what has come of items that were listed in this version, or in a later one, and takes away what came of
    /// those, or of their download, that were withdrawn or refused meanwhile. `came`: each with whether all of it is here.
    pub(super) fn put_in_order(
        &self,
        key: &CollectionKey,
        version: u64,
        came: &[(Item, bool)],
    ) -> Result<(), LibraryError> {
        // No version comes between the look and the removal.
        let _writing = self.start_writing();
        let is_same = self.summary(key).is_some_and(|it| it.version == version);
        let mut lists = if is_same { [None, None] } else { [self.manifest(key)?, self.kept(key)?] };
        let notes = self.notes(key)?;
        for (item, is_whole) in came {
            let mut is_listed = is_same;
            for list in lists.iter_mut().flatten() {
                is_listed |= list.item(&item.path)?.is_some_and(|listed| listed.id == item.id);
            }
            if !is_listed || notes.is_unwanted(&item.path) {
                self.store.remove(&editions::files_of(self, &notes.record().folder, item).collect::<Vec<_>>())?;
                match self.store.discard(&item.id) {
                    Ok(()) | Err(StoreError::Busy(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            } else if *is_whole && is_same {
                // A version that came meanwhile may have counted it.
                self.count_held(key, item.size);
            }
        }
        Ok(())
    }

    /// Gives up the downloads of what a collection lists, or of its item of this path alone, and deletes what came of them. Those
    /// that are under way stay: how many.
    pub fn give_up(&self, key: &CollectionKey, path: Option<&str>) -> Result<usize, LibraryError> {
        let begun: BTreeSet<ContentId> = self.store.begun().into_iter().collect();
        let mut busy = 0;
        if begun.is_empty() || !self.lock().listed.contains_key(key) {
            return Ok(busy);
        }
        for item in self.all_items(key)? {
            let (item, _) = item?;
            if begun.contains(&item.id) && path.is_none_or(|path| *item.path == *path) {
                match self.store.discard(&item.id) {
                    Err(StoreError::Busy(_)) => busy += 1,
                    other => other?,
                }
            }
        }
        Ok(busy)
    }

    /// Counts that one more is at work on a collection, or one less.
    pub(super) fn count_work(&self, key: &CollectionKey, begins: bool) {
        let mut state = self.lock();
        let at_work = state.at_work.entry(*key).or_default();
        *at_work = if begins { *at_work + 1 } else { at_work.saturating_sub(1) };
    }

    /// The files of these collections that nobody lists, and those that are not under their own name.
    fn look(&self, marked: &[Marked]) -> Result<(Files, Files), LibraryError> {
        let library = self.store.library();
        let (mut left, mut waiting) = (Files::new(), Files::new());
        self.store.for_each(&mut |id, info| {
            for collection in marked {
                collection.sort_out(&library, &id, &info.paths, &mut left, &mut waiting);
            }
            ControlFlow::Continue(())
        })?;
        Ok((left, waiting))
    }

    /// Gives copies their own names again that waited for a version which is not to come.
    fn put_back(&self, marked: &[Marked], waiting: &Files) -> Result<(), LibraryError> {
        let library = self.store.library();
        if waiting.is_empty() {
            return Ok(());
        }
        for collection in marked {
            for item in self.all_items(&collection.key)? {
                let (item, offered) = item?;
                let name = editions::waiting_path(&collection.folder, &item.path, &item.id);
                let file = name.map(|name| (item.id, library.join(name.as_str())));
                let Some(file) = file.filter(|file| offered && waiting.contains(file)) else { continue };
                let Some(to) = editions::free_name(self, &collection.folder, &item.path) else { continue };
                match self.store.place(&item.id, &to) {
                    Ok(()) => self.store.remove(&[file])?,
                    Err(error) => log::warn!("{}: {error}", item.path),
                }
            }
        }
        Ok(())
    }

    fn marked(&self, key: CollectionKey, folder: String) -> Result<Marked, LibraryError> {
        let notes = self.notes(&key)?;
        let mut marked = Marked {
            key,
            folder,
            ids: HashSet::new(),
            files: HashSet::new(),
            waiting: HashSet::new(),
            hasher: RandomState::new(),
            sources: notes.sources().into_values().collect(),
            others: self.other_sources(&key)?,
        };
        for item in self.all_items(&key)? {
            let (item, _) = item?;
            if notes.is_unwanted(&item.path) {
                continue;
            }
            let folder = &marked.folder;
            for name in editions::own_names(folder, &item.path) {
                marked.files.insert(marked.hasher.hash_one((item.id, Path::new(name.as_str()))));
            }
            if let Some(waiting) = editions::waiting_path(folder, &item.path, &item.id) {
                marked.waiting.insert(marked.hasher.hash_one((item.id, Path::new(waiting.as_str()))));
            }
            marked.ids.insert(item.id);
        }
        Ok(marked)
    }

    /// Gives up the downloads of what no collection lists, or is not wanted.
    fn discard_unlisted(&self) -> Result<(), LibraryError> {
        let mut begun: BTreeSet<ContentId> = self.store.begun().into_iter().collect();
        let (keys, is_whole) = {
            let state = self.lock();
            let keys: Vec<CollectionKey> = state.listed.keys().copied().collect();
            let mut lost = state.records.iter().filter(|(key, it)| !it.unwanted && !state.listed.contains_key(key));
            (keys, lost.all(|(_, it)| it.floor == 0))
        };
        for key in keys {
            if begun.is_empty() {
                return Ok(());
            }
            let notes = self.notes(&key)?;
            for item in self.all_items(&key)? {
                let (item, _) = item?;
                if !notes.is_unwanted(&item.path) {
                    begun.remove(&item.id);
                }
            }
        }
        // Of a collection whose manifest is damaged nobody knows what it lists.
        begun.iter().filter(|_| is_whole).try_for_each(|id| Ok(self.store.discard(id)?))
    }
}

impl Marked {
    fn has(&self, among: &HashSet<u64>, id: &ContentId, library: &Path, path: &Path) -> bool {
        path.strip_prefix(library).is_ok_and(|below| among.contains(&self.hasher.hash_one((id, below))))
    }

    /// Adds those of a blob's files that are this collection's and that it does not list to `left`, and those that have
    /// not their own name to `waiting`.
    fn sort_out(&self, library: &Path, id: &ContentId, paths: &[PathBuf], left: &mut Files, waiting: &mut Files) {
        let (ours, elsewhere): (Vec<_>, Vec<_>) =
            paths.iter().partition(|path| path.starts_with(library.join(&self.folder)));
        let has_good = ours.iter().any(|path| self.has(&self.files, id, library, path));
        for path in ours.into_iter().filter(|path| !self.has(&self.files, id, library, path)) {
            let waits = !has_good && self.has(&self.waiting, id, library, path);
            if waits { &mut *waiting } else { &mut *left }.insert((*id, path.clone()));
        }
        // Files that are shared in place are only forgotten.
        let is_below = |path: &PathBuf, folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
        let is_left = |path: &&PathBuf| {
            !path.starts_with(library) && is_below(path, &self.sources) && !is_below(path, &self.others)
        };
        if !self.ids.contains(id) {
            left.extend(elsewhere.into_iter().filter(is_left).map(|path| (*id, path.clone())));
        }
    }
}
