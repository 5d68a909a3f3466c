//! What is missing here of what a peer lists, and where it shall stand. Blocks.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use super::{
    Follower, Policy,
    claims::{Claim, Name},
    load::{Lane, Load},
    swarms::Claimed,
};
use crate::{
    content::{CollectionKey, ContentId, NodeId},
    library::{
        Item, Library, LibraryError, ManifestError, Summary, editions,
        manifest::{Items, Manifest},
    },
    status::NoticeLevel,
    store::{BlobState, Fault, LibraryPath, StoreError},
    transfer::Priority,
};

/// Why something has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Disk,
    Quota,
}

impl Full {
    /// None if the error is about something else.
    pub fn of(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::NoSpace { .. } => Some(Self::Disk),
            StoreError::OverQuota { .. } => Some(Self::Quota),
            _ => None,
        }
    }
}

/// How far a pass over the collections of a peer has come: first all that has the highest priority, then the rest.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    keys: Arc<[CollectionKey]>,
    priority: usize,
    collection: usize,
    offset: u64,
    /// The collections of which something was left out, as their publisher has enough here.
    full: BTreeSet<CollectionKey>,
    /// The size of the smallest item that there was no room for.
    no_room_for: Option<u64>,
    /// What is under way.
    pub ahead: Ahead,
}

impl Cursor {
    /// Before all of these collections.
    pub fn new(keys: Vec<CollectionKey>) -> Self {
        Self { keys: keys.into(), ..Self::default() }
    }

    /// Before all of them once more.
    pub fn restart(&mut self) {
        *self = Self { keys: Arc::clone(&self.keys), ..Self::default() };
    }
}

/// Blobs that are arriving or have arrived, and that the library does not count yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    publisher: Option<NodeId>,
    bytes: u64,
    ids: BTreeSet<ContentId>,
}

impl Ahead {
    pub fn of(summary: &Summary, wants: &[Want]) -> Self {
        Self {
            publisher: Some(summary.key.publisher),
            bytes: wants.iter().map(|want| want.item.size).sum(),
            ids: wants.iter().map(|want| want.item.id).collect(),
        }
    }

    fn bytes_of(&self, publisher: &NodeId) -> u64 {
        if self.publisher.as_ref() == Some(publisher) { self.bytes } else { 0 }
    }
}

/// A blob to fetch.
pub(super) struct Want {
    pub item: Item,
    pub to: LibraryPath,
    pub hold: Hold,
    /// To be held until what is listed no more is gone again.
    pub name: Name,
}

