//! What all that fetch one blob share: its download, and the plan of who is asked for what.

use std::{
    collections::BTreeMap,
    ops,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use event_listener::{Event, EventListener};
use smol::lock::OnceCell;

use super::{
    error::FetchError,
    plan::{Next, Plan, SourceId},
};
use crate::{
    clock,
    content::{ContentId, NodeId},
    limits::transfer::CHECKPOINT_MS,
    store::{Blob, Download, Store, StoreError},
    wire::blob::Range,
};

/// A blob that is fetched, from any number of peers at a time: see [`fetch`](super::fetch()). One for each blob.
pub struct Swarm {
    store: Arc<Store>,
    id: ContentId,
    size: u64,
    me: SourceId,
    begun: OnceCell<Arc<Begun>>,
}

impl Swarm {
    /// Nothing happens before the first peer joins. `me` is this node.
    pub fn new(store: Arc<Store>, me: NodeId, id: ContentId, size: u64) -> Self {
        Self { store, id, size, me: me.into(), begun: OnceCell::new() }
    }

    /// Which blob.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Bytes of the whole blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether something is still missing.
    pub fn is_open(&self) -> bool {
        self.begun.get().is_none_or(|begun| !begun.state().plan.is_complete())
    }

    /// Whether all bytes are here, and the file has its name or is about to get it: whoever brought the last is not to be cut short.
    pub fn is_whole(&self) -> bool {
        self.begun.get().is_some_and(|begun| begun.download.verified_bytes() == self.size)
    }

    /// Whether nobody need be asked any more: all is here, and somebody gives the file its name, or has given.
    pub fn is_done(&self) -> bool {
        self.begun.get().is_some_and(|begun| {
            let state = begun.state();
            state.plan.is_complete() && state.is_finished
        })
    }

    /// Begins the download if nobody has: so that why it can't be is known before a peer is asked.
    pub async fn open(&self) -> Result<(), FetchError> {
        self.begin().await.map(drop)
    }

    /// For reading what is here by now, once it is [`open`](Swarm::open).
    pub fn blob(&self) -> Option<Result<Blob, StoreError>> {
        self.begun.get().map(|begun| begun.download.blob())
    }

    /// What readers want from now on: see [`Plan::want`]. Nothing is asked of anybody before it is [`open`](Swarm::open).
    pub fn want(&self, ranges: &[ops::Range<u64>]) {
        if let Some(begun) = self.begun.get() {
            let mut state = begun.state();
            state.plan.want(ranges);
            state.has_readers = !ranges.is_empty();
            state.wake_all();
        }
    }

    /// The download, which the first one begins.
    pub(super) async fn begin(&self) -> Result<Arc<Begun>, FetchError> {
        let begin = async || {
            let (store, id, size, me) = (Arc::clone(&self.store), self.id, self.size, self.me);
            let begin = move || {
                let download = store.download(id, size)?;
                let plan = Plan::new(size, &download.missing(), me);
                let state = State {
                    plan,
                    members: BTreeMap::new(),
                    checkpoint_at: clock::now(),
                    has_readers: false,
                    is_finished: false,
                };
                Ok::<_, StoreError>(Arc::new(Begun { download, state: Mutex::new(state) }))
            };
            smol::unblock(begin).await
        };
        self.begun.get_or_try_init(begin).await.cloned().map_err(FetchError::from)
    }
}

/// A blob whose download has begun.
pub(super) struct Begun {
    pub download: Download,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    /// Those who are asked, and what wakes each.
    members: BTreeMap<SourceId, Arc<Event>>,
    checkpoint_at: Instant,
    /// Somebody reads what comes.
    has_readers: bool,
    /// Somebody gives the file its name.
    is_finished: bool,
}

impl State {
    fn wake_all(&self) {
        self.members.values().for_each(|changed| _ = changed.notify(usize::MAX));
    }
}

impl Begun {
    fn state(&self) -> MutexGuard<'_, State> {
        // The plan is only worse after a panic, not wrong: what is verified is the download's.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if the peer is one already, or there are enough.
    pub fn join(self: Arc<Self>, peer: NodeId, is_for_readers: bool) -> Option<Member> {
        let (source, changed) = (SourceId::from(peer), Arc::new(Event::new()));
        let mut state = self.state();
        if state.members.contains_key(&source) || !state.plan.join(source) {
            return None;
        }
        if is_for_readers {
            state.plan.serve_readers_alone(source);
        }
        state.members.insert(source, Arc::clone(&changed));
        drop(state);
        Some(Member { begun: self, source, changed, is_known: AtomicBool::new(false) })
    }
}

/// A peer that is asked for a blob. Dropping it lets others be asked for what it owes.
pub(super) struct Member {
    begun: Arc<Begun>,
    source: SourceId,
    changed: Arc<Event>,
    is_known: AtomicBool,
}

impl Member {
    /// Whether somebody reads what comes.
    pub fn has_readers(&self) -> bool {
        self.begun.state().has_readers
    }

    pub fn begun(&self) -> &Arc<Begun> {
        &self.begun
    }

    /// Becomes ready when there may be something else to do than when this was called.
    pub fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    pub fn next(&self, now: Instant) -> Next {
        self.begun.state().plan.next_request(now, self.source)
    }

    pub fn is_alone(&self) -> bool {
        self.begun.state().members.len() == 1
    }

    /// Whether what the peer has is known, as far as it can be.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Relaxed)
    }

    /// Bytes that the peer has, as far as that is known.
    pub fn held_bytes(&self) -> u64 {
        self.begun.state().plan.held_bytes(self.source)
    }

    pub fn handle_have(&self, ranges: &[Range]) {
        self.begun.state().plan.handle_have(self.source, ranges);
        self.is_known.store(true, Relaxed);
        self.changed.notify(usize::MAX);
    }

    pub fn handle_whole(&self) {
        self.begun.state().plan.handle_whole(self.source);
        self.is_known.store(true, Relaxed);
        self.changed.notify(usize::MAX);
    }

    /// The peer lacks these ranges. `is_known`: nothing more will be heard of what it has.
    pub fn handle_lacking(&self, ranges: &[Range], is_known: bool) {
        let mut state = self.begun.state();
        state.plan.handle_lacking(self.source, ranges);
        state.wake_all();
        self.is_known.store(is_known, Relaxed);
    }

    /// What it was asked last is not asked after all.
    pub fn give_back(&self) {
        let mut state = self.begun.state();
        state.plan.handle_failed(self.source);
        state.wake_all();
    }

    pub fn handle_verified(&self, now: Instant, ranges: impl Iterator<Item = Range>) {
        let mut state = self.begun.state();
        ranges.for_each(|range| state.plan.handle_verified(now, self.source, range));
        // At the end others may be quicker with what this one owes; before that nothing changes for them.
        if state.plan.is_all_asked() {
            state.wake_all();
        } else {
            self.changed.notify(usize::MAX);
        }
    }

    /// Whether it is time for a checkpoint; it counts as made.
    pub fn checkpoint_is_due(&self, now: Instant) -> bool {
        let mut state = self.begun.state();
        let is_due = now.saturating_duration_since(state.checkpoint_at) >= Duration::from_millis(CHECKPOINT_MS);
        if is_due {
            state.checkpoint_at = now;
        }
        is_due
    }

    /// Whether all is here and this one, who is the first to ask, shall give the file its name.
    pub fn finishes(&self) -> bool {
        let mut state = self.begun.state();
        let is_first = state.plan.is_complete() && !state.is_finished;
        state.is_finished |= is_first;
        is_first
    }

    pub fn is_complete(&self) -> bool {
        self.begun.state().plan.is_complete()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.begun.state();
        state.members.remove(&self.source);
        state.plan.leave(self.source);
        state.wake_all();
    }
}
