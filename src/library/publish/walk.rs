//! Which files a folder holds: sorted by the paths that their items get, one folder's names in memory per level.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::super::item::is_item_path;
use crate::store::ImportError;

/// What a walk comes across.
pub(super) enum Found {
    /// A file, and the path of its item below the folder that was walked.
    File { path: PathBuf, item: String },
    /// A folder on another disk than the one that it is in; what it holds follows.
    Mount { path: PathBuf, item: String },
    /// Something left out on purpose; without words, something that nobody misses.
    Skipped { path: PathBuf, why: &'static str },
    /// A folder or file that could not be read; `item` is the path of the items it would have.
    Failed { path: PathBuf, item: String, why: String },
}

/// A walk through a folder and all below it.
pub(super) struct Walk<'a> {
    /// The folder, as the kernel names it.
    root: PathBuf,
    /// A folder that is never entered.
    not: &'a Path,
    /// The folders that the walk is in, innermost last.
    levels: Vec<Level>,
    /// What to tell first.
    first: Option<Found>,
}

struct Level {
    /// Of the disk that it is on.
    device: u64,
    /// Still to be looked at, in reverse order.
    names: Vec<Name>,
}

struct Name {
    path: PathBuf,
    item: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// Folders within folders; deeper ones are left out.
const DEPTH: usize = 64;

impl<'a> Walk<'a> {
    /// `root` is canonical. Items start with `prefix`, unless that is empty.
    pub fn new(root: PathBuf, prefix: &str, not: &'a Path) -> Self {
        let mut walk = Self { root: root.clone(), not, levels: Vec::new(), first: None };
        walk.first = walk.enter(root, prefix.to_owned());
        walk
    }

    fn enter(&mut self, folder: PathBuf, item: String) -> Option<Found> {
        if folder == self.not {
            return Some(Found::Skipped { path: folder, why: "it is this node's own data folder" });
        }
        if is_pseudo(&folder) {
            return Some(Found::Skipped { path: folder, why: "its files are made up by the kernel" });
        }
        if self.levels.len() == DEPTH {
            return Some(Found::Skipped { path: folder, why: "it is too deep down" });
        }
        let above = self.levels.last().map(|level| level.device);
        match fs::metadata(&folder).and_then(|metadata| Ok((metadata.dev(), names(&folder, &item)?))) {
            Ok((device, names)) => {
                self.levels.push(Level { device, names });
                above.is_some_and(|above| above != device).then_some(Found::Mount { path: folder, item })
            }
            Err(error) => {
                let why = ImportError::unreadable(&folder, error).to_string();
                Some(Found::Failed { path: folder, item, why })
            }
        }
    }

    /// A link is followed to a file inside the walked folder, which has to be one that the walk would show by itself.
    fn follow(&self, path: PathBuf, item: String) -> Found {
        let Ok(target) = fs::canonicalize(&path) else {
            return Found::Skipped { path, why: "it is a symbolic link that leads nowhere" };
        };
        let Ok(inside) = target.strip_prefix(&self.root) else {
            return Found::Skipped { path, why: "it is a symbolic link that leads out of the folder" };
        };
        if inside.components().any(|part| part.as_os_str().as_bytes().starts_with(b".")) || target.starts_with(self.not)
        {
            return Found::Skipped { path, why: "it is a symbolic link to a hidden file" };
        }
        if !target.is_file() {
            return Found::Skipped { path, why: "it is a symbolic link to a folder" };
        }
        Found::File { path: target, item }
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(first) = self.first.take() {
                return Some(first);
            }
            let Some(Name { path, item, kind }) = self.levels.last_mut()?.names.pop() else {
                self.levels.pop();
                continue;
            };
            if kind == Kind::Folder {
                self.first = self.enter(path, item);
                continue;
            }
            return Some(match kind {
                _ if !is_item_path(&item) => Found::Skipped { path, why: "its path is too long for a collection" },
                Kind::Link => self.follow(path, item),
                Kind::File => Found::File { path, item },
                _ => Found::Skipped { path, why: "it is not a regular file" },
            });
        }
    }
}

/// The names in a folder that are not hidden, last one first.
fn names(folder: &Path, prefix: &str) -> std::io::Result<Vec<Name>> {
    let mut found: Vec<(String, OsString, Kind)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let kind = match entry.file_type()? {
            kind if kind.is_symlink() => Kind::Link,
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_file() => Kind::File,
            _ => Kind::Other,
        };
        found.push((item_name(&name), name, kind));
    }
    // Names that are text as they are have the first choice.
    found.sort_by(|a, b| {
        (a.0.as_bytes() != a.1.as_bytes(), &a.0, &a.1).cmp(&(b.0.as_bytes() != b.1.as_bytes(), &b.0, &b.1))
    });
    let mut taken = HashSet::new();
    let mut names: Vec<Name> = found
        .into_iter()
        .map(|(text, name, kind)| {
            let text = unused(&text, |text| taken.contains(text));
            let item = if prefix.is_empty() { text.clone() } else { format!("{prefix}/{text}") };
            taken.insert(text);
            Name { path: folder.join(name), item, kind }
        })
        .collect();
    // As the items will be sorted: those of a folder have a slash behind its name.
    names.sort_by_cached_key(|name| match name.kind {
        Kind::Folder => format!("{}/", name.item),
        _ => name.item.clone(),
    });
    names.reverse();
    Ok(names)
}

/// The name as text on one line.
pub(super) fn item_name(name: &OsStr) -> String {
    name.to_string_lossy().chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The path of the item that a file has which is so far below a folder with this place.
pub(in crate::library) fn item_path(at: &str, below: &Path) -> String {
    let above = Some(at.to_owned()).filter(|at| !at.is_empty());
    above.into_iter().chain(below.iter().map(item_name)).collect::<Vec<_>>().join("/")
}

/// The name, or it with " (2)" or a higher number before its extension.
pub(super) fn unused(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let file_at = name.rfind('/').map_or(0, |at| at + 1);
    let (stem, extension) = match name[file_at..].rfind('.') {
        Some(at) if at > 0 => name.split_at(file_at + at),
        _ => (name, ""),
    };
    let mut unused = name.to_owned();
    for number in 2.. {
        if !taken(&unused) {
            break;
        }
        unused = format!("{stem} ({number}){extension}");
    }
    unused
}

/// Whether the folder is on no disk: proc, sysfs and their like.
fn is_pseudo(folder: &Path) -> bool {
    const MAGICS: [u64; 11] = [
        0x9fa0,
        0x6265_6572,
        0x1cd1,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x6265_6570,
        0xcafe_4a11,
        0x1980_0202,
    ];
    rustix::fs::statfs(folder).is_ok_and(|stat| MAGICS.contains(&(stat.f_type as u64 & 0xffff_ffff)))
}
