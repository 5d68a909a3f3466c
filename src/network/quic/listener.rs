//! What listens at one address: announces it (or, of a wildcard, those of all interfaces), and takes in connections.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use libp2p::core::transport::{ListenerId, TransportEvent};

use super::{Connecting, Error, address, endpoint::User};
use crate::network::interfaces::{self, Changes};

pub(super) type Event = TransportEvent<Connecting, Error>;

pub(super) struct Listener {
    pub(super) id: ListenerId,
    pub(super) user: User,
    /// Of a wildcard address.
    changes: Option<Changes>,
    addresses: BTreeSet<IpAddr>,
    events: VecDeque<Event>,
}

impl Listener {
    pub(super) fn new(id: ListenerId, user: User) -> Self {
        let ip = user.0.socket.local().ip();
        let mut listener = Self { id, user, changes: None, addresses: BTreeSet::new(), events: VecDeque::new() };
        if ip.is_unspecified() {
            listener.changes = Some(Changes::new());
        } else {
            listener.set_addresses(BTreeSet::from([ip]));
        }
        listener
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.user.0.socket.local()
    }

    /// Whether a dial to this address can leave from here: a socket that is bound to an address reaches only what that does.
    pub(super) fn reaches(&self, remote: &SocketAddr) -> bool {
        let local = self.local().ip();
        local.is_ipv4() == remote.is_ipv4()
            && (local.is_unspecified() || local.is_loopback() == remote.ip().is_loopback())
    }

    fn set_addresses(&mut self, now: BTreeSet<IpAddr>) {
        let port = self.local().port();
        for ip in self.addresses.difference(&now) {
            let listen_addr = address::listening(*ip, port);
            self.events.push_back(TransportEvent::AddressExpired { listener_id: self.id, listen_addr });
        }
        for ip in now.difference(&self.addresses) {
            let listen_addr = address::listening(*ip, port);
            self.events.push_back(TransportEvent::NewAddress { listener_id: self.id, listen_addr });
        }
        self.addresses = now;
    }

    /// The events that end a listener.
    pub(super) fn close(mut self) -> VecDeque<Event> {
        self.events.clear();
        self.set_addresses(BTreeSet::new());
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: self.id, reason: Ok(()) });
        self.events
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // Until it has nothing new, so that it wakes us when it has.
        while let Some(Poll::Ready(())) = self.changes.as_mut().map(|changes| changes.poll(cx)) {
            let v4 = self.local().is_ipv4();
            match interfaces::addresses() {
                Ok(addresses) => self.set_addresses(addresses.filter(|ip| ip.is_ipv4() == v4).collect()),
                Err(error) => log::warn!("cannot list the network interfaces: {error}"),
            }
        }
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        let Poll::Ready((upgrade, to, from)) = self.user.0.poll_incoming(cx) else { return Poll::Pending };
        let local = self.local();
        Poll::Ready(TransportEvent::Incoming {
            listener_id: self.id,
            upgrade,
            local_addr: address::listening(to.unwrap_or(local.ip()), local.port()),
            send_back_addr: address::remote(from),
        })
    }
}
