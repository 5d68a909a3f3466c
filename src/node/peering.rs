//! Between the network, which reports and obeys, and the peer manager, which decides.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, channel::mpsc, future::pending, select_biased};
use smol::Timer;

use super::state::State;
use crate::{
    clock,
    config::Config,
    content::NodeId,
    library::follow::{self, Connect, FollowEnd},
    network::{self, Connector, Network, NetworkEvent},
    peers::{self, PeerManager, Source},
    status::{Notice, NoticeLevel, PeerStatus},
};

/// Between the end of a peer's streams and the next try, at first; it doubles up to [`FOLLOW_AGAIN_AT_MOST`].
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);
/// See [`FOLLOW_AGAIN`].
const FOLLOW_AGAIN_AT_MOST: Duration = Duration::from_secs(60);

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
        max_peers_per_ip: network.max_peers_per_ip as usize,
        public_addresses: network.public_addresses,
        reconnect: peers::Reconnect {
            first: ms(reconnect.first_ms),
            longest: ms(reconnect.longest_ms),
            attempts: reconnect.attempts,
            slow: ms(reconnect.slow_ms),
        },
    }
}

/// What the peering task knows, for everybody else to look at.
pub(super) struct Peering {
    manager: Mutex<PeerManager>,
    listen: Mutex<Vec<String>>,
    clone: Mutex<Option<IpAddr>>,
}

impl Peering {
    pub(super) fn new(manager: PeerManager) -> Self {
        Self { manager: Mutex::new(manager), listen: Mutex::default(), clone: Mutex::default() }
    }

    /// Makes a peer known before the network says anything of it.
    pub(super) fn introduce(&self, node: NodeId, address: String, source: Source) {
        let event = peers::Event::Discovered { node, addresses: vec![address], source };
        lock(&self.manager).handle_event(clock::now(), event);
    }

    /// Every peer, for people.
    pub(super) fn peers(&self) -> Vec<PeerStatus> {
        lock(&self.manager).status()
    }

    /// Where this node can be reached.
    pub(super) fn listen(&self) -> Vec<String> {
        lock(&self.listen).clone()
    }

    /// What a person should know.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let clone = lock(&self.clone).map(|from| Notice {
            level: NoticeLevel::Error,
            text: format!(
                "the host at {from} uses the same peer id as this node: its data folder or SD card is a copy of this one. \
                 Give one of the two an identity of its own: move identity.key out of its data folder, and start it again"
            ),
        });
        clone.into_iter().collect()
    }

    /// Feeds the manager with what the network reports and carries its commands back, for as long as both live.
    pub(super) async fn run(
        state: Arc<State>,
        network: Arc<Network>,
        connector: Connector,
        mut events: mpsc::Receiver<NetworkEvent>,
    ) {
        let peering = &state.peering;
        let mut following = Following { state: state.clone(), connector, tasks: HashMap::new() };
        loop {
            while let Some(command) = peering.poll_command() {
                network.command(command).await;
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
                    Some(event) => peering.handle(event, &mut following),
                    None => return,
                },
                now = due.fuse() => lock(&peering.manager).handle_timeout(now),
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
            NetworkEvent::Listening(addresses) => {
                log::debug!("listening on {}", addresses.join(", "));
                *lock(&self.listen) = addresses;
            }
            NetworkEvent::OwnIdElsewhere(from) => {
                *lock(&self.clone) = Some(from);
                for notice in self.notices() {
                    log::info!("{}", notice.text);
                }
            }
        }
    }
}

/// Tells people of connections that come and go; returns whose.
fn log_event(event: &peers::Event) -> Option<NodeId> {
    match event {
        peers::Event::Connected { node, address, inbound, .. } => {
            log::info!("connected with {node} at {address} ({})", if *inbound { "it dialled" } else { "dialled" });
            Some(*node)
        }
        peers::Event::Disconnected { node, ended, .. } => {
            log::info!("connection with {node} ended: {ended}");
            Some(*node)
        }
        peers::Event::DialFailed { node, error } => {
            log::debug!("{node} can't be reached: {error}");
            None
        }
        _ => None,
    }
}

impl Connect for Connector {
    type Stream = network::Stream;

    async fn open(&self, peer: NodeId, protocol: &'static str) -> io::Result<network::Stream> {
        Self::open(self, peer, protocol).await
    }
}

/// One task for each connected peer: it takes what is to be mirrored.
struct Following {
    state: Arc<State>,
    connector: Connector,
    tasks: HashMap<NodeId, smol::Task<()>>,
}

impl Following {
    fn update(&mut self, node: NodeId, connected: bool) {
        if !connected {
            // Dropping the task ends it; what it had verified is kept.
            self.tasks.remove(&node);
            return;
        }
        let (state, connector) = (self.state.clone(), self.connector.clone());
        self.tasks.entry(node).or_insert_with(|| smol::spawn(follow(state, node, connector)));
    }
}

/// Follows a peer for as long as it is connected, unless it breaks the rules. Its streams may end before: with a surplus
/// connection, or because it has too much to do.
async fn follow(state: Arc<State>, node: NodeId, connector: Connector) {
    // What is here and not found yet would be fetched.
    state.rebuild.over().await;
    let mut pause = FOLLOW_AGAIN;
    loop {
        match follow::follow_peer(state.follower.clone(), node, connector.clone()).await {
            FollowEnd::Gone { reason } => log::debug!("following {node} ended: {reason}"),
            FollowEnd::Violation { .. } => return,
        }
        Timer::after(pause).await;
        pause = (2 * pause).min(FOLLOW_AGAIN_AT_MOST);
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
