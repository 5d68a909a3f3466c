//! What is fetched, and what is not.

use serde::{Deserialize, Serialize};

/// One collection on its way here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// The collection's name.
    pub collection: String,
    /// The peer that it comes from.
    pub peer: String,
    /// What is being fetched right now.
    pub item: Option<String>,
    /// Items complete and verified, of `items_total`.
    pub items_done: u64,
    /// See `items_done`.
    pub items_total: u64,
    /// Bytes received from whomever, verified and kept, of `bytes_total`.
    pub bytes_done: u64,
    /// See `bytes_done`.
    pub bytes_total: u64,
    /// Verified bytes per second from this peer, smoothed over some seconds.
    pub rate_bytes_s: u64,
    /// The same from all peers that this collection comes from now.
    #[serde(default)]
    pub total_rate_bytes_s: u64,
    /// How many these are.
    #[serde(default)]
    pub sources: u64,
    /// Seconds to the end at the rate of all.
    pub remaining_s: Option<u64>,
    /// The collection's folder, by which commands name it.
    #[serde(default)]
    pub folder: String,
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Whether it is fetched.
    #[serde(default)]
    pub state: TransferState,
    /// Before which others.
    #[serde(default)]
    pub priority: TransferPriority,
    /// If it is not all of the collection, but one of its items: that one's path.
    #[serde(default)]
    pub path: Option<String>,
}

/// Whether a collection or an item is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// If peers have it.
    #[default]
    Going,
    /// Not until it is resumed.
    Paused,
    /// Not until it is resumed, and what had come of files that were not complete is gone.
    Cancelled,
}

/// What comes before others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferPriority {
    /// After others.
    Low,
    /// As it comes.
    #[default]
    Normal,
    /// Before others.
    High,
}

/// What the owner said of transfers, and what the hour says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// Nothing is fetched, or sent to other nodes.
    pub paused: bool,
    /// It is not the hour to fetch anything (`transfer.hours`).
    pub resting: bool,
    /// Peers from which nothing is fetched, and to which nothing is sent.
    pub paused_peers: Vec<String>,
    /// Bytes that are sent in a second at most; 0 if there is no limit.
    pub upload_rate: u64,
    /// Bytes that are fetched in a second at most; 0 if there is no limit.
    pub download_rate: u64,
    /// Collections that are not under way and of which anything was said.
    pub collections: Vec<TransferStatus>,
    /// Items of which anything was said.
    #[serde(default)]
    pub items: Vec<TransferStatus>,
    /// Peers that get more or less than others.
    #[serde(default)]
    pub peer_priorities: Vec<PeerPriority>,
}

/// What a peer gets of limited rates, and of the upload slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPriority {
    /// Its peer id.
    pub peer: String,
    /// More or less than others.
    pub priority: TransferPriority,
}
