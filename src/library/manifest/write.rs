//! Writing a manifest: beside the old one, durable, then in its place.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{
    super::{
        item::Item,
        page::{self, Page, PageHash, Paginator},
        root::Root,
    },
    MAGIC, Manifest, ManifestError,
};
use crate::{limits::library::PAGES, wire::Text};

/// A manifest that is being written. Dropped unfinished, it leaves nothing behind.
pub(in super::super) struct Draft {
    file: BufWriter<File>,
    path: PathBuf,
    table: Vec<u8>,
    hashes: Vec<PageHash>,
    at: u64,
    items: u64,
    bytes: u64,
    last: Text<{ crate::limits::library::PATH_BYTES }>,
    finished: bool,
}

impl Draft {
    /// Starts a manifest in this file, which must be beside the one it will replace.
    pub fn create(path: PathBuf) -> Result<Self, ManifestError> {
        let file = BufWriter::with_capacity(32 * 1024, File::create(&path)?);
        let (table, hashes) = (Vec::new(), Vec::new());
        Ok(Self { file, path, table, hashes, at: 0, items: 0, bytes: 0, last: Text::default(), finished: false })
    }

    /// Takes the next page from anywhere: valid, and all its paths behind the last page's.
    pub fn push_page(&mut self, bytes: &[u8]) -> Result<(), ManifestError> {
        let items = page::parse(bytes)?;
        if let Some(first) = items.first().filter(|first| first.path <= self.last && self.items > 0) {
            return Err(page::PageError::Order(first.path.to_string()).into());
        }
        for item in &items {
            self.count(item)?;
        }
        self.append(bytes, items.len())
    }

    /// The pages so far.
    pub fn hashes(&self) -> &[PageHash] {
        &self.hashes
    }

    /// Items so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Bytes of the items so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Checks the pages against the root that named them.
    pub fn check(&self, root: &Root) -> Result<(), ManifestError> {
        if self.hashes != root.pages {
            return Err(ManifestError::PageHash);
        }
        if (self.items, self.bytes) != (root.items, root.bytes) {
            return Err(ManifestError::Totals { items: self.items, bytes: self.bytes });
        }
        Ok(())
    }

    /// Makes the manifest whole and durable, but leaves it where it is.
    pub fn seal(mut self, root: &[u8], folder: &str) -> Result<Sealed, ManifestError> {
        let lens = [root.len(), folder.len(), self.hashes.len()];
        self.file.write_all(&self.table)?;
        self.file.write_all(root)?;
        self.file.write_all(folder.as_bytes())?;
        for len in lens {
            self.file.write_all(&u32::try_from(len).map_err(|_| ManifestError::TooLarge)?.to_le_bytes())?;
        }
        self.file.write_all(&MAGIC)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(Sealed(self))
    }

    fn count(&mut self, item: &Item) -> Result<(), ManifestError> {
        self.items += 1;
        self.bytes = self.bytes.checked_add(item.size).ok_or(ManifestError::TooLarge)?;
        self.last = item.path.clone();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8], items: usize) -> Result<(), ManifestError> {
        if self.hashes.len() == PAGES {
            return Err(ManifestError::TooLarge);
        }
        self.file.write_all(bytes)?;
        self.at += bytes.len() as u64;
        let hash = page::hash(bytes);
        let items_end = self.paged_items() + items as u64;
        self.table.extend_from_slice(&hash);
        self.table.extend_from_slice(&self.at.to_le_bytes());
        self.table.extend_from_slice(&items_end.to_le_bytes());
        self.hashes.push(hash);
        Ok(())
    }

    /// Items on the pages written so far.
    fn paged_items(&self) -> u64 {
        self.table.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing to be done if it fails: the next draft of this collection truncates it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A manifest that is complete, and not yet in its place.
pub(in super::super) struct Sealed(Draft);

impl Sealed {
    /// Opens it where it is.
    pub fn open(&self) -> Result<Manifest, ManifestError> {
        Manifest::open(&self.0.path)?.ok_or(ManifestError::Damaged("gone"))
    }

    /// Puts it in the place of `to`, durably.
    pub fn install(mut self, to: &Path) -> Result<(), ManifestError> {
        fs::rename(&self.0.path, to)?;
        self.0.finished = true;
        sync_folder(to)
    }
}

/// Takes a manifest away, durably, if it is there.
pub(in super::super) fn delete(path: &Path) -> Result<(), ManifestError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => sync_folder(path),
    }
}

fn sync_folder(of: &Path) -> Result<(), ManifestError> {
    if let Some(folder) = of.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Writes a manifest item by item.
pub(in super::super) struct Builder {
    draft: Draft,
    paginator: Paginator,
}

impl Builder {
    /// See [`Draft::create`].
    pub fn create(path: PathBuf) -> Result<Self, ManifestError> {
        Ok(Self { draft: Draft::create(path)?, paginator: Paginator::default() })
    }

    /// Takes the next item; the caller keeps the order.
    pub fn push(&mut self, item: &Item) -> Result<(), ManifestError> {
        debug_assert!(self.draft.items == 0 || self.draft.last < item.path, "{:?} is out of order", item.path);
        self.draft.count(item)?;
        for page in self.paginator.push(item).into_iter().flatten() {
            self.append(&page)?;
        }
        Ok(())
    }

    /// The manifest with all its pages, to be finished with a root.
    pub fn into_draft(mut self) -> Result<Draft, ManifestError> {
        if let Some(page) = self.paginator.finish() {
            self.append(&page)?;
        }
        Ok(self.draft)
    }

    fn append(&mut self, page: &Page) -> Result<(), ManifestError> {
        self.draft.append(&page.bytes, page.items)
    }
}
