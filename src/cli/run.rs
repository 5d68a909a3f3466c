mod banner;
mod service;
mod watch;

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use async_signal::{Signal, Signals};
use clap::{Args, ValueHint};
use futures::StreamExt as _;
use indicatif::MultiProgress;
use smol::{Timer, future};

use self::service::Service;
pub(super) use self::watch::Watch;
use super::{Failure, Global, Out, add::Add, failure::Exit, flag, logger, out::printable};
use crate::{
    clock,
    config::{BootstrapPeer, Config, Flag, QuicAddress},
    node::{
        Node, NodeError,
        control::{FailureKind, OpError},
    },
};

/// How often the terminal is brought up to date while something is copied, and else: with a hundred peers, two looks a second
/// were a quarter of what the idle node cost.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_EVERY_IDLE: Duration = Duration::from_secs(3);
/// How often it is looked, before anything is shown.
const LOOK_FIRST: Duration = Duration::from_millis(5);
/// How long a stop may take; what is not done by then is not worth waiting for.
const STOP_WITHIN: Duration = Duration::from_millis(900);
/// How long to wait for a peer before telling what may be in its way.
const ALONE_AFTER: Duration = Duration::from_secs(10);

/// Run a node: share, mirror, and serve the page, until Ctrl-C
#[derive(Args)]
pub(super) struct Run {
    /// An address to listen on, such as /ip4/0.0.0.0/udp/4720/quic-v1; can be repeated
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<QuicAddress>,
    /// A peer to connect to besides those found on this network; can be repeated
    #[arg(long, value_name = "PEER_ID@MULTIADDR")]
    bootstrap: Vec<BootstrapPeer>,
    /// Where to serve the page, such as 0.0.0.0:80
    #[arg(long, value_name = "ADDR", value_parser = page_address)]
    http: Option<SocketAddr>,
    /// Copy the collections of peers, into this folder [default: library in the data folder]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, value_hint = ValueHint::DirPath)]
    mirror: Option<Option<PathBuf>>,
    /// Copy this collection, or all of this peer, and nothing else; can be repeated
    #[arg(long, value_name = "COLLECTION|PEER", requires = "mirror")]
    only: Vec<String>,
    /// Share this folder, as `add` does; can be repeated
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    share: Vec<PathBuf>,
}

impl Run {
    pub(super) fn run(self, global: &Global, out: &mut Out) -> Result<(), Failure> {
        let sources = global.sources(self.flags());
        let config = Config::load(&sources)?;
        out.skip_when_full();
        let bars = MultiProgress::new();
        logger::start(config.log.level, out.is_watched().then_some(&bars));
        future::block_on(async {
            // Before anything is started: from here on a signal ends the program in order.
            let mut signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup])
                .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot listen for signals: {error}")))?;
            let has_terminal = io::stdin().is_terminal();
            let service = Service::of_environment();
            let node = Node::start(&config, sources).await?;
            service.ready();
            let stopped = async {
                while let Some(Ok(Signal::Hup)) = signals.next().await {
                    // The terminal was closed, and the node with it.
                    if has_terminal && !io::stdin().is_terminal() {
                        break;
                    }
                    service.reloading();
                    // What has changed is logged there.
                    if let Err(error) = node.reload().await {
                        log::error!("the configuration stays as it was: {error}");
                    }
                    service.ready();
                }
                Ok(())
            };
            let shows_life = async || node.lives().await;
            let serves =
                future::or(service.keep_alive(shows_life), serve(&node, &service, &config, self.share, &bars, out));
            // The stop comes first: it is looked at even if the others never end.
            let result = future::or(stopped, serves).await;
            service.stopping();
            let stop = async {
                node.stop().await;
                log::info!("stopped");
            };
            future::or(stop, async {
                Timer::after(STOP_WITHIN).await;
                log::warn!("stopped, without waiting for everyone");
            })
            .await;
            result
        })
    }

    fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        if !self.listen.is_empty() {
            flags.push(flag("--listen", "network.listen", self.listen.iter().map(|address| address.as_str())));
        }
        if !self.bootstrap.is_empty() {
            flags.push(flag("--bootstrap", "network.bootstrap", self.bootstrap.iter().map(BootstrapPeer::to_string)));
        }
        if let Some(http) = self.http {
            flags.push(flag("--http", "kiosk.listen", [http.to_string()]));
        }
        if let Some(folder) = &self.mirror {
            flags.push(flag("--mirror", "mirror.enabled", ["true"]));
            if let Some(folder) = folder {
                flags.push(flag("--mirror", "mirror.folder", [folder]));
            }
        }
        if !self.only.is_empty() {
            flags.push(flag("--only", "mirror.only", &self.only));
        }
        flags
    }
}

fn page_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 0.0.0.0:8080 or [::]:8080")
}

/// Shows what the node does, for ever; ends only if something cannot be shared or shown.
async fn serve(
    node: &Node,
    service: &Service,
    config: &Config,
    share: Vec<PathBuf>,
    bars: &MultiProgress,
    out: &mut Out,
) -> Result<(), Failure> {
    // The network tells its addresses a moment after its start; a machine may have none.
    let addresses = async {
        while node.status().await.listen.is_empty() {
            Timer::after(LOOK_FIRST).await;
        }
    };
    clock::within(LOOK_EVERY, addresses).await;
    banner::print(&node.status().await, config, out)?;
    let json = out.is_json();
    let share = async {
        if !share.is_empty() {
            node.ready().await;
            // Over the control socket, like any other command: the files are read on a thread of their own.
            let (add, config) = (Add::folders(share), config.clone());
            match smol::unblock(move || add.run(&config, &mut Out::new(json))).await {
                // What is there is served meanwhile, and the rest when it is back.
                Err(Failure::Told { exit: Exit::Away, message }) => log::warn!("{message}"),
                shared => shared?,
            }
        }
        future::pending().await
    };
    future::or(share, watch(node, service, bars, out)).await
}

/// Tells of peers, copies and trouble as they come and go.
async fn watch(node: &Node, service: &Service, bars: &MultiProgress, out: &mut Out) -> Result<(), Failure> {
    let mut watch = Watch::new(bars, out.is_watched());
    let alone_at = clock::now() + ALONE_AFTER;
    let mut has_told = false;
    let mut shown = String::new();
    loop {
        let status = node.status().await;
        let in_short = service::in_short(&status);
        if shown != in_short {
            service.does(&in_short);
            shown = in_short;
        }
        for line in watch.look(&status) {
            bars.suspend(|| tell(&line, out))?;
        }
        if !has_told && clock::now() >= alone_at {
            has_told = true;
            if !watch.has_met_anyone() {
                for line in banner::alone(&status, &node.diagnose().await) {
                    bars.suspend(|| tell(&line, out))?;
                }
            }
        }
        Timer::after(if status.transfers.is_empty() { LOOK_EVERY_IDLE } else { LOOK_EVERY }).await;
    }
}

fn tell(line: &str, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return out.object(&serde_json::json!({ "event": "told", "text": line }));
    }
    out.line(printable(line))
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Open(OpError { kind: FailureKind::InUse, message }) => {
                Self::new(Exit::InUse, format_args!("{message}. `allibrary status` shows what is running"))
            }
            NodeError::Open(error) => error.into(),
            error => Self::new(Exit::Failed, error),
        }
    }
}
