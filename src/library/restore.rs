//! Finding the files again after the store's index was lost.

use super::{Library, LibraryError, publish::copy_path};
use crate::limits::store::SMALL_FILES_PER_SYNC;

impl Library {
    /// Looks for the library's files under the names that the manifests give them, reads them, and tells the store of
    /// those that are what they should be; `progress` hears the path of each. For a store that
    /// [needs it](crate::store::Store::needs_rebuild). Files shared in place are known again when their folder is added again.
    pub fn restore(&self, progress: &mut dyn FnMut(&str)) -> Result<(), LibraryError> {
        let root = self.store.library();
        for summary in self.collections() {
            let mut found = Vec::new();
            for item in self.all_items(&summary.key)? {
                let (item, _) = item?;
                let Some(to) = copy_path(&summary.folder, &item.path) else { continue };
                let path = root.join(to.as_str());
                if !path.symlink_metadata().is_ok_and(|file| file.is_file()) || self.is_held(&item.id)? {
                    continue;
                }
                progress(&item.path);
                match self.store.import_library(&to) {
                    Ok(imported) if imported.id() == item.id => found.push(imported),
                    Ok(_) => log::warn!("{} is not the file that belongs there", path.display()),
                    Err(error) => log::warn!("{error}"),
                }
                if found.len() == SMALL_FILES_PER_SYNC {
                    self.store.commit(std::mem::take(&mut found))?;
                }
            }
            self.store.commit(found)?;
        }
        self.rescan()
    }

    /// Counts anew what is held, and has the followers look for what is missing: after files were found damaged, say.
    pub fn rescan(&self) -> Result<(), LibraryError> {
        for key in self.collections().iter().map(|summary| summary.key) {
            self.recount(&key)?;
        }
        self.listeners.tell();
        Ok(())
    }
}
