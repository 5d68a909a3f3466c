use std::{ffi::OsString, fs, path::Path};

use super::{load::read_file, *};
use crate::limits;

fn parse(text: &str) -> (Config, Vec<String>) {
    let (mut config, mut problems) = (Config::default(), Vec::new());
    read_file(&mut config, Path::new("x.toml"), text, &mut problems);
    (config, problems.iter().map(Problem::to_string).collect())
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn flag(name: &'static str, key: &'static str, values: &[&str]) -> Flag {
    Flag { name, key, values: values.iter().map(OsString::from).collect() }
}

#[test]
fn example_holds_every_key_with_its_default_and_range() {
    let (mut config, problems) = parse(EXAMPLE);
    assert_eq!(problems, [""; 0]);
    assert_eq!(config.origins.len(), KEYS.len(), "the example sets every key");
    config.origins.clear();
    assert_eq!(config, Config::default());
    for key in KEYS {
        let line = format!("{} = {}", key.name.rsplit('.').next().unwrap(), key.value(&config));
        let (before, _) = EXAMPLE.split_once(&format!("\n{line}\n")).unwrap_or_else(|| panic!("no line {line}"));
        let comment = before.rsplit("\n\n").next().unwrap();
        assert!(
            comment.lines().any(|line| line == format!("# Allowed: {}", key.allowed)),
            "range of {}: {comment}",
            key.name
        );
    }
}

#[test]
fn example_names_what_a_running_node_takes_up() {
    for key in KEYS {
        let (section, name) = key.name.split_once('.').unwrap_or(("", key.name));
        let text = match section {
            "" => EXAMPLE,
            section => EXAMPLE.split_once(&format!("\n[{section}]\n")).unwrap().1,
        };
        let (before, _) = text.split_once(&format!("\n{name} = ")).unwrap();
        let is_marked = before.lines().last() == Some("# Taken up at a reload.");
        assert_eq!(is_marked, key.effect == Effect::Live, "{}", key.name);
    }
}

#[test]
fn a_reload_takes_live_values_and_names_the_others() {
    let (old, _) = parse("name = 'a'\n[network]\nmax_peers = 5\nmdns = true\n[log]\nlevel = 'info'\n");
    let (new, _) = parse("name = 'b'\n[network]\nmax_peers = 6\nmdns = false\n[heartbeat]\nfailures = 20\n");
    let (now, changes) = old.reload(&new);
    assert_eq!(changes.live, ["network.max_peers", "log.level"]);
    assert_eq!(changes.restart, ["name", "network.mdns"]);
    assert_eq!((now.network.max_peers, now.log.level), (6, log::LevelFilter::Warn));
    assert_eq!((now.name.as_str(), now.network.mdns), ("a", true));
    assert_eq!(
        (now.origin("network.max_peers"), now.origin("log.level")),
        (new.origin("network.max_peers"), Origin::Default)
    );
    // What waits for a restart is named again, until it is as before.
    assert_eq!(now.reload(&new).1, Changes { live: vec![], restart: vec!["name", "network.mdns"] });
    assert_eq!(now.reload(&now).1, Changes::default());
}

/// Everything that can be wrong with a value or a key: text, then what is said about it.
#[test]
fn wrong_values_are_named_with_place_and_range() {
    let cases = [
        ("data = 3", "x.toml:1:8: data cannot be 3; allowed: an absolute path"),
        ("data = 'here'", "x.toml:1:8: data cannot be \"here\"; allowed: an absolute path"),
        ("name = \"a\\nb\"", "x.toml:1:8: name cannot be \"a\\nb\"; allowed: a text of at most 63 bytes"),
        ("hash_threads = 17", "x.toml:1:16: hash_threads cannot be 17; allowed: 0 to 16 threads"),
        ("[network]\nlisten = []", "x.toml:2:10: network.listen cannot be []; allowed: 1 to 16 addresses"),
        ("[network]\nlisten = 'x'", "x.toml:2:10: network.listen cannot be \"x\"; allowed: 1 to 16"),
        (
            "[network]\nlisten = [\n  '/ip4/0.0.0.0/udp/1/quic-v1',\n  'x']",
            "x.toml:4:3: network.listen cannot be \"x\"",
        ),
        (
            "[network]\nlisten = ['/dns/a/udp/1/quic-v1']",
            "x.toml:2:10: network.listen cannot be [\"/dns/a/udp/1/quic-v1\"]; ",
        ),
        ("[network]\nbootstrap = ['x']", "x.toml:2:14: network.bootstrap cannot be \"x\"; allowed: at most 64 peers"),
        ("[network]\nmdns = 'yes'", "x.toml:2:8: network.mdns cannot be \"yes\"; allowed: true or false"),
        ("[network]\nmax_peers = 0", "x.toml:2:13: network.max_peers cannot be 0; allowed: 1 to 128 peers"),
        ("[network]\nmax_peers = 129", "x.toml:2:13: network.max_peers cannot be 129; allowed: 1 to 128 peers"),
        ("[network]\nmax_dialled = 129", "x.toml:2:15: network.max_dialled cannot be 129; allowed: 1 to 128 peers"),
        (
            "[network]\nmax_peers_per_ip = 0",
            "x.toml:2:20: network.max_peers_per_ip cannot be 0; allowed: 1 to 128 peers",
        ),
        (
            "[network]\nauth = 'closed'",
            "x.toml:2:8: network.auth cannot be \"closed\"; allowed: \"open\", \"learn\" or \"allowlist\"",
        ),
        ("[network]\nallow = ['x']", "x.toml:2:10: network.allow cannot be \"x\"; allowed: at most 1024 peer ids"),
        ("[network]\ndeny = ['x']", "x.toml:2:9: network.deny cannot be \"x\"; allowed: at most 1024 peer ids"),
        (
            "[network]\npublic_addresses = 1",
            "x.toml:2:20: network.public_addresses cannot be 1; allowed: true or false",
        ),
        ("[network]\ngossip = 1", "x.toml:2:10: network.gossip cannot be 1; allowed: true or false"),
        (
            "[heartbeat]\ninterval_ms = 499",
            "x.toml:2:15: heartbeat.interval_ms cannot be 499; allowed: 500 to 20000 ms",
        ),
        ("[heartbeat]\ntimeout_ms = 99", "x.toml:2:14: heartbeat.timeout_ms cannot be 99; allowed: 100 to 60000 ms"),
        ("[heartbeat]\nfailures = 0", "x.toml:2:12: heartbeat.failures cannot be 0; allowed: 1 to 100 probes"),
        ("[reconnect]\nfirst_ms = 99", "x.toml:2:12: reconnect.first_ms cannot be 99; allowed: 100 to 600000 ms"),
        (
            "[reconnect]\nlongest_ms = 3600001",
            "x.toml:2:14: reconnect.longest_ms cannot be 3600001; allowed: 100 to 3600000 ms",
        ),
        ("[reconnect]\nattempts = 0", "x.toml:2:12: reconnect.attempts cannot be 0; allowed: 1 to 1000 tries"),
        ("[reconnect]\nslow_ms = 999", "x.toml:2:11: reconnect.slow_ms cannot be 999; allowed: 1000 to 86400000 ms"),
        (
            "[topology]\nshape = 'ring'",
            "x.toml:2:9: topology.shape cannot be \"ring\"; allowed: \"auto\", \"mesh\", \"hubs\" or \"tree\"",
        ),
        ("[topology]\nmesh_nodes = 1", "x.toml:2:14: topology.mesh_nodes cannot be 1; allowed: 2 to 128 nodes"),
        ("[topology]\nhub_nodes = 1001", "x.toml:2:13: topology.hub_nodes cannot be 1001; allowed: 2 to 1000 nodes"),
        ("[network]\nmax_peers = -1", "x.toml:2:13: network.max_peers cannot be -1; allowed: 1 to 128 peers"),
        ("[network]\nmax_peers = 1.5", "x.toml:2:13: network.max_peers cannot be 1.5; allowed: 1 to 128 peers"),
        ("[network]\nmax_peers = 99999999999999999999999", "x.toml:2:13: network.max_peers cannot be 9999"),
        ("[network]\nciphers = 'none'", "x.toml:2:11: network.ciphers cannot be \"none\"; allowed: \"auto\", "),
        ("[kiosk]\nenabled = 1", "x.toml:2:11: kiosk.enabled cannot be 1; allowed: true or false"),
        (
            "[kiosk]\nlisten = ':8080'",
            "x.toml:2:10: kiosk.listen cannot be \":8080\"; allowed: an IP address and a port",
        ),
        ("[kiosk]\nlisten = '0.0.0.0:65536'", "x.toml:2:10: kiosk.listen cannot be \"0.0.0.0:65536\"; allowed: an IP"),
        ("[mirror]\nenabled = 'on'", "x.toml:2:11: mirror.enabled cannot be \"on\"; allowed: true or false"),
        ("[mirror]\nfolder = './a'", "x.toml:2:10: mirror.folder cannot be \"./a\"; allowed: an absolute path"),
        ("[mirror]\nonly = ['']", "x.toml:2:8: mirror.only cannot be [\"\"]; allowed: at most 256"),
        ("[mirror]\nonly = [1]", "x.toml:2:9: mirror.only cannot be 1; allowed: at most 256"),
        (
            "[mirror]\nreserve = '1 XB'",
            "x.toml:2:11: mirror.reserve cannot be \"1 XB\"; allowed: \"0 B\" to \"100 TB\"",
        ),
        ("[mirror]\ncache = -1", "x.toml:2:9: mirror.cache cannot be -1; allowed: \"0 B\" for none, to"),
        ("[mirror]\nquota = '1001 TB'", "x.toml:2:9: mirror.quota cannot be \"1001 TB\"; allowed: \"0 B\" to"),
        (
            "[transfer]\nupload_rate = '63 KiB'",
            "x.toml:2:15: transfer.upload_rate cannot be \"63 KiB\"; allowed: \"0 B\" for no limit, else \"64 KiB\" to",
        ),
        ("[transfer]\nupload_rate_per_peer = -1", "x.toml:2:24: transfer.upload_rate_per_peer cannot be -1; allowed: "),
        ("[transfer]\ndownload_rate = '1 TB'", "x.toml:2:17: transfer.download_rate cannot be \"1 TB\"; allowed: "),
        (
            "[transfer]\ndownload_rate_per_peer = 1",
            "x.toml:2:26: transfer.download_rate_per_peer cannot be 1; allowed: ",
        ),
        (
            "[transfer]\nrate_beside_readers = 'x'",
            "x.toml:2:23: transfer.rate_beside_readers cannot be \"x\"; allowed: ",
        ),
        ("[transfer]\nupload_slots = 9", "x.toml:2:16: transfer.upload_slots cannot be 9; allowed: 1 to 8 streams"),
        (
            "[transfer]\nhours = '7-8'",
            "x.toml:2:9: transfer.hours cannot be \"7-8\"; allowed: hours of the day such as",
        ),
        ("[scrub]\nenabled = 'on'", "x.toml:2:11: scrub.enabled cannot be \"on\"; allowed: true or false"),
        ("[scrub]\nrate = '2 GB'", "x.toml:2:8: scrub.rate cannot be \"2 GB\"; allowed: \"1 kB\" to \"1 GB\""),
        ("[scrub]\nhours = '22-6'", "x.toml:2:9: scrub.hours cannot be \"22-6\"; allowed: hours of the day such as"),
        ("[mirror]\nreserve = '101 TB'", "x.toml:2:11: mirror.reserve cannot be \"101 TB\"; allowed: \"0 B\" to"),
        ("[mirror]\nmax_bytes_per_publisher = 999999", "x.toml:2:27: mirror.max_bytes_per_publisher cannot be 999999"),
        (
            "[mirror]\nmax_items_per_publisher = 0",
            "x.toml:2:27: mirror.max_items_per_publisher cannot be 0; allowed: 1",
        ),
        (
            "[mirror]\nmax_collections_per_publisher = 257",
            "x.toml:2:33: mirror.max_collections_per_publisher cannot be 257",
        ),
        ("[log]\nlevel = 'loud'", "x.toml:2:9: log.level cannot be \"loud\"; allowed: \"off\", \"error\""),
        ("[network]\nmax_peer = 3", "x.toml:2:1: unknown key network.max_peer; did you mean network.max_peers?"),
        ("[network]\nlevel = 3", "x.toml:2:1: unknown key network.level; did you mean log.level?"),
        ("[netwrok]\nmdns = true", "x.toml:1:2: unknown key netwrok; did you mean [network]?"),
        ("network = 3", "x.toml:1:1: unknown key network; did you mean [network]?"),
        ("zzzzzzzzzzzz = 3", "x.toml:1:1: unknown key zzzzzzzzzzzz"),
        ("'network.mdns' = true", "x.toml:1:1: unknown key network.mdns"),
        ("äöü = 3", "x.toml:1:1: not TOML: "),
        ("# äöü\n[log]\nlevel = 'ä' x", "x.toml:3:13: not TOML: "),
        ("name = 'a'\nname = 'b'", "x.toml:2:1: not TOML: "),
    ];
    for (text, expected) in cases {
        let (_, problems) = parse(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].starts_with(expected), "{text}\n expected {expected}\n    found {}", problems[0]);
        assert!(!problems[0].contains('\n'), "more than a line: {}", problems[0]);
    }
    // Every key can be wrong.
    for key in KEYS {
        let told = cases.iter().any(|(_, told)| told.contains(&format!(" {} cannot be ", key.name)));
        assert!(told, "no wrong value of {} is tried", key.name);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let (_, problems) = parse("[log]\nlevel = 1\n[kiosk]\nenabled = 2\nport = 3\n[network]\nmdns = 4");
    let places: Vec<_> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["x.toml:2:9", "x.toml:4:11", "x.toml:5:1", "x.toml:7:8"]);
}

