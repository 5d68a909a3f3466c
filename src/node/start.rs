//! Starting a node: one step after the other, each named in the log. When one fails, those before it are undone in reverse
//! order, and the log names them too.

use std::{convert::Infallible, sync::Arc};

use futures::future::pending;
use smol::channel::bounded;

use super::{
    Node, NodeError, Page,
    control::{self, OpError},
    controls::{self, Controls},
    disks, footprint, gossip, judging, kept, ops,
    peering::{self, Peering},
    rebuild::{self, Rebuild},
    scrub,
    state::State,
    uploads,
};
use crate::{
    clock,
    config::{Ciphers, Config, Sources},
    content::NodeId,
    kiosk::{Kiosk, Readers, Site},
    library::{
        Library,
        follow::{Follower, Only, Policy, Wishes},
    },
    network::{self, Network, Started, identity::Keypair, mdns, tls::CipherPolicy},
    peers::{Lists, PeerManager, Source},
    tasks,
};

/// What is done, in this order.
const STEPS: [&str; 8] =
    ["data folder", "identity", "library", "lists of peers", "page", "network", "control socket", "tasks"];

/// Counts the steps.
#[derive(Default)]
struct Steps(usize);

impl Steps {
    /// Takes the next step.
    fn take<T, E: Into<NodeError>>(&mut self, step: impl FnOnce() -> Result<T, E>) -> Result<Taken<T>, NodeError> {
        let name = STEPS[self.0];
        self.0 += 1;
        log::info!("start {}/{}: {name}", self.0, STEPS.len());
        match step() {
            Ok(made) => Ok(Taken { made, undone: Undone(name) }),
            Err(error) => {
                log::info!("failed: {name}");
                Err(error.into())
            }
        }
    }
}

/// What a step made. Dropped without [`Taken::keep`], the log says that it was undone.
struct Taken<T> {
    // Fields are dropped in this order.
    made: T,
    undone: Undone,
}

