use clap::Args;

use super::{Failure, Out, verify};
use crate::{config::Config, node::control::Request};

/// Find files that the index lost, rebuild what is damaged beside the files, and check that every byte is right
///
/// The index is rebuilt by itself when it is lost or damaged. This also finds single files that it does not know although a
/// collection lists them: in the library, and in the folders that are shared where they are.
#[derive(Args)]
pub(super) struct Doctor {}

impl Doctor {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        verify::check(config, Request::Doctor, out)
    }
}
