//! The loop of the network task.

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    net::IpAddr,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::{FutureExt, StreamExt, select_biased};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::ConnectedPoint,
    gossipsub,
    multiaddr::Protocol,
    ping,
    swarm::{
        ConnectionId, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use smol::channel::Receiver;

use super::{
    NetworkEvent,
    behaviour::{self, Behaviour, BehaviourEvent},
    closing,
    door::Door,
    gossip::{self, Intake, Verdict},
    identity::{node_id, peer_id},
    interfaces::{self, Changes},
    listen::Awaited,
    mdns::{self, Mdns},
    outbox::Outbox,
    quic::{self, CloseCode},
    service::NetworkCommand,
    tls::Cipher,
};
use crate::{
    clock,
    content::NodeId,
    peers::{self, Conduct, DialError, Ended, Source, Why},
    wire::announce::Announcement,
};

/// How long peers are waited for to take notice of the end.
const GOODBYE: Duration = Duration::from_millis(300);

pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) quic: quic::Control,
    pub(super) door: Arc<Door>,
    /// Whom the door was closed to.
    pub(super) turned_away: Receiver<peers::Event>,
    pub(super) mdns: Option<Mdns>,
    /// Bounds what is passed on.
    pub(super) intake: Intake,
    pub(super) outbox: Outbox,
    pub(super) connections: HashMap<ConnectionId, Open>,
    /// What is to be listened on, once it is there.
    pub(super) awaited: Awaited,
    /// Tells when to look at the interfaces.
    pub(super) changes: Changes,
    /// The networks that this machine is on, as told last.
    pub(super) subnets: Option<Vec<peers::Subnet>>,
}

/// An open connection.
pub(super) struct Open {
    /// What it is called outside this part.
    number: peers::ConnectionNumber,
    node: NodeId,
    connection: quic::Watched,
    /// Why it is being closed here, if it is.
    closing: Option<Why>,
}

impl Task {
    /// Runs until it is told to stop or nobody can tell it any more.
    pub(super) async fn run(mut self, commands: Receiver<NetworkCommand>) {
        if !self.awaited.is_empty() {
            self.handle_addresses();
        }
        loop {
            let heard = poll_fn(|cx| match &mut self.mdns {
                Some(mdns) => mdns.poll_next_unpin(cx),
                None => Poll::Pending,
            });
            let changed = poll_fn(|cx| self.changes.poll(cx));
            select_biased! {
                () = self.outbox.deliver().fuse() => {}
                command = commands.recv().fuse() => match command {
                    Ok(NetworkCommand::Peer(command)) => self.handle_command(command),
                    Ok(NetworkCommand::Heard(answer)) => {
                        // Who no longer waits for the answer needs none.
                        let _ = answer.send(self.mdns.as_ref().map(Mdns::heard).unwrap_or_default());
                    }
                    Ok(NetworkCommand::Announce(announcement, answer)) => {
                        let _ = answer.send(self.announce(&announcement));
                    }
                    Ok(NetworkCommand::Stop) | Err(_) => break,
                },
                event = self.turned_away.recv().fuse() => {
                    // The other end is with the door, which lives as long as this.
                    if let Ok(event) = event {
                        self.outbox.push_peer(event);
                    }
                }
                event = self.swarm.select_next_some() => self.handle_swarm_event(event),
                () = changed.fuse() => self.handle_changed(),
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
                self.close(why, |open| open.number == connection);
            }
            peers::Command::TurnAway { node, why } => {
                log::debug!("{node} is turned away: {why}");
                self.close(why, |open| open.node == node);
                // Those, too, that the swarm does not tell of yet.
                self.quic.close_peer(&peer_id(node), closing::code(why), &why.to_string());
            }
            peers::Command::Admit(admission) => self.door.set(admission),
            peers::Command::Observe { nodes } => self.observe(&nodes.into_iter().collect()),
            peers::Command::Probe { nodes } => self.probe(&nodes.into_iter().collect()),
            // A protocol over streams, which are for others to open.
            peers::Command::Exchange { .. } => {}
        }
    }

    fn close(&mut self, why: Why, which: impl Fn(&Open) -> bool) {
        for open in self.connections.values_mut().filter(|open| which(open)) {
            open.closing.get_or_insert(why);
            open.connection.close(closing::code(why), &why.to_string());
        }
    }

    /// Tells how the connections with some peers are now.
    fn observe(&mut self, nodes: &HashSet<NodeId>) {
        // One that has just ended is told of by the swarm.
        let sample = |open: &Open| open.connection.sample(open.node, open.number);
        let samples = self.connections_with(nodes).filter_map(sample).collect();
        self.outbox.push_peer(peers::Event::Observed { samples });
    }

    /// Makes some peers give a sign of life.
    fn probe(&self, nodes: &HashSet<NodeId>) {
        self.connections_with(nodes).for_each(|open| open.connection.probe());
    }

    fn connections_with(&self, nodes: &HashSet<NodeId>) -> impl Iterator<Item = &Open> {
        self.connections.values().filter(|open| nodes.contains(&open.node))
    }

    fn handle_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.handle_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                let Some(Open { number, node, closing, .. }) = self.connections.remove(&connection_id) else { return };
                let ended = match (closing::ended(cause.as_ref()), closing) {
                    (Ended::Here(_) | Ended::Lost(_), Some(why)) => Ended::Here(why),
                    (ended, _) => ended,
                };
                self.look_for(node, &ended);
                self.outbox.push_peer(peers::Event::Disconnected { node, connection: number, ended });
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

