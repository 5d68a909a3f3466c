//! Multicast DNS: finds the libp2p nodes on the local network, and makes this node and its services findable
//! (RFC 6762, RFC 6763, <https://github.com/libp2p/specs/blob/master/discovery/mdns.md>).
//!
//! [`Mdns`] is a thin shell of sockets and a timer, driven by whoever polls it: no thread, no task. The protocol is in
//! `engine`, which takes the time and packets and gives packets and events. It may use the ground and libp2p's ids and
//! addresses; it must never know what a peer is good for, or whether one can be reached.
//!
//! It lives beside other responders on port 5353, relies on no unicast reply, and never claims the host's own name: the
//! services are at `allibrary-<8 digits of the node's id>.local`. That name is not probed for, since only another node
//! with the same key would have it, and such a one is reported ([`Event::OwnIdElsewhere`]).

mod cache;
mod engine;
#[cfg(fuzzing)]
pub mod fuzz;
mod link;
mod packet;
mod sockets;
mod zone;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, UdpSocket},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_io::{Async, Timer};
use futures::Stream;
use libp2p::{Multiaddr, PeerId};

pub use self::zone::Service;
use self::{
    engine::{Engine, Transmit},
    link::Link,
};
use super::{identity, interfaces::Changes};
use crate::{clock, content::NodeId, limits::network::MDNS_PACKET_BYTES};

/// How often a link is tried that could not be opened.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Packets taken from one socket before the others have their turn.
const PACKETS_PER_TURN: usize = 32;

/// Who is to be found, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// The interfaces to use, by name; without any it is all but point-to-point ones.
    pub interfaces: Vec<String>,
}

/// What happened on the local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer is there. Told each time that it is heard, but once a second at most unless there is a new address.
    Discovered {
        /// Who it says it is.
        peer: PeerId,
        /// All addresses known by now, without `/p2p`: 1 to [`crate::limits::network::ADDRESSES_PER_PEER`].
        addresses: Vec<Multiaddr>,
    },
    /// A peer said goodbye, or was not heard for minutes. Its connections may be as good as ever.
    Expired {
        /// Which one.
        peer: PeerId,
    },
    /// Another host uses this node's identity: a copied SD card. Told once a minute at most.
    OwnIdElsewhere {
        /// Where.
        from: IpAddr,
    },
    /// Interfaces or addresses of this machine came or went.
    InterfacesChanged,
}

/// What was heard on one interface in one address family, for diagnosis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The interface's name.
    pub interface: String,
    /// IPv6 or else IPv4.
    pub ipv6: bool,
    /// Packets from this machine: our own, at least, unless multicast is blocked on it.
    pub from_here: u64,
    /// Packets from other machines.
    pub from_others: u64,
    /// Why nothing can be heard or said, if so.
    pub error: Option<String>,
}

/// The name that browsers may use for the services of this node: `allibrary-1a2b3c4d.local`.
pub fn local_name(node: NodeId) -> String {
    format!("{}.local", host_label(node))
}

