//! The node: the only place that wires the parts together.
//!
//! It may use every part below, and must never know the command line.

pub mod control;
mod controls;
mod diagnose;
mod disks;
mod exchange;
pub mod footprint;
mod get;
mod gossip;
mod judging;
mod kept;
mod monitor;
pub mod ops;
mod owner;
mod peering;
mod rebuild;
mod scrub;
mod start;
mod state;
mod told;
mod uploads;

use std::{convert::Infallible, sync::Arc};

use futures::future::join_all;
use smol::channel::Sender;
use thiserror::Error;

use self::{
    control::{ControlError, OpError},
    peering::Peering,
    state::State,
};
pub use self::{controls::change_transfers, kept::change_peers, owner::check_owner};
use crate::{
    config::{Changes, ConfigError},
    kiosk::KioskError,
    network::{Network, NetworkError},
    status::{Finding, NodeStatus},
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
    /// Dropping the tasks ends them; they do not end by themselves.
    tasks: Vec<smol::Task<()>>,
    page: Option<Page>,
}

/// The page's task and the channel whose end stops it.
struct Page {
    running: Sender<Infallible>,
    task: smol::Task<()>,
}

impl Node {
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

    /// What there is to say when no peer shows up.
    pub async fn diagnose(&self) -> Vec<Finding> {
        let state = self.state.clone();
        smol::unblock(move || state.diagnose(None)).await
    }

    /// Returns once the node has shown that it lives: every task is there, the network's has answered, and so have the state and
    /// the store, with their locks, on a thread for blocking work. A node that is dead in any of this never returns.
    pub async fn lives(&self) {
        let is_there = self.tasks.iter().all(|task| !task.is_finished())
            && self.page.as_ref().is_none_or(|page| !page.task.is_finished());
        if !is_there || self.network.heard().await.is_none() {
            log::error!("a part of the node has ended: it has to be started again");
            std::future::pending::<()>().await;
        }
        self.status().await;
    }

    /// Reads the configuration again and takes up what it can; returns what has changed.
    ///
    /// # Errors
    /// What is wrong with it. Nothing was changed then.
    pub async fn reload(&self) -> Result<Changes, ConfigError> {
        let state = self.state.clone();
        smol::unblock(move || state.reload()).await
    }

    /// Stops within a second: responses under way may end, transfers keep what is verified, the peers are told.
    pub async fn stop(self) {
        // Their share of the state goes with them.
        let tasks = join_all(self.tasks.into_iter().map(smol::Task::cancel));
        let page = async {
            if let Some(Page { running, task }) = self.page {
                drop(running);
                task.await;
            }
        };
        let memory = Peering::keep_last(self.state.clone());
        futures::join!(tasks, page, self.network.stop(), memory, scrub::keep(self.state));
    }
}
