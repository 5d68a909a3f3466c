use clap::Args;

use super::{Failure, Out, session};
use crate::{
    config::Config,
    node::control::{Reply, Request},
};

/// Say what a file is called, who made it and in which language it is
///
/// For files that this node publishes. What is said goes to everyone who mirrors them, without the files being sent again,
/// and stays when the file changes. An empty text takes it back: then the file speaks for itself again.
#[derive(Args)]
pub(super) struct Edit {
    /// An item as `ls COLLECTION` names it
    #[arg(value_name = "COLLECTION/PATH")]
    name: String,
    /// What it is called
    #[arg(long, required_unless_present_any = ["author", "language"])]
    title: Option<String>,
    /// Who made it
    #[arg(long)]
    author: Option<String>,
    /// Its language, such as en or pt-BR
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
}

impl Edit {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let Self { name, title, author, language } = self;
        let request = Request::Edit {
            name: name.clone(),
            title: title.clone(),
            author: author.clone(),
            language: language.clone(),
        };
        session::perform(config, request, &mut |reply| match reply {
            reply if out.is_json() => out.object(&reply),
            Reply::Edited { collection, item } => {
                out.text(format_args!("{}/{}", collection.folder, item.path))?;
                let known = [("title", item.title), ("author", item.author), ("language", item.language)];
                let mut known = known.into_iter().filter(|(_, text)| !text.is_empty());
                known.try_for_each(|(what, text)| out.text(format_args!("  {what}: {text}")))
            }
            _ => Ok(()),
        })
    }
}
