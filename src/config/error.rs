//! What can be wrong with a configuration, told with the place and what is allowed there.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Everything that is wrong, a line each.
#[derive(Debug, Error)]
#[error("{}", lines(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("{}: cannot be read: {error}; check the path and its permissions, or pass another one with --config", .file.display())]
    Read { file: PathBuf, error: io::Error },
    /// The file is longer than any configuration.
    #[error("{}: is longer than {max_bytes} bytes, which is no configuration; pass another one with --config", .file.display())]
    TooLong { file: PathBuf, max_bytes: u64 },
    /// The file is not TOML.
    #[error("{place}: not TOML: {message}")]
    Syntax { place: Place, message: String },
    /// There is no such key.
    #[error("{place}: unknown key {key}{}", suggest(.nearest))]
    UnknownKey { place: Place, key: String, nearest: Option<String> },
    /// The value is of another type or out of range.
    #[error("{place}: {key} cannot be {value}; allowed: {allowed}")]
    Value { place: Place, key: &'static str, value: String, allowed: &'static str },
    /// The data folder has no usual place.
    #[error("no home folder is known, so there is no usual place for data; pass one with --data")]
    NoHome,
}

fn suggest(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default()
}

/// Where someone wrote something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file; line and column (in characters) count from 1.
    File { file: PathBuf, line: usize, column: usize },
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}
