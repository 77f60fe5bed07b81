//! Arguments of the commands that answer questions about the store.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

/// Arguments of `show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// `NAME`, `NAME==VERSION`, the beginning of an object id, or a path in the store
    #[arg(value_name = "PKG|ID")]
    pub object: String,
    /// List the objects that refer to it
    #[arg(long, group = "part")]
    pub referrers: bool,
    /// List the objects that it refers to: they live as long as it does
    #[arg(long, group = "part")]
    pub references: bool,
    /// Show what it was made from and what it refers to, and so on down
    #[arg(long, group = "part")]
    pub tree: bool,
    /// Say how much disk it takes, and how much of that is its own
    #[arg(long, group = "part")]
    pub size: bool,
}

/// Arguments of `why`
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// `NAME`, `NAME==VERSION`, the beginning of an object id, or a path in the store
    #[arg(value_name = "OBJECT|PKG")]
    pub object: String,
    /// A lock: which requirement brought the package into it
    #[arg(value_name = "LOCK", conflicts_with = "venv")]
    pub lock: Option<PathBuf>,
    /// An environment: which requirement brought the package into it (default: the active one, or .venv)
    #[arg(long, value_name = "DIR")]
    pub venv: Option<PathBuf>,
}

/// Arguments of `du`
#[derive(Debug, Args)]
pub struct DuArgs {
    /// `NAME`, `NAME==VERSION`, the beginning of an object id, or a path in the store
    #[arg(value_name = "PKG")]
    pub package: Option<String>,
    /// An environment
    #[arg(long, value_name = "DIR", conflicts_with = "package")]
    pub venv: Option<PathBuf>,
}

/// Arguments of `why-rebuild`
#[derive(Debug, Args)]
pub struct WhyRebuildArgs {
    /// The release: `NAME==VERSION`, or `NAME` as the lock pins it
    #[arg(value_name = "PKG")]
    pub release: String,
    /// A lock: the release as that has it, with its `#: build` lines
    #[arg(value_name = "LOCK")]
    pub lock: Option<PathBuf>,
    /// Interpreter and choices of the build; nothing is fetched
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `graph`
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// A lock, as far as the store has it
    #[arg(value_name = "LOCK", conflicts_with = "venv")]
    pub lock: Option<PathBuf>,
    /// An environment (default: .venv)
    #[arg(long, value_name = "DIR")]
    pub venv: Option<PathBuf>,
    /// Write a picture to this file, instead of DOT to standard output
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Interpreter and choices for a lock; nothing is fetched
    #[command(flatten)]
    pub source: SourceArgs,
}
