//! What the swarm cannot say through libp2p's traits: close with a reason, and wait until it has left.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_io::Timer;
use futures::{
    FutureExt,
    future::{join_all, select},
};
use libp2p::PeerId;

use super::{CloseCode, connection::Shared, endpoint::Endpoint};

/// A handle to all connections of a transport. Cheap to clone; outlives the transport.
#[derive(Clone, Default)]
pub struct Control {
    endpoints: Arc<Mutex<Vec<Weak<Endpoint>>>>,
}

impl Control {
    /// Closes all connections to this peer, telling it why. The swarm reports them closed as usual.
    pub fn close_peer(&self, peer: &PeerId, code: CloseCode, reason: &str) {
        for connection in self.connections() {
            let is_it = {
                let state = connection.lock();
                state.connected && state.peer().is_ok_and(|found| found == *peer)
            };
            if is_it {
                connection.close(code, reason);
            }
        }
    }

    /// Closes all connections, and waits until the peers have been told, but no longer than `deadline`. Connections that are
    /// made meanwhile stay.
    pub async fn close_all(&self, code: CloseCode, reason: &str, deadline: Duration) {
        let connections = self.connections();
        connections.iter().for_each(|connection| connection.close(code, reason));
        let flushed = join_all(connections.iter().map(|connection| poll_fn(|cx| connection.poll_flushed(cx))));
        select(flushed.map(drop), Timer::after(deadline)).await;
    }

    pub(super) fn add(&self, endpoint: &Arc<Endpoint>) {
        let mut endpoints = self.endpoints.lock().expect("no holder panics");
        endpoints.retain(|endpoint| endpoint.strong_count() > 0);
        endpoints.push(Arc::downgrade(endpoint));
    }

    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.lock().expect("no holder panics").iter().filter_map(Weak::upgrade).collect()
    }

    fn connections(&self) -> Vec<Arc<Shared>> {
        let all = |endpoint: Arc<Endpoint>| {
            endpoint.lock().connections.values().map(|entry| entry.shared.clone()).collect::<Vec<_>>()
        };
        self.endpoints().into_iter().flat_map(all).collect()
    }
}
