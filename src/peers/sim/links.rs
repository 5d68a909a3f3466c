//! Connections and attempts at them: handshakes, probes, closings.

use std::time::Duration;

use super::{Action, Cluster, HostNumber, LinkNumber};
use crate::{
    content::NodeId,
    peers::{ConnectionNumber, Ended, Event, Introduction, Sample, Why},
};

/// An end that heard nothing for so long is gone.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// How long a closed end answers with its reason; later it only says that it knows of no such connection.
const CLOSING: Duration = Duration::from_secs(1);
/// Bytes on the wire of a small packet.
const PACKET_BYTES: u64 = 60;

/// A packet's content.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    /// The dialling end's first flight.
    Hello { link: LinkNumber },
    /// The other end's.
    Welcome { link: LinkNumber },
    /// The dialling end has proved who it is.
    Finish { link: LinkNumber },
    /// The other end has let it in.
    Confirm { link: LinkNumber },
    /// To be answered.
    Probe { link: LinkNumber, to: usize, sent: Duration },
    /// The answer.
    Answer { link: LinkNumber, to: usize, sent: Duration },
    /// The other end is closed.
    Close { link: LinkNumber, to: usize, why: Why },
    /// The other end knows nothing of this connection.
    Reset { link: LinkNumber, to: usize },
    /// Whom do you know?
    Exchange { link: LinkNumber, to: usize },
    /// These.
    Introduced { link: LinkNumber, to: usize, event: Event },
    /// By multicast: who is there, besides these?
    Query { known: std::rc::Rc<std::collections::BTreeSet<HostNumber>> },
    /// By multicast: this one is.
    Presence { host: HostNumber },
}

/// A connection; end 0 has dialled.
pub(super) struct Link {
    pub(super) ends: [End; 2],
    /// Where it was dialled.
    pub(super) address: String,
    pub(super) wanted: NodeId,
}

/// What one end knows of a connection.
pub(super) struct End {
    pub(super) host: HostNumber,
    /// The host's life that it belongs to.
    pub(super) life: u32,
    pub(super) stage: Stage,
    pub(super) number: Option<ConnectionNumber>,
    /// When anything was heard last.
    pub(super) heard: Duration,
    rtt: Duration,
    sent_packets: u64,
    lost_packets: u64,
    received_packets: u64,
}

/// How far an end is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    /// The handshake is under way.
    Opening,
    /// The dialling end has done its part, and does not know whether it was let in.
    Proved,
    Open,
    Closed {
        at: Duration,
        why: Why,
    },
    /// The host has forgotten it, or is another by now.
    Gone,
}

impl End {
    pub(super) fn new(host: HostNumber, life: u32, now: Duration) -> Self {
        let stage = Stage::Opening;
        let rtt = Duration::from_millis(100);
        Self { host, life, stage, number: None, heard: now, rtt, sent_packets: 4, lost_packets: 0, received_packets: 4 }
    }

    pub(super) fn is_open(&self) -> bool {
        self.number.is_some()
    }
}

impl Cluster {
    /// A packet arrives at a host that runs.
    pub(super) fn handle_packet(&mut self, host: HostNumber, packet: Packet) {
        let life = self.hosts[host].life;
        match packet {
            Packet::Query { known } => return self.handle_query(host, &known),
            Packet::Presence { host: there } => return self.handle_presence(host, there),
            Packet::Hello { link } => {
                let Some(it) = self.links.get_mut(&link) else { return };
                if it.ends[1].stage == Stage::Opening {
                    it.ends[1].life = life;
                    let from = it.ends[0].host;
                    self.send(host, from, Packet::Welcome { link });
                }
                return;
            }
            _ => {}
        }
        let (number, end) = match &packet {
            Packet::Welcome { link } | Packet::Confirm { link } => (*link, 0),
            Packet::Finish { link } => (*link, 1),
            Packet::Probe { link, to, .. }
            | Packet::Answer { link, to, .. }
            | Packet::Close { link, to, .. }
            | Packet::Reset { link, to }
            | Packet::Exchange { link, to }
            | Packet::Introduced { link, to, .. } => (*link, *to),
            _ => return,
        };
        let now = self.now;
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.ends[end].life != life {
            // Another life can't read it, nor say so in a way that is believed.
            return;
        }
        if matches!(link.ends[end].stage, Stage::Closed { .. } | Stage::Gone) {
            let (to, there) = (1 - end, link.ends[1 - end].host);
            let answer = match link.ends[end].stage {
                Stage::Closed { at, why } if now - at < CLOSING => Packet::Close { link: number, to, why },
                _ => Packet::Reset { link: number, to },
            };
            if !matches!(packet, Packet::Close { .. } | Packet::Reset { .. }) {
                self.send(host, there, answer);
            }
            return;
        }
        link.ends[end].heard = now;
        link.ends[end].received_packets += 1;
        self.handle_link_packet(number, end, packet);
    }

