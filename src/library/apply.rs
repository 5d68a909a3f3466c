//! Making a version the newest: one published here, or one that a peer sent.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Library, LibraryError, Listed, Root, Summary, edit, editions,
    item::Item,
    manifest::{Builder, Draft, Items, Manifest, ManifestError, delete},
    names,
    state::Record,
};
use crate::{
    content::{CollectionKey, ContentId},
    limits,
    store::BlobState,
    wire::Text,
};

/// A collection of this node, there or about to be.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub key: CollectionKey,
    pub name: Text<{ limits::library::NAME_BYTES }>,
    pub folder: String,
}

/// What became of a version that a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adopted {
    /// It is the newest here now.
    Newest,
    /// Another of its version or a higher one came first, or the collection is not wanted any more.
    Stale,
}

impl Library {
    /// The collection of this node with this name, or a new one.
    pub(super) fn own(&self, name: Text<{ limits::library::NAME_BYTES }>) -> Result<Own, LibraryError> {
        let (state, me) = (self.lock(), self.node_id());
        let listed = state.listed.iter().map(|(key, listed)| (key, &listed.name, &listed.folder));
        let remembered = state.records.iter().map(|(key, record)| (key, &record.name, &record.folder));
        let known = listed.chain(remembered).find(|(key, known, _)| key.publisher == me && **known == *name);
        if let Some((key, _, folder)) = known {
            return Ok(Own { key: *key, name, folder: folder.clone() });
        }
        drop(state);
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("a kernel that has no random numbers runs nothing of ours");
        let key = CollectionKey { publisher: me, id: crate::content::CollectionId(id) };
        let folder = self.choose_folder(&key, &name)?;
        Ok(Own { key, name, folder })
    }

    /// Remembers a collection of this node, and what it comes from: an add is under way.
    pub(super) fn remember(
        &self,
        own: &Own,
        sources: impl Iterator<Item = (String, PathBuf)>,
    ) -> Result<(), LibraryError> {
        self.count_work(&own.key, true);
        self.note(&own.key, |notes| {
            let record = notes.record_mut();
            (record.name, record.folder) = (own.name.to_string(), own.folder.clone());
            record.unfinished = true;
            notes.add_sources(sources);
        })
    }

    /// The folder that a collection has, or the one it will get.
    fn choose_folder(&self, key: &CollectionKey, name: &str) -> Result<String, LibraryError> {
        let state = self.lock();
        if let Some(record) = state.records.get(key).filter(|record| !record.folder.is_empty()) {
            return Ok(record.folder.clone());
        }
        if let Some(listed) = state.listed.get(key) {
            return Ok(listed.folder.clone());
        }
        if state.listed.len() >= limits::library::COLLECTIONS {
            return Err(LibraryError::TooManyCollections(state.listed.len()));
        }
        let folders =
            state.records.values().map(|record| &record.folder).chain(state.listed.values().map(|it| &it.folder));
        let taken: Vec<String> = folders.map(|folder| folder.to_lowercase()).collect();
        Ok(names::folder_name(name, |folder| taken.contains(&folder.to_lowercase())))
    }

    /// Publishes a new version: the old one with `changes` (`None` takes an item away; the owner's words go over the others)
    /// and without what `keep` refuses. Nothing happens if that changes nothing.
    pub(super) fn publish(
        &self,
        own: &Own,
        changes: &BTreeMap<String, Option<Item>>,
        keep: &mut dyn FnMut(&Item) -> bool,
    ) -> Result<Summary, LibraryError> {
        let _writing = self.start_writing();
        let mut builder = Builder::create(self.manifest_path(&own.key, "draft"))?;
        let mut old = Items::of(self.manifest(&own.key)?);
        let mut copy_until = |builder: &mut Builder, end: Option<&str>| -> Result<(), ManifestError> {
            while let Some(item) = old.peek()?.filter(|item| end.is_none_or(|end| &*item.path < end)).cloned() {
                old.seek(&item.path)?;
                if keep(&item) {
                    builder.push(&item)?;
                }
            }
            if let Some(end) = end {
                old.seek(end)?;
            }
            Ok(())
        };
        let notes = self.notes(&own.key)?;
        for (path, change) in changes {
            copy_until(&mut builder, Some(path))?;
            if let Some(item) = change {
                builder.push(&edit::as_said(&notes, item.clone()))?;
            }
        }
        copy_until(&mut builder, None)?;
        self.publish_draft(own, builder.into_draft()?)
    }

