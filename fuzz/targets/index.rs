//! Keys and values of the index.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| allibrary::store::fuzz::index(data));
