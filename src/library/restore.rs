//! Finding the files again after the store's index was lost.

use std::{ops::ControlFlow, path::Path, sync::atomic::Ordering};

use super::{Item, Library, LibraryError, Summary, editions, publish::files_of};
use crate::{
    limits::store::SMALL_FILES_PER_SYNC,
    store::{ImportError, Imported, Store},
};

impl Library {
    /// Looks for the files of all collections, in the library under the names that the manifests give them and in the
    /// folders that are shared in place, reads them, and tells the store of those that are what they should be; `found`
    /// hears of each. For a store that [needs it](crate::store::Store::needs_rebuild), and for an owner who asks.
    pub fn restore(&self, found: &mut dyn FnMut(&Path)) -> Result<(), LibraryError> {
        self.store.check_library()?;
        for summary in self.collections() {
            let mut restored = Restored { library: self, found, imported: Vec::new() };
            restored.copies(&summary)?;
            restored.commit()?;
            if summary.mine {
                restored.in_place(&summary)?;
            }
            restored.commit()?;
        }
        self.rescan()
    }

    /// Counts anew what is held, and has the followers look for what is missing: after files were found damaged, say.
    pub fn rescan(&self) -> Result<(), LibraryError> {
        self.rescans.fetch_add(1, Ordering::AcqRel);
        for key in self.collections().iter().map(|summary| summary.key) {
            self.recount(&key)?;
        }
        self.listeners.tell();
        Ok(())
    }

    /// How often that was done since the start.
    pub(super) fn rescans(&self) -> u64 {
        self.rescans.load(Ordering::Acquire)
    }
}

/// Files that were found.
struct Restored<'a> {
    library: &'a Library,
    found: &'a mut dyn FnMut(&Path),
    /// Not yet in the index.
    imported: Vec<Imported>,
}

impl Restored<'_> {
    fn copies(&mut self, summary: &Summary) -> Result<(), LibraryError> {
        let root = self.library.store.library();
        let notes = self.library.notes(&summary.key)?;
        for item in self.library.all_items(&summary.key)? {
            let (item, _) = item?;
            if notes.is_unwanted(&item.path) {
                continue;
            }
            let folder = &summary.folder;
            for name in editions::names_of(folder, &item.path, &item.id) {
                self.look(&root.join(name.as_str()), &item, |store| store.import_library(&name))?;
            }
        }
        Ok(())
    }

    fn in_place(&mut self, summary: &Summary) -> Result<(), LibraryError> {
        let Some(mut manifest) = self.library.manifest(&summary.key)? else { return Ok(()) };
        let copies = self.library.store.library().join(&summary.folder);
        for (at, source) in self.library.notes(&summary.key)?.sources() {
            for (path, item) in files_of(self.library, &at, source) {
                let Some(item) = manifest.item(&item)? else { continue };
                let info = self.library.store.info(&item.id)?;
                // What copies were made from is not shared itself.
                if !info.is_some_and(|info| info.paths.iter().any(|path| path.starts_with(&copies))) {
                    let import = |store: &Store| store.import_in_place(&path, &mut |_| ControlFlow::Continue(()));
                    self.look(&path, &item, import)?;
                }
            }
        }
        Ok(())
    }

    fn look(
        &mut self,
        path: &Path,
        item: &Item,
        import: impl FnOnce(&Store) -> Result<Imported, ImportError>,
    ) -> Result<(), LibraryError> {
        let is_file = path.symlink_metadata().is_ok_and(|file| file.is_file());
        if !is_file || self.library.store.is_unchanged(&item.id, path)? {
            return Ok(());
        }
        match import(&self.library.store) {
            Ok(imported) if imported.id() == item.id => {
                (self.found)(path);
                self.imported.push(imported);
            }
            Ok(_) => log::warn!("{} is not the file that belongs there", path.display()),
            Err(error) => log::warn!("{error}"),
        }
        if self.imported.len() >= SMALL_FILES_PER_SYNC { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), LibraryError> {
        Ok(self.library.store.commit(std::mem::take(&mut self.imported))?)
    }
}
