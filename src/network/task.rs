//! The loop of the network task.

use std::{
    collections::{HashMap, VecDeque},
    future::{pending, poll_fn},
    net::IpAddr,
    task::Poll,
    time::Duration,
};

use futures::{FutureExt, StreamExt, channel::mpsc, select_biased};
use libp2p::{
    Multiaddr, Swarm, identify,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use smol::channel::Receiver;

use super::{
    NetworkEvent,
    behaviour::{Behaviour, BehaviourEvent},
    closing,
    identity::{node_id, peer_id},
    mdns::{self, Mdns},
    quic::{self, CloseCode},
    service::NetworkCommand,
};
use crate::{
    limits,
    peers::{self, DialError, Ended, Source},
};

/// How long peers are waited for to take notice of the end.
const GOODBYE: Duration = Duration::from_millis(300);

pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) quic: quic::Control,
    pub(super) mdns: Option<Mdns>,
    pub(super) outbox: Outbox,
    /// The numbers that connections have outside this part.
    pub(super) connections: HashMap<ConnectionId, peers::ConnectionNumber>,
}

impl Task {
    /// Runs until it is told to stop or nobody can tell it any more.
    pub(super) async fn run(mut self, commands: Receiver<NetworkCommand>) {
        loop {
            let heard = poll_fn(|cx| match &mut self.mdns {
                Some(mdns) => mdns.poll_next_unpin(cx),
                None => Poll::Pending,
            });
            select_biased! {
                () = self.outbox.deliver().fuse() => {}
                command = commands.recv().fuse() => match command {
                    Ok(NetworkCommand::Peer(command)) => self.handle_command(command),
                    Ok(NetworkCommand::Heard(answer)) => {
                        // Who no longer waits for the answer needs none.
                        let _ = answer.send(self.mdns.as_ref().map(Mdns::heard).unwrap_or_default());
                    }
                    Ok(NetworkCommand::Stop) | Err(_) => break,
                },
                event = self.swarm.select_next_some() => self.handle_swarm_event(event),
                event = heard.fuse() => match event {
                    Some(event) => self.handle_mdns_event(event),
                    None => self.mdns = None,
                },
            }
        }
        if let Some(mdns) = self.mdns {
            mdns.goodbye();
        }
        self.quic.close_all(CloseCode::Stopping, "the node stops", GOODBYE).await;
    }

    fn handle_command(&mut self, command: peers::Command) {
        match command {
            peers::Command::Dial { node, addresses } => {
                let addresses = addresses.iter().filter_map(|address| address.parse::<Multiaddr>().ok()).collect();
                let dial = DialOpts::peer_id(peer_id(node))
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .addresses(addresses)
                    .build();
                if let Err(error) = self.swarm.dial(dial) {
                    self.outbox.push_peer(peers::Event::DialFailed { node, error: closing::dial_error(&error) });
                }
            }
            peers::Command::Close { node, connection, why } => {
                log::debug!("closing a connection with {node}: {why}");
                let open = self.connections.iter().find(|(_, number)| **number == connection);
                if let Some((id, _)) = open {
                    self.swarm.close_connection(*id);
                }
            }
            peers::Command::TurnAway { node, why } => {
                log::debug!("{node} is turned away: {why}");
                self.quic.close_peer(&peer_id(node), closing::code(why), &why.to_string());
            }
            peers::Command::Admit(_) | peers::Command::Observe { .. } | peers::Command::Exchange { .. } => {}
        }
    }

    fn handle_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let Some(node) = node_id(&peer_id) else {
                    self.swarm.close_connection(connection_id);
                    return;
                };
                let connection = self.outbox.number();
                self.connections.insert(connection_id, connection);
                let address = without_peer(endpoint.get_remote_address().clone()).to_string();
                let inbound = endpoint.is_listener();
                self.outbox.push_peer(peers::Event::Connected { node, connection, address, inbound, cipher: "" });
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let (Some(node), Some(connection)) = (node_id(&peer_id), self.connections.remove(&connection_id))
                else {
                    return;
                };
                let ended = closing::ended(cause.as_ref());
                self.outbox.push_peer(peers::Event::Disconnected { node, connection, ended });
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
                if let Some(node) = node_id(&peer_id) {
                    self.outbox.push_peer(peers::Event::DialFailed { node, error: closing::dial_error(&error) });
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                log::debug!("a connection from {send_back_addr} failed: {error}");
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => self.handle_addresses(),
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                log::warn!("no longer listening on {addresses:?}: {error}");
                self.handle_addresses();
            }
            _ => {}
        }
    }

    fn handle_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Ping(libp2p::ping::Event { peer, result: Ok(rtt), .. }) => {
                if let Some(node) = node_id(&peer) {
                    self.outbox.push_peer(peers::Event::Pinged { node, rtt });
                }
            }
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                if let Some(node) = node_id(&peer_id) {
                    let agent = crate::wire::Text::<{ limits::network::AGENT_BYTES }>::cut(&info.agent_version);
                    self.outbox.push_peer(peers::Event::Identified {
                        node,
                        agent: agent.into_string(),
                        addresses: Vec::new(),
                    });
                }
            }
            _ => {}
        }
    }

    fn handle_addresses(&mut self) {
        let addresses: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        if let Some(mdns) = &mut self.mdns {
            mdns.set_addresses(addresses.clone());
        }
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let name_of = |ip| interfaces.iter().find(|it| it.ip() == ip).map(|it| it.name.clone());
        self.outbox.push(NetworkEvent::Listening(addresses.iter().map(|address| zoned(address, name_of)).collect()));
    }

    fn handle_mdns_event(&mut self, event: mdns::Event) {
        match event {
            mdns::Event::Discovered { peer, addresses } => {
                if let Some(node) = node_id(&peer) {
                    let addresses = addresses.iter().map(ToString::to_string).collect();
                    self.outbox.push_peer(peers::Event::Discovered { node, addresses, source: Source::Mdns });
                }
            }
            mdns::Event::OwnIdElsewhere { from } => self.outbox.push(NetworkEvent::OwnIdElsewhere(from)),
            _ => {}
        }
    }
}

