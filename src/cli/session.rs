//! Where the work of a command is done: in the running node, or here if none runs.

use super::{Failure, failure::Exit};
use crate::{
    config::Config,
    node::{
        change_peers, change_transfers,
        control::{Client, OpError, Reply, Request},
        ops,
    },
};

/// What to tell who wants something of a node that does not run.
pub(super) fn not_running(config: &Config) -> Failure {
    let message = format!("no node runs on the data folder {}; start one with: allibrary run", config.data.display());
    Failure::new(Exit::NotRunning, message)
}

/// Has the request performed, and hands on what is told.
///
/// # Errors
/// What went wrong there, and what `on_reply` returns.
pub(super) fn perform(
    config: &Config,
    request: Request,
    on_reply: &mut dyn FnMut(Reply) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if let Some(client) = Client::connect(&config.data)? {
        return client.perform(&request, on_reply);
    }
    if let Request::Peers { change, peers } = request {
        change_peers(config, change, &ops::peer_ids(&peers)?)?;
        return on_reply(Reply::PeersChanged { change, peers });
    }
    if matches!(request, Request::Status | Request::Diagnose { .. } | Request::Reload) {
        return Err(not_running(config));
    }
    if !config.data.exists() && !matches!(request, Request::Add { .. }) {
        let message =
            format!("there is no library in {} yet; share a folder with: allibrary add FOLDER", config.data.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    if let Request::Transfers { change, names } = request {
        change_transfers(config, change, &names)?;
        return on_reply(Reply::TransfersChanged { change, names });
    }
    let (library, _) = ops::open(config)?;
    // A failure of the output travels beside the operation, which only learns that nobody listens any more.
    let mut failure = None;
    let result = ops::perform(&library, request, &mut |reply| {
        on_reply(reply).map_err(|error| {
            failure = Some(error);
            OpError::gone()
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => result.map_err(Failure::from),
    }
}
