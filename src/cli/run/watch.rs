//! From one look at the node to the next: what is new, in words, and a bar for each copy under way.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::{
    out::{count, duration, printable, size},
    status::transfer_line,
};
use crate::status::{NodeStatus, NoticeLevel, PeerState, TransferStatus};

/// What was seen at the last look.
pub(in crate::cli) struct Watch<'a> {
    bars: &'a MultiProgress,
    /// Whether a person watches; otherwise copies are told in lines.
    draws: bool,
    connected: BTreeSet<String>,
    has_met_anyone: bool,
    transfers: BTreeMap<(String, String), Copy>,
    notices: BTreeSet<String>,
    /// What the library held at the last look, and when it was told last; none before the first look.
    held: Option<Held>,
    told_held: Option<Held>,
}

/// Collections, blobs, and their bytes.
type Held = (u64, u64, u64);

struct Copy {
    last: TransferStatus,
    bar: Option<ProgressBar>,
    told_tenths: u64,
}

impl<'a> Watch<'a> {
    pub(in crate::cli) fn new(bars: &'a MultiProgress, draws: bool) -> Self {
        if !draws {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self {
            bars,
            draws,
            connected: BTreeSet::new(),
            has_met_anyone: false,
            transfers: BTreeMap::new(),
            notices: BTreeSet::new(),
            held: None,
            told_held: None,
        }
    }

    pub(super) fn has_met_anyone(&self) -> bool {
        self.has_met_anyone
    }

    /// What is new since the last look.
    pub(in crate::cli) fn look(&mut self, status: &NodeStatus) -> Vec<String> {
        let mut lines = self.look_at_peers(status);
        lines.extend(self.look_at_transfers(status));
        lines.extend(self.look_at_library(status));
        let notices: BTreeSet<String> = status
            .notices
            .iter()
            .map(|notice| match notice.level {
                NoticeLevel::Info => notice.text.clone(),
                NoticeLevel::Warning => format!("Warning: {}", notice.text),
                NoticeLevel::Error => format!("Error: {}", notice.text),
            })
            .collect();
        lines.extend(notices.difference(&self.notices).cloned());
        self.notices = notices;
        lines
    }

    fn look_at_peers(&mut self, status: &NodeStatus) -> Vec<String> {
        let mut lines = Vec::new();
        let mut connected = BTreeSet::new();
        for peer in status.peers.iter().filter(|peer| peer.state == PeerState::Connected) {
            if !self.connected.contains(&peer.node) {
                let address = peer.address.as_deref().unwrap_or("an unknown address");
                lines.push(format!("Connected to {} at {address}", peer.node));
            }
            connected.insert(peer.node.clone());
        }
        lines.extend(self.connected.difference(&connected).map(|node| format!("Lost {node}")));
        self.has_met_anyone |= !connected.is_empty();
        self.connected = connected;
        lines
    }

    /// Once it holds something else and has come to rest: a copy of a few files comes and goes between two looks.
    fn look_at_library(&mut self, status: &NodeStatus) -> Option<String> {
        let (collections, blobs, bytes) = (status.store.collections, status.store.blobs, status.store.bytes);
        let held = Some((collections, blobs, bytes));
        self.told_held = self.told_held.or(held);
        let rests = std::mem::replace(&mut self.held, held) == held && self.transfers.is_empty();
        if !rests || self.told_held == held {
            return None;
        }
        self.told_held = held;
        let (files, collections) = (count(blobs, "file"), count(collections, "collection"));
        Some(format!("The library has {files} in {collections} now, {}", size(bytes)))
    }

    fn look_at_transfers(&mut self, status: &NodeStatus) -> Vec<String> {
        let mut lines = Vec::new();
        let mut before = std::mem::take(&mut self.transfers);
        for transfer in &status.transfers {
            let key = (transfer.collection.clone(), transfer.peer.clone());
            let mut copy = before.remove(&key).unwrap_or_else(|| {
                let what = (count(transfer.items_total, "file"), size(transfer.bytes_total));
                lines.push(format!("Copying {} from {}: {}, {}", transfer.collection, transfer.peer, what.0, what.1));
                Copy { last: transfer.clone(), bar: self.draws.then(|| self.bars.add(bar())), told_tenths: 0 }
            });
            copy.last = transfer.clone();
            match &copy.bar {
                Some(bar) => draw(bar, transfer),
                None => lines.extend(copy.tell()),
            }
            self.transfers.insert(key, copy);
        }
        for copy in before.into_values() {
            if let Some(bar) = copy.bar {
                bar.finish_and_clear();
                self.bars.remove(&bar);
            }
            // The last bytes may have come after the last look.
            lines.push(format!("Done copying {} from {}", copy.last.collection, copy.last.peer));
        }
        lines
    }
}

impl Copy {
    /// A line at every tenth, for logs.
    fn tell(&mut self) -> Option<String> {
        let tenths = self.last.bytes_done.saturating_mul(10).checked_div(self.last.bytes_total).unwrap_or(0);
        let is_new = tenths > self.told_tenths;
        self.told_tenths = self.told_tenths.max(tenths);
        is_new.then(|| transfer_line(&self.last))
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {percent:>3} %  {wide_msg}").expect("a correct template");
    ProgressBar::new(0).with_style(style.progress_chars("█▌░"))
}

fn draw(bar: &ProgressBar, transfer: &TransferStatus) {
    let TransferStatus { collection, items_done, items_total, rate_bytes_s, .. } = transfer;
    let left = transfer.remaining_s.map(|seconds| format!(", {} left", duration(seconds))).unwrap_or_default();
    let rate = size(*rate_bytes_s);
    bar.set_message(printable(&format!("{collection}: {items_done} of {items_total} files, {rate}/s{left}")));
    bar.set_length(transfer.bytes_total);
    bar.set_position(transfer.bytes_done);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Notice, PeerStatus, StoreStatus};

