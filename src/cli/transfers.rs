use std::{thread, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::MultiProgress;
use serde::Serialize;

use super::{
    Failure, Out,
    out::{Table, duration, printable, size},
    run::Watch,
    session, status,
};
use crate::{
    config::Config,
    node::control::{Reply, Request, TransferChange},
    status::{NodeStatus, PeerPriority, Progress, TrafficStatus, TransferPriority, TransferState, TransferStatus},
};

/// Between two looks at the node.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// List what is copied from other nodes, or say what waits and what comes first
#[derive(Args)]
pub(super) struct Transfers {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// List what is being copied, and what waits, as without a subcommand
    List,
    /// Show what is being copied as it comes, until Ctrl-C; with --json a line every second
    Watch,
    /// Copy nothing more, and send nothing to other nodes, until it is resumed; what has come stays
    Pause(Named),
    /// Go on with what was paused or cancelled; without a name, with all that was paused
    Resume(Named),
    /// Copy nothing more of these until they are resumed, and delete what has come of files that are not complete
    Cancel(Wanted),
    /// Say what comes before others
    Priority(Ranked),
}

#[derive(Args)]
struct Named {
    /// Collections as `ls` names them, files of them, and peer ids; everything if none is named
    #[arg(value_name = "COLLECTION[/PATH]|PEER")]
    names: Vec<String>,
}

#[derive(Args)]
struct Wanted {
    /// Collections as `ls` names them, and files of them
    #[arg(required = true, value_name = "COLLECTION[/PATH]")]
    names: Vec<String>,
}

#[derive(Args)]
struct Ranked {
    /// A collection as `ls` names it, a file of one, or a peer id
    #[arg(value_name = "COLLECTION[/PATH]|PEER")]
    name: String,
    /// Where it stands among others
    rank: Rank,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rank {
    /// Before others, and with more of a limited rate; a peer gets more of it, and of the upload slots
    High,
    /// As it comes; a file as its collection does
    Normal,
    /// After others, and with less of a limited rate; a peer gets less of it, and of the upload slots
    Low,
}

impl Transfers {
    pub(super) fn run(self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let (change, names) = match self.what {
            None | Some(What::List) => return list(config, out),
            Some(What::Watch) => return watch(config, out),
            Some(What::Pause(named)) => (TransferChange::Pause, named.names),
            Some(What::Resume(named)) => (TransferChange::Resume, named.names),
            Some(What::Cancel(named)) => (TransferChange::Cancel, named.names),
            Some(What::Priority(Ranked { name, rank })) => {
                let change = match rank {
                    Rank::High => TransferChange::High,
                    Rank::Normal => TransferChange::Normal,
                    Rank::Low => TransferChange::Low,
                };
                (change, vec![name])
            }
        };
        session::perform(config, Request::Transfers { change, names }, &mut |reply| match reply {
            Reply::TransfersChanged { .. } if out.is_json() => out.object(&reply),
            Reply::TransfersChanged { change, names } => out.line(said(change, &names)),
            _ => Ok(()),
        })
    }
}

fn said(change: TransferChange, names: &[String]) -> String {
    let what = if names.is_empty() { "everything".to_owned() } else { names.join(", ") };
    match change {
        TransferChange::Pause => format!("{what}: paused, until: allibrary transfers resume"),
        TransferChange::Resume => format!("{what}: resumed"),
        TransferChange::Cancel => format!("{what}: cancelled, until: allibrary transfers resume"),
        TransferChange::High => format!("{what}: before others"),
        TransferChange::Normal => format!("{what}: as it comes"),
        TransferChange::Low => format!("{what}: after others"),
    }
}

/// Ends when there is no node any more.
fn watch(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let bars = MultiProgress::new();
    let mut watch = Watch::new(&bars, out.is_watched());
    loop {
        let status = status::ask(config)?;
        if out.is_json() {
            out.object(&Shown::of(&status))?;
        } else {
            for line in watch.look(&status) {
                bars.suspend(|| out.line(printable(&line)))?;
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// How far all is that is being copied.
#[derive(Serialize)]
struct Shown<'a> {
    event: &'static str,
    #[serde(flatten)]
    all: Progress,
    traffic: &'a TrafficStatus,
    transfers: &'a [TransferStatus],
}

impl<'a> Shown<'a> {
    fn of(status: &'a NodeStatus) -> Self {
        let NodeStatus { transfers, traffic, .. } = status;
        Self { event: "progress", all: Progress::of(transfers), traffic, transfers }
    }
}

fn list(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let NodeStatus { transfers, controls, .. } = status::ask(config)?;
    let mut all = transfers.iter().chain(&controls.collections).chain(&controls.items).peekable();
    if out.is_json() {
        all.try_for_each(|transfer| out.object(transfer))?;
        return controls.peer_priorities.iter().try_for_each(|peer| out.object(peer));
    }
    if controls.paused {
        out.line("Everything is paused, until: allibrary transfers resume")?;
    }
    if controls.resting {
        out.line("It is not the hour to copy anything (transfer.hours).")?;
    }
    for (what, rate) in [("fetched", controls.download_rate), ("sent", controls.upload_rate)] {
        if rate > 0 {
            out.line(format_args!("At most {}/s are {what}.", size(rate)))?;
        }
    }
    for peer in &controls.paused_peers {
        out.line(format_args!("Peer {peer} is paused."))?;
    }
    for PeerPriority { peer, priority } in &controls.peer_priorities {
        out.line(format_args!("Peer {peer} has {} priority.", word(*priority)))?;
    }
    if all.peek().is_none() {
        return out.line("Nothing is being copied.");
    }
    let headings = ["STATE", "PRIORITY", "DONE", "HERE", "SIZE", "FILES", "RATE", "LEFT", "FROM", "COLLECTION"];
    let mut table = Table::new(&headings, &[2, 3, 4, 5, 6, 7]);
    all.for_each(|transfer| table.row(row(transfer)));
    table.print(out)?;
    match Progress::of(&transfers) {
        // Else the table has said it.
        all if transfers.len() > 1 => out.line(format_args!("In all {}", amounts(&all))),
        _ => Ok(()),
    }
}

fn amounts(all: &Progress) -> String {
    let (done, total) = (size(all.bytes_done), size(all.bytes_total));
    format!("{} %, {done} of {total}, {}", all.percent(), status::speed(all))
}

fn word(priority: TransferPriority) -> &'static str {
    match priority {
        TransferPriority::Low => "low",
        TransferPriority::Normal => "normal",
        TransferPriority::High => "high",
    }
}

fn row(transfer: &TransferStatus) -> [String; 10] {
    let is_under_way = !transfer.peer.is_empty();
    let if_under_way = |text: Option<String>| text.filter(|_| is_under_way).unwrap_or_else(|| "-".to_owned());
    let state = match transfer.state {
        TransferState::Going if is_under_way => "copying",
        TransferState::Going => "-",
        TransferState::Paused => "paused",
        TransferState::Cancelled => "cancelled",
    };
    let percent = transfer.bytes_done.saturating_mul(100).checked_div(transfer.bytes_total).unwrap_or(100);
    [
        state.to_owned(),
        word(transfer.priority).to_owned(),
        format!("{percent} %"),
        size(transfer.bytes_done),
        size(transfer.bytes_total),
        format!("{}/{}", transfer.items_done, transfer.items_total),
        if_under_way(Some(format!("{}/s", size(transfer.rate_bytes_s)))),
        if_under_way(transfer.remaining_s.map(duration)),
        if_under_way(Some(transfer.peer.clone())),
        match &transfer.path {
            Some(path) => format!("{}/{path}", transfer.folder),
            None => transfer.folder.clone(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_all_that_is_known() {
        let still = TransferStatus {
            folder: "Books".into(),
            items_total: 3,
            bytes_total: 1000,
            state: TransferState::Paused,
            priority: TransferPriority::High,
            ..TransferStatus::default()
        };
        assert_eq!(row(&still), ["paused", "high", "0 %", "0 B", "1.0 kB", "0/3", "-", "-", "-", "Books"]);
        let under_way = TransferStatus {
            peer: "A".into(),
            bytes_done: 250,
            rate_bytes_s: 10,
            remaining_s: Some(75),
            state: TransferState::Going,
            ..still
        };
        assert_eq!(
            row(&under_way),
            ["copying", "high", "25 %", "250 B", "1.0 kB", "0/3", "10 B/s", "1 min", "A", "Books"]
        );
        let item = TransferStatus { path: Some("a/b.pdf".into()), ..TransferStatus::default() };
        assert_eq!(row(&TransferStatus { folder: "Books".into(), ..item })[9], "Books/a/b.pdf");
    }

    #[test]
    fn all_is_summed_up() {
        let status = NodeStatus {
            transfers: vec![TransferStatus { bytes_total: 10, sources: 1, ..TransferStatus::default() }],
            ..NodeStatus::default()
        };
        let json = serde_json::to_value(Shown::of(&status)).unwrap();
        assert_eq!((&json["event"], &json["bytes_total"]), (&"progress".into(), &10.into()));
        let all = Progress {
            collections: 2,
            bytes_done: 500,
            bytes_total: 2000,
            rate_bytes_s: 20,
            remaining_s: Some(75),
            sources: 2,
        };
        assert_eq!(amounts(&all), "25 %, 500 B of 2.0 kB, 20 B/s from 2 nodes, 1 min left");
    }

    #[test]
    fn what_was_changed_is_said_in_words() {
        assert_eq!(said(TransferChange::Pause, &[]), "everything: paused, until: allibrary transfers resume");
        assert_eq!(said(TransferChange::Low, &["a".into(), "b".into()]), "a, b: after others");
    }
}
