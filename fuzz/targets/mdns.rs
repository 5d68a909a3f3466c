//! Multicast DNS packets from strangers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| allibrary::network::mdns::fuzz::packet(data));
