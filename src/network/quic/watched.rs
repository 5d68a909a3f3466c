//! A connection as its owner's owner sees it: libp2p's traits cannot say how it is, probe it, or close it with a reason.

use std::sync::{Arc, Weak};

use quinn_proto::FrameStats;

use super::{CloseCode, connection::Shared};
use crate::{
    content::NodeId,
    network::tls::Cipher,
    peers::{ConnectionNumber, Sample},
};

/// A connection, which this does not keep open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watched(pub(super) Weak<Shared>);

impl Watched {
    /// How it is, by these names; none once it is closed.
    pub fn sample(&self, node: NodeId, connection: ConnectionNumber) -> Option<Sample> {
        let shared = self.0.upgrade()?;
        let state = shared.lock();
        if state.lost.is_some() {
            return None;
        }
        let stats = state.proto.stats();
        Some(Sample {
            node,
            connection,
            heard: state.heard,
            rtt: stats.path.rtt,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
        })
    }

    /// Sends a PING frame (RFC 9000, section 19.2), which the peer has to acknowledge.
    pub fn probe(&self) {
        if let Some(shared) = self.0.upgrade() {
            let mut state = shared.lock();
            if state.lost.is_none() {
                state.proto.ping();
                shared.touch(&mut state);
            }
        }
    }

    /// Closes it, and tells the peer why. The swarm reports it closed as usual.
    pub fn close(&self, code: CloseCode, reason: &str) {
        if let Some(shared) = self.0.upgrade() {
            shared.close(code, reason);
        }
    }

    /// What protects its packets; none before the handshake is over, and once it is closed.
    pub fn cipher(&self) -> Option<Cipher> {
        let shared = self.0.upgrade()?;
        let data = shared.lock().proto.crypto_session().handshake_data()?;
        data.downcast::<Option<Cipher>>().ok().and_then(|cipher| *cipher)
    }

    /// Whether it is gone for good.
    pub fn is_gone(&self) -> bool {
        self.0.upgrade().is_none_or(|shared: Arc<Shared>| shared.lock().lost.is_some())
    }
}

/// Frames of authentic packets, each counted once: quinn-proto looks into a packet when it is decrypted and no duplicate.
/// What is counted before, datagrams and bytes, grows with anything that is sent in the peer's name.
pub(super) fn frames(stats: &FrameStats) -> u64 {
    let FrameStats {
        acks,
        ack_frequency,
        crypto,
        connection_close,
        data_blocked,
        datagram,
        immediate_ack,
        max_data,
        max_stream_data,
        ..
    } = *stats;
    let FrameStats { max_streams_bidi, max_streams_uni, new_connection_id, new_token, path_challenge, .. } = *stats;
    let FrameStats { path_response, ping, reset_stream, retire_connection_id, stream_data_blocked, .. } = *stats;
    let FrameStats { handshake_done, streams_blocked_bidi, streams_blocked_uni, stop_sending, stream, .. } = *stats;
    [acks, ack_frequency, crypto, connection_close, data_blocked, datagram, immediate_ack, max_data, max_stream_data]
        .into_iter()
        .chain([max_streams_bidi, max_streams_uni, new_connection_id, new_token, path_challenge])
        .chain([path_response, ping, reset_stream, retire_connection_id, stream_data_blocked])
        .chain([handshake_done.into(), streams_blocked_bidi, streams_blocked_uni, stop_sending, stream])
        .sum()
}
