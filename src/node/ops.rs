//! What commands do to a library, the same whether a node does it or the command itself.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;

use super::{
    check_owner,
    control::{FailureKind, OpError, PathText, Reply, Request},
    get::get,
};
use crate::{
    clock,
    config::Config,
    content::{ContentId, NodeId},
    library::{AddEvent, AddReport, AddRequest, Events, Library, LibraryError, Remove, Summary, Words},
    network::identity::Keypair,
    store::{BlobState, Options, Store, StoreError, Verified},
};

/// The file of the node's key, in the data folder.
pub const IDENTITY_FILE: &str = "identity.key";
/// The shortest beginning of an id that names a blob.
const PREFIX_DIGITS: usize = 4;
/// Items that are listed at a time.
const ITEMS_AT_A_TIME: usize = 256;
/// How often it is told how far a file is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Who is told. An error says that nobody listens any more, and ends the operation.
pub(super) type OnReply<'a> = &'a mut dyn FnMut(Reply) -> Result<(), OpError>;

/// Opens the library of the data folder, which is made if it is not there. It is locked until the library is dropped.
///
/// # Errors
/// [`FailureKind::InUse`] if another process has it open.
pub fn open(config: &Config) -> Result<(Library, Keypair), OpError> {
    let (library, keypair) = open_as_found(config)?;
    if library.store().needs_rebuild()? {
        rebuild(&library, |path| log::debug!("found {}", path.display()))?;
    } else {
        sweep(&library);
    }
    Ok((library, keypair))
}

/// The same without what makes it whole: [`rebuild`] if the index was lost, else [`sweep`].
fn open_as_found(config: &Config) -> Result<(Library, Keypair), OpError> {
    let store = open_store(config)?;
    let keypair = open_identity(config)?;
    let library = open_library(store, config, &keypair)?;
    Ok((library, keypair))
}

/// Opens the store of the data folder, and locks it.
pub(super) fn open_store(config: &Config) -> Result<Store, OpError> {
    check_owner(config)?;
    let options = Options {
        library: Some(config.mirror.folder.clone()),
        reserve_bytes: config.mirror.reserve.0,
        quota_bytes: config.mirror.quota.0,
        hash_threads: config.hash_threads as usize,
    };
    Ok(Store::open(&config.data, options)?)
}

/// The node's key. To be called behind the lock of the store: two processes would make two keys.
pub(super) fn open_identity(config: &Config) -> Result<Keypair, OpError> {
    let (keypair, created) = Keypair::load_or_create(&config.data.join(IDENTITY_FILE))?;
    if created {
        log::info!("this node is {} from now on", keypair.node_id());
    }
    Ok(keypair)
}

pub(super) fn open_library(store: Store, config: &Config, keypair: &Keypair) -> Result<Library, OpError> {
    let key = SigningKey::from_bytes(&keypair.secret_bytes());
    let library = Library::open(Arc::new(store), &config.data, key)?;
    if let Err(error) = library.look_for_disks() {
        log::warn!("looking for the disks that files are shared from: {error}");
    }
    Ok(library)
}

/// Fills the index that took the place of a lost one; `found` hears of each file. Nothing else may change the library.
pub(super) fn rebuild(library: &Library, mut found: impl FnMut(&Path)) -> Result<(), OpError> {
    log::warn!("the index was lost: looking for the files of all collections");
    library.restore(&mut found)?;
    library.store().set_rebuilt()?;
    sweep(library);
    Ok(())
}

/// Takes away what work that was cut short left behind. Nothing else may change the library.
pub(super) fn sweep(library: &Library) {
    if let Err(error) = library.sweep() {
        log::warn!("what work that was cut short left behind stays for now: {error}");
    }
}

/// Does what is asked of a library; what is asked of a node is refused.
///
/// # Errors
/// What ended it early; what was told before holds.
pub fn perform(library: &Library, request: Request, on_reply: OnReply<'_>) -> Result<(), OpError> {
    match request {
        Request::Add { paths, collection, copy, yes } => {
            let paths = paths.into_iter().map(|PathText(path)| path).collect();
            let request = AddRequest { paths, collection, copy, yes };
            add(&mut |events| library.add(&request, events), on_reply)
        }
        Request::Rescan { collections } => rescan(library, &collections, on_reply),
        Request::List { collection: None } => {
            library.collections().into_iter().try_for_each(|summary| on_reply(Reply::Collection(summary.into())))
        }
        Request::List { collection: Some(folder) } => list(library, &folder, on_reply),
        Request::Remove { names } => names.iter().try_for_each(|name| remove(library, name, on_reply)),
        Request::Edit { name, title, author, language } => {
            let words = Words::new(title.as_deref(), author.as_deref(), language.as_deref())?;
            edit(library, &name, words, on_reply)
        }
        Request::Get { id } => get(library, None, &id, on_reply),
        Request::Verify { ids } => verify(library, &ids, on_reply),
        Request::Doctor => {
            let mut told = Ok(());
            library.restore(&mut |path| {
                if told.is_ok() {
                    told = on_reply(Reply::Found { path: text(path) });
                }
            })?;
            told.and_then(|()| verify(library, &[], on_reply))
        }
        Request::Status
        | Request::Diagnose { .. }
        | Request::Peers { .. }
        | Request::Transfers { .. }
        | Request::Reload => Err(OpError::new(FailureKind::Failed, "this is for a running node")),
    }
}

