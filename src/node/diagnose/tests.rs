use super::*;

const ME: &str = "12D3KooWme";
const OTHER: &str = "12D3KooWother";

fn heard(from_here: u64, from_others: u64) -> Heard {
    Heard { interface: "eth0".into(), ipv6: false, from_here, from_others, error: None }
}

fn peer(trouble: Option<Trouble>) -> PeerStatus {
    PeerStatus {
        node: OTHER.into(),
        source: "mdns".into(),
        address: Some("/ip4/10.0.0.2/udp/4777/quic-v1".into()),
        trouble,
        ..PeerStatus::default()
    }
}

fn connected(node: &str) -> PeerStatus {
    PeerStatus { node: node.into(), state: PeerState::Connected, source: "mdns".into(), ..PeerStatus::default() }
}

/// What is found with these facts changed; each finding as text and advice.
fn found(
    peers: &[PeerStatus],
    heard: &[Heard],
    asked: Option<&str>,
    change: impl Fn(&mut Facts),
) -> Vec<(Cause, String)> {
    let listen = ["/ip4/127.0.0.1/udp/4720/quic-v1".to_owned(), "/ip4/10.0.0.1/udp/4721/quic-v1".to_owned()];
    let mut facts = Facts {
        me: ME,
        listen: &listen,
        awaited: &[],
        peers,
        max_peers: 128,
        auth: Auth::Open,
        is_locked: false,
        mdns: true,
        heard,
        addresses: 1,
        own_id_elsewhere: None,
        damaged_lists: None,
        clock: Duration::from_secs(1_800_000_000),
    };
    change(&mut facts);
    let findings = diagnose(&facts, asked);
    findings.into_iter().map(|finding| (finding.cause, format!("{}: {}", finding.text, finding.advice))).collect()
}

/// The one thing that is found, which has these words.
fn only(found: Vec<(Cause, String)>, cause: Cause, words: &[&str]) {
    assert_eq!(found.len(), 1, "{found:?}");
    has(&found, cause, words);
}

fn has(found: &[(Cause, String)], cause: Cause, words: &[&str]) {
    let (_, text) = found.iter().find(|(it, _)| *it == cause).unwrap_or_else(|| panic!("no {cause:?} in {found:?}"));
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text:?}");
    }
}

fn unchanged(_: &mut Facts) {}

#[test]
fn nobody_there() {
    let words = ["10.0.0.1/udp/4721", "--bootstrap 12D3KooWme@", "isolation", "5353", "firewall", "4721"];
    only(found(&[], &[heard(3, 0)], None, unchanged), Cause::NothingHeard, &words);
    only(found(&[], &[heard(3, 7)], None, unchanged), Cause::NoNodeHeard, &["7 packets", "guest"]);
    let silent = found(&[], &[heard(0, 0)], None, unchanged);
    has(&silent, Cause::NoMulticast, &["eth0 (IPv4)", "multicast is blocked", "5353"]);
    let broken = Heard { error: Some("no buffer space".into()), ..heard(0, 0) };
    has(&found(&[], &[broken], None, unchanged), Cause::MdnsFailed, &["eth0", "no buffer space"]);
    only(found(&[], &[], None, |facts| facts.mdns = false), Cause::MdnsOff, &["network.mdns", "--bootstrap"]);
}

#[test]
fn without_a_network_nothing_else_is_said() {
    only(found(&[], &[heard(0, 0)], None, |facts| facts.addresses = 0), Cause::NoInterface, &["cable", "Wi-Fi"]);
}

#[test]
fn trouble_of_this_machine_comes_first() {
    let all = found(&[], &[heard(1, 1)], None, |facts| {
        facts.own_id_elsewhere = Some([10, 0, 0, 9].into());
        facts.damaged_lists = Some("/data/peers.toml");
        facts.awaited = vec!["/ip4/10.0.0.5/udp/4720/quic-v1".to_owned()].leak();
        facts.clock = Duration::from_secs(100);
    });
    has(&all, Cause::OwnIdElsewhere, &["10.0.0.9", "copy", "identity.key"]);
    has(&all, Cause::ListsDamaged, &["/data/peers.toml", "network.allow", "backup"]);
    has(&all, Cause::AddressMissing, &["/ip4/10.0.0.5/udp", "no interface", "network.listen"]);
    has(&all, Cause::Clock, &["1970", "no node looks"]);
    assert_eq!(all.last().unwrap().0, Cause::NoNodeHeard);
}

