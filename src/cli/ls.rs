use clap::Args;

use super::{
    Failure, Out,
    out::{Table, printable, size},
    session,
};
use crate::{
    config::Config,
    node::control::{CollectionInfo, ItemInfo, Reply, Request},
};

/// List the collections, or what is in one
#[derive(Args)]
pub(super) struct Ls {
    /// The collection, as `ls` names it
    collection: Option<String>,
}

impl Ls {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let request = Request::List { collection: self.collection.clone() };
        let mut table = Table::new(&["ITEMS", "SIZE", "HERE", "PUBLISHER", "COLLECTION"], &[0, 1, 2]);
        let mut replies = 0_u64;
        session::perform(config, request, &mut |reply| {
            replies += 1;
            match reply {
                reply if out.is_json() => out.object(&reply)?,
                Reply::Collection(collection) => table.row(collection_row(&collection)),
                // There may be very many: each is printed as it comes.
                Reply::Item(item) => {
                    if replies == 1 {
                        out.line(item_line("ID", "SIZE", "HERE", "PATH"))?;
                    }
                    out.line(item_row(&item))?;
                }
                _ => {}
            }
            Ok(())
        })?;
        match (&self.collection, replies) {
            _ if out.is_json() => Ok(()),
            (None, 0) => out.line("There are no collections yet. Share a folder with: allibrary add FOLDER"),
            (None, _) => table.print(out),
            (Some(_), 0) => out.line("The collection is empty."),
            (Some(_), _) => Ok(()),
        }
    }
}

fn collection_row(collection: &CollectionInfo) -> [String; 5] {
    let percent = collection.held_bytes.saturating_mul(100).checked_div(collection.bytes).unwrap_or(100);
    let publisher = if collection.mine { "this node" } else { &collection.publisher };
    [
        collection.items.to_string(),
        size(collection.bytes),
        format!("{percent} %"),
        publisher.to_owned(),
        collection.folder.clone(),
    ]
}

fn item_row(item: &ItemInfo) -> String {
    let here = match (item.held, item.offered) {
        (true, true) => "yes",
        (false, _) => item.fault.as_deref().unwrap_or("no"),
        (true, false) => "kept",
    };
    // Enough of the id to name it in other commands.
    item_line(item.id.get(..16).unwrap_or(&item.id), &size(item.size_bytes), here, &printable(&item.path))
}

fn item_line(id: &str, size: &str, here: &str, path: &str) -> String {
    format!("{id:<16}  {size:>9}  {here:<7}  {path}")
}