struct Undone(&'static str);

impl<T> Taken<T> {
    fn keep(self) -> T {
        std::mem::forget(self.undone);
        self.made
    }
}

impl Drop for Undone {
    fn drop(&mut self) {
        log::info!("undone: {}", self.0);
    }
}

impl Node {
    /// Starts a node, step by step. Blocks for moments: nothing else runs yet. `sources` is where the configuration came from,
    /// and will come from when it is read again.
    ///
    /// # Errors
    /// Why a step failed. Of those before it nothing is left then: the data folder is not locked, ports are free, that for peers
    /// a moment later.
    pub async fn start(config: &Config, sources: Sources) -> Result<Self, NodeError> {
        // What was made is dropped from the last to the first, whatever fails.
        let mut steps = Steps::default();
        let store = steps.take(|| ops::open_store(config))?;
        let keypair = steps.take(|| ops::open_identity(config))?;
        let library = steps.take(|| {
            let library = Arc::new(ops::open_library(store.made.clone(), config, &keypair.made)?);
            if !library.store().needs_rebuild()? {
                ops::sweep(&library);
            }
            Ok::<_, OpError>(library)
        })?;
        let state = steps.take(|| new_state(config, sources, library.made.clone()))?;
        let page = steps.take(|| open_page(config, &state.made))?;
        let network = steps.take(|| Network::start(network_options(config, keypair.made.clone(), &state.made)))?;
        let server = match steps.take(|| control::Server::bind(&config.data)) {
            Ok(server) => server,
            Err(error) => {
                // Dropped, it would still be at work for a moment.
                network.made.network.stop().await;
                return Err(error);
            }
        };
        // Nothing of it can fail.
        let tasks = steps.take(|| Ok::<_, NodeError>(()))?;
        let node = run(config, state.keep(), page.keep(), network.keep(), server.keep());
        let _all_kept = (store.keep(), keypair.keep(), library.keep(), tasks.keep());
        Ok(node)
    }
}

/// Starts the tasks.
fn run(config: &Config, state: Arc<State>, kiosk: Option<Kiosk>, started: Started, server: control::Server) -> Node {
    let network = Arc::new(started.network);
    state.peering.set_network(network.clone());
    for peer in &config.network.bootstrap {
        state.peering.introduce(peer.node, peer.address.to_string(), Source::Bootstrap);
    }
    let qualities = Arc::downgrade(&state);
    state.follower.set_quality(move |node| qualities.upgrade().map_or(0, |state| state.peering.quality(node)));
    let for_clients = state.clone();
    let handler: control::Handler = Arc::new(move |request, on_reply| for_clients.perform(request, on_reply));
    let peering = Peering::run(state.clone(), network.clone(), started.connector, started.events);
    let rebuilding = rebuild::run(state.clone());
    // Each of them goes on as long as the node does: one that ends is dead, see `Node::lives`.
    let mut tasks = vec![
        tasks::spawn(peering),
        tasks::spawn(Peering::keep(state.clone())),
        tasks::spawn(judging::run(state.clone())),
        tasks::spawn(uploads::serve_all(state.clone(), started.incoming)),
        tasks::spawn(disks::watch(state.library.clone())),
        tasks::spawn(async move {
            rebuilding.await;
            pending().await
        }),
        tasks::spawn(scrub::run(state.clone())),
        tasks::spawn(controls::run(state.clone())),
        tasks::spawn(footprint::trim(state.clone())),
        tasks::spawn(async move { server.serve(handler).await }),
    ];
    if config.network.gossip {
        tasks.push(tasks::spawn(gossip::announce(state.clone(), network.clone())));
    }
    let page = kiosk.map(|kiosk| {
        let (running, stopped) = bounded::<Infallible>(1);
        let stopped = async move {
            // Nothing is ever sent: it ends when the other end is dropped.
            let _ = stopped.recv().await;
        };
        Page { running, task: tasks::spawn(kiosk.run(stopped)) }
    });
    Node { state, network, tasks, page }
}

fn new_state(config: &Config, sources: Sources, library: Arc<Library>) -> Result<Arc<State>, OpError> {
    let is_lost = library.store().needs_rebuild()?;
    let rebuild = Rebuild::new(is_lost.then(|| library.collections().iter().map(|it| it.items).sum()));
    let me = library.node_id();
    let controls = Controls::load(config);
    let follower = Follower::new(library.clone(), policy(config, me, controls.wishes()));
    let lists = kept::load_lists(&config.data);
    if let Err(error) = &lists {
        log::error!("{error}");
    }
    let options = peering::closed_if(lists.is_err(), peering::options(config, me, fastrand::u64(..)));
    let (lists, damaged) = match lists {
        Ok(lists) => (lists, None),
        Err(error) => (Lists::default(), Some(error)),
    };
    let manager = PeerManager::new(clock::now(), options, lists, kept::load_memory(&config.data));
    let peering = Peering::new(manager, config.data.clone(), damaged);
    Ok(Arc::new(State::new(library, follower, peering, rebuild, controls, config, sources)))
}

/// What is mirrored. A node that mirrors nobody follows itself: from a mirror it may learn of versions that it published before
/// its own data was lost or set back, and must count on from there.
pub(super) fn policy(config: &Config, me: NodeId, wishes: Wishes) -> Policy {
    let mirror = &config.mirror;
    Policy {
        only: match mirror.enabled {
            true => mirror.only.iter().map(String::as_str).map(only_of).collect(),
            false => vec![Only::Publisher(me)],
        },
        max_bytes_per_publisher: mirror.max_bytes_per_publisher.0,
        max_items_per_publisher: mirror.max_items_per_publisher,
        max_collections_per_publisher: mirror.max_collections_per_publisher.into(),
        wishes,
        cache_bytes: mirror.cache.0,
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
    let (status, readers) = (state.clone(), state.clone());
    let site = Site {
        library: state.library.clone(),
        follower: Some(state.follower.clone()),
        status: Arc::new(move || status.status()),
        name: config.name.clone(),
        local_name: config.network.mdns.then(|| mdns::local_name(state.library.node_id())),
        readers: Readers::new(move |is_any| readers.set_reading(is_any)),
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
        gossip: config.network.gossip,
        ciphers: match config.network.ciphers {
            Ciphers::Auto => CipherPolicy::Auto,
            Ciphers::Aes256 => CipherPolicy::Aes256,
            Ciphers::ChaCha20 => CipherPolicy::ChaCha20,
        },
        admission: state.peering.admission(),
    }
}
