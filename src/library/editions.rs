//! An earlier edition of an item: it stays, under another name, until the new one is here.

use std::path::{Path, PathBuf};

use super::{Item, Library, LibraryError, names, publish::copy_path};
use crate::{
    content::ContentId,
    store::{BlobState, Fault, LibraryPath, StoreError},
};

/// Where it waits below the library.
pub(super) fn waiting_path(folder: &str, path: &str, old: &ContentId) -> Option<LibraryPath> {
    LibraryPath::new(&format!("{folder}/{}", names::apart_path(path, &old.to_string())))
}

/// The files that it may have: under its name, and where it waits.
pub(super) fn files_of(library: &Library, folder: &str, old: &Item) -> impl Iterator<Item = (ContentId, PathBuf)> {
    let (root, id) = (library.store().library(), old.id);
    let names = [copy_path(folder, &old.path), waiting_path(folder, &old.path, &id)];
    names.into_iter().flatten().map(move |name| (id, root.join(name.as_str())))
}

/// Moves it from `path` to where it waits, unless it is there. Returns where that is; none if it is at neither.
pub(super) fn set_back(
    library: &Library,
    folder: &str,
    old: &Item,
    path: &Path,
) -> Result<Option<PathBuf>, LibraryError> {
    let store = library.store();
    let paths = store.info(&old.id)?.map(|info| info.paths).unwrap_or_default();
    let Some(to) = waiting_path(folder, &old.path, &old.id) else { return Ok(None) };
    let waiting = store.library().join(to.as_str());
    if !paths.iter().any(|it| it == path) {
        return Ok(paths.contains(&waiting).then_some(waiting));
    }
    match store.place(&old.id, &to) {
        Ok(()) => store.remove(&[(old.id, path.to_owned())])?,
        Err(StoreError::NotFound(_)) => {
            // If a reader has changed it, it is for the store to set aside.
            if store.info(&old.id)?.is_some_and(|info| info.state == BlobState::Unavailable(Fault::Damaged)) {
                store.remove(&[(old.id, path.to_owned())])?;
            }
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Some(waiting))
}
