//! What a manager is told by the configuration.

use std::{collections::BTreeSet, time::Duration};

use super::{Reconnect, detector, topology};
use crate::{config::Auth, content::NodeId, limits};

/// What a manager is told at the start, and when the configuration is read again.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node.
    pub me: NodeId,
    /// Where the jitter of retries begins.
    pub seed: u64,
    /// Who may connect.
    pub auth: Auth,
    /// Those who may, besides those of [`Lists`](super::Lists).
    pub allow: BTreeSet<NodeId>,
    /// Those who may not, whatever else is said of them.
    pub deny: BTreeSet<NodeId>,
    /// Peers connected at a time; further ones are turned away.
    pub max_peers: usize,
    /// Of these, so many that this node has dialled; whom a person wants takes the place of another.
    pub max_dialled: usize,
    /// Of these, at one IP address; this machine's own do not count.
    pub max_peers_per_ip: usize,
    /// Whether addresses on the internet are believed when others tell of them.
    pub public_addresses: bool,
    /// How it is noticed that a peer is gone.
    pub heartbeat: detector::Options,
    /// How a peer that is missing is tried.
    pub reconnect: Reconnect,
    /// Whom to connect with when there are many.
    pub topology: topology::Options,
}

impl Options {
    /// What holds when nothing is configured.
    pub fn new(me: NodeId, seed: u64) -> Self {
        Self {
            me,
            seed,
            auth: Auth::Open,
            allow: BTreeSet::new(),
            deny: BTreeSet::new(),
            max_peers: limits::network::PEERS,
            max_dialled: 96,
            max_peers_per_ip: 32,
            public_addresses: false,
            heartbeat: detector::Options {
                interval: Duration::from_secs(6),
                timeout: Duration::from_millis(150),
                failures: 20,
            },
            topology: topology::Options { shape: None, mesh_nodes: 24, hub_nodes: 300 },
            reconnect: Reconnect {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(3),
                attempts: 30,
                slow: Duration::from_secs(60),
            },
        }
    }
}
