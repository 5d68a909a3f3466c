//! What peers cost, and how soon they notice: `make bench-peers`, as root, on an otherwise idle machine, ten minutes.
//!
//! Real nodes, each on a host of its own in a network namespace, the program as it is released. Times are printed; memory and
//! bytes are asserted.

mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use allibrary::{
    clock::now,
    network::{self, Network, NetworkEvent, Started, identity::Keypair, tls::CipherPolicy},
    peers::{self, Admission, Command},
    wire,
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use shared::{Machine, cpu_time, hold, median_and_worst, row};
use support::{
    netns::Lan,
    node::{Node, Nodes, Place},
};

fn main() {
    shared::run(&[
        ("handshake", &handshake),
        ("stranger", &stranger),
        ("message", &message_overhead),
        ("discovery", &discovery),
        ("clean-stop", &clean_stop),
        ("silent-death", &silent_deaths),
        ("reconnect", &reconnect),
        ("idle", &idle),
        ("many", &many),
    ]);
}

/// From the decision to dial to a peer that has proved who it is, on loopback.
fn handshake() {
    let rounds = (0..51).map(|_| smol::block_on(async { Pair::connected().await.took })).collect();
    row("connection set-up on loopback, median and worst of 51", median_and_worst(rounds), "≤ 50 ms");
}

/// From the decision to dial to being told to go, by a node that admits nobody.
fn stranger() {
    let rounds = (0..21).map(|_| smol::block_on(refused())).collect();
    row("a stranger is disconnected, median and worst of 21", median_and_worst(rounds), "≤ 1000 ms");
}

async fn refused() -> Duration {
    let mut pair = Pair::listening().await;
    pair.two.network.command(Command::Admit(Arc::new(Admission::default()))).await;
    let begin = now();
    pair.dial().await;
    loop {
        match pair.one.events.next().await {
            Some(NetworkEvent::Peer(peers::Event::DialFailed { .. } | peers::Event::Disconnected { .. })) => {
                return begin.elapsed();
            }
            Some(_) => {}
            None => panic!("the network ended"),
        }
    }
}

/// A message of 1 KiB there and back, next to a bare datagram of that size on the same loopback.
fn message_overhead() {
    const MESSAGES: usize = 500;
    const BYTES: usize = 1024;
    let ours = smol::block_on(async {
        let pair = Pair::connected().await;
        let echo = smol::spawn(async move {
            let mut incoming = pair.two.incoming.recv().await.expect("a stream is opened");
            let mut message = [0; BYTES];
            while incoming.stream.read_exact(&mut message).await.is_ok() {
                incoming.stream.write_all(&message).await.expect("the other end is there");
                incoming.stream.flush().await.expect("the other end is there");
            }
            (pair.two.network, pair.two.events)
        });
        let mut stream = pair.one.connector.open(pair.node, wire::PROTOCOLS[0]).await.expect("it is connected");
        let mut rounds = Vec::new();
        for _ in 0..MESSAGES {
            let begin = now();
            let mut message = [7; BYTES];
            stream.write_all(&message).await.expect("the other end is there");
            stream.flush().await.expect("the other end is there");
            stream.read_exact(&mut message).await.expect("the other end answers");
            rounds.push(begin.elapsed());
        }
        drop(echo);
        rounds
    });
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [one, two] = &sockets;
    one.connect(two.local_addr().unwrap()).unwrap();
    two.connect(one.local_addr().unwrap()).unwrap();
    let bare = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..MESSAGES {
                let mut message = [0; BYTES];
                two.recv(&mut message).unwrap();
                two.send(&message).unwrap();
            }
        });
        let mut message = [7; BYTES];
        let exchange = |_| {
            let begin = now();
            one.send(&message).unwrap();
            one.recv(&mut message).unwrap();
            begin.elapsed()
        };
        (0..MESSAGES).map(exchange).collect()
    });
    let measured = format!("{} (bare UDP {})", median_and_worst(ours), median_and_worst(bare));
    row("a message of 1 KiB there and back, median and worst of 500", measured, "< 10 ms more than bare");
}

/// Two networks in this process, and nothing above them.
struct Pair {
    one: Started,
    two: Started,
    /// The second one.
    node: allibrary::content::NodeId,
    addresses: Vec<String>,
    took: Duration,
}

