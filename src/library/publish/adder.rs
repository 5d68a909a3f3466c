//! One add under way.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{
    AddEvent, AddReport, Events,
    seen::Seen,
    sources::{Kind, Source},
    walk::{Found, Walk},
};
use crate::{
    content::ContentId,
    library::{Library, LibraryError, apply::Own, editions, item::Item, manifest::Manifest, metadata, names},
    limits::{
        library::{ADD_PUBLISH_BYTES, ADD_PUBLISH_ITEMS},
        store::SMALL_FILES_PER_SYNC,
    },
    store::{ImportError, Imported, LibraryPath, StoreError},
    wire::Text,
};

/// Bytes between two progress events of one file.
const EVENT_BYTES: u64 = 1024 * 1024;

/// Why a file is left out that its owner has not changed.
const ROTTED: &str = "its bytes changed though nobody wrote to it: the disk may be failing, and what is listed stays as it was. Restore it \
     and run `allibrary verify`, or touch it if the change is wanted";

pub(super) struct Adder<'a> {
    library: &'a Library,
    copy: bool,
    own: Own,
    events: Events<'a>,
    /// Whether whoever hears of the events wants no more of them.
    stopped: bool,
    /// The version that is out, to compare with.
    published: Option<Manifest>,
    /// Items of the next version.
    pending: BTreeMap<String, Option<Item>>,
    /// Files that are hashed and not yet durable.
    imported: Vec<Imported>,
    /// Items whose content is to be replaced, and the file of each.
    replaced: Vec<(Item, PathBuf)>,
    /// Files that the version that is out lists and the next one does not.
    outdated: Vec<(ContentId, PathBuf)>,
    bytes_since_publish: u64,
    seen: Seen,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    added: u64,
    added_bytes: u64,
    changed: u64,
    unchanged: u64,
    skipped: u64,
    failed: u64,
}

impl<'a> Adder<'a> {
    pub fn new(
        library: &'a Library,
        copy: bool,
        own: Own,
        sources: &[Source],
        events: Events<'a>,
    ) -> Result<Self, LibraryError> {
        Ok(Self {
            published: library.manifest(&own.key)?,
            seen: Seen::new(library.notes(&own.key)?.sources(), sources),
            library,
            copy,
            own,
            events,
            stopped: false,
            pending: BTreeMap::new(),
            imported: Vec::new(),
            replaced: Vec::new(),
            outdated: Vec::new(),
            bytes_since_publish: 0,
            counts: Counts::default(),
        })
    }

    pub fn run(mut self, sources: &[Source]) -> Result<AddReport, LibraryError> {
        for source in sources {
            match source.kind {
                Kind::File => self.add_file(&source.path, &source.at)?,
                Kind::Folder => self.add_folder(source)?,
                Kind::Missing => {}
            }
        }
        self.go_on()?;
        self.finish()
    }

