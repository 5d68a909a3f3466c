//! What people and programs are shown: plain types that each part fills for itself and that every display reads.
//!
//! It may use the ground alone. The types are the `--json` output of the program: fields are only ever added.

mod metrics;
mod transfer;

pub use metrics::metrics;
pub use transfer::{
    ControlStatus, PeerPriority, Progress, TrafficStatus, TransferPriority, TransferState, TransferStatus,
};

use serde::{Deserialize, Serialize};

/// A whole node at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The peer id.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_s: u64,
    /// Addresses of the page, best first.
    pub pages: Vec<String>,
    /// Addresses that peers can reach this node at; link-local ones with the interface that they are on.
    pub listen: Vec<String>,
    /// Every peer known.
    pub peers: Vec<PeerStatus>,
    /// Every transfer under way.
    pub transfers: Vec<TransferStatus>,
    /// What of them waits, and why.
    #[serde(default)]
    pub controls: ControlStatus,
    /// What passes between this node and others in all.
    #[serde(default)]
    pub traffic: TrafficStatus,
    /// What the node keeps.
    pub store: StoreStatus,
    /// Checking of what it keeps.
    #[serde(default)]
    pub scrub: ScrubStatus,
    /// The process, and the machine that it runs on.
    #[serde(default)]
    pub system: SystemStatus,
    /// What a person should know or do.
    pub notices: Vec<Notice>,
    /// Why peers are not seen, or one is not.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// The process and the machine that it runs on. What the machine does not tell is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemStatus {
    /// Bytes of memory that the process takes (resident).
    pub memory_bytes: Option<u64>,
    /// Bytes of memory that the machine has.
    pub memory_total_bytes: Option<u64>,
    /// Those of them that programs may still take.
    pub memory_available_bytes: Option<u64>,
    /// What the process takes of one processor core, since it was looked last or since it started; above 100 with several.
    pub cpu_percent: Option<f32>,
    /// Tasks of the machine that ran or waited to run, on average over a minute.
    pub load: Option<f32>,
    /// The disk of the data folder.
    pub data_disk: Option<DiskStatus>,
    /// The disk of the library, often the same.
    pub library_disk: Option<DiskStatus>,
    /// The hottest sensor.
    pub temperature_celsius: Option<f32>,
    /// Seconds since the machine started.
    pub uptime_s: Option<u64>,
}

/// A disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Bytes that an ordinary user may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// One peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its peer id.
    pub node: String,
    /// Whether it is connected now.
    pub state: PeerState,
    /// The address in use, or the last one tried.
    pub address: Option<String>,
    /// Round-trip time of the last ping in microseconds.
    pub rtt_us: Option<u64>,
    /// The program and version that it names itself.
    pub agent: Option<String>,
    /// Whether it is another program, which speaks no protocol of ours.
    #[serde(default)]
    pub foreign: bool,
    /// How it was found: "mdns", "bootstrap" or "inbound".
    pub source: String,
    /// What went wrong last.
    pub error: Option<String>,
    /// How much the round-trip time varies, in microseconds.
    #[serde(default)]
    pub rtt_deviation_us: Option<u64>,
    /// Packets lost of those sent lately, in percent.
    #[serde(default)]
    pub loss_percent: Option<f32>,
    /// How good the connection is, 0 to 100.
    #[serde(default)]
    pub quality: Option<u8>,
    /// Bytes per second on the wire lately, to the peer and from it.
    #[serde(default)]
    pub sent_bytes_s: u64,
    /// See `sent_bytes_s`.
    #[serde(default)]
    pub received_bytes_s: u64,
    /// The same in all, since the node started.
    #[serde(default)]
    pub sent_bytes: u64,
    /// See `sent_bytes`.
    #[serde(default)]
    pub received_bytes: u64,
    /// The cipher suite of the connection.
    #[serde(default)]
    pub cipher: Option<String>,
    /// Seconds since it is connected, or since it was last.
    #[serde(default)]
    pub since_s: Option<u64>,
    /// Seconds until it is tried again.
    #[serde(default)]
    pub retry_in_s: Option<u64>,
    /// What it is known for, -100 (bad) to 100.
    #[serde(default)]
    pub reputation: i8,
    /// Seconds until its ban is over.
    #[serde(default)]
    pub banned_for_s: Option<u64>,
    /// What the lists say of it.
    #[serde(default)]
    pub access: Access,
    /// Whether it is named in the configuration (`network.bootstrap`).
    #[serde(default)]
    pub bootstrap: bool,
    /// Why it is not connected, as far as that is known; in words in `error`.
    #[serde(default)]
    pub trouble: Option<Trouble>,
}

