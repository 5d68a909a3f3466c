//! How fast bytes get from node to node, and what they cost: `make bench-transfer`, as root, on an otherwise idle machine.
//!
//! Real nodes, each on a host of its own in a network namespace, the program as it is released. Times are shown as ratios, to
//! others in the same run, or to what the links can carry. What is asserted is memory, bytes, and how well links are used;
//! where the machine is as busy as it can be, that is the machine's figure. `TRANSFER_MIB` makes the film another size, to
//! try the benchmark itself.

#[path = "shared/first_byte.rs"]
mod first_byte;
#[path = "shared/mirrored.rs"]
mod mirrored;
#[path = "shared/others.rs"]
mod others;
mod shared;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{env, fs, mem, path::Path, thread, time::Duration};

use allibrary::clock::now;
use mirrored::{Bounds, Mirrored, ORDINARY, Took, mirror_against};
use others::{quinn_raw, rsync};
use shared::{Machine, aim, hold, noise, row};
use support::{
    netns::Lan,
    node::{Node, Nodes, Place},
    relay::{Relay, Weather},
};

const MIB: u64 = 1 << 20;

/// What the heads of packets add to what they carry.
const HEADS: f64 = 1.046;

fn main() {
    shared::run(&[
        ("large", &|| large_file(shared::folder().path())),
        ("small", &|| small_files(shared::folder().path())),
        ("documents", &|| documents(shared::folder().path())),
        ("swarm-lan", &|| Swarm::ORDINARY.measure("", 1.12, None)),
        ("swarm-loss", &|| Swarm { loss_percent: 1, ..Swarm::ORDINARY }.measure(", 1 % loss", 1.3, None)),
        ("swarm-delay", &|| Swarm { delay: DELAY, ..Swarm::ORDINARY }.measure(", 20 ms delay", 1.3, None)),
        ("swarm-many", &swarm_of_many),
        ("two-speeds", &two_speeds),
        ("source-dies", &source_dies),
        ("killed", &killed),
        ("far", &far),
        ("first-byte", &|| first_byte::first_byte(film_bytes(1024))),
    ]);
}

fn large_file(folder: &Path) {
    let books = folder.join("Films");
    fs::create_dir_all(&books).unwrap();
    let film = books.join("film.webm");
    noise(&film, 1024 * MIB);
    let lan = Lan::new(2);
    let (ours, raw) = mirror_against(&lan, folder, &books, 1, |_| quinn_raw(&lan, &film, &folder.join("copy")));
    let what = "1 GiB, one file, from start to last byte, against raw quinn + BLAKE3 + sync";
    ratio(what, ours.took.elapsed, raw.elapsed, 1.0);
    ratio("1 GiB: CPU of both sides, against the same", ours.took.cpu, raw.cpu, 1.1);
    row("1 GiB: CPU of both sides", format!("{:.1} s", ours.took.cpu.as_secs_f64()), "–");
    ours.report("1 GiB", &ORDINARY);
}

fn small_files(folder: &Path) {
    let books = folder.join("Pages");
    fs::create_dir_all(&books).unwrap();
    for number in 0..5000_u64 {
        let mut bytes = vec![0; 20 * 1024];
        fastrand::Rng::with_seed(number).fill(&mut bytes);
        fs::write(books.join(format!("{number}.bin")), bytes).unwrap();
    }
    let lan = Lan::new(2);
    let rsync = |round| rsync(&lan, folder, &books, &folder.join(format!("copy{round}")));
    let (ours, theirs) = mirror_against(&lan, folder, &books, 5000, rsync);
    ratio("5,000 × 20 KiB, from start to last byte, against rsync", ours.took.elapsed, theirs.elapsed, 1.5);
    seconds("5,000 × 20 KiB", &ours, theirs);
    ours.report("5,000 × 20 KiB", &ORDINARY);
}

/// 47,000 files of 1.2 GB in all, from 1 to 124 kB, as many of each size as of its double.
fn documents(folder: &Path) {
    const FILES: u64 = 47_000;
    let books = folder.join("Documents");
    let mut total = 0;
    for number in 0..FILES {
        let shelf = books.join((number / 500).to_string());
        fs::create_dir_all(&shelf).unwrap();
        let mut random = fastrand::Rng::with_seed(number);
        let mut bytes = vec![0; (1000.0 * 124_f64.powf(random.f64())) as usize];
        random.fill(&mut bytes);
        total += bytes.len();
        fs::write(shelf.join(format!("{number}.pdf")), bytes).unwrap();
    }
    let lan = Lan::new(2);
    let rsync = |round| rsync(&lan, folder, &books, &folder.join(format!("copy{round}")));
    let (ours, theirs) = mirror_against(&lan, folder, &books, FILES, rsync);
    let what = format!("47,000 documents, {:.1} GB", total as f64 / 1e9);
    ratio(&format!("{what}, from start to last byte, against rsync"), ours.took.elapsed, theirs.elapsed, 2.0);
    seconds(&what, &ours, theirs);
    // 40 MB; afterwards as with 50,000 pages.
    ours.report(&what, &Bounds { peak_kib: 40_000_000 / 1024, idle_kib: 30_000_000 / 1024 });
}

