//! Names inside the library folder. Nothing here follows a symbolic link out of it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, RenameFlags, fsync, mkdirat, openat, renameat_with},
    io::Errno,
};

use super::{
    errors::{StoreError, at},
    files::INCOMING,
};
use crate::limits;

/// A path below the library folder: relative, `/` between its parts, no part empty, `.` or `..`, no NUL byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LibraryPath(String);

impl LibraryPath {
    /// None if the text is no such path or is in the store's own folder, a part is longer than 255 bytes, or the whole longer than
    /// [`limits::store::LIBRARY_PATH_BYTES`].
    pub fn new(path: &str) -> Option<Self> {
        let part_is_fine =
            |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.bytes().any(|byte| byte == 0);
        let is_ours = path.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(INCOMING));
        (path.len() <= limits::store::LIBRARY_PATH_BYTES && !is_ours && path.split('/').all(part_is_fine))
            .then(|| Self(path.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A folder of the library, held open: what happens to its path meanwhile can't redirect us.
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens the folder at an absolute path that is ours or the owner's: links on the way are the owner's choice.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let fd = openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(at(path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens the folder that holds `relative` below `root`, and makes missing ones durably if `create`. Also returns the
    /// last part of the path.
    pub(super) fn above<'a>(root: &Path, relative: &'a Path, create: bool) -> Result<(Self, &'a OsStr), StoreError> {
        Self::above_from(None, root, relative, create)
    }

    /// The same by somebody who may have it open already.
    pub(super) fn above_from<'a>(
        last: Option<Self>,
        root: &Path,
        relative: &'a Path,
        create: bool,
    ) -> Result<(Self, &'a OsStr), StoreError> {
        let outside = |path: &Path| StoreError::OutsideLibrary { path: path.to_owned() };
        let name = relative.file_name().ok_or_else(|| outside(relative))?;
        let is_above = |last: &Self| Some(&*last.path) == root.join(relative).parent();
        if let Some(last) = last.filter(is_above) {
            return Ok((last, name));
        }
        let mut folder = Self::open(root)?;
        for part in relative.parent().into_iter().flat_map(Path::components) {
            let Component::Normal(part) = part else { return Err(outside(relative)) };
            let path = folder.path.join(part);
            let mut opened = openat(&folder.fd, part, FOLDER, Mode::empty());
            if create && matches!(opened, Err(Errno::NOENT)) {
                match mkdirat(&folder.fd, part, Mode::from_raw_mode(0o755)) {
                    Ok(()) => folder.sync()?,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(StoreError::io(&path, error.into())),
                }
                opened = openat(&folder.fd, part, FOLDER, Mode::empty());
            }
            let fd = opened.map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => outside(&path),
                error => StoreError::io(&path, error.into()),
            })?;
            folder = Self { fd, path };
        }
        Ok((folder, name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names in this folder durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        fsync(&self.fd).map_err(at(&self.path))
    }

    /// Opens a regular file for reading, without following a link.
    pub(super) fn file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(openat(&self.fd, name, flags, Mode::empty())?);
        regular(file)
    }

    /// Moves `from` of `source` here; refuses to replace anything.
    pub(super) fn take(&self, source: &Folder, from: &OsStr, name: &OsStr) -> io::Result<()> {
        match renameat_with(&source.fd, from, &self.fd, name, RenameFlags::NOREPLACE) {
            // Some file systems can't refuse by themselves. The store is the only writer of the library.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::statat(&self.fd, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    Err(Errno::NOENT) => Ok(rustix::fs::renameat(&source.fd, from, &self.fd, name)?),
                    Err(error) => Err(error.into()),
                }
            }
            other => Ok(other?),
        }
    }

    /// Moves `from` of `source` here, over what has this name.
    pub(super) fn replace(&self, source: &Folder, from: &OsStr, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&source.fd, from, &self.fd, name)?)
    }

    /// Whether one of the names here is this one to the letter. Where case is ignored, a file can be opened by names that
    /// are not listed.
    pub(super) fn lists(&self, name: &OsStr) -> io::Result<bool> {
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            if entry?.file_name().to_bytes() == name.as_bytes() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives the file `from` of `source` a second name here.
    pub(super) fn link(&self, source: &Folder, from: &OsStr, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::linkat(&source.fd, from, &self.fd, name, rustix::fs::AtFlags::empty())
    }

    /// Takes a name away.
    pub(super) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, rustix::fs::AtFlags::empty())?)
    }

    /// Moves what has this name out of the way: `book.pdf` becomes `book (set aside 1).pdf`. Returns its new path.
    pub(super) fn set_aside(&self, name: &OsStr) -> Result<PathBuf, StoreError> {
        for number in 1..=limits::store::SET_ASIDE {
            let aside = aside_name(name, number);
            match self.take(self, name, &aside) {
                Ok(()) => return Ok(self.path.join(aside)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io(&self.path.join(name), error)),
            }
        }
        Err(StoreError::io(&self.path.join(name), io::ErrorKind::AlreadyExists.into()))
    }
}

fn aside_name(name: &OsStr, number: u32) -> OsString {
    let note = format!(" (set aside {number})");
    let (stem, extension) = (Path::new(name).file_stem().unwrap_or(name), Path::new(name).extension());
    let tail = extension.map_or(0, |extension| extension.len() + 1);
    let mut bytes = stem.as_bytes().to_vec();
    let mut cut = bytes.len().min(255usize.saturating_sub(note.len() + tail));
    // Not in the middle of a UTF-8 character.
    while cut > 0 && cut < bytes.len() && bytes[cut] & 0xc0 == 0x80 {
        cut -= 1;
    }
    bytes.truncate(cut);
    bytes.extend_from_slice(note.as_bytes());
    if let Some(extension) = extension {
        bytes.push(b'.');
        bytes.extend_from_slice(extension.as_bytes());
    }
    OsString::from_vec(bytes)
}

/// Opens a regular file for reading, following links; never waits for the other end of a pipe.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    regular(File::from(openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?))
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tame_paths_are_library_paths() {
        for good in ["a", "a/b.pdf", "книга/本.epub", "...", "a b/.hidden"] {
            assert!(LibraryPath::new(good).is_some(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/", "/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a\0b", ".allibrary/x", &long] {
            assert!(LibraryPath::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_set_aside_keeps_its_extension_and_fits() {
        assert_eq!(aside_name(OsStr::new("book.pdf"), 2), "book (set aside 2).pdf");
        assert_eq!(aside_name(OsStr::new("README"), 1), "README (set aside 1)");
        let long = aside_name(OsStr::new(&format!("{}.pdf", "ö".repeat(125))), 1);
        assert!(long.len() <= 255 && long.to_str().is_some_and(|name| name.ends_with("ö (set aside 1).pdf")));
    }
}
