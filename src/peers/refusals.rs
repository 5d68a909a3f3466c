//! Who was turned away lately, so that each is told of once and not at each try.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Why;
use crate::{content::NodeId, limits};

/// The same refusal is told of again after this time.
const QUIET: Duration = Duration::from_secs(3600);

/// A peer that this node turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Who.
    pub(super) node: NodeId,
    /// Where it came from, a multiaddr.
    pub(super) address: String,
    /// Why.
    pub(super) why: Why,
    /// When it was last.
    pub(super) at: Instant,
}

/// The last ones, at most [`REFUSALS`](limits::network::REFUSALS).
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<NodeId, (Refusal, Instant)>);

impl Refusals {
    /// Takes note of one. Returns whether to tell of it: it is the first of this peer in an hour, or has another reason.
    pub(super) fn handle(&mut self, now: Instant, node: NodeId, address: String, why: Why) -> bool {
        let told = self.0.get(&node).filter(|(last, _)| last.why == why).map(|(_, told)| *told);
        let told = told.filter(|told| now.saturating_duration_since(*told) < QUIET);
        self.0.insert(node, (Refusal { node, address, why, at: now }, told.unwrap_or(now)));
        if self.0.len() > limits::network::REFUSALS {
            let oldest = self.0.values().map(|(last, _)| last).min_by_key(|last| last.at).map(|last| last.node);
            oldest.map(|node| self.0.remove(&node));
        }
        told.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.0.values().map(|(last, _)| last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_of_once_an_hour_unless_the_reason_is_another() {
        let (mut refusals, start) = (Refusals::default(), crate::clock::now());
        let node = NodeId([1; 32]);
        let mut handle = |seconds, why| refusals.handle(start + Duration::from_secs(seconds), node, "a".into(), why);
        assert!(handle(0, Why::NotAllowed));
        assert!(!handle(1, Why::NotAllowed) && !handle(3599, Why::NotAllowed));
        assert!(handle(3600, Why::NotAllowed), "an hour is over");
        assert!(handle(3601, Why::Banned) && !handle(3602, Why::Banned));
        let last = Refusal { node, address: "a".into(), why: Why::Banned, at: start + Duration::from_secs(3602) };
        assert_eq!(refusals.iter().collect::<Vec<_>>(), [&last]);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let (mut refusals, start) = (Refusals::default(), crate::clock::now());
        for number in 0..=limits::network::REFUSALS as u16 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            refusals.handle(start + Duration::from_secs(number.into()), NodeId(key), String::new(), Why::Full);
        }
        assert_eq!(refusals.iter().count(), limits::network::REFUSALS);
        assert!(refusals.iter().all(|refusal| refusal.node != NodeId([0; 32])));
    }
}