#[test]
fn a_connected_peer_has_no_trouble() {
    let mut good = connected(OTHER);
    good.quality = Some(93);
    only(found(&[good], &[], Some(OTHER), |facts| facts.clock = Duration::ZERO), Cause::Connected, &["quality 93"]);
    let foreign = PeerStatus { foreign: true, agent: Some("ipfs/1".into()), ..connected(OTHER) };
    only(
        found(std::slice::from_ref(&foreign), &[], Some(OTHER), unchanged),
        Cause::OtherProgram,
        &["another program (ipfs/1)"],
    );
    only(found(&[foreign, connected("x")], &[], None, unchanged), Cause::OtherProgram, &["another program"]);
    only(found(&[connected(OTHER), connected("x")], &[], None, unchanged), Cause::Connected, &["2 peers"]);
    // Neither those that need no connection nor a clock that was never set are trouble then.
    let fine = found(&[connected("x"), peer(None)], &[], None, |facts| facts.clock = Duration::ZERO);
    only(fine, Cause::Connected, &["one peer"]);
}

#[test]
fn of_many_peers_some_are_told() {
    let many: Vec<_> = (0..2 * FINDINGS).map(|_| peer(Some(Trouble::Stopped))).collect();
    assert_eq!(found(&many, &[heard(1, 1)], None, unchanged).len(), FINDINGS);
}

#[test]
fn a_peer_that_was_never_heard_of() {
    let alone = found(&[], &[heard(3, 0)], Some(OTHER), unchanged);
    has(&alone, Cause::NothingHeard, &["isolation"]);
    has(&alone, Cause::Unknown, &["nothing has ever been heard", "allibrary id", "--bootstrap"]);
    // Others are connected: the network is fine.
    only(found(&[connected("x")], &[heard(3, 0)], Some(OTHER), unchanged), Cause::Unknown, &["on this network"]);
    only(found(&[], &[heard(3, 0)], Some(ME), unchanged), Cause::Myself, &["this node"]);
}

#[test]
fn each_trouble_has_its_words() {
    let cases: [(Trouble, Cause, &[&str]); 11] = [
        (Trouble::Unreachable, Cause::Blocked, &["firewall", "isolation", "4777", "10.0.0.2"]),
        (Trouble::Unresponsive, Cause::Blocked, &["firewall", "4777"]),
        (Trouble::WrongPeer, Cause::WrongPeer, &["another node answers at /ip4/10.0.0.2", "allibrary id"]),
        (Trouble::NotAllowedThere, Cause::NotAllowedThere, &["on that machine", "peers allow 12D3KooWme"]),
        (Trouble::BannedThere, Cause::BannedThere, &["verify", "peers pardon 12D3KooWme"]),
        (Trouble::FullThere, Cause::FullThere, &["max_peers there"]),
        (Trouble::Version, Cause::Version, &["same version"]),
        (Trouble::Stopped, Cause::Stopped, &["start it"]),
        (Trouble::NotAllowedHere, Cause::NotAllowedHere, &["peers allow 12D3KooWother"]),
        (Trouble::BannedHere, Cause::BannedHere, &["peers pardon 12D3KooWother"]),
        (Trouble::FullHere, Cause::FullHere, &["128", "network.max_peers"]),
    ];
    for (trouble, cause, words) in cases {
        only(found(&[peer(Some(trouble))], &[heard(3, 3)], Some(OTHER), unchanged), cause, words);
        // Without a name it is found as well.
        has(&found(&[peer(Some(trouble))], &[heard(3, 3)], None, unchanged), cause, words);
    }
    let named = PeerStatus { source: "bootstrap".into(), retry_in_s: Some(59), ..peer(Some(Trouble::Unreachable)) };
    let words = ["10.0.0.2", "UDP port 4777", "next try in 59 s"];
    only(found(&[named], &[], Some(OTHER), unchanged), Cause::Unreachable, &words);
}

#[test]
fn lists_and_bans_are_known_before_any_dial() {
    let listed = |access| PeerStatus { access, ..peer(None) };
    only(
        found(&[listed(Access::Denied)], &[], Some(OTHER), unchanged),
        Cause::DeniedHere,
        &["peers allow", "network.deny"],
    );
    let closed = |facts: &mut Facts| facts.auth = Auth::Allowlist;
    only(found(&[listed(Access::Unlisted)], &[], Some(OTHER), closed), Cause::NotAllowedHere, &["peers allow"]);
    let locked = |facts: &mut Facts| (facts.auth, facts.is_locked) = (Auth::Learn, true);
    only(found(&[listed(Access::Unlisted)], &[], Some(OTHER), locked), Cause::NotAllowedHere, &["peers allow"]);
    only(found(&[listed(Access::Allowed)], &[], Some(OTHER), closed), Cause::Waiting, &["not connected"]);
    let banned = PeerStatus { banned_for_s: Some(1800), ..peer(Some(Trouble::Unreachable)) };
    only(found(&[banned], &[], Some(OTHER), unchanged), Cause::BannedHere, &["30 min", "peers pardon"]);
    let full = |facts: &mut Facts| facts.max_peers = 1;
    only(
        found(&[peer(None), connected("x")], &[], Some(OTHER), full),
        Cause::FullHere,
        &["as many peers as it may, 1"],
    );
}
