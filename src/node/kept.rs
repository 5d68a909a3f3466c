//! What is kept of peers from one start to the next: who may connect (`peers.toml`, precious, for people to read) and where
//! peers were and what they are known for (`peers.cache`, learned again if lost).

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use super::{
    control::{FailureKind, OpError, PeerChange},
    ops,
};
use crate::{
    config::Config,
    content::{ContentId, NodeId},
    limits::{
        network::KNOWN_PEERS,
        peers::{CACHE_BYTES, LISTS_BYTES},
    },
    peers::{Lists, Memory},
};

/// Of [`Lists`], in the data folder.
const LISTS_FILE: &str = "peers.toml";
/// Of [`Memory`], there too.
const CACHE_FILE: &str = "peers.cache";
/// The first bytes of the cache, which say how the rest is written.
const CACHE_MAGIC: &[u8] = b"ALpeers1";
/// For the owner alone: whom a node knows is nobody else's business.
const MODE: u32 = 0o600;

const LISTS_HEAD: &str = "\
# Who may connect, as `allibrary peers allow`, `deny`, `forget` and `lock` have it, and as a node with network.auth = \"learn\"
# has learned it. What the configuration says (network.allow, network.deny) comes on top. To change it by hand, stop the node.
";

/// Why the lists can't be read. The file stays as it is.
#[derive(Debug, Error)]
#[error(
    "{} is damaged: {reason}. Until it is mended nobody may connect but those that network.allow names. Mend it, restore it from \
     a backup, or move it away and allow peers anew; then start the node again",
    path.display()
)]
pub(super) struct ListsError {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

/// [`Lists`] as they stand in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListsText {
    locked: bool,
    allowed: Vec<String>,
    denied: Vec<String>,
}

/// The lists; empty ones if there is no file yet.
pub(super) fn load_lists(data: &Path) -> Result<Lists, ListsError> {
    let path = data.join(LISTS_FILE);
    let damaged = |reason: String| ListsError { path: path.clone(), reason };
    let bytes = match read(&path, LISTS_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Lists::default()),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let text = str::from_utf8(&bytes).map_err(|_| damaged("it is no text".into()))?;
    // The message may have several lines, with the place in the file.
    let lists: ListsText =
        toml::from_str(text).map_err(|error| damaged(error.to_string().trim().replace('\n', " ")))?;
    let ids = |names: Vec<String>| {
        if names.len() > KNOWN_PEERS {
            return Err(damaged(format!("it lists more than {KNOWN_PEERS} peers")));
        }
        let id = |name: String| name.parse().map_err(|_| damaged(format!("{name:?} is no peer id")));
        names.into_iter().map(id).collect::<Result<BTreeSet<NodeId>, _>>()
    };
    Ok(Lists { locked: lists.locked, allowed: ids(lists.allowed)?, denied: ids(lists.denied)? })
}

/// Keeps the lists: when this returns they survive a power cut, and until then the old ones do.
pub(super) fn store_lists(data: &Path, lists: &Lists) -> io::Result<()> {
    let array = |ids: &BTreeSet<NodeId>| match ids.is_empty() {
        true => "[]".to_owned(),
        false => format!("[\n{}]", ids.iter().map(|id| format!("    \"{id}\",\n")).collect::<String>()),
    };
    let Lists { locked, allowed, denied } = lists;
    let text = format!("{LISTS_HEAD}locked = {locked}\nallowed = {}\ndenied = {}\n", array(allowed), array(denied));
    replace(&data.join(LISTS_FILE), text.as_bytes())
}

/// What is known of peers; nothing if there is no file, or it can't be read.
pub(super) fn load_memory(data: &Path) -> Memory {
    let path = data.join(CACHE_FILE);
    let forget = |reason: String| {
        log::info!("{}: {reason}; peers are learned anew", path.display());
        Memory::default()
    };
    match read(&path, CACHE_BYTES) {
        Ok(Some(bytes)) => match from_cache(&bytes) {
            Some(memory) => memory,
            None => forget("damaged, or of another version".into()),
        },
        Ok(None) => Memory::default(),
        Err(error) => forget(error.to_string()),
    }
}

/// Keeps what is known of peers.
pub(super) fn store_memory(data: &Path, memory: &Memory) -> io::Result<()> {
    let body = postcard::to_stdvec(memory).map_err(io::Error::other)?;
    let bytes = [CACHE_MAGIC, &ContentId::of(&body).0, &body].concat();
    if bytes.len() as u64 > CACHE_BYTES {
        return Err(io::Error::other("more is known of peers than can be kept"));
    }
    replace(&data.join(CACHE_FILE), &bytes)
}

