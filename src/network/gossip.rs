//! Announcements, passed on by libp2p's gossipsub: signed by who makes them, checked here before they go any further.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter, Message, MessageAcceptance,
    MessageAuthenticity, MessageId, ValidationMode, WhitelistSubscriptionFilter,
};

use super::identity::{Keypair, node_id};
use crate::{
    content::NodeId,
    limits::network::{
        ANNOUNCED_PER_MINUTE, ANNOUNCEMENTS_PER_MINUTE, ANNOUNCEMENTS_PER_PEER, GOSSIP_IDS, GOSSIP_QUEUE,
        GOSSIP_RPC_BYTES, PEERS,
    },
    wire::announce::{Announcement, TOPIC},
};

pub(super) type Behaviour =
    gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>>;

/// Between two looks at who passes on to whom. News is rare, and goes out at once whatever this is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Heartbeats for which a message is kept for those that missed it.
const HISTORY: usize = 3;
/// How long a message is known again; longer than anybody keeps it.
const KNOWN: Duration = Duration::from_secs(5 * 60);
/// What waits longer for a slow peer is dropped.
const WAIT: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn topic() -> IdentTopic {
    IdentTopic::new(TOPIC)
}

/// Takes part in the one topic.
pub(super) fn behaviour(keypair: &Keypair) -> Behaviour {
    let config = ConfigBuilder::default()
        .heartbeat_initial_delay(HEARTBEAT)
        .heartbeat_interval(HEARTBEAT)
        .history_length(HISTORY)
        .history_gossip(HISTORY)
        .duplicate_cache_time(KNOWN)
        .validate_messages()
        .validation_mode(ValidationMode::Strict)
        .message_id_fn(message_id)
        .flood_publish(false)
        .max_transmit_size(GOSSIP_RPC_BYTES)
        .max_control_message_size(GOSSIP_RPC_BYTES)
        .max_control_messages_sent(GOSSIP_IDS)
        .max_publish_messages(GOSSIP_QUEUE)
        .connection_handler_queue_len(GOSSIP_QUEUE)
        .publish_queue_duration(WAIT)
        .forward_queue_duration(WAIT)
        .build()
        .expect("a configuration that a test has built");
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(HashSet::from([topic().hash()])),
        max_subscribed_topics: 1,
        // Somebody may leave and join at once.
        max_subscriptions_per_request: 4,
    };
    let signed = MessageAuthenticity::Signed(keypair.as_libp2p().clone());
    let mut gossip =
        Behaviour::new_with_subscription_filter(signed, config, filter).expect("the two settings fit together");
    gossip.subscribe(&topic()).expect("the filter lets the topic through");
    gossip
}

/// Shorter than the usual one, for many of them go together.
fn message_id(message: &Message) -> MessageId {
    let mut id = message.source.map(|source| source.to_bytes()).unwrap_or_default();
    id.extend(message.sequence_number.unwrap_or_default().to_be_bytes());
    id.into()
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is passed on.
    News(Announcement),
    /// There was enough of that lately: it ends here, and nobody is to blame.
    Surplus,
    /// Whoever passed it on had to know better.
    Violation,
}

impl Verdict {
    pub(super) fn acceptance(&self) -> MessageAcceptance {
        match self {
            Self::News(_) => MessageAcceptance::Accept,
            Self::Surplus => MessageAcceptance::Ignore,
            Self::Violation => MessageAcceptance::Reject,
        }
    }
}

/// What came in within the current minute.
pub(super) struct Intake {
    since: Instant,
    taken: u32,
    /// By who made it; no more than were taken.
    made: HashMap<NodeId, u32>,
    /// By who passed it on; peers may come and go.
    passed_on: HashMap<NodeId, u32>,
}

