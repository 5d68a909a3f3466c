//! Blobs on their way.

/// Streams that are sent content at the same time; the others wait for their turn.
pub const UPLOAD_SLOTS: usize = 8;
/// Streams that wait for an upload slot at a time; the others hear "busy".
pub const SLOT_QUEUE: usize = 64;
/// A request waits so long for an upload slot at most, and then hears "busy". Its peer puts up with that.
pub const SLOT_WAIT_MS: u64 = 5_000;
/// Where others wait, a slot is given back after one answer, and also after so long.
pub const SLOT_TURN_MS: u64 = 2_000;
/// When those who hear "busy" shall ask again.
pub const BUSY_RETRY_MS: u32 = 2_000;
/// The longest wait that a peer can make us accept.
pub const BUSY_RETRY_MAX_MS: u32 = 60_000;
/// A stream without a request for this long is closed.
pub const STREAM_IDLE_MS: u64 = 120_000;
/// Within this time of waiting for it, the other side must send or take [`PACE_BYTES`], or it is given up.
pub const PACE_MS: u64 = 30_000;
/// How much later than that an answer may begin, as it may have to wait at the peer: [`SLOT_WAIT_MS`], and the way there and back.
pub const PACE_WAIT_MS: u64 = SLOT_WAIT_MS + 1_000;
/// See [`PACE_MS`].
pub const PACE_BYTES: u64 = super::wire::DATA_BYTES;
/// What a frame counts for at least: small answers are slow for other reasons than their bytes.
pub const PACE_FRAME_BYTES: u64 = 4 * 1024;
/// Bytes asked for in one request for a large blob.
pub const REQUEST_BYTES: u64 = 1024 * 1024;
/// Requests open at a time for a large blob: their bytes keep 1 Gbit/s busy over 40 ms and more.
pub const OPEN_REQUESTS: usize = 8;
/// Received `Data` frames in memory for each stream: one is filled while one is verified and written.
pub const FRAMES_IN_MEMORY: usize = 2;
/// Blobs from this size on come from several peers at a time; of smaller ones, each peer sends others.
pub const SHARED_BYTES: u64 = 4 * 1024 * 1024;
/// A stream gives its place to another after this long, if one waits.
pub const TURN_MS: u64 = 2_000;
/// A peer that has a part of a blob, but nothing that is of use, is waited for this long.
pub const PATIENCE_MS: u64 = 10_000;
/// How often a peer that lacks what it said it has is asked again what it has.
pub const LOOKS: usize = 16;
/// How often a stream is opened again on which a peer should tell what it has, and has not: see [`LOOK_RETRY_MS`].
pub const LOOK_TRIES: u32 = 4;
/// The pause before the first such try, at least; then twice as long each time.
pub const LOOK_RETRY_MS: u64 = 50;
/// Bytes of a blob that is fetched by one request, and kept in memory until its batch is written.
pub const SMALL_BYTES: u64 = super::store::SMALL_FILE_BYTES;
/// Bytes of one batch of small blobs.
pub const SMALL_BATCH_BYTES: u64 = 10 * 256 * 1024;
/// A running download is made durable this often, besides `store::CHECKPOINT_BYTES`.
pub const CHECKPOINT_MS: u64 = 30_000;
/// What a token bucket holds, in milliseconds of its rate: 0.64 % of 10 s, and several ticks of a slow board's timers.
pub const BUCKET_MS: u64 = 64;
/// A stream that waits for its share of a limited rate looks this often whether the rate has changed.
pub const LIMIT_LOOK_MS: u64 = 100;
/// Bytes that a second allows at least, where it is limited: with fewer, streams would be taken for too slow (see [`PACE_MS`]).
pub const LIMIT_BYTES_S: u64 = 64 * 1024;
/// What an upload slot needs of a limited rate: twice of what its peer puts up with. With less, slots are not used.
pub const SLOT_BYTES_S: u64 = 2 * PACE_BYTES * 1000 / PACE_MS;
/// Single items of which anything can be said.
pub const NAMED_ITEMS: usize = 256;
/// Bytes of the file with what was said: of so many items, with each character of their paths written as two, of all known peers
/// and of all collections.
pub const SAID_BYTES: u64 = 1024 * 1024;
/// It is looked this often which hour it is.
pub const HOURS_LOOK_MS: u64 = 20_000;
/// Files that are being written when they are cancelled are looked at again after so long, so often: together as long as a write
/// to a slow card takes.
pub const CANCEL_LOOK_MS: u64 = 50;
/// See [`CANCEL_LOOK_MS`].
pub const CANCEL_LOOKS: u32 = 200;
/// Nodes that one blob is fetched from at a time.
pub const SOURCES: usize = 32;
/// What the plan of a blob of 4 GiB knows of one source.
pub const SOURCE_BYTES: usize = 4 * PIECES as usize + 8 * 1024;
/// Pieces that a blob is planned in at most. They are of one `Data` frame or, if the blob is large, of more.
pub const PIECES: u64 = 4096;
/// A node begins to fetch a blob somewhere in so many bytes at its front.
pub const FIRST_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes that are asked of a source whose speed nobody knows yet.
pub const START_BYTES: u64 = 512 * 1024;
/// A source is asked ahead for what it sends in this time, or within two round trips if they take longer.
pub const AHEAD_MS: u64 = 500;
/// A source that is awaited and silent for this long is overtaken, or for longer if it is slow.
pub const OVERTAKE_MS: u64 = 500;
/// Readers that one blob is fetched in order for; more are not waited for.
pub const READERS: usize = 8;
/// Bytes that are fetched in order ahead of a reader.
pub const READ_AHEAD_BYTES: u64 = 8 * 1024 * 1024;
/// A reader is followed in steps of so many bytes.
pub const READ_STEP_BYTES: u64 = REQUEST_BYTES;