fn from_cache(bytes: &[u8]) -> Option<Memory> {
    let (checksum, body) = bytes.strip_prefix(CACHE_MAGIC)?.split_at_checked(32)?;
    if ContentId::of(body).0 != checksum {
        return None;
    }
    let memory: Memory = postcard::from_bytes(body).ok()?;
    (memory.peers.len() <= KNOWN_PEERS).then_some(memory)
}

/// Changes what is kept where no node runs; the data folder is locked meanwhile, and made if it is not there.
///
/// # Errors
/// [`FailureKind::InUse`] if a node was started meanwhile. Nothing is changed then.
pub fn change_peers(config: &Config, change: PeerChange, peers: &[NodeId]) -> Result<(), OpError> {
    let _lock = ops::open_store(config)?;
    let failed = |error: io::Error| OpError::new(FailureKind::Failed, format!("{}: {error}", config.data.display()));
    let mut lists = load_lists(&config.data).map_err(|error| OpError::new(FailureKind::Damaged, error))?;
    let before = lists.clone();
    apply(&mut lists, change, peers);
    check_room(&lists)?;
    if lists != before {
        store_lists(&config.data, &lists).map_err(failed)?;
    }
    if matches!(change, PeerChange::Forget | PeerChange::Pardon) {
        let mut memory = load_memory(&config.data);
        let before = memory.clone();
        match change {
            PeerChange::Forget => memory.peers.retain(|peer| !peers.contains(&peer.node)),
            _ => memory.peers.iter_mut().filter(|peer| peers.contains(&peer.node)).for_each(|peer| {
                (peer.reputation, peer.banned_for_s) = (0.0, 0);
            }),
        }
        if memory != before {
            store_memory(&config.data, &memory).map_err(failed)?;
        }
    }
    Ok(())
}

/// What a change makes of the lists.
fn apply(lists: &mut Lists, change: PeerChange, peers: &[NodeId]) {
    for peer in peers {
        match change {
            PeerChange::Allow => {
                lists.denied.remove(peer);
                lists.allowed.insert(*peer);
            }
            PeerChange::Deny => {
                lists.allowed.remove(peer);
                lists.denied.insert(*peer);
            }
            PeerChange::Forget => {
                lists.allowed.remove(peer);
                lists.denied.remove(peer);
            }
            PeerChange::Lock | PeerChange::Pardon => {}
        }
    }
    lists.locked |= change == PeerChange::Lock;
}

/// Fails if a list has more than it may.
pub(super) fn check_room(lists: &Lists) -> Result<(), OpError> {
    if lists.allowed.len().max(lists.denied.len()) <= KNOWN_PEERS {
        return Ok(());
    }
    let message = format!("a list has room for {KNOWN_PEERS} peers; forget some first: allibrary peers forget PEER");
    Err(OpError::new(FailureKind::NoSpace, message))
}

/// All of a file, none if there is none.
pub(super) fn read(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other("it is too long"));
    }
    Ok(Some(bytes))
}

