//! The table of all keys.

use std::ops::RangeInclusive;

use toml::Value;

use super::{
    Bytes, Config, Place,
    value::{Raw, Setting},
};
use crate::limits;

/// When a node takes up a value that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At a reload.
    Live,
    /// At its next start.
    Restart,
}

/// One key: its name, what it allows, and how it gets into a [`Config`].
pub struct Key {
    /// The name with its section, `network.listen`.
    pub name: &'static str,
    /// When a running node takes up another value.
    pub effect: Effect,
    /// What it allows, with units, for people.
    pub allowed: &'static str,
    pub(super) read: for<'a> fn(&mut Config, Raw<'a>) -> Result<(), Raw<'a>>,
    pub(super) write: fn(&Config) -> Value,
    copy: fn(&mut Config, &Config),
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

    /// Takes this key's value, and where it comes from, over from another configuration.
    pub fn copy(&self, config: &mut Config, from: &Config) {
        (self.copy)(config, from);
        match from.origins.get(self.name) {
            Some(origin) => drop(config.origins.insert(self.name, origin.clone())),
            None => drop(config.origins.remove(self.name)),
        }
    }

    pub(super) fn set<'a>(&self, config: &mut Config, raw: Raw<'a>, place: Place) -> Result<(), Raw<'a>> {
        (self.read)(config, raw)?;
        config.origins.insert(self.name, super::Origin::Set(place));
        Ok(())
    }
}

