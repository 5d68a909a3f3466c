use clap::Args;

use super::{
    Failure, Out,
    failure::Exit,
    out::{count, duration, size},
    session,
};
use crate::{
    config::Config,
    node::control::{Reply, Request},
    status::{NodeStatus, NoticeLevel, PeerState, ScrubState, ScrubStatus, TransferStatus},
};

/// Show what the running node does
#[derive(Args)]
pub(super) struct Status {}

impl Status {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let reply = ask(config)?;
        if out.is_json() { out.object(&reply) } else { print(&reply, out) }
    }
}

/// The state of the running node.
pub(super) fn ask(config: &Config) -> Result<NodeStatus, Failure> {
    let mut status = None;
    session::perform(config, Request::Status, &mut |reply| {
        if let Reply::Status(found) = reply {
            status = Some(*found);
        }
        Ok(())
    })?;
    status
        .ok_or_else(|| Failure::new(Exit::Failed, "the node did not tell its state; use the same version of allibrary"))
}

fn print(status: &NodeStatus, out: &mut Out) -> Result<(), Failure> {
    let connected = status.peers.iter().filter(|peer| peer.state == PeerState::Connected).count();
    let store = &status.store;
    out.line(format_args!("Node        {}", status.node))?;
    out.line(format_args!("Version     {}, up {}", status.version, duration(status.uptime_s)))?;
    for (at, page) in status.pages.iter().enumerate() {
        out.text(format_args!("{}{page}", if at == 0 { "Page        " } else { "            " }))?;
    }
    for (at, address) in status.listen.iter().enumerate() {
        out.text(format_args!("{}{address}", if at == 0 { "Listening   " } else { "            " }))?;
    }
    out.line(format_args!("Peers       {connected} connected, {} known", status.peers.len()))?;
    out.line(format_args!(
        "Library     {} in {}, {}; copies fill {} of {}; {} free, {} of them reserved",
        count(store.blobs, "file"),
        count(store.collections, "collection"),
        size(store.bytes),
        size(store.library_bytes),
        size(store.quota_bytes.min(store.library_bytes.saturating_add(store.free_bytes))),
        size(store.free_bytes),
        size(store.reserve_bytes),
    ))?;
    out.line(format_args!("Checking    {}", scrub_line(&status.scrub)))?;
    for transfer in &status.transfers {
        out.text(format_args!("Copying     {}", transfer_line(transfer)))?;
    }
    for notice in &status.notices {
        let level = match notice.level {
            NoticeLevel::Info => "Note       ",
            NoticeLevel::Warning => "Warning    ",
            NoticeLevel::Error => "Error      ",
        };
        out.text(format_args!("{level} {}", notice.text))?;
    }
    Ok(())
}

fn scrub_line(scrub: &ScrubStatus) -> String {
    let state = match scrub.state {
        ScrubState::Off => return "off (scrub.enabled)".to_owned(),
        ScrubState::Reading => "reading",
        ScrubState::Waiting => "waiting",
        ScrubState::Resting => "resting",
    };
    format!(
        "{state}, {} of {} in this pass; {} before, {} found",
        size(scrub.checked_bytes),
        size(scrub.total_bytes),
        count(scrub.passes, "pass"),
        count(scrub.damaged, "damaged file")
    )
}

/// A transfer in a line.
pub(super) fn transfer_line(transfer: &TransferStatus) -> String {
    let percent = transfer.bytes_done.saturating_mul(100).checked_div(transfer.bytes_total).unwrap_or(100);
    let mut line = format!(
        "{}: {percent} %, {} of {} files, {} of {}, {}/s",
        transfer.collection,
        transfer.items_done,
        transfer.items_total,
        size(transfer.bytes_done),
        size(transfer.bytes_total),
        size(transfer.rate_bytes_s),
    );
    if let Some(seconds) = transfer.remaining_s {
        line.push_str(&format!(", {} left", duration(seconds)));
    }
    line
}