impl Pair {
    async fn listening() -> Self {
        let other = Keypair::generate();
        let node = other.node_id();
        let (one, mut two) = (start_network(Keypair::generate()), start_network(other));
        let addresses = loop {
            if let Some(NetworkEvent::Listening { addresses, .. }) = two.events.next().await {
                break addresses;
            }
        };
        for network in [&one.network, &two.network] {
            network.command(Command::Admit(Arc::new(Admission::everybody()))).await;
        }
        Self { one, two, node, addresses, took: Duration::ZERO }
    }

    async fn dial(&self) {
        self.one.network.command(Command::Dial { node: self.node, addresses: self.addresses.clone() }).await;
    }

    async fn connected() -> Self {
        let mut pair = Self::listening().await;
        let begin = now();
        pair.dial().await;
        loop {
            if let Some(NetworkEvent::Peer(peers::Event::Connected { .. })) = pair.one.events.next().await {
                pair.took = begin.elapsed();
                return pair;
            }
        }
    }
}

fn start_network(keypair: Keypair) -> Started {
    let options = network::Options {
        keypair,
        listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".into()],
        listen_explicit: true,
        mdns: false,
        services: Vec::new(),
        gossip: false,
        ciphers: CipherPolicy::Auto,
        admission: Arc::new(Admission::everybody()),
    };
    Network::start(options).unwrap()
}

/// How soon a node that starts on a quiet LAN is connected with the one that runs there.
fn discovery() {
    let folder = shared::folder();
    let lan = Lan::new(2);
    let rounds = (0..11).map(|round| {
        let place = |host: usize| Place::on(&lan.hosts[host], folder.path().join(format!("{round}-{host}")));
        let _first = place(0).start(&[]);
        let begin = now();
        let mut second = place(1).start(&[]);
        second.wait_for_peers(1);
        begin.elapsed()
    });
    row(
        "from the start of the program to the first peer (mDNS, handshake), median and worst of 11",
        median_and_worst(rounds.collect()),
        "≤ 250 ms",
    );
}

/// How soon a peer knows that a node was stopped as it should be.
fn clean_stop() {
    let nodes = Nodes::new(2);
    let mut watcher = nodes.place(0).start(&[]);
    let rounds = (0..11).map(|_| {
        let node = nodes.place(1).start(&[]);
        watcher.wait_for_peers(1);
        let begin = now();
        node.terminate();
        wait(|| watcher.connected().is_empty()) - begin
    });
    row("a peer that stops properly is missed, median and worst of 11", median_and_worst(rounds.collect()), "≤ 2 s");
}

/// How soon a peer is missed that says nothing any more: half are paused, half lose their cable.
fn silent_deaths() {
    const DEATHS: usize = 20;
    let nodes = Nodes::new(DEATHS as u16 + 1);
    let (watcher, others, ids) = star(&nodes);
    let mut died: Vec<Instant> = Vec::new();
    let mut noticed: Vec<Option<Duration>> = vec![None; DEATHS];
    let begin = now();
    wait(|| {
        // One after the other, at any moment of their heartbeats.
        let next = died.len();
        if next < DEATHS && begin.elapsed() > next as u32 * Duration::from_millis(317) {
            if next.is_multiple_of(2) {
                others[next].pause();
            } else {
                nodes.lan.unplug(next + 1);
            }
            died.push(now());
        }
        let connected = watcher.connected();
        for (at, died) in died.iter().enumerate() {
            if noticed[at].is_none() && !connected.contains(&ids[at + 1]) {
                noticed[at] = Some(died.elapsed());
            }
        }
        noticed.iter().all(Option::is_some)
    });
    let rounds = noticed.into_iter().flatten().collect();
    row("a peer that died silently is missed, median and worst of 20", median_and_worst(rounds), "≤ 10 s");
}

/// How soon peers are connected again when the path between them is back.
fn reconnect() {
    const PAIRS: usize = 10;
    let folder = shared::folder();
    let lans: Vec<_> = (0..PAIRS).map(|_| Lan::new(2)).collect();
    let start = |pair: usize, host: usize| {
        Place::on(&lans[pair].hosts[host], folder.path().join(format!("{pair}-{host}"))).start(&[])
    };
    let pairs: Vec<_> = (0..PAIRS).map(|pair| [start(pair, 0), start(pair, 1)]).collect();
    let whole = |pair: usize| pairs[pair].iter().all(|node| node.connected().len() == 1);
    wait(|| (0..PAIRS).all(whole));
    lans.iter().for_each(|lan| lan.split(&[1]));
    wait(|| pairs.iter().flatten().all(|node| node.connected().is_empty()));
    let rounds = (0..PAIRS).map(|pair| {
        // The later ones have been away for longer.
        lans[pair].join();
        let begin = now();
        let took = wait(|| whole(pair)) - begin;
        thread::sleep(Duration::from_millis(700));
        took
    });
    row("connected again once the path is back, median and worst of 10", median_and_worst(rounds.collect()), "≤ 5 s");
}

