//! Following whoever is connected.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use smol::Timer;

use crate::{
    content::NodeId,
    library::follow::{self, Connect, FollowEnd},
    network::{self, Connector},
    node::state::State,
    peers::PeerManager,
    tasks,
};

/// Between the end of a peer's streams and the next try, at first; it doubles up to [`FOLLOW_AGAIN_AT_MOST`].
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);
/// See [`FOLLOW_AGAIN`].
const FOLLOW_AGAIN_AT_MOST: Duration = Duration::from_secs(60);

impl Connect for Connector {
    type Stream = network::Stream;

    async fn open(&self, peer: NodeId, protocol: &'static str) -> io::Result<network::Stream> {
        Self::open(self, peer, protocol).await
    }
}

/// One task for each connected peer: it takes what is to be mirrored.
pub(super) struct Following {
    state: Arc<State>,
    connector: Connector,
    tasks: HashMap<NodeId, smol::Task<()>>,
}

impl Following {
    pub(super) fn new(state: Arc<State>, connector: Connector) -> Self {
        Self { state, connector, tasks: HashMap::new() }
    }

    pub(super) fn update(&mut self, node: NodeId, connected: bool) {
        if !connected {
            // Dropping the task ends it; what it had verified is kept.
            self.tasks.remove(&node);
            return;
        }
        let (state, connector) = (self.state.clone(), self.connector.clone());
        self.tasks.entry(node).or_insert_with(|| tasks::spawn(follow(state, node, connector)));
    }

    /// Follows whoever is connected from the beginning.
    pub(super) fn again(&mut self, manager: &PeerManager) {
        let nodes: Vec<_> = self.tasks.drain().map(|(node, _)| node).collect();
        for node in nodes {
            self.update(node, manager.is_connected(&node));
        }
    }
}

/// Follows a peer for as long as it is connected. Its streams may end before: with a surplus connection, because it has too
/// much to do, or because it broke the rules; whether it is worth another try then is for its reputation to say.
async fn follow(state: Arc<State>, node: NodeId, connector: Connector) {
    // What is here and not found yet would be fetched.
    state.rebuild.over().await;
    if !state.controls.may_fetch_from(&node) {
        // When that changes all are followed anew.
        return;
    }
    let mut pause = FOLLOW_AGAIN;
    loop {
        let end = follow::follow_peer(state.follower.clone(), node, connector.clone()).await;
        let (FollowEnd::Gone { reason } | FollowEnd::Violation { reason, .. }) = end;
        log::debug!("following {node} ended: {reason}");
        Timer::after(pause).await;
        pause = (2 * pause).min(FOLLOW_AGAIN_AT_MOST);
    }
}
