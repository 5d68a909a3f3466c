//! Reading a manifest with positioned reads.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    super::{
        item::Item,
        page::{self, PageHash},
    },
    ENTRY_BYTES, FOOTER_BYTES, MAGIC, ManifestError,
};
use crate::limits::{library::PAGE_BYTES, library::PAGES, wire::ROOT_BYTES};

/// An open manifest file. It stays whole, whatever replaces it meanwhile.
pub(in super::super) struct Manifest {
    file: File,
    pages: usize,
    root_bytes: usize,
    local_bytes: usize,
    table_at: u64,
    /// The page read last: most questions come in order.
    cached: Option<(usize, Vec<Item>)>,
}

/// A line of the table.
struct Entry {
    hash: PageHash,
    start: u64,
    end: u64,
    items_before: u64,
    items_end: u64,
}

impl Manifest {
    /// Opens a manifest; none if there is no such file.
    pub fn open(path: &Path) -> Result<Option<Self>, ManifestError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let len = file.metadata()?.len();
        let footer_at = len.checked_sub(FOOTER_BYTES).ok_or(ManifestError::Damaged("too short"))?;
        let mut footer = [0; FOOTER_BYTES as usize];
        file.read_exact_at(&mut footer, footer_at)?;
        if footer[12..] != MAGIC {
            return Err(ManifestError::Damaged("no manifest's end"));
        }
        let number = |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
        let [root_bytes, local_bytes, pages] = [number(0), number(4), number(8)].map(|number| number as usize);
        let tail = root_bytes as u64 + local_bytes as u64 + pages as u64 * ENTRY_BYTES;
        let table_at = footer_at.checked_sub(tail).ok_or(ManifestError::Damaged("too short"))?;
        if root_bytes > ROOT_BYTES || pages > PAGES || local_bytes > PAGE_BYTES {
            return Err(ManifestError::Damaged("impossible sizes"));
        }
        Ok(Some(Self { file, pages, root_bytes, local_bytes, table_at, cached: None }))
    }

    /// How many pages there are.
    #[cfg(test)]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The signed root as it came.
    pub fn root(&self) -> Result<Vec<u8>, ManifestError> {
        self.tail(0, self.root_bytes)
    }

    /// The folder of the items' files.
    pub fn folder(&self) -> Result<String, ManifestError> {
        let local = self.tail(self.root_bytes as u64, self.local_bytes)?;
        String::from_utf8(local).map_err(|_| ManifestError::Damaged("no folder name"))
    }

    /// How many items there are on all pages.
    pub fn items(&self) -> Result<u64, ManifestError> {
        Ok(if self.pages == 0 { 0 } else { self.entry(self.pages - 1)?.items_end })
    }

    /// The verified bytes of a page.
    pub fn page(&self, index: usize) -> Result<Vec<u8>, ManifestError> {
        let entry = self.entry(index)?;
        let len = entry.end.checked_sub(entry.start).filter(|len| *len <= PAGE_BYTES as u64);
        let mut bytes = vec![0; len.ok_or(ManifestError::Damaged("a page too long"))? as usize];
        self.file.read_exact_at(&mut bytes, entry.start)?;
        if page::hash(&bytes) == entry.hash { Ok(bytes) } else { Err(ManifestError::Damaged("a page's hash")) }
    }

    /// The hash of a page.
    pub fn hash(&self, index: usize) -> Result<PageHash, ManifestError> {
        self.entry(index).map(|entry| entry.hash)
    }

    /// Whether its pages are these.
    pub fn has_pages(&self, hashes: &[PageHash]) -> Result<bool, ManifestError> {
        if self.pages != hashes.len() {
            return Ok(false);
        }
        for (index, hash) in hashes.iter().enumerate() {
            if self.hash(index)? != *hash {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads every page once, and compares it with the table.
    pub fn check(&self) -> Result<(), ManifestError> {
        let mut items = 0;
        for index in 0..self.pages {
            items += self.parsed(index)?.len() as u64;
            if self.entry(index)?.items_end != items {
                return Err(ManifestError::Damaged("the table"));
            }
        }
        Ok(())
    }

    /// Where the pages of these hashes are, if they are here.
    pub fn find(&self, hashes: &[PageHash]) -> Result<Vec<Option<usize>>, ManifestError> {
        let mut found = vec![None; hashes.len()];
        let mut reader = BufReader::new(FileAt { file: &self.file, at: self.table_at });
        let mut entry = [0; ENTRY_BYTES as usize];
        for index in 0..self.pages {
            reader.read_exact(&mut entry)?;
            for (place, _) in found.iter_mut().zip(hashes).filter(|(_, hash)| entry[..32] == **hash) {
                *place = Some(index);
            }
        }
        Ok(found)
    }

    /// The item of this path.
    pub fn item(&mut self, path: &str) -> Result<Option<Item>, ManifestError> {
        let (mut low, mut high) = (0, self.pages);
        // The first guess is where the last question was answered.
        let mut guess = self.cached.as_ref().map(|(index, _)| *index);
        while low < high {
            let middle = guess.take().filter(|guess| (low..high).contains(guess)).unwrap_or((low + high) / 2);
            let items = self.load(middle)?;
            if items.first().is_some_and(|first| path < &*first.path) {
                high = middle;
            } else if items.last().is_some_and(|last| path > &*last.path) {
                low = middle + 1;
                guess = Some(low);
            } else {
                let found = items.binary_search_by(|item| (*item.path).cmp(path));
                return Ok(found.ok().map(|at| items[at].clone()));
            }
        }
        Ok(None)
    }

    /// All items from number `offset` on, in order.
    pub fn items_from(self, offset: u64) -> Result<Items, ManifestError> {
        let (mut low, mut high) = (0, self.pages);
        while low < high {
            let middle = (low + high) / 2;
            if self.entry(middle)?.items_end <= offset { low = middle + 1 } else { high = middle }
        }
        let skip = if low < self.pages { offset - self.entry(low)?.items_before.min(offset) } else { 0 };
        let mut items = Items { manifest: Some(self), next_page: low, page: Vec::new().into_iter() };
        for _ in 0..skip {
            items.next().transpose()?;
        }
        Ok(items)
    }

    /// All items from this path on, in order.
    pub fn items_at(self, path: &str) -> Result<Items, ManifestError> {
        let (mut low, mut high) = (0, self.pages);
        while low < high {
            let middle = (low + high) / 2;
            let is_before = self.parsed(middle)?.last().is_some_and(|last| *last.path < *path);
            if is_before { low = middle + 1 } else { high = middle }
        }
        let mut items = Items { manifest: Some(self), next_page: low, page: Vec::new().into_iter() };
        items.skip_to(path)?;
        Ok(items)
    }

    fn load(&mut self, index: usize) -> Result<&[Item], ManifestError> {
        let items = match self.cached.take() {
            Some((cached, items)) if cached == index => items,
            _ => self.parsed(index)?,
        };
        Ok(&self.cached.insert((index, items)).1)
    }

    fn parsed(&self, index: usize) -> Result<Vec<Item>, ManifestError> {
        page::parse(&self.page(index)?).map_err(|_| ManifestError::Damaged("a page"))
    }

    fn entry(&self, index: usize) -> Result<Entry, ManifestError> {
        // With the entry before, whose ends are this one's starts.
        let mut bytes = [0; 2 * ENTRY_BYTES as usize];
        let at = self.table_at + index as u64 * ENTRY_BYTES;
        match index {
            0 => self.file.read_exact_at(&mut bytes[ENTRY_BYTES as usize..], at)?,
            _ => self.file.read_exact_at(&mut bytes, at - ENTRY_BYTES)?,
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let hash = bytes[48..80].try_into().expect("32 bytes");
        Ok(Entry { hash, start: number(32), end: number(80), items_before: number(40), items_end: number(88) })
    }

    fn tail(&self, at: u64, len: usize) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.table_at + self.pages as u64 * ENTRY_BYTES + at)?;
        Ok(bytes)
    }
}

/// A file read from a place of our own, whatever others read from it.
struct FileAt<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FileAt<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(into, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Items in order, one page in memory. After an error there are no more.
pub(in super::super) struct Items {
    manifest: Option<Manifest>,
    next_page: usize,
    page: std::vec::IntoIter<Item>,
}

impl Items {
    /// The items of a manifest that may not exist.
    pub fn of(manifest: Option<Manifest>) -> Self {
        Self { manifest, next_page: 0, page: Vec::new().into_iter() }
    }

    /// The item that is next.
    pub fn peek(&mut self) -> Result<Option<&Item>, ManifestError> {
        while self.page.as_slice().is_empty() {
            let Some(manifest) = self.manifest.as_ref().filter(|manifest| self.next_page < manifest.pages) else {
                return Ok(None);
            };
            match manifest.parsed(self.next_page) {
                Ok(items) => self.page = items.into_iter(),
                Err(error) => {
                    self.manifest = None;
                    return Err(error);
                }
            }
            self.next_page += 1;
        }
        Ok(self.page.as_slice().first())
    }

    /// Drops the items before this path, and returns the one of this path if there is one.
    pub fn seek(&mut self, path: &str) -> Result<Option<Item>, ManifestError> {
        self.skip_to(path)?;
        Ok(self.peek()?.is_some_and(|item| &*item.path == path).then(|| self.page.next()).flatten())
    }

    /// Drops the items before this path.
    fn skip_to(&mut self, path: &str) -> Result<(), ManifestError> {
        while self.peek()?.is_some_and(|item| &*item.path < path) {
            self.page.next();
        }
        Ok(())
    }
}

impl Iterator for Items {
    type Item = Result<Item, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.peek() {
            Ok(Some(_)) => self.page.next().map(Ok),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
