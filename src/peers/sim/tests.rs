use super::*;
use crate::{
    config::Auth,
    peers::{PeerManager, connections::SIBLINGS},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The seeds of a run: so many, or the one that is asked for.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

/// So many hosts on a LAN, switched on within this time.
fn cluster(seed: u64, hosts: usize, within: Duration, change: impl Fn(HostNumber, &mut Host)) -> Cluster {
    let mut cluster = Cluster::new(seed, crate::clock::now());
    for number in 0..hosts {
        cluster.add(|host| change(number, host));
    }
    for number in 0..hosts {
        cluster.start(number);
        cluster.run_for(within / hosts as u32);
    }
    cluster
}

/// So many hosts on a LAN that are all connected with each other.
fn mesh(seed: u64, hosts: usize) -> (Cluster, Vec<HostNumber>) {
    let mut cluster = cluster(seed, hosts, SECOND, |_, _| {});
    let all = cluster.up();
    cluster.run_until("all are connected", 5 * SECOND, |cluster| cluster.is_mesh(&all));
    (cluster, all)
}

fn dialled(what: &What) -> bool {
    *what == What::Dialled
}

#[test]
fn everybody_meets() {
    for seed in seeds(5) {
        for hosts in [2, 5, 20] {
            let mut cluster = cluster(seed, hosts, Duration::from_millis(10), |_, _| {});
            let all = cluster.up();
            let took = cluster.run_until("all are connected", 5 * SECOND, |cluster| cluster.is_mesh(&all));
            cluster.run_for(10 * SECOND);
            cluster.check_settled();
            println!("{hosts} hosts meet in {took:?}");
        }
    }
}

/// Two hosts that dial each other at the same moment.
fn simultaneous_dials(seed: u64, path: Path) {
    let mut cluster = Cluster::new(seed, crate::clock::now());
    cluster.path = path;
    for number in 0..2 {
        cluster.add(|host| (host.bootstrap, host.has_mdns) = (vec![1 - number], false));
    }
    for number in 0..2 {
        cluster.start(number);
    }
    cluster.run_until("they are connected", 20 * SECOND, |cluster| cluster.are_connected(0, 1));
    cluster.run_for(20 * SECOND);
    assert!(cluster.are_connected(0, 1));
    cluster.check_settled();
}

#[test]
fn simultaneous_dials_end_in_one_connection() {
    for seed in seeds(50) {
        simultaneous_dials(seed, if seed % 2 == 0 { Path::LAN } else { Path { loss: 0.1, ..Path::BAD } });
    }
}

/// What closes one of two connections may be lost, too: then the end that was not told finds out by itself.
#[test]
fn simultaneous_dials_where_much_is_lost_end_in_one_connection() {
    for seed in seeds(3000) {
        simultaneous_dials(seed, Path::BAD);
    }
}

/// A host that dies without a word when it has just connected, and is back before anybody has noticed.
#[test]
fn who_restarts_at_once_is_back_within_5_s() {
    for seed in seeds(50) {
        let (mut cluster, all) = mesh(seed, 5);
        // Before, its connections may be of one dial, and it chooses.
        let phase = Duration::from_micros(cluster.rng.u64(..5_000_000));
        cluster.run_for(SIBLINGS + phase);
        let restless = cluster.rng.usize(..all.len());
        cluster.crash(restless);
        cluster.run_for(SECOND / 5);
        cluster.start(restless);
        cluster.run_for(5 * SECOND);
        assert!(cluster.is_mesh(&all), "{restless} is not back");
        cluster.check_settled();
    }
}

/// How long it takes until a dead host's peers know; fails when it is longer than that.
fn deaths(path: Path, count: usize, is_silent: bool, longest: Duration) {
    let (mut worst, mut done) = (Duration::ZERO, 0);
    for seed in seeds(u64::MAX) {
        let mut cluster = cluster(seed, 11, SECOND, |_, host| host.has_exchange = false);
        cluster.path = path;
        cluster.run_until("all are connected", MINUTE, |cluster| cluster.is_mesh(&cluster.up()));
        for dead in 1..=10 {
            let phase = Duration::from_micros(cluster.rng.u64(..10_000_000));
            cluster.run_for(phase);
            let witnesses: Vec<_> = cluster.peers(dead).into_iter().collect();
            if is_silent {
                cluster.crash(dead);
            } else {
                cluster.stop(dead);
            }
            let node = cluster.node(dead);
            let died = cluster.now;
            let knows = |cluster: &Cluster, host: HostNumber| {
                !cluster.hosts[host].manager.as_ref().is_some_and(|manager| manager.is_connected(&node))
            };
            let took = loop {
                if witnesses.iter().all(|host| knows(&cluster, *host)) {
                    break cluster.now - died;
                }
                assert!(cluster.now - died <= longest, "a death is known after {longest:?}");
                cluster.run_for(Duration::from_millis(10));
            };
            worst = worst.max(took);
            done += 1;
        }
        if done >= count {
            println!("{done} deaths were known after {worst:?} at the latest");
            return;
        }
    }
}

#[test]
fn a_silent_death_is_known_within_10_s() {
    deaths(Path::LAN, 200, true, 10 * SECOND);
    deaths(Path::BAD, 200, true, 10 * SECOND);
}

#[test]
fn a_proper_stop_is_known_within_2_s() {
    deaths(Path::LAN, 200, false, 2 * SECOND);
}

/// A host with so many peers over a bad path, for so long: nobody is taken for dead.
fn no_false_alarm(seed: u64, peers: usize, time: Duration) {
    let mut cluster = cluster(seed, peers + 1, SECOND, |number, host| {
        (host.has_mdns, host.has_exchange) = (false, false);
        host.bootstrap = if number == 0 { Vec::new() } else { vec![0] };
    });
    cluster.run_until("all are connected", MINUTE, |cluster| cluster.peers(0).len() == peers);
    cluster.run_for(10 * SECOND);
    cluster.path = Path::BAD;
    let since = cluster.now;
    cluster.run_for(time);
    let ends = cluster.count(since, |what| matches!(what, What::Disconnected(_)));
    assert_eq!(ends, 0, "nobody is dead");
    assert_eq!(cluster.peers(0).len(), peers);
}

#[test]
fn a_bad_path_to_100_peers_is_no_death_in_30_minutes() {
    for seed in seeds(1) {
        no_false_alarm(seed, 100, 30 * MINUTE);
    }
}

/// The hosts of two groups are apart for a while, then find each other again.
#[test]
fn a_partition_heals_within_5_s() {
    for seed in seeds(6) {
        let is_found = seed % 2 == 0;
        let mut cluster = cluster(seed, 12, SECOND, |number, host| {
            host.has_mdns = is_found;
            host.bootstrap = if is_found { Vec::new() } else { (0..12).filter(|other| *other != number).collect() };
        });
        let all = cluster.up();
        cluster.run_until("all are connected", 10 * SECOND, |cluster| cluster.is_mesh(&all));
        // For so long that all are given up, too: then one of many that wait in the slow lane tries, and others follow.
        for minutes in [1, 10] {
            for host in 0..6 {
                cluster.hosts[host].group = 1;
            }
            cluster.run_for(minutes * MINUTE + Duration::from_millis(137 * seed));
            assert!((0..6).all(|a| (6..12).all(|b| !cluster.are_connected(a, b))), "they are apart");
            for host in 0..6 {
                cluster.hosts[host].group = 0;
            }
            let took = cluster.run_until("all are connected again", 5 * SECOND, |cluster| cluster.is_mesh(&all));
            println!("after {minutes} min apart they are together again in {took:?}");
        }
        cluster.run_for(20 * SECOND);
        cluster.check_settled();
    }
}

/// Power is back for all at once, and each knows the others from before.
fn power_cut(seed: u64, hosts: usize) {
    let mut cluster = cluster(seed, hosts, 10 * SECOND, |_, _| {});
    cluster.run_for(3 * MINUTE);
    for host in 0..hosts {
        cluster.crash(host);
    }
    cluster.run_for(MINUTE);
    let since = cluster.now;
    for host in 0..hosts {
        cluster.start(host);
        let wait = Duration::from_millis(cluster.rng.u64(..=2_000 / hosts as u64));
        cluster.run_for(wait);
    }
    cluster.run_until("all are in one piece", 30 * SECOND, is_one);
    let took = cluster.now - since;
    cluster.run_for(30 * SECOND);
    let dials = cluster.count(since, dialled);
    let most = cluster.most_within(SECOND, dialled);
    println!("{hosts} hosts are one again {took:?} after power came back; {dials} dials, {most} in a second at most");
    assert!(most <= 20 * hosts, "{most} dials in a second");
    cluster.run_for(30 * SECOND);
    cluster.check_settled();
}

/// Whether each running host reaches each.
fn is_one(cluster: &Cluster) -> bool {
    let up = cluster.up();
    let mut seen = std::collections::BTreeSet::from([up[0]]);
    let mut rim = vec![up[0]];
    while let Some(host) = rim.pop() {
        rim.extend(cluster.peers(host).into_iter().filter(|peer| seen.insert(*peer)));
    }
    seen.len() == up.len()
}

#[test]
fn power_that_comes_back_makes_no_storm() {
    for seed in seeds(1) {
        power_cut(seed, 50);
    }
}

#[test]
#[ignore = "some minutes"]
fn power_that_comes_back_makes_no_storm_with_200() {
    for seed in seeds(1) {
        power_cut(seed, 100);
        power_cut(seed, 200);
    }
}

/// Each dials a few and lets in the rest; the rules count on the way.
#[test]
fn nobody_dials_more_than_it_may() {
    for seed in seeds(5) {
        let mut cluster = cluster(seed, 16, SECOND, |_, host| host.options.max_dialled = 3);
        cluster.run_until("all are in one piece", MINUTE, is_one);
        for _ in 0..10 {
            let host = cluster.rng.usize(..16);
            cluster.crash(host);
            cluster.run_for(20 * SECOND);
            cluster.start(host);
        }
        cluster.run_until("all are in one piece again", 5 * MINUTE, is_one);
        cluster.run_for(MINUTE);
        let dialled = |host: &Host| host.manager.as_ref().map(PeerManager::dialled);
        assert!(cluster.hosts.iter().any(|host| dialled(host) == Some(3)), "the bound was reached");
        cluster.check_settled();
    }
}

/// Hosts die, stop, start, freeze and are cut off at random; afterwards all is as if nothing had been.
fn churn(seed: u64, hosts: usize, time: Duration) {
    let mut cluster = cluster(seed, hosts, SECOND, |number, host| {
        if number % 3 == 0 {
            host.bootstrap = vec![(number + 1) % hosts, (number + 2) % hosts];
        }
    });
    let end = cluster.now + time;
    while cluster.now < end {
        let wait = Duration::from_millis(cluster.rng.u64(..2 * 30_000 / hosts as u64 + 1000));
        cluster.run_for(wait);
        let host = cluster.rng.usize(..hosts);
        match (cluster.is_up(host), cluster.rng.u32(..10)) {
            (false, _) => cluster.start(host),
            (true, 0..3) => cluster.crash(host),
            (true, 3..5) => cluster.stop(host),
            (true, 5) => cluster.pause(host),
            (true, 6..8) => cluster.resume(host),
            (true, 8) => cluster.hosts[host].group = 1,
            (true, _) => {
                let paths = [Path::LAN, Path::BAD, Path { loss: 0.5, ..Path::LAN }];
                cluster.path = paths[cluster.rng.usize(..3)];
                cluster.hosts[host].group = 0;
            }
        }
    }
    cluster.path = Path::LAN;
    for host in 0..hosts {
        cluster.hosts[host].group = 0;
        if !cluster.is_up(host) {
            cluster.start(host);
        }
        cluster.resume(host);
    }
    cluster.run_for(2 * MINUTE);
    let all = cluster.up();
    if hosts <= 24 {
        assert!(cluster.is_mesh(&all), "all are connected");
    } else {
        assert!(is_one(&cluster), "all are in one piece");
    }
    cluster.check_settled();
    let before = cluster.now;
    cluster.run_for(5 * MINUTE);
    let changes = cluster.count(before, |what| matches!(what, What::Connected { .. } | What::Disconnected(_)));
    assert_eq!(changes, 0, "it is quiet");
}

#[test]
fn after_crashes_without_end_all_is_well() {
    for seed in seeds(2) {
        churn(seed, 12, 20 * MINUTE);
    }
}

#[test]
#[ignore = "minutes: many seeds and hosts"]
fn after_hours_of_crashes_all_is_well() {
    for seed in seeds(20) {
        churn(seed, 2 + seed as usize % 20, 60 * MINUTE);
    }
    for seed in seeds(1) {
        churn(seed, 40, 60 * MINUTE);
    }
}

/// Lives that are short and hard, with hosts of all kinds.
#[test]
fn whatever_happens_the_rules_hold() {
    for seed in seeds(15) {
        churn(seed, 2 + seed as usize % 7, 3 * MINUTE);
    }
}

#[test]
#[ignore = "minutes: many seeds"]
fn whatever_happens_in_many_lives_the_rules_hold() {
    for seed in seeds(300) {
        churn(seed, 2 + seed as usize % 11, 5 * MINUTE);
    }
}

/// Each knows one other from its configuration, and nobody hears multicast.
#[test]
fn who_knows_one_gets_to_know_all() {
    for seed in seeds(3) {
        let mut cluster = cluster(seed, 16, SECOND, |number, host| {
            host.has_mdns = false;
            host.bootstrap = if number == 0 { Vec::new() } else { vec![number - 1] };
        });
        let all = cluster.up();
        let took = cluster.run_until("all are connected", 60 * MINUTE, |cluster| cluster.is_mesh(&all));
        println!("16 hosts in a row know each other after {took:?}");
        cluster.run_for(10 * SECOND);
        cluster.check_settled();
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut cluster = cluster(seed, 6, SECOND, |_, _| {});
        cluster.path = Path::BAD;
        for host in 0..6 {
            cluster.run_for(20 * SECOND);
            cluster.crash(host);
            cluster.run_for(20 * SECOND);
            cluster.start(host);
        }
        std::mem::take(&mut cluster.journal)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// A process that is stopped for a while is taken for dead, takes nobody for dead, and is welcome when it goes on.
#[test]
fn who_was_frozen_comes_back() {
    for seed in seeds(5) {
        let (mut cluster, all) = mesh(seed, 8);
        for time in [5 * SECOND, 40 * SECOND, 10 * MINUTE] {
            let since = cluster.now;
            cluster.pause(3);
            cluster.run_for(time);
            let is_known = (0..8).all(|host| host == 3 || !cluster.are_connected(host, 3));
            assert_eq!(is_known, time > 10 * SECOND, "after {time:?}");
            cluster.resume(3);
            cluster.run_until("all are connected again", 10 * SECOND, |cluster| cluster.is_mesh(&all));
            if time < 8 * SECOND {
                assert_eq!(cluster.count(since, |what| matches!(what, What::Disconnected(_))), 0);
            }
            cluster.run_for(30 * SECOND);
            cluster.check_settled();
        }
    }
}

/// A host moves to another address, and one that had been another's.
#[test]
fn who_moves_is_found_again() {
    for seed in seeds(5) {
        let (mut cluster, all) = mesh(seed, 8);
        cluster.crash(1);
        cluster.crash(2);
        cluster.run_for(30 * SECOND);
        let (one, two) = (cluster.hosts[1].addresses.clone(), cluster.hosts[2].addresses.clone());
        (cluster.hosts[1].addresses, cluster.hosts[2].addresses) = (two, one);
        cluster.start(1);
        cluster.start(2);
        cluster.run_until("all are connected again", 10 * SECOND, |cluster| cluster.is_mesh(&all));
        cluster.run_for(30 * SECOND);
        cluster.check_settled();
    }
}

/// What one host has against another is its own affair.
#[test]
fn who_does_harm_to_one_is_banned_there_for_a_while() {
    for seed in seeds(3) {
        let (mut cluster, all) = mesh(seed, 5);
        let (node, since) = (cluster.node(1), cluster.now);
        for _ in 0..3 {
            cluster.tell(0, Event::Behaved { node, conduct: crate::peers::Conduct::Corrupt });
        }
        cluster.run_until("it is thrown out", SECOND, |cluster| !cluster.are_connected(0, 1));
        while cluster.now < since + 10 * MINUTE {
            cluster.run_for(SECOND);
            assert!(cluster.now >= since + 10 * MINUTE || !cluster.are_connected(0, 1), "it is banned");
            assert!((2..5).all(|host| cluster.are_connected(host, 1)), "others have nothing against it");
        }
        cluster.run_until("it is forgiven", 5 * MINUTE, |cluster| cluster.is_mesh(&all));
        cluster.run_for(MINUTE);
        cluster.check_settled();
    }
}

/// How far apart two running hosts are at most.
fn diameter(cluster: &Cluster) -> usize {
    let up = cluster.up();
    let peers: BTreeMap<HostNumber, _> = up.iter().map(|host| (*host, cluster.peers(*host))).collect();
    let farthest = |from: HostNumber| {
        let (mut seen, mut rim, mut steps) = (std::collections::BTreeSet::from([from]), vec![from], 0);
        loop {
            let next: Vec<_> =
                rim.iter().flat_map(|host| &peers[host]).filter(|peer| seen.insert(**peer)).copied().collect();
            if next.is_empty() {
                assert_eq!(seen.len(), up.len(), "all are in one piece");
                return steps;
            }
            (rim, steps) = (next, steps + 1);
        }
    };
    up.iter().map(|host| farthest(*host)).max().unwrap_or(0)
}

/// So many hosts find into the shape that suits them, and out of the loss of a tenth.
fn shapes(seed: u64, hosts: usize) {
    let mut cluster = cluster(seed, hosts, 20 * SECOND, |_, _| {});
    let took = cluster.run_until("all are in one piece", MINUTE, is_one);
    cluster.run_for(5 * MINUTE);
    let degree = |cluster: &Cluster| cluster.up().into_iter().map(|host| cluster.peers(host).len()).max();
    let links = |cluster: &Cluster| cluster.up().into_iter().map(|host| cluster.peers(host).len()).sum::<usize>() / 2;
    println!(
        "{hosts} hosts: one piece {took:?} after the last start; degree {:?}, diameter {}, {} connections",
        degree(&cluster),
        diameter(&cluster),
        links(&cluster)
    );
    assert!(diameter(&cluster) <= 4);
    cluster.check_settled();
    for _ in 0..hosts / 10 {
        let dead = cluster.rng.usize(..hosts);
        if cluster.is_up(dead) {
            cluster.crash(dead);
        }
    }
    cluster.run_for(MINUTE);
    assert!(diameter(&cluster) <= 4 && degree(&cluster) <= Some(128));
    cluster.check_settled();
}

#[test]
fn many_hosts_find_into_their_shape() {
    for seed in seeds(1) {
        shapes(seed, 40);
    }
}

#[test]
#[ignore = "minutes: 200 hosts"]
fn two_hundred_hosts_find_into_their_shape() {
    for seed in seeds(1) {
        shapes(seed, 200);
    }
}

/// Some are open, some have lists: who may connect is what both say.
#[test]
fn those_who_admit_each_other_are_connected_and_nobody_else() {
    for seed in seeds(5) {
        let count = 10;
        let mut cluster = Cluster::new(seed, crate::clock::now());
        for _ in 0..count {
            cluster.add(|_| {});
        }
        let nodes: Vec<_> = (0..count).map(|host| cluster.node(host)).collect();
        for host in 0..count {
            let some: std::collections::BTreeSet<_> = nodes.iter().filter(|_| cluster.rng.bool()).copied().collect();
            let options = &mut cluster.hosts[host].options;
            match host % 3 {
                0 => (options.auth, options.allow) = (Auth::Allowlist, some),
                1 => options.deny = some.into_iter().take(2).collect(),
                _ => {}
            }
        }
        for host in 0..count {
            cluster.start(host);
        }
        cluster.run_for(MINUTE);
        let admits = |a: HostNumber, b: HostNumber| {
            let options = &cluster.hosts[a].options;
            let is_listed = options.auth == Auth::Open || options.allow.contains(&nodes[b]);
            is_listed && !options.deny.contains(&nodes[b])
        };
        for a in 0..count {
            for b in 0..a {
                assert_eq!(cluster.are_connected(a, b), admits(a, b) && admits(b, a), "hosts {a} and {b}");
            }
        }
        cluster.check_settled();
        let before = cluster.now;
        cluster.run_for(10 * MINUTE);
        let dials = cluster.count(before, dialled);
        assert!(dials <= 10 * count * count, "{dials} dials at closed doors in ten minutes");
    }
}
