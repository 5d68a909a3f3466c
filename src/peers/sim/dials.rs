//! Dials and their handshakes.

use std::time::Duration;

use super::{
    Action, Cluster, HostNumber, LinkNumber, What,
    hosts::{DIAL_TIME, Dial},
    links::{End, IDLE, Link, Packet, Stage},
};
use crate::{
    content::NodeId,
    limits,
    peers::{DialError, Event, Speaks, Why},
};

/// The first wait for an answer of a handshake: three times an initial round trip of 100 ms (RFC 9002, section 6.2.2).
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);

impl Cluster {
    pub(super) fn dial(&mut self, host: HostNumber, node: NodeId, addresses: &[String]) {
        self.note(host, node, What::Dialled);
        if self.hosts[host].dials.contains_key(&node) || !self.connections_with(host, node).is_empty() {
            self.tell(host, Event::DialFailed { node, error: DialError::Unreachable("needless".into()) });
            return;
        }
        let (life, now) = (self.hosts[host].life, self.now);
        let mut links = Vec::new();
        for address in addresses.iter().take(limits::network::ADDRESSES_PER_PEER) {
            let Some(there) = self.hosts.iter().position(|host| host.addresses.contains(address)) else { continue };
            self.next_link += 1;
            let ends = [End::new(host, life, now), End::new(there, 0, now)];
            self.links.insert(self.next_link, Link { ends, address: address.clone(), wanted: node });
            links.push(self.next_link);
        }
        self.next_link += 1;
        let number = self.next_link;
        self.hosts[host].dials.insert(node, Dial { number, links: links.clone(), wrong_peer: false });
        self.schedule(DIAL_TIME, Action::GiveUp { host, node, dial: number });
        // All at once, which is harder on both ends than one after the other, as QUIC has it.
        for link in links {
            self.handle_again(link, 0);
        }
    }

    /// Says what the dialling end has to say, for as long as there is no answer.
    pub(super) fn handle_again(&mut self, number: LinkNumber, tries: u32) {
        let Some(link) = self.links.get(&number) else { return };
        let (from, to) = (link.ends[0].host, link.ends[1].host);
        let packet = match link.ends[0].stage {
            Stage::Opening => Packet::Hello { link: number },
            Stage::Proved => Packet::Finish { link: number },
            _ => return,
        };
        self.send(from, to, packet);
        if tries < 6 {
            self.schedule(PROBE_TIMEOUT * (1 << tries), Action::Again { link: number, tries: tries + 1 });
        }
    }

    pub(super) fn handle_give_up(&mut self, host: HostNumber, node: NodeId, number: u64) {
        if self.hosts[host].dials.get(&node).is_some_and(|dial| dial.number == number) {
            self.fail_dial(host, node, None);
        }
    }

    pub(super) fn fail_dial(&mut self, host: HostNumber, node: NodeId, why: Option<Why>) {
        let Some(dial) = self.hosts[host].dials.remove(&node) else { return };
        for link in dial.links {
            self.forget_end(link, 0);
        }
        let error = match why {
            Some(why) => DialError::Refused(why),
            None if dial.wrong_peer => DialError::WrongPeer,
            None => DialError::Unreachable("no answer".into()),
        };
        self.tell(host, Event::DialFailed { node, error });
    }

    /// The dialling end knows whom it has reached.
    pub(super) fn handle_welcome(&mut self, number: LinkNumber) {
        let link = &self.links[&number];
        let (host, there, wanted) = (link.ends[0].host, link.ends[1].host, link.wanted);
        if link.ends[0].stage != Stage::Opening {
            return;
        }
        if self.node(there) != wanted {
            self.forget_end(number, 0);
            let Some(dial) = self.hosts[host].dials.get_mut(&wanted) else { return };
            dial.wrong_peer = true;
            dial.links.retain(|link| *link != number);
            if dial.links.is_empty() {
                self.fail_dial(host, wanted, None);
            }
            return;
        }
        if let Err(why) = self.hosts[host].admission.check(&wanted) {
            self.say_close(number, 0, why);
            self.fail_dial(host, wanted, None);
            return;
        }
        self.links.get_mut(&number).expect("it was there").ends[0].stage = Stage::Proved;
        self.handle_again(number, 0);
        if !self.hosts[host].is_patient {
            self.open(number, 0);
        }
    }

    /// The other end knows who dials.
    pub(super) fn handle_finish(&mut self, number: LinkNumber) {
        let link = self.links.get_mut(&number).expect("looked at just now");
        let (from, host) = (link.ends[0].host, link.ends[1].host);
        let node = self.node(from);
        match self.links[&number].ends[1].stage {
            Stage::Opening => {
                if let Err(why) = self.hosts[host].admission.check(&node) {
                    let address = self.hosts[from].addresses[0].clone();
                    self.tell(host, Event::TurnedAway { node, address, why });
                    self.say_close(number, 1, why);
                    self.set_stage(number, 1, Stage::Closed { at: self.now, why });
                    return;
                }
                self.set_stage(number, 1, Stage::Open);
                self.open(number, 1);
                self.send(host, from, Packet::Confirm { link: number });
            }
            Stage::Open => {
                self.send(host, from, Packet::Confirm { link: number });
            }
            _ => {}
        }
    }

    fn set_stage(&mut self, number: LinkNumber, end: usize, stage: Stage) {
        if let Some(link) = self.links.get_mut(&number) {
            link.ends[end].stage = stage;
        }
    }

    /// Reports a connection at one of its ends.
    pub(super) fn open(&mut self, number: LinkNumber, end: usize) {
        let link = &self.links[&number];
        let (host, there) = (link.ends[end].host, link.ends[1 - end].host);
        let address = if end == 0 { link.address.clone() } else { self.hosts[there].addresses[0].clone() };
        let node = self.node(there);
        if end == 0 {
            // The first that gets through is kept.
            let Some(dial) = self.hosts[host].dials.remove(&node) else {
                self.say_close(number, 0, Why::Done);
                self.forget_end(number, 0);
                return;
            };
            for other in dial.links.into_iter().filter(|other| *other != number) {
                self.say_close(other, 0, Why::Done);
                self.forget_end(other, 0);
            }
        }
        self.hosts[host].next_connection += 1;
        let connection = self.hosts[host].next_connection;
        self.hosts[host].missing.remove(&there);
        self.hosts[host].connections.insert(connection, (number, end));
        self.hosts[host].open.entry(node).or_default().push((number, end));
        let link = self.links.get_mut(&number).expect("looked at just now");
        (link.ends[end].number, link.ends[end].heard) = (Some(connection), self.now);
        self.tell(host, Event::Connected { node, connection, address, inbound: end == 1, cipher: "" });
        self.schedule(IDLE, Action::Idle { link: number, end });
        let addresses = self.hosts[there].addresses.clone();
        let event = Event::Identified { node, agent: "sim".into(), speaks: Speaks::Ours, addresses };
        self.schedule(2 * self.path.delay + self.path.jitter, Action::Later { link: number, end, event });
    }
}