/// A node with a hundred peers, and nothing to do.
fn idle() {
    const PEERS: usize = 100;
    const WINDOW: Duration = Duration::from_secs(60);
    let _neighbours = Neighbours::many();
    let nodes = Nodes::new(PEERS as u16 + 1);
    let (node, _others, _) = star(&nodes);
    // What is said once, after connecting, has been.
    thread::sleep(Duration::from_secs(20));
    let (bytes, cpu) = (nodes.lan.hosts[0].bytes(), cpu_time(node.pid()));
    thread::sleep(WINDOW);
    let cpu = cpu_time(node.pid()) - cpu;
    let after = nodes.lan.hosts[0].bytes();
    let connected = node.connected().len();
    hold(connected == PEERS, "all hundred are connected");
    let rss_mb = megabytes(&node);
    row("idle with 100 peers: memory", format!("{rss_mb:.1} MB"), "≤ 24 MB");
    hold(rss_mb <= 24.0, "the memory of a node with 100 peers");
    let percent = 100.0 * cpu.as_secs_f64() / WINDOW.as_secs_f64();
    row("idle with 100 peers: CPU", format!("{percent:.2} %"), "≤ 0.3 %");
    let per_peer =
        |direction: usize| (after[direction] - bytes[direction]) as f64 / WINDOW.as_secs_f64() / PEERS as f64;
    let both = per_peer(0) + per_peer(1);
    let measured = format!("{both:.1} B/s ({:.1} in, {:.1} out)", per_peer(0), per_peer(1));
    row("idle with 100 peers: bytes on the wire for each, heads of all layers and mDNS included", measured, "≤ 60 B/s");
    hold(both <= 60.0, "what a peer costs on the wire");
}

/// How long many nodes may take to find each other, on a machine that has a few cores for all of them.
const MANY_PATIENCE: Duration = Duration::from_secs(600);

/// Percent of the machine above which they are busy with each other: neither is the next started then, nor anybody asked.
const MANY_BUSY: f64 = 85.0;

/// The machine is watched for so long between the starts of two of them, and again while it is busy.
const MANY_GAP: Duration = Duration::from_millis(500);
/// The next is started all the same after so many looks.
const MANY_LOOKS: usize = 20;

