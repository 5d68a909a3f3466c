use clap::{Args, Subcommand};

use super::{
    Failure, Out,
    out::{Table, count, duration, size},
    session, status,
};
use crate::{
    config::Config,
    node::control::{PeerChange, Reply, Request},
    status::{Access, PeerState, PeerStatus},
};

/// List the nodes that the running node knows, or say who may connect
#[derive(Args)]
pub(super) struct Peers {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// List the peers that the running node knows, as without a subcommand
    List,
    /// Let these peers connect, from now on
    Allow(Named),
    /// Keep these peers out, from now on
    Deny(Named),
    /// Take these peers off both lists, and forget what is known of them
    Forget(Named),
    /// End learning: with network.auth = "learn", only those that have connected so far may do so from now on
    Lock,
    /// Forget what these peers did wrong, and end their ban
    Pardon(Named),
}

#[derive(Args)]
struct Named {
    /// Peer ids
    #[arg(required = true, value_name = "PEER")]
    peers: Vec<String>,
}

impl Peers {
    pub(super) fn run(self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let (change, peers) = match self.what {
            None | Some(What::List) => return list(config, out),
            Some(What::Allow(named)) => (PeerChange::Allow, named.peers),
            Some(What::Deny(named)) => (PeerChange::Deny, named.peers),
            Some(What::Forget(named)) => (PeerChange::Forget, named.peers),
            Some(What::Lock) => (PeerChange::Lock, Vec::new()),
            Some(What::Pardon(named)) => (PeerChange::Pardon, named.peers),
        };
        session::perform(config, Request::Peers { change, peers }, &mut |reply| match reply {
            Reply::PeersChanged { .. } if out.is_json() => out.object(&reply),
            Reply::PeersChanged { change, peers } => out.line(said(change, peers.len() as u64)),
            _ => Ok(()),
        })
    }
}

fn said(change: PeerChange, peers: u64) -> String {
    let (peers, may, be) = (count(peers, "peer"), "may connect from now on", if peers == 1 { "is" } else { "are" });
    match change {
        PeerChange::Allow => format!("{peers} {may}"),
        PeerChange::Deny => format!("{peers} may not connect any more"),
        PeerChange::Forget => format!("{peers} {be} forgotten"),
        PeerChange::Lock => {
            "learning is over: with network.auth = \"learn\", who is not allowed by now stays outside".into()
        }
        PeerChange::Pardon => format!("{peers} {be} pardoned"),
    }
}

fn list(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let status = status::ask(config)?;
    if out.is_json() {
        return status.peers.iter().try_for_each(|peer| out.object(peer));
    }
    if status.peers.is_empty() {
        return out.line("No peer has been found yet; `allibrary diagnose` tells what may be in the way.");
    }
    let headings =
        ["PEER", "STATE", "QUALITY", "RTT", "LOSS", "RATE", "CIPHER", "STANDING", "FOUND BY", "ADDRESS", "REMARK"];
    let mut table = Table::new(&headings, &[2, 3, 4, 5]);
    status.peers.iter().for_each(|peer| table.row(row(peer)));
    table.print(out)
}

fn row(peer: &PeerStatus) -> [String; 11] {
    let state = match peer.state {
        PeerState::Connected => "connected",
        PeerState::Disconnected => "disconnected",
        PeerState::Failed => "failed",
    };
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let is_connected = peer.state == PeerState::Connected;
    let rate = is_connected.then(|| format!("{}/s", size(peer.sent_bytes_s + peer.received_bytes_s)));
    let retry = peer.retry_in_s.map(|seconds| format!(" (next try in {})", duration(seconds))).unwrap_or_default();
    let remark = match (&peer.error, &peer.agent) {
        (Some(error), _) => format!("{error}{retry}"),
        (None, Some(agent)) => agent.clone(),
        (None, None) => retry.trim_start().to_owned(),
    };
    [
        peer.node.clone(),
        state.to_owned(),
        or_dash(peer.quality.map(|quality| quality.to_string())),
        or_dash(peer.rtt_us.map(|rtt_us| format!("{:.1} ms", rtt_us as f64 / 1000.0))),
        or_dash(peer.loss_percent.map(|percent| format!("{percent:.1} %"))),
        or_dash(rate),
        or_dash(peer.cipher.clone()),
        standing(peer),
        peer.source.clone(),
        or_dash(peer.address.clone()),
        remark,
    ]
}

/// What the lists say of it, and what it is known for.
fn standing(peer: &PeerStatus) -> String {
    let mut words = Vec::new();
    match peer.access {
        Access::Unlisted => {}
        Access::Allowed => words.push("allowed".to_owned()),
        Access::Denied => words.push("denied".to_owned()),
    }
    match peer.banned_for_s {
        Some(seconds) => words.push(format!("banned for {}", duration(seconds))),
        None if peer.reputation != 0 => words.push(format!("{:+}", peer.reputation)),
        None => {}
    }
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_all_that_is_known() {
        let unknown = row(&PeerStatus { node: "A".into(), source: "mdns".into(), ..PeerStatus::default() });
        assert_eq!(unknown, ["A", "disconnected", "-", "-", "-", "-", "-", "-", "mdns", "-", ""]);
        let known = row(&PeerStatus {
            node: "A".into(),
            state: PeerState::Connected,
            quality: Some(93),
            rtt_us: Some(1500),
            loss_percent: Some(0.25),
            sent_bytes_s: 1000,
            received_bytes_s: 500,
            cipher: Some("TLS13_AES_256_GCM_SHA384".into()),
            access: Access::Allowed,
            reputation: -12,
            source: "bootstrap".into(),
            address: Some("/ip4/10.0.0.1/udp/1/quic-v1".into()),
            agent: Some("allibrary/0.1".into()),
            ..PeerStatus::default()
        });
        let cipher = "TLS13_AES_256_GCM_SHA384";
        assert_eq!(known[1..8], ["connected", "93", "1.5 ms", "0.2 %", "1.5 kB/s", cipher, "allowed, -12"]);
        let gone = PeerStatus {
            error: Some("it did not answer".into()),
            retry_in_s: Some(60),
            banned_for_s: Some(7200),
            ..PeerStatus::default()
        };
        assert_eq!(row(&gone)[7], "banned for 2 h 0 min");
        assert_eq!(row(&gone)[10], "it did not answer (next try in 1 min)");
    }
}
