//! Starting, steering and stopping the network.

use std::{collections::HashMap, convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use futures::{
    channel::{mpsc, oneshot},
    future::ready,
};
use libp2p::{Swarm, Transport as _, core::muxing::StreamMuxerBox, swarm};
use smol::channel::{Receiver, Sender};
use thiserror::Error;

use super::{
    behaviour::Behaviour,
    door::Door,
    gossip::Intake,
    identity::{self, Keypair},
    interfaces::Changes,
    listen::Awaited,
    mdns::{self, Mdns},
    outbox::Outbox,
    quic,
    streams::{self, Connector, Incoming},
    task::Task,
    tls::CipherPolicy,
};
use crate::{clock, limits, peers, tasks, wire::announce::Announcement};

/// libp2p closes connections that no protocol uses; here `peers` decides which are kept.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What a network is started with.
pub struct Options {
    /// This node's key.
    pub keypair: Keypair,
    /// Multiaddrs to listen on; one that no interface has yet is listened on as soon as one has.
    pub listen: Vec<String>,
    /// Whether a person chose them: then one that is taken is an error; else the next ports are tried.
    pub listen_explicit: bool,
    /// Whether to announce this node and find others by mDNS.
    pub mdns: bool,
    /// What else mDNS announces.
    pub services: Vec<mdns::Service>,
    /// Whether to pass on announcements.
    pub gossip: bool,
    /// Which ciphers, in which order.
    pub ciphers: CipherPolicy,
    /// Whom to let in, until a command says otherwise.
    pub admission: Arc<peers::Admission>,
}

/// What happened.
#[derive(Debug)]
pub enum NetworkEvent {
    /// Of a peer.
    Peer(peers::Event),
    /// Where this node listens has changed.
    Listening {
        /// The multiaddrs that peers can reach it at; link-local ones have the interface that they are on.
        addresses: Vec<String>,
        /// Those of [`Options::listen`] that no interface has.
        awaited: Vec<String>,
    },
    /// A node has a version of a collection: it said so itself, and nothing else is known of it.
    Announced(Announcement),
    /// Another host uses this node's id: its data folder was copied.
    OwnIdElsewhere(IpAddr),
}

/// What to do.
pub(super) enum NetworkCommand {
    /// About a peer.
    Peer(peers::Command),
    /// Answer what mDNS heard.
    Heard(oneshot::Sender<Vec<mdns::Heard>>),
    /// Announce something, and answer whether anybody was told.
    Announce(Announcement, oneshot::Sender<bool>),
    /// Take leave and end.
    Stop,
}

/// Why no network was started.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// Not an address of the kind that is listened on.
    #[error("{0:?} is no address to listen on: it should look like /ip4/0.0.0.0/udp/4701/quic-v1")]
    Address(String),
    /// An address can't be listened on.
    #[error("cannot listen on {address}: {reason}; choose another address with --listen")]
    Listen { address: String, reason: String },
    /// This node's certificate could not be made.
    #[error("cannot set up encryption: {0}")]
    Encryption(String),
}

/// A running network. It ends when the last handle is dropped, too, but then the peers are not told.
pub struct Network {
    commands: Sender<NetworkCommand>,
    /// Closed when the task has ended.
    ended: Receiver<Infallible>,
}

/// What a start gives.
pub struct Started {
    /// Steers and ends it.
    pub network: Network,
    /// Opens streams.
    pub connector: Connector,
    /// What happens.
    pub events: mpsc::Receiver<NetworkEvent>,
    /// Streams that peers open.
    pub incoming: Receiver<Incoming>,
}

impl Network {
    /// Listens, announces, and runs until it is stopped.
    pub fn start(options: Options) -> Result<Started, NetworkError> {
        let (door, turned_away) = Door::new(options.admission.clone());
        let door = Arc::new(door);
        let connector = Connector::default();
        let (incoming_sender, incoming) = smol::channel::bounded(limits::network::INCOMING_QUEUE);
        let streams = streams::Behaviour::new(connector.clone(), incoming_sender);
        let (mut swarm, quic) = swarm(&options, door.clone(), streams)?;
        let mut awaited = Awaited::default();
        for address in &options.listen {
            awaited.listen(&mut swarm, address, options.listen_explicit)?;
        }
        let mdns = discovery(&options);
        let (events_sender, events) = mpsc::channel(limits::network::EVENT_QUEUE);
        let (commands, commands_receiver) = smol::channel::bounded(limits::network::COMMAND_QUEUE);
        let (outbox, connections) = (Outbox::new(events_sender), HashMap::new());
        let changes = Changes::new();
        let intake = Intake::new(clock::now());
        let subnets = None;
        let task =
            Task { swarm, quic, door, turned_away, mdns, intake, outbox, connections, awaited, changes, subnets };
        let (running, ended) = smol::channel::bounded(1);
        tasks::spawn(async move {
            task.run(commands_receiver).await;
            drop::<Sender<Infallible>>(running);
        })
        .detach();
        Ok(Started { network: Self { commands, ended }, connector, events, incoming })
    }

    /// Carries a command out; waits while too many wait.
    pub async fn command(&self, command: peers::Command) {
        // The queue closes with the task, and then there is nothing left that the command could be about.
        let _ = self.commands.send(NetworkCommand::Peer(command)).await;
    }

    /// What mDNS heard on each interface, which is nothing without mDNS; none if the network has ended.
    pub async fn heard(&self) -> Option<Vec<mdns::Heard>> {
        let (sender, answer) = oneshot::channel();
        let _ = self.commands.send(NetworkCommand::Heard(sender)).await;
        answer.await.ok()
    }

    /// Announces what this node has to the peers that gossip; whether there are any.
    pub async fn announce(&self, announcement: Announcement) -> bool {
        let (sender, answer) = oneshot::channel();
        let _ = self.commands.send(NetworkCommand::Announce(announcement, sender)).await;
        answer.await.unwrap_or_default()
    }

    /// Tells the peers and ends.
    pub async fn stop(&self) {
        let _ = self.commands.send(NetworkCommand::Stop).await;
        let _ = self.ended.recv().await;
    }
}

fn swarm(
    options: &Options,
    door: Arc<Door>,
    streams: streams::Behaviour,
) -> Result<(Swarm<Behaviour>, quic::Control), NetworkError> {
    let config = quic::Config { ciphers: options.ciphers, ..quic::Config::new(options.keypair.clone()) };
    let transport = quic::Transport::new(&config).map_err(|error| NetworkError::Encryption(error.to_string()))?;
    let connections = transport.control();
    let enter = move |(peer, connection): (_, quic::Connection), point| {
        let entered = door.enter(peer, &connection, &point);
        ready(entered.map(|()| (peer, StreamMuxerBox::new(connection))))
    };
    let transport = transport.and_then(enter).map_err(|error| error.into_inner()).boxed();
    let config = swarm::Config::with_executor(|task| tasks::spawn(task).detach()).with_idle_connection_timeout(NEVER);
    let me = identity::peer_id(options.keypair.node_id());
    let behaviour = Behaviour::new(&options.keypair, options.gossip, streams);
    Ok((Swarm::new(transport, behaviour, me, config), connections))
}

/// The mDNS side; a node that cannot have one runs without.
fn discovery(options: &Options) -> Option<Mdns> {
    if !options.mdns {
        return None;
    }
    let config = mdns::Config { node: options.keypair.node_id(), interfaces: Vec::new() };
    match Mdns::new(config) {
        Ok(mut mdns) => {
            mdns.set_services(options.services.clone());
            Some(mdns)
        }
        Err(error) => {
            log::warn!("no discovery by mDNS: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests;
