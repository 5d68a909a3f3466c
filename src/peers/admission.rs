//! Who may connect.

use std::collections::BTreeSet;

use super::Why;
use crate::content::NodeId;

/// Whom a node lets in. The network holds the newest one, and looks at it when a handshake has proved who a peer is, before
/// any protocol is spoken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Whether those on no list are let in.
    pub open: bool,
    /// Those who are, else.
    pub allowed: BTreeSet<NodeId>,
    /// Those who never are.
    pub denied: BTreeSet<NodeId>,
    /// Those who are not for now.
    pub banned: BTreeSet<NodeId>,
}

impl Admission {
    /// Lets everybody in.
    pub fn everybody() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Whether this peer may connect.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, node: &NodeId) -> Result<(), Why> {
        if self.denied.contains(node) || !(self.open || self.allowed.contains(node)) {
            return Err(Why::NotAllowed);
        }
        if self.banned.contains(node) { Err(Why::Banned) } else { Ok(()) }
    }
}
