//! What people command, and what is kept from one start to the next.

use std::time::Instant;

use super::PeerManager;
use crate::{
    content::NodeId,
    peers::{Command, ListFull, Lists, Memory, Options},
};

/// What has to be written down anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// [`PeerManager::lists`]: at once.
    pub lists: bool,
    /// [`PeerManager::memory`]: when convenient.
    pub memory: bool,
}

impl PeerManager {
    /// Lets a peer in from now on, and dials it if it is missing.
    ///
    /// # Errors
    /// When the list is full.
    pub fn allow(&mut self, now: Instant, node: NodeId) -> Result<(), ListFull> {
        self.access.allow(node)?;
        self.handle_access_changed(now);
        Ok(())
    }

    /// Keeps a peer out from now on; it is turned away if it is connected.
    ///
    /// # Errors
    /// When the list is full.
    pub fn deny(&mut self, now: Instant, node: NodeId) -> Result<(), ListFull> {
        self.access.deny(node)?;
        self.handle_access_changed(now);
        Ok(())
    }

    /// Takes a peer off the lists, and forgets its addresses and what it is known for.
    pub fn forget(&mut self, now: Instant, node: NodeId) {
        self.access.forget(node);
        self.handle_access_changed(now);
    }

    /// Ends learning (`auth = "learn"`): who is not on the lists by now stays outside.
    pub fn lock(&mut self, now: Instant) {
        self.access.lock();
        self.handle_access_changed(now);
    }

    /// Forgives a peer what it did, and ends its ban.
    pub fn pardon(&mut self, now: Instant, node: NodeId) {
        self.access.pardon(node);
        self.handle_access_changed(now);
    }

    /// Goes by these options from now on; `me` and `seed` stay.
    pub fn set_options(&mut self, now: Instant, options: Options) {
        self.options = Options { me: self.options.me, seed: self.options.seed, ..options };
        self.handle_access_changed(now);
    }

    /// Who may connect, as commands and learning have it.
    pub fn lists(&self) -> &Lists {
        self.access.lists()
    }

    /// What is worth knowing at the next start.
    pub fn memory(&self, _now: Instant) -> Memory {
        Memory::default()
    }

    /// What has changed since this was asked last.
    pub fn take_changed(&mut self) -> Changed {
        Changed { lists: self.access.take_changed(), memory: false }
    }

    /// Tells the network whom to let in, and turns away whoever is connected and no longer admitted.
    pub(super) fn handle_access_changed(&mut self, _now: Instant) {
        if !self.access.update(&self.options) {
            return;
        }
        self.commands.push_back(Command::Admit(self.access.admission().clone()));
        for (node, peer) in &self.peers {
            if let (false, Err(why)) = (peer.connections.is_empty(), self.access.check(node)) {
                self.commands.push_back(Command::TurnAway { node: *node, why });
            }
        }
    }
}