/// A LAN of 300 nodes that find each other, or of as many as `PEERS_MANY` says.
fn many() {
    let _neighbours = Neighbours::many();
    let count: u16 = std::env::var("PEERS_MANY").map_or(300, |count| count.parse().unwrap());
    let nodes = Nodes::new(count);
    let ids: Vec<_> = (0..usize::from(count)).map(|host| nodes.place(host).id()).collect();
    let start = |host| {
        // All have a few cores together. Where all start at once, or sooner than they can greet each other, none of them
        // gets to the end of a handshake in time: each has its own board elsewhere.
        (0..MANY_LOOKS).find(|_| {
            let machine = Machine::watch();
            thread::sleep(MANY_GAP);
            machine.percent() < MANY_BUSY
        });
        nodes.place(host).spawn(&[])
    };
    let running: Vec<_> = (0..usize::from(count)).map(start).collect();
    let begin = now();
    let until = begin + MANY_PATIENCE;
    let mut whole = None;
    while whole.is_none() && now() < until {
        let machine = Machine::watch();
        thread::sleep(Duration::from_secs(5));
        // To ask everybody is work for all: not while they are busy with each other.
        if machine.percent() > MANY_BUSY {
            continue;
        }
        let settled = begin.elapsed();
        let links: Vec<_> = running.iter().map_while(|node| (now() < until).then(|| node.connected())).collect();
        whole = (links.len() == ids.len() && in_one_piece(&ids, &links)).then_some(settled);
    }
    let measured = whole.map_or("never".into(), |time| format!("{:.0} s", time.as_secs_f64()));
    row(&format!("{count} nodes: in one piece, after the start of the last"), measured, "–");
    hold(whole.is_some(), "many nodes find each other");
    if whole.is_none() {
        return;
    }
    // The shape settles.
    thread::sleep(Duration::from_secs(60));
    let (cpu, bytes) = (total_cpu(&running), nodes.lan.hosts[0].bytes());
    let window = Duration::from_secs(30);
    thread::sleep(window);
    let cpu = total_cpu(&running) - cpu;
    let after = nodes.lan.hosts[0].bytes();
    let links: Vec<_> = running.iter().map(Node::connected).collect();
    hold(in_one_piece(&ids, &links), "many nodes stay in one piece");
    let mut degrees: Vec<_> = links.iter().map(BTreeSet::len).collect();
    degrees.sort_unstable();
    let spread = |all: &[usize]| format!("{} / {} / {}", all[0], all[all.len() / 2], all[all.len() - 1]);
    row(&format!("{count} nodes: peers of each, least / median / most"), spread(&degrees), "≤ 128");
    let mut memory: Vec<_> = running.iter().map(|node| megabytes(node) as usize).collect();
    memory.sort_unstable();
    row(&format!("{count} nodes: memory of each in MB, least / median / most"), spread(&memory), "–");
    let each = 100.0 * cpu.as_secs_f64() / window.as_secs_f64() / f64::from(count);
    row(&format!("{count} nodes: CPU of each, idle"), format!("{each:.2} %"), "–");
    let rate = (after[0] - bytes[0] + after[1] - bytes[1]) as f64 / window.as_secs_f64();
    row(&format!("{count} nodes: all that one host hears and says"), format!("{rate:.0} B/s"), "–");
}

fn total_cpu(nodes: &[Node]) -> Duration {
    nodes.iter().map(|node| cpu_time(node.pid())).sum()
}

fn megabytes(node: &Node) -> f64 {
    node.memory_kib("VmRSS") as f64 * 1024.0 / 1e6
}

/// Whether everybody can be reached from the first over connections.
fn in_one_piece(ids: &[String], links: &[BTreeSet<String>]) -> bool {
    let mut reached = BTreeSet::from([&ids[0]]);
    let mut next = vec![0];
    while let Some(at) = next.pop() {
        for other in (0..ids.len()).filter(|other| links[at].contains(&ids[*other])) {
            if reached.insert(&ids[other]) {
                next.push(other);
            }
        }
    }
    reached.len() == ids.len()
}

/// A node on the first host, and one on each other that was told of it alone; their ids.
fn star(nodes: &Nodes) -> (Node<'_>, Vec<Node<'_>>, Vec<String>) {
    let quiet = |host: usize| nodes.place(host).with("ALLIBRARY_NETWORK_MDNS", "false");
    let listen = format!("/ip4/{}/udp/4720/quic-v1", nodes.lan.hosts[0].ip);
    let middle = quiet(0).start(&["--listen", &listen]);
    let bootstrap = format!("{}@{listen}", nodes.place(0).id());
    let hosts = nodes.lan.hosts.len();
    let others: Vec<_> = (1..hosts).map(|host| quiet(host).start(&["--bootstrap", &bootstrap])).collect();
    wait(|| middle.connected().len() == hosts - 1);
    (middle, others, (0..hosts).map(|host| nodes.place(host).id()).collect())
}

/// Looks often until it holds; when it did.
fn wait(mut holds: impl FnMut() -> bool) -> Instant {
    let until = now() + Duration::from_secs(120);
    while !holds() {
        assert!(now() < until, "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
    now()
}

/// Room for the neighbours of many hosts: the kernel has one table for all namespaces, of 1024 entries. As before when dropped.
struct Neighbours([(String, String); 6]);

impl Neighbours {
    fn many() -> Self {
        let files = [("ipv4", 1), ("ipv4", 2), ("ipv4", 3), ("ipv6", 1), ("ipv6", 2), ("ipv6", 3)];
        Self(files.map(|(family, number)| {
            let file = format!("/proc/sys/net/{family}/neigh/default/gc_thresh{number}");
            let before = fs::read_to_string(&file).expect("Linux has it");
            fs::write(&file, "262144").expect("root may");
            (file, before)
        }))
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for (file, before) in &self.0 {
            let _ = fs::write(file, before);
        }
    }
}
