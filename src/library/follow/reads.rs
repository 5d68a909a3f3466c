//! What is being read that is elsewhere: who reads it, and which of the connected peers it is asked of.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use event_listener::{Event, EventListener};

use super::swarms::Claimed;
use crate::{
    content::{CollectionKey, ContentId, NodeId},
    limits::{
        follow::{OWNER_READS, READ_SOURCES, READS},
        transfer::{READ_STEP_BYTES, READERS},
    },
};

/// How good the connection with a peer is: more is better.
type Quality = Box<dyn Fn(&NodeId) -> u32 + Send + Sync>;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Anybody who has opened the page: of these, [`READS`] files are read at a time.
    Page,
    /// The owner of this node, for whom there is a place beside those.
    Owner,
}

impl Whose {
    fn places(self) -> usize {
        READS + if self == Self::Owner { OWNER_READS } else { 0 }
    }
}

/// All that is read, and all that are connected.
#[derive(Default)]
pub(super) struct Reads {
    open: Mutex<BTreeMap<ContentId, Arc<Read>>>,
    peers: Mutex<BTreeMap<NodeId, Lists>>,
    quality: OnceLock<Quality>,
    /// There may be something else to ask of peers.
    changed: Event,
    /// Held while room is made for what is about to be read.
    pub(super) opening: smol::lock::Mutex<()>,
}

/// Which collections a peer lists.
type Lists = Arc<Mutex<BTreeSet<CollectionKey>>>;

/// A connected peer, until this is dropped.
pub(super) struct Connected {
    reads: Arc<Reads>,
    node: NodeId,
    lists: Lists,
}

/// A blob that is read, by anybody.
pub(super) struct Read {
    /// The collection that lists it.
    pub(super) key: CollectionKey,
    pub(super) swarm: Arc<Claimed>,
    state: Mutex<State>,
    changed: Event,
}

#[derive(Default)]
struct State {
    /// What each reader wants, from where he is to where he ends.
    readers: BTreeMap<u64, Range<u64>>,
    next: u64,
    /// Those that are asked.
    joined: BTreeSet<NodeId>,
    /// Those that have too much to do, and will be asked again.
    busy: BTreeSet<NodeId>,
    /// Those that had nothing that was of use, or failed.
    lacking: BTreeSet<NodeId>,
}

/// A reader of a blob, until this is dropped.
pub(super) struct Seat {
    reads: Arc<Reads>,
    pub(super) read: Arc<Read>,
    number: u64,
}

/// A peer that is asked for what is read, until this is dropped.
pub(super) struct Joined {
    reads: Arc<Reads>,
    pub(super) read: Arc<Read>,
    node: NodeId,
}

impl Reads {
    pub(super) fn connect(this: &Arc<Self>, node: NodeId) -> Connected {
        let lists = Lists::default();
        lock(&this.peers).insert(node, Arc::clone(&lists));
        Connected { reads: Arc::clone(this), node, lists }
    }

    pub(super) fn set_quality(&self, quality: Quality) {
        // A node has one; a second call would be a mistake without consequences.
        let _ = self.quality.set(quality);
    }

    pub(super) fn connected(&self) -> usize {
        lock(&self.peers).len()
    }

    /// How many blobs are read.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// The connected peers that list a collection.
    pub(super) fn listing(&self, key: &CollectionKey) -> Vec<NodeId> {
        lock(&self.peers).iter().filter(|(_, lists)| lock(lists).contains(key)).map(|(node, _)| *node).collect()
    }

    pub(super) fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    fn tell(&self) {
        self.changed.notify(usize::MAX);
    }

    /// A seat at what is read already; an error if all are taken.
    pub(super) fn seat(
        this: &Arc<Self>,
        id: &ContentId,
        wanted: &Range<u64>,
        whose: Whose,
    ) -> Result<Option<Seat>, Full> {
        let open = lock(&this.open);
        match open.get(id) {
            Some(read) => this.sit(read, wanted).map(Some),
            None if open.len() >= whose.places() => Err(Full),
            None => Ok(None),
        }
    }

    /// A seat at what nobody reads yet, for whom there is a place.
    pub(super) fn open(
        this: &Arc<Self>,
        key: CollectionKey,
        swarm: Arc<Claimed>,
        wanted: &Range<u64>,
    ) -> Result<Seat, Full> {
        let mut open = lock(&this.open);
        let id = swarm.id();
        let read = Read { key, swarm, state: Mutex::default(), changed: Event::new() };
        this.sit(open.entry(id).or_insert(Arc::new(read)), wanted)
    }