    fn add_folder(&mut self, source: &Source) -> Result<(), LibraryError> {
        self.seen.walk(&source.at);
        if !self.copy {
            self.library.store().add_root(&source.path)?;
        }
        for found in Walk::new(source.path.clone(), &source.at, self.library.data()) {
            match found {
                Found::File { path, item } => self.add_file(&path, &item)?,
                Found::Mount { path, item } => self.seen.mount(item, path),
                Found::Skipped { path, why } => {
                    self.counts.skipped += 1;
                    self.tell(AddEvent::Skipped { path, why });
                }
                Found::Failed { path, item, why } => {
                    self.seen.unread(item);
                    self.fail(path, why);
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, path: PathBuf, why: String) {
        self.counts.failed += 1;
        self.tell(AddEvent::Failed { path, why });
    }

    fn tell(&mut self, event: AddEvent) {
        self.stopped |= (self.events)(event).is_break();
    }

    /// Fails once nobody wants it any more.
    fn go_on(&self) -> Result<(), StoreError> {
        if self.stopped { Err(StoreError::Stopped) } else { Ok(()) }
    }

    fn add_file(&mut self, path: &Path, item: &str) -> Result<(), LibraryError> {
        self.go_on()?;
        let old = self.published.as_mut().map(|manifest| manifest.item(item)).transpose()?.flatten();
        self.seen.item(item, old.is_some());
        let store = self.library.store();
        if let Some(old) = &old
            && store.is_unchanged(&old.id, path)?
        {
            self.counts.unchanged += 1;
            self.tell(AddEvent::Unchanged { path: path.to_owned() });
            return Ok(());
        }
        if let Some(old) = &old
            && store.has_rotted(&old.id, path)?
        {
            // What others have is right: these bytes are no new edition of it.
            self.fail(path.to_owned(), ROTTED.to_owned());
            return Ok(());
        }
        if !self.copy
            && let Some(old) = &old
            && let Some(moved) = store.import_moved(&old.id, path)?
        {
            self.counts.unchanged += 1;
            self.tell(AddEvent::Unchanged { path: path.to_owned() });
            return self.take(moved);
        }
        if self.copy {
            self.make_room(fs::metadata(path).map_or(0, |metadata| metadata.len()))?;
        }
        let imported = match self.import(path, item) {
            Ok(imported) => imported,
            Err(ImportError::Store(error)) => return Err(error.into()),
            Err(error) => {
                self.fail(path.to_owned(), error.to_string());
                return Ok(());
            }
        };
        match old {
            // Only touched, or copied before.
            Some(old) if old.id == imported.id() => self.counts.unchanged += 1,
            old => {
                self.counts.added += 1;
                self.counts.added_bytes += imported.size();
                self.seen.content(&imported.id());
                if let Some(old) = old {
                    self.counts.changed += 1;
                    self.replaced.push((old, self.file_of(path, item)));
                }
                let name = item.rsplit('/').next().unwrap_or(item);
                let metadata::Metadata { title, author, language } = metadata::read(path, name);
                let (id, size) = (imported.id(), imported.size());
                let text = Text::new(item).ok_or_else(|| LibraryError::Name(item.to_owned()))?;
                let new = Item { path: text, id, size, title, author, language };
                self.pending.insert(item.to_owned(), Some(new));
            }
        }
        self.bytes_since_publish += imported.size();
        self.take(imported)?;
        if self.pending.len() >= ADD_PUBLISH_ITEMS || self.bytes_since_publish >= ADD_PUBLISH_BYTES {
            self.publish(&mut |_| true)?;
        }
        Ok(())
    }

    fn take(&mut self, imported: Imported) -> Result<(), LibraryError> {
        self.imported.push(imported);
        if self.imported.len() >= SMALL_FILES_PER_SYNC { self.commit() } else { Ok(()) }
    }

    /// Fails if a copy of so many bytes has no room.
    fn make_room(&mut self, bytes: u64) -> Result<(), LibraryError> {
        let pending: u64 = self.imported.iter().map(Imported::size).sum();
        if self.library.store().check_room(pending + bytes).is_ok() {
            return Ok(());
        }
        // What was copied before is counted once it is in the index.
        self.commit()?;
        if self.library.make_room(bytes)? { Ok(()) } else { Ok(self.library.store().check_room(bytes)?) }
    }

    /// Where the store has the file of this item.
    fn file_of(&self, path: &Path, item: &str) -> PathBuf {
        self.copy.then(|| self.copy_of(item)).flatten().unwrap_or_else(|| path.to_owned())
    }

    /// Where a copy of it has its place.
    fn copy_of(&self, item: &str) -> Option<PathBuf> {
        Some(self.library.store().library().join(copy_path(&self.own.folder, item)?.as_str()))
    }

    fn import(&mut self, path: &Path, item: &str) -> Result<Imported, ImportError> {
        let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut told = None;
        let (events, stopped) = (&mut self.events, &mut self.stopped);
        let mut progress = |done: u64| {
            if told.is_none_or(|told| done == size || done >= told + EVENT_BYTES) {
                told = Some(done);
                *stopped |= events(AddEvent::File { path: path.to_owned(), done, size }).is_break();
            }
            if *stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let _ = progress(0);
        let store = self.library.store();
        match copy_path(&self.own.folder, item).filter(|_| self.copy) {
            Some(to) => store.import_copy(path, &to, &mut progress),
            None => store.import_in_place(path, &mut progress),
        }
    }

    /// Makes what was hashed durable.
    fn commit(&mut self) -> Result<(), LibraryError> {
        let replaced = std::mem::take(&mut self.replaced);
        // They are still listed: copies wait under other names until they are not.
        let waiting = match self.copy {
            true => editions::set_back(self.library, &self.own.folder, &replaced)?,
            false => vec![None; replaced.len()],
        };
        for ((old, path), waiting) in replaced.into_iter().zip(waiting) {
            if !self.copy {
                // One that rotted where it is shared has a copy too.
                let copy = self.copy_of(&old.path);
                let paths = self.library.store().info(&old.id)?.map(|info| info.paths).unwrap_or_default();
                self.outdated.extend(copy.filter(|copy| paths.contains(copy)).map(|copy| (old.id, copy)));
            }
            self.outdated.push((old.id, waiting.unwrap_or(path)));
        }
        Ok(self.library.store().commit(std::mem::take(&mut self.imported))?)
    }

    fn publish(&mut self, keep: &mut dyn FnMut(&Item) -> bool) -> Result<(), LibraryError> {
        self.commit()?;
        let summary = self.library.publish(&self.own, &std::mem::take(&mut self.pending), keep)?;
        self.library.store().remove(&std::mem::take(&mut self.outdated))?;
        self.bytes_since_publish = 0;
        self.published = self.library.manifest(&self.own.key)?;
        self.tell(AddEvent::Published { version: summary.version, items: summary.items });
        Ok(())
    }

    fn finish(mut self) -> Result<AddReport, LibraryError> {
        let (library, key) = (self.library, self.own.key);
        library.note(&key, |notes| notes.add_sources(self.seen.mounts().iter().cloned()))?;
        let (mut gone, mut away) = (Vec::new(), 0);
        let mut seen = std::mem::take(&mut self.seen);
        self.publish(&mut |item| {
            let stays = seen.stays(item);
            if !stays {
                gone.push((item.path.to_string(), item.id));
            }
            stays
        })?;
        library.store().remove(&library.files_of(&self.own.folder, seen.known(), &gone)?)?;
        library.forget_words(&key, gone.iter().map(|(path, _)| &**path))?;
        for (path, items) in seen.away() {
            away += items;
            self.tell(AddEvent::Away { path: path.clone(), items });
        }
        let Counts { added, added_bytes, changed, unchanged, skipped, failed } = self.counts;
        let collection = library.summary(&key).ok_or(LibraryError::NoCollection)?;
        let removed = gone.len() as u64;
        Ok(AddReport { collection, added, added_bytes, changed, unchanged, removed, away, skipped, failed })
    }
}

/// Where a copy of an item's file stands.
fn copy_path(folder: &str, item: &str) -> Option<LibraryPath> {
    LibraryPath::new(&format!("{folder}/{}", names::file_path(item)))
}
