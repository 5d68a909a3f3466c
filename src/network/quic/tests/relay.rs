//! What comes in a peer's name without being its own.

use std::sync::atomic::AtomicBool;

use super::*;

/// Between a dialling and a listening node: passes datagrams on, and keeps those to the listener.
struct Relay {
    socket: Arc<Async<UdpSocket>>,
    listener: SocketAddr,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    passes: Arc<AtomicBool>,
    _task: smol::Task<()>,
}

impl Relay {
    fn new(listener: SocketAddr) -> Self {
        let socket = Arc::new(Async::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap());
        let (kept, passes) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
        let (through, keep, pass) = (socket.clone(), kept.clone(), passes.clone());
        let task = smol::spawn(async move {
            let (mut buffer, mut dialler) = ([0; 2000], None);
            loop {
                let Ok((length, from)) = through.recv_from(&mut buffer).await else { continue };
                let packet = &buffer[..length];
                if !pass.load(Relaxed) {
                    continue;
                }
                let to = if from == listener {
                    dialler
                } else {
                    dialler = Some(from);
                    keep.lock().unwrap().push(packet.to_vec());
                    Some(listener)
                };
                let _ = through.send_to(packet, to.unwrap()).await;
            }
        });
        Self { socket, listener, kept, passes, _task: task }
    }

    fn address(&self) -> Multiaddr {
        super::super::address::remote(self.socket.get_ref().local_addr().unwrap())
    }

    async fn send(&self, packets: &[Vec<u8>]) -> u64 {
        for packet in packets {
            self.socket.send_to(packet, self.listener).await.unwrap();
        }
        packets.iter().map(|packet| packet.len() as u64).sum()
    }
}

/// How the connection is once so much more has come in than before.
async fn after(connection: &Watched, received_bytes: u64) -> Sample {
    let grown = async {
        loop {
            let reading = read(connection).unwrap();
            if reading.received_bytes >= received_bytes {
                return reading;
            }
            Timer::after(Duration::from_millis(5)).await;
        }
    };
    soon(grown).await
}

#[test]
fn a_peer_is_heard_when_it_speaks_and_not_when_others_speak_in_its_name() {
    smol::block_on(async {
        let (a, mut b) = (Node::new(), Node::new());
        let (_, address) = b.listen(V4).await;
        let relay = Relay::new(super::super::address::parse(&address).unwrap().unwrap().0);
        let (_, mut dialled) = a.dial(&relay.address()).await.unwrap();
        let (_, mut accepted) = b.accept().await;
        stream(&mut dialled, &mut accepted).await;
        let seen = accepted.watch();

        // Far more often than the search for the path's MTU, which is heard as well, takes to end.
        for _ in 0..50 {
            let before = read(&seen).unwrap().heard;
            dialled.watch().probe();
            let heard = async {
                while read(&seen).unwrap().heard <= before {
                    Timer::after(Duration::from_millis(1)).await;
                }
            };
            soon(heard).await;
        }

        relay.passes.store(false, Relaxed);
        let short: Vec<_> = relay.kept.lock().unwrap().iter().filter(|packet| packet[0] & 0x80 == 0).cloned().collect();
        let (last, forged) = (short[short.len() - 20..].to_vec(), short.len() - 1);
        let forged: Vec<_> = std::iter::repeat_n(&short[forged], 20)
            .map(|packet| {
                let mut packet = packet.clone();
                *packet.last_mut().unwrap() ^= 1;
                packet
            })
            .collect();
        // What was passed on before is in when this is.
        let received = read(&seen).unwrap().received_bytes;
        let sent = relay.send(&last).await;
        let before = after(&seen, received + sent).await;
        let sent = relay.send(&last).await + relay.send(&forged).await;
        let after = after(&seen, before.received_bytes + sent).await;
        assert_eq!(after.heard, before.heard);
        assert!(after.sent_packets > 0 && after.rtt > Duration::ZERO && after.sent_bytes > 0, "{after:?}");
    });
}

#[test]
fn a_closed_connection_has_nothing_to_show() {
    smol::block_on(async {
        let (_a, mut dialled, _b, accepted) = pair(V4).await;
        let (here, there) = (dialled.watch(), accepted.watch());
        assert_eq!(here.cipher(), there.cipher());
        there.close(CloseCode::Full, "no room");
        assert_eq!(close_code(&lost(&mut dialled).await), Some(CloseCode::Full));
        assert!(read(&here).is_none() && read(&there).is_none() && here.is_gone() && there.is_gone());
        here.probe();
        drop((dialled, accepted));
        here.close(CloseCode::Done, "");
    });
}
