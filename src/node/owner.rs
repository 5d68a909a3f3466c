//! Whose a data folder is.

use std::{fs, os::unix::fs::MetadataExt as _};

use rustix::{
    fs::{Access, access},
    process::geteuid,
};

use super::control::{FailureKind, OpError};
use crate::config::Config;

/// Checks that this user may work in the data folder, if it is there already.
///
/// # Errors
/// It is another user's, as that of a system service is. What root wrote there its owner could not replace, or not even read: so
/// root must not, either.
pub fn check_owner(config: &Config) -> Result<(), OpError> {
    let Ok(metadata) = fs::metadata(&config.data) else { return Ok(()) };
    let me = geteuid();
    if metadata.uid() == me.as_raw() || !me.is_root() && access(&config.data, Access::WRITE_OK).is_ok() {
        return Ok(());
    }
    let message = format!(
        "the data folder {} belongs to another user, and no node runs on it. Start that of the system (sudo systemctl start \
         allibrary), or do this as that user (sudo -u '#{}' allibrary ...)",
        config.data.display(),
        metadata.uid(),
    );
    Err(OpError::new(FailureKind::Failed, message))
}
