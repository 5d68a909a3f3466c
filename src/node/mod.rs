//! The node: the only place that wires the parts together.
//!
//! It may use every part below, and must never know the command line.

pub mod control;
mod disks;
pub mod footprint;
mod monitor;
pub mod ops;
mod peering;
mod rebuild;
mod scrub;
mod state;
mod told;
mod uploads;

use std::{convert::Infallible, sync::Arc};

use smol::channel::{Sender, bounded};
use thiserror::Error;

use self::{
    control::{ControlError, OpError},
    peering::Peering,
    rebuild::Rebuild,
    state::State,
};
use crate::{
    clock,
    config::{Ciphers, Config},
    content::NodeId,
    kiosk::{Kiosk, KioskError, Site},
    library::follow::{Follower, Only, Policy},
    network::{self, Network, NetworkError, identity::Keypair, mdns, tls::CipherPolicy},
    peers::{self, PeerManager, Source},
    status::NodeStatus,
};

/// Why no node was started. What had been started before the failing step has been undone.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The data folder and what is in it.
    #[error(transparent)]
    Open(#[from] OpError),
    /// The page.
    #[error(transparent)]
    Kiosk(#[from] KioskError),
    /// Connections with others.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The commands of the same machine.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A running node. Dropping it stops it without telling the peers.
pub struct Node {
    state: Arc<State>,
    network: Arc<Network>,
    /// Dropping the tasks ends them.
    tasks: Vec<smol::Task<()>>,
    page: Option<Page>,
}

/// The page's task and the channel whose end stops it.
struct Page {
    running: Sender<Infallible>,
    task: smol::Task<()>,
}

impl Node {
    /// Starts a node, step by step. Blocks for moments: nothing else runs yet.
    pub fn start(config: &Config) -> Result<Self, NodeError> {
        log::debug!("1/5 opening the store in {}", config.data.display());
        let (library, keypair) = ops::open_as_found(config)?;
        let library = Arc::new(library);
        let is_lost = library.store().needs_rebuild().map_err(OpError::from)?;
        if !is_lost {
            ops::sweep(&library);
        }
        let follower = Follower::new(library.clone(), policy(config, library.node_id()));
        let options = peering::options(config, library.node_id(), fastrand::u64(..));
        let manager = PeerManager::new(clock::now(), options, peers::Lists::default(), peers::Memory::default());
        let rebuild = Rebuild::new(is_lost.then(|| library.collections().iter().map(|it| it.items).sum()));
        let state = Arc::new(State::new(library, follower, Peering::new(manager), rebuild, config));

        log::debug!("2/5 opening the page");
        let kiosk = open_page(config, &state)?;
        log::debug!("3/5 opening the network");
        let started = Network::start(network_options(config, keypair, &state))?;
        log::debug!("4/5 opening the control socket");
        let server = control::Server::bind(&config.data)?;

        log::debug!("5/5 starting the tasks");
        let network = Arc::new(started.network);
        for peer in &config.network.bootstrap {
            state.peering.introduce(peer.node, peer.address.to_string(), Source::Bootstrap);
        }
        let for_clients = state.clone();
        let handler: control::Handler = Arc::new(move |request, on_reply| for_clients.perform(request, on_reply));
        let peering = Peering::run(state.clone(), network.clone(), started.connector, started.events);
        let tasks = vec![
            smol::spawn(peering),
            smol::spawn(uploads::serve_all(state.clone(), started.incoming)),
            smol::spawn(disks::watch(state.library.clone())),
            smol::spawn(rebuild::run(state.clone())),
            smol::spawn(scrub::run(state.clone())),
            smol::spawn(footprint::trim(state.clone())),
            smol::spawn(async move { server.serve(handler).await }),
        ];
        let page = kiosk.map(|kiosk| {
            let (running, stopped) = bounded::<Infallible>(1);
            let stopped = async move {
                // Nothing is ever sent: it ends when the other end is dropped.
                let _ = stopped.recv().await;
            };
            Page { running, task: smol::spawn(kiosk.run(stopped)) }
        });
        Ok(Self { state, network, tasks, page })
    }

    /// The node's state as it is now, without that of the machine: it is asked often.
    pub async fn status(&self) -> NodeStatus {
        let state = self.state.clone();
        // It waits for what the store is writing.
        smol::unblock(move || state.brief()).await
    }

    /// Returns once the library can be changed: after an index that was lost is built again.
    pub async fn ready(&self) {
        self.state.rebuild.over().await;
    }

    /// What mDNS heard on each interface: what to look at when no peer shows up.
    pub async fn heard(&self) -> Vec<mdns::Heard> {
        self.network.heard().await
    }

    /// Stops within a second: responses under way may end, transfers keep what is verified, the peers are told.
    pub async fn stop(self) {
        drop(self.tasks);
        let page = async {
            if let Some(Page { running, task }) = self.page {
                drop(running);
                task.await;
            }
        };
        futures::join!(page, self.network.stop(), scrub::keep(self.state));
    }
}

/// What is mirrored. A node that mirrors nobody follows itself: from a mirror it may learn of versions that it published before
/// its own data was lost or set back, and must count on from there.
fn policy(config: &Config, me: NodeId) -> Policy {
    let mirror = &config.mirror;
    Policy {
        only: match mirror.enabled {
            true => mirror.only.iter().map(String::as_str).map(only_of).collect(),
            false => vec![Only::Publisher(me)],
        },
        max_bytes_per_publisher: mirror.max_bytes_per_publisher.0,
        max_items_per_publisher: mirror.max_items_per_publisher,
        max_collections_per_publisher: mirror.max_collections_per_publisher.into(),
    }
}

/// A peer id names a publisher; all else is the name or the id of a collection.
fn only_of(text: &str) -> Only {
    text.parse().map_or_else(|_| Only::Collection(text.to_owned()), Only::Publisher)
}

fn open_page(config: &Config, state: &Arc<State>) -> Result<Option<Kiosk>, NodeError> {
    if !config.kiosk.enabled {
        return Ok(None);
    }
    let status = state.clone();
    let site = Site {
        library: state.library.clone(),
        status: Arc::new(move || status.status()),
        name: config.name.clone(),
        local_name: config.network.mdns.then(|| mdns::local_name(state.library.node_id())),
    };
    let kiosk = Kiosk::bind(config.kiosk.listen, config.is_explicit("kiosk.listen"), site)?;
    state.set_page(kiosk.address());
    Ok(Some(kiosk))
}

fn network_options(config: &Config, keypair: Keypair, state: &State) -> network::Options {
    let page = state.page().map(|address| mdns::Service {
        kind: "_http._tcp",
        instance: format!("{} (AlLibrary)", config.name),
        port: address.port(),
        txt: vec!["path=/".into()],
    });
    network::Options {
        keypair,
        listen: config.network.listen.iter().map(ToString::to_string).collect(),
        listen_explicit: config.is_explicit("network.listen"),
        mdns: config.network.mdns,
        services: page.into_iter().collect(),
        ciphers: match config.network.ciphers {
            Ciphers::Auto => CipherPolicy::Auto,
            Ciphers::Aes256 => CipherPolicy::Aes256,
            Ciphers::ChaCha20 => CipherPolicy::ChaCha20,
        },
    }
}