impl Intake {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, taken: 0, made: HashMap::new(), passed_on: HashMap::new() }
    }

    /// Judges a message of which the signature is right: that of `made_by`.
    pub(super) fn judge(&mut self, now: Instant, from: NodeId, made_by: Option<NodeId>, data: &[u8]) -> Verdict {
        if now.saturating_duration_since(self.since) >= MINUTE {
            *self = Self::new(now);
        }
        if self.passed_on.len() >= 2 * PEERS && !self.passed_on.contains_key(&from) {
            return Verdict::Surplus;
        }
        let passed_on = self.passed_on.entry(from).or_default();
        *passed_on = passed_on.saturating_add(1);
        let Ok(announcement) = Announcement::from_bytes(data) else { return Verdict::Violation };
        // Nobody speaks for others.
        if made_by != Some(announcement.node) || *passed_on > ANNOUNCEMENTS_PER_PEER {
            return Verdict::Violation;
        }
        let made = self.made.get(&announcement.node).copied().unwrap_or_default();
        if self.taken >= ANNOUNCEMENTS_PER_MINUTE || made >= 2 * ANNOUNCED_PER_MINUTE {
            return Verdict::Surplus;
        }
        self.taken += 1;
        self.made.insert(announcement.node, made + 1);
        Verdict::News(announcement)
    }

    /// The same of what gossipsub tells.
    pub(super) fn judge_message(&mut self, now: Instant, from: NodeId, message: &Message) -> Verdict {
        self.judge(now, from, message.source.as_ref().and_then(node_id), &message.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        content::{CollectionId, CollectionKey},
    };

    fn node(number: u32) -> NodeId {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        NodeId(id)
    }

    fn announcement(by: NodeId) -> Announcement {
        let collection = CollectionKey { publisher: by, id: CollectionId([1; 16]) };
        Announcement { collection, version: 1, node: by, addresses: Vec::new() }
    }

    #[test]
    fn who_passes_on_what_is_wrong_is_told_from_who_passes_on_much() {
        let (now, from, by) = (clock::now(), node(0), node(1));
        let (mut intake, bytes) = (Intake::new(now), announcement(by).to_bytes());
        assert_eq!(intake.judge(now, from, Some(by), &bytes), Verdict::News(announcement(by)));
        assert_eq!(intake.judge(now, from, Some(by), b"garbage"), Verdict::Violation);
        assert_eq!(intake.judge(now, from, Some(node(2)), &bytes), Verdict::Violation, "it speaks for another");
        assert_eq!(intake.judge(now, from, None, &bytes), Verdict::Violation, "nobody signed it");
        for _ in 1..2 * ANNOUNCED_PER_MINUTE {
            assert!(matches!(intake.judge(now, from, Some(by), &bytes), Verdict::News(_)));
        }
        assert_eq!(intake.judge(now, from, Some(by), &bytes), Verdict::Surplus);
        assert!(matches!(intake.judge(now + MINUTE, from, Some(by), &bytes), Verdict::News(_)), "another minute");
    }

    #[test]
    fn a_flood_is_not_passed_on_and_is_held_against_its_bringer() {
        let (now, from) = (clock::now(), node(0));
        let mut intake = Intake::new(now);
        let verdicts: Vec<_> = (1..=ANNOUNCEMENTS_PER_PEER + 5)
            .map(|by| intake.judge(now, from, Some(node(by)), &announcement(node(by)).to_bytes()))
            .collect();
        let count = |which: fn(&Verdict) -> bool| verdicts.iter().filter(|it| which(it)).count();
        assert_eq!(count(|it| matches!(it, Verdict::News(_))), ANNOUNCEMENTS_PER_MINUTE as usize);
        assert_eq!(count(|it| *it == Verdict::Violation), 5);
        assert!(intake.made.len() <= ANNOUNCEMENTS_PER_MINUTE as usize);
        // Many that come and go.
        for by in 0..10_000 {
            intake.judge(now, node(by), Some(node(by)), b"garbage");
        }
        assert!(intake.passed_on.len() <= 2 * PEERS);
    }
}
