//! `install`: pip's command, through the store.

mod words;

pub(crate) use words::read;

use super::Context;
use super::target::Target;
use crate::args::install::parse::Words;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Runs the command.
pub(crate) fn run(context: &Context<'_>, words: &Words) -> Result<Exit, Failure> {
    let target = Target::find(context, words.last("python"))?;
    let words = words::with_configuration(context, words.clone(), target.virtualenv.as_deref())?;
    words::source_args(&words)?;
    Err(Failure::new(Exit::Error, "not yet".to_owned()))
}
