//! What the node is doing.

use maud::{Markup, PreEscaped, html};
use qrcode::{Color, QrCode};

use super::{
    Frame,
    shape::{count, foreign, grouped, size, span},
};
use crate::status::{
    Cause, Finding, NodeStatus, Notice, NoticeLevel, PeerState, PeerStatus, Progress, ScrubState, ScrubStatus,
    SystemStatus, TransferState, TransferStatus,
};

/// Seconds between two looks at the status.
const REFRESH_S: u32 = 10;

/// The status page. `address` is where other devices find the library.
pub fn status(site: &str, address: &str, node: &NodeStatus) -> Markup {
    let frame = Frame { refresh_s: Some(REFRESH_S), ..Frame::new(site, "Status") };
    frame.around(html! {
        h1 { "Status" }
        @for notice in &node.notices { (self::notice(notice)) }
        section {
            h2 { "Transfers" }
            @if node.transfers.is_empty() { p.note { "Nothing is being fetched." } }
            (transfers(&node.transfers))
            @for one in node.controls.collections.iter().chain(&node.controls.items) { (waiting(one)) }
            @for (what, rate) in [("fetched", node.controls.download_rate), ("sent", node.controls.upload_rate)] {
                @if rate > 0 { p.note { "At most " (size(rate)) " are " (what) " in a second." } }
            }
        }
        section {
            h2 { "Other nodes" }
            @if node.peers.is_empty() { p.note { "None has been seen on this network yet." } }
            ul.list { @for one in &node.peers { li { (peer(one)) } } }
        }
        @if node.findings.iter().any(|one| one.cause != Cause::Connected) {
            section {
                h2 { "Why a node may not be seen" }
                @for one in &node.findings { (finding(one)) }
            }
        }
        section {
            h2 { "This node" }
            dl {
                dt { "Library" } dd { (count(node.store.collections, "collection")) ", " (count(node.store.blobs, "file")) ", " (size(node.store.bytes)) }
                dt { "Free space" } dd { (size(node.store.free_bytes)) " " small { "(" (size(node.store.reserve_bytes)) " of it are kept free)" } }
                dt { "Checking" } dd { (scrub(&node.scrub)) }
                (machine(&node.system))
                dt { "Running" } dd { (span(node.uptime_s)) ", version " (node.version) }
                dt { "Id" } dd { code { (node.node) } }
                @for listen in &node.listen { dt { "Listens on" } dd { code { (listen) } } }
            }
        }
        section {
            h2 { "Read on another device" }
            p { a href=(address) { (address) } }
            (qr(address))
        }
    })
}

fn scrub(scrub: &ScrubStatus) -> Markup {
    let state = match scrub.state {
        ScrubState::Off => return html! { "switched off" },
        ScrubState::Reading => "reading the files again",
        ScrubState::Waiting => "waiting for a quiet moment",
        ScrubState::Resting => "resting until the next time",
    };
    html! {
        (state) ", " (size(scrub.checked_bytes)) " of " (size(scrub.total_bytes)) " "
        small { "(all of it " (count(scrub.passes, "time")) " so far; " (count(scrub.damaged, "damaged file")) " found)" }
    }
}

/// What the machine tells; what it does not is left out.
fn machine(system: &SystemStatus) -> Markup {
    html! {
        @if let Some(bytes) = system.memory_bytes {
            dt { "Memory" }
            dd {
                (size(bytes))
                @if let (Some(total), Some(available)) = (system.memory_total_bytes, system.memory_available_bytes) {
                    " " small { "(the machine has " (size(total)) ", " (size(available)) " of it available)" }
                }
            }
        }
        @if let Some(percent) = system.cpu_percent {
            dt { "Processor" }
            dd { (format!("{percent:.1} %")) @if let Some(load) = system.load { " " small { "(load " (format!("{load:.2}")) ")" } } }
        }
        @for (what, disk) in [("Data disk", system.data_disk), ("Library disk", system.library_disk)] {
            @if let Some(disk) = disk { dt { (what) } dd { (size(disk.free_bytes)) " of " (size(disk.total_bytes)) " free" } }
        }
        @if let Some(celsius) = system.temperature_celsius { dt { "Temperature" } dd { (format!("{celsius:.0} °C")) } }
        @if let Some(seconds) = system.uptime_s { dt { "Machine" } dd { "running for " (span(seconds)) } }
    }
}

fn notice(notice: &Notice) -> Markup {
    let (class, word) = match notice.level {
        NoticeLevel::Info => ("info", "Note"),
        NoticeLevel::Warning => ("warning", "Warning"),
        NoticeLevel::Error => ("error", "Problem"),
    };
    html! { p.notice.(class) role="status" { strong { (word) ": " } (notice.text) } }
}

/// A collection or an item that waits by the owner's word.
fn waiting(one: &TransferStatus) -> Markup {
    let state = match one.state {
        TransferState::Going => return html! {},
        TransferState::Paused => "paused",
        TransferState::Cancelled => "cancelled",
    };
    let here = (grouped(one.items_done), count(one.items_total, "title"));
    html! {
        p {
            strong { (foreign(&one.collection, "")) @if let Some(path) = &one.path { "/" (foreign(path, "")) } }
            " – " (state) ", " (here.0) " of " (here.1) " are here"
        }
    }
}