macro_rules! key {
    ($effect:ident $($field:ident).+, $allowed:expr) => {
        key!($effect $($field).+, $allowed, |_| true)
    };
    ($effect:ident $($field:ident).+, $allowed:expr, $is_allowed:expr) => {
        Key {
            name: concat_name!($($field).+),
            effect: Effect::$effect,
            allowed: $allowed,
            read: |config, raw| {
                config.$($field).+ = checked(Setting::read(raw)?, raw, $is_allowed)?;
                Ok(())
            },
            write: |config| config.$($field).+.write(),
            copy: |config, from| config.$($field).+ = from.$($field).+.clone(),
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

const HOURS: &str = "hours of the day such as \"22:00-06:00\"; \"\" for any time";
const RATE: &str = "\"0 B\" for no limit, else \"64 KiB\" to \"100 GB\" (bytes, or with kB, MB, GB, KiB, MiB, GiB)";

fn is_rate(bytes: &Bytes) -> bool {
    *bytes == Bytes(0) || (Bytes(limits::transfer::LIMIT_BYTES_S)..=Bytes(100_000 * MB)).contains(bytes)
}

/// Every key, in the order of the annotated example.
pub static KEYS: &[Key] = &[
    key!(Restart data, "an absolute path or one that starts with ~/; \"\" for the usual place"),
    key!(Restart name, "a text of at most 63 bytes; \"\" for the host's name", |name: &String| is_name(name, 63)),
    key!(Restart hash_threads, "0 to 16 threads; 0 for as many as there are cores", |threads| {
        (0..=limits::store::HASH_THREADS as u32).contains(threads)
    }),
    key!(
        Restart network.listen,
        "1 to 16 addresses such as \"/ip4/0.0.0.0/udp/4720/quic-v1\", port 0 to 65535 (0 = any that is free)",
        |addresses: &Vec<super::QuicAddress>| {
            (1..=limits::config::LISTEN).contains(&addresses.len()) && addresses.iter().all(|a| a.is_ip())
        }
    ),
    key!(
        Restart network.bootstrap,
        "at most 64 peers such as \"12D3KooW…@/ip4/192.168.1.7/udp/4720/quic-v1\"",
        |peers: &Vec<_>| peers.len() <= limits::config::BOOTSTRAP
    ),
    key!(Restart network.mdns, "true or false"),
    key!(Live network.max_peers, "1 to 128 peers", |peers| PEERS.contains(peers)),
    key!(Live network.max_dialled, "1 to 128 peers", |peers| PEERS.contains(peers)),
    key!(Live network.max_peers_per_ip, "1 to 128 peers", |peers| PEERS.contains(peers)),
    key!(Live network.auth, "\"open\", \"learn\" or \"allowlist\""),
    key!(Live network.allow, "at most 1024 peer ids", |peers: &Vec<_>| peers.len() <= limits::network::KNOWN_PEERS),
    key!(Live network.deny, "at most 1024 peer ids", |peers: &Vec<_>| peers.len() <= limits::network::KNOWN_PEERS),
    key!(Live network.public_addresses, "true or false"),
    key!(Restart network.gossip, "true or false"),
    key!(Restart network.ciphers, "\"auto\", \"aes-256\" or \"chacha20\""),
    key!(Live heartbeat.interval_ms, "500 to 20000 ms", |ms| (500..=20_000).contains(ms)),
    key!(Live heartbeat.timeout_ms, "100 to 60000 ms", |ms| (100..=60_000).contains(ms)),
    key!(Live heartbeat.failures, "1 to 100 probes", |failures| (1..=100).contains(failures)),
    key!(Live reconnect.first_ms, "100 to 600000 ms", |ms| (100..=600_000).contains(ms)),
    key!(Live reconnect.longest_ms, "100 to 3600000 ms", |ms| (100..=3_600_000).contains(ms)),
    key!(Live reconnect.attempts, "1 to 1000 tries", |attempts| (1..=1000).contains(attempts)),
    key!(Live reconnect.slow_ms, "1000 to 86400000 ms", |ms| (1_000..=86_400_000).contains(ms)),
    key!(Live topology.shape, "\"auto\", \"mesh\", \"hubs\" or \"tree\""),
    key!(Live topology.mesh_nodes, "2 to 128 nodes", |nodes| (2..=limits::network::PEERS as u32).contains(nodes)),
    key!(Live topology.hub_nodes, "2 to 1000 nodes", |nodes| (2..=1000).contains(nodes)),
    key!(Restart kiosk.enabled, "true or false"),
    key!(
        Restart kiosk.listen,
        "an IP address and a port such as \"0.0.0.0:8080\" or \"[::]:8080\", port 0 to 65535 (0 = any that is free)"
    ),
    key!(Live mirror.enabled, "true or false"),
    key!(Restart mirror.folder, "an absolute path or one that starts with ~/; \"\" for the folder library in the data folder"),
    key!(
        Live mirror.only,
        "at most 256 names or ids of collections (1 to 128 bytes each) and peer ids; [] for everything",
        |only: &Vec<String>| {
            only.len() <= limits::library::COLLECTIONS
                && only.iter().all(|name| !name.is_empty() && is_name(name, limits::library::NAME_BYTES))
        }
    ),
    key!(Live mirror.reserve, "\"0 B\" to \"100 TB\" (bytes, or with kB, MB, GB, TB, KiB, MiB, GiB, TiB)", |bytes| {
        *bytes <= Bytes(100 * TB)
    }),
    key!(Live mirror.quota, "\"0 B\" to \"1000 TB\" (bytes, or with kB, MB, GB, TB, KiB, MiB, GiB, TiB)", |bytes| {
        *bytes <= Bytes(1000 * TB)
    }),
    key!(Live mirror.cache, "\"0 B\" for none, to \"1000 TB\" (bytes, or with kB, MB, GB, TB, KiB, MiB, GiB, TiB)", |bytes| {
        *bytes <= Bytes(1000 * TB)
    }),
    key!(
        Live mirror.max_bytes_per_publisher,
        "\"1 MB\" to \"1000 TB\" (bytes, or with kB, MB, GB, TB, KiB, MiB, GiB, TiB)",
        |bytes| (Bytes(MB)..=Bytes(1000 * TB)).contains(bytes)
    ),
    key!(Live mirror.max_items_per_publisher, "1 to 10000000 items", |items| (1..=10_000_000).contains(items)),
    key!(Live mirror.max_collections_per_publisher, "1 to 256 collections", |collections| {
        (1..=limits::library::COLLECTIONS as u32).contains(collections)
    }),
    key!(Live transfer.upload_rate, RATE, is_rate),
    key!(Live transfer.upload_rate_per_peer, RATE, is_rate),
    key!(Live transfer.download_rate, RATE, is_rate),
    key!(Live transfer.download_rate_per_peer, RATE, is_rate),
    key!(Live transfer.rate_beside_readers, RATE, is_rate),
    key!(Live transfer.upload_slots, "1 to 8 streams", |slots| {
        (1..=limits::transfer::UPLOAD_SLOTS as u32).contains(slots)
    }),
    key!(Live transfer.hours, HOURS),
    key!(Live scrub.enabled, "true or false"),
    key!(Live scrub.rate, "\"1 kB\" to \"1 GB\" (bytes, or with kB, MB, GB, KiB, MiB, GiB)", |bytes| {
        (Bytes(1_000)..=Bytes(1_000 * MB)).contains(bytes)
    }),
    key!(Live scrub.hours, HOURS),
    key!(Live log.level, "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
];

const _: () = {
    // The numbers that the texts above name.
    assert!(limits::network::PEERS == 128 && limits::library::COLLECTIONS == 256 && limits::library::NAME_BYTES == 128);
    assert!(limits::config::LISTEN == 16 && limits::config::BOOTSTRAP == 64);
    assert!(limits::store::HASH_THREADS == 16);
    assert!(limits::transfer::LIMIT_BYTES_S == 64 * 1024 && limits::transfer::UPLOAD_SLOTS == 8);
    assert!(limits::network::KNOWN_PEERS == 1024);
};
