//! The door: what becomes of a connection between its handshake, which proves who the peer is, and the swarm, which speaks
//! the first protocol.

use std::sync::{Arc, Mutex, MutexGuard};

use libp2p::{PeerId, core::ConnectedPoint};
use smol::channel::{Receiver, Sender, TrySendError};

use super::{closing, identity, quic};
use crate::{
    limits,
    peers::{Admission, Event, Why},
};

/// Shared by the transport, which asks it about each connection, and the network task.
pub(super) struct Door {
    state: Mutex<State>,
    turned_away: Sender<Event>,
}

struct State {
    admission: Arc<Admission>,
    /// Let in, and not claimed yet by who learns of them from the swarm.
    admitted: Vec<Admitted>,
}

struct Admitted {
    peer: PeerId,
    point: ConnectedPoint,
    connection: quic::Watched,
}

impl Door {
    /// A door that lets in whom this admits, and where those show up whom it was closed to ([`Event::TurnedAway`]; who comes while
    /// too many wait is not told of).
    pub(super) fn new(admission: Arc<Admission>) -> (Self, Receiver<Event>) {
        let (turned_away, receiver) = smol::channel::bounded(limits::network::TURNED_AWAY);
        let state = State { admission, admitted: Vec::new() };
        (Self { state: Mutex::new(state), turned_away }, receiver)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Lets in from now on whom this admits.
    pub(super) fn set(&self, admission: Arc<Admission>) {
        self.lock().admission = admission;
    }

    /// Lets a connection in, or closes it.
    ///
    /// # Errors
    /// When it was closed.
    pub(super) fn enter(
        &self,
        peer: PeerId,
        connection: &quic::Connection,
        point: &ConnectedPoint,
    ) -> Result<(), quic::Error> {
        let connection = connection.watch();
        self.check(peer, &connection, point)?;
        let mut state = self.lock();
        // Those that the swarm did not take are closed by now; so may be some that it is just about to tell of.
        if state.admitted.len() >= limits::network::ADMITTED {
            state.admitted.retain(|admitted| !admitted.connection.is_gone());
        }
        state.admitted.push(Admitted { peer, point: point.clone(), connection });
        Ok(())
    }

    /// Closes a connection with a peer that may not connect (any more).
    ///
    /// # Errors
    /// When it was closed.
    pub(super) fn check(
        &self,
        peer: PeerId,
        connection: &quic::Watched,
        point: &ConnectedPoint,
    ) -> Result<(), quic::Error> {
        let node = identity::node_id(&peer);
        let verdict = node.map_or(Err(Why::NotAllowed), |node| self.lock().admission.check(&node));
        let Err(why) = verdict else { return Ok(()) };
        let code = closing::code(why);
        connection.close(code, &why.to_string());
        if let Some(node) = node {
            let address = closing::without_peer(point.get_remote_address().clone()).to_string();
            if let Err(TrySendError::Full(_)) = self.turned_away.try_send(Event::TurnedAway { node, address, why }) {
                log::debug!("{node} was turned away: {why}");
            }
        }
        Err(quic::Error::ClosedHere(code))
    }

    /// The connection that the swarm tells of.
    pub(super) fn claim(&self, peer: &PeerId, point: &ConnectedPoint) -> Option<quic::Watched> {
        let mut state = self.lock();
        // Of several that are alike, which one it is can't be told, but one for each there is. One that has ended may be left of an
        // earlier dial, which the swarm did not take.
        let is_it = |admitted: &Admitted| admitted.peer == *peer && admitted.point == *point;
        let open = state.admitted.iter().position(|admitted| is_it(admitted) && !admitted.connection.is_gone());
        let at = open.or_else(|| state.admitted.iter().position(is_it))?;
        Some(state.admitted.remove(at).connection)
    }
}
