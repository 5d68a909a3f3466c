//! The protocols that every connection speaks: identify, ping, the program's own over plain streams, and gossip if it is wanted.

use std::time::Duration;

use libp2p::{
    StreamProtocol, identify, ping,
    swarm::{self, behaviour::toggle::Toggle},
};

use super::{
    gossip,
    identity::{Keypair, node_id},
    streams,
};
use crate::{
    limits::network::{ADDRESSES_PER_PEER, AGENT_BYTES},
    peers::{self, Speaks},
    wire,
};

/// What [`identify`] names as the family of protocols.
const PROTOCOL_VERSION: &str = "/allibrary/1";
/// How that of any version begins.
const FAMILY: &str = "/allibrary/";
/// Between two pings of a peer: they show that the protocols answer, not only QUIC, and stock peers expect them.
const PING_INTERVAL: Duration = Duration::from_secs(300);
/// After which an unanswered ping counts as failed.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two exchanges of addresses with a connected peer; changes are pushed at once.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(30 * 60);

#[derive(swarm::NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) streams: streams::Behaviour,
    /// Off, it costs nothing: no protocol, no timer.
    pub(super) gossip: Toggle<gossip::Behaviour>,
}

impl Behaviour {
    pub(super) fn new(keypair: &Keypair, gossip: bool, streams: streams::Behaviour) -> Self {
        let identify = identify::Config::new(PROTOCOL_VERSION.into(), keypair.as_libp2p().public())
            .with_agent_version(concat!("allibrary/", env!("CARGO_PKG_VERSION")).into())
            .with_interval(IDENTIFY_INTERVAL)
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
        Self {
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            streams,
            gossip: gossip.then(|| gossip::behaviour(keypair)).into(),
        }
    }
}

/// What identify tells of a peer.
pub(super) fn identified(event: identify::Event) -> Option<peers::Event> {
    let identify::Event::Received { peer_id, info, .. } = event else { return None };
    let mut addresses: Vec<String> = Vec::new();
    for address in info.listen_addrs.iter().map(ToString::to_string) {
        if addresses.len() < ADDRESSES_PER_PEER && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some(peers::Event::Identified {
        node: node_id(&peer_id)?,
        agent: wire::Text::<AGENT_BYTES>::cut(&info.agent_version).into_string(),
        speaks: speaks(&info.protocol_version, &info.protocols),
        addresses,
    })
}

fn speaks(version: &str, protocols: &[StreamProtocol]) -> Speaks {
    let needed = [wire::catalogue::PROTOCOL, wire::blob::PROTOCOL];
    if !version.starts_with(FAMILY) {
        return Speaks::Others;
    }
    match needed.iter().all(|needed| protocols.iter().any(|spoken| spoken == needed)) {
        true => Speaks::Ours,
        false => Speaks::OtherVersion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_told_from_another_program() {
        let protocols = |names: &[&'static str]| names.iter().map(|name| StreamProtocol::new(name)).collect::<Vec<_>>();
        let ours = protocols(&[wire::blob::PROTOCOL, "/ipfs/ping/1.0.0", wire::catalogue::PROTOCOL]);
        assert_eq!(speaks(PROTOCOL_VERSION, &ours), Speaks::Ours);
        assert_eq!(speaks("/allibrary/2", &ours), Speaks::Ours, "a later one that still speaks ours");
        assert_eq!(speaks("/allibrary/2", &protocols(&["/allibrary/blob/2"])), Speaks::OtherVersion);
        assert_eq!(speaks("ipfs/0.1.0", &protocols(&["/ipfs/ping/1.0.0"])), Speaks::Others);
    }
}
