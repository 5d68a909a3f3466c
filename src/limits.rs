//! Every bound of the program, in one place. Reaching one is an ordinary, tested case.
//!
//! Sizes are in bytes, counts are counts; a name says which. Compile-time asserts at the end hold what must fit together.

/// Bytes of one chunk group: the unit of verification, of resuming and of the outboard's leaves (FACTS: 64 KiB groups
/// cost 0.1 % of the file).
pub const GROUP_BYTES: u64 = 64 * 1024;
/// Files up to this size have no outboard: their content id is the whole proof.
pub const NO_OUTBOARD_BYTES: u64 = GROUP_BYTES;

/// Messages between nodes.
pub mod wire {
    /// Bytes of content in one `Data` frame: what the receiver verifies at a time.
    pub const DATA_BYTES: u64 = 4 * super::GROUP_BYTES;
    /// Bytes of one `Data` frame's body: the content and the hashes that prove it (64 bytes for each of ≤ 64 levels,
    /// and for each pair of groups inside), and its header.
    pub const DATA_FRAME_BYTES: usize = DATA_BYTES as usize + 64 * (64 + 8) + 32;
    /// Bytes of a request's body. A peer can make us hold one on each stream that it opens.
    pub const REQUEST_BYTES: usize = 4 * 1024;
    /// Bytes of any other frame's body, unless its message says otherwise.
    pub const FRAME_BYTES: usize = 64 * 1024;
    /// Bytes of a signed collection head with its list of page hashes.
    pub const ROOT_BYTES: usize = 1024 * 1024;
    /// Collections that one peer may list.
    pub const HEADS: usize = 256;
    /// Pages in one request.
    pub const PAGES_PER_REQUEST: usize = 64;
    /// Ranges in one request for a blob.
    pub const RANGES_PER_REQUEST: usize = 16;
    /// Ranges in one message about what is there of a blob.
    pub const HAVE_RANGES: usize = 64;
    /// Who watches a blob hears of more of it at most this often.
    pub const HAVE_INTERVAL_MS: u64 = 100;
    /// Requests that a client may have open on one blob stream.
    pub const PIPELINED_REQUESTS: usize = 64;
    /// Peers that one peer tells of at a time.
    pub const INTRODUCTIONS: usize = 32;
    /// Addresses that are told of one peer.
    pub const TOLD_ADDRESSES: usize = 4;
    /// Bytes of such an address.
    pub const ADDRESS_BYTES: usize = 128;
    /// Bytes of an announcement by gossip.
    pub const ANNOUNCEMENT_BYTES: usize = 1024;
    /// Bytes of the words in an error message.
    pub const ERROR_DETAIL_BYTES: usize = 256;
}

/// Collections and what they list.
pub mod library {
    /// Bytes of a collection's name.
    pub const NAME_BYTES: usize = 128;
    /// Bytes of an item's path within its collection.
    pub const PATH_BYTES: usize = 1024;
    /// Bytes of a title, and of an author list.
    pub const TITLE_BYTES: usize = 256;
    /// Bytes of a language tag (RFC 5646).
    pub const LANGUAGE_BYTES: usize = 35;
    /// Bytes of one page of a manifest.
    pub const PAGE_BYTES: usize = 16 * 1024;
    /// Items on one page of a manifest.
    pub const PAGE_ITEMS: usize = 64;
    /// Pages of one manifest.
    pub const PAGES: usize = super::wire::ROOT_BYTES / 32 - 64;
    /// Bytes of what is remembered of one collection: 16 for each item that is not wanted.
    pub const NOTES_BYTES: u64 = 16 * 1024 * 1024;
    /// Values of an older version that are taken over at a time: some 100 bytes each.
    pub const LEGACY_VALUES: usize = 4096;
    /// Items that an add finds before it publishes a version with them.
    pub const ADD_PUBLISH_ITEMS: usize = 8192;
    /// Bytes that an add reads before it publishes a version with them: half a minute on a small board.
    pub const ADD_PUBLISH_BYTES: u64 = 1024 * 1024 * 1024;
    /// Items that are deleted in one go to make room.
    pub const EVICT_ITEMS: usize = 4096;
    /// It is looked this often whether disks with shared files are there.
    pub const LOOK_MS: u64 = 10_000;
    /// Collections that a node keeps, its own and mirrored ones.
    pub const COLLECTIONS: usize = super::wire::HEADS;
}

