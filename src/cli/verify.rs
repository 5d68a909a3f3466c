use clap::Args;

use super::{
    Failure, Out,
    failure::Exit,
    out::{count, size},
    progress,
};
use crate::{
    config::Config,
    node::control::{Reply, Request},
};

/// Read all that is kept, and check that every byte is right
#[derive(Args)]
pub(super) struct Verify {
    /// Content ids, or their beginnings; all files if none is named
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

impl Verify {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        check(config, Request::Verify { ids: self.ids.clone() }, out)
    }
}

/// Has the files checked, and tells of those that are not as they should be.
pub(super) fn check(config: &Config, request: Request, out: &mut Out) -> Result<(), Failure> {
    let mut found = 0;
    progress::perform(config, request, out, &mut |reply, out| {
        if let Reply::Checked { damaged, .. } = reply {
            found = damaged;
        }
        tell(&reply, out)
    })?;
    match found {
        0 => Ok(()),
        found => {
            let are = if found == 1 { "is" } else { "are" };
            let message = format!(
                "{} {are} damaged or gone, and no longer served; restore the files and add them again, or let this \
                     node mirror them",
                count(found, "file")
            );
            Err(Failure::new(Exit::Damaged, message))
        }
    }
}

fn tell(reply: &Reply, out: &mut Out) -> Result<(), Failure> {
    match reply {
        reply if out.is_json() => out.object(reply),
        Reply::Verified { id, paths, fault: Some(fault), ranges, .. } => {
            let path = paths.first().map_or("(no file)", String::as_str);
            let places: Vec<_> = ranges.iter().map(|range| format!("{} to {}", range.start, range.end)).collect();
            let places = if places.is_empty() { String::new() } else { format!(", bytes {}", places.join(", ")) };
            out.text(format_args!("{fault}: {path}{places} ({id})"))
        }
        Reply::Found { path } => out.text(format_args!("found again: {path}")),
        Reply::Checked { blobs, bytes, damaged } => {
            out.line(format_args!("{} checked ({}), {damaged} damaged.", count(*blobs, "file"), size(*bytes)))
        }
        _ => Ok(()),
    }
}
