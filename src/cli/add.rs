use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{
    Failure, Out,
    failure::Exit,
    out::{count, size},
    progress,
};
use crate::{
    config::Config,
    node::control::{PathText, Reply, Request},
};

/// Share files and folders with everyone on this network
#[derive(Args)]
pub(super) struct Add {
    /// Files and folders; folders with all they hold
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// The collection that they belong to [default: named after the folder]
    #[arg(short, long, value_name = "NAME")]
    collection: Option<String>,
    /// Copy the files into the library instead of sharing them where they are
    #[arg(long)]
    copy: bool,
    /// Share / or a whole home folder without asking
    #[arg(short, long)]
    yes: bool,
}

impl Add {
    /// As typed without any flag.
    pub(super) fn folders(paths: Vec<PathBuf>) -> Self {
        Self { paths, collection: None, copy: false, yes: false }
    }

    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let request = Request::Add {
            paths: self.paths.iter().map(absolute).collect::<Result<_, _>>()?,
            collection: self.collection.clone(),
            copy: self.copy,
            yes: self.yes,
        };
        let mut not_shared = 0;
        progress::perform(config, request, out, &mut |reply, out| {
            if let Reply::Added { unreadable, .. } = reply {
                not_shared = unreadable;
            }
            tell(&reply, out)
        })?;
        match not_shared {
            0 => Ok(()),
            number => {
                let message = format!("{} could not be read, and so not be shared; see above", count(number, "file"));
                Err(Failure::new(Exit::Failed, message))
            }
        }
    }
}

/// The running node has another working folder.
fn absolute(path: &PathBuf) -> Result<PathText, Failure> {
    let told = |error| Failure::new(Exit::Failed, format_args!("{}: {error}", path.display()));
    std::path::absolute(path).map(PathText).map_err(told)
}

fn tell(reply: &Reply, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return out.object(reply);
    }
    match reply {
        Reply::Skipped { path, reason } => {
            out.note(format_args!("skipped {path}: {reason}"));
            Ok(())
        }
        Reply::Unreadable { path, reason } => {
            out.note(format_args!("not shared: {path}: {reason}"));
            Ok(())
        }
        Reply::Added { collection, added, added_bytes, unchanged, removed, skipped, unreadable } => {
            out.text(format_args!(
                "{}: {} added ({}), {unchanged} unchanged, {removed} removed, {skipped} skipped, {unreadable} unreadable",
                collection.name,
                count(*added, "file"),
                size(*added_bytes),
            ))?;
            out.line(format_args!("Everyone on this network can read {}.", count(collection.items, "file")))
        }
        _ => Ok(()),
    }
}