/// What keeps others from fetching the same, or lets them.
pub(super) enum Hold {
    Small(#[expect(dead_code, reason = "it is held, not looked at")] Claim<ContentId>),
    Large(Arc<Claimed>),
}

/// What a scan found.
#[derive(Default)]
pub(super) struct Found {
    /// Of one collection and priority, as many as the lane takes; none at the end of the pass.
    pub wants: Vec<Want>,
    /// That priority.
    pub priority: Priority,
    /// The collection of the wants.
    pub collection: Option<Summary>,
    /// Whether something that is here has got a name.
    pub placed: bool,
    /// Whether something was passed over that is to be looked at again soon.
    pub again: bool,
    /// Whether something was passed over that is among the wants under another name.
    pub twice: bool,
    /// Why there was no room for something that was passed over.
    pub full: Option<Full>,
}

/// Looks on from the cursor until the lane has its fill.
pub(super) fn scan(follower: &Follower, lane: Lane, cursor: &mut Cursor) -> Result<Found, LibraryError> {
    let keys = Arc::clone(&cursor.keys);
    let mut found = Found::default();
    if follower.library.store().is_library_away() {
        // What it holds is not missing: when it is back, all is looked at again.
        return Ok(found);
    }
    while let Some(priority) = Priority::ALL.get(cursor.priority) {
        while let Some(key) = keys.get(cursor.collection) {
            if let Some(summary) = follower.library.summary(key) {
                scan_collection(follower, &summary, (lane, *priority), cursor, &mut found)?;
                if !found.wants.is_empty() {
                    (found.collection, found.priority) = (Some(summary), *priority);
                    return Ok(found);
                }
            }
            (cursor.collection, cursor.offset) = (cursor.collection + 1, 0);
        }
        (cursor.priority, cursor.collection) = (cursor.priority + 1, 0);
    }
    let whole = keys.iter().filter(|key| !cursor.full.contains(key));
    whole.for_each(|key| follower.notices.clear(&about(key, lane)));
    Ok(found)
}

/// What the notice is about that not all of a collection is mirrored: each lane sees only its own.
fn about(key: &CollectionKey, lane: Lane) -> String {
    format!("bytes of {}/{} {lane:?}", key.publisher, key.id)
}

fn scan_collection(
    follower: &Follower,
    summary: &Summary,
    (lane, priority): (Lane, Priority),
    cursor: &mut Cursor,
    found: &mut Found,
) -> Result<(), LibraryError> {
    let (library, policy) = (&follower.library, follower.policy());
    let Some(items) = items(follower, &policy, &summary.key, priority, cursor.offset)? else { return Ok(()) };
    let notes = library.notes(&summary.key)?;
    let all = library.collections();
    let publisher = &summary.key.publisher;
    let ahead_bytes = cursor.ahead.bytes_of(publisher);
    let mut load = Load::default();
    for item in items {
        let item = item?;
        if lane.is_full(&load) {
            return Ok(());
        }
        cursor.offset += 1;
        let is_now = |item: &Item| policy.item_priority(&summary.key, &item.path) == Some(priority);
        let Some(item) = item.filter(|item| lane.may_take(item) && is_now(item)) else { continue };
        let info = library.store().info(&item.id)?;
        if !lane.takes(&item, info.as_ref().map(|info| info.state)) {
            continue;
        }
        if summary.mine && !info.as_ref().is_some_and(|info| is_rotten(info.state)) {
            continue;
        }
        if let Some(info) = info.filter(|info| info.state == BlobState::Complete) {
            if !notes.is_unwanted(&item.path) {
                place(follower, summary, &item, &info.paths, found)?;
            }
        } else if notes.is_unwanted(&item.path) {
        } else if !summary.mine && !policy.has_room(&all, publisher, ahead_bytes + load.bytes + item.size) {
            if cursor.full.insert(summary.key) {
                let max = policy.max_bytes_per_publisher;
                let text = format!(
                    "{:?} is not mirrored in full: of its publisher's collections {max} bytes are kept (mirror.max_bytes_per_publisher)",
                    summary.name
                );
                follower.notices.put(&about(&summary.key, lane), NoticeLevel::Warning, text);
            }
        } else if let Some(full) = find_room(library, library.store().room_for(&item.id, item.size)?, cursor)? {
            // Others may be smaller.
            found.full = Some(full);
        } else if let Some(hold) = hold(follower, lane, &item) {
            let Some(to) = editions::free_name(library, &summary.folder, &item.path) else { continue };
            let Some(name) = follower.names.claim(&to, item.id) else {
                found.again = true;
                continue;
            };
            load.add(&item, &to);
            found.wants.push(Want { item, to, hold, name });
        } else if cursor.ahead.ids.contains(&item.id) || found.wants.iter().any(|want| want.item.id == item.id) {
            found.twice = true;
        } else {
            found.again = true;
        }
    }
    Ok(())
}

/// Items of a collection, as far as they are listed.
type Listed<'a> = Box<dyn Iterator<Item = Result<Option<Item>, ManifestError>> + 'a>;

/// The items of a collection among which are all of a priority, from this number on; none where there are no such. An item
/// that was named and is listed no more is none.
fn items<'a>(
    follower: &Follower,
    policy: &'a Policy,
    key: &'a CollectionKey,
    priority: Priority,
    offset: u64,
) -> Result<Option<Listed<'a>>, LibraryError> {
    let is_all = policy.priority(key) == priority;
    if !is_all && policy.named(key).next().is_none() {
        return Ok(None);
    }
    let Some(mut manifest) = follower.library.manifest(key)? else { return Ok(None) };
    Ok(Some(if is_all {
        Box::new(manifest.items_from(offset)?.map(|item| item.map(Some)))
    } else {
        let named = policy.named(key).skip(usize::try_from(offset).unwrap_or(usize::MAX));
        Box::new(named.map(move |path| manifest.item(path)))
    }))
}

/// None if others are at it.
fn hold(follower: &Follower, lane: Lane, item: &Item) -> Option<Hold> {
    match lane {
        Lane::Small => follower.blobs.claim(item.id).map(Hold::Small),
        Lane::Large => follower.join(item.id, item.size).map(Hold::Large),
    }
}

