//! What the followers are at, for people.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// What came of all items.
    verified_bytes: u64,
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
        let transfer =
            Transfer { peer, collection, item: None, partial_bytes: 0, verified_bytes: 0, rate: Rate::new(now) };
        active.transfers.insert(number, transfer);
        Handle { number, active: Arc::clone(&self.0) }
    }

    /// One status for each collection and peer.
    pub fn status(&self, now: Instant, summary: impl Fn(&CollectionKey) -> Option<Summary>) -> Vec<TransferStatus> {
        let active = lock(&self.0);
        let mut coming: BTreeMap<CollectionKey, Coming> = BTreeMap::new();
        let mut all: Vec<(NodeId, CollectionKey, TransferStatus)> = Vec::new();
        for transfer in active.transfers.values() {
            let rate = transfer.rate.bytes_per_s(now);
            coming.entry(transfer.collection).or_default().add(transfer, rate);
            let known = all.iter_mut().find(|(peer, key, _)| (*peer, *key) == (transfer.peer, transfer.collection));
            if let Some((.., status)) = known {
                status.rate_bytes_s += rate;
                status.verified_bytes += transfer.verified_bytes;
                status.item = status.item.take().or_else(|| transfer.item.clone());
            } else if let Some(summary) = summary(&transfer.collection) {
                let status = TransferStatus {
                    collection: summary.name,
                    peer: transfer.peer.to_string(),
                    item: transfer.item.clone(),
                    items_done: summary.held_items,
                    items_total: summary.items,
                    bytes_done: summary.held_bytes,
                    bytes_total: summary.bytes,
                    rate_bytes_s: rate,
                    verified_bytes: transfer.verified_bytes,
                    folder: summary.folder,
                    id: transfer.collection.id.to_string(),
                    ..TransferStatus::default()
                };
                all.push((transfer.peer, transfer.collection, status));
            }
        }
        let finish = |(_, key, mut status): (NodeId, CollectionKey, TransferStatus)| {
            if let Some(coming) = coming.get(&key) {
                coming.complete(&mut status);
            }
            status
        };
        all.into_iter().map(finish).collect()
    }
}

/// What all peers together bring of a collection.
#[derive(Default)]
struct Coming<'a> {
    peers: BTreeSet<NodeId>,
    rate_bytes_s: u64,
    /// What is here of items that are not complete: several peers may bring one.
    partial_bytes: BTreeMap<&'a str, u64>,
}

impl<'a> Coming<'a> {
    fn add(&mut self, transfer: &'a Transfer, rate_bytes_s: u64) {
        self.peers.insert(transfer.peer);
        self.rate_bytes_s += rate_bytes_s;
        let partial = self.partial_bytes.entry(transfer.item.as_deref().unwrap_or_default()).or_default();
        *partial = transfer.partial_bytes.max(*partial);
    }

    fn complete(&self, status: &mut TransferStatus) {
        let here = status.bytes_done + self.partial_bytes.values().sum::<u64>();
        status.bytes_done = here.min(status.bytes_total);
        status.sources = self.peers.len() as u64;
        status.total_rate_bytes_s = self.rate_bytes_s;
        let left = status.bytes_total - status.bytes_done;
        status.remaining_s = (self.rate_bytes_s > 0).then(|| left.div_ceil(self.rate_bytes_s));
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
        self.change(|transfer| {
            transfer.verified_bytes += bytes;
            transfer.rate.add(now, bytes);
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, content::CollectionId};

    #[test]
    fn what_several_peers_bring_of_one_file_counts_once_and_their_rates_add_up() {
        let (transfers, now) = (Transfers::default(), clock::now());
        let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
        let key = CollectionKey { publisher: one, id: CollectionId([3; 16]) };
        let begin = |peer, item: &str, partial| {
            let handle = transfers.begin(now, peer, key);
            handle.item(item);
            handle.partial(partial);
            handle.arrived(now, 10_000);
            handle
        };
        let _handles = [begin(one, "film", 300), begin(two, "film", 400), begin(two, "song", 50)];
        let summary = Summary {
            key,
            folder: "Films".into(),
            name: "Films".into(),
            version: 1,
            items: 3,
            bytes: 1000,
            mine: false,
            held_items: 1,
            held_bytes: 100,
            followed: true,
        };
        let later = now + std::time::Duration::from_secs(1);
        let status = transfers.status(later, |_| Some(summary.clone()));
        assert_eq!(status.len(), 2, "one for each peer");
        assert_eq!(Vec::from_iter(status.iter().map(|it| it.verified_bytes)), [10_000, 20_000]);
        for of_peer in &status {
            assert_eq!((of_peer.bytes_done, of_peer.sources), (100 + 400 + 50, 2));
            assert_eq!(of_peer.total_rate_bytes_s, status.iter().map(|it| it.rate_bytes_s).sum::<u64>());
            assert_eq!(of_peer.remaining_s, Some(450_u64.div_ceil(of_peer.total_rate_bytes_s)));
        }
    }
}
