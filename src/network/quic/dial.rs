//! A dial of one of a peer's addresses.
//!
//! libp2p dials all addresses of a peer at once. Each is tried in its turn here (RFC 8305, section 5): a second handshake, with
//! its signatures and key exchange at both ends, is made only where the first is not answered at once.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_io::Timer;
use libp2p::PeerId;
use quinn_proto::ClientConfig;

use super::{Connecting, Connection, Error, endpoint::Endpoint};

/// What each address of a peer has before the next is tried as well (RFC 8305, "Connection Attempt Delay").
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// The addresses of the peer that was dialled last: each that is being tried, or waits for that, holds one of the turns.
#[derive(Default)]
pub(super) struct Turns {
    peer: Option<PeerId>,
    turns: Arc<()>,
}

impl Turns {
    /// The turn of one more address, and how long it waits for it. Whoever is not named comes at once.
    pub(super) fn next(&mut self, peer: Option<PeerId>) -> (Arc<()>, Duration) {
        if peer.is_none() || self.peer != peer {
            *self = Self { peer, turns: Arc::default() };
        }
        let before = u32::try_from(Arc::strong_count(&self.turns) - 1).unwrap_or(u32::MAX);
        (self.turns.clone(), HEAD_START.saturating_mul(before))
    }
}

/// A dial that waits for its turn, or a handshake under way. Dropping it gives up.
pub struct Dial {
    state: State,
    _turn: Arc<()>,
}

enum State {
    Waiting { until: Timer, endpoint: Arc<Endpoint>, config: ClientConfig, remote: SocketAddr },
    Connecting(Connecting),
}

impl Dial {
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        config: ClientConfig,
        remote: SocketAddr,
        (turn, delay): (Arc<()>, Duration),
    ) -> Result<Self, Error> {
        let state = match delay {
            Duration::ZERO => State::Connecting(endpoint.connect(config, remote)?),
            _ => State::Waiting { until: Timer::after(delay), endpoint: endpoint.clone(), config, remote },
        };
        Ok(Self { state, _turn: turn })
    }
}

impl Future for Dial {
    type Output = Result<(PeerId, Connection), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Waiting { until, endpoint, config, remote } = &mut self.state {
            ready!(Pin::new(until).poll(cx));
            let connecting = endpoint.connect(config.clone(), *remote)?;
            self.state = State::Connecting(connecting);
        }
        match &mut self.state {
            State::Connecting(connecting) => Pin::new(connecting).poll(cx),
            State::Waiting { .. } => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_a_peer_waits_for_those_that_are_being_tried() {
        let (one, other) = (PeerId::random(), PeerId::random());
        let mut turns = Turns::default();
        let (first, delay) = turns.next(Some(one));
        assert_eq!(delay, Duration::ZERO);
        let (second, delay) = turns.next(Some(one));
        assert_eq!(delay, HEAD_START);
        drop(first);
        let (third, delay) = turns.next(Some(one));
        assert_eq!(delay, HEAD_START, "the second alone is being tried");
        drop((second, third));
        let (again, delay) = turns.next(Some(one));
        assert_eq!(delay, Duration::ZERO);
        let (_other, delay) = turns.next(Some(other));
        assert_eq!(delay, Duration::ZERO);
        let nobody = [turns.next(None), turns.next(None)];
        assert!(nobody.iter().all(|(_, delay)| delay.is_zero()));
        drop(again);
    }
}
