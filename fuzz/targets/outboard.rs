//! Damaged outboards of damaged files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| allibrary::store::fuzz::outboard(data));
