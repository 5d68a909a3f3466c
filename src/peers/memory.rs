//! What is kept of peers from one start to the next. `node` writes it down.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::content::NodeId;

/// Who may connect, as commands and learning have it; the configuration's lists come on top. At most
/// [`KNOWN_PEERS`](crate::limits::network::KNOWN_PEERS) on each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lists {
    /// Learning is over (`auth = "learn"`).
    pub locked: bool,
    /// May connect.
    pub allowed: BTreeSet<NodeId>,
    /// May not.
    pub denied: BTreeSet<NodeId>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Who.
    pub node: NodeId,
    /// Multiaddrs at which it has answered, the last one first. At most
    /// [`ADDRESSES_REMEMBERED`](crate::limits::network::ADDRESSES_REMEMBERED).
    pub addresses: Vec<String>,
    /// What it is known for, -100 to 100; 0 is nothing.
    pub reputation: f32,
    /// What is left of its ban, in seconds: clocks are not trusted.
    pub banned_for_s: u32,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Lost, it is learned again.
    pub peers: Vec<Remembered>,
}
