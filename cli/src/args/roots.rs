//! Arguments of `roots`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ChoiceArgs, SourceArgs};

/// Arguments of `roots`
#[derive(Debug, Args)]
pub struct RootsArgs {
    /// What to do with them (default: list)
    #[command(subcommand)]
    pub action: Option<RootsAction>,
}

/// What to do with roots
#[derive(Debug, Subcommand)]
pub enum RootsAction {
    /// List the roots; with -v or --json since when, how many objects and how much disk each keeps
    List,
    /// Keep an object alive under a name
    Add {
        /// Name of the pin; one of the same name is replaced
        name: String,
        /// The object: its id, the beginning of it, or a path in the store
        object: String,
    },
    /// Keep all that a lock means for an interpreter, sources included, until the pin is removed
    Pin(Box<PinArgs>),
    /// Remove a root by its name
    Remove {
        /// Name of the pin, or path of the environment or lock
        name: String,
    },
}

/// Arguments of `roots pin`
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The lock; all of it has to be in the store
    #[arg(value_name = "LOCK")]
    pub lock: PathBuf,
    /// Name of the pin; one of the same name is replaced (default: the lock's path and the interpreter)
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// What is wanted of the lock
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Interpreter and choices
    #[command(flatten)]
    pub source: SourceArgs,
}