/// What is being copied: each collection, with those that it comes from, and then all.
fn transfers(all: &[TransferStatus]) -> Markup {
    let collections = Progress::by_collection(all);
    html! {
        @for (one, progress) in &collections {
            div.transfer {
                p { strong { (foreign(&one.collection, "")) } " – " (progress.percent()) "%" }
                progress max="100" value=(progress.percent()) aria-label=(one.collection) {}
                p.note { (grouped(one.items_done)) " of " (count(one.items_total, "title")) " · " (amounts(progress)) }
                @for from in all.iter().filter(|from| from.folder == one.folder) {
                    p.note {
                        "from " (end_of(&from.peer)) " · " (size(from.rate_bytes_s)) "/s"
                        @if let Some(item) = &from.item { " · " (foreign(item, "")) }
                    }
                }
            }
        }
        @if collections.len() > 1 { p { strong { "In all" } " – " (amounts(&Progress::of(all))) } }
    }
}

fn amounts(progress: &Progress) -> Markup {
    html! {
        (size(progress.bytes_done)) " of " (size(progress.bytes_total)) " · " (size(progress.rate_bytes_s)) "/s"
        @if progress.sources > 1 { " from " (count(progress.sources, "node")) }
        @if let Some(seconds) = progress.remaining_s { " · " (span(seconds)) " left" }
    }
}

fn peer(one: &PeerStatus) -> Markup {
    let (class, state) = match one.state {
        PeerState::Connected => ("on", "connected"),
        PeerState::Disconnected => ("off", "not connected"),
        PeerState::Failed => ("off", "out of reach"),
    };
    html! {
        div.row {
            span.kind.(class) { (state) }
            " "
            span.title { (end_of(&one.node)) }
            " "
            span.note {
                "found by " (one.source)
                @if let Some(agent) = &one.agent { " · " (foreign(agent, "")) }
                @if let Some(quality) = one.quality { " · quality " (quality) " of 100" }
                @if let Some(rtt_us) = one.rtt_us { " · " (format!("{:.1} ms", rtt_us as f64 / 1000.0)) }
                @if let Some(seconds) = one.banned_for_s { " · banned for " (span(seconds)) }
                @if let Some(address) = &one.address { " · " (foreign(address, "")) }
                @if let Some(error) = &one.error { " · " (foreign(error, "")) }
            }
        }
    }
}

fn finding(one: &Finding) -> Markup {
    html! {
        p {
            @if let Some(peer) = &one.peer { (end_of(peer)) ": " }
            (foreign(&one.text, ""))
            @if !one.advice.is_empty() { br; span.note { (foreign(&one.advice, "")) } }
        }
    }
}

/// The end of a peer id: all ids start alike.
fn end_of(id: &str) -> Markup {
    let start = id.char_indices().rev().nth(7).map_or(0, |(at, _)| at);
    html! { code title=(id) { @if start > 0 { "…" } (&id[start..]) } }
}

/// A QR code as SVG, black on white whatever the colours of the page: readers want it so.
fn qr(text: &str) -> Markup {
    /// Modules of white around the code (ISO/IEC 18004).
    const QUIET: usize = 4;
    let Ok(code) = QrCode::new(text) else { return html! {} };
    let side = code.width() + 2 * QUIET;
    let mut path = String::new();
    for (at, _) in code.to_colors().iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        let (x, y) = (at % code.width() + QUIET, at / code.width() + QUIET);
        path.push_str(&format!("M{x} {y}h1v1h-1z"));
    }
    html! {
        svg.qr role="img" aria-label="QR code of the address" viewBox=(format!("0 0 {side} {side}")) width="180" height="180" {
            (PreEscaped("<path fill=\"#fff\" d=\"M0 0h999v999H0z\"/>"))
            path d=(path) fill="#000" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_does_not_tell_is_left_out() {
        assert_eq!(machine(&SystemStatus::default()).into_string(), "");
        let warm = SystemStatus { temperature_celsius: Some(61.4), ..SystemStatus::default() };
        assert_eq!(machine(&warm).into_string(), "<dt>Temperature</dt><dd>61 °C</dd>");
    }

    #[test]
    fn findings_say_whom_they_are_about_and_what_to_do() {
        let about = |peer: Option<&str>, advice: &str| Finding {
            peer: peer.map(str::to_owned),
            cause: Cause::Blocked,
            level: NoticeLevel::Warning,
            text: "<it> is silent".into(),
            advice: advice.into(),
        };
        let page = finding(&about(Some("12D3KooWabcdefgh"), "look")).into_string();
        for part in ["…abcdefgh", "&lt;it&gt; is silent", "look"] {
            assert!(page.contains(part), "{page}");
        }
        assert!(!finding(&about(None, "")).into_string().contains("<br>"));
    }

    #[test]
    fn ids_are_shortened_at_their_end() {
        assert_eq!(end_of("12D3KooWabcdefgh").into_string(), "<code title=\"12D3KooWabcdefgh\">…abcdefgh</code>");
        assert_eq!(end_of("é").into_string(), "<code title=\"é\">é</code>");
        assert_eq!(end_of("").into_string(), "<code title=\"\"></code>");
    }
}
