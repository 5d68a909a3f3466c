//! Fetching what is large, one blob after the other: from this peer and from all others that have some of it.

use std::sync::Arc;

use futures::FutureExt;

use super::{
    Connect,
    lane::{Runner, Stop, put_in_order},
    progress::Handle,
    scan::{Hold, Want},
};
use crate::{
    clock,
    library::{Library, Summary},
    store::WriteError,
    tasks,
    transfer::{FetchError, Fetched, Provider, Whole, fetch},
    wire::blob,
};

impl<C: Connect> Runner<'_, C> {
    pub(super) async fn fetch_large(
        &mut self,
        summary: &Summary,
        wants: Vec<Want>,
        handle: &Arc<Handle>,
    ) -> Result<(), Stop> {
        for want in wants {
            let Hold::Large(swarm) = &want.hold else { continue };
            swarm.begin(&self.follower.swarms).await;
            handle.item(want.item.label());
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
            let fetched = fetch(swarm, provider, &self.follower.large_lanes, &mut progress).await;
            handle.partial(0);
            if let Ok((_, true)) | Err(FetchError::Busy { .. } | FetchError::Damaged | FetchError::Refused { .. }) =
                fetched
            {
                self.stream = Some((stream, pace));
            }
            let (whole, mut stop) = match fetched {
                Ok((Fetched::Whole(whole), _)) => (Some(whole), Ok(())),
                Ok((Fetched::Elsewhere, _)) => {
                    self.again = true;
                    (None, Ok(()))
                }
                Ok((Fetched::Idle { held_bytes }, _)) => {
                    self.again = true;
                    self.idle.get_or_insert((want.item.id, held_bytes));
                    (None, Ok(()))
                }
                Err(error) => (None, self.failed(error)),
            };
            let keeping = keep(Arc::clone(&self.follower.library), summary.clone(), want, whole);
            let (named, in_order) = tasks::spawn_lasting(keeping).await;
            match named {
                Ok(is_named) => self.kept |= is_named,
                Err(error) => stop = stop.and(self.failed(error.into())),
            }
            stop.and(in_order)?;
        }
        Ok(())
    }
}

/// Gives a blob its name if all of it is here, and puts in order what came; whether it has its name. Others of the same name wait
/// until then.
async fn keep(
    library: Arc<Library>,
    summary: Summary,
    Want { item, to, hold, name }: Want,
    whole: Option<Whole>,
) -> (Result<bool, WriteError>, Result<(), Stop>) {
    let named = match whole {
        Some(whole) => smol::unblock(move || whole.finish(&to)).await.map(|()| true),
        None => Ok(false),
    };
    // What is listed no more is not discarded while somebody is at it.
    drop(hold);
    let in_order = put_in_order(&library, &summary, vec![(item, matches!(named, Ok(true)))]).await;
    drop(name);
    (named, in_order)
}
