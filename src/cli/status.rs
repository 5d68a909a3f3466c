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
    status::{NodeStatus, NoticeLevel, PeerState, Progress, ScrubState, ScrubStatus, SystemStatus, TransferStatus},
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
    let hint = if connected == 0 { "; `allibrary diagnose` tells what may be in the way" } else { "" };
    out.line(format_args!("Peers       {connected} connected, {} known{hint}", status.peers.len()))?;
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
    let system = system_lines(&status.system);
    for (at, line) in system.iter().enumerate() {
        out.line(format_args!("{}{line}", if at == 0 { "Machine     " } else { "            " }))?;
    }
    for (one, progress) in Progress::by_collection(&status.transfers) {
        out.text(format_args!("Copying     {}", transfer_line(one, &progress)))?;
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
        "{state}, {} of {} in this round; {} before, {} found",
        size(scrub.checked_bytes),
        size(scrub.total_bytes),
        count(scrub.passes, "round"),
        count(scrub.damaged, "damaged file")
    )
}

/// What the machine tells; what it does not is left out.
fn system_lines(system: &SystemStatus) -> Vec<String> {
    let mut machine = Vec::new();
    if let Some(bytes) = system.memory_bytes {
        machine.push(format!("this program takes {}", size(bytes)));
    }
    if let (Some(total), Some(available)) = (system.memory_total_bytes, system.memory_available_bytes) {
        machine.push(format!("{} of {} memory available", size(available), size(total)));
    }
    if let Some(percent) = system.cpu_percent {
        machine.push(format!("CPU {percent:.1} %"));
    }
    if let Some(load) = system.load {
        machine.push(format!("load {load:.2}"));
    }
    if let Some(celsius) = system.temperature_celsius {
        machine.push(format!("{celsius:.0} °C"));
    }
    if let Some(seconds) = system.uptime_s {
        machine.push(format!("up {}", duration(seconds)));
    }
    let mut lines = vec![machine.join(", ")];
    for (what, disk) in [("data", system.data_disk), ("library", system.library_disk)] {
        if let Some(disk) = disk {
            lines.push(format!("disk of {what}: {} of {} free", size(disk.free_bytes), size(disk.total_bytes)));
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// How far a collection is, of which this is one of the transfers.
pub(super) fn transfer_line(one: &TransferStatus, progress: &Progress) -> String {
    format!(
        "{}: {} %, {} of {} files, {} of {}, {}",
        one.collection,
        progress.percent(),
        one.items_done,
        one.items_total,
        size(progress.bytes_done),
        size(progress.bytes_total),
        speed(progress),
    )
}

/// How fast it comes.
pub(super) fn speed(progress: &Progress) -> String {
    let mut text = format!("{}/s", size(progress.rate_bytes_s));
    if progress.sources > 1 {
        text.push_str(&format!(" from {}", count(progress.sources, "node")));
    }
    if let Some(seconds) = progress.remaining_s {
        text.push_str(&format!(", {} left", duration(seconds)));
    }
    text
}