/// Whether the bytes of an item of this node's own are fetched again. A file that its owner changed or took away is not:
/// the next `add` sees to it.
fn is_rotten(state: BlobState) -> bool {
    matches!(state, BlobState::Unavailable(Fault::Damaged) | BlobState::Partial { .. })
}

/// Why there is no room for so many bytes, not even if what publishers have withdrawn goes.
fn find_room(library: &Library, bytes: u64, cursor: &mut Cursor) -> Result<Option<Full>, LibraryError> {
    let Err(error) = library.store().check_room(bytes) else { return Ok(None) };
    let full = Full::of(&error).ok_or(error)?;
    // What has failed once would take as long to fail again.
    if cursor.no_room_for.is_none_or(|failed| bytes < failed) {
        if library.make_room(bytes)? {
            return Ok(None);
        }
        cursor.no_room_for = Some(bytes);
    }
    Ok(Some(full))
}

/// Gives a blob that is here the name that this item has, unless it has it.
fn place(
    follower: &Follower,
    summary: &Summary,
    item: &Item,
    paths: &[std::path::PathBuf],
    found: &mut Found,
) -> Result<(), LibraryError> {
    let library = &follower.library;
    let root = library.store().library();
    for to in editions::own_names(&summary.folder, &item.path) {
        if paths.contains(&root.join(to.as_str())) || library.store().has_name(&item.id, &to)? {
            return Ok(());
        }
    }
    let Some(to) = editions::free_name(library, &summary.folder, &item.path) else { return Ok(()) };
    // Unless another is on its way there.
    let Some(_name) = follower.names.claim(&to, item.id) else {
        found.again = true;
        return Ok(());
    };
    make_way(library, summary, [(item, &to)].into_iter())?;
    match library.store().place(&item.id, &to) {
        // Its files are gone: it is marked, and fetched in the next pass.
        Err(StoreError::NotFound(id)) => drop(library.store().verify(&id, &mut |_| ControlFlow::Continue(()))?),
        Err(error) => log::warn!("{}: {error}", item.path),
        Ok(()) => {
            found.placed = true;
            // It may have waited as an earlier edition that its publisher brought back.
            let waiting = editions::waiting_path(&summary.folder, &item.path, &item.id);
            // Or was only read here.
            let cached = library.store().cache_path(&item.id);
            let over = [waiting, Some(cached)].into_iter().flatten().map(|path| root.join(path.as_str()));
            let over = over.filter(|path| paths.contains(path)).map(|path| (item.id, path));
            library.store().remove(&over.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Moves earlier editions that have the names of these items out of the way: they are ours, not a reader's. They stay
/// readable until the new ones are here.
pub(super) fn make_way<'a>(
    library: &Library,
    summary: &Summary,
    mut items: impl Iterator<Item = (&'a Item, &'a LibraryPath)>,
) -> Result<(), LibraryError> {
    let Some(mut kept) = library.kept(&summary.key)? else { return Ok(()) };
    items.try_for_each(|(item, to)| {
        let Some(old) = kept.item(&item.path)?.filter(|old| old.id != item.id) else { return Ok(()) };
        let path = library.store().library().join(to.as_str());
        editions::set_back(library, &summary.folder, &[(old, path)]).map(drop)
    })
}

/// Puts a collection in order after a pass: earlier editions go whose successors are here, and what is held is counted.
pub(super) fn settle(library: &Library, key: &CollectionKey) -> Result<(), LibraryError> {
    let Some(summary) = library.summary(key) else { return Ok(()) };
    if let (Some(kept), Some(mut manifest)) = (library.kept(key)?, library.manifest(key)?) {
        let mut over = Vec::new();
        for old in Items::of(Some(kept)) {
            let old = old?;
            if is_over(library, &mut manifest, &old)? {
                over.push(old);
            }
        }
        if !over.is_empty() {
            let files = over.iter().flat_map(|old| editions::files_of(library, &summary.folder, old));
            library.store().remove(&files.collect::<Vec<_>>())?;
            library.prune_kept(key, &mut |old| over.iter().all(|gone| (&gone.path, gone.id) != (&old.path, old.id)))?;
        }
    }
    library.recount(key)
}

/// Whether the item that took the old one's place is here.
fn is_over(library: &Library, manifest: &mut Manifest, old: &Item) -> Result<bool, LibraryError> {
    match manifest.item(&old.path)? {
        Some(new) if new.id != old.id => library.is_held(&new.id),
        _ => Ok(false),
    }
}
