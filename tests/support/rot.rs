//! Files that a disk damages.

use std::{fs, os::unix::fs::FileExt, path::Path};

/// Bytes that repeat nowhere near group size.
pub fn content(size: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Turns a byte of a file that nobody touched: same size, same time.
pub fn rot(file: &Path, at: u64) {
    let modified = fs::metadata(file).unwrap().modified().unwrap();
    let byte = fs::read(file).unwrap()[at as usize];
    let file = fs::File::options().write(true).open(file).unwrap();
    file.write_all_at(&[!byte], at).unwrap();
    file.set_modified(modified).unwrap();
}
