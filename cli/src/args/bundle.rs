//! Arguments of the commands that carry environments to other machines.

use std::path::PathBuf;

use clap::Args;

use super::{ChoiceArgs, SourceArgs};

/// Arguments of `bundle`
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// The lock: a requirements file with pins and hashes, `pylock.toml`, `uv.lock`, `poetry.lock` or `Pipfile.lock`
    #[arg(value_name = "LOCK")]
    pub lock: PathBuf,
    /// Where the bundle goes: compressed if it ends in `.zst`; `-` for standard output
    #[arg(short, long, value_name = "FILE.tar")]
    pub output: PathBuf,
    /// Take along the published files with a package index for other installers, and what builds need
    #[arg(long)]
    pub sources: bool,
    /// Leave out what this bundle carries, or a store with this lock has
    #[arg(long, value_name = "BUNDLE|LOCK")]
    pub since: Option<PathBuf>,
    /// What is wanted of the lock
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Where files come from
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `unbundle`
#[derive(Debug, Args)]
pub struct UnbundleArgs {
    /// The bundle; `-` for standard input
    #[arg(value_name = "FILE")]
    pub bundle: PathBuf,
    /// Name of the pin that keeps it, in place of what that pin kept (default: a name of its own)
    #[arg(long, value_name = "NAME")]
    pub pin: Option<String>,
}