/// Catalogue streams, and following other nodes.
pub mod follow {
    /// A catalogue stream without a request for this long is closed.
    pub const IDLE_MS: u64 = 120_000;
    /// The other side must take or send a whole frame within this time.
    pub const STALL_MS: u64 = 30_000;
    /// Watchers hear of changes at most this often.
    pub const HEADS_INTERVAL_MS: u64 = 250;
    /// The first pause after something did not work; it doubles each time.
    pub const RETRY_MIN_MS: u64 = 1_000;
    /// Between two looks at a full disk.
    pub const NO_SPACE_RETRY_MS: u64 = 10_000;
    /// The longest such pause.
    pub const RETRY_MAX_MS: u64 = 60_000;
    /// A peer that was too slow is asked nothing for this long, in which the others have looked whether they have it.
    pub const SLOW_PAUSE_MS: u64 = 2 * RETRY_MAX_MS;
    /// A mirror looks this often for files that were found damaged, besides at every change.
    pub const RESCAN_MS: u64 = 600_000;
    /// Peers that small blobs come from at the same time; the others wait.
    pub const SMALL_LANES: usize = 2;
    /// Large blobs that are fetched at the same time; the others wait.
    pub const LARGE_LANES: usize = 4;
    /// Streams that they arrive on at the same time; the others wait.
    pub const LARGE_PLACES: usize = 12;
    /// What is held is counted anew at most this often when files are found damaged.
    pub const RECOUNT_MS: u64 = 1_000;
    /// Small blobs asked for in one go, if they are not too large together.
    pub const SMALL_WANTS: usize = 4 * super::store::SMALL_FILES_PER_SYNC;
    /// With so many bytes no more are asked for in that go. Meanwhile no other peer sends them.
    pub const SMALL_WANTS_BYTES: u64 = 32 * 1024 * 1024;
    /// Bytes of memory for one of them, beside those of its names: held by an assert of `library::follow::small`.
    pub const SMALL_WANT_BYTES: usize = 728;
    /// Bytes of their names and of what else is written about them, at most.
    pub const SMALL_WANTS_TEXT_BYTES: usize = 96 * 1024;
    /// Bytes of these for one item at most, with those of the path that it gets here.
    pub const ITEM_TEXT_BYTES: usize = super::library::PATH_BYTES
        + 2 * super::library::TITLE_BYTES
        + super::library::LANGUAGE_BYTES
        + super::store::LIBRARY_PATH_BYTES;
    /// Notices kept at a time.
    pub const NOTICES: usize = 64;
    /// Collections that are known for somebody to read of them, and not mirrored.
    pub const KNOWN: usize = super::library::COLLECTIONS / 2;
    /// Files that are read from other nodes at a time: as many as streams that a single peer serves.
    pub const READS: usize = LARGE_LANES;
    /// Beside those, if the owner of the node reads.
    pub const OWNER_READS: usize = 1;
    /// Peers that one of them is read from at a time.
    pub const READ_SOURCES: usize = 3;
    /// A peer that can't be asked for what somebody reads, or breaks off, is asked again after this long while it is connected.
    pub const READ_RETRY_MS: u64 = 250;
    /// A reader waits this long for the next piece of a file.
    pub const READ_PATIENCE_MS: u64 = 30_000;
    /// If nobody is there any more who has it, this long.
    pub const READ_RETURN_MS: u64 = 10_000;
    /// A file that nobody may begin to read yet, as somebody is at it in another way, is looked at again after so long.
    pub const READ_LOOK_MS: u64 = 20;
}

