//! A way in for the fuzz target of `fuzz/`; not part of the program.

use std::path::Path;

use super::{Config, load::read_file};

/// A configuration file: every problem is told in words.
pub fn file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (mut config, mut problems) = (Config::default(), Vec::new());
    read_file(&mut config, Path::new("allibrary.toml"), text, &mut problems);
    problems.iter().for_each(|problem| assert!(!problem.to_string().is_empty()));
}
