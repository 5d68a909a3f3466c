//! Taking items and collections away.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Library, LibraryError,
    apply::Own,
    editions,
    item::Item,
    manifest::delete,
    publish::{ancestors, item_path},
};
use crate::{
    content::{CollectionKey, ContentId},
    wire::Text,
};

/// What to take away of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remove {
    /// All of it.
    Collection,
    /// The item of this path, or all below it.
    Path(String),
    /// All items with these bytes.
    Id(ContentId),
}

/// What was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Items that are listed no more, or not wanted any more.
    pub items: u64,
    /// Their bytes; files that were shared in place stay where they are.
    pub bytes: u64,
}

impl Remove {
    fn covers(&self, item: &Item) -> bool {
        match self {
            Self::Collection => true,
            Self::Path(path) => {
                item.path.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Id(id) => item.id == *id,
        }
    }
}

impl Library {
    /// Takes items out of a collection of this node, with a new version; or the bytes of a mirrored one from this disk,
    /// which remembers that they are not wanted.
    pub fn remove(&self, key: &CollectionKey, what: &Remove) -> Result<Removed, LibraryError> {
        let summary = self.summary(key).ok_or(LibraryError::NoCollection)?;
        if !summary.mine {
            self.store.check_library()?;
        }
        self.store.make_room();
        let mut gone = Vec::new();
        let mut removed = Removed { items: 0, bytes: 0 };
        for found in self.all_items(key)? {
            let (item, _) = found?;
            if what.covers(&item) {
                removed.items += 1;
                removed.bytes += item.size;
                gone.push((item.path.into_string(), item.id));
            }
        }
        if gone.is_empty() && *what != Remove::Collection {
            return Err(LibraryError::NoItem);
        }
        self.set_unfinished(key, true)?;
        if summary.mine {
            let own = Own { key: *key, name: Text::cut(&summary.name), folder: summary.folder.clone() };
            self.publish(&own, &BTreeMap::new(), &mut |item| !what.covers(item))?;
        } else if *what == Remove::Collection {
            self.drop_mirror(key)?;
        } else {
            self.note(key, |notes| notes.refuse(gone.iter().map(|(path, _)| &**path)))?;
            self.prune_kept(key, &mut |item| !what.covers(item))?;
        }
        let sources = if summary.mine { self.notes(key)?.sources() } else { BTreeMap::new() };
        let others = self.other_sources(key)?;
        let mut files = self.files_of(&summary.folder, &sources, &gone)?;
        // Shared by another collection of this node too: there it stays.
        files.retain(|(_, file)| !others.iter().any(|source| file.starts_with(source)));
        self.store.remove(&files)?;
        self.forget_words(key, gone.iter().map(|(path, _)| &**path))?;
        self.note(key, |notes| {
            notes.retain_sources(|at| *what != Remove::Collection && *what != Remove::Path(at.to_owned()));
        })?;
        self.set_unfinished(key, false)?;
        self.recount(key)?;
        Ok(removed)
    }

    /// The files of items, given by path and id, that are theirs and not others'.
    pub(super) fn files_of(
        &self,
        folder: &str,
        sources: &BTreeMap<String, PathBuf>,
        items: &[(String, ContentId)],
    ) -> Result<Vec<(ContentId, PathBuf)>, LibraryError> {
        let library = self.store.library();
        let mut files = Vec::new();
        for (path, id) in items {
            let Some(info) = self.store.info(id)? else { continue };
            let copies = editions::names_of(folder, path, id);
            let mine: Vec<PathBuf> = copies.map(|copy| library.join(copy.as_str())).collect();
            let owner = ancestors(path).find_map(|at| sources.get_key_value(at));
            let in_place = |file: &PathBuf| {
                let Some((at, source)) = owner else { return false };
                let Ok(below) = file.strip_prefix(source) else { return false };
                // A file in the library is that of the collection whose folder it is in, whoever shares it too.
                item_path(at, below) == *path && !file.starts_with(&library)
            };
            let of_item = info.paths.into_iter().filter(|file| mine.contains(file) || in_place(file));
            files.extend(of_item.map(|file| (*id, file)));
        }
        Ok(files)
    }

    /// What the other collections of this node come from.
    pub(super) fn other_sources(&self, key: &CollectionKey) -> Result<Vec<PathBuf>, LibraryError> {
        let mut sources = Vec::new();
        for other in self.collections().iter().filter(|other| other.mine && other.key != *key) {
            sources.extend(self.notes(&other.key)?.sources().into_values());
        }
        Ok(sources)
    }

    pub(super) fn drop_mirror(&self, key: &CollectionKey) -> Result<(), LibraryError> {
        let _writing = self.start_writing();
        // First what keeps it from being fetched again.
        self.put_record(key, |record| {
            record.unwanted = true;
            (record.held_items, record.held_bytes) = (0, 0);
        })?;
        let mut state = self.lock();
        state.listed.remove(key);
        drop(state);
        delete(&self.manifest_path(key, "manifest"))?;
        delete(&self.manifest_path(key, "kept"))?;
        self.listeners.tell();
        Ok(())
    }
}
