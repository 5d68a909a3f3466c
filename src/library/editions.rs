//! An earlier edition of an item: it stays, under another name, until the new one is here.

use std::path::PathBuf;

use super::{Item, Library, LibraryError, names, publish::copy_path};
use crate::{
    content::ContentId,
    store::{BlobState, Fault, LibraryPath, StoreError},
};

/// Where it waits below the library.
pub(super) fn waiting_path(folder: &str, path: &str, old: &ContentId) -> Option<LibraryPath> {
    LibraryPath::new(&format!("{folder}/{}", names::apart_path(path, &old.to_string())))
}

/// All that the file of an item may be called below the library: its own name, the spare one, and where it waits as an earlier
/// edition.
pub(super) fn names_of(folder: &str, path: &str, id: &ContentId) -> impl Iterator<Item = LibraryPath> + use<> {
    let spare = LibraryPath::new(&format!("{folder}/{}", names::spare_path(path)));
    [copy_path(folder, path), spare, waiting_path(folder, path, id)].into_iter().flatten()
}

/// The files that it may have.
pub(super) fn files_of(library: &Library, folder: &str, old: &Item) -> impl Iterator<Item = (ContentId, PathBuf)> {
    let (root, id) = (library.store().library(), old.id);
    names_of(folder, &old.path, &id).map(move |name| (id, root.join(name.as_str())))
}

/// Moves earlier editions from these paths to where they wait, unless they are there. Returns where each is; none if it is at
/// neither.
pub(super) fn set_back(
    library: &Library,
    folder: &str,
    editions: &[(Item, PathBuf)],
) -> Result<Vec<Option<PathBuf>>, LibraryError> {
    let store = library.store();
    let (mut waiting, mut moved) = (Vec::with_capacity(editions.len()), Vec::new());
    for (old, path) in editions {
        let paths = store.info(&old.id)?.map(|info| info.paths).unwrap_or_default();
        let to = waiting_path(folder, &old.path, &old.id);
        let place = to.as_ref().map(|to| store.library().join(to.as_str()));
        let is_there = paths.contains(path);
        waiting.push(match to.filter(|_| is_there).map(|to| store.place(&old.id, &to)) {
            None => place.filter(|place| paths.contains(place)),
            Some(Ok(())) => {
                moved.push((old.id, path.clone()));
                place
            }
            Some(Err(StoreError::NotFound(_))) => {
                // If a reader has changed it, it is for the store to set aside.
                if store.info(&old.id)?.is_some_and(|info| info.state == BlobState::Unavailable(Fault::Damaged)) {
                    moved.push((old.id, path.clone()));
                }
                None
            }
            Some(Err(error)) => return Err(error.into()),
        });
    }
    store.remove(&moved)?;
    Ok(waiting)
}