fn ratio(what: &str, ours: Duration, theirs: Duration, bound: f64) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    row(what, format!("{ratio:.2}x"), &aim(&format!("≤ {bound}x"), ratio <= bound));
}

/// What the ratio is made of, and what a slow disk has no part in.
fn seconds(what: &str, ours: &Mirrored, theirs: Took) {
    let both = |ours: Duration, theirs: Duration| format!("{:.1} / {:.1} s", ours.as_secs_f64(), theirs.as_secs_f64());
    row(&format!("{what}: time, ours / rsync's"), both(ours.took.elapsed, theirs.elapsed), "–");
    row(&format!("{what}: CPU of both sides, ours / rsync's"), both(ours.took.cpu, theirs.cpu), "–");
}

/// One way.
const DELAY: Duration = Duration::from_millis(20);

/// One node has a film, and others want it, all on links of one rate.
struct Swarm {
    receivers: u16,
    mbit: u64,
    mib: u64,
    loss_percent: u32,
    delay: Duration,
}

impl Swarm {
    const ORDINARY: Self = Self { receivers: 5, mbit: 100, mib: 256, loss_percent: 0, delay: Duration::ZERO };

    /// Holds the time to so many times the ideal, and what the seed sends to so many copies.
    fn measure(&self, weather: &str, most: f64, most_copies: Option<f64>) {
        let Self { receivers, mbit, loss_percent, .. } = *self;
        let site = Site::new(receivers + 1, self.delay);
        let (lan, hosts) = (&site.nodes.lan, usize::from(receivers) + 1);
        for host in 0..hosts {
            lan.narrow(host, &format!("{mbit}mbit"));
            lan.hosts[host].lose(loss_percent);
        }
        let bytes = site.publish(self.mib);
        let running: Vec<_> = (0..hosts).map(|host| site.place(host).start(&[])).collect();
        site.wait_for_all(&running);
        let ideal = ideal(bytes, mbit);
        let (before, machine) = (lan.hosts[0].bytes()[1], Machine::watch());
        let took = site.fetch(bytes, &running, &(1..hosts).collect::<Vec<_>>(), ideal, || ());
        let copies = (lan.hosts[0].bytes()[1] - before) as f64 / bytes as f64;
        let what = format!("{} MiB, 1 seed to {receivers} others, {mbit} Mbit/s links{weather}", bytes / MIB);
        let over = took.map(|took| took.as_secs_f64() / ideal.as_secs_f64());
        let measured = over.map_or_else(|| format!("more than {PATIENCE}x"), |over| format!("{over:.2}x"));
        row(
            &format!("{what}: time until all have it, over the ideal (how busy the machine was)"),
            format!("{measured} ({:.0} %)", machine.percent()),
            &format!("≤ {most}x"),
        );
        hold(over.is_some_and(|over| over <= most), "the time of a swarm");
        let bound = most_copies.map_or_else(|| "–".into(), |most| format!("≤ {most}"));
        row(&format!("{what}: copies that the seed sent"), format!("{copies:.2}"), &bound);
        hold(most_copies.is_none_or(|most| copies <= most), "what the seed of a swarm sends");
    }
}

/// 20 receivers, or as many as `TRANSFER_MANY` says, none for 0. At 20 Mbit/s each they keep two cores busy with ciphers and packets
/// (153 % of 200 %): slower links measure the plan, and not the processor.
fn swarm_of_many() {
    let receivers = env::var("TRANSFER_MANY").map_or(20, |count| count.parse().unwrap());
    if receivers > 0 {
        Swarm { receivers, mbit: 10, mib: 64, ..Swarm::ORDINARY }.measure("", 1.25, Some(1.3));
    }
}

/// Two have the film, one of them on a link that is ten times slower.
fn two_speeds() {
    const MBIT: [u64; 2] = [100, 10];
    let (bytes, took) = from_two(MBIT, None, false);
    let sum = MBIT.iter().sum();
    share("two sources, 100 and 10 Mbit/s: of the sum of their rates", ideal(bytes, sum), took, 0.95);
}

