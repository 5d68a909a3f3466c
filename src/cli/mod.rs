//! The command line: what people and scripts type, and what they are told.
//!
//! One file per command. A command talks to the running node over its control socket, or does the same work itself where
//! that makes sense. It may use everything below, and must never hold a rule of its own: those live in the parts.

mod add;
mod completion;
mod config;
mod diagnose;
mod doctor;
mod edit;
mod failure;
mod get;
mod id;
mod logger;
mod ls;
mod out;
mod peers;
mod progress;
mod rescan;
mod rm;
mod run;
mod session;
mod status;
mod transfers;
mod verify;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand};

use self::{failure::Failure, out::Out};
use crate::config::{Config, Flag, Sources};

/// Shares a library with the nodes and the readers of this network, and mirrors theirs.
#[derive(Parser)]
#[command(name = "allibrary", version, after_help = failure::EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
#[command(next_display_order = 100)]
struct Global {
    /// The data folder [default: /var/lib/allibrary for root, else ~/.local/share/allibrary]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// The configuration file [default: ~/.config/allibrary/allibrary.toml, /etc/allibrary/allibrary.toml]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Print one JSON object per line
    #[arg(long, global = true)]
    json: bool,
    /// Log more (-v debug, -vv trace and all libraries)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Add(add::Add),
    Rescan(rescan::Rescan),
    Ls(ls::Ls),
    Edit(edit::Edit),
    Rm(rm::Rm),
    Get(get::Get),
    Verify(verify::Verify),
    Doctor(doctor::Doctor),
    Status(status::Status),
    Transfers(transfers::Transfers),
    Peers(peers::Peers),
    Diagnose(diagnose::Diagnose),
    Id(id::Id),
    Config(config::ConfigCommand),
    Completion(completion::Completion),
}

/// All that can be typed, for who describes it elsewhere: manual pages, completion scripts.
pub fn command() -> clap::Command {
    Cli::command()
}

/// What the binary does: parses the arguments, runs the command, and tells what went wrong.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Programs are told in their own way; help is no failure.
        Err(error) if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") => {
            let text = error.to_string();
            let message = text.trim_end().trim_start_matches("error: ");
            return Out::new(true).fail(Failure::new(failure::Exit::Usage, message));
        }
        Err(error) => error.exit(),
    };
    let mut out = Out::new(cli.global.json);
    let result = cli.run(&mut out).and_then(|()| out.flush());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => out.fail(failure),
    }
}

impl Cli {
    fn run(self, out: &mut Out) -> Result<(), Failure> {
        let global = self.global;
        match self.command {
            Command::Run(run) => run.run(&global, out),
            Command::Add(add) => add.run(&global.load_and_log()?, out),
            Command::Rescan(rescan) => rescan.run(&global.load_and_log()?, out),
            Command::Ls(ls) => ls.run(&global.load_and_log()?, out),
            Command::Edit(edit) => edit.run(&global.load_and_log()?, out),
            Command::Rm(rm) => rm.run(&global.load_and_log()?, out),
            Command::Get(get) => get.run(&global.load_and_log()?, out),
            Command::Verify(verify) => verify.run(&global.load_and_log()?, out),
            Command::Doctor(doctor) => doctor.run(&global.load_and_log()?, out),
            Command::Status(status) => status.run(&global.load_and_log()?, out),
            Command::Transfers(transfers) => transfers.run(&global.load_and_log()?, out),
            Command::Peers(peers) => peers.run(&global.load_and_log()?, out),
            Command::Diagnose(diagnose) => diagnose.run(&global.load_and_log()?, out),
            Command::Id(id) => id.run(&global.load_and_log()?, out),
            Command::Config(config) => config.run(&global.load_and_log()?, out),
            Command::Completion(completion) => completion.run(out),
        }
    }
}

impl Global {
    /// Where the configuration comes from, with these flags over it.
    fn sources(&self, mut flags: Vec<Flag>) -> Sources {
        if let Some(data) = &self.data {
            flags.push(flag("--data", "data", [data]));
        }
        if self.verbose > 0 {
            flags.push(flag("--verbose", "log.level", [if self.verbose == 1 { "debug" } else { "trace" }]));
        }
        Sources { file: self.config.clone(), variables: std::env::vars_os().collect(), flags }
    }

    /// The configuration for a command that draws no bars of its own, which begins to log.
    fn load_and_log(&self) -> Result<Config, Failure> {
        let config = Config::load(&self.sources(Vec::new()))?;
        logger::start(config.log.level, None);
        Ok(config)
    }
}

fn flag<T: Into<OsString>>(name: &'static str, key: &'static str, values: impl IntoIterator<Item = T>) -> Flag {
    Flag { name, key, values: values.into_iter().map(Into::into).collect() }
}
