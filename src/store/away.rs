//! Folders that are not there for now: the disks that they are on are unplugged. What they hold counts as missing, and is
//! neither written down as lost nor fetched again into the empty folder that an unplugged disk leaves behind.
//!
//! A library on a disk of its own has a mark, and the data folder knows which: `library.id` in both. Where other files are
//! shared from is for others to know: see [`Store::look`].

use std::{
    borrow::Cow,
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    ops::ControlFlow,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Fault, Store, StoreError,
    errors::{at, is_for_want},
    files::{INCOMING, sync_folder},
    record::{FIRST, LIBRARY, Location, Record},
};
use crate::content::ContentId;

const MARK: &str = "library.id";
/// Hexadecimal digits in a mark.
const DIGITS: usize = 32;

/// What is away.
pub(super) struct Away {
    /// The mark of the library's disk, and what is in it; none if it is on that of the data folder.
    mark: Option<(PathBuf, Vec<u8>)>,
    library: AtomicBool,
    /// Whether the library was away when the store was opened, and nothing in it was put in order since.
    is_unsettled: AtomicBool,
    /// Folders outside of the library, and files.
    others: RwLock<BTreeSet<PathBuf>>,
}

impl Away {
    /// Finds the library, or makes it if it was not used before. Also returns the folder for downloads.
    pub(super) fn open(data: &Path, library: &Path) -> Result<(Self, PathBuf), StoreError> {
        let incoming = library.join(INCOMING);
        let mark = incoming.join(MARK);
        let away = |id: Option<Vec<u8>>, is_away| Self {
            mark: id.map(|id| (mark.clone(), id)),
            library: AtomicBool::new(is_away),
            is_unsettled: AtomicBool::new(is_away),
            others: RwLock::default(),
        };
        let record = data.join(MARK);
        let known = fs::read(&record).unwrap_or_default();
        if let Some((id, [b'\n', path @ ..])) = known.split_at_checked(DIGITS)
            && Path::new(OsStr::from_bytes(path)) == library
        {
            let is_away = read(&mark).as_deref() != Some(id);
            return Ok((away(Some(id.to_vec()), is_away), incoming));
        }
        fs::create_dir_all(library).map_err(at(library))?;
        let device = |folder: &Path| folder.metadata().map(|metadata| metadata.dev()).map_err(at(folder));
        if library.starts_with(data) && device(library)? == device(data)? {
            let incoming = data.join("incoming");
            fs::create_dir_all(&incoming).map_err(at(&incoming))?;
            return Ok((away(None, false), incoming));
        }
        fs::create_dir_all(&incoming).map_err(at(&incoming))?;
        let id = match read(&mark) {
            Some(id) => id,
            None => {
                let mut random = [0; DIGITS / 2];
                getrandom::fill(&mut random).expect("a kernel that has no random numbers runs nothing of ours");
                let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
                write(&mark, id.as_bytes())?;
                sync_folder(library)?;
                id.into_bytes()
            }
        };
        write(&record, &[&*id, b"\n", library.as_os_str().as_bytes()].concat())?;
        Ok((away(Some(id), false), incoming))
    }

    /// Whether the library's disk is not there now.
    fn is_library_gone(&self) -> bool {
        let is_gone = self.mark.as_ref().is_some_and(|(path, id)| match fs::read(path) {
            Ok(found) => found != *id,
            Err(error) => !is_for_want(&error),
        });
        if is_gone {
            self.library.store(true, Ordering::Release);
        }
        is_gone
    }
}

/// What is in a mark.
fn read(mark: &Path) -> Option<Vec<u8>> {
    fs::read(mark).ok().filter(|id| id.len() == DIGITS)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(at(path))?;
    sync_folder(path.parent().unwrap_or(path))
}

