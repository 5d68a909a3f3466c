//! What is here only because somebody read it: blobs of which other nodes have the originals, and that may go at any time.
//!
//! A finished one has its only name in a folder of its own. A download has an empty file beside it, `<id>.read`, which is made
//! before it and deleted after it, and tells by its time of modification when it was last read.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::PathBuf,
    sync::atomic::Ordering,
    time::SystemTime,
};

use super::{
    LibraryPath, Store, StoreError,
    errors::at,
    files::{remove_file, sync_folder},
    record::{LIBRARY, Location},
};
use crate::{clock, content::ContentId};

/// Below the library; no collection's folder begins with a dot.
const FOLDER: &str = ".cache";

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cached {
    /// When it was last read.
    pub used: SystemTime,
    /// The room that it takes.
    pub bytes: u64,
    /// Which blob.
    pub id: ContentId,
    /// Whether it is being fetched now, and can't go.
    pub is_busy: bool,
}

impl Store {
    /// The name of a blob that is here only because somebody read it.
    pub fn cache_path(&self, id: &ContentId) -> LibraryPath {
        LibraryPath::new(&format!("{FOLDER}/{id}")).expect("two plain parts")
    }

    pub(super) fn mark_path(&self, id: &ContentId) -> PathBuf {
        self.0.incoming.join(format!("{id}.read"))
    }

    /// Notes, durably, that the download of this blob, which is about to begin, is for a reader alone; or that it is read again.
    pub fn mark_read(&self, id: &ContentId) -> Result<(), StoreError> {
        let path = self.mark_path(id);
        if path.exists() {
            let file = File::options().write(true).open(&path).map_err(at(&path))?;
            return file.set_modified(clock::wall()).map_err(at(&path));
        }
        File::create(&path).map_err(at(&path))?;
        sync_folder(&self.0.incoming)
    }

    /// Whether its download is for readers alone.
    pub fn is_marked_read(&self, id: &ContentId) -> bool {
        self.mark_path(id).exists()
    }

    /// The download of this blob is none for readers alone any more, or there is none.
    pub fn unmark_read(&self, id: &ContentId) -> Result<(), StoreError> {
        remove_file(&self.mark_path(id))
    }

    pub(super) fn is_cached(&self, location: &Location) -> bool {
        location.root == LIBRARY
            && location.path.strip_prefix(FOLDER.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// All that is here only because somebody read it.
    pub fn cached(&self) -> Result<Vec<Cached>, StoreError> {
        let partials: Vec<_> = self.partials().iter().map(|(id, partial)| (*id, partial.clone())).collect();
        let mut all = Vec::new();
        for (id, partial) in partials {
            let Ok(used) = self.mark_path(&id).metadata().and_then(|mark| mark.modified()) else { continue };
            all.push(Cached { used, bytes: partial.size(), id, is_busy: partial.running.load(Ordering::Acquire) });
        }
        // One that was just finished has its name already, and is still noted as a download.
        let begun: BTreeSet<_> = all.iter().map(|it| it.id).collect();
        for (id, path) in self.cache_files()? {
            let Ok(metadata) = path.metadata() else { continue };
            if !begun.contains(&id) {
                let used = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
                all.push(Cached { used, bytes: metadata.len(), id, is_busy: false });
            }
        }
        Ok(all)
    }

    /// Deletes what is here of it only because somebody read it. Nothing happens to a download that is under way.
    pub fn evict(&self, id: &ContentId) -> Result<(), StoreError> {
        if self.is_marked_read(id) {
            match self.discard(id) {
                Err(StoreError::Busy(_)) => return Ok(()),
                other => other?,
            }
        }
        self.remove(&[(*id, self.library().join(self.cache_path(id).as_str()))])
    }

    /// Deletes files of the cache that the index does not know: they are worth no search.
    pub(super) fn clear_cache(&self) -> Result<(), StoreError> {
        for (id, path) in self.cache_files()? {
            let name = self.cache_path(&id);
            let is_ours = |it: &Location| it.is_at(LIBRARY, name.as_str().as_bytes());
            if !self.0.index.record(&id)?.is_some_and(|record| record.locations.iter().any(is_ours)) {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn cache_files(&self) -> Result<Vec<(ContentId, PathBuf)>, StoreError> {
        let folder = self.library().join(FOLDER);
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(at(&folder))?,
        };
        let files = files.map(|file| Ok(file.map_err(at(&folder))?.path()));
        let known = |path: PathBuf| Some((path.file_name()?.to_str()?.parse().ok()?, path));
        files.filter_map(|path| path.map(known).transpose()).collect()
    }
}
