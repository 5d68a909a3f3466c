//! The control socket: how the command line talks to a running node.
//!
//! A Unix socket in the runtime folder, open to its owner alone, or to the group of a system service. A client sends one
//! [`Request`] as a line of JSON; the node answers with [`Reply`] lines, the last of which is [`Reply::Done`] or
//! [`Reply::Error`], and closes. After a [`Reply::Data`] line the bytes that it announces follow as they are. The same replies
//! are what the program prints with `--json`: fields are only ever added.
//!
//! A client that goes away ends what it asked for, at the next reply: a file that is being read is left, and an add publishes
//! nothing any more. What was published stands, and asking again continues.

mod client;
mod server;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    io,
    ops::Range,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use client::Client;
pub use server::{Handler, Server};

use crate::status::{Finding, NodeStatus};

/// What a client may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Share files and folders; paths are absolute.
    Add { paths: Vec<PathText>, collection: Option<String>, copy: bool, yes: bool },
    /// Look again at what own collections come from, all if none is named.
    Rescan { collections: Vec<String> },
    /// List the collections, or the items of one.
    List { collection: Option<String> },
    /// Stop sharing or mirroring: collections, or items as `COLLECTION/PATH`.
    Remove { names: Vec<String> },
    /// Say what an item of this node's own is, named as `COLLECTION/PATH`: an empty text takes back what was said before.
    Edit { name: String, title: Option<String>, author: Option<String>, language: Option<String> },
    /// Send the bytes of a blob; the beginning of its id is enough if no other begins so.
    Get { id: String },
    /// Read and check blobs, all if none is named.
    Verify { ids: Vec<String> },
    /// Find the files that the index lost, and read and check all.
    Doctor,
    /// The whole state of the node.
    Status,
    /// Why a peer, or any, is not seen.
    Diagnose { peer: Option<String> },
    /// Change what is said of peers, named by their ids.
    Peers { change: PeerChange, peers: Vec<String> },
    /// Change what is transferred: of collections, named by their folders, of peers, named by their ids, or of everything.
    Transfers { change: TransferChange, names: Vec<String> },
    /// Read the configuration again.
    Reload,
}

impl Request {
    /// Whether it takes but a moment; the others wait for each other.
    pub fn is_quick(&self) -> bool {
        matches!(
            self,
            Self::Status | Self::Diagnose { .. } | Self::Peers { .. } | Self::Transfers { .. } | Self::Reload
        )
    }
}

/// What can be said of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerChange {
    /// They may connect.
    Allow,
    /// They may not.
    Deny,
    /// Nothing is said of them any more, and nothing remembered.
    Forget,
    /// From now on only those that are allowed may connect, where all have been learned.
    Lock,
    /// What they have done is forgotten.
    Pardon,
}

/// What can be said of transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferChange {
    /// Nothing more is fetched, or sent, until it is resumed. What has come stays.
    Pause,
    /// It goes on.
    Resume,
    /// The same as a pause, and what has come of files that are not complete is deleted.
    Cancel,
    /// It comes before others.
    High,
    /// It comes neither before nor after others.
    Normal,
    /// Others come before it.
    Low,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Reply {
    /// A file is being read; `files` and `bytes` were read so far, of `total_bytes` if that is known. Comes often, and is
    /// left out when the client is slow.
    Reading { path: String, files: u64, bytes: u64, total_bytes: Option<u64> },
    /// A file was left out on purpose.
    Skipped { path: String, reason: String },
    /// A file could not be read.
    Unreadable { path: String, reason: String },
    /// Nothing that was listed is in this folder any more: its disk is taken for unplugged, and the items stay listed.
    Away { path: String, items: u64 },
    /// A version of the collection is out, with what was found so far.
    Published { version: u64, items: u64 },
    /// An add is complete.
    Added {
        collection: CollectionInfo,
        added: u64,
        added_bytes: u64,
        /// How many of `added` have new content.
        #[serde(default)]
        changed: u64,
        unchanged: u64,
        removed: u64,
        /// Items that stay listed without their files: see [`Reply::Away`].
        #[serde(default)]
        unavailable: u64,
        skipped: u64,
        unreadable: u64,
    },
    /// A collection.
    Collection(CollectionInfo),
    /// An item of a collection.
    Item(ItemInfo),
    /// A collection or items of it were removed. What was mirrored is remembered as not wanted.
    Removed { name: String, items: u64, bytes: u64, mirrored: bool },
    /// An item has what was said of it, in this version of its collection.
    Edited { collection: CollectionInfo, item: ItemInfo },
    /// The blob that follows in [`Reply::Data`].
    Blob { id: String, size_bytes: u64 },
    /// Bytes of it, behind this line.
    Data {
        bytes: usize,
        #[serde(skip)]
        content: Vec<u8>,
    },
    /// A blob was checked; `fault` says what is wrong with it, and `ranges` which bytes of a damaged file are, to 64 KiB, as far
    /// as that is known.
    Verified {
        id: String,
        size_bytes: u64,
        paths: Vec<String>,
        fault: Option<String>,
        #[serde(default)]
        ranges: Vec<Range<u64>>,
    },
    /// A file that the index did not know, and that is what a collection lists.
    Found { path: String },
    /// All blobs were checked.
    Checked { blobs: u64, bytes: u64, damaged: u64 },
    /// The state of the node.
    Status(Box<NodeStatus>),
    /// Something that a diagnosis found.
    Finding(Finding),
    /// What was said of these peers holds now.
    PeersChanged { change: PeerChange, peers: Vec<String> },
    /// What was said of these transfers holds now; of all, if none is named.
    TransfersChanged { change: TransferChange, names: Vec<String> },
    /// The configuration was read again: these keys have changed and hold, or wait for a restart.
    Reloaded { live: Vec<String>, restart: Vec<String> },
    /// All was done.
    Done,
    /// It could not be done; what was told before holds.
    Error(OpError),
}