/// The store.
pub mod store {
    /// Bytes of one value in sled: larger ones spill into files that sled never syncs.
    pub const VALUE_BYTES: usize = 4 * 1024;
    /// Records and bytes of one sled batch; larger ones do not survive a power cut.
    pub const BATCH_RECORDS: usize = 64;
    /// See [`BATCH_RECORDS`].
    pub const BATCH_BYTES: usize = 64 * 1024;
    /// Damaged indexes that are kept for whoever wants to look at them.
    pub const DAMAGED_INDEXES: u32 = 3;
    /// Small files that are written before they are synced together: their records are two batches of the index.
    pub const SMALL_FILES_PER_SYNC: usize = 2 * (BATCH_RECORDS - 4);
    /// Bytes of such a file at most.
    pub const SMALL_FILE_BYTES: u64 = 4 * super::GROUP_BYTES;
    /// Bytes of all programs that wait for a disk: with more, small files are synced one by one, and not all that there is. A
    /// card that takes 10 MB in a second has them before the peer is kept waiting for too long.
    pub const SYNC_ALL_BYTES: u64 = 256 * 1024 * 1024;
    /// If all that there is takes longer than this, small files are synced one by one for [`SYNC_EACH_MS`].
    pub const SYNC_ALL_MS: u64 = 2_000;
    /// See [`SYNC_ALL_MS`].
    pub const SYNC_EACH_MS: u64 = 60_000;
    /// Bytes of a running download between two checkpoints.
    pub const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;
    /// Files that the index knows for one blob; it may have more names, which are not written down.
    pub const LOCATIONS: usize = 8;
    /// Bytes of a path below the library folder.
    pub const LIBRARY_PATH_BYTES: usize = 2048 + 256;
    /// Bytes of a path that is stored relative to a folder that was shared; for longer ones the file's own folder is.
    pub const RELATIVE_PATH_BYTES: usize = LIBRARY_PATH_BYTES;
    /// Bytes of disk that are kept for the time when it is full: for opening the index (512 KiB), and for what a removal
    /// writes, a manifest of some 20,000 items at most.
    pub const BALLAST_BYTES: u64 = 4 * 1024 * 1024;
    /// Bytes of disk that the index has ahead of what it writes: two of sled's segments.
    pub const INDEX_AHEAD_BYTES: u64 = 1024 * 1024;
    /// Files that are here only because somebody read them.
    pub const CACHED: usize = 4096;
    /// Seconds in which the use of a file is noted once: a write to the disk for each.
    pub const USED_S: u64 = 24 * 60 * 60;
    /// A write to the index that takes longer than this is looked after.
    pub const FLUSH_STALL_MS: u64 = 2_000;
    /// Threads that hash one file.
    pub const HASH_THREADS: usize = 16;
    /// Bytes that each of them hashes at a time; whole groups.
    pub const HASH_BYTES: usize = 8 * super::GROUP_BYTES as usize;
    /// Damaged files that people are told of.
    pub const DAMAGES: usize = 64;
    /// Places in a damaged file that people are told of.
    pub const DAMAGED_RANGES: usize = 64;
    /// Pieces that a blob has for those who wait for more of it: those of a larger blob are larger than a group.
    pub const HOLDING_PIECES: u64 = 64 * 1024;
    /// Files of one name that are set aside before the store gives up.
    pub const SET_ASIDE: u32 = 1000;
}

/// The scrub.
pub mod scrub {
    /// Bytes read at a time.
    pub const STEP_BYTES: u64 = 1024 * 1024;
    /// What a file counts for at least: opening one costs as much as reading this.
    pub const FILE_BYTES: u64 = 128 * 1024;
    /// It goes on when nobody has used the store for this long.
    pub const QUIET_MS: u64 = 5_000;
    /// The longest time between two looks whether it may go on.
    pub const LOOK_MS: u64 = 60_000;
    /// Between a pass and the next.
    pub const REST_S: u64 = 7 * 24 * 3600;
    /// Its position is kept this often.
    pub const KEEP_MS: u64 = 600_000;
    /// While it rests, and nothing else changes, this often.
    pub const KEEP_REST_S: u64 = 3600;
}

pub mod transfer;

pub mod network;

/// What is kept of peers.
pub mod peers {
    /// Bytes of the file with the lists: two of [`KNOWN_PEERS`](super::network::KNOWN_PEERS) ids, and what people write between
    /// them.
    pub const LISTS_BYTES: u64 = 256 * 1024;
    /// Bytes of the file with what is remembered.
    pub const CACHE_BYTES: u64 = 1024 * 1024;
    /// That file is written this often at most, besides at the end.
    pub const CACHE_MS: u64 = 600_000;
    /// This often, if somebody was banned: whoever can have us write could do so at each of its ids.
    pub const BANS_MS: u64 = 10_000;
    /// What peers did is handed to who judges them this often.
    pub const CONDUCT_MS: u64 = 2_000;
    /// Peers that a diagnosis of all tells of.
    pub const FINDINGS: usize = 64;
    /// Of one kind, so many at a time count.
    pub const CONDUCT_OF_A_KIND: u32 = 8;
}

pub mod kiosk;

/// The configuration.
pub mod config {
    /// Bytes of a configuration file.
    pub const FILE_BYTES: u64 = 64 * 1024;
    /// Addresses to listen on.
    pub const LISTEN: usize = 16;
    /// Peers to dial besides those that are found.
    pub const BOOTSTRAP: usize = 64;
}

/// The control socket.
pub mod control {
    /// Clients at a time.
    pub const CLIENTS: usize = 16;
    /// Bytes of one request or reply line.
    pub const LINE_BYTES: usize = 256 * 1024;
    /// Clients that are being worked for; more wait.
    pub const OPERATIONS: usize = 2;
    /// Bytes of content behind one reply line.
    pub const DATA_BYTES: usize = super::wire::DATA_BYTES as usize;
    /// Collections in which one file is looked for.
    pub const LISTINGS: usize = 16;
    /// Replies that wait for a slow client.
    pub const REPLY_QUEUE: usize = 4;
}

