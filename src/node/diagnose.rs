//! Why peers are not seen: from what is known of this machine and of them to words and advice. Pure.

use std::{net::IpAddr, time::Duration};

use crate::{
    config::Auth,
    limits::peers::FINDINGS,
    network::mdns::Heard,
    status::{Access, Cause, Finding, NoticeLevel, PeerState, PeerStatus, Trouble},
};

/// No clock that was set shows less: 2024 began then.
const LONG_AGO: Duration = Duration::from_secs(1_704_067_200);

/// What is known.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// This node's peer id.
    pub me: &'a str,
    /// Where it can be reached (multiaddrs).
    pub listen: &'a [String],
    /// Where it is to listen, and no interface has the address (multiaddrs).
    pub awaited: &'a [String],
    /// Every peer that it knows.
    pub peers: &'a [PeerStatus],
    /// Peers that may be connected.
    pub max_peers: usize,
    /// Who may connect.
    pub auth: Auth,
    /// Whether learning is over (`peers lock`).
    pub is_locked: bool,
    /// Whether peers are looked for (`network.mdns`).
    pub mdns: bool,
    /// What was heard on each interface.
    pub heard: &'a [Heard],
    /// Addresses of this machine that others can use.
    pub addresses: usize,
    /// Who else uses this node's peer id.
    pub own_id_elsewhere: Option<IpAddr>,
    /// Where the lists of peers are that can't be read.
    pub damaged_lists: Option<&'a str>,
    /// The machine's clock, since 1970.
    pub clock: Duration,
}

/// What there is to say of one peer, or of all. Whoever is connected is not mentioned among all.
pub fn diagnose(facts: &Facts<'_>, peer: Option<&str>) -> Vec<Finding> {
    let mut findings = facts.of_this_machine();
    match peer {
        Some(id) => {
            let known = facts.peers.iter().find(|peer| peer.node == id);
            // What is wrong here does not matter to a peer that is connected.
            if known.is_some_and(|peer| peer.state == PeerState::Connected) {
                findings.clear();
            }
            match known {
                _ if id == facts.me => {
                    findings.push(of(
                        Some(id),
                        Cause::Myself,
                        NoticeLevel::Info,
                        "this is the peer id of this node",
                        "",
                    ));
                }
                Some(peer) => findings.push(facts.of_peer(peer)),
                None => findings.extend(facts.of_unknown(id)),
            }
        }
        None => {
            let (connected, others): (Vec<_>, Vec<_>) =
                facts.peers.iter().partition(|peer| peer.state == PeerState::Connected && !peer.foreign);
            if connected.is_empty() {
                findings.extend(facts.of_discovery());
            }
            // In a large network most of those known are reached through others.
            let is_told = |finding: &Finding| connected.is_empty() || finding.cause != Cause::Waiting;
            findings.extend(others.into_iter().map(|peer| facts.of_peer(peer)).filter(is_told).take(FINDINGS));
            if findings.is_empty() {
                let text = match connected.len() {
                    1 => "one peer is connected, and nothing is wrong".to_owned(),
                    count => format!("{count} peers are connected, and nothing is wrong"),
                };
                findings.push(of(None, Cause::Connected, NoticeLevel::Info, text, ""));
            }
        }
    }
    findings
}

fn of(
    peer: Option<&str>,
    cause: Cause,
    level: NoticeLevel,
    text: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding { peer: peer.map(str::to_owned), cause, level, text: text.into(), advice: advice.into() }
}

