//! What the followers are at, for people.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    content::{CollectionKey, NodeId},
    library::Summary,
    limits,
    status::{Notice, NoticeLevel, TransferStatus},
    transfer::Rate,
};

#[derive(Default)]
pub(super) struct Transfers(Arc<Mutex<Active>>);

#[derive(Default)]
struct Active {
    next: u64,
    /// By number, in the order they began.
    transfers: BTreeMap<u64, Transfer>,
}

struct Transfer {
    peer: NodeId,
    collection: CollectionKey,
    item: Option<String>,
    /// Bytes of `item` that are here and not yet counted as held.
    partial_bytes: u64,
    rate: Rate,
}

/// A transfer under way; dropping it takes it off the list.
pub(super) struct Handle {
    number: u64,
    active: Arc<Mutex<Active>>,
}

impl Transfers {
    pub fn begin(&self, now: Instant, peer: NodeId, collection: CollectionKey) -> Handle {
        let mut active = lock(&self.0);
        let number = active.next;
        active.next += 1;
        let transfer = Transfer { peer, collection, item: None, partial_bytes: 0, rate: Rate::new(now) };
        active.transfers.insert(number, transfer);
        Handle { number, active: Arc::clone(&self.0) }
    }

    /// One status for each collection and peer.
    pub fn status(&self, now: Instant, summary: impl Fn(&CollectionKey) -> Option<Summary>) -> Vec<TransferStatus> {
        let mut all: Vec<(NodeId, CollectionKey, TransferStatus)> = Vec::new();
        for transfer in lock(&self.0).transfers.values() {
            let rate = transfer.rate.bytes_per_s(now);
            let known = all.iter_mut().find(|(peer, key, _)| (*peer, *key) == (transfer.peer, transfer.collection));
            if let Some((.., status)) = known {
                status.rate_bytes_s += rate;
                status.bytes_done += transfer.partial_bytes;
                status.item = status.item.take().or_else(|| transfer.item.clone());
            } else if let Some(summary) = summary(&transfer.collection) {
                let status = TransferStatus {
                    collection: summary.name,
                    peer: transfer.peer.to_string(),
                    item: transfer.item.clone(),
                    items_done: summary.held_items,
                    items_total: summary.items,
                    bytes_done: summary.held_bytes + transfer.partial_bytes,
                    bytes_total: summary.bytes,
                    rate_bytes_s: rate,
                    folder: summary.folder,
                    id: transfer.collection.id.to_string(),
                    ..TransferStatus::default()
                };
                all.push((transfer.peer, transfer.collection, status));
            }
        }
        all.into_iter()
            .map(|(.., mut status)| {
                status.bytes_done = status.bytes_done.min(status.bytes_total);
                let left = status.bytes_total - status.bytes_done;
                status.remaining_s = (status.rate_bytes_s > 0).then(|| left.div_ceil(status.rate_bytes_s));
                status
            })
            .collect()
    }
}

impl Handle {
    /// This item is fetched now; so many bytes of it are here.
    pub fn item(&self, label: &str) {
        self.change(|transfer| {
            transfer.item = Some(label.to_owned());
            transfer.partial_bytes = 0;
        });
    }

    /// More bytes arrived.
    pub fn arrived(&self, now: Instant, bytes: u64) {
        self.change(|transfer| transfer.rate.add(now, bytes));
    }

    /// So many bytes of a large item are here.
    pub fn partial(&self, bytes: u64) {
        self.change(|transfer| transfer.partial_bytes = bytes);
    }

    fn change(&self, change: impl FnOnce(&mut Transfer)) {
        if let Some(transfer) = lock(&self.active).transfers.get_mut(&self.number) {
            change(transfer);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.active).transfers.remove(&self.number);
    }
}

/// What people should know, by what it is about.
#[derive(Default)]
pub(super) struct Notices(Mutex<BTreeMap<String, Notice>>);

impl Notices {
    /// Puts up or renews the notice about something.
    pub fn put(&self, about: &str, level: NoticeLevel, text: String) {
        let mut notices = lock(&self.0);
        if notices.get(about).is_some_and(|notice| notice.text == text) {
            return;
        }
        log::info!("{text}");
        if notices.len() < limits::follow::NOTICES || notices.contains_key(about) {
            notices.insert(about.to_owned(), Notice { level, text });
        }
    }

    /// It is over.
    pub fn clear(&self, about: &str) {
        lock(&self.0).remove(about);
    }

    pub fn list(&self) -> Vec<Notice> {
        let mut notices: Vec<Notice> = lock(&self.0).values().cloned().collect();
        // The lanes of a peer say the same next to each other.
        notices.dedup();
        notices
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
