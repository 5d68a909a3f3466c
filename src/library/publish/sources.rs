//! Which paths were asked for, and where in the collection each belongs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    AddRequest,
    seen::{Owned, is_below},
    walk::{item_name, unused},
};
use crate::{
    library::{Library, LibraryError, apply::Own},
    store::ImportError,
    wire::Text,
};

/// The collection of files that belong to no other.
const DEFAULT_NAME: &str = "Shared";

/// A file or folder of this machine and its place in the collection; "" is the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub path: PathBuf,
    pub at: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Neither is there.
    Missing,
}

pub(super) struct Plan {
    pub own: Own,
    pub sources: Vec<Source>,
}

/// Checks the request and remembers the places.
pub(super) fn plan(library: &Library, request: &AddRequest) -> Result<Plan, LibraryError> {
    let mut paths = Vec::new();
    for path in &request.paths {
        let real = match fs::canonicalize(path) {
            Err(_) if was_shared(library, path)? => return Err(LibraryError::Away { path: path.clone() }),
            real => real.map_err(|error| ImportError::unreadable(path, error))?,
        };
        let metadata = fs::metadata(&real).map_err(|error| LibraryError::io(path, error))?;
        let refuse = |why| Err(LibraryError::Refused { path: path.clone(), why });
        if !metadata.is_dir() && !metadata.is_file() {
            return refuse("it is neither a file nor a folder");
        }
        if real.starts_with(library.data()) && !real.starts_with(library.store().library()) {
            return refuse("it is in this node's own data folder, where its secret key is");
        }
        if metadata.is_dir() && !request.yes {
            check_modest(&real)?;
        }
        paths.push((real, metadata.is_dir()));
    }
    let single = match paths.as_slice() {
        [] => return Err(LibraryError::Refused { path: PathBuf::new(), why: "nothing to add" }),
        [(folder, true)] => Some(folder.clone()).filter(|_| request.collection.is_none()),
        _ => None,
    };
    let name = match (&request.collection, &single) {
        (Some(name), _) => name.clone(),
        (None, Some(folder)) => base_name(folder),
        (None, None) => DEFAULT_NAME.to_owned(),
    };
    let name = match Text::new(name.trim()) {
        Some(name) if !name.is_empty() => name,
        _ if request.collection.is_none() => Text::cut(&name),
        _ => return Err(LibraryError::Name(name)),
    };
    let own = library.own(name)?;
    let mut known = library.notes(&own.key)?.sources();
    let mut sources = Vec::new();
    for (path, is_folder) in paths {
        let wanted = if single.is_some() { String::new() } else { base_name(&path) };
        let at = place(library, &own, &known, &path, &wanted)?;
        known.insert(at.clone(), path.clone());
        sources.push(Source { path, at, kind: if is_folder { Kind::Folder } else { Kind::File } });
    }
    let places = sources.iter().map(|source| (source.at.clone(), source.path.clone()));
    library.remember(&own, places)?;
    Ok(Plan { own, sources })
}

fn was_shared(library: &Library, path: &Path) -> Result<bool, LibraryError> {
    Ok(library.shared()?.iter().any(|(.., sources)| sources.values().any(|source| source == path)))
}

/// Where this file or folder was put before, or `wanted`, or the next name that is free.
fn place(
    library: &Library,
    own: &Own,
    known: &BTreeMap<String, PathBuf>,
    path: &Path,
    wanted: &str,
) -> Result<String, LibraryError> {
    if let Some((at, _)) = known.iter().find(|(at, known)| *known == path && (at.is_empty() == wanted.is_empty())) {
        return Ok(at.clone());
    }
    // What is gone gives its place away: a stick that is mounted elsewhere is still the same stick.
    let is_free = |at: &str| known.get(at).is_none_or(|known| is_gone(known));
    if wanted.is_empty() && is_free("") {
        return Ok(String::new());
    }
    let wanted = if wanted.is_empty() { base_name(path) } else { wanted.to_owned() };
    let mut manifest = library.manifest(&own.key)?;
    let listed = |at: &str| match &mut manifest {
        Some(manifest) => manifest.item(at).map(|item| item.is_some()),
        None => Ok(false),
    };
    let listed = std::cell::RefCell::new(listed);
    let failed = std::cell::Cell::new(None);
    let at = unused(&wanted, |at| {
        // A file that was listed here by a source that is gone is this one, moved.
        let foreign = !known.contains_key(at)
            && listed.borrow_mut()(at).unwrap_or_else(|error| {
                failed.set(Some(error));
                false
            });
        !is_free(at) || foreign
    });
    failed.take().map_or(Ok(at), |error| Err(error.into()))
}

/// Whether nothing is there, or only the empty folder that an unplugged disk leaves behind.
fn is_gone(path: &Path) -> bool {
    !path.exists() || fs::read_dir(path).is_ok_and(|mut names| names.next().is_none())
}

/// What a collection of this node comes from, as it is now. What was copied is left out: copies stay as they are.
pub(super) fn remembered(library: &Library, own: &Own) -> Result<Vec<Source>, LibraryError> {
    let known = library.notes(&own.key)?.sources();
    let is_walked_to = |at: &String, path: &PathBuf| {
        known.iter().any(|(above_at, above)| above_at != at && is_below(at, path, above_at, above))
    };
    let mut sources = Vec::new();
    for (at, path) in known.iter().filter(|(at, path)| !is_walked_to(at, path)) {
        if !is_copied(library, own, &known, at)? {
            let kind = match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => Kind::Folder,
                Ok(metadata) if metadata.is_file() => Kind::File,
                _ => Kind::Missing,
            };
            sources.push(Source { path: path.clone(), at: at.clone(), kind });
        }
    }
    Ok(sources)
}

/// Whether the library has copies of what came from there, which the first item tells.
fn is_copied(library: &Library, own: &Own, known: &BTreeMap<String, PathBuf>, at: &str) -> Result<bool, LibraryError> {
    let Some(item) = Owned::by(library, &own.key, known, at)?.next().transpose()? else { return Ok(false) };
    let copies = library.store().library().join(&own.folder);
    let paths = library.store().info(&item.id)?.map(|info| info.paths).unwrap_or_default();
    // One that rotted where it is shared has a copy too.
    let is_shared = known.get(at).is_some_and(|source| paths.iter().any(|path| path.starts_with(source)));
    Ok(!is_shared && paths.iter().any(|path| path.starts_with(&copies)))
}

fn base_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "root".to_owned(), item_name)
}

/// Refuses `/` and home folders, which hold more than people think.
fn check_modest(folder: &Path) -> Result<(), LibraryError> {
    let home = std::env::var_os("HOME").and_then(|home| fs::canonicalize(home).ok());
    let is_home = home.as_deref() == Some(folder)
        || folder == Path::new("/root")
        || folder == Path::new("/home")
        || folder.parent() == Some(Path::new("/home"));
    let what = match (folder.parent(), is_home) {
        (None, _) => "the whole machine",
        (_, true) => "a home folder",
        _ => return Ok(()),
    };
    Err(LibraryError::NeedsYes { path: folder.to_owned(), what })
}
