//! The table of all keys.

use std::ops::RangeInclusive;

use toml::Value;

use super::{
    Bytes, Config, Place,
    value::{Raw, Setting},
};
use crate::limits;

/// One key: its name, what it allows, and how it gets into a [`Config`].
pub struct Key {
    /// The name with its section, `network.listen`.
    pub name: &'static str,
    /// What it allows, with units, for people.
    pub allowed: &'static str,
    pub(super) read: for<'a> fn(&mut Config, Raw<'a>) -> Result<(), Raw<'a>>,
    pub(super) write: fn(&Config) -> Value,
}

impl Key {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("ALLIBRARY_{}", self.name.to_uppercase().replace('.', "_"))
    }

    /// Its value as TOML.
    pub fn value(&self, config: &Config) -> Value {
        (self.write)(config)
    }

    pub(super) fn set<'a>(&self, config: &mut Config, raw: Raw<'a>, place: Place) -> Result<(), Raw<'a>> {
        (self.read)(config, raw)?;
        config.origins.insert(self.name, super::Origin::Set(place));
        Ok(())
    }
}

macro_rules! key {
    ($($field:ident).+, $allowed:expr) => {
        key!($($field).+, $allowed, |_| true)
    };
    ($($field:ident).+, $allowed:expr, $is_allowed:expr) => {
        Key {
            name: concat_name!($($field).+),
            allowed: $allowed,
            read: |config, raw| {
                config.$($field).+ = checked(Setting::read(raw)?, raw, $is_allowed)?;
                Ok(())
            },
            write: |config| config.$($field).+.write(),
        }
    };
}

macro_rules! concat_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($section:ident . $field:ident) => {
        concat!(stringify!($section), ".", stringify!($field))
    };
}

fn checked<'a, T>(value: T, raw: Raw<'a>, is_allowed: impl FnOnce(&T) -> bool) -> Result<T, Raw<'a>> {
    if is_allowed(&value) { Ok(value) } else { Err(raw) }
}

fn is_name(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes && !text.chars().any(char::is_control)
}

const PEERS: RangeInclusive<u32> = 1..=limits::network::PEERS as u32;
const MB: u64 = 1_000_000;
const TB: u64 = 1_000_000 * MB;