#[test]
fn a_very_long_value_is_cut_in_the_message() {
    let (_, problems) = parse(&format!("name = '{}'", "ä".repeat(10_000)));
    assert!(problems[0].len() < 400, "{}", problems[0].len());
}

#[test]
fn file_gives_way_to_environment_and_that_to_flags() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, "data = '/file'\nname = 'file'\n[network]\nmax_peers = 10\nmdns = false\n").unwrap();
    let config = Config::load(&Sources {
        file: Some(file.clone()),
        variables: variables(&[
            ("ALLIBRARY_DATA", "/environment"),
            ("ALLIBRARY_NETWORK_MAX_PEERS", "11"),
            ("ALLIBRARY_MIRROR_ONLY", "A library, of books"),
            ("ALLIBRARY_MIRROR_RESERVE", "2GiB"),
            ("PATH", "/bin"),
        ]),
        flags: vec![
            flag("--data", "data", &["/flag"]),
            flag("--listen", "network.listen", &["/ip4/127.0.0.1/udp/1/quic-v1", "/ip6/::1/udp/2/quic-v1"]),
        ],
    })
    .unwrap();
    assert_eq!((config.data.to_str(), config.name.as_str()), (Some("/flag"), "file"));
    assert_eq!((config.network.max_peers, config.network.mdns, config.network.listen.len()), (11, false, 2));
    assert_eq!(config.mirror.only, ["A library", "of books"]);
    assert_eq!(config.mirror.reserve, Bytes(2 << 30));
    assert_eq!(config.mirror.folder, Path::new("/flag/library"));
    assert_eq!(config.kiosk, Config::default().kiosk);

    assert_eq!(config.origin("data").to_string(), "--data");
    assert_eq!(config.origin("network.max_peers").to_string(), "environment variable ALLIBRARY_NETWORK_MAX_PEERS");
    assert_eq!(config.origin("name").to_string(), format!("{}:2:8", file.display()));
    assert_eq!(config.origin("kiosk.listen"), Origin::Default);
    assert!(config.is_explicit("network.listen") && !config.is_explicit("kiosk.listen"));
}

