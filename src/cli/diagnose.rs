use clap::Args;

use super::{Failure, Out, session};
use crate::{
    config::Config,
    node::control::{Client, Reply, Request},
    status::{Cause, Finding, NoticeLevel},
};

/// Explain why a peer, or any, is not seen, and what to do about it
#[derive(Args)]
pub(super) struct Diagnose {
    /// The peer id; all peers without it
    #[arg(value_name = "PEER")]
    peer: Option<String>,
}

impl Diagnose {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        if Client::connect(&config.data)?.is_none() {
            // That is the diagnosis; the exit code says it too.
            let finding = not_running(config);
            tell(&finding, out)?;
            return Err(session::not_running(config));
        }
        session::perform(config, Request::Diagnose { peer: self.peer.clone() }, &mut |reply| match reply {
            Reply::Finding(finding) => tell(&finding, out),
            _ => Ok(()),
        })
    }
}

fn not_running(config: &Config) -> Finding {
    Finding {
        peer: None,
        cause: Cause::NotRunning,
        level: NoticeLevel::Error,
        text: format!("no node runs on the data folder {}: nobody can see it", config.data.display()),
        advice: "start one with: allibrary run".into(),
    }
}

fn tell(finding: &Finding, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return out.object(&Reply::Finding(finding.clone()));
    }
    match &finding.peer {
        Some(peer) => out.text(format_args!("{peer}: {}", finding.text))?,
        None => out.text(&finding.text)?,
    }
    match finding.advice.is_empty() {
        true => Ok(()),
        false => out.text(format_args!("    What to do: {}", finding.advice)),
    }
}