/// How much of the links was used.
fn share(what: &str, ideal: Duration, took: Option<Duration>, least: f64) {
    let share = took.map(|took| ideal.as_secs_f64() / took.as_secs_f64());
    let measured = share.map_or_else(|| "given up".into(), |share| format!("{share:.2}x"));
    row(what, measured, &format!("≥ {least}x"));
    hold(share.is_some_and(|share| share >= least), "the use of links");
}

/// One of two sources loses its cable in mid-transfer; the receiver's own link is what bounds it, with one and with two.
fn source_dies() {
    let [without, with] = [false, true].map(|dies| from_two([100, 100], Some(100), dies).1);
    let extra = without.zip(with).map(|(without, with)| with.as_secs_f64() - without.as_secs_f64());
    let measured = extra.map_or_else(|| "never ends".into(), |extra| format!("{extra:.1} s"));
    let bound = aim("≤ 2 s", extra.is_some_and(|extra| extra <= 2.0));
    row("one of two sources dies in mid-transfer: time that it costs", measured, &bound);
}

/// How long it takes to fetch the film from two sources with links of these rates. In the middle the cable may be pulled of the
/// one that has sent most.
fn from_two(sources: [u64; 2], receiver: Option<u64>, dies: bool) -> (u64, Option<Duration>) {
    let site = Site::new(3, Duration::ZERO);
    let bytes = site.publish(256);
    let first = site.place(0).start(&[]);
    let second = site.place(1).start(&["--mirror"]);
    wait(|| site.has_film(1, bytes));
    let running = [first, second, site.place(2).start(&[])];
    site.wait_for_all(&running);
    let lan = &site.nodes.lan;
    let links = sources.into_iter().enumerate().chain(receiver.map(|rate| (2, rate)));
    links.for_each(|(host, mbit)| lan.narrow(host, &format!("{mbit}mbit")));
    let sent = || [0, 1].map(|host| lan.hosts[host].bytes()[1]);
    let before = sent();
    let mut is_due = dies;
    let took = site.fetch(bytes, &running, &[2], ideal(bytes, sources[0]), || {
        if !is_due {
            return;
        }
        let [first, second] = sent();
        let [first, second] = [first - before[0], second - before[1]];
        if first + second > bytes / 2 {
            is_due = false;
            lan.unplug(usize::from(second > first));
        }
    });
    assert!(!is_due || took.is_none(), "it was over before the source could die");
    (bytes, took)
}

/// What is received again after a kill -9 in mid-transfer: of what had come and was verified. What else there is on the wire is
/// taken from a transfer that nobody kills.
fn killed() {
    let site = Site::new(3, Duration::ZERO);
    let bytes = site.publish(256);
    let lan = &site.nodes.lan;
    lan.without_ipv6();
    (1..3).for_each(|host| lan.narrow(host, "100mbit"));
    let _source = site.place(0).start(&[]);
    let patience = ideal(bytes, 100) * PATIENCE;
    let received = |host: usize| lan.hosts[host].bytes()[0];
    let begin = received(2);
    let undisturbed = site.place(2).start(&["--mirror"]);
    let whole = within(patience, || site.has_film(2, bytes));
    drop(undisturbed);
    let per_byte = (received(2) - begin) as f64 / bytes as f64;

    let victim = site.place(1).start(&["--mirror"]);
    let mut done = 0;
    let middle = within(patience, || {
        let status = victim.status();
        done = status.map_or(0, |status| status["transfers"][0]["bytes_done"].as_u64().unwrap_or(0));
        done > bytes / 2
    });
    victim.kill();
    assert!(whole.and(middle).is_some() && !site.has_film(1, bytes), "the middle of the transfer is found");
    // What was on its way comes to nobody.
    let mut at_death = received(1);
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = received(1);
        if mem::replace(&mut at_death, now) == now {
            break;
        }
    }
    let _again = site.place(1).start(&["--mirror"]);
    let all = within(patience, || site.has_film(1, bytes));
    let came = (received(1) - at_death) as f64 / per_byte;
    let again = (came - (bytes - done) as f64).max(0.0) / MIB as f64;
    row("kill -9 of the receiver in mid-transfer: received again", format!("{again:.2} MiB"), "≤ 1 MiB");
    hold(all.is_some() && again <= 1.0, "what a kill -9 costs");
}

