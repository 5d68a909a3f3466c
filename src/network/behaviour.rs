//! The protocols that every connection speaks: identify, ping, and the program's own over plain streams.

use std::time::Duration;

use libp2p::{identify, ping, swarm};

use super::identity::Keypair;

/// What [`identify`] names as the family of protocols.
const PROTOCOL_VERSION: &str = "/allibrary/1";
/// Between two pings of a peer.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// After which an unanswered ping counts as failed.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two exchanges of addresses with a connected peer; changes are pushed at once.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(30 * 60);

#[derive(swarm::NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) stream: libp2p_stream::Behaviour,
}

impl Behaviour {
    pub(super) fn new(keypair: &Keypair) -> Self {
        let identify = identify::Config::new(PROTOCOL_VERSION.into(), keypair.as_libp2p().public())
            .with_agent_version(concat!("allibrary/", env!("CARGO_PKG_VERSION")).into())
            .with_interval(IDENTIFY_INTERVAL)
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
        Self {
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            stream: libp2p_stream::Behaviour::new(),
        }
    }
}
