//! How much is dialled at a time. When a hundred peers come back after a power cut, each is dialled soon, and none is swamped;
//! and whoever tells of a hundred peers at one address makes nobody storm it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::address;
use crate::{content::NodeId, limits};

/// Between two dials.
const SPACING: Duration = Duration::from_millis(limits::network::DIAL_SPACING_MS);
/// A dial is answered long before. Should an answer be lost, its slot is not.
const LOST: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    is_doubtful: bool,
    addresses: Vec<String>,
    ips: Vec<IpAddr>,
}

/// The dials under way, at most [`DIALS`](limits::network::DIALS). Of those who did not answer before fewer are dialled at a time:
/// who is switched off delays nobody, and where all are too busy to answer, dials are not what keeps them so.
#[derive(Debug, Default)]
pub(super) struct Dialler {
    under_way: BTreeMap<NodeId, UnderWay>,
    last: Option<Instant>,
}

impl Dialler {
    /// Whether one more may be dialled, who did not answer before if it `is_doubtful`.
    pub(super) fn has_slot(&self, is_doubtful: bool) -> bool {
        let doubtful = self.under_way.values().filter(|dial| dial.is_doubtful).count();
        self.under_way.len() < limits::network::DIALS && (!is_doubtful || doubtful < limits::network::DIALS_DOUBTFUL)
    }

    /// When a dial that is due at `due`, and has a slot, may begin.
    pub(super) fn next_start(&self, due: Instant) -> Instant {
        self.last.map_or(due, |last| due.max(last + SPACING))
    }

    /// When [`Dialler::lost`] is to be asked.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.under_way.values().map(|dial| dial.since + LOST).min()
    }

    /// Begins a dial. Returns the addresses to try: those at hosts that are not being dialled enough already.
    pub(super) fn start<'a>(
        &mut self,
        now: Instant,
        node: NodeId,
        is_doubtful: bool,
        addresses: impl Iterator<Item = &'a str>,
    ) -> Option<Vec<String>> {
        let is_free = |ip: &IpAddr| {
            let dials = self.under_way.values().filter(|dial| dial.ips.contains(ip));
            dials.count() < limits::network::DIALS_PER_IP
        };
        let mut dial = UnderWay { since: now, is_doubtful, addresses: Vec::new(), ips: Vec::new() };
        // What has a name instead of an IP address stands in the configuration.
        for address in addresses.filter(|address| address::ip(address).is_none_or(|ip| is_free(&ip))) {
            dial.ips.extend(address::ip(address));
            dial.addresses.push(address.to_owned());
            if dial.addresses.len() == limits::network::ADDRESSES_PER_DIAL {
                break;
            }
        }
        if dial.addresses.is_empty() {
            return None;
        }
        let addresses = dial.addresses.clone();
        self.under_way.insert(node, dial);
        self.last = Some(now);
        Some(addresses)
    }

    /// Ends a dial; returns what was tried.
    pub(super) fn end(&mut self, node: &NodeId) -> Vec<String> {
        self.under_way.remove(node).map(|dial| dial.addresses).unwrap_or_default()
    }

    /// A dial whose answer was lost, if there is one.
    pub(super) fn lost(&self, now: Instant) -> Option<NodeId> {
        let lost = |(_, dial): &(&NodeId, &UnderWay)| now.saturating_duration_since(dial.since) >= LOST;
        self.under_way.iter().find(lost).map(|(node, _)| *node)
    }

    pub(super) fn is_dialling(&self, node: &NodeId) -> bool {
        self.under_way.contains_key(node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.under_way.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        NodeId([number as u8; 32])
    }

    fn address(host: usize) -> String {
        format!("/ip4/10.0.0.{host}/udp/4720/quic-v1")
    }

    #[test]
    fn dials_are_spaced_and_few_at_a_time() {
        let (mut dialler, start) = (Dialler::default(), crate::clock::now());
        let mut now = start;
        assert_eq!((dialler.next_start(start), dialler.next_timeout()), (start, None));
        for number in 0..limits::network::DIALS {
            let is_doubtful = number % 2 == 0 && number / 2 < limits::network::DIALS_DOUBTFUL;
            assert!(dialler.has_slot(is_doubtful) && dialler.has_slot(false) && dialler.next_start(start) == now);
            let address = address(number);
            let tried = dialler.start(now, node(number), is_doubtful, [&*address].into_iter());
            assert_eq!(tried, Some(vec![address]));
            assert_eq!(dialler.has_slot(true), number / 2 + 1 < limits::network::DIALS_DOUBTFUL, "{number}");
            now += SPACING;
        }
        assert!(!dialler.has_slot(false));
        assert_eq!(dialler.next_timeout(), Some(start + LOST));
        assert_eq!((dialler.lost(now), dialler.lost(start + LOST)), (None, Some(node(0))));
        assert_eq!(dialler.end(&node(0)), [address(0)]);
        assert!(dialler.has_slot(true) && !dialler.is_dialling(&node(0)) && dialler.is_dialling(&node(1)));
        assert_eq!(dialler.end(&node(0)), [""; 0]);
    }

    #[test]
    fn one_host_is_not_stormed_whoever_is_said_to_be_there() {
        let (mut dialler, now) = (Dialler::default(), crate::clock::now());
        for number in 0..limits::network::DIALS_PER_IP {
            let there = format!("/ip4/10.0.0.1/udp/{}/quic-v1", 4720 + number);
            assert!(dialler.start(now, node(number), false, [&*there].into_iter()).is_some());
        }
        assert_eq!(dialler.start(now, node(50), false, [&*address(1)].into_iter()), None);
        let two = [address(1), address(2), "/dns/example.org/udp/4720/quic-v1".into()];
        let tried = dialler.start(now, node(50), false, two.iter().map(String::as_str));
        assert_eq!(tried, Some(two[1..].to_vec()));
    }

    #[test]
    fn a_dial_tries_so_many_addresses() {
        let (mut dialler, now) = (Dialler::default(), crate::clock::now());
        let many: Vec<_> = (0..16).map(address).collect();
        let tried = dialler.start(now, node(1), false, many.iter().map(String::as_str)).unwrap();
        assert_eq!(tried, many[..limits::network::ADDRESSES_PER_DIAL]);
    }
}