/// 40 ms there and back.
fn far() {
    let site = Site::new(2, DELAY);
    let bytes = site.publish(256);
    site.nodes.lan.narrow(1, "200mbit");
    let running = [0, 1].map(|host| site.place(host).start(&[]));
    site.wait_for_all(&running);
    let ideal = ideal(bytes, 200);
    let took = site.fetch(bytes, &running, &[1], ideal, || ());
    share("40 ms there and back, one transfer: of 200 Mbit/s", ideal, took, 0.9);
}

/// How long a link of this rate takes for so many bytes.
fn ideal(bytes: u64, mbit: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 * 8.0 * HEADS / (mbit as f64 * 1e6))
}

/// So many times the ideal are waited for.
const PATIENCE: u32 = 8;

/// Bytes of a film of so many MiB, or as many as `TRANSFER_MIB` says.
fn film_bytes(mib: u64) -> u64 {
    env::var("TRANSFER_MIB").map_or(mib, |mib| mib.parse().unwrap()) * MIB
}

/// Hosts on a LAN. If there is a delay, they reach each other through relays alone, on one host more.
struct Site {
    /// One before each host.
    relays: Vec<Relay>,
    nodes: Nodes,
}

impl Site {
    fn new(hosts: u16, delay: Duration) -> Self {
        if delay.is_zero() {
            return Self { relays: Vec::new(), nodes: Nodes::new(hosts) };
        }
        let nodes = Nodes::new(hosts + 1);
        let [hosts @ .., middle] = &nodes.lan.hosts[..] else { unreachable!("there is one more") };
        nodes.lan.keep_apart(&(0..hosts.len()).collect::<Vec<_>>());
        let weather = Weather { delay, ..Weather::default() };
        let relays = hosts.iter().map(|host| Relay::start(middle, (host.ip, PORT).into(), weather, 1)).collect();
        Self { relays, nodes }
    }

    /// The place on a host. Far nodes are told of those on the hosts before, the others find each other.
    fn place(&self, host: usize) -> Place<'_> {
        let place = self.nodes.place(host);
        if self.relays.is_empty() {
            return place;
        }
        let address = |ip, port| format!("/ip4/{ip}/udp/{port}/quic-v1");
        let known = (0..host).map(|known| {
            let relay = self.relays[known].address;
            format!("{}@{}", self.nodes.place(known).id(), address(relay.ip(), relay.port()))
        });
        let listen = address(self.nodes.lan.hosts[host].ip.into(), PORT);
        place
            .with("ALLIBRARY_NETWORK_MDNS", "false")
            .with("ALLIBRARY_NETWORK_LISTEN", &listen)
            .with("ALLIBRARY_NETWORK_BOOTSTRAP", &known.collect::<Vec<_>>().join(","))
    }

    /// Has the first host share a film of so many MiB, or as many as `TRANSFER_MIB` says; its bytes.
    fn publish(&self, mib: u64) -> u64 {
        let (films, bytes) = (self.nodes.folder("Films"), film_bytes(mib));
        noise(&films.join("film.webm"), bytes);
        self.place(0).ok(&["add", films.to_str().unwrap()]);
        bytes
    }

    /// Whether the film has come to this host: it gets its name when it is whole.
    fn has_film(&self, host: usize, bytes: u64) -> bool {
        let film = self.nodes.place(host).folder.join("node/library/Films/film.webm");
        fs::metadata(film).is_ok_and(|film| film.len() == bytes)
    }

    /// Waits until each is connected with each.
    fn wait_for_all(&self, running: &[Node]) {
        wait(|| running.iter().all(|node| node.connected().len() == running.len() - 1));
    }

    /// Has nodes on these hosts, which wait, mirror from now on; how long it takes until all have the film, if it comes. Looks
    /// at something else meanwhile.
    fn fetch(
        &self,
        bytes: u64,
        running: &[Node],
        receivers: &[usize],
        ideal: Duration,
        mut meanwhile: impl FnMut(),
    ) -> Option<Duration> {
        for host in receivers {
            let folder = self.nodes.place(*host).folder.join(".config/allibrary");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("allibrary.toml"), "[mirror]\nenabled = true\n").unwrap();
        }
        let begin = now();
        receivers.iter().for_each(|host| running[*host].hang_up());
        let all = || {
            meanwhile();
            receivers.iter().all(|host| self.has_film(*host, bytes))
        };
        within(ideal * PATIENCE, all).map(|()| begin.elapsed())
    }
}

/// Where far nodes listen.
const PORT: u16 = 4720;

/// Waits until it holds, as it must.
fn wait(holds: impl FnMut() -> bool) {
    within(Duration::from_secs(120), holds).expect("it does not happen");
}

/// Looks often until it holds, or for so long.
fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<()> {
    let until = now() + limit;
    while !holds() {
        if now() > until {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Some(())
}
