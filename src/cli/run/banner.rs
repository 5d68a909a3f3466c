//! What is told at the start, and when nobody is found.

use std::io::{self, IsTerminal as _};

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::super::{
    Failure, Out,
    out::{count, size},
};
use crate::{config::Config, network::mdns::Heard, status::NodeStatus};

/// Where the page is, who this node is, and what to do next.
pub(super) fn print(status: &NodeStatus, config: &Config, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return out.object(&serde_json::json!({
            "event": "started", "node": status.node, "pages": status.pages, "listen": status.listen,
        }));
    }
    out.line("")?;
    if let Some(page) = status.pages.first() {
        out.line(format_args!("  Open in a browser   {page}"))?;
        for page in status.pages.iter().skip(1) {
            out.line(format_args!("                      {page}"))?;
        }
        if io::stdout().is_terminal() {
            for line in qr_code(page).lines() {
                out.line(format_args!("  {line}"))?;
            }
        }
    }
    out.line(format_args!("  Peer id             {}", status.node))?;
    out.line(format_args!("  Data                {}", config.data.display()))?;
    out.line(format_args!(
        "  Library             {} in {}, {}",
        count(status.store.blobs, "file"),
        count(status.store.collections, "collection"),
        size(status.store.bytes),
    ))?;
    for line in next_steps(status, config) {
        out.line(line)?;
    }
    out.line("")
}

fn next_steps(status: &NodeStatus, config: &Config) -> [String; 3] {
    let data = if config.is_explicit("data") { format!("--data {} ", config.data.display()) } else { String::new() };
    let mirror = if config.mirror.enabled {
        format!("  Mirroring           what other nodes share, into {}", config.mirror.folder.display())
    } else {
        "  Mirror others       start with --mirror to keep copies of what other nodes share".to_owned()
    };
    let share = if status.store.blobs == 0 { "Share a folder" } else { "Share more" };
    [
        format!("  {share:<20}allibrary {data}add FOLDER"),
        mirror,
        format!("  Look again          allibrary {data}status    (Ctrl-C stops the node)"),
    ]
}

/// For dark terminals, as most are: what must be light is drawn, the rest left.
fn qr_code(text: &str) -> String {
    match QrCode::with_error_correction_level(text, EcLevel::L) {
        Ok(code) => code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build(),
        // Longer than a code can hold: the address above will do.
        Err(_) => String::new(),
    }
}

/// What to look at when no other node has been found.
pub(super) fn alone(status: &NodeStatus, config: &Config, heard: &[Heard]) -> Vec<String> {
    let mut lines = vec!["No other node has been found so far. This one goes on looking.".to_owned()];
    lines.push(format!("  It listens on {}.", status.listen.join(", ")));
    if config.network.mdns {
        lines.extend(heard.iter().map(|heard| format!("  {}", heard_line(heard))));
        let heard_others = heard.iter().any(|heard| heard.from_others > 0);
        if !heard_others {
            lines.push("  No other machine has been heard at all. What usually is in the way:".to_owned());
            lines.push("  - the other node is off, or on another network (guest Wi-Fi, VPN, mobile data)".to_owned());
            lines.push(
                "  - Wi-Fi with \"client isolation\" or \"AP isolation\": turn it off in the access point".to_owned(),
            );
        } else {
            lines
                .push("  Other machines are heard, but none of them is a node. What usually is in the way:".to_owned());
            lines.push("  - the other node is off, or another network lies between".to_owned());
        }
        lines.push("  - a firewall here or there: let UDP port 5353 (mDNS) and the ports above in".to_owned());
    } else {
        lines.push("  It does not look for others: network.mdns is false.".to_owned());
    }
    // Another machine can use any but the loopback address, and IPv4 is what people recognise.
    let is_ours = |address: &&String| address.starts_with("/ip4/") && !address.starts_with("/ip4/127.");
    if let Some(address) = status.listen.iter().find(is_ours) {
        let node = &status.node;
        lines
            .push(format!("  Without discovery, run on the other machine: allibrary run --bootstrap {node}@{address}"));
    }
    lines
}

fn heard_line(heard: &Heard) -> String {
    let family = if heard.ipv6 { "IPv6" } else { "IPv4" };
    let what = match heard {
        Heard { error: Some(error), .. } => error.clone(),
        Heard { from_here: 0, from_others: 0, .. } => {
            "nothing heard, not even this node: multicast is blocked".to_owned()
        }
        Heard { from_others, .. } => format!("{} from other machines heard", count(*from_others, "packet")),
    };
    format!("mDNS on {} ({family}): {what}", heard.interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(from_here: u64, from_others: u64) -> Heard {
        Heard { interface: "eth0".into(), ipv6: false, from_here, from_others, error: None }
    }

    #[test]
    fn being_alone_names_addresses_and_the_usual_reasons() {
        let status = NodeStatus { listen: vec!["/ip4/192.0.2.1/udp/4720/quic-v1".into()], ..NodeStatus::default() };
        let config = Config::default();
        let told = |heard| alone(&status, &config, &[heard]).join("\n");
        let silent = told(heard(3, 0));
        for word in ["/ip4/192.0.2.1/udp/4720/quic-v1", "eth0", "isolation", "firewall", "5353", "--bootstrap"] {
            assert!(silent.contains(word), "{word} is missing: {silent}");
        }
        assert!(told(heard(3, 7)).contains("7 packets from other machines"));
        assert!(told(heard(0, 0)).contains("multicast is blocked"));
    }

    #[test]
    fn a_qr_code_is_drawn() {
        let code = qr_code("http://192.168.100.100:8080/");
        let width = code.lines().next().unwrap().chars().count();
        assert!(width > 20 && code.lines().all(|line| line.chars().count() == width), "{code}");
        assert_eq!(qr_code(&"x".repeat(10_000)), "");
    }
}
