//! Why peers are not connected, as far as the last that was heard of each tells.

use std::collections::BTreeMap;

use crate::{
    content::NodeId,
    limits::network::KNOWN_PEERS,
    peers::{DialError, Ended, Event, Speaks, Why},
    status::{PeerState, PeerStatus, Trouble},
};

/// The last trouble with each peer that is not connected. Of too many, those that are not known yet are left out.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<NodeId, Case>);

#[derive(Debug)]
struct Case {
    trouble: Trouble,
    /// Where it came from, if it is nobody that this node dialled.
    address: Option<String>,
}

impl Troubles {
    /// Takes note of what happened.
    pub(super) fn handle_event(&mut self, event: &Event) {
        match event {
            Event::Connected { node, .. } => drop(self.0.remove(node)),
            Event::Disconnected { node, ended, .. } => self.set(*node, of_end(ended), None),
            Event::DialFailed { node, error } => self.set(*node, of_dial(error), None),
            Event::Identified { node, speaks: Speaks::OtherVersion, .. } => {
                self.set(*node, Some(Trouble::Version), None)
            }
            Event::TurnedAway { node, address, why } => self.set(*node, of_here(*why), Some(address.clone())),
            _ => {}
        }
    }

    fn set(&mut self, node: NodeId, trouble: Option<Trouble>, address: Option<String>) {
        let Some(trouble) = trouble else { return };
        if self.0.len() < KNOWN_PEERS || self.0.contains_key(&node) {
            self.0.insert(node, Case { trouble, address });
        }
    }

    /// Adds what is known here to what is shown of each peer.
    pub(super) fn complete(&self, peers: &mut [PeerStatus]) {
        for peer in peers.iter_mut().filter(|peer| peer.state != PeerState::Connected) {
            let node = peer.node.parse().ok();
            peer.trouble = peer.trouble.or(node.and_then(|node: NodeId| Some(self.0.get(&node)?.trouble)));
        }
    }

    /// Those whom the door was closed to, and of whom nothing else is known.
    pub(super) fn strangers(&self, known: &[PeerStatus]) -> Vec<PeerStatus> {
        let is_stranger = |node: &str| known.iter().all(|peer| peer.node != node);
        let stranger = |(node, case): (&NodeId, &Case)| PeerStatus {
            node: node.to_string(),
            address: case.address.clone(),
            source: "inbound".into(),
            trouble: Some(case.trouble),
            ..PeerStatus::default()
        };
        let cases = self.0.iter().filter(|(_, case)| case.address.is_some());
        cases.map(stranger).filter(|peer| is_stranger(&peer.node)).collect()
    }
}

fn of_end(ended: &Ended) -> Option<Trouble> {
    match ended {
        Ended::Here(why) => of_here(*why),
        Ended::There(why) => of_there(*why),
        Ended::Lost(_) => Some(Trouble::Unresponsive),
    }
}

fn of_dial(error: &DialError) -> Option<Trouble> {
    match error {
        DialError::Refused(why) => of_there(*why),
        DialError::WrongPeer => Some(Trouble::WrongPeer),
        DialError::Unreachable(_) => Some(Trouble::Unreachable),
    }
}

fn of_here(why: Why) -> Option<Trouble> {
    match why {
        Why::NotAllowed => Some(Trouble::NotAllowedHere),
        Why::Banned => Some(Trouble::BannedHere),
        Why::Full => Some(Trouble::FullHere),
        Why::Version => Some(Trouble::Version),
        Why::Unresponsive => Some(Trouble::Unresponsive),
        Why::Done | Why::Surplus | Why::Stopping | Why::Unknown(_) => None,
    }
}

fn of_there(why: Why) -> Option<Trouble> {
    match why {
        Why::NotAllowed => Some(Trouble::NotAllowedThere),
        Why::Banned => Some(Trouble::BannedThere),
        Why::Full => Some(Trouble::FullThere),
        Why::Version => Some(Trouble::Version),
        Why::Stopping => Some(Trouble::Stopped),
        // It could not hear this node: the way is bad.
        Why::Unresponsive => Some(Trouble::Unresponsive),
        Why::Done | Why::Surplus | Why::Unknown(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 32]);

    fn ended(ended: Ended) -> Event {
        Event::Disconnected { node: A, connection: 1, ended }
    }

    fn shown(troubles: &Troubles) -> Option<Trouble> {
        let mut peers = [PeerStatus { node: A.to_string(), ..PeerStatus::default() }];
        troubles.complete(&mut peers);
        peers[0].trouble
    }

    #[test]
    fn the_last_trouble_stays_until_the_peer_is_connected() {
        let mut troubles = Troubles::default();
        for (event, trouble) in [
            (Event::DialFailed { node: A, error: DialError::WrongPeer }, Trouble::WrongPeer),
            (Event::DialFailed { node: A, error: DialError::Refused(Why::Full) }, Trouble::FullThere),
            (Event::DialFailed { node: A, error: DialError::Unreachable("x".into()) }, Trouble::Unreachable),
            (ended(Ended::There(Why::NotAllowed)), Trouble::NotAllowedThere),
            // That says nothing of what is wrong.
            (ended(Ended::There(Why::Surplus)), Trouble::NotAllowedThere),
            (ended(Ended::Here(Why::Banned)), Trouble::BannedHere),
            (ended(Ended::Lost("x".into())), Trouble::Unresponsive),
        ] {
            troubles.handle_event(&event);
            assert_eq!(shown(&troubles), Some(trouble), "{event:?}");
        }
        assert_eq!(troubles.strangers(&[]), [], "it was dialled");
        let (address, cipher) = (String::new(), "");
        troubles.handle_event(&Event::Connected { node: A, connection: 1, address, inbound: false, cipher });
        assert_eq!(shown(&troubles), None);
    }

    #[test]
    fn strangers_at_the_door_are_bounded() {
        let mut troubles = Troubles::default();
        for number in 0..2 * KNOWN_PEERS {
            let mut node = NodeId([0; 32]);
            node.0[..8].copy_from_slice(&number.to_be_bytes());
            troubles.handle_event(&Event::TurnedAway { node, address: "x".into(), why: Why::NotAllowed });
        }
        let strangers = troubles.strangers(&[]);
        assert_eq!(strangers.len(), KNOWN_PEERS);
        assert!(strangers.iter().all(|peer| peer.trouble == Some(Trouble::NotAllowedHere)));
        assert_eq!(troubles.strangers(&strangers), []);
    }
}
