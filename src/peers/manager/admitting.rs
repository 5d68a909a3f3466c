//! Who is let in, by the lists and by what each has done.

use std::time::Instant;

use super::{PeerManager, Standing, State};
use crate::{
    content::NodeId,
    peers::{Command, Conduct, Why},
};

impl PeerManager {
    /// Tells the network whom to let in, and turns away whoever is connected and no longer admitted.
    pub(super) fn handle_access_changed(&mut self, now: Instant) {
        if !self.access.update(&self.options) {
            return;
        }
        self.is_topology_due = true;
        self.commands.push_back(Command::Admit(self.access.admission().clone()));
        let refused = self.book.connected().filter_map(|(node, _)| Some((*node, self.access.check(node).err()?)));
        let refused: Vec<(NodeId, Why)> = refused.collect();
        for (node, why) in refused {
            self.turn_away(now, node, why);
        }
    }

    pub(super) fn handle_conduct(&mut self, now: Instant, node: NodeId, conduct: Conduct) {
        let Some(peer) = self.book.find_mut(&node) else { return };
        let before = peer.reputation.standing(now);
        peer.reputation.handle_conduct(now, conduct);
        let after = peer.reputation.standing(now);
        self.has_memory_changed = true;
        match after {
            _ if after == before => {}
            Standing::Good => log::info!("{node} is trusted again"),
            Standing::Throttled => log::info!("{node} comes last from now on: {conduct:?}"),
            Standing::Banned { until } => {
                let seconds = until.saturating_duration_since(now).as_secs();
                log::info!("{node} is banned for {seconds} s: {conduct:?}");
                self.access.ban(node, until);
                self.have_bans_changed = true;
                self.handle_access_changed(now);
            }
        }
    }

    pub(super) fn handle_turned_away(&mut self, now: Instant, node: NodeId, address: String, why: Why) {
        let text = format!("{node} at {address} was turned away: {why}");
        if self.refusals.handle(now, node, address, why) {
            log::info!("{text}");
        }
    }

    /// Lets those in again whose ban is over.
    pub(super) fn end_bans(&mut self, now: Instant) {
        let over = self.access.handle_timeout(now);
        if over.is_empty() {
            return;
        }
        self.handle_access_changed(now);
        for node in over {
            log::info!("the ban of {node} is over");
            self.admit_again(now, node, "its ban is over");
        }
    }

    /// Tries a peer that a person or time has let in again.
    pub(super) fn admit_again(&mut self, now: Instant, node: NodeId, reason: &str) {
        let is_refused = self.book.find(&node).is_some_and(|peer| peer.life.state() != State::Connected);
        if is_refused && self.access.check(&node).is_ok() {
            self.begin_anew(now, node, reason);
            self.choose_few(now);
        }
    }
}