fn host_label(node: NodeId) -> String {
    let [a, b, c, d, ..] = node.0;
    format!("allibrary-{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// See the module. A stream of events that never ends; nothing happens unless it is polled.
#[derive(Debug)]
pub struct Mdns {
    engine: Engine,
    interfaces: Vec<String>,
    ports: Vec<Port>,
    timer: Timer,
    /// Tells when to look at the interfaces.
    changes: Changes,
    retry_at: Option<Instant>,
    buffer: Box<[u8]>,
}

/// A link with its socket, or what keeps it from having one.
#[derive(Debug)]
struct Port {
    link: Link,
    socket: Result<Async<UdpSocket>, String>,
    /// The last packet could not be sent.
    send_error: Option<String>,
    from_here: u64,
    from_others: u64,
}

impl Mdns {
    /// Opens a socket on each interface and family.
    ///
    /// Those that cannot be opened are in [`Mdns::heard`] and are tried again every few seconds.
    ///
    /// # Errors
    /// Only if the system has no random numbers.
    pub fn new(config: Config) -> io::Result<Self> {
        let Config { node, interfaces } = config;
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let instance = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let host = host_label(node);
        let mut mdns = Self {
            engine: Engine::new(identity::peer_id(node), instance, host),
            interfaces,
            ports: Vec::new(),
            timer: Timer::never(),
            changes: Changes::new(),
            retry_at: None,
            buffer: vec![0; MDNS_PACKET_BYTES + 1].into(),
        };
        mdns.refresh(clock::now());
        Ok(mdns)
    }

    /// Sets where this node listens: addresses of its interfaces, without `/p2p`. Each interface tells its own.
    pub fn set_addresses(&mut self, listen: Vec<Multiaddr>) {
        self.engine.set_addresses(clock::now(), listen);
        self.send();
    }

    /// Looks for a peer that was found here before and is gone, every few seconds for a while, or stops to.
    pub fn set_missing(&mut self, peer: PeerId, missing: bool) {
        self.engine.set_missing(clock::now(), peer, missing);
    }

    /// Sets what else is to be found here; of more than [`crate::limits::network::MDNS_SERVICES`] the first ones.
    pub fn set_services(&mut self, services: Vec<Service>) {
        self.engine.set_services(clock::now(), services);
        self.send();
    }

    /// What was heard where. Empty if there is no interface to hear on.
    pub fn heard(&self) -> Vec<Heard> {
        let heard = self.ports.iter().map(|port| Heard {
            interface: port.link.name.clone(),
            ipv6: port.link.id.1 == link::Family::V6,
            from_here: port.from_here,
            from_others: port.from_others,
            error: port.socket.as_ref().err().or(port.send_error.as_ref()).cloned(),
        });
        heard.collect()
    }

    /// Says goodbye on all interfaces, so that others forget this node at once.
    pub fn goodbye(mut self) {
        self.engine.handle_shutdown();
        self.send();
    }

    /// Looks at the interfaces: opens what is new, closes what is gone.
    fn refresh(&mut self, now: Instant) {
        self.retry_at = Some(now + RETRY_INTERVAL);
        let (links, own) = match sockets::links(&self.interfaces) {
            Ok(found) => found,
            Err(error) => return log::warn!("cannot list the network interfaces, discovery may miss changes: {error}"),
        };
        self.ports.retain(|port| links.contains(&port.link));
        for link in links {
            let known = self.ports.iter_mut().find(|port| port.link == link);
            if known.as_ref().is_some_and(|port| port.socket.is_ok()) {
                continue;
            }
            let socket = sockets::open(&link).map_err(|error| error.to_string());
            match known {
                Some(port) => port.socket = socket,
                None => {
                    if let Err(error) = &socket {
                        log::warn!("no discovery on {} ({:?}): {error}", link.name, link.id.1);
                    }
                    self.ports.push(Port { link, socket, send_error: None, from_here: 0, from_others: 0 });
                }
            }
        }
        if self.ports.iter().all(|port| port.socket.is_ok()) {
            self.retry_at = None;
        }
        let open = self.ports.iter().filter(|port| port.socket.is_ok()).map(|port| port.link.clone()).collect();
        self.engine.set_links(now, open, own);
    }

    /// What happened, if it is worth telling.
    fn next_event(&mut self, now: Instant) -> Option<Event> {
        loop {
            let event = self.engine.poll_event()?;
            let Event::OwnIdElsewhere { from } = event else { return Some(event) };
            // It may be an address that this machine has got since the last look.
            self.refresh(now);
            if !self.engine.owns(from) {
                return Some(event);
            }
        }
    }

    /// Sends what is to be sent. A packet that does not go now is lost, as any may be.
    fn send(&mut self) {
        while let Some(Transmit { link, to, bytes }) = self.engine.poll_transmit() {
            let Some(port) = self.ports.iter_mut().find(|port| port.link.id == link) else { continue };
            let Ok(socket) = &port.socket else { continue };
            let sent = socket.get_ref().send_to(&bytes, to.unwrap_or_else(|| sockets::group(link)));
            let error = sent.err().filter(|_| to.is_none()).map(|error| error.to_string());
            if let (None, Some(error)) = (&port.send_error, &error) {
                log::debug!("cannot announce on {} ({:?}): {error}", port.link.name, link.1);
            }
            port.send_error = error;
        }
    }

    /// Takes a packet from any socket that has one.
    fn poll_receive(&mut self, cx: &mut Context<'_>, now: Instant) {
        for port in &mut self.ports {
            let Ok(socket) = &port.socket else { continue };
            for turn in 0.. {
                if turn == PACKETS_PER_TURN {
                    cx.waker().wake_by_ref();
                    break;
                }
                match socket.get_ref().recv_from(&mut self.buffer) {
                    Ok((len, from)) => {
                        let heard = self.engine.handle_packet(now, port.link.id, from, &self.buffer[..len]);
                        let count =
                            if self.engine.owns(from.ip()) { &mut port.from_here } else { &mut port.from_others };
                        *count += u64::from(heard);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if socket.poll_readable(cx).is_pending() {
                            break;
                        }
                    }
                    // What went wrong with an earlier packet of ours.
                    Err(error) => log::debug!("discovery on {}: {error}", port.link.name),
                }
            }
        }
    }
}

impl Stream for Mdns {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mdns = self.get_mut();
        loop {
            let now = clock::now();
            // What was heard goes first, so that no flood of packets piles up events.
            if let Some(event) = mdns.next_event(now) {
                return Poll::Ready(Some(event));
            }
            if mdns.changes.poll(cx).is_ready() || mdns.retry_at.is_some_and(|at| at <= now) {
                mdns.refresh(now);
                // Until it has nothing new, so that it wakes us when it has.
                continue;
            }
            mdns.poll_receive(cx, now);
            mdns.engine.handle_timeout(now);
            mdns.send();
            if let Some(event) = mdns.next_event(now) {
                return Poll::Ready(Some(event));
            }
            let Some(at) = mdns.engine.next_timeout().into_iter().chain(mdns.retry_at).min() else {
                return Poll::Pending;
            };
            mdns.timer.set_at(at);
            ready!(Pin::new(&mut mdns.timer).poll(cx));
        }
    }
}
