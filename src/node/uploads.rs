//! Streams that peers open: each is served by the part whose protocol it speaks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use smol::channel::Receiver;

use super::{exchange, state::State};
use crate::{
    content::NodeId,
    library, limits,
    network::Incoming,
    transfer,
    wire::{self, blob, catalogue},
};

/// Serves what comes in, for as long as the network lives.
pub(super) async fn serve_all(state: Arc<State>, incoming: Receiver<Incoming>) {
    let executor = smol::Executor::new();
    let open = Arc::new(Open::default());
    let accept = async {
        while let Ok(stream) = incoming.recv().await {
            let Some(place) = open.enter((stream.peer, stream.protocol)) else {
                log::debug!("{} has too many streams of {} open: one more is refused", stream.peer, stream.protocol);
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
        catalogue::PROTOCOL => library::serve(stream, state.library.clone())
            .await
            .map_err(|error| (error.is_violation(), error.to_string())),
        blob::PROTOCOL => transfer::serve(stream, state.library.store().clone(), &state.uploads_for(&peer))
            .await
            .map(drop)
            .map_err(|error| (error.is_violation(), error.to_string())),
        wire::peers::PROTOCOL => {
            exchange::serve(state, peer, stream).await.map_err(|error| (error.is_violation(), error.to_string()))
        }
        other => Err((false, format!("nobody serves {other}"))),
    };
    if let Err((is_violation, error)) = ended {
        if is_violation {
            state.follower.deeds().violation(peer);
        }
        log::debug!("{protocol} with {peer}: {error}");
    }
}

/// Whose streams, and of which protocol.
type Kind = (NodeId, &'static str);

/// How many streams of each kind are open.
#[derive(Default)]
struct Open(Mutex<HashMap<Kind, usize>>);

impl Open {
    fn enter(self: &Arc<Self>, kind: Kind) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(kind).or_default();
        if *count >= limits::network::SERVED_STREAMS_PER_PEER {
            return None;
        }
        *count += 1;
        Some(Place { open: self.clone(), kind })
    }
}

/// One stream's place, given back when it ends.
struct Place {
    open: Arc<Open>,
    kind: Kind,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.kind) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_leaves_places_to_the_others() {
        let open = Arc::new(Open::default());
        let (one, other) = (NodeId([1; 32]), NodeId([2; 32]));
        let enter = |node| std::iter::from_fn(|| open.enter((node, blob::PROTOCOL))).take(100).collect::<Vec<_>>();
        let places = enter(one);
        assert_eq!(places.len(), limits::network::SERVED_STREAMS_PER_PEER);
        assert!(places.len() < limits::transfer::UPLOAD_SLOTS);
        assert!(open.enter((one, catalogue::PROTOCOL)).is_some());
        assert_eq!(enter(other).len(), places.len());
        drop(places);
        assert!(open.enter((one, blob::PROTOCOL)).is_some());
        assert!(open.0.lock().unwrap().is_empty(), "nobody is remembered");
    }
}
