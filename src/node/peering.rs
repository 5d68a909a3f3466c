//! Between the network, which reports and obeys, and the peer manager, which decides.

mod following;
mod keeping;

use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, channel::mpsc, future::pending, select_biased};
use smol::{
    Timer,
    channel::{Receiver, Sender, bounded},
};

use self::following::Following;
use super::{
    control::{FailureKind, OpError, PeerChange},
    exchange, gossip,
    kept::ListsError,
    state::State,
};
use crate::{
    clock,
    config::{Auth, Config, Shape},
    content::NodeId,
    network::{Connector, Network, NetworkEvent, mdns},
    peers::{self, Admission, Memory, PeerManager, Source, reputation::Standing, topology},
    status::{Notice, NoticeLevel, PeerStatus},
    tasks,
};

/// What the configuration tells the peer manager.
pub(super) fn options(config: &Config, me: NodeId, seed: u64) -> peers::Options {
    let (network, reconnect) = (&config.network, &config.reconnect);
    let ms = |ms: u32| Duration::from_millis(ms.into());
    peers::Options {
        me,
        seed,
        auth: network.auth,
        allow: network.allow.iter().copied().collect(),
        deny: network.deny.iter().copied().collect(),
        max_peers: network.max_peers as usize,
        max_dialled: network.max_dialled as usize,
        max_peers_per_ip: network.max_peers_per_ip as usize,
        public_addresses: network.public_addresses,
        heartbeat: peers::detector::Options {
            interval: ms(config.heartbeat.interval_ms),
            timeout: ms(config.heartbeat.timeout_ms),
            failures: config.heartbeat.failures,
        },
        topology: topology::Options {
            shape: match config.topology.shape {
                Shape::Auto => None,
                Shape::Mesh => Some(topology::Shape::Mesh),
                Shape::Hubs => Some(topology::Shape::Hubs),
                Shape::Tree => Some(topology::Shape::Tree),
            },
            mesh_nodes: config.topology.mesh_nodes as usize,
            hub_nodes: config.topology.hub_nodes as usize,
        },
        reconnect: peers::Reconnect {
            first: ms(reconnect.first_ms),
            longest: ms(reconnect.longest_ms),
            attempts: reconnect.attempts,
            slow: ms(reconnect.slow_ms),
        },
    }
}

/// These options; if `is_closed`, for those that the configuration allows and nobody else.
pub(super) fn closed_if(is_closed: bool, options: peers::Options) -> peers::Options {
    if is_closed { peers::Options { auth: Auth::Allowlist, ..options } } else { options }
}

/// What the peering task knows, for everybody else to look at.
pub(super) struct Peering {
    manager: Mutex<PeerManager>,
    listen: Mutex<Listening>,
    clone: Mutex<Option<IpAddr>>,
    /// Once it runs.
    network: OnceLock<Arc<Network>>,
    /// Full while the task has not looked at what others did to the manager.
    poked: Signal,
    /// Peers are to be followed anew.
    refollow: AtomicBool,
    data: PathBuf,
    /// Why the lists can't be read; then they are not written either.
    damaged: Option<ListsError>,
    lists_changed: Signal,
    memory_changed: Signal,
    bans_changed: Signal,
    /// Held while the lists are written: the newest come last.
    writing: Mutex<()>,
    /// What is known of peers, as it was written last.
    written: Mutex<Memory>,
}

/// Where this node listens.
#[derive(Default)]
struct Listening {
    addresses: Vec<String>,
    /// Those that no interface has.
    awaited: Vec<String>,
}

/// Says that something has happened, once for all times since it was heard last.
struct Signal(Sender<()>, Receiver<()>);

impl Signal {
    fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Self(sender, receiver)
    }

    fn send(&self) {
        // Full: it will be heard.
        let _ = self.0.try_send(());
    }

    async fn heard(&self) {
        // It never closes: the other end is here.
        let _ = self.1.recv().await;
    }
}

impl Peering {
    pub(super) fn new(manager: PeerManager, data: PathBuf, damaged: Option<ListsError>) -> Self {
        let written = Mutex::new(manager.memory(clock::now()));
        Self {
            manager: Mutex::new(manager),
            listen: Mutex::default(),
            clone: Mutex::default(),
            network: OnceLock::new(),
            poked: Signal::new(),
            refollow: AtomicBool::new(false),
            data,
            damaged,
            lists_changed: Signal::new(),
            memory_changed: Signal::new(),
            bans_changed: Signal::new(),
            writing: Mutex::default(),
            written,
        }
    }

