//! Which of the folders that this node shares files from are not there: their disks are unplugged, or others are in their
//! place. A look costs a call to the system for each; what was listed is only looked for when a disk came or went.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{MutexGuard, PoisonError},
};

use super::{Library, LibraryError, publish::Owned};
use crate::content::CollectionKey;

/// A folder, or a file, from which nothing that was shared is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwayFolder {
    /// The folder of the collection that its files belong to.
    pub collection: String,
    /// What is not there.
    pub path: PathBuf,
}

/// What was found the last time, by collection and place.
pub(super) type Looks = BTreeMap<(CollectionKey, String), Look>;

pub(super) struct Look {
    folder: AwayFolder,
    /// Disk and inode, none if there is nothing: others when a disk came or went.
    identity: Option<(u64, u64)>,
    /// The version of the collection.
    version: Option<u64>,
    is_away: bool,
}

impl Library {
    /// Looks whether the disks of the library and of what is shared in place are there. If one came or went, what is held is
    /// counted anew, and true returned.
    pub fn look_for_disks(&self) -> Result<bool, LibraryError> {
        let mut looks = self.looks();
        let (mut old, mut has_moved) = (std::mem::take(&mut *looks), false);
        for (key, folder, sources) in self.shared()? {
            let version = self.summary(&key).map(|summary| summary.version);
            for (at, path) in &sources {
                let identity = fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
                let known = old.remove(&(key, at.clone()));
                has_moved |= known.as_ref().is_some_and(|it| it.identity != identity);
                let known =
                    known.filter(|it| it.identity == identity && it.version == version && it.folder.path == *path);
                let is_away = match known {
                    Some(look) => look.is_away,
                    None => self.is_away(&key, &sources, at, path, identity.is_some())?,
                };
                let folder = AwayFolder { collection: folder.clone(), path: path.clone() };
                looks.insert((key, at.clone()), Look { folder, identity, version, is_away });
            }
        }
        let away = looks.values().filter(|look| look.is_away).map(|look| look.folder.path.clone()).collect();
        let before = self.store.away();
        let has_changed = self.store.look(away)?;
        drop(looks);
        if has_changed {
            let after = self.store.away();
            self.store.verify_damaged(&before.into_iter().filter(|folder| !after.contains(folder)).collect())?;
            self.rescan()?;
        } else if has_moved && self.store.find_again()? {
            // Something was in its place that had other files of the same collection.
            self.rescan()?;
        }
        Ok(has_changed)
    }

    /// The same after what a collection has was looked at: what is known of its folders is old.
    pub(super) fn look_anew(&self, key: &CollectionKey) -> Result<(), LibraryError> {
        self.looks().retain(|(of, _), _| of != key);
        let has_changed = self.look_for_disks()?;
        let is_away = self.looks().iter().any(|((of, _), look)| of == key && look.is_away);
        if is_away && !has_changed { self.recount(key) } else { Ok(()) }
    }

    /// What was away at the last look.
    pub fn away(&self) -> Vec<AwayFolder> {
        self.looks().values().filter(|look| look.is_away).map(|look| look.folder.clone()).collect()
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether files of the collection were shared from there, and none is there.
    fn is_away(
        &self,
        key: &CollectionKey,
        sources: &BTreeMap<String, PathBuf>,
        at: &str,
        path: &Path,
        exists: bool,
    ) -> Result<bool, LibraryError> {
        let mut was_shared = false;
        for item in Owned::by(self, key, sources, at)? {
            let Some(info) = self.store.info(&item?.id)? else { continue };
            for file in info.paths.iter().filter(|file| file.starts_with(path)) {
                if exists && file.symlink_metadata().is_ok() {
                    return Ok(false);
                }
                was_shared = true;
            }
            if was_shared && !exists {
                break;
            }
        }
        Ok(was_shared)
    }
}
