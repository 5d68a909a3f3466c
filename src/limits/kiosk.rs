//! The kiosk page.

/// Connections at a time.
pub const CONNECTIONS: usize = 256;
/// Titles on one page.
pub const ITEMS_PER_PAGE: usize = 100;
/// Bytes of a request's head.
pub const REQUEST_HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a search query.
pub const QUERY_BYTES: usize = 256;
/// Clients that are told at the same time that there is no place.
pub const REFUSALS: usize = 32;
/// Ports tried after a default one that is taken.
pub const PORT_TRIES: u16 = 16;
/// Milliseconds for a request's head, and between two requests.
pub const HEAD_TIMEOUT_MS: u64 = 20_000;
/// Milliseconds without a byte taken, after which a client is given up.
pub const STALL_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds for responses under way when the node stops.
pub const SHUTDOWN_MS: u64 = 700;
/// Bytes of a file that are handed to a connection at a time.
pub const FRAME_BYTES: usize = 16 * 1024;
/// Whoever is sent more of a file is a reader whom mirroring makes way for.
pub const READER_BYTES: u64 = 256 * 1024;
