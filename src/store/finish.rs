//! The end of a download: its file gets its name.

use std::{
    borrow::Borrow,
    path::{Path, PathBuf},
    sync::{PoisonError, atomic::Ordering},
};

use rustix::fs::{Advice, fadvise};

use super::{
    Download, LibraryPath, Store, StoreError, WriteError,
    download::lock,
    paths::Folder,
    place::Incoming,
    record::Location,
    unfinished::{Doing, Noted},
};
use crate::content::ContentId;

impl Download {
    /// Moves the complete file to `library/<to>`, and puts it into the index. The same blob under that name is kept; what
    /// else is in the way is set aside, never overwritten. Durable when it returns. For many, see [`Store::finish`].
    pub fn finish(&self, to: &LibraryPath) -> Result<(), WriteError> {
        self.store.finish(vec![(self, to.clone())])?.pop().unwrap_or(Ok(()))
    }

    /// Makes a complete download ready for its name: from now on nobody writes to it.
    fn seal(&self) -> Result<(), WriteError> {
        self.check_complete()?;
        // Whoever began to write before it was complete has ended; whoever begins now finds nothing to write.
        drop(self.writing.write().unwrap_or_else(PoisonError::into_inner));
        let _syncing = lock(&self.syncing);
        self.sync()?;
        self.unsynced_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn check_complete(&self) -> Result<(), WriteError> {
        let missing_bytes = self.size() - self.verified_bytes();
        if missing_bytes > 0 {
            return Err(WriteError::Incomplete { missing_bytes });
        }
        // Of an empty blob nothing was verified yet.
        if self.size() == 0 && self.id != ContentId::of(b"") {
            return Err(WriteError::Corrupt(self.id));
        }
        Ok(())
    }

    /// Moves the synced file to its name.
    fn name(&self, to: &LibraryPath, folders: &mut Vec<PathBuf>) -> Result<Location, StoreError> {
        if self.outboard.is_some() {
            folders.extend(self.store.outboard_path(&self.id).parent().map(Path::to_owned));
        }
        let part = self.store.part_path(&self.id);
        let incoming = Folder::open(&self.store.0.incoming)?;
        let name = part.file_name().unwrap_or_default();
        let from = Incoming { folder: &incoming, name, file: &self.data };
        self.store.name_incoming(&from, to.as_str().as_bytes(), &self.id, folders)
    }

    fn forget(&self) {
        self.store.partials().remove(&self.id);
        for path in [self.store.bits_path(&self.id), self.store.part_path(&self.id), self.store.mark_path(&self.id)] {
            // Harmless if one stays: bits without bytes are dropped at the next start, and the bytes are not needed.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Store {
    /// [`Download::finish`] for many, with one round of syncs: the outcomes are in the order of the downloads. An error is
    /// about all of them; they can be resumed.
    pub fn finish<D: Borrow<Download>>(
        &self,
        downloads: Vec<(D, LibraryPath)>,
    ) -> Result<Vec<Result<(), WriteError>>, StoreError> {
        let downloads: Vec<_> = downloads.iter().map(|(download, to)| (download.borrow(), to)).collect();
        for (download, _) in &downloads {
            // The kernel starts to write all of them now, so that the syncs that follow wait for one journal commit.
            let _ = fadvise(&download.data, 0, None, Advice::DontNeed);
        }
        let sealed: Vec<_> =
            downloads.into_iter().map(|(download, to)| download.seal().map(|()| (download, to))).collect();
        let _recording = self.recording();
        let whole = sealed.iter().flatten();
        let noted: Vec<_> = whole.map(|(it, to)| Noted::named(it.id, to.as_str().as_bytes())).collect();
        self.note(Doing::Naming, &noted, true)?;
        let (mut folders, mut named) = (Vec::new(), Vec::new());
        let mut outcomes: Vec<Result<(), WriteError>> = Vec::new();
        for sealed in sealed {
            outcomes.push(sealed.and_then(|(download, to)| {
                let location = download.name(to, &mut folders)?;
                named.push((download, location));
                Ok(())
            }));
        }
        self.sync_folders(folders)?;
        self.record(named.iter().map(|(it, location)| (it.id, it.size(), location.clone())).collect())?;
        self.note(Doing::Naming, &noted, false)?;
        named.into_iter().for_each(|(download, _)| download.forget());
        self.0.news.notify(usize::MAX);
        Ok(outcomes)
    }
}
