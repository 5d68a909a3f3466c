//! Events on their way to the node.

use std::{collections::VecDeque, future::pending, future::poll_fn};

use futures::channel::mpsc;

use super::NetworkEvent;
use crate::{
    limits,
    peers::{self, DialError, Ended},
};

/// Events on their way to the node. The network never waits for it: what tells of connections is kept (an opening and a
/// closing that were not fetched cancel each other out, so connections bound their number; where this node dialled, a failed
/// dial is left, for each has an answer), of what tells how things are the newest is, the rest is dropped and counted while
/// too much waits.
pub(super) struct Outbox {
    sender: mpsc::Sender<NetworkEvent>,
    waiting: VecDeque<NetworkEvent>,
    dropped: u64,
    next_number: peers::ConnectionNumber,
}

impl Outbox {
    pub(super) fn new(sender: mpsc::Sender<NetworkEvent>) -> Self {
        Self { sender, waiting: VecDeque::new(), dropped: 0, next_number: 0 }
    }

    pub(super) fn number(&mut self) -> peers::ConnectionNumber {
        self.next_number += 1;
        self.next_number
    }

    /// Moves one waiting event to the node, as soon as there are one and room for it.
    pub(super) async fn deliver(&mut self) {
        if self.waiting.is_empty() {
            return pending().await;
        }
        // The node drops its end only when it ends, and then ends this task too.
        if poll_fn(|cx| self.sender.poll_ready(cx)).await.is_err() {
            return pending().await;
        }
        if let Some(event) = self.waiting.pop_front() {
            let _ = self.sender.start_send(event);
        }
    }

    pub(super) fn push_peer(&mut self, event: peers::Event) {
        self.push(NetworkEvent::Peer(event));
    }

    pub(super) fn push(&mut self, event: NetworkEvent) {
        use peers::Event::{Connected, DialFailed, Disconnected, NetworkChanged, Observed, TurnedAway};
        match &event {
            NetworkEvent::Peer(Disconnected { node, connection: closed, ended }) => {
                let opening = |waiting: &NetworkEvent| matches!(waiting, NetworkEvent::Peer(Connected { connection, .. }) if connection == closed);
                if let Some(at) = self.waiting.iter().position(opening) {
                    if let Some(NetworkEvent::Peer(Connected { inbound: false, .. })) = self.waiting.remove(at) {
                        let error = match ended {
                            Ended::Here(why) | Ended::There(why) => DialError::Refused(*why),
                            Ended::Lost(reason) => DialError::Unreachable(reason.clone()),
                        };
                        self.push_peer(DialFailed { node: *node, error });
                    }
                    return;
                }
            }
            NetworkEvent::Listening { .. } | NetworkEvent::Peer(Observed { .. } | NetworkChanged { .. }) => {
                self.waiting.retain(|waiting| !is_same_kind(waiting, &event));
            }
            // One is under way for each peer at most: the answer to a command.
            NetworkEvent::Peer(Connected { .. } | DialFailed { .. }) => {}
            NetworkEvent::Peer(TurnedAway { .. }) if self.turned_away() >= limits::network::TURNED_AWAY => return,
            _ if self.waiting.len() >= limits::network::EVENT_QUEUE => {
                self.dropped += 1;
                // Who is busy has no time for a line for each.
                if self.dropped.is_power_of_two() {
                    log::debug!("{} network events dropped so far: the node is busy", self.dropped);
                }
                return;
            }
            NetworkEvent::Peer(TurnedAway { .. }) => self.waiting.retain(|waiting| !is_same_kind(waiting, &event)),
            _ => {}
        }
        self.waiting.push_back(event);
    }

    fn turned_away(&self) -> usize {
        let is_it = |event: &&NetworkEvent| matches!(event, NetworkEvent::Peer(peers::Event::TurnedAway { .. }));
        self.waiting.iter().filter(is_it).count()
    }
}

