//! The configuration: what can be set, within which bounds, and where each value comes from.
//!
//! A value in the file gives way to one in the environment, and that to a flag. One table ([`KEYS`]) names every key
//! with its range; reading, errors, `config show` and the annotated example `config/allibrary.toml` all follow it.
//! It may use the ground alone, and must never know what a value does.

mod address;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod hours;
mod keys;
mod load;
mod places;
#[cfg(test)]
mod tests;
mod value;

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

pub use address::{BootstrapPeer, ParseAddressError, QuicAddress};
pub use error::{ConfigError, Place, Problem};
pub use hours::Hours;
pub use keys::{Effect, KEYS};
pub use load::{Flag, Sources};
pub use places::runtime_folders;
pub use value::Bytes;

use crate::{content::NodeId, limits};

/// UDP port of the node, unless configured otherwise.
pub const DEFAULT_PORT: u16 = 4720;
/// TCP port of the page, unless configured otherwise.
pub const DEFAULT_HTTP_PORT: u16 = 8080;

/// The annotated example, which holds every key with its default.
pub const EXAMPLE: &str = include_str!("../../config/allibrary.toml");

/// Everything that can be set. [`Config::default`] is what holds without a file, the environment or flags;
/// [`Config::load`] gives the whole picture, with paths and the name filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The data folder: identity, index, collections, and the library unless `mirror.folder` moves it.
    pub data: PathBuf,
    /// The name that people see; the host's name unless set.
    pub name: String,
    /// Threads that hash a file which is added or verified; 0 for as many as there are cores.
    pub hash_threads: u32,
    /// Peers, and how they are reached.
    pub network: Network,
    /// Noticing that a peer is gone.
    pub heartbeat: Heartbeat,
    /// Coming back to a peer that is gone.
    pub reconnect: Reconnect,
    /// Whom to connect with when there are many.
    pub topology: Topology,
    /// The page for readers.
    pub kiosk: Kiosk,
    /// Copying the collections of others.
    pub mirror: Mirror,
    /// Sending and fetching.
    pub transfer: Transfer,
    /// Checking what is kept.
    pub scrub: Scrub,
    /// What is logged.
    pub log: Log,
    origins: BTreeMap<&'static str, Origin>,
}

/// Section `network`.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Addresses to listen on.
    pub listen: Vec<QuicAddress>,
    /// Peers to dial besides those that are found.
    pub bootstrap: Vec<BootstrapPeer>,
    /// Whether to find and be found by mDNS.
    pub mdns: bool,
    /// Connected peers at most.
    pub max_peers: u32,
    /// Of these, so many at most that this node has dialled.
    pub max_dialled: u32,
    /// Connected peers at one IP address at most.
    pub max_peers_per_ip: u32,
    /// Who may connect.
    pub auth: Auth,
    /// Those who may, besides those that commands allow.
    pub allow: Vec<NodeId>,
    /// Those who may not, besides those that commands deny.
    pub deny: Vec<NodeId>,
    /// Whether addresses on the internet are believed when others tell of them.
    pub public_addresses: bool,
    /// Whether news of collections are passed on by gossip.
    pub gossip: bool,
    /// The order of ciphers in TLS 1.3.
    pub ciphers: Ciphers,
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Everybody who is not denied.
    Open,
    /// The same, and each is remembered as allowed, until `peers lock`.
    Learn,
    /// Those who are allowed.
    Allowlist,
}

/// Section `heartbeat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// A peer that has been silent for so long is made to answer.
    pub interval_ms: u32,
    /// A probe that was not answered within this time has failed, and the next is sent.
    pub timeout_ms: u32,
    /// Failed probes in a row after which the peer counts as unresponsive.
    pub failures: u32,
}

/// Section `reconnect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The longest wait before the first retry; it doubles with each.
    pub first_ms: u32,
    /// The longest wait between two retries.
    pub longest_ms: u32,
    /// Failures in a row after which a peer is given up for now.
    pub attempts: u32,
    /// Between two tries of a peer that was given up.
    pub slow_ms: u32,
}

/// Section `topology`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// The shape, or that the number of nodes chooses it.
    pub shape: Shape,
    /// Nodes up to which each connects with each.
    pub mesh_nodes: u32,
    /// Nodes up to which they connect through hubs, and above which as a tree.
    pub hub_nodes: u32,
}

/// Whom a node connects with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// What suits the number of nodes.
    Auto,
    /// Everybody.
    Mesh,
    /// Some hubs, and some others.
    Hubs,
    /// A few above, and a few roots that know each other.
    Tree,
}

/// Which ciphers a connection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ciphers {
    /// AES-256-GCM first where the CPU has AES instructions, ChaCha20-Poly1305 first elsewhere.
    Auto,
    /// AES-256-GCM and nothing else.
    Aes256,
    /// ChaCha20-Poly1305 and nothing else.
    ChaCha20,
}

/// Section `kiosk`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kiosk {
    /// Whether the page is served.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
}

