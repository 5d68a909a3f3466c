//! What people are shown.

use std::time::{Duration, Instant};

use super::{Peer, PeerManager, Source, connecting::trouble_here};
use crate::{
    content::NodeId,
    peers::{Why, refusals::Refusal},
    status::{PeerStatus, Trouble},
};

impl PeerManager {
    /// What people are shown of every peer at `now`.
    pub fn status(&self, now: Instant) -> Vec<PeerStatus> {
        self.book.iter().map(|(node, peer)| self.status_of(now, node, peer)).collect()
    }

    /// What people are shown of those that were turned away lately and are not known otherwise; at most
    /// [`REFUSALS`](crate::limits::network::REFUSALS).
    pub fn strangers(&self) -> Vec<PeerStatus> {
        let of = |refusal: &Refusal| PeerStatus {
            node: refusal.node.to_string(),
            address: Some(refusal.address.clone()),
            source: Source::Inbound.name().into(),
            trouble: trouble_here(refusal.why),
            ..PeerStatus::default()
        };
        self.refusals.iter().filter(|refusal| self.book.find(&refusal.node).is_none()).map(of).collect()
    }

    fn status_of(&self, now: Instant, node: &NodeId, peer: &Peer) -> PeerStatus {
        let until = |at: Instant| at.saturating_duration_since(now).as_secs_f32().ceil() as u64;
        let connection = peer.connections.first();
        let quality = connection.map(|_| &peer.quality);
        let rtt = quality.and_then(|quality| quality.rtt()).or(peer.rtt);
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        PeerStatus {
            node: node.to_string(),
            state: peer.life.state().into(),
            address: connection.map(|open| open.address.as_str()).or(peer.addresses.iter().next()).map(str::to_owned),
            rtt_us: rtt.map(us),
            agent: peer.agent.clone(),
            foreign: peer.is_foreign,
            source: peer.source.name().into(),
            error: peer.error.clone(),
            rtt_deviation_us: quality.and_then(|quality| quality.rtt_deviation()).map(us),
            loss_percent: quality.and_then(|quality| quality.loss_percent()),
            quality: quality.and_then(|quality| quality.score()),
            sent_bytes_s: quality.map_or(0, |quality| quality.sent_bytes_s()),
            received_bytes_s: quality.map_or(0, |quality| quality.received_bytes_s()),
            sent_bytes: peer.bytes.0,
            received_bytes: peer.bytes.1,
            cipher: connection.map(|open| open.cipher).filter(|cipher| !cipher.is_empty()).map(str::to_owned),
            since_s: Some(peer.life.lasts(now).as_secs()),
            retry_in_s: peer.dial_at.map(until),
            reputation: peer.reputation.score(now).round() as i8,
            banned_for_s: self.access.banned_until(node).map(until),
            access: self.access.status(node),
            bootstrap: peer.source == Source::Bootstrap,
            trouble: match self.access.check(node) {
                _ if connection.is_some() => None,
                Err(Why::Banned) => Some(Trouble::BannedHere),
                Err(_) => Some(Trouble::NotAllowedHere),
                Ok(()) => peer.trouble,
            },
        }
    }
}
