use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};

use super::{Failure, Out, failure::Exit, progress::Progress, session};
use crate::{
    config::Config,
    node::control::{Reply, Request},
};

/// Write a verified copy of a file, from this node or from those that have it
#[derive(Args)]
pub(super) struct Get {
    /// Its content id, as `ls COLLECTION` and b3sum print it; the beginning is enough
    id: String,
    /// Where to; without it, standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

impl Get {
    pub(super) fn run(&self, config: &Config, out: &mut Out) -> Result<(), Failure> {
        let request = Request::Get { id: self.id.clone() };
        let Some(path) = &self.output else {
            if out.is_json() {
                return Err(Failure::new(Exit::Usage, "get --json writes to a file; name it with -o FILE"));
            }
            if io::stdout().is_terminal() {
                return Err(Failure::new(Exit::Usage, "standard output is a terminal; name a file with -o FILE"));
            }
            return session::perform(config, request, &mut |reply| match reply {
                Reply::Data { content, .. } => out.bytes(&content),
                _ => Ok(()),
            });
        };
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            // A device would be replaced by a file.
            let message = format!("{} is no regular file; give -o the name of a file, or leave it out", path.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        let progress = Progress::new(out);
        let mut part = Part::create(path)?;
        let (mut done, mut size) = (0, 0);
        session::perform(config, request, &mut |reply| match reply {
            Reply::Data { content, .. } => {
                done += content.len() as u64;
                progress.show(&path.display().to_string(), 0, done, Some(size));
                part.write(&content)
            }
            Reply::Blob { size_bytes, .. } => {
                size = size_bytes;
                if out.is_json() { out.object(&reply) } else { Ok(()) }
            }
            _ => Ok(()),
        })?;
        part.finish()
    }
}

/// A file under another name until it is complete: an early end leaves no half of it, and what was there before stays.
struct Part<'a> {
    path: &'a Path,
    part: PathBuf,
    file: File,
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // After `finish` there is no such file.
        let _ = fs::remove_file(&self.part);
    }
}

impl<'a> Part<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        let Some(name) = path.file_name() else {
            return Err(Failure::new(Exit::Usage, format_args!("{} is no file name", path.display())));
        };
        let mut part_name = OsString::from(".");
        part_name.push(name);
        part_name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(part_name);
        let file = File::create_new(&part).map_err(|error| of_writing(path, &error))?;
        Ok(Self { path, part, file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| of_writing(self.path, &error))
    }

    fn finish(self) -> Result<(), Failure> {
        let finished = self.file.sync_all().and_then(|()| fs::rename(&self.part, self.path));
        finished.map_err(|error| of_writing(self.path, &error))
    }
}

fn of_writing(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::NoSpace,
        _ => Exit::Failed,
    };
    Failure::new(exit, format_args!("cannot write {}: {error}", path.display()))
}