/// Section `mirror`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// Whether the collections of peers are copied.
    pub enabled: bool,
    /// Where finished files stand with their names; `<data>/library` unless set.
    pub folder: PathBuf,
    /// Collections (name or id) and publishers (peer id) to copy; all if empty.
    pub only: Vec<String>,
    /// Disk space that copying leaves free.
    pub reserve: Bytes,
    /// What copies may fill, those of other nodes and own ones.
    pub quota: Bytes,
    /// What may be filled by what is read from other nodes and not mirrored; 0: nothing is read from them.
    pub cache: Bytes,
    /// Bytes that one publisher may fill.
    pub max_bytes_per_publisher: Bytes,
    /// Items that one publisher may list.
    pub max_items_per_publisher: u64,
    /// Collections that one publisher may have here.
    pub max_collections_per_publisher: u32,
}

/// Section `transfer`. Rates are bytes in a second; 0 is no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// What is sent at most.
    pub upload_rate: Bytes,
    /// What is sent to one peer at most.
    pub upload_rate_per_peer: Bytes,
    /// What is fetched at most.
    pub download_rate: Bytes,
    /// What is fetched from one peer at most.
    pub download_rate_per_peer: Bytes,
    /// What is sent at most, and fetched, while the page sends somebody a file.
    pub rate_beside_readers: Bytes,
    /// Streams that are sent content at a time.
    pub upload_slots: u32,
    /// When anything is fetched.
    pub hours: Hours,
}

/// Section `scrub`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrub {
    /// Whether files are checked while the node runs.
    pub enabled: bool,
    /// Bytes read in a second at most.
    pub rate: Bytes,
    /// When.
    pub hours: Hours,
}

/// Section `log`.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: log::LevelFilter,
}

impl Default for Config {
    fn default() -> Self {
        let any = |family: &str| format!("{family}/udp/{DEFAULT_PORT}/quic-v1").parse().expect("a correct address");
        Self {
            data: PathBuf::new(),
            name: String::new(),
            hash_threads: 0,
            network: Network {
                listen: vec![any("/ip4/0.0.0.0"), any("/ip6/::")],
                bootstrap: Vec::new(),
                mdns: true,
                max_peers: 128,
                max_dialled: 96,
                max_peers_per_ip: 32,
                auth: Auth::Open,
                allow: Vec::new(),
                deny: Vec::new(),
                public_addresses: false,
                gossip: false,
                ciphers: Ciphers::Auto,
            },
            heartbeat: Heartbeat { interval_ms: 6_000, timeout_ms: 150, failures: 20 },
            reconnect: Reconnect { first_ms: 500, longest_ms: 3_000, attempts: 30, slow_ms: 60_000 },
            topology: Topology { shape: Shape::Auto, mesh_nodes: 24, hub_nodes: 300 },
            kiosk: Kiosk { enabled: true, listen: (Ipv4Addr::UNSPECIFIED, DEFAULT_HTTP_PORT).into() },
            mirror: Mirror {
                enabled: false,
                folder: PathBuf::new(),
                only: Vec::new(),
                reserve: Bytes(1_000_000_000),
                quota: Bytes(1_000_000_000_000_000),
                cache: Bytes(4_000_000_000),
                max_bytes_per_publisher: Bytes(100_000_000_000),
                max_items_per_publisher: 100_000,
                max_collections_per_publisher: 32,
            },
            transfer: Transfer {
                upload_rate: Bytes(0),
                upload_rate_per_peer: Bytes(0),
                download_rate: Bytes(0),
                download_rate_per_peer: Bytes(0),
                rate_beside_readers: Bytes(1_000_000),
                upload_slots: limits::transfer::UPLOAD_SLOTS as u32,
                hours: Hours::default(),
            },
            scrub: Scrub { enabled: true, rate: Bytes(1_000_000), hours: Hours::default() },
            log: Log { level: log::LevelFilter::Warn },
            origins: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Where the value of a key of [`KEYS`] comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Whether someone has set this key. A default port that is taken moves on; one that was set is an error.
    pub fn is_explicit(&self, key: &str) -> bool {
        debug_assert!(KEYS.iter().any(|known| known.name == key), "no such key: {key}");
        self.origins.contains_key(key)
    }
}

/// What became of another configuration; see [`Config::reload`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that changed and hold from now on.
    pub live: Vec<&'static str>,
    /// Keys that changed, and keep their old values until the next start.
    pub restart: Vec<&'static str>,
}

impl Config {
    /// This configuration with all live values of `new`, and what changed.
    pub fn reload(&self, new: &Self) -> (Self, Changes) {
        let (mut config, mut changes) = (self.clone(), Changes::default());
        for key in KEYS {
            let has_changed = key.value(self) != key.value(new);
            match key.effect {
                Effect::Live => {
                    key.copy(&mut config, new);
                    changes.live.extend(has_changed.then_some(key.name));
                }
                Effect::Restart => changes.restart.extend(has_changed.then_some(key.name)),
            }
        }
        (config, changes)
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file, an environment variable or a flag.
    Set(Place),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Set(place) => place.fmt(f),
        }
    }
}