    fn publish_draft(&self, own: &Own, draft: Draft) -> Result<Summary, LibraryError> {
        let key = own.key;
        let record = self.lock().records.get(&key).cloned().unwrap_or_default();
        let newest = self.lock().listed.get(&key).map_or(0, |listed| listed.version);
        if let Some(manifest) = self.manifest(&key)?
            && manifest.has_pages(draft.hashes())?
            && let Some(summary) = self.summary(&key)
            && summary.version >= record.floor
        {
            return Ok(summary);
        }
        let version = newest.max(record.floor).checked_add(1).ok_or(ManifestError::TooLarge)?;
        let (items, bytes) = (draft.items(), draft.bytes());
        let root =
            Root { collection: key, version, name: own.name.clone(), items, bytes, pages: draft.hashes().to_vec() };
        draft.seal(&root.sign(&self.key), &own.folder)?.install(&self.manifest_path(&key, "manifest"))?;
        self.list(&root, &own.folder, (items, bytes))?;
        self.summary(&key).ok_or(LibraryError::NoCollection)
    }

    /// Whether a version that a peer has is newer than ours, and the collection wanted.
    pub(super) fn wants_version(&self, key: &CollectionKey, version: u64) -> bool {
        let state = self.lock();
        let unwanted = state.records.get(key).is_some_and(|record| record.unwanted);
        !unwanted && state.listed.get(key).is_none_or(|listed| listed.version < version)
    }

    /// A place for the pages of a version that is coming; only one at a time for each collection.
    pub(super) fn draft(&self, key: &CollectionKey) -> Result<Draft, LibraryError> {
        Ok(Draft::create(self.manifest_path(key, "incoming.draft"))?)
    }

    /// Makes a version from a peer the newest: `root` was verified, `draft` was checked against it.
    pub(super) fn adopt(&self, root: &Root, root_bytes: &[u8], draft: Draft) -> Result<Adopted, LibraryError> {
        // What is withdrawn and held is kept, and nobody knows what is held.
        self.store.check_library()?;
        let _writing = self.start_writing();
        let key = root.collection;
        let record = self.lock().records.get(&key).cloned().unwrap_or_default();
        if record.unwanted || self.lock().listed.get(&key).is_some_and(|listed| listed.version >= root.version) {
            return Ok(Adopted::Stale);
        }
        let folder = self.choose_folder(&key, &root.name)?;
        let sealed = draft.seal(root_bytes, &folder)?;
        self.keep_withdrawn(&key, &folder, Some(sealed.open()?))?;
        sealed.install(&self.manifest_path(&key, "manifest"))?;
        self.list(root, &folder, self.count(&key)?)?;
        Ok(Adopted::Newest)
    }

    /// Writes down what of the present version and of the kept items is held and not offered in `new`. The files of kept
    /// items whose place others took go before.
    fn keep_withdrawn(&self, key: &CollectionKey, folder: &str, new: Option<Manifest>) -> Result<(), LibraryError> {
        let mut over = Vec::new();
        let (mut old, mut kept, mut new) = (Items::of(self.manifest(key)?), Items::of(self.kept(key)?), Items::of(new));
        let mut builder = Builder::create(self.manifest_path(key, "kept.draft"))?;
        loop {
            let path = match (old.peek()?, kept.peek()?) {
                (None, None) => break,
                (Some(item), None) | (None, Some(item)) => item.path.clone(),
                (Some(a), Some(b)) => (&a.path).min(&b.path).clone(),
            };
            let offered = new.seek(&path)?;
            let differs = |item: &Item| offered.as_ref().is_none_or(|offered| offered.id != item.id);
            let (old, kept) = (old.seek(&path)?, kept.seek(&path)?);
            let kept = kept.filter(differs);
            let withdrawn = match old.filter(differs) {
                Some(item) if self.is_held(&item.id)? => {
                    over.extend(kept.filter(|kept| kept.id != item.id));
                    Some(item)
                }
                _ => kept,
            };
            if let Some(item) = withdrawn {
                builder.push(&item)?;
            }
        }
        let files = over.iter().flat_map(|old| editions::files_of(self, folder, old));
        self.store.remove(&files.collect::<Vec<_>>())?;
        self.install_kept(key, builder)
    }