/// Every key, in the order of the annotated example.
pub static KEYS: &[Key] = &[
    key!(data, "an absolute path or one that starts with ~/; \"\" for the usual place"),
    key!(name, "a text of at most 63 bytes; \"\" for the host's name", |name: &String| is_name(name, 63)),
    key!(hash_threads, "0 to 16 threads; 0 for as many as there are cores", |threads| {
        (0..=limits::store::HASH_THREADS as u32).contains(threads)
    }),
    key!(
        network.listen,
        "1 to 16 addresses such as \"/ip4/0.0.0.0/udp/4720/quic-v1\", port 0 to 65535 (0 = any that is free)",
        |addresses: &Vec<super::QuicAddress>| {
            (1..=limits::config::LISTEN).contains(&addresses.len()) && addresses.iter().all(|a| a.is_ip())
        }
    ),
    key!(
        network.bootstrap,
        "at most 64 peers such as \"12D3KooW…@/ip4/192.168.1.7/udp/4720/quic-v1\"",
        |peers: &Vec<_>| peers.len() <= limits::config::BOOTSTRAP
    ),
    key!(network.mdns, "true or false"),
    key!(network.max_peers, "1 to 128 peers", |peers| PEERS.contains(peers)),
    key!(network.max_peers_per_ip, "1 to 128 peers", |peers| PEERS.contains(peers)),
    key!(network.auth, "\"open\", \"learn\" or \"allowlist\""),
    key!(network.allow, "at most 1024 peer ids", |peers: &Vec<_>| peers.len() <= limits::network::KNOWN_PEERS),
    key!(network.deny, "at most 1024 peer ids", |peers: &Vec<_>| peers.len() <= limits::network::KNOWN_PEERS),
    key!(network.public_addresses, "true or false"),
    key!(network.gossip, "true or false"),
    key!(network.ciphers, "\"auto\", \"aes-256\" or \"chacha20\""),
    key!(heartbeat.interval_ms, "500 to 600000 ms", |ms| (500..=600_000).contains(ms)),
    key!(heartbeat.timeout_ms, "100 to 60000 ms", |ms| (100..=60_000).contains(ms)),
    key!(heartbeat.failures, "1 to 100 probes", |failures| (1..=100).contains(failures)),
    key!(reconnect.first_ms, "100 to 600000 ms", |ms| (100..=600_000).contains(ms)),
    key!(reconnect.longest_ms, "100 to 3600000 ms", |ms| (100..=3_600_000).contains(ms)),
    key!(reconnect.attempts, "1 to 1000 tries", |attempts| (1..=1000).contains(attempts)),
    key!(reconnect.slow_ms, "1000 to 86400000 ms", |ms| (1_000..=86_400_000).contains(ms)),
    key!(topology.shape, "\"auto\", \"mesh\", \"hubs\" or \"tree\""),
    key!(topology.mesh_nodes, "2 to 128 nodes", |nodes| (2..=limits::network::PEERS as u32).contains(nodes)),
    key!(topology.hub_nodes, "2 to 1000 nodes", |nodes| (2..=1000).contains(nodes)),
    key!(kiosk.enabled, "true or false"),
    key!(
        kiosk.listen,
        "an IP address and a port such as \"0.0.0.0:8080\" or \"[::]:8080\", port 0 to 65535 (0 = any that is free)"
    ),
    key!(mirror.enabled, "true or false"),
    key!(mirror.folder, "an absolute path or one that starts with ~/; \"\" for the folder library in the data folder"),
    key!(
        mirror.only,
        "at most 256 names or ids of collections (1 to 128 bytes each) and peer ids; [] for everything",
        |only: &Vec<String>| {
            only.len() <= limits::library::COLLECTIONS
                && only.iter().all(|name| !name.is_empty() && is_name(name, limits::library::NAME_BYTES))
        }
    ),
    key!(mirror.reserve, "\"0 B\" to \"100 TB\" (bytes, or with kB, MB, GB, TB, KiB, MiB, GiB, TiB)", |bytes| {
        *bytes <= Bytes(100 * TB)
    }),
    key!(mirror.quota, "\"0 B\" to \"1000 TB\" (bytes, or with kB, MB, GB, TB, KiB, MiB, GiB, TiB)", |bytes| {
        *bytes <= Bytes(1000 * TB)
    }),
    key!(
        mirror.max_bytes_per_publisher,
        "\"1 MB\" to \"1000 TB\" (bytes, or with kB, MB, GB, TB, KiB, MiB, GiB, TiB)",
        |bytes| (Bytes(MB)..=Bytes(1000 * TB)).contains(bytes)
    ),
    key!(mirror.max_items_per_publisher, "1 to 10000000 items", |items| (1..=10_000_000).contains(items)),
    key!(mirror.max_collections_per_publisher, "1 to 256 collections", |collections| {
        (1..=limits::library::COLLECTIONS as u32).contains(collections)
    }),
    key!(scrub.enabled, "true or false"),
    key!(scrub.rate, "\"1 kB\" to \"1 GB\" (bytes, or with kB, MB, GB, KiB, MiB, GiB)", |bytes| {
        (Bytes(1_000)..=Bytes(1_000 * MB)).contains(bytes)
    }),
    key!(scrub.hours, "hours of the day such as \"22:00-06:00\"; \"\" for any time"),
    key!(log.level, "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
];

const _: () = {
    // The numbers that the texts above name.
    assert!(limits::network::PEERS == 128 && limits::library::COLLECTIONS == 256 && limits::library::NAME_BYTES == 128);
    assert!(limits::config::LISTEN == 16 && limits::config::BOOTSTRAP == 64);
    assert!(limits::store::HASH_THREADS == 16);
    assert!(limits::network::KNOWN_PEERS == 1024);
};