impl Facts<'_> {
    fn connected(&self) -> usize {
        self.peers.iter().filter(|peer| peer.state == PeerState::Connected).count()
    }

    fn of_this_machine(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(from) = self.own_id_elsewhere {
            findings.push(of(
                None,
                Cause::OwnIdElsewhere,
                NoticeLevel::Error,
                format!("the host at {from} uses the same peer id: its data folder or SD card is a copy of this one"),
                "give one of the two an identity of its own: move identity.key out of its data folder and start it again",
            ));
        }
        if let Some(path) = self.damaged_lists {
            findings.push(of(
                None,
                Cause::ListsDamaged,
                NoticeLevel::Error,
                format!("{path} is damaged: nobody is admitted but those that network.allow names"),
                "mend it or restore it from a backup, or move it away and allow peers anew; then start the node again",
            ));
        }
        if self.addresses == 0 {
            findings.push(of(
                None,
                Cause::NoInterface,
                NoticeLevel::Error,
                "this machine has no network: no interface is up and has an address",
                "plug in the cable, or join the Wi-Fi; the node takes it up by itself",
            ));
        }
        findings.extend(self.awaited.iter().map(|address| {
            let text = format!("this node does not listen on {address}: no interface has that address");
            let advice = "plug in the cable, join the Wi-Fi or set the address up: the node takes it up by itself; if it is the \
                          wrong one, change network.listen or --listen, and start the node again";
            of(None, Cause::AddressMissing, NoticeLevel::Warning, text, advice)
        }));
        // Who is connected has seen that it does not matter.
        if self.clock < LONG_AGO && self.connected() == 0 {
            let years = self.clock.as_secs() / (365 * 24 * 3600);
            findings.push(of(
                None,
                Cause::Clock,
                NoticeLevel::Info,
                format!("this machine's clock was never set: it shows {}", 1970 + years),
                "nothing, as far as peers go: no node looks at the clock of another",
            ));
        }
        findings
    }

    /// Why nobody is found.
    fn of_discovery(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.addresses == 0 {
            return findings;
        }
        let say = |cause, text: String, advice: String| of(None, cause, NoticeLevel::Warning, text, advice);
        if !self.mdns {
            let text = "this node does not look for others: network.mdns is false";
            findings.push(say(Cause::MdnsOff, text.into(), format!("set it to true, or {}", self.name_a_node())));
            return findings;
        }
        for heard in self.heard.iter().filter(|heard| heard.interface != "lo") {
            let place = format!("{} ({})", heard.interface, if heard.ipv6 { "IPv6" } else { "IPv4" });
            match heard {
                Heard { error: Some(error), .. } => findings.push(say(
                    Cause::MdnsFailed,
                    format!("multicast DNS does not work on {place}: {error}"),
                    "check the interface; another program may hold UDP port 5353 for itself".into(),
                )),
                Heard { from_here: 0, from_others: 0, .. } => findings.push(say(
                    Cause::NoMulticast,
                    format!("nothing is heard on {place}, not even this node: multicast is blocked on this machine"),
                    "let UDP port 5353 (mDNS) in and out in this machine's firewall; a VPN may carry no multicast"
                        .into(),
                )),
                _ => {}
            }
        }
        let packets: u64 = self.heard.iter().map(|heard| heard.from_others).sum();
        if packets > 0 && !self.peers.iter().any(|peer| peer.source == "mdns") {
            findings.push(say(
                Cause::NoNodeHeard,
                format!("other machines are heard ({packets} packets of multicast DNS), but no node among them"),
                format!(
                    "check that the other node runs, has network.mdns on, and is on this network, not on a guest Wi-Fi; {}",
                    self.firewall()
                ),
            ));
        } else if packets == 0 {
            findings.push(say(
                Cause::NothingHeard,
                "no other machine has been heard at all".into(),
                format!(
                    "check that the other node runs and is on this network (no guest Wi-Fi, VPN or mobile data); switch off \
                     \"client isolation\" or \"AP isolation\" in the Wi-Fi access point; {}; or {}",
                    self.firewall(),
                    self.name_a_node()
                ),
            ));
        }
        findings
    }

    fn of_unknown(&self, id: &str) -> Vec<Finding> {
        let mut findings = match self.connected() {
            0 => self.of_discovery(),
            _ => Vec::new(),
        };
        findings.push(of(
            Some(id),
            Cause::Unknown,
            NoticeLevel::Warning,
            "nothing has ever been heard of this peer, on this network or from other peers",
            format!(
                "check the id (`allibrary id` there), and that it runs and is on this network; {}",
                match self.own_address() {
                    Some(_) => self.name_a_node(),
                    None => "it can be named with --bootstrap".to_owned(),
                }
            ),
        ));
        findings
    }

    fn of_peer(&self, peer: &PeerStatus) -> Finding {
        let id = peer.node.as_str();
        let warn = |cause, text: String, advice: String| of(Some(id), cause, NoticeLevel::Warning, text, advice);
        if peer.state == PeerState::Connected && peer.foreign {
            let agent = peer.agent.as_ref().map(|agent| format!(" ({agent})")).unwrap_or_default();
            let text = format!("it is connected, and is another program{agent}, which speaks no protocol of this one");
            return of(
                Some(id),
                Cause::OtherProgram,
                NoticeLevel::Info,
                text,
                "nothing, unless a node should run there",
            );
        }
        if peer.state == PeerState::Connected {
            let quality = peer.quality.map(|quality| format!(", quality {quality} of 100")).unwrap_or_default();
            return of(Some(id), Cause::Connected, NoticeLevel::Info, format!("it is connected{quality}"), "");
        }
        if peer.access == Access::Denied {
            let advice = format!("`allibrary peers allow {id}` lets it in, unless network.deny names it");
            return warn(Cause::DeniedHere, "it is denied here".into(), advice);
        }
        if let Some(seconds) = peer.banned_for_s {
            let text = format!(
                "it is banned here for another {}: it has sent damaged content or broken the rules",
                span(seconds)
            );
            let advice = format!("look after its disk and its version; `allibrary peers pardon {id}` ends the ban");
            return warn(Cause::BannedHere, text, advice);
        }
        let is_closed = self.auth == Auth::Allowlist || self.auth == Auth::Learn && self.is_locked;
        if is_closed && peer.access == Access::Unlisted {
            return self.not_allowed_here(id);
        }
        match peer.trouble {
            Some(trouble) => self.of_trouble(peer, trouble),
            None if self.connected() >= self.max_peers => self.full_here(id),
            None => {
                let text = "it is known and not connected: it was not tried yet, is reached through others, or this node \
                            has dialled as many as it may (network.max_dialled)";
                let text = format!("{text}{}", next_try(peer));
                of(Some(id), Cause::Waiting, NoticeLevel::Info, text, "")
            }
        }
    }

    fn of_trouble(&self, peer: &PeerStatus, trouble: Trouble) -> Finding {
        let id = peer.node.as_str();
        let warn = |cause, text: String, advice: String| of(Some(id), cause, NoticeLevel::Warning, text, advice);
        let (address, next) = (peer.address.as_deref().unwrap_or("an unknown address"), next_try(peer));
        let me = self.me;
        match trouble {
            Trouble::NotAllowedHere => self.not_allowed_here(id),
            Trouble::FullHere => self.full_here(id),
            Trouble::BannedHere => warn(
                Cause::BannedHere,
                "it was banned here for a while".into(),
                format!("`allibrary peers pardon {id}` ends the ban"),
            ),
            Trouble::NotAllowedThere => warn(
                Cause::NotAllowedThere,
                format!("it answers at {address} and does not admit this node{next}"),
                format!("on that machine, run: allibrary peers allow {me}"),
            ),
            Trouble::BannedThere => warn(
                Cause::BannedThere,
                format!("it answers and has banned this node for a while{next}"),
                format!(
                    "check this node's files with `allibrary verify`; on that machine, `allibrary peers pardon {me}`"
                ),
            ),
            Trouble::FullThere => warn(
                Cause::FullThere,
                format!("it has as many peers as it may{next}"),
                "nothing, if other peers are connected; else raise network.max_peers there".into(),
            ),
            Trouble::Version => warn(
                Cause::Version,
                format!("it speaks another version of the protocol{next}"),
                "bring both to the same version of allibrary".into(),
            ),
            Trouble::WrongPeer => warn(
                Cause::WrongPeer,
                format!("another node answers at {address}{next}"),
                "its address was given to another machine, or it has a new identity: compare `allibrary id` there"
                    .into(),
            ),
            Trouble::Stopped => warn(Cause::Stopped, format!("it was stopped{next}"), "start it again".into()),
            // Its announcements come through, its answers don't.
            Trouble::Unreachable | Trouble::Unresponsive if peer.source == "mdns" => warn(
                Cause::Blocked,
                format!("it was heard on this network and does not answer at {address}{next}"),
                format!(
                    "if it runs, a firewall on it or here is in the way, or \"AP isolation\" in the Wi-Fi: let its UDP port {} in",
                    port(address)
                ),
            ),
            Trouble::Unreachable | Trouble::Unresponsive => warn(
                Cause::Unreachable,
                format!("it does not answer at {address}{next}"),
                format!(
                    "check that it runs and has this address, and that its firewall lets UDP port {} in",
                    port(address)
                ),
            ),
        }
    }

    fn not_allowed_here(&self, id: &str) -> Finding {
        let text = "it is not on this node's list of allowed peers";
        of(
            Some(id),
            Cause::NotAllowedHere,
            NoticeLevel::Warning,
            text,
            format!("`allibrary peers allow {id}` lets it in"),
        )
    }

    fn full_here(&self, id: &str) -> Finding {
        let text = format!("this node has as many peers as it may, {}", self.max_peers);
        of(Some(id), Cause::FullHere, NoticeLevel::Warning, text, "raise network.max_peers")
    }

    fn firewall(&self) -> String {
        let address = self.own_address().or(self.listen.first().map(String::as_str)).unwrap_or_default();
        format!("let UDP ports 5353 (mDNS) and {} in through the firewalls here and there", port(address))
    }

    /// One that another machine can use: any but the loopback address, and IPv4 is what people recognise.
    fn own_address(&self) -> Option<&str> {
        let is_ours = |address: &&String| address.starts_with("/ip4/") && !address.starts_with("/ip4/127.");
        self.listen.iter().find(is_ours).map(String::as_str)
    }

    fn name_a_node(&self) -> String {
        let address = self.own_address().unwrap_or("/ip4/ADDRESS/udp/4720/quic-v1");
        format!("without discovery, run on the other machine: allibrary run --bootstrap {}@{address}", self.me)
    }
}

/// The UDP port of a multiaddr.
fn port(address: &str) -> &str {
    address.split('/').skip_while(|part| *part != "udp").nth(1).unwrap_or("4720")
}

fn next_try(peer: &PeerStatus) -> String {
    peer.retry_in_s.map(|seconds| format!("; next try in {}", span(seconds))).unwrap_or_default()
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
