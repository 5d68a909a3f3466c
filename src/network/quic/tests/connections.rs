//! Connections: how they come about, end, and are seen.

use super::*;
use crate::network::tls::Cipher;

#[test]
fn another_peer_than_expected_is_refused() {
    smol::block_on(async {
        let (a, mut b) = (Node::new(), Node::new());
        let (_, address) = b.listen(V4).await;
        let stranger = Keypair::generate().as_libp2p().public().to_peer_id();
        let error = a.dial(&address.clone().with(Protocol::P2p(stranger))).await.err().unwrap().to_string();
        assert!(error.contains(&stranger.to_string()) && error.contains(&b.peer.to_string()), "{error}");
        a.dial(&address.with(Protocol::P2p(b.peer))).await.unwrap();
    });
}

#[test]
fn ciphers_meet_or_refuse() {
    use CipherPolicy::{Aes256, Auto, ChaCha20};
    smol::block_on(async {
        for (ours, theirs, works) in
            [(Auto, Aes256, true), (Auto, ChaCha20, true), (ChaCha20, Auto, true), (Aes256, ChaCha20, false)]
        {
            let (a, mut b) = (Node::with(|config| config.ciphers = ours), Node::with(|config| config.ciphers = theirs));
            let (_, address) = b.listen(V4).await;
            let dialled = a.dial(&address).await;
            assert_eq!(dialled.is_ok(), works, "{ours:?} {theirs:?}");
            let Ok((_, dialled)) = dialled else { continue };
            let cipher = if [ours, theirs].contains(&Aes256) { Cipher::Aes256 } else { Cipher::ChaCha20 };
            assert_eq!(dialled.watch().cipher(), Some(cipher), "{ours:?} {theirs:?}");
            assert_eq!(b.accept().await.1.watch().cipher(), Some(cipher), "{ours:?} {theirs:?}");
        }
    });
}

#[test]
fn closing_twice_is_closing_and_the_peer_hears_why() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, _theirs) = stream(&mut dialled, &mut accepted).await;
        accepted.close_with(CloseCode::Banned, "sent garbage");
        close(&mut accepted).await;
        close(&mut accepted).await;
        let error = lost(&mut dialled).await;
        assert_eq!(close_code(&error), Some(CloseCode::Banned));
        assert!(error.to_string().contains("sent garbage"), "{error}");
        // As libp2p's swarm would wrap it.
        assert_eq!(close_code(&std::io::Error::other(error)), Some(CloseCode::Banned));
        assert!(ours.write_all(b"too late").await.is_err());
        close(&mut dialled).await;
    });
}

#[test]
fn dropping_the_last_handle_closes() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        drop(dialled);
        // The stream is a handle too.
        ours.write_all(b"still here").await.unwrap();
        soon(theirs.read_exact(&mut [0; 10])).await.unwrap();
        drop(ours);
        assert_eq!(close_code(&lost(&mut accepted).await), Some(CloseCode::Done));
    });
}

#[test]
fn connections_outlive_their_listener_and_its_port_can_be_had_again() {
    smol::block_on(async {
        let (a, mut dialled, mut b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        let address = super::super::address::remote(dialled.remote());
        let mut listeners = b.transport.lock().unwrap().listener_ids();
        let id = listeners.pop().unwrap();
        assert!(b.transport.lock().unwrap().remove_listener(id));
        assert!(!b.transport.lock().unwrap().remove_listener(id));
        assert!(matches!(soon(b.events.next()).await, Some(TransportEvent::AddressExpired { .. })));
        assert!(matches!(soon(b.events.next()).await, Some(TransportEvent::ListenerClosed { .. })));
        let error = a.dial(&address).await.err().unwrap();
        assert!(error.to_string().contains("refused"), "{error}");
        ours.write_all(b"well").await.unwrap();
        soon(theirs.read_exact(&mut [0; 4])).await.unwrap();
        assert_eq!(b.listen(&address.to_string()).await.1, address);
        a.dial(&address).await.unwrap();
    });
}

#[test]
fn shutting_down_tells_all() {
    smol::block_on(async {
        let (_a, mut dialled, b, _accepted) = pair(V4).await;
        let control = b.transport.lock().unwrap().control();
        control.close_all(CloseCode::Stopping, "", SOON).await;
        assert_eq!(close_code(&lost(&mut dialled).await), Some(CloseCode::Stopping));
    });
}

#[test]
fn one_peer_is_shown_the_door() {
    smol::block_on(async {
        let (a, mut dialled, b, _accepted) = pair(V4).await;
        let (_peer, mut other) = {
            let other = Node::new();
            let (peer, connection) = other.dial(&super::super::address::remote(dialled.remote())).await.unwrap();
            (peer, connection)
        };
        let control = b.transport.lock().unwrap().control();
        control.close_peer(&a.peer, CloseCode::Full, "no room");
        assert_eq!(close_code(&lost(&mut dialled).await), Some(CloseCode::Full));
        open(&mut other).await;
    });
}
