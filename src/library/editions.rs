//! An earlier edition of an item: it stays, under another name, until the new one is here.

use std::path::PathBuf;

use super::{Item, Library, LibraryError, names};
use crate::{
    content::ContentId,
    store::{BlobState, Fault, LibraryPath, StoreError},
};

/// Where it waits below the library.
pub(super) fn waiting_path(folder: &str, path: &str, old: &ContentId) -> Option<LibraryPath> {
    LibraryPath::new(&format!("{folder}/{}", names::apart_path(path, &old.to_string())))
}

/// What the file of an item may be called below the library: its own name, or the spare one where that is taken.
pub(super) fn own_names(folder: &str, path: &str) -> impl Iterator<Item = LibraryPath> {
    let names = [names::file_path, names::spare_path].into_iter();
    names.filter_map(move |name| LibraryPath::new(&format!("{folder}/{}", name(path))))
}

/// The first of them that can be had. What has its name may be what another item lists, as a file whose name differs in case
/// alone does where case is ignored: it is not ours to set aside.
pub(super) fn free_name(library: &Library, folder: &str, path: &str) -> Option<LibraryPath> {
    own_names(folder, path).find(|name| !library.store().is_taken(name))
}

/// All of them, and where it waits as an earlier edition.
pub(super) fn names_of(folder: &str, path: &str, id: &ContentId) -> impl Iterator<Item = LibraryPath> {
    own_names(folder, path).chain(waiting_path(folder, path, id))
}

/// The files that it may have.
pub(super) fn files_of(library: &Library, folder: &str, old: &Item) -> impl Iterator<Item = (ContentId, PathBuf)> {
    let (root, id) = (library.store().library(), old.id);
    names_of(folder, &old.path, &old.id).map(move |name| (id, root.join(name.as_str())))
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