/// As people read it: of a link-local address, which each interface has, `name_of` tells the interface.
fn zoned(address: &Multiaddr, name_of: impl Fn(IpAddr) -> Option<String>) -> String {
    let zone = match address.iter().next() {
        Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() => name_of(ip.into()),
        _ => None,
    };
    zone.map_or_else(|| address.to_string(), |zone| format!("/ip6zone/{zone}{address}"))
}

/// The address without the peer id behind it: who it is, is told apart from where.
fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

/// Events on their way to the node. The network never waits for it: what tells of connections is kept (an opening and a
/// closing that were not fetched cancel each other out, so connections bound their number; where this node dialled, a failed
/// dial is left, for each has an answer), the rest is dropped and counted while too much waits.
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

    fn number(&mut self) -> peers::ConnectionNumber {
        self.next_number += 1;
        self.next_number
    }

    /// Moves one waiting event to the node, as soon as there are one and room for it.
    async fn deliver(&mut self) {
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

    fn push_peer(&mut self, event: peers::Event) {
        self.push(NetworkEvent::Peer(event));
    }

    fn push(&mut self, event: NetworkEvent) {
        use peers::Event::{Connected, DialFailed, Disconnected};
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
            NetworkEvent::Listening(_) => {
                self.waiting.retain(|waiting| !matches!(waiting, NetworkEvent::Listening(_)));
            }
            // One is under way for each peer at most: the answer to a command.
            NetworkEvent::Peer(Connected { .. } | DialFailed { .. }) => {}
            _ if self.waiting.len() >= limits::network::EVENT_QUEUE => {
                self.dropped += 1;
                log::debug!("{} network events dropped so far: the node is busy", self.dropped);
                return;
            }
            _ => {}
        }
        self.waiting.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::NodeId, peers::Why};

    fn opened(connection: peers::ConnectionNumber) -> NetworkEvent {
        let (node, address) = (NodeId([1; 32]), String::new());
        NetworkEvent::Peer(peers::Event::Connected { node, connection, address, inbound: true, cipher: "" })
    }

    #[test]
    fn link_local_addresses_are_shown_with_their_interface() {
        let shown = |address: &str| zoned(&address.parse().unwrap(), |_| Some("eth0".into()));
        assert_eq!(shown("/ip6/fe80::1/udp/1/quic-v1"), "/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1");
        assert_eq!(shown("/ip6/fd00::1/udp/1/quic-v1"), "/ip6/fd00::1/udp/1/quic-v1");
        assert_eq!(shown("/ip4/10.0.0.1/udp/1/quic-v1"), "/ip4/10.0.0.1/udp/1/quic-v1");
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

    fn closed(connection: peers::ConnectionNumber) -> NetworkEvent {
        NetworkEvent::Peer(peers::Event::Disconnected {
            node: NodeId([1; 32]),
            connection,
            ended: Ended::Here(Why::Done),
        })
    }

    #[test]
    fn a_node_that_does_not_listen_costs_no_memory_and_loses_no_state() {
        let (sender, mut receiver) = mpsc::channel(0);
        let mut outbox = Outbox::new(sender);
        outbox.push(opened(1));
        for connection in 2..100_000 {
            outbox.push(opened(connection));
            outbox.push_peer(peers::Event::Pinged { node: NodeId([1; 32]), rtt: Duration::ZERO });
            outbox.push(NetworkEvent::Listening(vec![connection.to_string()]));
            outbox.push(closed(connection));
        }
        assert!(outbox.waiting.len() <= limits::network::EVENT_QUEUE + 2);
        assert!(outbox.dropped > 90_000);
        let mut kept = Vec::new();
        while !outbox.waiting.is_empty() {
            outbox.deliver().now_or_never().expect("room for one event");
            kept.push(receiver.try_recv().expect("the event delivered"));
        }
        assert!(matches!(&kept[0], NetworkEvent::Peer(peers::Event::Connected { connection: 1, .. })));
        let listening = |event: &&NetworkEvent| matches!(event, NetworkEvent::Listening(_));
        let last: Vec<_> = kept.iter().filter(listening).collect();
        assert!(matches!(last[..], [NetworkEvent::Listening(addresses)] if addresses[0] == "99999"));
    }
}
