//! `man`: the man pages of the program and of each command.

use std::path::Path;

use clap::CommandFactory;

use super::Context;
use crate::args::Cli;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Writes `pip-accel.1`, `pip-accel-realize.1` and so on into `directory`, which is made if it is not there.
pub(super) fn run(context: &Context<'_>, directory: &Path) -> Result<Exit, Failure> {
    let directory = context.host.absolute(directory);
    let written =
        std::fs::create_dir_all(&directory).and_then(|()| clap_mangen::generate_to(Cli::command(), &directory));
    written.map_err(|error| {
        Failure::new(Exit::Error, format!("the man pages can't be written to `{}`: {error}", directory.display()))
            .hint("name a directory that can be written to: pip-accel man DIR")
    })?;
    context.ui.note(&format!("man pages written to {}", directory.display()));
    Ok(Exit::Done)
}
