//! `install` takes pip's words, which are not clap's: a table ([`options`]) and its reader ([`parse`]).

pub mod options;
pub mod parse;

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::Args;

use self::options::{Meaning, OPTIONS, PipOption};

/// Arguments of `install`, not understood yet
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct InstallArgs {
    /// pip's arguments: `-r FILE`, requirements, files, directories, options; `pip-accel install --help` lists them
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// The help of `install`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Install packages, with pip's arguments and pip's meaning\n\n\
         Usage: pip-accel install [OPTIONS] REQUIREMENT|FILE|DIR …\n       \
         pip-accel install [OPTIONS] -r FILE\n\n\
         Into the active virtualenv, else into ./.venv if there is one, else for python3.\n\
         What the store has is used without asking an index; --upgrade asks.\n",
    );
    let is_pips = |option: &&PipOption| option.meaning == Meaning::Honoured;
    section(&mut text, "Options of pip", OPTIONS.iter().filter(is_pips));
    section(&mut text, "Options of pip-accel", OPTIONS.iter().filter(|option| option.meaning == Meaning::Own));
    let refused: Vec<String> = OPTIONS.iter().filter(|option| option.refusal().is_some()).map(spelled).collect();
    let _ = write!(text, "\nRefused, each with a sentence that says what to do instead:\n  {}", refused.join(" "));
    text
}

fn section<'a>(text: &mut String, title: &str, options: impl Iterator<Item = &'a PipOption>) {
    let _ = write!(text, "\n{title}:\n");
    for option in options {
        let names: Vec<&str> = option.spellings().collect();
        let value = option.value.map(|value| format!(" <{value}>")).unwrap_or_default();
        let indent = if names.len() == 1 { "    " } else { "" };
        let _ = writeln!(text, "  {indent}{}{value}\n          {}", names.join(", "), option.help);
    }
}

fn spelled(option: &PipOption) -> String {
    format!("--{}", option.name())
}
