//! Publishing: files and folders of this machine into a collection of this node.

mod adder;
mod seen;
mod sources;
mod walk;

pub(super) use seen::{Owned, ancestors};
pub(super) use walk::item_path;

use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf};

use self::sources::Source;
use super::{Library, LibraryError, apply::Own, catalogue::Summary};
#[cfg(doc)]
use crate::store::StoreError;
use crate::{content::CollectionKey, wire::Text};

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
    /// Nothing that was listed is in this folder any more: is its disk unplugged? The items stay listed.
    Away {
        path: PathBuf,
        /// How many.
        items: u64,
    },
    /// A version with what was found so far is out.
    Published { version: u64, items: u64 },
}

/// Hears of them, and says whether to go on.
pub type Events<'a> = &'a mut dyn FnMut(AddEvent) -> ControlFlow<()>;

/// A collection's key, its folder, and what it comes from.
pub type Shared = (CollectionKey, String, BTreeMap<String, PathBuf>);

/// What an add came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddReport {
    /// The collection as it is now.
    pub collection: Summary,
    /// Files that are new or have new content.
    pub added: u64,
    /// Their bytes.
    pub added_bytes: u64,
    /// How many of `added` have new content.
    pub changed: u64,
    /// Files that were in the collection already and have not changed.
    pub unchanged: u64,
    /// Files that are gone from their folder, and so from the collection.
    pub removed: u64,
    /// Items that stay listed although their files are not there: all that was in their folder is gone.
    pub away: u64,
    /// Files and folders left out on purpose.
    pub skipped: u64,
    /// Files and folders that could not be read.
    pub failed: u64,
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
    /// store knows and that have not changed are not read again. A file that can't be read is told and left out. Where
    /// nothing is left of what a folder had, its disk is taken for unplugged, and its items stay.
    ///
    /// A long add publishes what it has from time to time, so that mirrors start early. Blocks until all is published;
    /// cut short, what was published stands, and doing it again continues.
    ///
    /// Once `events` says so, no further file is read and no version published: the end is [`StoreError::Stopped`], and the
    /// collection as it was published last.
    pub fn add(&self, request: &AddRequest, events: Events<'_>) -> Result<AddReport, LibraryError> {
        let plan = sources::plan(self, request)?;
        self.add_from(plan.own, request.copy, &plan.sources, events)
    }

    /// The collections of this node that come from folders and files of this machine, by their folders; and from which, by
    /// their places in the collection.
    pub fn shared(&self) -> Result<Vec<Shared>, LibraryError> {
        let records = self.lock().records.clone();
        let mut shared = Vec::new();
        for (key, record) in records.into_iter().filter(|(key, _)| key.publisher == self.node_id()) {
            let sources = self.notes(&key)?.sources();
            if !sources.is_empty() {
                shared.push((key, record.folder, sources));
            }
        }
        shared.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
        Ok(shared)
    }

    /// The same of all that a collection of this node is made of, but for what was copied.
    pub fn add_again(&self, key: &CollectionKey, events: Events<'_>) -> Result<AddReport, LibraryError> {
        let record = self.record(key).filter(|_| key.publisher == self.node_id()).ok_or(LibraryError::NoCollection)?;
        let own = Own { key: *key, name: Text::cut(&record.name), folder: record.folder };
        self.remember(&own, std::iter::empty())?;
        let sources = sources::remembered(self, &own)?;
        self.add_from(own, false, &sources, events)
    }

    fn add_from(
        &self,
        own: Own,
        copy: bool,
        sources: &[Source],
        events: Events<'_>,
    ) -> Result<AddReport, LibraryError> {
        let key = own.key;
        let report = adder::Adder::new(self, copy, own, sources, events)?.run(sources)?;
        self.set_unfinished(&key, false)?;
        self.look_anew(&key)?;
        // Counted anew.
        let collection = self.summary(&key).ok_or(LibraryError::NoCollection)?;
        Ok(AddReport { collection, ..report })
    }
}

#[cfg(test)]
mod tests;
