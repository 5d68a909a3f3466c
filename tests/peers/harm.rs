//! Peers that do harm.

use std::{
    fs, io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use allibrary::{
    content::{ContentId, NodeId},
    library::{self, AddRequest, Library},
    limits::{network::SERVED_STREAMS_PER_PEER, transfer::PACE_MS, wire::PIPELINED_REQUESTS},
    network::{Network, Options, Started, Stream, identity::Keypair, tls::CipherPolicy},
    peers::Admission,
    status::PeerState,
    store::{self, Store},
    transfer::{self, Uploads},
    wire::{blob, catalogue, read_frame, write_frame},
};
use futures::{
    AsyncReadExt, AsyncWriteExt, StreamExt,
    future::{join_all, join3},
};
use smol::net::unix::UnixStream;

use super::{
    hold_for,
    support::{
        netns::Host,
        node::{Nodes, Place},
        rot::content,
    },
    wait_until,
};

/// Takes part in the network from this host on, as itself.
fn join_network(host: &Host, keypair: Keypair, address: &str) -> Started {
    let options = Options {
        keypair,
        listen: vec![address.into()],
        listen_explicit: true,
        mdns: false,
        services: Vec::new(),
        gossip: false,
        ciphers: CipherPolicy::Auto,
        admission: Arc::new(Admission::everybody()),
    };
    host.thread(|| Network::start(options)).join().unwrap().unwrap()
}

/// A node that is as it should be, but for the content that it sends.
struct Liar {
    library: Arc<Library>,
    /// So many pieces are still to be sent wrong.
    lies: Arc<AtomicUsize>,
    _network: Network,
}

impl Liar {
    /// On a host, with the data folder of a place at which nothing runs.
    fn start(host: &Host, place: &Place, address: &str) -> Self {
        let data = place.folder.join("node");
        let keypair = Keypair::load(&data.join("identity.key")).unwrap().expect("it was made");
        let store = Arc::new(Store::open(&data, store::Options::default()).unwrap());
        let key = ed25519_dalek::SigningKey::from_bytes(&keypair.secret_bytes());
        let library = Arc::new(Library::open(store, &data, key).unwrap());
        let started = join_network(host, keypair, address);
        let lies = Arc::new(AtomicUsize::new(0));
        let (here, lying) = (library.clone(), lies.clone());
        smol::spawn(async move {
            while let Ok(incoming) = started.incoming.recv().await {
                let (library, lies) = (here.clone(), lying.clone());
                smol::spawn(async move {
                    // It ends with the connection, in one way or another.
                    match incoming.protocol {
                        catalogue::PROTOCOL => drop(library::serve(incoming.stream, library).await),
                        blob::PROTOCOL => drop(serve_wrong(incoming.stream, library.store().clone(), &lies).await),
                        _ => {}
                    }
                })
                .detach();
            }
        })
        .detach();
        smol::spawn(started.events.for_each(|_| async {})).detach();
        Self { library, lies, _network: started.network }
    }

    fn share(&self, folder: &std::path::Path) {
        let request = AddRequest { paths: vec![folder.to_owned()], ..AddRequest::default() };
        self.library.add(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    }
}

/// Serves what the store has; of some pieces a bit is turned on the way.
async fn serve_wrong(stream: Stream, store: Arc<Store>, lies: &AtomicUsize) -> io::Result<()> {
    let (near, far) = UnixStream::pair()?;
    let uploads = Uploads::new(8);
    let (mut asked, mut answer) = stream.split();
    let (mut answered, mut ask) = near.split();
    let asking = async {
        let _ = smol::io::copy(&mut asked, &mut ask).await;
        ask.close().await
    };
    let answering = async {
        while let Ok(Some(mut frame)) = read_frame(&mut answered, blob::Reply::MAX_BYTES).await {
            // All that is long is content.
            if frame.body.len() > 1024 && lies.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                *frame.body.last_mut().expect("it is long") ^= 1;
            }
            write_frame(&mut answer, frame.kind, &frame.body).await?;
            answer.flush().await?;
        }
        answer.close().await
    };
    let (_, asked, answered) = join3(transfer::serve(far, store, &uploads), asking, answering).await;
    asked.and(answered)
}

#[test]
fn who_sends_corrupt_content_comes_last_then_is_banned_for_a_while() {
    let nodes = Nodes::new(2);
    let (host, liar_place) = (&nodes.lan.hosts[0], nodes.place(0));
    let (liar_id, address) = (liar_place.id(), format!("/ip4/{}/udp/4720/quic-v1", host.ip));
    let books = ["First", "Second"].map(|name| {
        let folder = nodes.folder(name);
        fs::write(folder.join("book.pdf"), content(1 << 20, name.len() as u8)).unwrap();
        folder
    });
    let liar = Liar::start(host, &liar_place, &address);
    liar.lies.store(1, Relaxed);
    liar.share(&books[0]);

    let place = nodes.place(1).with("ALLIBRARY_NETWORK_MDNS", "false");
    let bootstrap = format!("{liar_id}@{address}");
    let start = || place.start(&["--mirror", "--bootstrap", &bootstrap]);
    let mut mirror = start();
    // One wrong piece costs it its standing, and nobody the book.
    mirror.wait_for_peer(&liar_id, "being thought less of", |peer| peer.reputation <= -20);
    mirror.wait_for_blobs(1);
    let peer = mirror.wait_for_peer(&liar_id, "being connected", |peer| peer.state == PeerState::Connected);
    assert!(peer.reputation <= -20 && peer.banned_for_s.is_none(), "{peer:?}");
    assert!(mirror.log().contains(&format!("{liar_id} comes last from now on: Corrupt")), "{}", mirror.log());

    // One that goes on is banned.
    liar.lies.store(usize::MAX, Relaxed);
    liar.share(&books[1]);
    let is_banned = |peer: &allibrary::status::PeerStatus| {
        peer.state != PeerState::Connected && peer.banned_for_s.is_some_and(|left_s| (500..=600).contains(&left_s))
    };
    mirror.wait_for_peer(&liar_id, "being banned", is_banned);
    assert_eq!(mirror.status().unwrap()["store"]["blobs"], 1, "nothing wrong was kept");
    // A power cut does not forgive.
    wait_until("the ban being written down", || place.folder.join("node/peers.cache").exists());
    mirror.kill();
    let mut mirror = start();
    mirror.wait_for_peer(&liar_id, "being banned still", is_banned);
    hold_for(Duration::from_secs(3), "the ban", || mirror.connected().is_empty());

    // A person may forgive.
    liar.lies.store(0, Relaxed);
    place.ok(&["peers", "pardon", &liar_id]);
    mirror.wait_for_blobs(2);
    mirror.wait_for_peer(&liar_id, "being forgiven", |peer| peer.banned_for_s.is_none() && peer.reputation >= 0);
}

/// Asks for all of a blob, over and over, on as many streams as it gets. Of every second one it takes nothing at all, of the
/// others a few bytes now and then. It ends when all streams are at their end.
async fn gorge(network: Started, from: NodeId, id: ContentId, bytes: u64) {
    let range = blob::Range { start: 0, len: bytes };
    let ask = blob::Request::Get(blob::Get { id, ranges: [range].into_iter().collect() }).to_frame();
    let mut streams = Vec::new();
    for number in 0..2 * SERVED_STREAMS_PER_PEER {
        // Some are refused.
        let Ok(mut stream) = network.connector.open(from, blob::PROTOCOL).await else { continue };
        for _ in 0..PIPELINED_REQUESTS {
            let _ = write_frame(&mut stream, ask.kind, &ask.body).await;
        }
        let _ = stream.flush().await;
        streams.push(async move {
            let (mut drop, pause) = ([0; 512], Duration::from_millis(250));
            while number % 2 == 0 || matches!(stream.read(&mut drop).await, Ok(1..)) {
                smol::Timer::after(pause).await;
            }
        });
    }
    let ignore = smol::future::or(network.events.for_each(|_| async {}), async {
        while network.incoming.recv().await.is_ok() {}
    });
    smol::future::or(ignore, async { drop(join_all(streams).await) }).await;
}

#[test]
fn who_asks_for_everything_and_takes_next_to_nothing_costs_little_and_others_are_served() {
    const FILM_BYTES: usize = 32 << 20;
    /// What it may cost: its slots, each with three frames, and what its connection holds.
    const COSTS_KIB: u64 = 8 << 10;
    let nodes = Nodes::new(3);
    let (host, place) = (&nodes.lan.hosts[1], nodes.place(1));
    let (greedy, address) = (place.id(), format!("/ip4/{}/udp/4720/quic-v1", host.ip));
    let (films, film) = (nodes.folder("Films"), content(FILM_BYTES, 1));
    fs::write(films.join("film.webm"), &film).unwrap();
    nodes.place(0).ok(&["add", films.to_str().unwrap()]);
    let keypair = Keypair::load(&place.folder.join("node/identity.key")).unwrap().expect("it was made");
    let network = join_network(host, keypair, &address);

    let mut publisher = nodes.place(0).start(&["--bootstrap", &format!("{greedy}@{address}")]);
    publisher.wait_for_peer(&greedy, "being connected", |peer| peer.state == PeerState::Connected);
    let before = publisher.memory_kib("VmHWM");
    let from = nodes.place(0).id().parse().unwrap();
    let gorging = smol::spawn(gorge(network, from, ContentId::of(&film), FILM_BYTES as u64));
    let sending = |status: &serde_json::Value| status["traffic"]["sending"].as_u64();
    // Of streams that are opened at once some may be refused.
    publisher.wait_for("its slots", |status| sending(status) >= Some(1));
    // Others are served as ever.
    let mut mirror = nodes.place(2).start(&["--mirror"]);
    mirror.wait_for_blobs(1);
    assert!(fs::read(mirror.library().join("Films/film.webm")).unwrap() == film);
    // A stream that is given up leaves the connection's window to the next, which is given up 30 s later.
    let patience = Duration::from_millis(PACE_MS) * (SERVED_STREAMS_PER_PEER as u32 + 1);
    publisher.wait_within(patience, "its loss of them", |status| sending(status) == Some(0));
    let peak = publisher.memory_kib("VmHWM");
    println!("{before} KiB before, {peak} KiB at most");
    assert!(peak < before + COSTS_KIB, "it cost {} KiB", peak - before);
    drop(gorging);
}