    fn handle_link_packet(&mut self, number: LinkNumber, end: usize, packet: Packet) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&number) else { return };
        let (host, there) = (link.ends[end].host, link.ends[1 - end].host);
        match packet {
            Packet::Welcome { .. } => self.handle_welcome(number),
            Packet::Finish { .. } => self.handle_finish(number),
            Packet::Confirm { .. } if link.ends[0].stage == Stage::Proved => {
                link.ends[0].stage = Stage::Open;
                if link.ends[0].number.is_none() {
                    self.open(number, 0);
                }
            }
            Packet::Probe { sent, .. } => {
                link.ends[end].sent_packets += 1;
                self.send(host, there, Packet::Answer { link: number, to: 1 - end, sent });
            }
            Packet::Answer { sent, .. } => {
                let rtt = now - sent;
                link.ends[end].rtt = (7 * link.ends[end].rtt + rtt) / 8;
            }
            Packet::Close { why, .. } => self.end(number, end, Ended::There(why)),
            Packet::Reset { .. } => self.end(number, end, Ended::Lost("reset by the peer".into())),
            Packet::Exchange { .. } => {
                let event = self.introduction(host);
                self.send(host, there, Packet::Introduced { link: number, to: 1 - end, event });
            }
            Packet::Introduced { event, .. } => self.tell(host, event),
            _ => {}
        }
    }

    /// Closes one end, and tells the other.
    pub(super) fn close(&mut self, number: LinkNumber, end: usize, why: Why) {
        self.say_close(number, end, why);
        self.end(number, end, Ended::Here(why));
    }

    /// The packet with the reason; it may get lost.
    pub(super) fn say_close(&mut self, number: LinkNumber, end: usize, why: Why) {
        let Some(link) = self.links.get(&number) else { return };
        let (from, to) = (link.ends[end].host, link.ends[1 - end].host);
        let why = if matches!(why, Why::Surplus | Why::Unresponsive) { Why::Done } else { why };
        self.send(from, to, Packet::Close { link: number, to: 1 - end, why });
    }

    /// One end is over.
    fn end(&mut self, number: LinkNumber, end: usize, ended: Ended) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&number) else { return };
        if matches!(link.ends[end].stage, Stage::Closed { .. } | Stage::Gone) {
            return;
        }
        let why = match &ended {
            Ended::Here(why) | Ended::There(why) => *why,
            Ended::Lost(_) => Why::Done,
        };
        link.ends[end].stage = Stage::Closed { at: now, why };
        let (host, node) = (link.ends[end].host, self.hosts[link.ends[1 - end].host].options.me);
        match link.ends[end].number.take() {
            Some(connection) => {
                self.hosts[host].connections.remove(&connection);
                if matches!(ended, Ended::Lost(_) | Ended::Here(Why::Unresponsive)) {
                    self.look_for(host, node);
                }
                if let Some(open) = self.hosts[host].open.get_mut(&node) {
                    open.retain(|it| *it != (number, end));
                }
                self.tell(host, Event::Disconnected { node, connection, ended });
            }
            // It was not reported yet.
            None if end == 0 => {
                let why = if let Ended::There(why) = ended { Some(why) } else { None };
                let is_last = self.hosts[host].dials.get(&node).is_some_and(|dial| dial.links == [number]);
                if is_last || why.is_some_and(|why| why != Why::Done) {
                    self.fail_dial(host, node, why);
                }
            }
            None => {}
        }
        self.sweep(number);
    }

    /// One end no longer exists, and tells nobody.
    pub(super) fn forget_end(&mut self, number: LinkNumber, end: usize) {
        if let Some(link) = self.links.get_mut(&number) {
            link.ends[end].stage = Stage::Gone;
            link.ends[end].number = None;
        }
        self.sweep(number);
    }

    /// Forgets what neither end knows of.
    fn sweep(&mut self, number: LinkNumber) {
        let Some(link) = self.links.get(&number) else { return };
        let is_over = |end: &End| matches!(end.stage, Stage::Closed { .. } | Stage::Gone);
        let never_began = link.ends[1].stage == Stage::Opening;
        if is_over(&link.ends[0]) && (is_over(&link.ends[1]) || never_began) {
            self.links.remove(&number);
        }
    }

    pub(super) fn handle_idle(&mut self, number: LinkNumber, end: usize) {
        let Some(it) = self.links.get(&number).map(|link| &link.ends[end]).filter(|end| end.is_open()) else { return };
        let left = (it.heard + IDLE).saturating_sub(self.now);
        if left.is_zero() {
            self.end(number, end, Ended::Lost("timed out".into()));
        } else {
            self.schedule(left, Action::Idle { link: number, end });
        }
    }

    pub(super) fn handle_later(&mut self, number: LinkNumber, end: usize, event: Event) {
        let both_open = self.links.get(&number).is_some_and(|link| link.ends.iter().all(End::is_open));
        if both_open {
            self.tell(self.links[&number].ends[end].host, event);
        }
    }

    /// A PING frame to each of these.
    pub(super) fn probe(&mut self, host: HostNumber, nodes: &[NodeId]) {
        for node in nodes {
            for (link, end) in self.connections_with(host, *node) {
                let it = self.links.get_mut(&link).expect("connections have links");
                it.ends[end].sent_packets += 1;
                let there = it.ends[1 - end].host;
                if !self.send(host, there, Packet::Probe { link, to: 1 - end, sent: self.now }) {
                    self.links.get_mut(&link).expect("as above").ends[end].lost_packets += 1;
                }
            }
        }
    }

    /// What is known of the connections with these.
    pub(super) fn observe(&mut self, host: HostNumber, nodes: &[NodeId]) {
        let base = self.origin + self.hosts[host].ahead;
        let sample = |(connection, (link, end)): (&ConnectionNumber, &(LinkNumber, usize))| {
            let link = &self.links[link];
            let it = &link.ends[*end];
            let node = self.node(link.ends[1 - end].host);
            nodes.contains(&node).then(|| Sample {
                node,
                connection: *connection,
                heard: base + it.heard,
                rtt: it.rtt,
                sent_packets: it.sent_packets,
                lost_packets: it.lost_packets,
                sent_bytes: it.sent_packets * PACKET_BYTES,
                received_bytes: it.received_packets * PACKET_BYTES,
            })
        };
        let samples = self.hosts[host].connections.iter().filter_map(sample).collect();
        self.tell(host, Event::Observed { samples });
    }

    pub(super) fn exchange(&mut self, host: HostNumber, node: NodeId) {
        if let (true, Some(&(link, end))) = (self.hosts[host].has_exchange, self.connections_with(host, node).first()) {
            let there = self.links[&link].ends[1 - end].host;
            self.send(host, there, Packet::Exchange { link, to: 1 - end });
        }
    }

    fn introduction(&mut self, host: HostNumber) -> Event {
        let uptime = |peer: HostNumber| (self.now - self.hosts[peer].started).as_secs() as u32;
        let capacity = |peer: HostNumber| self.hosts[peer].options.max_peers as u16;
        let peer = |(link, end): &(LinkNumber, usize)| self.links[link].ends[1 - end].host;
        let mut peers: Vec<HostNumber> = self.hosts[host].connections.values().map(peer).collect();
        peers.sort_unstable();
        peers.dedup();
        let introduce = |peer: HostNumber| Introduction {
            node: self.node(peer),
            addresses: self.hosts[peer].addresses.clone(),
            capacity: capacity(peer),
            uptime_s: uptime(peer),
        };
        let mut others: Vec<Introduction> = peers.into_iter().map(introduce).collect();
        let by = self.node(host);
        let (capacity, uptime_s) = (capacity(host), uptime(host));
        self.rng.shuffle(&mut others);
        others.truncate(32);
        Event::Introduced { by, capacity, uptime_s, others }
    }
}
