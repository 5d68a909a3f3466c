//! The manifest of a collection on disk: one file that is replaced as a whole and read piece by piece.
//!
//! | part | what |
//! |---|---|
//! | pages | one behind the other, in the order of their items |
//! | table | for each page: hash (32), end of the page in the file (u64), items up to its end (u64), little endian |
//! | root | the signed root in its publisher's bytes; empty in the list of kept items |
//! | local | the folder below the library in which the items' files stand |
//! | footer | bytes of root, bytes of local, pages (u32 each), [`MAGIC`] |
//!
//! A page is verified against its hash whenever it is read. Memory is one page, whatever the collection holds.

mod read;
mod write;

pub(super) use read::{Items, Manifest};
pub(super) use write::{Builder, Draft, delete};

use std::io;

use thiserror::Error;

use super::{page::PageError, root::RootError};

/// Ends every manifest file; the number is the version of the layout.
const MAGIC: [u8; 8] = *b"ALMANIF1";
/// Bytes of one table entry.
const ENTRY_BYTES: u64 = 32 + 8 + 8;
/// Bytes of the footer.
const FOOTER_BYTES: u64 = 3 * 4 + MAGIC.len() as u64;

/// Why a manifest can't be read, written or taken from a peer.
#[derive(Debug, Error)]
pub enum ManifestError {
    #[error("reading or writing a manifest: {0}")]
    Io(io::Error),
    #[error(
        "the manifest on disk is damaged ({0}); after a restart it is fetched from a peer, or published by the next add"
    )]
    Damaged(&'static str),
    #[error("{0}")]
    Root(#[from] RootError),
    #[error("{0}")]
    Page(#[from] PageError),
    #[error("a page with another hash than the root names")]
    PageHash,
    #[error("the pages hold {items} items of {bytes} bytes, but the root says otherwise")]
    Totals { items: u64, bytes: u64 },
    #[error("the collection is larger than one manifest can hold; publish part of it as another collection")]
    TooLarge,
}

impl From<io::Error> for ManifestError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("cut short"),
            _ => Self::Io(error),
        }
    }
}

impl ManifestError {
    /// Whether only a faulty or hostile peer sends this.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Root(_) | Self::Page(_) | Self::PageHash | Self::Totals { .. })
    }
}

#[cfg(test)]
mod tests;