    /// Tells of the network, once it runs.
    pub(super) fn set_network(&self, network: Arc<Network>) {
        // A node has one; a second call would be a mistake without consequences.
        let _ = self.network.set(network);
    }

    /// What mDNS heard on each interface; blocks for a moment.
    pub(super) fn heard(&self) -> Vec<mdns::Heard> {
        self.network.get().and_then(|network| smol::future::block_on(network.heard())).unwrap_or_default()
    }

    /// Who else uses this node's id.
    pub(super) fn own_id_elsewhere(&self) -> Option<IpAddr> {
        *lock(&self.clone)
    }

    /// Where the lists are that can't be read.
    pub(super) fn damaged_lists(&self) -> Option<String> {
        self.damaged.as_ref().map(|error| error.path.display().to_string())
    }

    /// Whether learning is over.
    pub(super) fn is_locked(&self) -> bool {
        lock(&self.manager).lists().locked
    }

    /// Goes by another configuration from now on; with `refollow`, by another policy of mirroring too.
    pub(super) fn set_config(&self, config: &Config, me: NodeId, refollow: bool) {
        let options = closed_if(self.damaged.is_some(), options(config, me, 0));
        lock(&self.manager).set_options(clock::now(), options);
        self.refollow.fetch_or(refollow, Ordering::Relaxed);
        self.poked.send();
    }

    /// Peers are followed from the beginning, as what is to be fetched has changed.
    pub(super) fn follow_anew(&self) {
        self.refollow.store(true, Ordering::Relaxed);
        self.poked.send();
    }

    /// Changes what is said of peers, at once, and keeps it; blocks until that is on the disk.
    pub(super) fn change(&self, change: PeerChange, peers: &[NodeId]) -> Result<(), OpError> {
        if let Some(damaged) = &self.damaged {
            return Err(OpError::new(FailureKind::Damaged, damaged));
        }
        let result = self.change_here(change, peers);
        self.poked.send();
        // What was changed before something went wrong holds.
        self.keep_lists().and(result)
    }

    fn change_here(&self, change: PeerChange, peers: &[NodeId]) -> Result<(), OpError> {
        let (mut manager, now) = (lock(&self.manager), clock::now());
        if change == PeerChange::Lock {
            manager.lock(now);
        }
        let full = |full| OpError::new(FailureKind::NoSpace, full);
        for peer in peers {
            match change {
                PeerChange::Allow => manager.allow(now, *peer).map_err(full)?,
                PeerChange::Deny => manager.deny(now, *peer).map_err(full)?,
                PeerChange::Forget => manager.forget(now, *peer),
                PeerChange::Pardon => manager.pardon(now, *peer),
                PeerChange::Lock => {}
            }
        }
        Ok(())
    }

    /// Makes a peer known before the network says anything of it.
    pub(super) fn introduce(&self, node: NodeId, address: String, source: Source) {
        let event = peers::Event::Discovered { node, addresses: vec![address], source };
        lock(&self.manager).handle_event(clock::now(), event);
    }

    /// Tells what a peer did.
    pub(super) fn judge(&self, events: impl Iterator<Item = peers::Event>) {
        let now = clock::now();
        events.for_each(|event| lock(&self.manager).handle_event(now, event));
        self.poked.send();
    }

    /// Every peer, for people.
    pub(super) fn peers(&self) -> Vec<PeerStatus> {
        lock(&self.manager).status(clock::now())
    }

    /// Those that were turned away lately and are not known otherwise, for people.
    pub(super) fn strangers(&self) -> Vec<PeerStatus> {
        lock(&self.manager).strangers()
    }

    /// Whom the network is to let in from its beginning.
    pub(super) fn admission(&self) -> Arc<Admission> {
        lock(&self.manager).admission()
    }

    /// Whether a peer is to be served after all others.
    pub(super) fn is_throttled(&self, node: &NodeId) -> bool {
        lock(&self.manager).standing(clock::now(), node) != Standing::Good
    }

    /// How good the connection with a peer is, from 0 to 100.
    pub(super) fn quality(&self, node: &NodeId) -> u32 {
        lock(&self.manager).quality(node).map_or(0, u32::from)
    }

    /// Whom to tell a peer of that asks.
    pub(super) fn introductions(&self, now: Instant, to: &NodeId) -> Vec<peers::Introduction> {
        lock(&self.manager).introductions(now, to)
    }

