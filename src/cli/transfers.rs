use std::{collections::BTreeMap, thread, time::Duration};

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
    status::{NodeStatus, TransferPriority, TransferState, TransferStatus},
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
    /// Copy nothing more of these collections until they are resumed, and delete what has come of files that are not complete
    Cancel(Collections),
    /// Say which collections come before others
    Priority(Ranked),
}

#[derive(Args)]
struct Named {
    /// Collections as `ls` names them, and peer ids; everything if none is named
    #[arg(value_name = "COLLECTION|PEER")]
    names: Vec<String>,
}

#[derive(Args)]
struct Collections {
    /// Collections as `ls` names them
    #[arg(required = true, value_name = "COLLECTION")]
    names: Vec<String>,
}

#[derive(Args)]
struct Ranked {
    /// A collection as `ls` names it
    #[arg(value_name = "COLLECTION")]
    name: String,
    /// Where it stands among those that are copied
    rank: Rank,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rank {
    /// Before others, and with more of a limited rate
    High,
    /// As it comes
    Normal,
    /// After others, and with less of a limited rate
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
        TransferChange::High => format!("{what}: copied before others"),
        TransferChange::Normal => format!("{what}: copied as it comes"),
        TransferChange::Low => format!("{what}: copied after others"),
    }
}

/// Ends when there is no node any more.
fn watch(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let bars = MultiProgress::new();
    let mut watch = Watch::new(&bars, out.is_watched());
    loop {
        let status = status::ask(config)?;
        if out.is_json() {
            out.object(&Progress::of(&status.transfers))?;
        } else {
            for line in watch.look(&status) {
                bars.suspend(|| out.line(printable(&line)))?;
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// How far all is that is being copied.
#[derive(Debug, PartialEq, Serialize)]
struct Progress<'a> {
    event: &'static str,
    /// Of the collections that are being copied: bytes that are here, of `bytes_total`.
    bytes_done: u64,
    bytes_total: u64,
    rate_bytes_s: u64,
    remaining_s: Option<u64>,
    transfers: &'a [TransferStatus],
}

impl<'a> Progress<'a> {
    fn of(transfers: &'a [TransferStatus]) -> Self {
        let collections: BTreeMap<_, _> = transfers.iter().map(|it| (&it.folder, it)).collect();
        let sum = |of: fn(&TransferStatus) -> u64| collections.values().map(|it| of(it)).sum();
        let (done, total, rate): (u64, u64, u64) =
            (sum(|it| it.bytes_done), sum(|it| it.bytes_total), sum(|it| it.total_rate_bytes_s));
        Self {
            event: "progress",
            bytes_done: done,
            bytes_total: total,
            rate_bytes_s: rate,
            remaining_s: (rate > 0).then(|| total.saturating_sub(done).div_ceil(rate)),
            transfers,
        }
    }
}

fn list(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let NodeStatus { transfers, controls, .. } = status::ask(config)?;
    let mut all = transfers.iter().chain(&controls.collections);
    if out.is_json() {
        return all.try_for_each(|transfer| out.object(transfer));
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
    if transfers.is_empty() && controls.collections.is_empty() {
        return out.line("Nothing is being copied.");
    }
    let headings = ["STATE", "PRIORITY", "DONE", "HERE", "SIZE", "FILES", "RATE", "LEFT", "FROM", "COLLECTION"];
    let mut table = Table::new(&headings, &[2, 3, 4, 5, 6, 7]);
    all.for_each(|transfer| table.row(row(transfer)));
    table.print(out)
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
    let priority = match transfer.priority {
        TransferPriority::Low => "low",
        TransferPriority::Normal => "normal",
        TransferPriority::High => "high",
    };
    let percent = transfer.bytes_done.saturating_mul(100).checked_div(transfer.bytes_total).unwrap_or(100);
    [
        state.to_owned(),
        priority.to_owned(),
        format!("{percent} %"),
        size(transfer.bytes_done),
        size(transfer.bytes_total),
        format!("{}/{}", transfer.items_done, transfer.items_total),
        if_under_way(Some(format!("{}/s", size(transfer.rate_bytes_s)))),
        if_under_way(transfer.remaining_s.map(duration)),
        if_under_way(Some(transfer.peer.clone())),
        transfer.folder.clone(),
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
    }

    #[test]
    fn what_comes_from_several_peers_counts_once_in_all() {
        let from = |peer: &str, folder: &str| TransferStatus {
            peer: peer.into(),
            folder: folder.into(),
            bytes_done: 250,
            bytes_total: 1000,
            rate_bytes_s: 5,
            total_rate_bytes_s: 10,
            ..TransferStatus::default()
        };
        let transfers = [from("A", "Books"), from("B", "Books"), from("A", "Films")];
        let all = Progress::of(&transfers);
        assert_eq!((all.bytes_done, all.bytes_total, all.rate_bytes_s), (500, 2000, 20));
        assert_eq!(all.remaining_s, Some(75));
        assert_eq!(Progress::of(&[]).remaining_s, None);
    }

    #[test]
    fn what_was_changed_is_said_in_words() {
        assert_eq!(said(TransferChange::Pause, &[]), "everything: paused, until: allibrary transfers resume");
        assert_eq!(said(TransferChange::Low, &["a".into(), "b".into()]), "a, b: copied after others");
    }
}
