//! What all streams that are served share: slots, limits, and the account of what was sent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use smol::channel::{Receiver, Sender, bounded};

use super::{
    limiter::{Limiter, Meter},
    slots::{Client, Paused, Slots, Ticket, Turn},
    throttle::Priority,
};
use crate::{
    clock,
    content::NodeId,
    limits::transfer::{SLOT_TURN_MS, SLOT_WAIT_MS},
};

/// See [`SLOT_WAIT_MS`]; tests of busy nodes don't wait that long.
const SLOT_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1_000 } else { SLOT_WAIT_MS });

/// The upload slots of a node, and what it has sent: one for all blob streams. Clones share the slots.
#[derive(Clone)]
pub struct Uploads {
    shared: Arc<Shared>,
    /// Who gets what is sent.
    client: Client,
}

struct Shared {
    queue: Mutex<Queue>,
    sent_bytes: AtomicU64,
    limiter: Limiter,
}

struct Queue {
    slots: Slots,
    /// Those who wait for one.
    waiting: BTreeMap<Ticket, (Client, Sender<Slot>)>,
}

/// A slot, given back when it is dropped.
pub(super) struct Slot {
    shared: Arc<Shared>,
    client: Client,
    taken: Instant,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.change(|queue| queue.slots.give_back(self.client.peer));
    }
}

impl Slot {
    /// Whether it is another's turn. To be asked when an answer ends, and in the midst of one, which may take a short turn.
    pub fn is_over(&mut self, is_answering: bool) -> bool {
        let now = clock::now();
        if is_answering && now.saturating_duration_since(self.taken) < Duration::from_millis(SLOT_TURN_MS) {
            return false;
        }
        self.taken = now;
        self.shared.look(|queue| queue.slots.ends_turn(self.client))
    }
}

/// A place in the line for a slot, which dropping gives up.
pub(super) struct Waiting {
    shared: Arc<Shared>,
    ticket: Ticket,
    slot: Receiver<Slot>,
    until: Instant,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.change(|queue| {
            queue.slots.leave(self.ticket);
            queue.waiting.remove(&self.ticket)
        });
    }
}

impl Waiting {
    /// The slot; none if it takes too long, or there will be none.
    pub async fn slot(&self) -> Option<Slot> {
        clock::within(self.until.saturating_duration_since(clock::now()), self.slot.recv()).await?.ok()
    }
}

impl Shared {
    fn look<T>(&self, look: impl FnOnce(&mut Queue) -> T) -> T {
        look(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes something, and gives slots to those whose turn it is then.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Queue) -> T) -> T {
        let (changed, next) = self.look(|queue| {
            let changed = change(queue);
            let next = std::iter::from_fn(|| queue.slots.next());
            let next: Vec<_> = next.filter_map(|ticket| queue.waiting.remove(&ticket)).collect();
            (changed, next)
        });
        for (client, sender) in next {
            // Who has just left gives it back by that.
            drop(sender.try_send(self.slot(client)));
        }
        changed
    }

    fn slot(self: &Arc<Self>, client: Client) -> Slot {
        Slot { shared: Arc::clone(self), client, taken: clock::now() }
    }
}

impl Uploads {
    /// At most `slots` streams are sent content at a time, normally
    /// [`UPLOAD_SLOTS`](crate::limits::transfer::UPLOAD_SLOTS).
    pub fn new(slots: usize) -> Self {
        let queue = Mutex::new(Queue { slots: Slots::new(slots), waiting: BTreeMap::new() });
        let shared = Shared { queue, sent_bytes: AtomicU64::new(0), limiter: Limiter::default() };
        Self { shared: Arc::new(shared), client: Client { peer: NodeId([0; 32]), is_throttled: false } }
    }

    /// The same slots, for a stream of this peer.
    pub fn of(&self, peer: NodeId) -> Self {
        Self { client: Client { peer, ..self.client }, ..self.clone() }
    }

    /// The same slots, for a peer that gets one only while others leave more than half of them, and less of a limited rate.
    pub fn throttled(self) -> Self {
        Self { client: Client { is_throttled: true, ..self.client }, ..self }
    }

    /// So many slots from now on.
    pub fn set_slots(&self, slots: usize) {
        self.shared.change(|queue| queue.slots.set_count(slots));
    }

    /// These peers are sent nothing from now on, but for the rest of short answers.
    pub fn set_paused(&self, paused: Paused) {
        self.shared.change(|queue| {
            let gone = queue.slots.set_paused(paused);
            gone.iter().for_each(|ticket| _ = queue.waiting.remove(ticket));
        });
    }

    /// These peers get more or less of the slots and of limited rates than others from now on.
    pub fn set_priorities(&self, priorities: BTreeMap<NodeId, Priority>) {
        self.shared.change(|queue| queue.slots.set_priorities(priorities));
    }

    /// What bounds the rate of all that is sent.
    pub fn limiter(&self) -> &Limiter {
        &self.shared.limiter
    }

    /// Bytes of content, without hashes and heads, that were sent since the start.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Relaxed)
    }

    /// How many slots there are, how many are taken, and how many streams wait for one.
    pub fn counts(&self) -> [usize; 3] {
        self.shared.look(|queue| queue.slots.counts())
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        self.shared.sent_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn meter(&self) -> Meter {
        self.limiter().meter(self.client.peer, self.priority())
    }

    /// What the peer gets of a limited rate.
    pub(super) fn priority(&self) -> Priority {
        let Client { peer, is_throttled } = self.client;
        if is_throttled { Priority::Low } else { self.shared.look(|queue| queue.slots.priority(&peer)) }
    }

    /// Takes a slot if one is free; else a place in the line, or none if too many wait.
    pub(super) fn take(&self) -> Result<Slot, Option<Waiting>> {
        let (client, shared) = (self.client, &self.shared);
        shared.look(|queue| match queue.slots.take(client) {
            Turn::Now => Ok(shared.slot(client)),
            Turn::Never => Err(None),
            Turn::Later(ticket) => {
                let (sender, slot) = bounded(1);
                queue.waiting.insert(ticket, (client, sender));
                Err(Some(Waiting { shared: Arc::clone(shared), ticket, slot, until: clock::now() + SLOT_WAIT }))
            }
        })
    }
}
