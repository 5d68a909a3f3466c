//! Where the life of a peer stands, and which turns it may take.

use std::{
    fmt,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::status::PeerState;

/// Where the life of a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A connection is open, and the peer answers.
    Connected,
    /// None is; one is being made, or will be.
    Disconnected,
    /// Given up for now.
    Failed {
        /// The peer refused this node, or somebody else answers in its place: trying again soon would change nothing. Else it
        /// did not answer, or had no room.
        permanent: bool,
    },
}

impl State {
    /// Given up, because it could not be reached.
    pub const UNREACHABLE: Self = Self::Failed { permanent: false };
    /// Given up, because it does not want this node.
    pub const REFUSED: Self = Self::Failed { permanent: true };

    /// Whether a peer may go from this state to that one.
    ///
    /// A refusal is the last word until the peer is connected, or there is a reason to begin anew: that it can't be reached
    /// either makes nothing better.
    fn may_become(self, to: Self) -> bool {
        match (self, to) {
            (Self::Connected, Self::Disconnected | Self::Failed { .. })
            | (Self::Disconnected, Self::Connected | Self::Failed { .. })
            | (Self::Failed { .. }, Self::Connected | Self::Disconnected) => true,
            (Self::Failed { permanent: was }, Self::Failed { permanent: is }) => !was && is,
            (Self::Connected, Self::Connected) | (Self::Disconnected, Self::Disconnected) => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Failed { permanent: false } => "failed for now",
            Self::Failed { permanent: true } => "failed",
        })
    }
}

impl From<State> for PeerState {
    fn from(state: State) -> Self {
        match state {
            State::Connected => Self::Connected,
            State::Disconnected => Self::Disconnected,
            State::Failed { .. } => Self::Failed,
        }
    }
}

/// A turn that no life takes. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a peer that is {from} cannot become {to}")]
pub struct Illegal {
    from: State,
    to: State,
}

/// A turn that was taken: what to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (was {}): {}", self.to, self.from, self.reason)
    }
}

/// The state of one peer, and since when it holds.
#[derive(Debug, Clone)]
pub struct Life {
    state: State,
    since: Instant,
}

impl Life {
    /// Every life begins disconnected.
    pub fn new(now: Instant) -> Self {
        Self { state: State::Disconnected, since: now }
    }

    /// As it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// How long it has been so.
    pub fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// When there is no such turn.
    pub fn change(&mut self, now: Instant, to: State, reason: impl Into<String>) -> Result<Change, Illegal> {
        let from = self.state;
        if !from.may_become(to) {
            return Err(Illegal { from, to });
        }
        (self.state, self.since) = (to, now);
        Ok(Change { from, to, reason: reason.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 4] = [State::Connected, State::Disconnected, State::UNREACHABLE, State::REFUSED];

    #[test]
    fn each_of_all_turns_is_legal_or_refused() {
        use State::{Connected, Disconnected};
        const UNREACHABLE: State = State::UNREACHABLE;
        const REFUSED: State = State::REFUSED;
        let legal = [
            (Connected, Disconnected),
            (Connected, UNREACHABLE),
            (Connected, REFUSED),
            (Disconnected, Connected),
            (Disconnected, UNREACHABLE),
            (Disconnected, REFUSED),
            (UNREACHABLE, Connected),
            (UNREACHABLE, Disconnected),
            (UNREACHABLE, REFUSED),
            (REFUSED, Connected),
            (REFUSED, Disconnected),
        ];
        let (start, later) = (crate::clock::now(), crate::clock::now() + Duration::from_secs(1));
        for (from, to) in ALL.iter().flat_map(|from| ALL.map(|to| (*from, to))) {
            let mut life = Life { state: from, since: start };
            let turn = life.change(later, to, "a reason");
            if legal.contains(&(from, to)) {
                assert_eq!(turn, Ok(Change { from, to, reason: "a reason".into() }));
                assert_eq!((life.state(), life.lasts(later)), (to, Duration::ZERO));
            } else {
                assert_eq!(turn, Err(Illegal { from, to }));
                assert_eq!((life.state(), life.lasts(later)), (from, later - start), "nothing has changed");
            }
        }
    }

    #[test]
    fn a_turn_reads_well() {
        let mut life = Life::new(crate::clock::now());
        let change = life.change(life.since, State::UNREACHABLE, "nobody there").unwrap();
        assert_eq!(change.to_string(), "failed for now (was disconnected): nobody there");
        let illegal = life.change(life.since, State::UNREACHABLE, "").unwrap_err();
        assert_eq!(illegal.to_string(), "a peer that is failed for now cannot become failed for now");
        assert_eq!(ALL.map(PeerState::from)[2..], [PeerState::Failed; 2]);
    }
}
