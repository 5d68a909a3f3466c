use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Failure, Out, out::Table};
use crate::config::{Config, KEYS};

/// Show or check the configuration
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
}

/// One key, as `--json` prints it.
#[derive(Serialize)]
struct Entry<'a> {
    key: &'a str,
    value: toml::Value,
    origin: String,
    allowed: &'a str,
}

impl ConfigCommand {
    /// The configuration has been loaded, and so checked.
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        match self.what {
            What::Show => show(config, out),
            What::Check if out.is_json() => out.object(&serde_json::json!({ "event": "config", "valid": true })),
            What::Check => out.line("The configuration is fine."),
        }
    }
}

fn show(config: &Config, out: &mut Out) -> Result<(), Failure> {
    let mut table = Table::new(&["KEY", "ORIGIN", "VALUE"], &[]);
    for key in KEYS {
        let (value, origin) = (key.value(config), config.origin(key.name).to_string());
        if out.is_json() {
            out.object(&Entry { key: key.name, value, origin, allowed: key.allowed })?;
        } else {
            table.row([key.name.to_owned(), origin, value.to_string()]);
        }
    }
    if out.is_json() { Ok(()) } else { table.print(out) }
}