    fn peer(node: &str, state: PeerState) -> PeerStatus {
        PeerStatus {
            node: node.into(),
            state,
            address: Some("/ip4/192.0.2.1/udp/4720/quic-v1".into()),
            rtt_us: None,
            agent: None,
            source: "mdns".into(),
            error: None,
            ..PeerStatus::default()
        }
    }

    fn transfer(bytes_done: u64) -> TransferStatus {
        TransferStatus {
            collection: "Books".into(),
            peer: "A".into(),
            item: None,
            items_done: 0,
            items_total: 3,
            bytes_done,
            bytes_total: 1000,
            rate_bytes_s: 10,
            ..TransferStatus::default()
        }
    }

    #[test]
    fn each_change_is_told_once() {
        let bars = MultiProgress::new();
        let mut watch = Watch::new(&bars, false);
        let mut status = NodeStatus { peers: vec![peer("A", PeerState::Disconnected)], ..NodeStatus::default() };
        assert_eq!(watch.look(&status), [""; 0]);
        assert!(!watch.has_met_anyone());

        status.peers[0].state = PeerState::Connected;
        status.transfers = vec![transfer(0)];
        status.notices = vec![Notice { level: NoticeLevel::Warning, text: "the disk is full".into() }];
        let told = watch.look(&status);
        assert_eq!(told[0], "Connected to A at /ip4/192.0.2.1/udp/4720/quic-v1");
        assert_eq!(told[1], "Copying Books from A: 3 files, 1.0 kB");
        assert_eq!(told[2], "Warning: the disk is full");
        assert_eq!(watch.look(&status), [""; 0]);
        assert!(watch.has_met_anyone());

        status.transfers = vec![transfer(250)];
        assert_eq!(watch.look(&status), ["Books: 25 %, 0 of 3 files, 250 B of 1.0 kB, 10 B/s"]);
        status.transfers = vec![transfer(299)];
        assert_eq!(watch.look(&status), [""; 0]);

        status = NodeStatus::default();
        assert_eq!(watch.look(&status), ["Lost A", "Done copying Books from A"]);
        assert!(watch.has_met_anyone(), "once is enough");

        status.store = StoreStatus { collections: 1, blobs: 3, bytes: 1000, ..StoreStatus::default() };
        assert_eq!(watch.look(&status), [""; 0], "it may still grow");
        assert_eq!(watch.look(&status), ["The library has 3 files in 1 collection now, 1.0 kB"]);
        assert_eq!(watch.look(&status), [""; 0]);
    }
}