const _: () = {
    assert!(library::PAGE_BYTES <= wire::FRAME_BYTES);
    assert!(library::PAGES * 32 + 1024 <= wire::ROOT_BYTES);
    assert!(store::VALUE_BYTES <= store::BATCH_BYTES);
    assert!(wire::DATA_BYTES.is_multiple_of(GROUP_BYTES));
    assert!(transfer::REQUEST_BYTES.is_multiple_of(wire::DATA_BYTES));
    assert!(transfer::OPEN_REQUESTS <= wire::PIPELINED_REQUESTS);
    assert!(transfer::SMALL_BYTES <= wire::DATA_BYTES && transfer::SMALL_BYTES <= transfer::REQUEST_BYTES);
    assert!(transfer::SMALL_BYTES < transfer::SHARED_BYTES);
    let said_items = transfer::NAMED_ITEMS * (2 * library::PATH_BYTES + 256);
    let said = said_items + network::KNOWN_PEERS * (64 + 128) + library::COLLECTIONS * 256;
    assert!(said as u64 <= transfer::SAID_BYTES);
    assert!(wire::PAGES_PER_REQUEST * 32 + 64 <= wire::REQUEST_BYTES);
    assert!(32 + 10 + 2 + wire::HAVE_RANGES * 2 * 10 <= wire::DATA_FRAME_BYTES);
    assert!(wire::RANGES_PER_REQUEST * 2 * 10 + 64 <= wire::REQUEST_BYTES);
    let address = wire::ADDRESS_BYTES + 2;
    // A name is a peer id, a number, and what protobuf puts before it; a message has its topic, signature, key and author.
    assert!(network::GOSSIP_IDS * (38 + 8 + 2) + 256 <= network::GOSSIP_RPC_BYTES);
    assert!(wire::ANNOUNCEMENT_BYTES + 512 <= network::GOSSIP_RPC_BYTES);
    assert!(wire::INTRODUCTIONS * (32 + 3 + 5 + 1 + wire::TOLD_ADDRESSES * address) + 16 <= wire::FRAME_BYTES);
    assert!(network::ADDRESSES_REMEMBERED <= wire::TOLD_ADDRESSES);
    assert!(48 + 10 + 32 + 1 + wire::TOLD_ADDRESSES * address <= wire::ANNOUNCEMENT_BYTES);
    assert!(wire::HEADS * (48 + library::NAME_BYTES + 4 * 10) + 64 <= wire::FRAME_BYTES);
    // Memory: a node with 20,000 files and 100 peers that do nothing needs 25 MB (measured), and 100 MB at most if they fill
    // every window, slot and lane. Of a blob that is sent, one frame is on its way, one waits and one is made; of small blobs
    // that are fetched, one batch arrives and one is written, and their names are there twice. Of each peer the plan of one large blob knows what it has, and of
    // some those of what is read.
    let narrow = network::CONNECTION_WINDOW_BYTES as usize + network::SEND_WINDOW_BYTES as usize;
    let wide = network::WIDE_CONNECTION_WINDOW_BYTES as usize + network::WIDE_SEND_WINDOW_BYTES as usize;
    let windows = 100 * narrow + (network::WIDE_CONNECTIONS + network::FAR_CONNECTIONS) * (wide - narrow);
    let uploads = transfer::UPLOAD_SLOTS * 3 * wire::DATA_FRAME_BYTES;
    let wants = 2 * follow::SMALL_WANTS_TEXT_BYTES + follow::SMALL_WANTS * follow::SMALL_WANT_BYTES;
    let small = follow::SMALL_LANES * (2 * transfer::SMALL_BATCH_BYTES as usize + wants);
    let large = follow::LARGE_PLACES * transfer::FRAMES_IN_MEMORY * wire::DATA_FRAME_BYTES;
    let reads = (follow::READS + follow::OWNER_READS) * follow::READ_SOURCES;
    let plans = (100 + reads) * transfer::SOURCE_BYTES;
    assert!(25_000_000 + windows + uploads + small + large + plans <= 100_000_000);
    assert!(network::STREAM_WINDOW_BYTES < network::WIDE_CONNECTION_WINDOW_BYTES);
    // Those of our three protocols, and some of libp2p's own.
    assert!(3 * network::SERVED_STREAMS_PER_PEER + 4 <= network::STREAMS_PER_CONNECTION as usize);
    assert!(network::SERVED_STREAMS_PER_PEER < transfer::UPLOAD_SLOTS);
    assert!(follow::READS <= network::SERVED_STREAMS_PER_PEER);
    // A page takes a few of the longest items, so that a page always exists for an item.
    assert!(2 * (library::PATH_BYTES + 2 * library::TITLE_BYTES + library::LANGUAGE_BYTES + 64) <= library::PAGE_BYTES);
};