    /// Tells that nothing came of the dial that led there, if one did.
    fn answer_dial(&mut self, node: NodeId, point: &ConnectedPoint, error: DialError) {
        if point.is_dialer() {
            self.outbox.push_peer(peers::Event::DialFailed { node, error });
        }
    }

    fn handle_established(&mut self, peer: PeerId, id: ConnectionId, point: &ConnectedPoint) {
        let Some(node) = node_id(&peer) else {
            self.swarm.close_connection(id);
            return;
        };
        let Some(connection) = self.door.claim(&peer, point) else {
            // The door knows each that is open: this one has ended by now. Each dial has an answer all the same.
            self.swarm.close_connection(id);
            self.answer_dial(node, point, DialError::Unreachable("the connection ended at once".into()));
            return;
        };
        // The door may have been closed to it since it went through.
        if self.door.check(peer, &connection, point).is_err() {
            self.answer_dial(node, point, DialError::Unreachable("it may not connect any more".into()));
            return;
        }
        if let Some(mdns) = &mut self.mdns {
            mdns.set_missing(peer, false);
        }
        let cipher = connection.cipher().map_or("", Cipher::suite);
        let number = self.outbox.number();
        self.connections.insert(id, Open { number, node, connection, closing: None });
        let address = closing::without_peer(point.get_remote_address().clone()).to_string();
        let inbound = point.is_listener();
        self.outbox.push_peer(peers::Event::Connected { node, connection: number, address, inbound, cipher });
    }

    /// Who takes leave knows why, and says when it is back; who is lost is looked for.
    fn look_for(&mut self, node: NodeId, ended: &Ended) {
        let is_lost = matches!(ended, Ended::Lost(_) | Ended::Here(Why::Unresponsive));
        if let Some(mdns) = &mut self.mdns
            && is_lost
            && self.connections.values().all(|open| open.node != node)
        {
            mdns.set_missing(peer_id(node), true);
        }
    }

    fn handle_behaviour_event(&mut self, event: BehaviourEvent) {
        let event = match event {
            BehaviourEvent::Ping(ping::Event { peer, result, .. }) => node_id(&peer).map(|node| match result {
                Ok(rtt) => peers::Event::Pinged { node, rtt },
                Err(error) => {
                    log::debug!("{node} did not answer a ping: {error}");
                    peers::Event::PingFailed { node }
                }
            }),
            BehaviourEvent::Identify(event) => behaviour::identified(event),
            BehaviourEvent::Streams(never) => match never {},
            BehaviourEvent::Gossip(event) => self.handle_gossip_event(event),
        };
        if let Some(event) = event {
            self.outbox.push_peer(event);
        }
    }

    /// Returns whether anybody was told.
    fn announce(&mut self, announcement: &Announcement) -> bool {
        let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() else { return false };
        gossip.publish(gossip::topic(), announcement.to_bytes()).is_ok()
    }

    /// Nothing is passed on that was not looked at; returns what there is to say of the peer that passed it on.
    fn handle_gossip_event(&mut self, event: gossipsub::Event) -> Option<peers::Event> {
        let gossipsub::Event::Message { propagation_source, message_id, message } = event else { return None };
        let node = node_id(&propagation_source)?;
        let verdict = self.intake.judge_message(clock::now(), node, &message);
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
            gossip.report_message_validation_result(&message_id, &propagation_source, verdict.acceptance());
        }
        match verdict {
            Verdict::News(announcement) => self.outbox.push(NetworkEvent::Announced(announcement)),
            Verdict::Surplus => log::debug!("an announcement that {node} passed on was one too many"),
            Verdict::Violation => return Some(peers::Event::Behaved { node, conduct: Conduct::Violation }),
        }
        None
    }

    /// Something may be new with the interfaces.
    fn handle_changed(&mut self) {
        // The swarm tells of what is listened on from now on.
        self.awaited.try_again(&mut self.swarm);
        let subnets = interfaces::subnets();
        if self.subnets.as_ref() != Some(&subnets) {
            self.subnets = Some(subnets.clone());
            self.outbox.push_peer(peers::Event::NetworkChanged { subnets });
        }
    }

    fn handle_addresses(&mut self) {
        let addresses: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        if let Some(mdns) = &mut self.mdns {
            mdns.set_addresses(addresses.clone());
        }
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let name_of = |ip| interfaces.iter().find(|it| it.ip() == ip).map(|it| it.name.clone());
        let addresses = addresses.iter().map(|address| zoned(address, name_of)).collect();
        self.outbox.push(NetworkEvent::Listening { addresses, awaited: self.awaited.names() });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_are_shown_with_their_interface() {
        let shown = |address: &str| zoned(&address.parse().unwrap(), |_| Some("eth0".into()));
        assert_eq!(shown("/ip6/fe80::1/udp/1/quic-v1"), "/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1");
        assert_eq!(shown("/ip6/fd00::1/udp/1/quic-v1"), "/ip6/fd00::1/udp/1/quic-v1");
        assert_eq!(shown("/ip4/10.0.0.1/udp/1/quic-v1"), "/ip4/10.0.0.1/udp/1/quic-v1");
    }
}
