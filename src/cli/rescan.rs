use clap::Args;

use super::{Failure, Out, add};
use crate::{config::Config, node::control::Request};

/// Look again at the folders that are shared: for files that are new, changed or gone
///
/// Files whose size, time of change and inode are as they were are not read. Of what was shared with --copy, the copies stay
/// as they are; `add --copy` brings them up to date. Where nothing is left of what a folder had, its disk is taken for
/// unplugged, and its files stay listed.
#[derive(Args)]
pub(super) struct Rescan {
    /// Collections, as `ls` names them; all of this node if none is named
    #[arg(value_name = "COLLECTION")]
    collections: Vec<String>,
}

impl Rescan {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        add::perform(config, Request::Rescan { collections: self.collections.clone() }, out)
    }
}
