//! The status as text for Prometheus (its exposition format, version 0.0.4). Pure.

use std::fmt::{Display, Write as _};

use super::{NodeStatus, PeerState, Progress, TrafficStatus, TransferStatus};

/// What a program that watches many nodes wants to know of this one: above all how transfers come along. Fields are only ever
/// added.
pub fn metrics(node: &NodeStatus) -> String {
    let mut text = Text::default();
    let connected = node.peers.iter().filter(|peer| peer.state == PeerState::Connected).count();
    text.gauge("uptime_seconds", "Since the node started.", node.uptime_s);
    text.gauge("peers_connected", "Peers with a connection.", connected);
    text.gauge("library_files", "Files that are complete here.", node.store.blobs);
    text.gauge("library_bytes", "Their bytes.", node.store.bytes);
    text.gauge("disk_free_bytes", "Free on the disk of the library.", node.store.free_bytes);

    let TrafficStatus { fetched_bytes, sent_bytes, sending, slots, waiting, reading } = node.traffic;
    text.counter("fetched_bytes_total", "Content that came from other nodes, verified.", fetched_bytes);
    text.counter("sent_bytes_total", "Content that was sent to other nodes.", sent_bytes);
    text.gauge("upload_slots", "Streams that may be sent content at a time.", slots);
    text.gauge("uploads_sending", "Streams that are sent content.", sending);
    text.gauge("uploads_waiting", "Streams that wait for their turn.", waiting);
    text.gauge("remote_reads", "Files that are read here and come from elsewhere.", reading);

    let all = Progress::of(&node.transfers);
    text.gauge("fetching_bytes", "All of the collections that are being copied.", all.bytes_total);
    text.gauge("fetching_verified_bytes", "What of it is here, verified.", all.bytes_done);
    text.gauge("fetching_rate_bytes", "Verified bytes that come in a second.", all.rate_bytes_s);
    text.gauge("fetching_sources", "Nodes that they come from.", all.sources);
    text.each(
        "collection_bytes",
        "All of a collection that is being copied.",
        collections(node, |it| Some(it.bytes_total)),
    );
    text.each(
        "collection_verified_bytes",
        "What of it is here, verified.",
        collections(node, |it| Some(it.bytes_done)),
    );
    text.each(
        "collection_rate_bytes",
        "Verified bytes that come in a second.",
        collections(node, |it| Some(it.rate_bytes_s)),
    );
    text.each("collection_sources", "Nodes that it comes from.", collections(node, |it| Some(it.sources)));
    text.each("collection_remaining_seconds", "To its end at this rate.", collections(node, |it| it.remaining_s));
    text.each(
        "transfer_verified_bytes",
        "What a peer has brought of a collection.",
        transfers(node, |it| it.verified_bytes),
    );
    text.each("transfer_rate_bytes", "What it brings in a second.", transfers(node, |it| it.rate_bytes_s));
    text.0
}

/// A number of each collection that is being copied and has it, with its labels.
fn collections(node: &NodeStatus, of: fn(&Progress) -> Option<u64>) -> impl Iterator<Item = (String, u64)> {
    Progress::by_collection(&node.transfers)
        .into_iter()
        .filter_map(move |(one, progress)| Some((format!("collection=\"{}\"", escaped(&one.folder)), of(&progress)?)))
}

/// A number of each transfer, with its labels.
fn transfers(node: &NodeStatus, of: fn(&TransferStatus) -> u64) -> impl Iterator<Item = (String, u64)> {
    let labels = |it: &TransferStatus| format!("collection=\"{}\",peer=\"{}\"", escaped(&it.folder), escaped(&it.peer));
    node.transfers.iter().map(move |it| (labels(it), of(it)))
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.add(name, "gauge", help, [(String::new(), value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.add(name, "counter", help, [(String::new(), value)]);
    }

    fn each(&mut self, name: &str, help: &str, values: impl Iterator<Item = (String, u64)>) {
        self.add(name, "gauge", help, values.map(|(labels, value)| (format!("{{{labels}}}"), value)));
    }

    fn add(&mut self, name: &str, kind: &str, help: &str, values: impl IntoIterator<Item = (String, impl Display)>) {
        let _ = writeln!(self.0, "# HELP allibrary_{name} {help}\n# TYPE allibrary_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(self.0, "allibrary_{name}{labels} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_name_and_labels() {
        let from = |peer: &str, remaining_s| TransferStatus {
            peer: peer.into(),
            folder: "a \"b\" \\ \nc".into(),
            bytes_done: 250,
            bytes_total: 1000,
            rate_bytes_s: 5,
            total_rate_bytes_s: 10,
            verified_bytes: 77,
            remaining_s,
            ..TransferStatus::default()
        };
        let traffic = TrafficStatus { sent_bytes: 9, waiting: 3, ..TrafficStatus::default() };
        let transfers = vec![from("A", Some(75)), from("B", Some(75))];
        let text = metrics(&NodeStatus { transfers, traffic, uptime_s: 5, ..NodeStatus::default() });
        let label = r#"collection="a \"b\" \\ \nc""#;
        for line in [
            "allibrary_uptime_seconds 5".to_owned(),
            "# TYPE allibrary_sent_bytes_total counter".to_owned(),
            "allibrary_sent_bytes_total 9".to_owned(),
            "allibrary_uploads_waiting 3".to_owned(),
            "allibrary_fetching_bytes 1000".to_owned(),
            format!("allibrary_collection_verified_bytes{{{label}}} 250"),
            format!("allibrary_collection_sources{{{label}}} 2"),
            format!("allibrary_collection_remaining_seconds{{{label}}} 75"),
            format!("allibrary_transfer_verified_bytes{{{label},peer=\"B\"}} 77"),
        ] {
            assert_eq!(text.lines().filter(|it| **it == line).count(), 1, "{line} in\n{text}");
        }
        // A name has one kind and all its lines together.
        let kinds: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(kinds.iter().all(|kind| kinds.iter().filter(|it| it == &kind).count() == 1));
        assert!(!metrics(&NodeStatus::default()).contains('{'));
    }
}
