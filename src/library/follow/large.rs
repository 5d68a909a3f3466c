//! Fetching what is large, one blob after the other: from this peer and from all others that have some of it.

use std::sync::Arc;

use futures::FutureExt;

use super::{
    Connect,
    lane::{Runner, Stop},
    progress::Handle,
    scan::{Hold, Want},
};
use crate::{
    clock,
    content::CollectionKey,
    transfer::{FetchError, Fetched, Provider, fetch},
    wire::blob,
};

impl<C: Connect> Runner<'_, C> {
    pub(super) async fn fetch_large(
        &mut self,
        key: &CollectionKey,
        wants: Vec<Want>,
        handle: &Arc<Handle>,
    ) -> Result<(), Stop> {
        for Want { item, to, hold, .. } in wants {
            let Hold::Large(swarm) = hold else { continue };
            swarm.begin(&self.follower.swarms).await;
            handle.item(item.label());
            let (mut stream, mut pace) = self.stream().await?;
            let peer = self.peer;
            let open = move || peer.connect.open(peer.node, blob::PROTOCOL).boxed();
            let provider =
                Provider { node: peer.node, stream: (&mut stream, &mut pace), open: &open, is_for_readers: false };
            let mut progress = |new_bytes: u64, here_bytes: u64| {
                handle.arrived(clock::now(), new_bytes);
                handle.partial(here_bytes);
                self.follower.deeds.verified(peer.node, new_bytes);
            };
            let fetched = fetch(&swarm, provider, &self.follower.large_lanes, &to, &mut progress).await;
            drop(swarm);
            handle.partial(0);
            match fetched {
                Ok((fetched, is_usable)) => {
                    self.stream = is_usable.then_some((stream, pace));
                    match fetched {
                        Fetched::Kept => self.kept(key, &item),
                        Fetched::Elsewhere => self.again = true,
                        Fetched::Idle { held_bytes } => {
                            self.again = true;
                            self.idle.get_or_insert((item.id, held_bytes));
                        }
                    }
                }
                Err(error) => {
                    if matches!(error, FetchError::Busy { .. } | FetchError::Damaged | FetchError::Refused { .. }) {
                        self.stream = Some((stream, pace));
                    }
                    self.failed(error)?;
                }
            }
        }
        Ok(())
    }
}
