//! What is told at the start, and when nobody is found.

use std::io::{self, IsTerminal as _};

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::super::{
    Failure, Out,
    out::{count, size},
};
use crate::{
    config::Config,
    status::{Finding, NodeStatus},
};

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
pub(super) fn alone(status: &NodeStatus, findings: &[Finding]) -> Vec<String> {
    let mut lines = vec!["No other node has been found so far. This one goes on looking.".to_owned()];
    if !status.listen.is_empty() {
        lines.push(format!("  It listens on {}.", status.listen.join(", ")));
    }
    for finding in findings {
        lines.push(format!("  - {}", finding.text));
        if !finding.advice.is_empty() {
            lines.push(format!("    {}", finding.advice));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_is_drawn() {
        let code = qr_code("http://192.168.100.100:8080/");
        let width = code.lines().next().unwrap().chars().count();
        assert!(width > 20 && code.lines().all(|line| line.chars().count() == width), "{code}");
        assert_eq!(qr_code(&"x".repeat(10_000)), "");
    }
}
