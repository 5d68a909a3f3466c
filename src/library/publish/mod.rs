//! Publishing: files and folders of this machine into a collection of this node.

mod adder;
mod sources;
mod walk;

pub(super) use adder::{ancestors, copy_path};
pub(super) use walk::item_name;

use std::{fmt, ops::ControlFlow, path::PathBuf};

use super::{Library, LibraryError, catalogue::Summary};
#[cfg(doc)]
use crate::store::StoreError;

/// What to share.
#[derive(Debug, Clone, Default)]
pub struct AddRequest {
    /// Files and folders; folders with all they hold but hidden files.
    pub paths: Vec<PathBuf>,
    /// The name of the collection; without one, that of the folder, if `paths` is a single folder.
    pub collection: Option<String>,
    /// Whether to copy the files into the library instead of referring to them where they are.
    pub copy: bool,
    /// Whether `/` or a whole home folder may be shared.
    pub yes: bool,
}

/// What happens during an add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddEvent {
    /// A file is being read.
    File {
        path: PathBuf,
        /// Bytes read so far.
        done: u64,
        /// Bytes of the file when it was opened.
        size: u64,
    },
    /// A file is as it was when it was added before.
    Unchanged { path: PathBuf },
    /// A file or folder was left out on purpose.
    Skipped { path: PathBuf, why: &'static str },
    /// A file or folder could not be read: what, why, and what to do.
    Failed { path: PathBuf, why: String },
    /// A version with what was found so far is out.
    Published { version: u64, items: u64 },
}

/// What an add came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddReport {
    /// The collection as it is now.
    pub collection: Summary,
    /// Files that are new or have new content.
    pub added: u64,
    /// Their bytes.
    pub added_bytes: u64,
    /// Files that were in the collection already and have not changed.
    pub unchanged: u64,
    /// Files that are gone from their folder, and so from the collection.
    pub removed: u64,
    /// Files and folders left out on purpose.
    pub skipped: u64,
    /// Files and folders that could not be read.
    pub failed: u64,
}

impl fmt::Display for AddReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collection, added, unchanged, removed, skipped, failed, .. } = self;
        writeln!(
            f,
            "{}: {added} added, {unchanged} unchanged, {removed} removed, {skipped} skipped, {failed} failed",
            collection.name
        )?;
        write!(f, "everyone on this network can read {} files", collection.items)
    }
}

/// The files that a source of an own collection has now, each with the path of its item. What can't be read is left out.
pub(super) fn files_of(library: &Library, at: &str, source: PathBuf) -> impl Iterator<Item = (PathBuf, String)> {
    let file = source.is_file().then(|| (source.clone(), at.to_owned()));
    let folder = source.is_dir().then(|| walk::Walk::new(source, at, library.data()));
    let below = folder.into_iter().flatten().filter_map(|found| match found {
        walk::Found::File { path, item } => Some((path, item)),
        _ => None,
    });
    file.into_iter().chain(below)
}

impl Library {
    /// Shares files and folders, and takes out of the collection what is gone from folders shared before. Files that the
    /// store knows and that have not changed are not read again. A file that can't be read is told and left out.
    ///
    /// A long add publishes what it has from time to time, so that mirrors start early. Blocks until all is published;
    /// cut short, what was published stands, and doing it again continues.
    ///
    /// Once `events` says so, no further file is read and no version published: the end is [`StoreError::Stopped`], and the
    /// collection as it was published last.
    pub fn add(
        &self,
        request: &AddRequest,
        events: &mut dyn FnMut(AddEvent) -> ControlFlow<()>,
    ) -> Result<AddReport, LibraryError> {
        let plan = sources::plan(self, request)?;
        let key = plan.own.key;
        let report = adder::Adder::new(self, request.copy, plan.own, events)?.run(&plan.sources)?;
        self.set_unfinished(&key, false)?;
        Ok(report)
    }
}
