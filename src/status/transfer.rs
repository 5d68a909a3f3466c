//! What is fetched, and what is not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One collection on its way here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// The collection's name.
    pub collection: String,
    /// The peer that it comes from.
    pub peer: String,
    /// What is being fetched right now.
    pub item: Option<String>,
    /// Items complete and verified, of `items_total`.
    pub items_done: u64,
    /// See `items_done`.
    pub items_total: u64,
    /// Bytes received from whomever, verified and kept, of `bytes_total`.
    pub bytes_done: u64,
    /// See `bytes_done`.
    pub bytes_total: u64,
    /// Verified bytes per second from this peer, smoothed over some seconds.
    pub rate_bytes_s: u64,
    /// Bytes that this peer has brought since it is asked for this collection, and that proved right.
    #[serde(default)]
    pub verified_bytes: u64,
    /// The same from all peers that this collection comes from now.
    #[serde(default)]
    pub total_rate_bytes_s: u64,
    /// How many these are.
    #[serde(default)]
    pub sources: u64,
    /// Seconds to the end at the rate of all.
    pub remaining_s: Option<u64>,
    /// The collection's folder, by which commands name it.
    #[serde(default)]
    pub folder: String,
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Whether it is fetched.
    #[serde(default)]
    pub state: TransferState,
    /// Before which others.
    #[serde(default)]
    pub priority: TransferPriority,
    /// If it is not all of the collection, but one of its items: that one's path.
    #[serde(default)]
    pub path: Option<String>,
}

/// How far some transfers are together: what several peers bring of a collection counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Collections on their way.
    pub collections: u64,
    /// Bytes of them that are here, verified and kept, of `bytes_total`.
    pub bytes_done: u64,
    /// See `bytes_done`.
    pub bytes_total: u64,
    /// Verified bytes per second from all peers, smoothed over some seconds.
    pub rate_bytes_s: u64,
    /// Seconds to the end at this rate.
    pub remaining_s: Option<u64>,
    /// How many peers they come from.
    pub sources: u64,
}

impl Progress {
    /// Of these transfers.
    pub fn of<'a>(transfers: impl IntoIterator<Item = &'a TransferStatus>) -> Self {
        let (mut collections, mut peers) = (BTreeMap::new(), BTreeSet::new());
        for transfer in transfers {
            collections.insert(&transfer.folder, transfer);
            peers.insert(&transfer.peer);
        }
        let sum = |of: fn(&TransferStatus) -> u64| collections.values().map(|it| of(it)).sum::<u64>();
        let (bytes_done, bytes_total) = (sum(|it| it.bytes_done), sum(|it| it.bytes_total));
        let (rate_bytes_s, left) = (sum(|it| it.total_rate_bytes_s), bytes_total.saturating_sub(bytes_done));
        Self {
            collections: collections.len() as u64,
            bytes_done,
            bytes_total,
            rate_bytes_s,
            remaining_s: (rate_bytes_s > 0).then(|| left.div_ceil(rate_bytes_s)),
            sources: peers.len() as u64,
        }
    }

    /// Of each collection among these transfers, in their order, with the first of its transfers.
    pub fn by_collection(transfers: &[TransferStatus]) -> Vec<(&TransferStatus, Self)> {
        let of = |folder: &str| Self::of(transfers.iter().filter(|it| it.folder == folder));
        let mut all: Vec<(&TransferStatus, Self)> = Vec::new();
        for transfer in transfers {
            if all.iter().all(|(known, _)| known.folder != transfer.folder) {
                all.push((transfer, of(&transfer.folder)));
            }
        }
        all
    }

    /// What of it is here, in percent.
    pub fn percent(&self) -> u64 {
        self.bytes_done.saturating_mul(100).checked_div(self.bytes_total).unwrap_or(100).min(100)
    }
}

/// What passes between this node and others in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// Bytes of content that came since the node started, and proved right.
    pub fetched_bytes: u64,
    /// Bytes of content that were sent since the node started, without hashes and heads.
    pub sent_bytes: u64,
    /// Streams that are sent content now, of `slots`.
    pub sending: u64,
    /// See `sending`.
    pub slots: u64,
    /// Streams that wait for their turn.
    pub waiting: u64,
    /// Files that are read here and come from elsewhere.
    pub reading: u64,
}

/// Whether a collection or an item is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// If peers have it.
    #[default]
    Going,
    /// Not until it is resumed.
    Paused,
    /// Not until it is resumed, and what had come of files that were not complete is gone.
    Cancelled,
}

/// What comes before others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferPriority {
    /// After others.
    Low,
    /// As it comes.
    #[default]
    Normal,
    /// Before others.
    High,
}

/// What the owner said of transfers, and what the hour says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// Nothing is fetched, or sent to other nodes.
    pub paused: bool,
    /// It is not the hour to fetch anything (`transfer.hours`).
    pub resting: bool,
    /// Peers from which nothing is fetched, and to which nothing is sent.
    pub paused_peers: Vec<String>,
    /// Bytes that are sent in a second at most; 0 if there is no limit.
    pub upload_rate: u64,
    /// Bytes that are fetched in a second at most; 0 if there is no limit.
    pub download_rate: u64,
    /// Collections that are not under way and of which anything was said.
    pub collections: Vec<TransferStatus>,
    /// Items of which anything was said.
    #[serde(default)]
    pub items: Vec<TransferStatus>,
    /// Peers that get more or less than others.
    #[serde(default)]
    pub peer_priorities: Vec<PeerPriority>,
}

/// What a peer gets of limited rates, and of the upload slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPriority {
    /// Its peer id.
    pub peer: String,
    /// More or less than others.
    pub priority: TransferPriority,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_several_peers_counts_once_in_all() {
        let from = |peer: &str, folder: &str| TransferStatus {
            peer: peer.into(),
            folder: folder.into(),
            bytes_done: 250,
            bytes_total: 1000,
            rate_bytes_s: 5,
            total_rate_bytes_s: 10,
            ..TransferStatus::default()
        };
        let transfers = [from("A", "Books"), from("B", "Books"), from("A", "Films")];
        let all = Progress::of(&transfers);
        assert_eq!((all.bytes_done, all.bytes_total, all.rate_bytes_s), (500, 2000, 20));
        assert_eq!((all.collections, all.sources, all.percent()), (2, 2, 25));
        assert_eq!(all.remaining_s, Some(75));
        let each = Progress::by_collection(&transfers);
        let each = each.iter().map(|(one, progress)| (&*one.folder, progress.sources, progress.bytes_total));
        assert_eq!(Vec::from_iter(each), [("Books", 2, 1000), ("Films", 1, 1000)]);
        assert_eq!(Progress::of(&[]), Progress::default());
        assert_eq!(Progress::default().percent(), 100);
    }
}
