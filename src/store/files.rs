//! Where files stand, and the small file calls that several parts of the store share.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use rustix::fs::{OFlags, fcntl_setfl};

use super::{
    Store, StoreError,
    errors::at,
    paths::{Folder, open_regular},
    record::{LIBRARY, Location},
};
use crate::{content::ContentId, limits::store::RELATIVE_PATH_BYTES};

/// What `incoming/` is called inside a library folder that is not in the data folder.
pub(super) const INCOMING: &str = ".allibrary";
/// How the names of temporary files begin; they are deleted when the store is opened.
pub(super) const TEMPORARY: &str = "tmp-";

/// The folders that locations are relative to.
pub(super) struct Roots(BTreeMap<u32, PathBuf>);

impl Roots {
    pub(super) fn new(library: PathBuf, stored: BTreeMap<u32, Vec<u8>>) -> Self {
        let mut roots: BTreeMap<_, _> =
            stored.into_iter().map(|(number, path)| (number, PathBuf::from(OsStr::from_bytes(&path)))).collect();
        roots.insert(LIBRARY, library);
        Self(roots)
    }

    pub(super) fn library(&self) -> &Path {
        &self.0[&LIBRARY]
    }

    pub(super) fn path(&self, location: &Location) -> PathBuf {
        let path = OsStr::from_bytes(&location.path);
        self.0.get(&location.root).map_or_else(|| PathBuf::from(path), |root| root.join(path))
    }

    /// The deepest known folder above an absolute path, and the path from there.
    fn split(&self, path: &Path) -> Option<(u32, Vec<u8>)> {
        let found = self.0.iter().filter_map(|(number, root)| Some((*number, path.strip_prefix(root).ok()?)));
        let (number, rest) = found.min_by_key(|(_, rest)| rest.as_os_str().len())?;
        let rest = rest.as_os_str().as_bytes();
        (!rest.is_empty() && rest.len() <= RELATIVE_PATH_BYTES).then(|| (number, rest.to_vec()))
    }
}

impl Store {
    /// Makes a folder known that files are shared from: their paths are then stored relative to it, unless they are to one
    /// above already. Optional; without it each file's own folder is.
    pub fn add_root(&self, folder: &Path) -> Result<(), StoreError> {
        let folder = std::path::absolute(folder).map_err(at(folder))?;
        if self.roots().0.values().any(|root| folder.starts_with(root)) { Ok(()) } else { self.put_root(folder) }
    }

    fn put_root(&self, folder: PathBuf) -> Result<(), StoreError> {
        let mut roots = self.0.roots.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if roots.0.values().any(|root| *root == folder) {
            return Ok(());
        }
        let number = roots.0.last_key_value().map_or(LIBRARY, |(number, _)| *number) + 1;
        self.0.index.put_root(number, folder.as_os_str().as_bytes())?;
        roots.0.insert(number, folder);
        Ok(())
    }

    /// The root and relative path of an absolute path; the file's own folder becomes a root if it has to.
    pub(super) fn root_of(&self, path: &Path) -> Result<(u32, Vec<u8>), StoreError> {
        if let Some(found) = self.roots().split(path) {
            return Ok(found);
        }
        let outside = || StoreError::OutsideLibrary { path: path.to_owned() };
        self.put_root(path.parent().ok_or_else(outside)?.to_owned())?;
        self.roots().split(path).ok_or_else(outside)
    }

    /// The root and relative path of an absolute path below a known root.
    pub(super) fn known_root_of(&self, path: &Path) -> Option<(u32, Vec<u8>)> {
        self.roots().split(path)
    }

    /// Opens the file of a location; a symbolic link inside the library is not followed.
    pub(super) fn open_location(&self, location: &Location) -> io::Result<File> {
        let file = self.find_location(location)?;
        // When it was last used is noted where that matters. The system refuses this for files of others.
        let _ = fcntl_setfl(&file, OFlags::NONBLOCK | OFlags::NOATIME);
        Ok(file)
    }

    fn find_location(&self, location: &Location) -> io::Result<File> {
        let path = self.roots().path(location);
        if location.root != LIBRARY {
            return open_regular(&path);
        }
        let relative = Path::new(OsStr::from_bytes(&location.path));
        let (folder, name) = Folder::above(self.roots().library(), relative, false).map_err(|error| match error {
            StoreError::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        folder.file(name)
    }

    pub(super) fn outboard_path(&self, id: &ContentId) -> PathBuf {
        self.0.data.join("outboard").join(format!("{id:.2}")).join(format!("{id}.obao"))
    }

    /// Makes the folder of an outboard, durably if it is new.
    pub(super) fn make_outboard_folder(&self, id: &ContentId) -> Result<(), StoreError> {
        let path = self.outboard_path(id);
        let folder = path.parent().unwrap_or(&self.0.data);
        match std::fs::create_dir(folder) {
            Ok(()) => sync_folder(folder.parent().unwrap_or(&self.0.data)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(StoreError::io(folder, error)),
        }
    }
}

/// Deletes what a run that was cut short left behind in this folder.
pub(super) fn clean_temporary_files(folder: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        if entry.file_name().as_bytes().starts_with(TEMPORARY.as_bytes()) {
            std::fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    Ok(())
}

/// A file without a final name; deleted unless it was moved to one.
pub(super) struct Temp {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Temp {
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(at(&path))?;
        Ok(Self { file, path })
    }

    /// It stays where it is, or has left.
    pub(super) fn leave(mut self) {
        self.path = PathBuf::new();
    }

    /// The last part of its path.
    pub(super) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // Gone already if it was moved.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

pub(super) fn create_private(folder: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// Bytes that an ordinary user may still write to the disk of this folder.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// It is no error if there is none.
pub(super) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, error)),
        _ => Ok(()),
    }
}
