//! Streams that peers open: each is served by the part whose protocol it speaks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use smol::channel::Receiver;

use super::state::State;
use crate::{
    content::NodeId,
    library, limits,
    network::Incoming,
    transfer,
    wire::{blob, catalogue},
};

/// Serves what comes in, for as long as the network lives.
pub(super) async fn serve_all(state: Arc<State>, incoming: Receiver<Incoming>) {
    let executor = smol::Executor::new();
    let open = Arc::new(Open::default());
    let accept = async {
        while let Ok(stream) = incoming.recv().await {
            let Some(place) = open.enter(stream.peer) else {
                log::debug!("{} has too many streams open: one more is refused", stream.peer);
                continue;
            };
            let state = state.clone();
            let serve = async move {
                serve(&state, stream).await;
                drop(place);
            };
            executor.spawn(serve).detach();
        }
    };
    executor.run(accept).await;
}

async fn serve(state: &State, Incoming { peer, protocol, stream }: Incoming) {
    let ended = match protocol {
        catalogue::PROTOCOL => library::serve(stream, state.library.clone()).await.map_err(|error| error.to_string()),
        blob::PROTOCOL => transfer::serve(stream, state.library.store().clone(), &state.uploads)
            .await
            .map(drop)
            .map_err(|error| error.to_string()),
        other => Err(format!("nobody serves {other}")),
    };
    if let Err(error) = ended {
        log::debug!("{protocol} with {peer}: {error}");
    }
}

/// How many streams each peer has open.
#[derive(Default)]
struct Open(Mutex<HashMap<NodeId, usize>>);

impl Open {
    fn enter(self: &Arc<Self>, peer: NodeId) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_default();
        if *count >= limits::network::SERVED_STREAMS_PER_PEER {
            return None;
        }
        *count += 1;
        Some(Place { open: self.clone(), peer })
    }
}

/// One stream's place, given back when it ends.
struct Place {
    open: Arc<Open>,
    peer: NodeId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}