impl Store {
    /// Looks whether the library's disk is there, and takes what is in these other `folders` for away until the next look.
    /// Returns whether anything came or went. What is back is as it was, if its files are.
    pub fn look(&self, folders: BTreeSet<PathBuf>) -> Result<bool, StoreError> {
        let away = &self.0.away;
        let was_away = self.is_library_away();
        let is_away = away.is_library_gone();
        if was_away && !is_away {
            if away.is_unsettled.load(Ordering::Acquire) {
                self.settle()?;
                away.is_unsettled.store(false, Ordering::Release);
            }
            away.library.store(false, Ordering::Release);
            log::info!("the disk of the library is back: {}", self.library().display());
        } else if is_away && !was_away {
            log::warn!("{}", self.library_away());
        }
        let mut others = away.others.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = was_away != is_away || *others != folders;
        *others = folders;
        drop(others);
        if has_changed {
            self.find_again()?;
        }
        Ok(has_changed)
    }

    /// What is away.
    pub fn away(&self) -> BTreeSet<PathBuf> {
        let mut away = self.0.away.others.read().unwrap_or_else(PoisonError::into_inner).clone();
        away.extend(self.is_library_away().then(|| self.library()));
        away
    }

    /// Reads the files in these folders again that were found damaged and are as they were: a disk that is pulled out gives
    /// no bytes before it is gone.
    pub fn verify_damaged(&self, folders: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
        let mut damaged: Vec<ContentId> = Vec::new();
        self.0.index.for_each_record(FIRST, &mut |record| {
            let is_in = |it: &Location| self.roots().path(it).ancestors().any(|above| folders.contains(above));
            if record.locations.iter().any(|it| it.fault == Some(Fault::Damaged) && is_in(it)) {
                damaged.push(record.id);
            }
            true
        })?;
        for id in damaged {
            match self.verify(&id, &mut |_| ControlFlow::Continue(())) {
                // Removed meanwhile.
                Ok(_) | Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the disk of the library was not there when it was looked for last.
    pub fn is_library_away(&self) -> bool {
        self.0.away.library.load(Ordering::Acquire)
    }

    /// Fails while the disk of the library is away.
    pub fn check_library(&self) -> Result<(), StoreError> {
        if self.is_library_away() { Err(self.library_away()) } else { Ok(()) }
    }

    fn library_away(&self) -> StoreError {
        StoreError::LibraryAway { library: self.library(), record: self.0.data.join(MARK) }
    }

    /// Files that were missing and stand there again as they were are good. Returns whether there are any.
    pub fn find_again(&self) -> Result<bool, StoreError> {
        let mut found: Vec<(ContentId, Location)> = Vec::new();
        self.0.index.for_each_record(FIRST, &mut |record| {
            let stands = |it: &&Location| {
                it.fault == Some(Fault::Missing)
                    && !self.is_away(it)
                    && self.roots().path(it).metadata().is_ok_and(|metadata| it.is_same(record.size, &metadata))
            };
            found.extend(record.locations.iter().filter(stands).map(|it| (record.id, it.clone())));
            true
        })?;
        let ids: Vec<_> = found.iter().map(|(id, _)| *id).collect();
        let mut found = found.into_iter();
        let has_found = !ids.is_empty();
        self.0.index.change(&ids, &mut |_, record| {
            let (_, location) = found.next().expect("change calls once for each id");
            let mut record = record?;
            record.locations.iter_mut().filter(|it| it.is_still(&location)).for_each(|it| it.fault = None);
            Some(record)
        })?;
        Ok(has_found)
    }

    /// Whether a file is where nothing is for now.
    pub(super) fn is_away(&self, location: &Location) -> bool {
        if location.root == LIBRARY {
            return self.is_library_away();
        }
        let others = self.0.away.others.read().unwrap_or_else(PoisonError::into_inner);
        if others.is_empty() {
            return false;
        }
        let path = self.roots().path(location);
        path.ancestors().any(|above| others.contains(above))
    }

    /// The same at this moment, for a file that was not found.
    pub(super) fn is_gone(&self, location: &Location) -> bool {
        let is_gone = location.root == LIBRARY && self.0.away.is_library_gone();
        if is_gone {
            self.tell_fault();
        }
        is_gone || self.is_away(location)
    }

    /// The record with what is away as missing.
    pub(super) fn as_seen<'a>(&self, record: &'a Record) -> Cow<'a, Record> {
        let mut seen = Cow::Borrowed(record);
        for (at, _) in record.locations.iter().enumerate().filter(|(_, location)| self.is_away(location)) {
            seen.to_mut().locations[at].fault = Some(Fault::Missing);
        }
        seen
    }
}