/// A collection, as `ls` tells of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionInfo {
    /// Its folder below the library, unique on this node: how commands name it.
    pub folder: String,
    /// What its publisher calls it.
    pub name: String,
    /// The publisher's peer id.
    pub publisher: String,
    /// Which of the publisher's collections, as 32 hexadecimal digits.
    pub id: String,
    /// The newest version known here.
    pub version: u64,
    /// Items, and their bytes.
    pub items: u64,
    /// See `items`.
    pub bytes: u64,
    /// Items that are complete here, and their bytes.
    pub held_items: u64,
    /// See `held_items`.
    pub held_bytes: u64,
    /// Whether this node publishes it.
    pub mine: bool,
}

/// An item, as `ls COLLECTION` tells of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemInfo {
    /// The content id.
    pub id: String,
    /// Where it stands in the collection.
    pub path: String,
    /// Its bytes.
    pub size_bytes: u64,
    /// Empty if unknown.
    pub title: String,
    /// Empty if unknown.
    pub author: String,
    /// Empty if unknown.
    pub language: String,
    /// Whether all its bytes are here.
    pub held: bool,
    /// What is wrong with its file if it was here: "missing", "changed" or "damaged".
    #[serde(default)]
    pub fault: Option<String>,
    /// Whether its publisher still offers it.
    pub offered: bool,
}

/// Why an operation ended early, in words for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct OpError {
    /// What a program acts on.
    pub kind: FailureKind,
    /// What happened, where, and what to do.
    pub message: String,
}

/// The reasons that programs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// None of the others.
    Failed,
    /// The data folder is open in another process.
    InUse,
    /// No such collection, item or blob.
    NotFound,
    /// Bytes on disk are damaged or gone.
    Damaged,
    /// No space is left, or a limit is reached.
    NoSpace,
    /// A disk is not there.
    Away,
    /// Not without `--yes`.
    Refused,
    /// The configuration is wrong.
    Configuration,
    /// The client went away.
    Gone,
}

impl OpError {
    /// With these words.
    pub fn new(kind: FailureKind, message: impl ToString) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// The client is gone: there is nobody to tell.
    pub fn gone() -> Self {
        Self::new(FailureKind::Gone, "the client went away")
    }
}

/// A path in JSON: a text, or a list of bytes where it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathText(pub PathBuf);

impl Serialize for PathText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => self.0.as_os_str().as_bytes().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PathText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.into(),
            Form::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }))
    }
}

/// Why there is no control socket, or no answer over it.
#[derive(Debug, Error)]
pub enum ControlError {
    /// No runtime folder could be made or trusted.
    #[error("no place for the control socket: {0}; remove what is in the way there, or let this user write there")]
    NoFolder(String),
    /// The socket belongs to another user.
    #[error(
        "the node of this data folder runs as another user. If that is the system's service, join its group and log in again: \
         sudo adduser $USER allibrary. Else run the command as that user"
    )]
    OtherUser,
    /// Reading or writing failed.
    #[error("control socket {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The request has more bytes than the node takes.
    #[error("these are too many names for one command; give fewer at a time, or the folder that they are in")]
    TooLong,
    /// The other side does not speak this protocol.
    #[error(
        "the node gave an answer that this version does not understand; use the same version of allibrary on both sides"
    )]
    Protocol,
    /// The node ended before the answer was complete.
    #[error("the node stopped before it was done; see its log")]
    Stopped,
}

/// The name of the socket of a data folder: short, because a socket's path has at most 107 bytes.
///
/// # Errors
/// If the folder does not exist.
fn socket_name(data: &Path) -> io::Result<String> {
    let folder = data.canonicalize()?;
    Ok(format!("{:.12}.sock", crate::content::ContentId::of(folder.as_os_str().as_bytes())))
}

/// The line of a message.
fn to_line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages hold only what JSON can");
    line.push(b'\n');
    line
}
