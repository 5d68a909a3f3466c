//! Who this node is: its ed25519 key, in memory and on disk.
//!
//! Uses the ground. Must never know what the key is used for.
//!
//! The text form, on disk and for export, is the key's 32 secret bytes as 64 hexadecimal digits (RFC 8032 calls them the
//! private key).

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use libp2p::{PeerId, identity};
use thiserror::Error;

use crate::content::NodeId;

/// Characters of the text form.
const TEXT_CHARS: usize = 64;
/// Read and write for the owner alone.
const MODE: u32 = 0o600;

/// Why there is no key. Nothing was changed on disk, unless the variant says so.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Reading or writing failed; trying again may help.
    #[error("cannot {action} the key file {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The file is there but holds no key. Another key would make this another node, so none is made.
    #[error(
        "the key file {} is damaged: {reason}. Restore it from a backup, or move it away to start as a new node",
        path.display()
    )]
    Damaged { path: PathBuf, reason: TextError },
    /// There is a key already.
    #[error("{} holds a key already, which makes this node what it is; move it away to become another node", path.display())]
    Exists { path: PathBuf },
    /// The text to import is no key.
    #[error("this is no key: {0}")]
    Text(#[from] TextError),
}

/// What is wrong with the text form of a key. Never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// Too long or too short.
    #[error("expected {TEXT_CHARS} hexadecimal digits, found {0} characters")]
    Length(usize),
    /// Something else than hexadecimal digits.
    #[error("not all {TEXT_CHARS} characters are hexadecimal digits")]
    Digit,
}

/// The node's secret key and its public half.
#[derive(Clone)]
pub struct Keypair(identity::Keypair);

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({:?})", self.node_id())
    }
}

impl Keypair {
    /// A new key from the system's random numbers.
    pub fn generate() -> Self {
        Self(identity::Keypair::generate_ed25519())
    }

    /// The key of these 32 secret bytes.
    pub fn from_secret_bytes(mut secret: [u8; 32]) -> Self {
        Self(identity::Keypair::ed25519_from_bytes(&mut secret).expect("any 32 bytes are an ed25519 key"))
    }

    /// The key in this file, or a new one put there if there is no such file; says which.
    ///
    /// A file that others may read is made private, with a warning. A damaged file is an error, and stays as it is.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), IdentityError> {
        if let Some(keypair) = Self::load(path)? {
            return Ok((keypair, false));
        }
        let keypair = Self::generate();
        keypair.save_new(path)?;
        Ok((keypair, true))
    }

    /// The key in this file; none if there is no such file. Otherwise as [`Keypair::load_or_create`].
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        match File::open(path) {
            Ok(file) => load(path, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", path)(error)),
        }
    }

    /// Puts the key into a file that must not be there yet: a node never loses its key to another one.
    ///
    /// # Errors
    /// [`IdentityError::Exists`], and see there.
    pub fn save_new(&self, path: &Path) -> Result<(), IdentityError> {
        if path.try_exists().map_err(io_error("look for", path))? {
            return Err(IdentityError::Exists { path: path.to_owned() });
        }
        store(path, &self.export()).map_err(io_error("create", path))
    }

    /// The text form: 64 hexadecimal digits. Whoever has it is this node.
    pub fn export(&self) -> String {
        use fmt::Write;
        self.secret_bytes().iter().fold(String::with_capacity(TEXT_CHARS), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        })
    }

    /// The key of this text form; white space around it is ignored.
    ///
    /// # Errors
    /// [`IdentityError::Text`].
    pub fn import(text: &str) -> Result<Self, IdentityError> {
        Ok(parse(text.as_bytes())?)
    }

    /// The public half.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.ed25519().public().to_bytes())
    }

    /// The secret half, for signing.
    pub fn secret_bytes(&self) -> [u8; 32] {
        self.ed25519().secret().as_ref().try_into().expect("an ed25519 secret has 32 bytes")
    }

    pub(crate) fn as_libp2p(&self) -> &identity::Keypair {
        &self.0
    }

    fn ed25519(&self) -> identity::ed25519::Keypair {
        self.0.clone().try_into_ed25519().expect("made from an ed25519 key")
    }
}

