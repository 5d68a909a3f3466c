//! What can go wrong, in words for people.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};
use thiserror::Error;

use super::Fault;
use crate::content::ContentId;

/// Why the store could not do it. Unless a variant says otherwise, nothing that was acknowledged before is lost.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has the data folder open; 0 = its number is not known.
    #[error("another allibrary ({}) already uses {data}; stop it, or choose another folder with --data", process(*.pid), data = data.display())]
    Locked { data: PathBuf, pid: u32 },
    /// A newer version of the program wrote this data folder.
    #[error(
        "the data folder was written by a newer version (index schema {found}, this version knows {known}); update allibrary"
    )]
    NewerSchema { found: u32, known: u32 },
    /// The disk is full, or would hold less than the reserve. Try again when there is room.
    #[error("no space left for {folder}: at least {} MB are missing (reserve included); free some, or lower mirror.reserve", missing_bytes.div_ceil(1_000_000), folder = folder.display())]
    NoSpace { folder: PathBuf, missing_bytes: u64 },
    /// The library would hold more than it may. Try again when something was removed.
    #[error("the quota of {} MB is used up: {} MB are missing; remove something with `allibrary rm`, or raise mirror.quota", quota_bytes / 1_000_000, missing_bytes.div_ceil(1_000_000))]
    OverQuota { quota_bytes: u64, missing_bytes: u64 },
    /// The library is on a disk that is not there. Try again when it is.
    #[error("the disk of the library is not there: what stands in {library} is not this node's library; plug its disk in. To begin another library there, delete {record}", library = library.display(), record = record.display())]
    LibraryAway { library: PathBuf, record: PathBuf },
    /// The file system has no room for the file, however empty it is.
    #[error("{path}: the disk takes no file of this size (FAT takes less than 4 GiB); use one with exFAT or ext4", path = path.display())]
    FileTooLarge { path: PathBuf },
    /// A key, a value or a name is longer than the index takes. Nothing of the batch was written.
    #[error("{bytes} bytes are too long for the index, which takes {max}")]
    TooLarge { bytes: usize, max: usize },
    /// The blob is already being downloaded.
    #[error("{0} is already being downloaded")]
    Busy(ContentId),
    /// The blob is already complete.
    #[error("{0} is already here")]
    AlreadyHere(ContentId),
    /// The store does not know the blob, or does not have its bytes.
    #[error("{0} is not here")]
    NotFound(ContentId),
    /// Another size of this blob has been proven, or its id is that of another size.
    #[error("{id} does not have {claimed} bytes")]
    WrongSize { id: ContentId, claimed: u64 },
    /// A folder on the way is a symbolic link or a file: the store does not write through it.
    #[error("{path} does not lead to a folder of the library (a symbolic link or a file is in the way); move it away", path = path.display())]
    OutsideLibrary { path: PathBuf },
    /// A file stands there whose name differs in case alone, on a file system that ignores case.
    #[error("{path}: a file is there whose name differs in case alone, and this disk does not tell them apart", path = path.display())]
    NameTaken { path: PathBuf },
    /// The caller did not want it any more. Nothing was changed.
    #[error("stopped")]
    Stopped,
    /// The index failed. It is rebuilt on the next start if it is damaged.
    #[error("the index failed ({0}); restart the node, a damaged index is then set aside and rebuilt")]
    Index(String),
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StoreError {
    /// Whether it would have gone well with more room.
    pub fn is_about_room(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::OverQuota { .. })
    }

    /// An I/O error at `path`; a full disk is told apart.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(path);
                Self::NoSpace { folder: folder.to_owned(), missing_bytes: 1 }
            }
            io::ErrorKind::FileTooLarge => Self::FileTooLarge { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

fn process(pid: u32) -> String {
    if pid == 0 { "another process".to_owned() } else { format!("process {pid}") }
}

/// `map_err(at(path))`: the error names the file.
pub(super) fn at<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::io(path, error.into())
}

/// Whether a call failed for want of memory or file handles: that says nothing about the file.
pub(super) fn is_for_want(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

/// Why a file was not imported. The store is as it was.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A folder, pipe, socket or device.
    #[error("{path} is not a regular file; only files can be shared", path = path.display())]
    NotAFile { path: PathBuf },
    /// The file is gone, or this user may not read it.
    #[error("cannot read {path}: {source}; {fix}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error, fix: String },
    /// Somebody wrote to the file while it was read. Try again later.
    #[error("{path} changed while it was read; add it again when nobody writes to it", path = path.display())]
    Changed { path: PathBuf },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    /// Of a file or folder, with what to do about it.
    pub fn unreadable(path: &Path, source: io::Error) -> Self {
        let fix = match source.kind() {
            io::ErrorKind::PermissionDenied => how_to_let_in(path),
            io::ErrorKind::NotFound => "check the name".to_owned(),
            _ => "check the disk it is on".to_owned(),
        };
        Self::Unreadable { path: path.to_owned(), source, fix }
    }
}

/// What is in the way to a file or folder that this process may not read, and the command that opens it: a node of the system
/// is not the user who shares the file.
fn how_to_let_in(path: &Path) -> String {
    let mut above: Vec<_> = path.ancestors().skip(1).collect();
    above.reverse();
    let closed = above.into_iter().find(|folder| access(*folder, Access::EXEC_OK).is_err());
    let (place, mode, verb) = match closed {
        Some(folder) => (folder, "a+x", "enter"),
        None if path.is_dir() => (path, "a+rx", "look into"),
        None => (path, "a+r", "read"),
    };
    let (shown, user) = (place.display(), rustix::process::geteuid().as_raw());
    format!("the node's user ({user}) may not {verb} {shown}; to let everybody: sudo chmod {mode} {}", in_shell(place))
}

/// As a shell takes it for one word.
fn in_shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@,".contains(c);
    if text.chars().all(is_plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Why bytes of a blob were not handed out. None were.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The store does not know this blob.
    #[error("{0} is not here")]
    NotFound(ContentId),
    /// The blob was here, but no file holds its bytes any more.
    #[error("{id} is not available: its file is {fault}")]
    Unavailable { id: ContentId, fault: Fault },
    /// The bytes on disk are not those of the blob; it is marked as unavailable.
    #[error("{id} is {fault} near byte {offset}")]
    Damaged { id: ContentId, fault: Fault, offset: u64 },
    /// The range is empty, too long, not of whole groups where that is asked for, or not here.
    #[error("bytes {start} to {end} cannot be read: the range is too long, reaches behind the end or is not here")]
    Range { start: u64, end: u64 },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why bytes of a download were not kept. What was verified before stays.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The bytes or hashes do not prove what the id promises; nothing was written.
    #[error("the bytes received are not those of {0}")]
    Corrupt(ContentId),
    /// The range is empty, too long, or not of whole groups; nothing was written.
    #[error("bytes {start} to {end} are not a range of whole groups of this blob")]
    Range { start: u64, end: u64 },
    /// [`Download::finish`](super::Download::finish) before all bytes are here.
    #[error("{missing_bytes} bytes are still missing")]
    Incomplete { missing_bytes: u64 },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_in_a_shell() {
        assert_eq!(in_shell(Path::new("/home/pi/books-1.0")), "/home/pi/books-1.0");
        assert_eq!(in_shell(Path::new("/media/pi/My 'own' $disk")), r"'/media/pi/My '\''own'\'' $disk'");
    }
}
