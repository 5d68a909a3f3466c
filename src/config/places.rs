//! The usual places of files (XDG Base Directory Specification 0.8; the Filesystem Hierarchy Standard for root).

use std::path::{Path, PathBuf};

use super::load::Variables;

/// Files to look for when none is named, first one first.
pub(super) fn config_files(variables: &Variables) -> Vec<PathBuf> {
    let user = base(variables, "XDG_CONFIG_HOME", ".config").map(|folder| folder.join("allibrary/allibrary.toml"));
    user.into_iter().chain(["/etc/allibrary/allibrary.toml".into()]).collect()
}

/// The data folder when none is named; none if there is no home.
pub(super) fn data_folder(variables: &Variables) -> Option<PathBuf> {
    if is_root() {
        return Some("/var/lib/allibrary".into());
    }
    base(variables, "XDG_DATA_HOME", ".local/share").map(|folder| folder.join("allibrary"))
}

fn base(variables: &Variables, variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name| variables.value(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

/// The folder of sockets: short-lived, private to the user, and short enough for a socket's path.
pub fn runtime_folder() -> PathBuf {
    if is_root() {
        return "/run/allibrary".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if Path::new(&folder).is_absolute() => PathBuf::from(folder).join("allibrary"),
        _ => format!("/tmp/allibrary-{}", rustix::process::geteuid().as_raw()).into(),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
