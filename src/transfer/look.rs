//! Hearing from a peer what it has of a blob.

use std::{
    future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use futures::{
    AsyncRead, AsyncWrite, AsyncWriteExt,
    future::{Either, select},
};
use smol::channel::Receiver;

use super::{
    answer::Violation,
    fetch::Open,
    swarm::{Member, Swarm},
};
use crate::{
    content::ContentId,
    limits::{
        transfer::{LOOK_RETRY_MS, LOOK_TRIES},
        wire::FRAME_BYTES,
    },
    wire::{
        FrameError, KIND_ERROR,
        blob::{Have, Reply, Request, Watch},
        read_frame, write_frame,
    },
};

/// Watches the peer, anew whenever somebody asks for a look. It ends with a violation of the peer alone.
///
/// Of one that can't be watched, as it is of an earlier version or does not let us, all is taken to be there.
pub(super) async fn watch<S: AsyncRead + AsyncWrite + Unpin>(
    swarm: &Swarm,
    member: &Member,
    open: &Open<'_, S>,
    looks: Receiver<()>,
    is_watched: &AtomicBool,
) -> Violation {
    let mut is_asked = looks.recv().await.is_ok();
    while is_asked {
        let hear = pin!(async {
            let mut known_bytes = None;
            let mut heard = |have: Have| {
                // Of a blob of another size it has nothing that is of use.
                let ranges = if have.size == swarm.size() { &have.ranges[..] } else { &[] };
                member.handle_have(ranges);
                let bytes = known_bytes.get_or_insert(0u64);
                *bytes = bytes.saturating_add(ranges.iter().map(|range| range.len).sum());
                *bytes >= swarm.size()
            };
            let ended = hear(open, swarm.id(), &mut heard).await;
            (ended, known_bytes.is_some())
        });
        match select(hear, pin!(looks.recv())).await {
            Either::Left(((Err(error), _), _)) if error.is_violation() => return error.into(),
            Either::Left(((_, was_heard), _)) => {
                if !was_heard {
                    is_watched.store(false, Relaxed);
                    member.handle_whole();
                }
                is_asked = looks.recv().await.is_ok();
            }
            Either::Right((asked, _)) => is_asked = asked.is_ok(),
        }
    }
    future::pending().await
}

/// Waits until the peer has more of a blob than so many bytes: for ever, if it does not tell.
pub async fn wait_for_more<S: AsyncRead + AsyncWrite + Unpin>(open: &Open<'_, S>, id: ContentId, held_bytes: u64) {
    let (mut bytes, mut has_more) = (0u64, false);
    let mut heard = |have: Have| {
        bytes = bytes.saturating_add(have.ranges.iter().map(|range| range.len).sum());
        has_more = bytes > held_bytes;
        has_more
    };
    let _ = hear(open, id, &mut heard).await;
    if !has_more {
        future::pending::<()>().await;
    }
}

/// Tells what is heard until it is enough, or the peer tells nothing more.
///
/// A stream that ends before anything is heard on it is tried again, [`LOOK_TRIES`] times: where many come at once, a peer drops
/// some that it has a place for a moment later.
async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    open: &Open<'_, S>,
    id: ContentId,
    heard: &mut (dyn FnMut(Have) -> bool + Send),
) -> Result<(), FrameError> {
    let (mut was_heard, mut pauses) = (false, (0..LOOK_TRIES).map(|tried| LOOK_RETRY_MS << tried));
    loop {
        let mut heard = |have| {
            was_heard = true;
            heard(have)
        };
        let ended = match open().await {
            Ok(stream) => hear_on(stream, id, &mut heard).await,
            Err(error) => Err(FrameError::Io(error)),
        };
        match (ended, pauses.next()) {
            (Err(FrameError::Io(_)), Some(pause)) if !was_heard => {
                // Those that were dropped together are not to come together again.
                smol::Timer::after(Duration::from_millis(pause + fastrand::u64(..=pause))).await;
            }
            (ended, _) => return ended,
        }
    }
}

async fn hear_on<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    id: ContentId,
    heard: &mut (dyn FnMut(Have) -> bool + Send),
) -> Result<(), FrameError> {
    let request = Request::Watch(Watch { id }).to_frame();
    write_frame(&mut stream, request.kind, &request.body).await?;
    stream.flush().await?;
    while let Some(mut frame) = read_frame(&mut stream, FRAME_BYTES).await? {
        if frame.kind == KIND_ERROR {
            break;
        }
        match Reply::from_frame(&mut frame)? {
            Reply::Have(have) if have.id == id => {
                if heard(have) {
                    break;
                }
            }
            _ => return Err(FrameError::Unexpected(frame.kind)),
        }
    }
    Ok(())
}