/// Why a peer is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// No address of it answers.
    Unreachable,
    /// It was connected and stopped answering.
    Unresponsive,
    /// Another node answers at its address.
    WrongPeer,
    /// It does not admit this node.
    NotAllowedThere,
    /// It has banned this node for a while.
    BannedThere,
    /// It has no room for another peer.
    FullThere,
    /// The two have no common version of the protocol.
    Version,
    /// It was stopped.
    Stopped,
    /// This node does not admit it.
    NotAllowedHere,
    /// This node has banned it for a while.
    BannedHere,
    /// This node has no room for another peer.
    FullHere,
}

/// Something that a diagnosis found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which peer it is about; none if all.
    pub peer: Option<String>,
    /// What it is, for programs.
    pub cause: Cause,
    /// How bad it is.
    pub level: NoticeLevel,
    /// What was found.
    pub text: String,
    /// What to do about it; empty if nothing.
    pub advice: String,
}

/// What a diagnosis can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No node runs on the data folder.
    NotRunning,
    /// The machine has no network.
    NoInterface,
    /// No interface has an address that is to be listened on.
    AddressMissing,
    /// Looking for peers is switched off (`network.mdns`).
    MdnsOff,
    /// An interface can't be used for multicast DNS.
    MdnsFailed,
    /// An interface does not hear even this node.
    NoMulticast,
    /// No other machine was heard.
    NothingHeard,
    /// Other machines were heard, and no node among them.
    NoNodeHeard,
    /// The clock of this machine is wrong, which does not matter to peers.
    Clock,
    /// Another machine uses this node's peer id.
    OwnIdElsewhere,
    /// The lists of peers can't be read.
    ListsDamaged,
    /// All is well.
    Connected,
    /// It is this node itself.
    Myself,
    /// Nothing was ever heard of it.
    Unknown,
    /// It is denied here.
    DeniedHere,
    /// It is not on this node's list.
    NotAllowedHere,
    /// This node is not on its list.
    NotAllowedThere,
    /// This node has banned it.
    BannedHere,
    /// It has banned this node.
    BannedThere,
    /// This node has as many peers as it may.
    FullHere,
    /// It has as many peers as it may.
    FullThere,
    /// The two speak no common version.
    Version,
    /// It is another program.
    OtherProgram,
    /// Another node is at its address.
    WrongPeer,
    /// It was heard, and does not answer: a firewall, or isolation in the access point.
    Blocked,
    /// It does not answer, and was not heard either.
    Unreachable,
    /// It was stopped.
    Stopped,
    /// It is known and there is no reason to connect with it now, or it is just being tried.
    Waiting,
}

/// What the lists of peers say of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Nothing.
    #[default]
    Unlisted,
    /// It may connect.
    Allowed,
    /// It may not.
    Denied,
}

/// Where a peer's life stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// A connection is open.
    Connected,
    /// None is, one is being made or will be.
    #[default]
    Disconnected,
    /// Given up until it is heard of again.
    Failed,
}

/// What the store holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Collections known.
    pub collections: u64,
    /// Blobs complete.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes free on the disk of the library.
    pub free_bytes: u64,
    /// Bytes that are kept free.
    pub reserve_bytes: u64,
    /// Bytes that copies take, of `quota_bytes`.
    #[serde(default)]
    pub library_bytes: u64,
    /// See `library_bytes`.
    #[serde(default)]
    pub quota_bytes: u64,
}

/// Reading everything that is kept from time to time, to find what the disk damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// What it does now.
    pub state: ScrubState,
    /// Bytes checked in this pass, of `total_bytes`.
    pub checked_bytes: u64,
    /// See `checked_bytes`.
    pub total_bytes: u64,
    /// Passes over everything that came to their end.
    pub passes: u64,
    /// Damaged files that were found, in all passes.
    pub damaged: u64,
}

/// What the scrub does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScrubState {
    /// Switched off (`scrub.enabled`).
    #[default]
    Off,
    /// It reads.
    Reading,
    /// Something else is read, copied or served, or it is not the hour (`scrub.hours`).
    Waiting,
    /// A pass is over; the next begins within a week.
    Resting,
}

/// Something a person should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// How bad it is.
    pub level: NoticeLevel,
    /// What happened, where, and what to do.
    pub text: String,
}

/// How bad a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeLevel {
    /// Good to know.
    Info,
    /// Something does not work as it should.
    Warning,
    /// Something needs a hand.
    Error,
}
