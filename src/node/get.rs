//! Reading a blob out: what is here, and through a running node what is elsewhere.

use std::{collections::BTreeSet, sync::Arc};

use smol::future::block_on;

use super::{
    control::{FailureKind, OpError, Reply},
    ops::{self, OnReply},
};
use crate::{
    content::ContentId,
    library::{
        Library,
        follow::{Follower, ReadingError, Whose},
    },
    limits::control::{DATA_BYTES, LISTINGS},
    store::{BlobState, Store},
};

/// Hands out the blob whose id begins like this. Without a `follower`, only if it is here.
///
/// # Errors
/// Why it can't be had, or not to its end.
pub(super) fn get(
    library: &Library,
    follower: Option<&Arc<Follower>>,
    prefix: &str,
    on_reply: OnReply<'_>,
) -> Result<(), OpError> {
    ops::check_prefix(prefix)?;
    let store = library.store();
    let known = store.resolve(prefix, 2)?;
    let state = match known[..] {
        [id] => store.info(&id)?.map(|info| info.state),
        _ => None,
    };
    if state == Some(BlobState::Complete) {
        return get_here(store, &ops::resolve(store, prefix)?, on_reply);
    }
    let listed = library.find(prefix, LISTINGS)?;
    let is_elsewhere = match state {
        Some(BlobState::Partial { .. }) => follower.is_some(),
        state => state.is_none(),
    };
    // Both may know of others.
    let ids: BTreeSet<_> = listed.iter().map(|(_, item)| item.id).chain(known).collect();
    if ids.len() > 1 {
        return Err(ops::several(prefix));
    }
    let in_reach = follower.and_then(|it| listed.iter().find(|(key, _)| it.is_in_reach(key)));
    let Some((key, item)) = in_reach.or(listed.first().filter(|_| is_elsewhere)) else {
        // It says what became of it.
        return get_here(store, &ops::resolve(store, prefix)?, on_reply);
    };
    let Some(follower) = follower else {
        let message =
            format!("{} is not here; a running node (`allibrary run`) gets it from those that have it", item.id);
        return Err(OpError::new(FailureKind::NotFound, message));
    };
    let failed = |error: ReadingError| {
        let kind = match &error {
            ReadingError::NoRoom { .. } => FailureKind::NoSpace,
            ReadingError::Nobody { .. } | ReadingError::Off | ReadingError::Unwanted => FailureKind::NotFound,
            _ => FailureKind::Failed,
        };
        OpError::new(kind, format!("{}: {error}", item.label()))
    };
    let mut reading = block_on(follower.read(key, item, 0..item.size, Whose::Owner)).map_err(failed)?;
    on_reply(Reply::Blob { id: item.id.to_string(), size_bytes: item.size })?;
    for start in (0..item.size).step_by(DATA_BYTES) {
        let end = item.size.min(start + DATA_BYTES as u64);
        let content = block_on(reading.bytes(start..end)).map_err(failed)?;
        on_reply(Reply::Data { bytes: content.len(), content })?;
    }
    Ok(())
}

fn get_here(store: &Store, id: &ContentId, on_reply: OnReply<'_>) -> Result<(), OpError> {
    let mut blob = store.blob(id)?;
    let size = blob.size();
    if !blob.has(&(0..size)) {
        let message =
            format!("{} is still being fetched; try again when `allibrary status` says that it is here", blob.id());
        return Err(OpError::new(FailureKind::NotFound, message));
    }
    on_reply(Reply::Blob { id: blob.id().to_string(), size_bytes: size })?;
    for start in (0..size).step_by(DATA_BYTES) {
        let content = blob.read(start..size.min(start + DATA_BYTES as u64))?;
        on_reply(Reply::Data { bytes: content.len(), content })?;
    }
    Ok(())
}