/// The libp2p name of a node.
pub(crate) fn peer_id(node: NodeId) -> PeerId {
    PeerId::from_bytes(&node.to_peer_id_bytes()).expect("an identity multihash of 36 bytes is a peer id")
}

/// The node behind a libp2p name; none unless its key is ed25519.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    NodeId::from_peer_id_bytes(&peer.to_bytes())
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    move |source| IdentityError::Io { action, path: path.to_owned(), source }
}

fn load(path: &Path, file: File) -> Result<Keypair, IdentityError> {
    let mode = file.metadata().map_err(io_error("read", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        log::warn!("others could read the key file {} (mode {:o}); making it private", path.display(), mode & 0o777);
        file.set_permissions(fs::Permissions::from_mode(MODE)).map_err(io_error("make private", path))?;
    }
    // One byte more than fits tells a file that is too long.
    let mut text = Vec::with_capacity(TEXT_CHARS + 3);
    file.take(TEXT_CHARS as u64 + 3).read_to_end(&mut text).map_err(io_error("read", path))?;
    parse(&text).map_err(|reason| IdentityError::Damaged { path: path.to_owned(), reason })
}

/// Puts the text at `path` so that after a power cut there is either all of it or nothing.
fn store(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn parse(text: &[u8]) -> Result<Keypair, TextError> {
    let text = text.trim_ascii();
    if text.len() != TEXT_CHARS {
        return Err(TextError::Length(text.len()));
    }
    let mut secret = [0; 32];
    for (byte, digits) in secret.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16).ok_or(TextError::Digit);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(Keypair::from_secret_bytes(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        (directory, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_node_stays_who_it_is() {
        let (directory, path) = key_file();
        let (first, created) = Keypair::load_or_create(&path).unwrap();
        assert!(created);
        assert_eq!(mode(&path), 0o600);
        let (second, created) = Keypair::load_or_create(&path).unwrap();
        assert!(!created);
        assert_eq!(first.node_id(), second.node_id());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_key_is_never_replaced() {
        let (_directory, path) = key_file();
        assert!(Keypair::load(&path).unwrap().is_none());
        let key = Keypair::generate();
        key.save_new(&path).unwrap();
        assert!(matches!(Keypair::generate().save_new(&path), Err(IdentityError::Exists { .. })));
        assert_eq!(Keypair::load(&path).unwrap().unwrap().node_id(), key.node_id());
    }

    #[test]
    fn a_torn_attempt_is_no_hindrance() {
        let (directory, path) = key_file();
        fs::write(directory.path().join("key.new"), "12").unwrap();
        assert!(Keypair::load_or_create(&path).unwrap().1);
    }

    #[test]
    fn damaged_files_are_refused_and_kept() {
        let (_directory, path) = key_file();
        let good = Keypair::generate().export();
        for bad in [String::new(), good[1..].into(), format!("{good}{good}"), good.replace(&good[..1], "x")] {
            fs::write(&path, &bad).unwrap();
            let error = Keypair::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert!(!error.to_string().contains(&good[1..]), "the secret is not shown");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn a_readable_key_is_made_private() {
        let (_directory, path) = key_file();
        let key = Keypair::generate();
        fs::write(&path, key.export()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Keypair::load_or_create(&path).unwrap().0.node_id(), key.node_id());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn text_and_names_agree() {
        // RFC 8032, section 7.1, test 1.
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let key = Keypair::import(secret).unwrap();
        assert_eq!(key.export(), secret);
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.node_id().0, *public.parse::<crate::content::ContentId>().unwrap().0.as_slice());
        assert_eq!(peer_id(key.node_id()), key.as_libp2p().public().to_peer_id());
        assert_eq!(node_id(&peer_id(key.node_id())), Some(key.node_id()));
        assert_eq!(
            Keypair::import("12").unwrap_err().to_string(),
            "this is no key: expected 64 hexadecimal digits, found 2 characters"
        );
    }
}
