//! Connections, streams and queues.

/// Connected peers.
pub const PEERS: usize = 128;
/// Peers remembered, connected or not.
pub const KNOWN_PEERS: usize = 1024;
/// Addresses kept for one peer.
pub const ADDRESSES_PER_PEER: usize = 16;
/// Of those that answered, so many are kept from one start to the next.
pub const ADDRESSES_REMEMBERED: usize = 4;
/// Connections with one peer at a time, while the end that dialled several addresses chooses.
pub const SIBLINGS: usize = 4;
/// Peers that are dialled at a time.
pub const DIALS: usize = 8;
/// Of these, peers that did not answer before, and of which there was no sign of life since.
pub const DIALS_DOUBTFUL: usize = 2;
/// Addresses that are tried at a time in one dial.
pub const ADDRESSES_PER_DIAL: usize = 8;
/// Milliseconds between two dials.
pub const DIAL_SPACING_MS: u64 = 50;
/// Dials under way to one IP address.
pub const DIALS_PER_IP: usize = 4;
/// Peers of whom it is remembered that they were turned away.
pub const REFUSALS: usize = 256;
/// Peers that one peer tells of at a time.
pub const INTRODUCTIONS: usize = super::wire::INTRODUCTIONS;
/// A peer is told no more often than this whom this node knows.
pub const ANSWERED_EVERY_MS: u64 = 60_000;
/// Bytes of what went wrong, as it is kept and shown.
pub const REASON_BYTES: usize = 256;
/// Streams that one peer may have open towards us.
pub const STREAMS_PER_CONNECTION: u32 = 16;
/// Bytes that a peer may send on one stream ahead of its reader. Window ÷ round trip caps the rate.
pub const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes that a peer may send on all streams of a connection ahead of their readers.
pub const CONNECTION_WINDOW_BYTES: u32 = 192 * 1024;
/// Bytes of a connection that were written and are not acknowledged.
pub const SEND_WINDOW_BYTES: u64 = 96 * 1024;
/// Connections at a time that have wide windows; the first that carry much.
pub const WIDE_CONNECTIONS: usize = 3;
/// Further ones, whose peers are far away: on a LAN little is gained.
pub const FAR_CONNECTIONS: usize = 2;
/// From this round trip on they are.
pub const FAR_MS: u64 = 5;
/// Bytes that a connection has carried when it asks for wide windows.
pub const WIDE_AFTER_BYTES: u64 = 512 * 1024;
/// [`CONNECTION_WINDOW_BYTES`], wide: 200 Mbit/s over 40 ms and more.
pub const WIDE_CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES + STREAM_WINDOW_BYTES / 4;
/// [`SEND_WINDOW_BYTES`], wide.
pub const WIDE_SEND_WINDOW_BYTES: u64 = 1280 * 1024;
/// Bytes of a handshake that arrived out of order.
pub const CRYPTO_BUFFER_BYTES: usize = 16 * 1024;
/// Buffers that one UDP socket receives into at a time, and the bytes of each: as much as the kernel joins.
pub const RECEIVE_BUFFERS: usize = 4;
/// See [`RECEIVE_BUFFERS`].
pub const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that we ask the kernel to hold for a UDP socket, each way.
pub const SOCKET_BUFFER_BYTES: usize = 1024 * 1024;
/// Incoming handshakes under way on one socket; further ones are ignored.
pub const HANDSHAKES: usize = 64;
/// Incoming handshakes under way on one socket above which a peer must first prove its address (RFC 9000, section 8.1.2).
pub const HANDSHAKES_BEFORE_RETRY: usize = 16;
/// Connections that were let in and have ended, and that the swarm may still tell of.
pub const ADMITTED: usize = 8;
/// Incoming handshakes under way from one IP address; further ones are ignored, so that one host leaves room for others.
pub const HANDSHAKES_PER_IP: usize = HANDSHAKES / 2;
/// Connections on one socket, those that are just closing included; further incoming ones are refused.
pub const CONNECTIONS_PER_SOCKET: usize = 4 * PEERS;
/// Bytes of the words in a connection's closing.
pub const CLOSE_REASON_BYTES: usize = 128;
/// Events waiting between the network task and the node.
pub const EVENT_QUEUE: usize = 256;
/// Streams of one peer and protocol that are served at a time: a mirror needs two, and new ones may come before old ones end.
pub const SERVED_STREAMS_PER_PEER: usize = 4;
/// Streams opened by peers and not yet taken up by the node.
pub const INCOMING_QUEUE: usize = 64;
/// Bytes of the name that a peer gives its program.
pub const AGENT_BYTES: usize = 64;
/// Peers that the door was closed to and whom the node has not heard of yet; more are not told of.
pub const TURNED_AWAY: usize = 64;
/// Commands waiting between the node and the network task.
pub const COMMAND_QUEUE: usize = 64;
/// Announcements that this node makes in a minute; twice as many of another are passed on.
pub const ANNOUNCED_PER_MINUTE: u32 = 6;
/// Announcements that are passed on in a minute.
pub const ANNOUNCEMENTS_PER_MINUTE: u32 = 240;
/// Announcements that come from one peer in a minute; more breaks the rules. Its minute may begin at another time.
pub const ANNOUNCEMENTS_PER_PEER: u32 = 2 * (ANNOUNCEMENTS_PER_MINUTE + 2 * ANNOUNCED_PER_MINUTE);
/// Bytes that gossip sends at a time: a few announcements, or what it names of them.
pub const GOSSIP_RPC_BYTES: usize = 8 * 1024;
/// Messages that are named to a peer in one heartbeat of gossip.
pub const GOSSIP_IDS: usize = 128;
/// Messages of gossip at a time, and that wait for a peer which takes them slowly; more are dropped.
pub const GOSSIP_QUEUE: usize = 64;
/// Bytes of one mDNS packet (RFC 6762, section 17).
pub const MDNS_PACKET_BYTES: usize = 9000;
/// Peers that mDNS remembers.
pub const MDNS_PEERS: usize = 1024;
/// Peers that mDNS believes to be at one source address.
pub const MDNS_PEERS_PER_SOURCE: usize = 64;
/// Peers that mDNS looks for at a time, because they were found once and are gone.
pub const MDNS_MISSING: usize = 64;
/// Links of mDNS: an interface has one for each address family.
pub const MDNS_LINKS: usize = 32;
/// Services that mDNS announces, besides the node itself.
pub const MDNS_SERVICES: usize = 8;
/// Names in one packet's answers that mDNS follows.
pub const MDNS_NAMES_PER_PACKET: usize = 64;
