//! What people command, and what is kept from one start to the next.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{PeerManager, Reputation, Source, Standing};
use crate::{
    content::NodeId,
    limits,
    peers::{Admission, ListFull, Lists, Memory, Options, Remembered, address, book::Peer},
};

/// What has to be written down anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// [`PeerManager::lists`]: at once.
    pub lists: bool,
    /// [`PeerManager::memory`]: when convenient.
    pub memory: bool,
    /// Of that, who is banned: soon.
    pub bans: bool,
}

impl PeerManager {
    /// Lets a peer in from now on, and dials it if it is missing.
    ///
    /// # Errors
    /// When the list is full.
    pub fn allow(&mut self, now: Instant, node: NodeId) -> Result<(), ListFull> {
        self.access.allow(node)?;
        self.handle_access_changed(now);
        self.admit_again(now, node, "it was allowed");
        Ok(())
    }

    /// Keeps a peer out from now on; it is turned away if it is connected.
    ///
    /// # Errors
    /// When the list is full.
    pub fn deny(&mut self, now: Instant, node: NodeId) -> Result<(), ListFull> {
        self.access.deny(node)?;
        self.handle_access_changed(now);
        self.choose_few(now);
        Ok(())
    }

    /// Takes a peer off the lists, and forgets its addresses and what it is known for.
    pub fn forget(&mut self, now: Instant, node: NodeId) {
        self.access.forget(node);
        self.with(node, |peer| {
            peer.addresses.clear();
            peer.reputation.reset(now);
            if peer.source != Source::Bootstrap {
                // All that is left of it is its connection.
                peer.source = Source::Inbound;
            }
        });
        self.handle_access_changed(now);
        let may_go = |peer: &Peer| peer.connections.is_empty() && peer.source != Source::Bootstrap;
        if self.book.find(&node).is_some_and(may_go) {
            self.book.remove(&node);
        }
        (self.has_memory_changed, self.have_bans_changed, self.is_topology_due) = (true, true, true);
        self.choose_few(now);
    }

    /// Ends learning (`auth = "learn"`): who is not on the lists by now stays outside.
    pub fn lock(&mut self, now: Instant) {
        self.access.lock();
        self.handle_access_changed(now);
    }

    /// Forgives a peer what it did, and ends its ban.
    pub fn pardon(&mut self, now: Instant, node: NodeId) {
        self.access.pardon(node);
        self.with(node, |peer| peer.reputation.reset(now));
        (self.has_memory_changed, self.have_bans_changed) = (true, true);
        self.handle_access_changed(now);
        self.admit_again(now, node, "it was pardoned");
    }

    /// Goes by these options from now on; `me` and `seed` stay. When fewer peers may be connected than are, those who are
    /// there stay until they go.
    pub fn set_options(&mut self, now: Instant, options: Options) {
        self.options = Options { me: self.options.me, seed: self.options.seed, ..options };
        self.topology.set_options(self.options.topology);
        self.handle_access_changed(now);
        self.is_topology_due = true;
        self.choose_few(now);
    }

    /// Whom the network is to let in from its beginning; changes come as [`Command::Admit`](crate::peers::Command::Admit).
    pub fn admission(&self) -> Arc<Admission> {
        self.access.admission().clone()
    }

    /// Who may connect, as commands and learning have it.
    pub fn lists(&self) -> &Lists {
        self.access.lists()
    }

    /// What is worth knowing at the next start: who answered where, and what each is known for.
    pub fn memory(&self, now: Instant) -> Memory {
        let is_worth_it = |(_, peer): &(&NodeId, &Peer)| peer.addresses.is_proven() || peer.is_notable(now);
        let remembered = |(node, peer): (&NodeId, &Peer)| Remembered {
            node: *node,
            addresses: peer.addresses.proven().map(str::to_owned).collect(),
            reputation: peer.reputation.score(now),
            banned_for_s: match peer.reputation.standing(now) {
                Standing::Banned { until } => seconds(until.saturating_duration_since(now)),
                _ => 0,
            },
        };
        Memory { peers: self.book.iter().filter(is_worth_it).map(remembered).collect() }
    }

    /// Enters what was remembered. What is no address, or too much, is left out.
    pub(super) fn remember(&mut self, now: Instant, memory: Memory) {
        for Remembered { node, addresses, reputation, banned_for_s } in
            memory.peers.into_iter().take(limits::network::KNOWN_PEERS)
        {
            if node == self.options.me {
                continue;
            }
            let Some(peer) = self.book.enter(now, node, Source::Remembered) else { continue };
            peer.reputation = Reputation::new(now, reputation, Duration::from_secs(banned_for_s.into()));
            if let Standing::Banned { until } = peer.reputation.standing(now) {
                self.access.ban(node, until);
            }
            let known = addresses.iter().take(limits::network::ADDRESSES_REMEMBERED);
            for address in known.filter(|address| address::ip(address).is_some()).rev() {
                peer.addresses.prove(address);
            }
            self.is_topology_due = true;
        }
    }

    /// What has changed since this was asked last.
    pub fn take_changed(&mut self) -> Changed {
        Changed {
            lists: self.access.take_changed(),
            memory: mem::take(&mut self.has_memory_changed),
            bans: mem::take(&mut self.have_bans_changed),
        }
    }
}

/// Rounded up: a ban is not over early.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs() + u64::from(time.subsec_nanos() > 0)).unwrap_or(u32::MAX)
}
