//! Peer exchange: answers peers that ask whom this node knows, and asks them. What comes of it is for `peers` to judge.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use smol::{Timer, future::FutureExt};

use super::state::State;
use crate::{
    clock,
    content::NodeId,
    limits::{self, network::ANSWERED_EVERY_MS},
    network::Connector,
    peers::{Event, Introduction},
    wire::{
        ErrorCode, ErrorReply, FrameError,
        peers::{Address, Ask, Introduction as Told, Known, PROTOCOL, Reply, Request},
        read_frame, write_frame,
    },
};

/// Whom this node has answered lately: each peer is answered once a minute.
#[derive(Default)]
pub(super) struct Answered(Mutex<HashMap<NodeId, Instant>>);

impl Answered {
    /// Whether a peer may be answered now; if so, it may not be again for a while.
    fn admits(&self, now: Instant, peer: NodeId) -> bool {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|_, at| now.saturating_duration_since(*at) < Duration::from_millis(ANSWERED_EVERY_MS));
        let free = answered.len() < limits::network::KNOWN_PEERS && !answered.contains_key(&peer);
        if free {
            answered.insert(peer, now);
        }
        free
    }
}

/// Answers one question of a peer.
///
/// # Errors
/// When the peer is too slow, gone, or breaks the rules.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    state: &State,
    peer: NodeId,
    mut stream: S,
) -> Result<(), FrameError> {
    in_time(answer(&mut stream, || {
        let now = clock::now();
        state.answered.admits(now, peer).then(|| {
            let others = state.peering.introductions(now, &peer).into_iter().map(told).collect();
            Known { capacity: state.capacity(), uptime_s: state.uptime_s(), others }
        })
    }))
    .await
}

/// `known` is none where it is too soon.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    known: impl FnOnce() -> Option<Known>,
) -> Result<(), FrameError> {
    let Some(frame) = read_frame(stream, limits::wire::REQUEST_BYTES).await? else { return Ok(()) };
    let reply = match Request::from_frame(&frame) {
        Ok(Request::Ask(Ask {})) => match known() {
            Some(known) => Reply::Known(known).to_frame(),
            None => {
                let retry_ms = u32::try_from(ANSWERED_EVERY_MS).unwrap_or(u32::MAX);
                ErrorReply { retry_ms, ..ErrorReply::new(ErrorCode::Busy, "asked too often") }.to_frame()
            }
        },
        Err(FrameError::Unexpected(_)) => ErrorReply::new(ErrorCode::UnknownKind, "an unknown request").to_frame(),
        Err(error) => return Err(error),
    };
    write_frame(stream, reply.kind, &reply.body).await?;
    Ok(stream.close().await?)
}

/// Asks a peer whom it knows, and has the manager hear the answer.
pub(super) async fn ask(state: Arc<State>, connector: Connector, node: NodeId) {
    let asked = async {
        let mut stream = connector.open(node, PROTOCOL).await?;
        question(&mut stream).await
    };
    match in_time(asked).await {
        Ok(Some(Known { capacity, uptime_s, others })) => {
            let others = others.into_iter().map(heard).collect();
            state.peering.judge(std::iter::once(Event::Introduced { by: node, capacity, uptime_s, others }));
        }
        Ok(None) => {}
        Err(error) => {
            if error.is_violation() {
                state.follower.deeds().violation(node);
            }
            log::debug!("asking {node} for peers: {error}");
        }
    }
}