    fn install_kept(&self, key: &CollectionKey, builder: Builder) -> Result<(), LibraryError> {
        let (draft, path) = (builder.into_draft()?, self.manifest_path(key, "kept"));
        if draft.items() == 0 {
            return Ok(delete(&path)?);
        }
        Ok(draft.seal(&[], "")?.install(&path)?)
    }

    /// Drops kept items that `keep` refuses.
    pub(super) fn prune_kept(
        &self,
        key: &CollectionKey,
        keep: &mut dyn FnMut(&Item) -> bool,
    ) -> Result<(), LibraryError> {
        let _writing = self.start_writing();
        let Some(kept) = self.kept(key)? else { return Ok(()) };
        let mut builder = Builder::create(self.manifest_path(key, "kept.draft"))?;
        for item in Items::of(Some(kept)) {
            let item = item?;
            if keep(&item) {
                builder.push(&item)?;
            }
        }
        self.install_kept(key, builder)
    }

    /// Counts anew what is held of a collection.
    pub(super) fn recount(&self, key: &CollectionKey) -> Result<(), LibraryError> {
        let (items, bytes) = self.count(key)?;
        let Some(record) = self.record(key) else { return Ok(()) };
        if (record.held_items, record.held_bytes) != (items, bytes) {
            self.put_record(key, |record| (record.held_items, record.held_bytes) = (items, bytes))?;
            self.listeners.tell();
        }
        Ok(())
    }

    /// Items of the manifest's file that are complete here, and their bytes.
    fn count(&self, key: &CollectionKey) -> Result<(u64, u64), LibraryError> {
        let (mut items, mut bytes) = (0, 0);
        for item in Items::of(Manifest::open(&self.manifest_path(key, "manifest"))?) {
            let item = item?;
            if self.is_held(&item.id)? {
                items += 1;
                bytes += item.size;
            }
        }
        Ok((items, bytes))
    }

    /// What is remembered of a collection, or what its manifest says if that was lost.
    pub(super) fn record(&self, key: &CollectionKey) -> Option<Record> {
        let state = self.lock();
        let of_manifest = |listed: &Listed| Record {
            folder: listed.folder.clone(),
            name: listed.name.clone(),
            floor: listed.version,
            ..Record::default()
        };
        state.records.get(key).cloned().or_else(|| state.listed.get(key).map(of_manifest))
    }

    /// Counts an item that has just become complete; written down at the next [`Library::recount`].
    pub(super) fn count_held(&self, key: &CollectionKey, bytes: u64) {
        if let Some(record) = self.lock().records.get_mut(key) {
            record.held_items += 1;
            record.held_bytes += bytes;
        }
    }

    pub(super) fn is_held(&self, id: &ContentId) -> Result<bool, LibraryError> {
        Ok(self.store.info(id)?.is_some_and(|info| info.state == BlobState::Complete))
    }

    /// The manifest is durable: now the record, then the memory, then those who wait for it.
    fn list(&self, root: &Root, folder: &str, held: (u64, u64)) -> Result<(), LibraryError> {
        let (name, folder) = (root.name.to_string(), folder.to_owned());
        self.put_record(&root.collection, |record| {
            (record.name, record.folder) = (name.clone(), folder.clone());
            record.floor = record.floor.max(root.version);
            (record.held_items, record.held_bytes) = held;
        })?;
        let listed = Listed { folder, name, version: root.version, items: root.items, bytes: root.bytes };
        let mut state = self.lock();
        state.listed.insert(root.collection, listed);
        drop(state);
        self.listeners.tell();
        Ok(())
    }

    pub(super) fn start_writing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
