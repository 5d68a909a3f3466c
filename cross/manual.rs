//! Writes what packages hold beside the program and is made from its command line: a manual page for each command, and the
//! completion scripts of shells. It is the same for every target: `cargo run --example manual -- FOLDER`.

use std::{env, fs, io, path::Path, process::ExitCode};

use clap_complete::{Shell, generate_to};

/// Pages as `man/allibrary-add.1`, scripts as `completions/allibrary.bash`, in this folder.
pub fn write(folder: &Path) -> io::Result<()> {
    let (pages, scripts) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&scripts)?;
    // A page of its own says no more than `allibrary help help`.
    let command = allibrary::cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &pages)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut allibrary::cli::command(), "allibrary", &scripts)?;
    }
    Ok(())
}

#[allow(dead_code, reason = "tests use this file as a module")]
fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&folder).display());
            ExitCode::FAILURE
        }
    }
}