#[test]
fn wrong_variables_and_flags_are_named() {
    let error = Config::load(&Sources {
        file: None,
        variables: variables(&[
            ("HOME", "/nonexistent"),
            ("ALLIBRARY_NETWORK_MDNS", "maybe"),
            ("ALLIBRARY_NETWORK_MDSN", "true"),
            ("ALLIBRARY_MDNS", "true"),
            ("ALLIBRARY_ZZZZ", "true"),
        ]),
        flags: vec![flag("--http", "kiosk.listen", &["8080"])],
    })
    .unwrap_err()
    .to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(
        lines[0],
        "environment variable ALLIBRARY_NETWORK_MDNS: network.mdns cannot be \"maybe\"; allowed: true or false"
    );
    assert!(lines[1].ends_with("unknown key ALLIBRARY_NETWORK_MDSN; did you mean ALLIBRARY_NETWORK_MDNS?"), "{error}");
    assert!(lines[2].ends_with("unknown key ALLIBRARY_MDNS; did you mean ALLIBRARY_NETWORK_MDNS?"), "{error}");
    assert!(lines[3].ends_with("unknown key ALLIBRARY_ZZZZ"), "{error}");
    assert!(
        lines[4].starts_with("--http: kiosk.listen cannot be \"8080\"; allowed: an IP address and a port"),
        "{error}"
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn the_file_is_searched_in_order() {
    let home = tempfile::tempdir().unwrap();
    let usual = home.path().join(".config/allibrary/allibrary.toml");
    fs::create_dir_all(usual.parent().unwrap()).unwrap();
    fs::write(&usual, "name = 'usual'").unwrap();
    let other = home.path().join("other.toml");
    fs::write(&other, "name = 'other'").unwrap();
    let named = home.path().join("named.toml");
    fs::write(&named, "name = 'named'").unwrap();

    let load = |file: Option<&Path>, config: &str| {
        let home = home.path().to_str().unwrap();
        let pairs = [("HOME", home), ("ALLIBRARY_CONFIG", config)];
        Config::load(&Sources { file: file.map(Into::into), variables: variables(&pairs), flags: vec![] })
    };
    assert_eq!(load(None, "").unwrap().name, "usual");
    assert_eq!(load(None, other.to_str().unwrap()).unwrap().name, "other");
    assert_eq!(load(Some(&named), other.to_str().unwrap()).unwrap().name, "named");
    let missing = load(Some(Path::new("/nonexistent.toml")), "").unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent.toml: cannot be read: "), "{missing}");
    fs::write(&usual, vec![b' '; limits::config::FILE_BYTES as usize + 1]).unwrap();
    assert!(load(None, "").unwrap_err().to_string().contains("is longer than 65536 bytes"));
    fs::write(&usual, [0xff, 0xfe]).unwrap();
    assert!(load(None, "").unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn sizes_are_exact_both_ways() {
    for (text, bytes) in [("0", 0), ("0 B", 0), ("1 GB", 1_000_000_000), ("1gib", 1 << 30), ("1536 KiB", 1536 << 10)] {
        let read: Bytes = text.parse().unwrap();
        assert_eq!(read, Bytes(bytes), "{text}");
        assert_eq!(read.to_string().parse(), Ok(read), "{text}");
    }
    for bad in ["", "GB", "-1", "1.5 GB", "1 G", "99999999999999999999", "99999999999 TB", "1 GB x"] {
        assert_eq!(bad.parse::<Bytes>(), Err(()), "{bad}");
    }
}

mod arbitrary {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_never_panics(text in "\\PC{0,200}") {
            super::parse(&text);
        }

        #[test]
        fn damaged_examples_never_panic(at in 0..super::EXAMPLE.len(), byte in any::<u8>()) {
            let mut bytes = super::EXAMPLE.as_bytes().to_vec();
            bytes[at] = byte;
            super::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