/// None if the peer does not want to say.
async fn question<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Option<Known>, FrameError> {
    let request = Request::Ask(Ask {}).to_frame();
    write_frame(stream, request.kind, &request.body).await?;
    stream.close().await?;
    let Some(frame) = read_frame(stream, Reply::MAX_BYTES).await? else { return Ok(None) };
    match Reply::from_frame(&frame) {
        Ok(Reply::Known(known)) => Ok(Some(known)),
        Err(FrameError::Unexpected(crate::wire::KIND_ERROR)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, FrameError>>) -> Result<T, FrameError> {
    let late = async {
        Timer::after(Duration::from_millis(limits::follow::STALL_MS)).await;
        Err(io::Error::from(io::ErrorKind::TimedOut).into())
    };
    work.or(late).await
}

fn told(other: Introduction) -> Told {
    let addresses = other.addresses.into_iter().filter_map(Address::new).take(limits::wire::TOLD_ADDRESSES).collect();
    Told { node: other.node, capacity: other.capacity, uptime_s: other.uptime_s, addresses }
}

fn heard(other: Told) -> Introduction {
    let addresses = other.addresses.into_iter().map(Address::into_string).collect();
    Introduction { node: other.node, addresses, capacity: other.capacity, uptime_s: other.uptime_s }
}

#[cfg(test)]
mod tests {
    use smol::net::unix::UnixStream;

    use super::*;

    fn known() -> Known {
        let introduction = Introduction {
            node: NodeId([2; 32]),
            addresses: vec!["x".repeat(limits::wire::ADDRESS_BYTES + 1), "/ip4/10.0.0.1/udp/1/quic-v1".into()],
            capacity: 7,
            uptime_s: 9,
        };
        Known { capacity: 1, uptime_s: 2, others: vec![told(introduction)] }
    }

    #[test]
    fn a_question_is_answered_or_put_off() {
        smol::block_on(async {
            for reply in [Some(known()), None] {
                let (mut ours, mut theirs) = UnixStream::pair().unwrap();
                let (answered, heard) = futures::join!(answer(&mut theirs, || reply.clone()), question(&mut ours));
                answered.unwrap();
                assert_eq!(heard.unwrap(), reply);
            }
        });
        let told = heard(known().others.remove(0));
        assert_eq!(told.addresses, ["/ip4/10.0.0.1/udp/1/quic-v1"], "an address that is too long is left out");
    }

    #[test]
    fn what_breaks_the_rules_is_told_from_what_is_not_known() {
        let sent = |kind: u8, body: Vec<u8>| {
            smol::block_on(async {
                let (mut ours, mut theirs) = UnixStream::pair().unwrap();
                write_frame(&mut ours, kind, &body).await.unwrap();
                ours.close().await.unwrap();
                let answered = answer(&mut theirs, || Some(known())).await;
                drop(theirs);
                let reply = read_frame(&mut ours, Reply::MAX_BYTES).await.ok().flatten();
                (answered, reply.map(|frame| frame.kind))
            })
        };
        assert!(matches!(sent(1, Vec::new()), (Ok(()), Some(0x81))));
        assert!(matches!(sent(9, Vec::new()), (Ok(()), Some(crate::wire::KIND_ERROR))));
        let (long, _) = sent(1, vec![0; limits::wire::REQUEST_BYTES + 1]);
        assert!(long.unwrap_err().is_violation());
        smol::block_on(async {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            write_frame(&mut theirs, 0x81, &[0xff; 3]).await.unwrap();
            assert!(question(&mut ours).await.unwrap_err().is_violation());
        });
    }

    #[test]
    fn a_peer_is_answered_once_a_minute() {
        let (answered, now, minute) = (Answered::default(), clock::now(), Duration::from_millis(ANSWERED_EVERY_MS));
        assert!(answered.admits(now, NodeId([1; 32])));
        assert!(!answered.admits(now + minute / 2, NodeId([1; 32])));
        assert!(answered.admits(now + minute / 2, NodeId([2; 32])));
        assert!(answered.admits(now + minute, NodeId([1; 32])));
        for node in 0..2 * limits::network::KNOWN_PEERS {
            let mut id = [3; 32];
            id[..8].copy_from_slice(&(node as u64).to_le_bytes());
            answered.admits(now + minute, NodeId(id));
        }
        assert_eq!(answered.0.lock().unwrap().len(), limits::network::KNOWN_PEERS);
    }
}