/// Puts the bytes at `path` so that after a power cut there is either what was there before or all of them.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Of a name that no other file's is: lists and cache may be written at the same time.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{network::identity::Keypair, peers::Remembered};

    fn ids<const N: usize>() -> [NodeId; N] {
        std::array::from_fn(|_| Keypair::generate().node_id())
    }

    fn lists() -> Lists {
        let [a, b, c] = ids();
        Lists { locked: true, allowed: [a, b].into(), denied: [c].into() }
    }

    fn memory() -> Memory {
        let remembered = |node| Remembered {
            node,
            addresses: vec!["/ip4/10.0.0.1/udp/4720/quic-v1".into()],
            reputation: -60.5,
            banned_for_s: 1800,
        };
        Memory { peers: ids::<3>().map(remembered).into() }
    }

    #[test]
    fn lists_are_kept_for_people_to_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_lists(folder.path()).unwrap(), Lists::default());
        for lists in [lists(), Lists::default(), lists()] {
            store_lists(folder.path(), &lists).unwrap();
            assert_eq!(load_lists(folder.path()).unwrap(), lists);
            let text = fs::read_to_string(folder.path().join(LISTS_FILE)).unwrap();
            assert!(lists.allowed.iter().all(|id| text.contains(&format!("    \"{id}\",\n"))), "{text}");
        }
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, [LISTS_FILE], "nothing is left lying about");
    }

    #[test]
    fn lists_that_were_cut_or_changed_are_told_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LISTS_FILE);
        store_lists(folder.path(), &lists()).unwrap();
        let whole = fs::read(&path).unwrap();
        // Wherever it is cut but for its last byte, a line feed, the cut is seen.
        for length in 0..whole.len() - 1 {
            fs::write(&path, &whole[..length]).unwrap();
            let error = load_lists(folder.path()).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()) && !error.contains('\n'), "{error}");
            assert_eq!(fs::read(&path).unwrap().len(), length, "the file stays");
        }
        let many = "\"12D3KooWLG1LnHRYLDcgQYqFsPRLUyBeZ1RLF7aRzPWFMrrBQcS9\",".repeat(KNOWN_PEERS + 1);
        for wrong in [
            "locked = true\nallowed = ['x']\ndenied = []\n".into(),
            "locked = true\nallowed = []\ndenied = []\nmore = 1\n".into(),
            format!("locked = true\ndenied = []\nallowed = [{many}]\n"),
            "#".repeat(LISTS_BYTES as usize + 1),
        ] {
            fs::write(&path, wrong).unwrap();
            load_lists(folder.path()).unwrap_err();
        }
        fs::write(&path, b"locked = \xff").unwrap();
        assert!(load_lists(folder.path()).unwrap_err().reason.contains("no text"));
    }

    #[test]
    fn a_cache_that_is_damaged_anywhere_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CACHE_FILE);
        assert_eq!(load_memory(folder.path()), Memory::default());
        let memory = memory();
        store_memory(folder.path(), &memory).unwrap();
        assert_eq!(load_memory(folder.path()), memory);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert_eq!(from_cache(&flipped), None, "byte {at}");
            assert_eq!(from_cache(&whole[..at]), None, "cut at {at}");
        }
        fs::write(&path, vec![0; CACHE_BYTES as usize + 1]).unwrap();
        assert_eq!(load_memory(folder.path()), Memory::default());
    }

    #[test]
    fn the_largest_cache_fits() {
        let folder = tempfile::tempdir().unwrap();
        let address = "/ip6/2001:db8:1111:2222:3333:4444:5555:6666/udp/65535/quic-v1".to_owned();
        let peer = |_| Remembered {
            node: NodeId([9; 32]),
            addresses: vec![address.clone(); crate::limits::network::ADDRESSES_REMEMBERED],
            reputation: 1.0,
            banned_for_s: u32::MAX,
        };
        let memory = Memory { peers: (0..KNOWN_PEERS).map(peer).collect() };
        store_memory(folder.path(), &memory).unwrap();
        assert_eq!(load_memory(folder.path()), memory);
        let everybody: BTreeSet<_> = (0..KNOWN_PEERS).map(|_| Keypair::generate().node_id()).collect();
        let lists = Lists { locked: false, allowed: everybody.clone(), denied: everybody };
        store_lists(folder.path(), &lists).unwrap();
        assert_eq!(load_lists(folder.path()).unwrap(), lists);
    }

    #[test]
    fn lists_and_cache_are_written_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let (lists, memory) = (lists(), memory());
        std::thread::scope(|scope| {
            scope.spawn(|| (0..50).for_each(|_| store_memory(folder.path(), &memory).unwrap()));
            (0..50).for_each(|_| store_lists(folder.path(), &lists).unwrap());
        });
        assert_eq!(load_lists(folder.path()).unwrap(), lists);
        assert_eq!(load_memory(folder.path()), memory);
    }

    #[test]
    fn without_a_node_the_files_are_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data = folder.path().join("node");
        config.mirror.folder = config.data.join("library");
        let [a, b] = ids();
        let change = |change, peers: &[NodeId]| {
            change_peers(&config, change, peers).unwrap();
            load_lists(&config.data).unwrap()
        };
        assert_eq!(change(PeerChange::Allow, &[a, b]), Lists { allowed: [a, b].into(), ..Lists::default() });
        assert_eq!(change(PeerChange::Deny, &[b]), Lists { allowed: [a].into(), denied: [b].into(), locked: false });
        assert!(change(PeerChange::Lock, &[]).locked);
        assert_eq!(change(PeerChange::Forget, &[a, b]), Lists { locked: true, ..Lists::default() });
        let mut memory = memory();
        memory.peers[0].node = a;
        memory.peers[1].node = b;
        store_memory(&config.data, &memory).unwrap();
        change(PeerChange::Pardon, &[a]);
        change(PeerChange::Forget, &[b]);
        let kept = load_memory(&config.data).peers;
        assert_eq!((kept.len(), kept[0].reputation, kept[0].banned_for_s), (2, 0.0, 0));
        assert_eq!(kept[1], memory.peers[2]);
        // Damaged lists are not written over.
        fs::write(config.data.join(LISTS_FILE), "locked").unwrap();
        let error = change_peers(&config, PeerChange::Allow, &[a]).unwrap_err();
        assert_eq!(error.kind, FailureKind::Damaged);
        assert_eq!(fs::read(config.data.join(LISTS_FILE)).unwrap(), b"locked");
    }
}
