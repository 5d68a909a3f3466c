//! How connections are seen.

use super::*;
use crate::peers::{Command, Ended, Event, Sample, Speaks, Why};

fn observed(event: NetworkEvent) -> Option<Vec<Sample>> {
    if let NetworkEvent::Peer(Event::Observed { samples }) = event { Some(samples) } else { None }
}

#[test]
fn a_probe_makes_both_ends_hear_each_other() {
    smol::block_on(async {
        let Pair { mut one, mut two, id_one, id_two, address } = Pair::start(options(V4), options(V4)).await;
        let of = |node| Command::Observe { nodes: vec![node] };
        one.network.command(of(id_two)).await;
        assert_eq!(wait_for(&mut one, observed).await, [], "nobody is connected");
        let (here, there) = connect(&mut one, &mut two, id_two, &address).await;
        let mut last = None::<(Sample, Sample)>;
        // More often than a new connection says something by itself.
        for _ in 0..50 {
            let probed = crate::clock::now();
            loop {
                one.network.command(Command::Probe { nodes: vec![id_two] }).await;
                one.network.command(of(id_two)).await;
                two.network.command(of(id_one)).await;
                let samples = (wait_for(&mut one, observed).await, wait_for(&mut two, observed).await);
                let ([ours], [theirs]) = (&samples.0[..], &samples.1[..]) else { panic!("{samples:?}") };
                assert_eq!((ours.node, ours.connection), (id_two, here));
                assert_eq!((theirs.node, theirs.connection), (id_one, there));
                if ours.heard > probed && theirs.heard > probed {
                    last = Some((ours.clone(), theirs.clone()));
                    break;
                }
                smol::Timer::after(Duration::from_millis(1)).await;
            }
        }
        let (ours, theirs) = last.unwrap();
        assert!(ours.sent_packets >= 50 && theirs.received_bytes > 0 && ours.rtt > Duration::ZERO, "{ours:?}");
    });
}

#[test]
fn the_cipher_and_what_identify_says_are_told() {
    smol::block_on(async {
        let forced = [
            (CipherPolicy::Aes256, "TLS13_AES_256_GCM_SHA384"),
            (CipherPolicy::ChaCha20, "TLS13_CHACHA20_POLY1305_SHA256"),
        ];
        for (policy, suite) in forced {
            let Pair { mut one, mut two, id_two, address, .. } =
                Pair::start(options(V4), Options { ciphers: policy, ..options(V4) }).await;
            dial_until_connected(&mut one, id_two, &address).await;
            let cipher = |event| match event {
                NetworkEvent::Peer(Event::Connected { cipher, .. }) => Some(cipher),
                _ => None,
            };
            assert_eq!(wait_for(&mut two, cipher).await, suite);
            let identified = wait_for(&mut one, |event| match event {
                NetworkEvent::Peer(Event::Identified { node, agent, speaks, addresses }) => {
                    Some((node, agent, speaks, addresses))
                }
                _ => None,
            });
            let (node, agent, speaks, addresses) = identified.await;
            assert_eq!((node, speaks, addresses), (id_two, Speaks::Ours, vec![address]));
            assert!(agent.starts_with("allibrary/"), "{agent}");
        }
    });
}

#[test]
fn one_connection_of_a_peer_is_closed_with_its_reason() {
    smol::block_on(async {
        let Pair { mut one, mut two, id_one, id_two, address } = Pair::start(options(V4), options(V4)).await;
        let told = [(Why::Surplus, Why::Done), (Why::Version, Why::Version), (Why::Unresponsive, Why::Done)];
        for (why, heard) in told {
            let (_, there) = connect(&mut one, &mut two, id_two, &address).await;
            two.network.command(Command::Close { node: id_one, connection: there + 100, why: Why::Banned }).await;
            two.network.command(Command::Close { node: id_one, connection: there, why }).await;
            let ended = |event| match event {
                NetworkEvent::Peer(Event::Disconnected { ended, .. }) => Some(ended),
                _ => None,
            };
            assert_eq!(wait_for(&mut one, ended).await, Ended::There(heard));
            assert_eq!(wait_for(&mut two, ended).await, Ended::Here(why));
        }
    });
}
