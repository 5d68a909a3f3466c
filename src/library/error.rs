//! What can go wrong, in words for people.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::ManifestError;
use crate::{
    limits::library::{NAME_BYTES, TITLE_BYTES},
    store::{ImportError, StoreError},
};

/// Why the library could not do it. What was published or fetched before is as it was.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A file or folder that was to be shared can't be read.
    #[error(transparent)]
    Unreadable(#[from] ImportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A manifest could not be read or written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is no such collection.
    #[error("there is no such collection here; `allibrary ls` lists them")]
    NoCollection,
    /// There is no such item.
    #[error("the collection has no such item; `allibrary ls COLLECTION` lists them")]
    NoItem,
    /// A path that can't be shared.
    #[error("{}: {why}", path.display())]
    Refused { path: PathBuf, why: &'static str },
    /// What was shared before is gone.
    #[error("{} is not there: is its disk unplugged? What was shared from it stays listed; `allibrary rm` takes it away", path.display())]
    Away { path: PathBuf },
    /// More than was meant, probably.
    #[error("{} is {what}: everyone on this network could read all of it; add --yes if that is what you want", path.display())]
    NeedsYes { path: PathBuf, what: &'static str },
    /// A name that no collection can have.
    #[error("{0:?} can't be a collection's name: it must be 1 to {NAME_BYTES} bytes of text on one line")]
    Name(String),
    /// Only its publisher can change a collection.
    #[error("{0:?} is the collection of another node: only its publisher can change what it says")]
    NotMine(String),
    /// A word that no item can have.
    #[error("{text:?} can't be the {what} of a file: it must be text of at most {TITLE_BYTES} bytes")]
    Word { what: &'static str, text: String },
    /// No tag of a language.
    #[error("{0:?} is no language tag (RFC 5646); it looks like en, pt-BR or zh-Hant")]
    Language(String),
    /// What a file says of itself can't be read.
    #[error("the file of {0:?} can't be read now, and so not what it says of itself; try again when its disk is back")]
    NoFile(String),
    /// No room for what is to be remembered of a collection.
    #[error("no more can be remembered of this collection; share part of it as another collection")]
    NotesFull,
    /// No room for another collection.
    #[error("this node keeps {0} collections already, which is as many as it can; remove one")]
    TooManyCollections(usize),
}

impl LibraryError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Whether a file of the library's own met a full disk.
    pub fn is_full_disk(&self) -> bool {
        let (Self::Io { source, .. } | Self::Manifest(ManifestError::Io(source))) = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}
