//! A way in for the fuzz target of `fuzz/`; not part of the program.

use super::{
    link::{Family, Link},
    packet,
};

/// A packet from a stranger.
pub fn packet(bytes: &[u8]) {
    let Some(packet) = packet::parse(bytes) else { return };
    let addresses = vec![([10, 0, 0, 1].into(), 24)];
    let link = Link { id: (1, Family::V4), name: "eth0".into(), loopback: false, addresses };
    if packet::is_response(&packet) {
        let _ = packet::announcements(&packet, &link, [10, 0, 0, 2].into());
    } else {
        let _ = packet::legacy_response(&packet, Vec::new(), Vec::new());
    }
}