/// The peers of these ids.
///
/// # Errors
/// Which one is none.
pub fn peer_ids(texts: &[String]) -> Result<Vec<NodeId>, OpError> {
    let id = |text: &String| {
        text.parse().map_err(|_| {
            let message =
                format!("{text:?} is no peer id; `allibrary peers` lists those known, `allibrary id` a node's own");
            OpError::new(FailureKind::NotFound, message)
        })
    };
    texts.iter().map(id).collect()
}

fn rescan(library: &Library, folders: &[String], on_reply: OnReply<'_>) -> Result<(), OpError> {
    let mut shared = library.shared()?;
    for folder in folders {
        if !shared.iter().any(|(_, known, _)| known == folder) {
            let message = format!("there is no collection {folder:?} here that this node shares files of");
            return Err(OpError::new(FailureKind::NotFound, message));
        }
    }
    shared.retain(|(_, folder, _)| folders.is_empty() || folders.contains(folder));
    shared.iter().try_for_each(|(key, ..)| add(&mut |events| library.add_again(key, events), on_reply))
}

/// What is added, and told of it.
type Add<'a> = &'a mut dyn FnMut(Events<'_>) -> Result<AddReport, LibraryError>;

fn add(add: Add<'_>, on_reply: OnReply<'_>) -> Result<(), OpError> {
    let mut pace = Pace::default();
    let (mut files, mut bytes) = (0, 0);
    let report = add(&mut |event| {
        let reply = match event {
            AddEvent::File { path, done, size } => {
                let before = bytes;
                if done == size {
                    (files, bytes) = (files + 1, bytes + size);
                }
                if !pace.is_due() {
                    return ControlFlow::Continue(());
                }
                let bytes = before + done;
                Reply::Reading { path: text(&path), files, bytes, total_bytes: None }
            }
            AddEvent::Unchanged { .. } if !pace.is_due() => return ControlFlow::Continue(()),
            AddEvent::Unchanged { path } => Reply::Reading { path: text(&path), files, bytes, total_bytes: None },
            AddEvent::Skipped { path, why } => Reply::Skipped { path: text(&path), reason: why.to_owned() },
            AddEvent::Failed { path, why } => Reply::Unreadable { path: text(&path), reason: why },
            AddEvent::Away { path, items } => Reply::Away { path: text(&path), items },
            AddEvent::Published { version, items } => Reply::Published { version, items },
        };
        go_on(on_reply(reply))
    })?;
    on_reply(Reply::Added {
        collection: report.collection.into(),
        added: report.added,
        added_bytes: report.added_bytes,
        changed: report.changed,
        unchanged: report.unchanged,
        removed: report.removed,
        unavailable: report.away,
        skipped: report.skipped,
        unreadable: report.failed,
    })
}

fn list(library: &Library, folder: &str, on_reply: OnReply<'_>) -> Result<(), OpError> {
    let collection = collection(library, folder)?;
    let mut offset = 0;
    loop {
        let entries = library.items(&collection.key, offset, ITEMS_AT_A_TIME)?;
        if entries.is_empty() {
            return Ok(());
        }
        offset += entries.len() as u64;
        entries.into_iter().try_for_each(|entry| on_reply(Reply::Item(entry.into())))?;
    }
}

pub(super) fn collection(library: &Library, folder: &str) -> Result<Summary, OpError> {
    library.collection(folder).ok_or_else(|| {
        let message = format!("there is no collection {folder:?} here; `allibrary ls` lists those there are");
        OpError::new(FailureKind::NotFound, message)
    })
}

/// `COLLECTION` or `COLLECTION/PATH`.
fn remove(library: &Library, name: &str, on_reply: OnReply<'_>) -> Result<(), OpError> {
    let (folder, what) = match name.trim_end_matches('/').split_once('/') {
        Some((folder, path)) => (folder, Remove::Path(path.to_owned())),
        None => (name.trim_end_matches('/'), Remove::Collection),
    };
    let collection = collection(library, folder)?;
    let removed = library.remove(&collection.key, &what).map_err(|error| of_item(error, name, folder))?;
    on_reply(Reply::Removed {
        name: name.to_owned(),
        items: removed.items,
        bytes: removed.bytes,
        mirrored: !collection.mine,
    })
}

/// `COLLECTION/PATH`.
fn edit(library: &Library, name: &str, words: Words, on_reply: OnReply<'_>) -> Result<(), OpError> {
    let Some((folder, path)) = name.split_once('/').filter(|(_, path)| !path.is_empty()) else {
        let message =
            format!("{name:?} is not an item; name one as COLLECTION/PATH, as `allibrary ls COLLECTION` lists them");
        return Err(OpError::new(FailureKind::NotFound, message));
    };
    let key = collection(library, folder)?.key;
    let collection = library.edit(&key, path, words).map_err(|error| of_item(error, name, folder))?.into();
    let item = library.item(&key, path)?.ok_or(LibraryError::NoItem)?.into();
    on_reply(Reply::Edited { collection, item })
}

/// What went wrong with an item that was named like this.
fn of_item(error: LibraryError, name: &str, folder: &str) -> OpError {
    match error {
        LibraryError::NoItem => no_item(name, folder),
        error => error.into(),
    }
}

pub(super) fn no_item(name: &str, folder: &str) -> OpError {
    let message = format!("there is no {name:?} here; `allibrary ls {folder:?}` lists what there is");
    OpError::new(FailureKind::NotFound, message)
}

fn verify(library: &Library, ids: &[String], on_reply: OnReply<'_>) -> Result<(), OpError> {
    let store = library.store();
    let ids = match ids {
        [] => all_ids(store)?,
        ids => ids.iter().map(|id| resolve(store, id)).collect::<Result<_, _>>()?,
    };
    let total_bytes = Some(total_bytes(store, &ids)?);
    let (mut blobs, mut bytes, mut damaged, mut has_changed) = (0, 0, 0, false);
    let mut pace = Pace::default();
    for id in ids {
        // One that was removed meanwhile, or is still being fetched, is not missed.
        let Some(info) = store.info(&id)?.filter(|info| !info.paths.is_empty()) else { continue };
        let path = info.paths.first().map(|path| text(path)).unwrap_or_default();
        let verified = store.verify(&id, &mut |done| {
            if !pace.is_due() {
                return ControlFlow::Continue(());
            }
            let bytes = bytes + done;
            go_on(on_reply(Reply::Reading { path: path.clone(), files: blobs, bytes, total_bytes }))
        });
        let (fault, ranges) = match verified? {
            Verified::Good => (None, Vec::new()),
            Verified::Bad { fault, damaged } => (Some(fault.to_string()), damaged),
        };
        blobs += 1;
        bytes += info.size;
        damaged += u64::from(fault.is_some());
        has_changed |= fault.is_some() == (info.state == BlobState::Complete);
        let paths = info.paths.iter().map(|path| text(path)).collect();
        on_reply(Reply::Verified { id: id.to_string(), size_bytes: info.size, paths, fault, ranges })?;
    }
    if has_changed {
        library.rescan()?;
    }
    on_reply(Reply::Checked { blobs, bytes, damaged })
}

/// An operation goes on as long as somebody listens.
fn go_on(told: Result<(), OpError>) -> ControlFlow<()> {
    if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn total_bytes(store: &Store, ids: &[ContentId]) -> Result<u64, StoreError> {
    let mut total = 0;
    for id in ids {
        total += store.info(id)?.filter(|info| !info.paths.is_empty()).map_or(0, |info| info.size);
    }
    Ok(total)
}

fn all_ids(store: &Store) -> Result<Vec<ContentId>, StoreError> {
    let mut ids = Vec::new();
    store.for_each(&mut |id, _| {
        ids.push(id);
        ControlFlow::Continue(())
    })?;
    ids.sort_unstable();
    Ok(ids)
}

/// The one blob whose id begins like this.
pub(super) fn resolve(store: &Store, prefix: &str) -> Result<ContentId, OpError> {
    check_prefix(prefix)?;
    match store.resolve(prefix, 2)?[..] {
        [] => Err(OpError::new(
            FailureKind::NotFound,
            format!("no file with the id {prefix} is here; see `allibrary ls`"),
        )),
        [id] => Ok(id),
        _ => Err(several(prefix)),
    }
}

pub(super) fn check_prefix(prefix: &str) -> Result<(), OpError> {
    if prefix.len() < PREFIX_DIGITS || prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("{prefix:?} is no content id: expected {PREFIX_DIGITS} to 64 hexadecimal digits");
        return Err(OpError::new(FailureKind::NotFound, message));
    }
    Ok(())
}

pub(super) fn several(prefix: &str) -> OpError {
    OpError::new(FailureKind::NotFound, format!("several ids begin with {prefix}; give more digits"))
}

/// Lets one in so much time through.
#[derive(Default)]
struct Pace {
    last: Option<Instant>,
}

impl Pace {
    fn is_due(&mut self) -> bool {
        let now = clock::now();
        let due = self.last.is_none_or(|last| now - last >= TELL_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