/// Whether the later of two events makes the earlier one worthless.
fn is_same_kind(a: &NetworkEvent, b: &NetworkEvent) -> bool {
    use peers::Event::{NetworkChanged, Observed, TurnedAway};
    match (a, b) {
        (NetworkEvent::Listening { .. }, NetworkEvent::Listening { .. }) => true,
        (NetworkEvent::Peer(a), NetworkEvent::Peer(b)) => match (a, b) {
            (Observed { .. }, Observed { .. }) | (NetworkChanged { .. }, NetworkChanged { .. }) => true,
            (TurnedAway { node: a, .. }, TurnedAway { node: b, .. }) => a == b,
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::{content::NodeId, peers::Why};

    fn opened(connection: peers::ConnectionNumber) -> NetworkEvent {
        let (node, address) = (NodeId([1; 32]), String::new());
        NetworkEvent::Peer(peers::Event::Connected { node, connection, address, inbound: true, cipher: "" })
    }

    fn closed(connection: peers::ConnectionNumber) -> NetworkEvent {
        NetworkEvent::Peer(peers::Event::Disconnected {
            node: NodeId([1; 32]),
            connection,
            ended: Ended::Here(Why::Done),
        })
    }

    fn turned_away(node: u16) -> peers::Event {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&node.to_le_bytes());
        peers::Event::TurnedAway { node: NodeId(id), address: String::new(), why: Why::NotAllowed }
    }

    #[test]
    fn a_dial_has_an_answer_though_its_connection_has_gone_again() {
        let (sender, _receiver) = mpsc::channel(0);
        let mut outbox = Outbox::new(sender);
        let (node, address) = (NodeId([1; 32]), String::new());
        outbox.push_peer(peers::Event::Connected { node, connection: 1, address, inbound: false, cipher: "" });
        outbox.push(closed(1));
        let waiting = Vec::from(outbox.waiting);
        assert!(matches!(&waiting[..], [NetworkEvent::Peer(peers::Event::DialFailed { .. })]), "{waiting:?}");
    }

    #[test]
    fn a_node_that_does_not_listen_costs_no_memory_and_loses_no_state() {
        let (sender, mut receiver) = mpsc::channel(0);
        let mut outbox = Outbox::new(sender);
        outbox.push(opened(1));
        for connection in 2..100_000 {
            outbox.push(opened(connection));
            outbox.push_peer(peers::Event::Pinged { node: NodeId([1; 32]), rtt: Duration::ZERO });
            outbox.push(NetworkEvent::Listening { addresses: vec![connection.to_string()], awaited: Vec::new() });
            outbox.push(closed(connection));
        }
        outbox.push_peer(peers::Event::Observed { samples: Vec::new() });
        outbox.push_peer(peers::Event::NetworkChanged { subnets: Vec::new() });
        assert!(outbox.waiting.len() <= limits::network::EVENT_QUEUE + 4);
        assert!(outbox.dropped > 90_000);
        let mut kept = Vec::new();
        while !outbox.waiting.is_empty() {
            outbox.deliver().now_or_never().expect("room for one event");
            kept.push(receiver.try_recv().expect("the event delivered"));
        }
        assert!(matches!(&kept[0], NetworkEvent::Peer(peers::Event::Connected { connection: 1, .. })));
        let listening = |event: &&NetworkEvent| matches!(event, NetworkEvent::Listening { .. });
        let last: Vec<_> = kept.iter().filter(listening).collect();
        assert!(matches!(last[..], [NetworkEvent::Listening { addresses, .. }] if addresses[0] == "99999"));
        let state = |event: &&NetworkEvent| {
            matches!(event, NetworkEvent::Peer(peers::Event::Observed { .. } | peers::Event::NetworkChanged { .. }))
        };
        assert_eq!(
            kept.iter().filter(state).count(),
            2,
            "the answer to a command and the news of the network are there"
        );
    }

    #[test]
    fn strangers_at_the_door_are_told_of_once_each_and_leave_room_for_others() {
        let (sender, _receiver) = mpsc::channel(0);
        let mut outbox = Outbox::new(sender);
        for _ in 0..100 {
            outbox.push_peer(turned_away(1));
        }
        assert_eq!(outbox.waiting.len(), 1);
        for node in 0..10_000 {
            outbox.push_peer(turned_away(node));
        }
        assert_eq!(outbox.waiting.len(), limits::network::TURNED_AWAY);
        outbox.push_peer(peers::Event::PingFailed { node: NodeId([1; 32]) });
        assert_eq!(outbox.waiting.len(), limits::network::TURNED_AWAY + 1);
    }
}
