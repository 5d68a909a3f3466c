use clap::Args;
use clap_complete::Shell;

use super::{Failure, Out, command};

/// Print the completion script of a shell
#[derive(Args)]
#[command(after_help = "For bash: allibrary completion bash > ~/.local/share/bash-completion/completions/allibrary")]
pub(super) struct Completion {
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "allibrary", &mut script);
        out.bytes(&script)
    }
}