    fn sit(self: &Arc<Self>, read: &Arc<Read>, wanted: &Range<u64>) -> Result<Seat, Full> {
        let mut state = read.state();
        if state.readers.len() >= READERS {
            return Err(Full);
        }
        let number = state.next;
        state.next += 1;
        state.readers.insert(number, wanted.clone());
        read.swarm.want(&state.wanted());
        drop(state);
        self.tell();
        Ok(Seat { reads: Arc::clone(self), read: Arc::clone(read), number })
    }

    /// Something that this peer is to be asked for and is not yet.
    pub(super) fn take_for(this: &Arc<Self>, node: NodeId) -> Option<Joined> {
        let open: Vec<_> = lock(&this.open).values().cloned().collect();
        open.into_iter().find_map(|read| {
            let listing = this.listing(&read.key);
            let mut state = read.state();
            // Its readers may still be at it when all of it is here.
            if !listing.contains(&node) || !state.is_free(&node) || read.swarm.is_done() {
                return None;
            }
            // Others may be better.
            let quality = |node: &NodeId| this.quality.get().map_or(0, |quality| quality(node));
            let own = quality(&node);
            let better = listing.iter().filter(|it| state.is_free(it) && quality(it) > own).count();
            if state.joined.len() + better >= READ_SOURCES {
                return None;
            }
            state.joined.insert(node);
            drop(state);
            Some(Joined { reads: Arc::clone(this), read, node })
        })
    }
}

/// There are too many readers.
pub(super) struct Full;

impl Connected {
    pub(super) fn lists(&self, lists: BTreeSet<CollectionKey>) {
        *lock(&self.lists) = lists;
        for read in lock(&self.reads.open).values() {
            read.state().lacking.remove(&self.node);
        }
        self.reads.tell();
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut peers = lock(&self.reads.peers);
        // It may be connected anew already.
        if peers.get(&self.node).is_some_and(|lists| Arc::ptr_eq(lists, &self.lists)) {
            peers.remove(&self.node);
        }
        drop(peers);
        for read in lock(&self.reads.open).values() {
            read.changed.notify(usize::MAX);
        }
        self.reads.tell();
    }
}

impl State {
    fn is_free(&self, node: &NodeId) -> bool {
        [&self.joined, &self.busy, &self.lacking].iter().all(|nodes| !nodes.contains(node))
    }

    fn wanted(&self) -> Vec<Range<u64>> {
        self.readers.values().cloned().collect()
    }
}

impl Read {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Becomes ready when peers come, go, or have nothing.
    pub(super) fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    /// Ready when nobody reads it any more, and something of it is still missing.
    pub(super) async fn over(&self) {
        loop {
            let changed = self.changed();
            if self.state().readers.is_empty() && !self.swarm.is_whole() {
                return;
            }
            changed.await;
        }
    }
}

impl Seat {
    /// Tells where the reader is, and where he ends.
    pub(super) fn want(&self, wanted: Range<u64>) {
        let mut state = self.read.state();
        let Some(before) = state.readers.get_mut(&self.number) else { return };
        let is_near = (before.start..before.start.saturating_add(READ_STEP_BYTES)).contains(&wanted.start);
        if !is_near || before.end != wanted.end {
            *before = wanted;
            self.read.swarm.want(&state.wanted());
        }
    }

    /// Whether none of the connected peers has it.
    pub(super) fn is_hopeless(&self) -> bool {
        let listing = self.reads.listing(&self.read.key);
        let state = self.read.state();
        state.joined.is_empty() && state.busy.is_empty() && listing.iter().all(|node| state.lacking.contains(node))
    }

    /// All are asked again.
    pub(super) fn ask_again(&self) {
        self.read.state().lacking.clear();
        self.reads.tell();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = lock(&self.reads.open);
        let mut state = self.read.state();
        state.readers.remove(&self.number);
        self.read.swarm.want(&state.wanted());
        if state.readers.is_empty() {
            open.remove(&self.read.swarm.id());
        }
        drop(state);
        self.read.changed.notify(usize::MAX);
    }
}

impl Joined {
    /// It has too much to do now.
    pub(super) fn rests(&self) {
        let mut state = self.read.state();
        state.joined.remove(&self.node);
        state.busy.insert(self.node);
        drop(state);
        self.reads.tell();
    }

    /// It has nothing that is of use, or failed.
    pub(super) fn lacks(&self) {
        self.read.state().lacking.insert(self.node);
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut state = self.read.state();
        state.joined.remove(&self.node);
        state.busy.remove(&self.node);
        drop(state);
        self.read.changed.notify(usize::MAX);
        self.reads.tell();
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is right after each of its changes.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
