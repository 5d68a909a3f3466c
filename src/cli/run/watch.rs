//! From one look at the node to the next: what is new, in words, and a bar for each copy under way.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::{
    out::{count, printable, size},
    status::{speed, transfer_line},
};
use crate::status::{NodeStatus, NoticeLevel, PeerState, Progress, TransferStatus};

/// What was seen at the last look.
pub(in crate::cli) struct Watch<'a> {
    bars: &'a MultiProgress,
    /// Whether a person watches; otherwise copies are told in lines.
    draws: bool,
    connected: BTreeSet<String>,
    has_met_anyone: bool,
    /// Which collections came from whom.
    transfers: BTreeSet<(String, String)>,
    /// How far collections are, by their folders.
    copies: BTreeMap<String, Copy>,
    /// How far all of them are, if there are several.
    all: Option<ProgressBar>,
    notices: BTreeSet<String>,
    /// What the library held at the last look, and when it was told last; none before the first look.
    held: Option<Held>,
    told_held: Option<Held>,
}

/// Collections, blobs, and their bytes.
type Held = (u64, u64, u64);

#[derive(Default)]
struct Copy {
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
            transfers: BTreeSet::new(),
            copies: BTreeMap::new(),
            all: None,
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
        let mut now = BTreeSet::new();
        for transfer in &status.transfers {
            let key = (transfer.collection.clone(), transfer.peer.clone());
            if !self.transfers.contains(&key) && now.insert(key.clone()) {
                let what = (count(transfer.items_total, "file"), size(transfer.bytes_total));
                lines.push(format!("Copying {} from {}: {}, {}", transfer.collection, transfer.peer, what.0, what.1));
            }
            now.insert(key);
        }
        self.look_at_copies(&status.transfers, &mut lines);
        // The last bytes may have come after the last look.
        let done = self.transfers.difference(&now);
        lines.extend(done.map(|(collection, peer)| format!("Done copying {collection} from {peer}")));
        self.transfers = now;
        lines
    }

    fn look_at_copies(&mut self, transfers: &[TransferStatus], lines: &mut Vec<String>) {
        let mut before = std::mem::take(&mut self.copies);
        let collections = Progress::by_collection(transfers);
        for (one, progress) in &collections {
            let mut copy = before.remove(&one.folder).unwrap_or_default();
            if self.draws {
                let bar = copy.bar.get_or_insert_with(|| self.bars.insert(0, bar()));
                draw(bar, &format!("{}: {} of {} files", one.collection, one.items_done, one.items_total), progress);
            } else if copy.is_news(progress) {
                lines.push(transfer_line(one, progress));
            }
            self.copies.insert(one.folder.clone(), copy);
        }
        let mut over: Vec<_> = before.into_values().filter_map(|copy| copy.bar).collect();
        if self.draws && collections.len() > 1 {
            let bar = self.all.get_or_insert_with(|| self.bars.add(bar()));
            draw(bar, &format!("{} collections", collections.len()), &Progress::of(transfers));
        } else {
            over.extend(self.all.take());
        }
        for bar in over {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }
}

impl Copy {
    /// Whether another tenth is here: in logs there is a line for each.
    fn is_news(&mut self, progress: &Progress) -> bool {
        let tenths = progress.bytes_done.saturating_mul(10).checked_div(progress.bytes_total).unwrap_or(0);
        let is_news = tenths > self.told_tenths;
        self.told_tenths = self.told_tenths.max(tenths);
        is_news
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {percent:>3} %  {wide_msg}").expect("a correct template");
    ProgressBar::new(0).with_style(style.progress_chars("█▌░"))
}

fn draw(bar: &ProgressBar, what: &str, progress: &Progress) {
    bar.set_message(printable(&format!("{what}, {}", speed(progress))));
    bar.set_length(progress.bytes_total);
    bar.set_position(progress.bytes_done);
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
            total_rate_bytes_s: 10,
            folder: "Books".into(),
            ..TransferStatus::default()
        }
    }

    #[test]
    fn there_is_a_bar_for_each_collection_and_one_for_all() {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut watch = Watch::new(&bars, true);
        let films = TransferStatus { folder: "Films".into(), peer: "B".into(), ..transfer(750) };
        let from_b = TransferStatus { peer: "B".into(), ..transfer(250) };
        let mut status = NodeStatus { transfers: vec![transfer(250), from_b, films], ..NodeStatus::default() };
        watch.look(&status);
        let at = |bar: &ProgressBar| (bar.position(), bar.length());
        let each = watch.copies.values().map(|copy| at(copy.bar.as_ref().unwrap()));
        assert_eq!(Vec::from_iter(each), [(250, Some(1000)), (750, Some(1000))]);
        assert_eq!(watch.all.as_ref().map(at), Some((1000, Some(2000))));
        status.transfers.truncate(2);
        watch.look(&status);
        assert!(watch.all.is_none() && watch.copies.len() == 1);
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
        assert_eq!(watch.look(&status), ["Books: 25 %, 0 of 3 files, 250 B of 1.0 kB, 10 B/s, 1 min left"]);
        status.transfers = vec![transfer(299)];
        assert_eq!(watch.look(&status), [""; 0]);

        // What two bring is told once.
        status.transfers.push(TransferStatus { peer: "B".into(), ..transfer(500) });
        status.transfers[0] = transfer(500);
        let told = watch.look(&status);
        assert_eq!(told[0], "Copying Books from B: 3 files, 1.0 kB");
        assert_eq!(told[1..], ["Books: 50 %, 0 of 3 files, 500 B of 1.0 kB, 10 B/s from 2 nodes, 50 s left"]);
        status.transfers.pop();
        assert_eq!(watch.look(&status), ["Done copying Books from B"]);

        status = NodeStatus::default();
        assert_eq!(watch.look(&status), ["Lost A", "Done copying Books from A"]);
        assert!(watch.has_met_anyone(), "once is enough");

        status.store = StoreStatus { collections: 1, blobs: 3, bytes: 1000, ..StoreStatus::default() };
        assert_eq!(watch.look(&status), [""; 0], "it may still grow");
        assert_eq!(watch.look(&status), ["The library has 3 files in 1 collection now, 1.0 kB"]);
        assert_eq!(watch.look(&status), [""; 0]);
    }
}
