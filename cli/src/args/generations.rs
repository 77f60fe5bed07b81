//! Arguments of `generations`, `rollback` and `diff`.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

/// Arguments of `generations`
#[derive(Debug, Args)]
pub struct GenerationsArgs {
    /// The environment
    #[arg(long, value_name = "DIR", default_value = ".venv")]
    pub venv: PathBuf,
}

/// Arguments of `rollback`
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The environment
    #[arg(long, value_name = "DIR", default_value = ".venv")]
    pub venv: PathBuf,
    /// The generation to go to (default: the one that was replaced last)
    #[arg(long, value_name = "N")]
    pub to: Option<u32>,
    /// Keep what others installed into the environment; without it, that is named and removed
    #[arg(long)]
    pub keep_foreign: bool,
    /// Link detached packages again: their private copies go, with all that was edited in them
    #[arg(long)]
    pub reattach: bool,
}

/// Arguments of `diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A generation's number, an environment's directory, or a lock (default: the generation before the present)
    #[arg(value_name = "A")]
    pub one: Option<String>,
    /// The same (default: the environment as it is)
    #[arg(value_name = "B")]
    pub other: Option<String>,
    /// The environment that numbers speak of
    #[arg(long, value_name = "DIR", default_value = ".venv")]
    pub venv: PathBuf,
    /// Interpreter and choices for a lock; nothing is fetched
    #[command(flatten)]
    pub source: SourceArgs,
}
