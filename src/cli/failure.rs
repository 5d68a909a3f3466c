//! How a command fails: one line for people, a number for scripts.

use std::{fmt, io};

use crate::{
    config::ConfigError,
    node::control::{ControlError, FailureKind, OpError},
};

/// The end of `--help`, and of the README's chapter on commands.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed for a reason not listed here
   2  wrong arguments
   3  wrong configuration
   4  the data folder is in use by another process
   5  no node is running
   6  not found
   7  damaged content was found
   8  no space left, or a limit is reached
   9  refused; pass --yes to go on
  10  a disk or folder with shared files is not there";

/// A number for scripts; see [`EXIT_CODES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Failed = 1,
    Usage = 2,
    Configuration = 3,
    InUse = 4,
    NotRunning = 5,
    NotFound = 6,
    Damaged = 7,
    NoSpace = 8,
    Refused = 9,
    Away = 10,
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Failure {
    /// To be told: what happened, where, and what to do.
    Told { exit: Exit, message: String },
    /// The reader of the output is gone (`allibrary ls | head`): nothing is left to be told to anyone.
    ClosedPipe,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self::Told { exit, message: message.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Configuration, error)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<OpError> for Failure {
    fn from(error: OpError) -> Self {
        let exit = match error.kind {
            FailureKind::InUse => Exit::InUse,
            FailureKind::NotFound => Exit::NotFound,
            FailureKind::Damaged => Exit::Damaged,
            FailureKind::NoSpace => Exit::NoSpace,
            FailureKind::Away => Exit::Away,
            FailureKind::Refused => Exit::Refused,
            FailureKind::Configuration => Exit::Configuration,
            FailureKind::Failed | FailureKind::Gone => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

/// Of writing the output; other I/O says where it failed, and is turned into a [`Failure`] there.
pub(super) fn of_output(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::new(Exit::Failed, format_args!("cannot write the output: {error}")),
    }
}
