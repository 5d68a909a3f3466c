//! The connections with one peer, and which of them stays.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{ConnectionNumber, Why, address};
use crate::limits;

/// Two connections that are made within this time were dialled from both ends at once; a later one replaces an earlier one
/// whose other end has probably restarted. A handshake whose first packets were lost is said again after 0.3 s and 0.9 s, and
/// then not before 2.1 s: both ends find themselves on the same side of this. It is short, for so long one that was killed
/// just after it had connected, and is back at once, is turned away.
pub(super) const SIMULTANEOUS: Duration = Duration::from_millis(1500);
/// One dial tries several addresses at once, and more than one may get through: the other end keeps the first that it has,
/// and closes the rest itself, within this time. Which one that is can't be told from here.
pub(super) const SIBLINGS: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) number: ConnectionNumber,
    pub(super) inbound: bool,
    pub(super) since: Instant,
    pub(super) address: String,
    pub(super) cipher: &'static str,
    /// Bytes sent and received when it was looked at last.
    pub(super) bytes: (u64, u64),
    /// Why it is being closed here, if it is.
    pub(super) closing: Option<Why>,
}

impl Connection {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        address::ip(&self.address)
    }
}

/// All that the network has not reported closed.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Vec<Connection>);

impl Connections {
    /// Takes in a new connection; `me_first` is whether this node has the smaller id. Returns those that are to be closed,
    /// perhaps the new one itself.
    pub(super) fn add(&mut self, new: Connection, me_first: bool) -> Vec<ConnectionNumber> {
        let passed = |old: &Connection| new.since.saturating_duration_since(old.since);
        // The one that the smaller id dialled survives, where both ends dialled at once; else the newest.
        let keep_old =
            |old: &Connection| old.inbound != new.inbound && passed(old) < SIMULTANEOUS && old.inbound != me_first;
        let few = self.live().count() < limits::network::SIBLINGS;
        let is_sibling = |old: &Connection| few && old.inbound && new.inbound && passed(old) < SIBLINGS;
        let surplus: Vec<_> = match self.live().any(keep_old) {
            true => vec![new.number],
            false => self.live().filter(|old| !is_sibling(old)).map(|old| old.number).collect(),
        };
        self.0.push(new);
        for open in self.0.iter_mut().filter(|open| surplus.contains(&open.number)) {
            open.closing = Some(Why::Surplus);
        }
        surplus
    }

    pub(super) fn find_mut(&mut self, number: ConnectionNumber) -> Option<&mut Connection> {
        self.0.iter_mut().find(|open| open.number == number)
    }

    /// Takes out one that is gone.
    pub(super) fn remove(&mut self, number: ConnectionNumber) -> Option<Connection> {
        let at = self.0.iter().position(|open| open.number == number)?;
        Some(self.0.remove(at))
    }

    /// Takes note that all are being closed.
    pub(super) fn close(&mut self, why: Why) {
        for open in &mut self.0 {
            open.closing.get_or_insert(why);
        }
    }

    /// Those that are not being closed, the oldest first.
    pub(super) fn live(&self) -> impl Iterator<Item = &Connection> {
        self.0.iter().filter(|open| open.closing.is_none())
    }

    /// Whether there is one that is not being closed.
    pub(super) fn is_live(&self) -> bool {
        self.live().next().is_some()
    }

    /// Whether the network has reported all closed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that is shown and measured.
    pub(super) fn first(&self) -> Option<&Connection> {
        self.live().next()
    }
}
