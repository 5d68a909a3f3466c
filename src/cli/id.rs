use std::{
    fs::{DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueHint};

use super::{Failure, Out, failure::Exit};
use crate::{
    config::Config,
    network::identity::Keypair,
    node::{
        check_owner,
        control::{Client, Reply, Request},
        ops::IDENTITY_FILE,
    },
};

/// Show who this node is, or give it a key
#[derive(Args)]
pub(super) struct Id {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Make a key; the first start of a node does the same
    New,
    /// Print the secret key: whoever has it is this node
    Export,
    /// Take over a key that `id export` printed
    Import {
        /// The file that holds it; without it, standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
}

impl Id {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let path = config.data.join(IDENTITY_FILE);
        let key = match &self.what {
            None => match ask_node(config)? {
                Some(node) => return show(&node, None, out),
                None => load(&path)?,
            },
            Some(What::Export) => load(&path)?,
            Some(What::New) => Keypair::generate(),
            Some(What::Import { file }) => Keypair::import(&read(file.as_ref())?).map_err(failed)?,
        };
        if matches!(self.what, Some(What::New | What::Import { .. })) {
            check_owner(config)?;
            create_private(&config.data)?;
            key.save_new(&path).map_err(failed)?;
        }
        let secret = matches!(self.what, Some(What::Export)).then(|| key.export());
        show(&key.node_id().to_string(), secret, out)
    }
}

/// The id of the running node, whose key this user may not be allowed to read; none if none runs.
fn ask_node(config: &Config) -> Result<Option<String>, Failure> {
    let Some(client) = Client::connect(&config.data)? else { return Ok(None) };
    let mut id = None;
    client.perform::<Failure>(&Request::Status, &mut |reply| {
        if let Reply::Status(status) = reply {
            id = Some(status.node);
        }
        Ok(())
    })?;
    Ok(id)
}

fn load(path: &Path) -> Result<Keypair, Failure> {
    Keypair::load(path).map_err(failed)?.ok_or_else(|| {
        let message = format!("{} does not exist yet; `allibrary id new` or the first start makes it", path.display());
        Failure::new(Exit::NotFound, message)
    })
}

fn show(node: &str, secret: Option<String>, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return out.object(&serde_json::json!({ "event": "id", "node": node, "secret": secret }));
    }
    out.line(secret.as_deref().unwrap_or(node))
}

/// The data folder, if it is not there: for its owner alone, as a node makes it.
fn create_private(data: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| failed(format_args!("cannot make the data folder {}: {error}", data.display())))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error)
}

/// The text of a key; no key is longer than this.
fn read(file: Option<&PathBuf>) -> Result<String, Failure> {
    let mut text = String::new();
    let result = match file {
        Some(file) => File::open(file).and_then(|file| file.take(1024).read_to_string(&mut text)),
        None => io::stdin().take(1024).read_to_string(&mut text),
    };
    let place = file.map_or("standard input".into(), |file| file.display().to_string());
    result.map(|_| text).map_err(|error| failed(format_args!("cannot read the key from {place}: {error}")))
}
