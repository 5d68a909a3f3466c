use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Failure, Out, out::Table, session};
use crate::{
    config::{Config, Effect, KEYS},
    node::control::{Reply, Request},
};

/// Show or check the configuration, or have the running node read it again
#[derive(Args)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print every key with its value, and where that comes from
    Show,
    /// Check the file, the environment and the flags
    Check,
    /// Have the running node read its file and its environment again, as SIGHUP does
    Reload,
}

/// One key, as `--json` prints it.
#[derive(Serialize)]
struct Entry<'a> {
    key: &'a str,
    value: toml::Value,
    origin: String,
    allowed: &'a str,
    /// Whether a running node takes another value up at a reload.
    live: bool,
}

impl ConfigCommand {
    /// The configuration has been loaded, and so checked.
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        match self.what {
            What::Show => show(config, out),
            What::Reload => reload(config, out),
            What::Check if out.is_json() => out.object(&serde_json::json!({ "event": "config", "valid": true })),
            What::Check => out.line("The configuration is fine."),
        }
    }
}

fn show(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let mut table = Table::new(&["KEY", "ORIGIN", "CHANGES AT", "VALUE"], &[]);
    for key in KEYS {
        let (value, origin) = (key.value(config), config.origin(key.name).to_string());
        let live = key.effect == Effect::Live;
        if out.is_json() {
            out.object(&Entry { key: key.name, value, origin, allowed: key.allowed, live })?;
        } else {
            let at = if live { "reload" } else { "restart" };
            table.row([key.name.to_owned(), origin, at.to_owned(), value.to_string()]);
        }
    }
    if out.is_json() { Ok(()) } else { table.print(out) }
}

fn reload(config: &Config, out: &mut Out) -> Result<(), Failure> {
    session::perform(config, Request::Reload, &mut |reply| match &reply {
        Reply::Reloaded { .. } if out.is_json() => out.object(&reply),
        Reply::Reloaded { live, restart } => {
            match live.is_empty() {
                true => out.line("Nothing has changed that a running node takes up.")?,
                false => out.line(format_args!("These have changed, and hold from now on: {}", live.join(", ")))?,
            }
            match restart.is_empty() {
                true => Ok(()),
                false => {
                    out.line(format_args!("These have changed, and will hold after a restart: {}", restart.join(", ")))
                }
            }
        }
        _ => Ok(()),
    })
}
