//! Encoded ranges from a hostile sender.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| allibrary::store::fuzz::encoded_range(data));
