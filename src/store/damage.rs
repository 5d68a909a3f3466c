//! What a damaged index looks like, and where it goes.
//!
//! sled panics on some damage, and on some it goes back to an older state without a word. The number of the last batch
//! therefore also stands in the file `index.generation`, as of the last opening or closing: an index below it is damaged.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::errors::StoreError;
use crate::limits::store::DAMAGED_INDEXES;

pub(super) fn damaged() -> StoreError {
    StoreError::Index("damaged".to_owned())
}

/// The number of the last batch that this index is known to have had, from the file beside it.
pub(super) fn read_generation(index: &Path) -> u64 {
    let text = std::fs::read_to_string(index.with_extension("generation"));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Writes it down. Nothing is lost if it fails: then an older number stands, or none.
pub(super) fn write_generation(index: &Path, generation: u64) {
    if read_generation(index) == generation {
        return;
    }
    let (path, draft) = (index.with_extension("generation"), index.with_extension("generation.draft"));
    if let Err(error) = std::fs::write(&draft, format!("{generation}\n")).and_then(|()| std::fs::rename(&draft, &path))
    {
        log::warn!("{}: {error}", path.display());
    }
}

/// A name for a damaged index; the last one makes room if there are many.
pub(super) fn aside_name(data: &Path) -> Result<PathBuf, StoreError> {
    let name = |number| data.join(format!("index.damaged-{number}"));
    if let Some(free) = (1..DAMAGED_INDEXES).map(name).find(|path| path.symlink_metadata().is_err()) {
        return Ok(free);
    }
    let last = name(DAMAGED_INDEXES);
    match std::fs::remove_dir_all(&last).or_else(|_| std::fs::remove_file(&last)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(&last, error)),
        _ => Ok(last),
    }
}

/// A value of the index.
pub(super) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value).map_err(|_| damaged())
}
