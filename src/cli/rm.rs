use clap::Args;

use super::{Failure, Out, out::count, session};
use crate::{
    config::Config,
    node::control::{Reply, Request},
};

/// Stop sharing what this node publishes, or stop mirroring what others do
///
/// Files that are shared where they are stay on the disk; copies in the library are deleted. What was mirrored is
/// remembered as not wanted, and not fetched again.
#[derive(Args)]
pub(super) struct Rm {
    /// A collection as `ls` names it, or an item as COLLECTION/PATH
    #[arg(required = true, value_name = "COLLECTION[/PATH]")]
    names: Vec<String>,
}

impl Rm {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let request = Request::Remove { names: self.names.clone() };
        session::perform(config, request, &mut |reply| match reply {
            reply if out.is_json() => out.object(&reply),
            Reply::Removed { name, items, mirrored: false, .. } => {
                out.text(format_args!("{name}: {} no longer shared.", count(items, "file")))
            }
            Reply::Removed { name, items, mirrored: true, .. } => {
                out.text(format_args!("{name}: {} removed here, and not fetched again.", count(items, "file")))
            }
            _ => Ok(()),
        })
    }
}