    /// Where this node can be reached.
    pub(super) fn listen(&self) -> Vec<String> {
        lock(&self.listen).addresses.clone()
    }

    /// Where it is to listen, and no interface has the address.
    pub(super) fn awaited(&self) -> Vec<String> {
        lock(&self.listen).awaited.clone()
    }

    /// What a person should know.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let damaged = self.damaged.as_ref().map(|error| Notice { level: NoticeLevel::Error, text: error.to_string() });
        let clone = lock(&self.clone).map(|from| Notice {
            level: NoticeLevel::Error,
            text: format!(
                "the host at {from} uses the same peer id as this node: its data folder or SD card is a copy of this one. \
                 Give one of the two an identity of its own: move identity.key out of its data folder, and start it again"
            ),
        });
        let awaited = self.awaited().into_iter().map(|address| Notice {
            level: NoticeLevel::Warning,
            text: format!("no interface has the address of {address}: it is listened on as soon as one has"),
        });
        clone.into_iter().chain(damaged).chain(awaited).collect()
    }

    /// Feeds the manager with what the network reports and carries its commands back, for as long as both live.
    pub(super) async fn run(
        state: Arc<State>,
        network: Arc<Network>,
        connector: Connector,
        mut events: mpsc::Receiver<NetworkEvent>,
    ) {
        let peering = &state.peering;
        let mut following = Following::new(state.clone(), connector.clone());
        // Dropping a task ends it.
        let mut asking: HashMap<NodeId, smol::Task<()>> = HashMap::new();
        loop {
            while let Some(command) = peering.poll_command() {
                let peers::Command::Exchange { node } = command else {
                    network.command(command).await;
                    continue;
                };
                asking.retain(|_, task| !task.is_finished());
                asking.insert(node, tasks::spawn(exchange::ask(state.clone(), connector.clone(), node)));
            }
            peering.tell_keeper();
            if peering.refollow.swap(false, Ordering::Relaxed) {
                following.again(&lock(&peering.manager));
            }
            let next_timeout = lock(&peering.manager).next_timeout();
            let due = async {
                match next_timeout {
                    Some(at) => Timer::at(at).await,
                    None => pending().await,
                }
            };
            select_biased! {
                event = events.next() => match event {
                    Some(NetworkEvent::Announced(announcement)) => gossip::heard(&state, announcement),
                    Some(event) => peering.handle(event, &mut following),
                    None => return,
                },
                now = due.fuse() => lock(&peering.manager).handle_timeout(now),
                () = peering.poked.heard().fuse() => {}
            }
        }
    }

    fn poll_command(&self) -> Option<peers::Command> {
        lock(&self.manager).poll_command()
    }

    fn handle(&self, event: NetworkEvent, following: &mut Following) {
        match event {
            NetworkEvent::Peer(event) => {
                let node = log_event(&event);
                let mut manager = lock(&self.manager);
                manager.handle_event(clock::now(), event);
                if let Some(node) = node {
                    following.update(node, manager.is_connected(&node));
                }
            }
            NetworkEvent::Listening { addresses, awaited } => {
                log::debug!("listening on {}", addresses.join(", "));
                *lock(&self.listen) = Listening { addresses, awaited };
            }
            // Whoever knows the library looks at it.
            NetworkEvent::Announced(_) => {}
            NetworkEvent::OwnIdElsewhere(from) => {
                *lock(&self.clone) = Some(from);
                for notice in self.notices() {
                    log::info!("{}", notice.text);
                }
            }
        }
    }
}

/// Tells of connections that come and go, also of those that change nothing for the peer; returns whose.
fn log_event(event: &peers::Event) -> Option<NodeId> {
    match event {
        peers::Event::Connected { node, address, inbound, .. } => {
            log::debug!("connected with {node} at {address} ({})", if *inbound { "it dialled" } else { "dialled" });
            Some(*node)
        }
        peers::Event::Disconnected { node, ended, .. } => {
            log::debug!("connection with {node} ended: {ended}");
            Some(*node)
        }
        peers::Event::DialFailed { node, error } => {
            log::debug!("{node} can't be reached: {error}");
            None
        }
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_the_manager_does_what_the_default_one_says() {
        let me = NodeId([1; 32]);
        let (configured, default) = (options(&Config::default(), me, 7), peers::Options::new(me, 7));
        assert_eq!(format!("{configured:?}"), format!("{default:?}"));
    }
}
