//! The usual places of files (XDG Base Directory Specification 0.8; the Filesystem Hierarchy Standard for root).

use std::path::PathBuf;

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

/// Folders for the control socket, best first: a node takes the first that it can use, a command looks into all. They
/// are short enough for a socket's path. The first is root's, or the one that the system made for its service; the others are
/// private to the user, and several because a cron job may not be told what a login shell is.
pub fn runtime_folders() -> Vec<PathBuf> {
    let user = rustix::process::geteuid();
    let mut folders = vec![PathBuf::from("/run/allibrary")];
    if !user.is_root() {
        let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
        let usual = PathBuf::from(format!("/run/user/{}", user.as_raw()));
        folders.extend(session.into_iter().chain([usual]).map(|folder| folder.join("allibrary")));
        folders.dedup();
    }
    folders.push(format!("/tmp/allibrary-{}", user.as_raw()).into());
    folders
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
