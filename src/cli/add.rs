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
        perform(config, request, out)
    }
}

/// Has files read and shared, and tells of it.
pub(super) fn perform(config: &Config, request: Request, out: &mut Out) -> Result<(), Failure> {
    let (mut not_shared, mut away) = (0, 0);
    progress::perform(config, request, out, &mut |reply, out| {
        if let Reply::Added { unreadable, unavailable, .. } = reply {
            not_shared += unreadable;
            away += unavailable;
        }
        tell(&reply, out)
    })?;
    if away > 0 {
        let (are, stay) = if away == 1 { ("is", "stays") } else { ("are", "stay") };
        let message = format!("{} {are} not there, and {stay} listed; see above", count(away, "file"));
        return Err(Failure::new(Exit::Away, message));
    }
    if not_shared > 0 {
        let message = format!("{} could not be read, and so not be shared; see above", count(not_shared, "file"));
        return Err(Failure::new(Exit::Failed, message));
    }
    Ok(())
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
        Reply::Away { path, items } => {
            out.note(format_args!(
                "not there: {path}: nothing that was shared from it is in it any more ({}). If its disk is unplugged, plug it \
                 in again; at another place, `allibrary add` it there. If its files are to go: allibrary rm COLLECTION",
                count(*items, "file")
            ));
            Ok(())
        }
        Reply::Added {
            collection,
            added,
            added_bytes,
            changed,
            unchanged,
            removed,
            skipped,
            unreadable,
            unavailable,
        } => {
            let changed = Some(format!(", {changed} of them changed")).filter(|_| *changed > 0).unwrap_or_default();
            let away = Some(format!(", {unavailable} not there")).filter(|_| *unavailable > 0).unwrap_or_default();
            out.text(format_args!(
                "{}: {} added ({}){changed}, {unchanged} unchanged, {removed} removed, {skipped} skipped, {unreadable} \
                 unreadable{away}",
                collection.name,
                count(*added, "file"),
                size(*added_bytes),
            ))?;
            out.line(format_args!("Everyone on this network can read {}.", count(collection.held_items, "file")))
        }
        _ => Ok(()),
    }
}
