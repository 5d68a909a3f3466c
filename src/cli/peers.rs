use clap::Args;

use super::{Failure, Out, out::Table, status};
use crate::{
    config::Config,
    status::{PeerState, PeerStatus},
};

/// List the nodes that the running node knows
#[derive(Args)]
pub(super) struct Peers {}

impl Peers {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let status = status::ask(config)?;
        if out.is_json() {
            return status.peers.iter().try_for_each(|peer| out.object(peer));
        }
        if status.peers.is_empty() {
            return out.line("No peer has been found yet; `allibrary status` tells what this node listens on.");
        }
        let mut table = Table::new(&["PEER", "STATE", "RTT", "FOUND BY", "ADDRESS", "PROGRAM"], &[2]);
        status.peers.iter().for_each(|peer| table.row(row(peer)));
        table.print(out)
    }
}

fn row(peer: &PeerStatus) -> [String; 6] {
    let state = match peer.state {
        PeerState::Connected => "connected",
        PeerState::Disconnected => "disconnected",
        PeerState::Failed => "failed",
    };
    let rtt = peer.rtt_us.map_or("-".to_owned(), |rtt_us| format!("{:.1} ms", rtt_us as f64 / 1000.0));
    let address = peer.address.clone().unwrap_or_else(|| "-".to_owned());
    let remark = peer.error.as_ref().or(peer.agent.as_ref()).cloned().unwrap_or_default();
    [peer.node.clone(), state.to_owned(), rtt, peer.source.clone(), address, remark]
}
