//! Arguments of `lock`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SourceArgs;

/// Which kind of file a lock is
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockFormat {
    /// A requirements file with pins and hashes
    Requirements,
    /// `pylock.toml` (PEP 751)
    Pylock,
}

/// Arguments of `lock`
#[derive(Debug, Args)]
pub struct LockArgs {
    /// What to lock: files of requirements, or a project: its `pyproject.toml`, `setup.py`, `setup.cfg` or folder
    /// (default: `requirements.in`, else `pyproject.toml`)
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// The lock, whose pins are kept where they may be; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Take the newest versions, whatever the lock has
    #[arg(short = 'U', long)]
    pub upgrade: bool,
    /// Take the newest version of this project
    #[arg(short = 'P', long, value_name = "NAME", conflicts_with = "upgrade")]
    pub upgrade_package: Vec<String>,
    /// Take only what was published until the end of this day, or until this time
    #[arg(long, value_name = "DATE")]
    pub exclude_newer: Option<String>,
    /// File of versions that limit the choice
    #[arg(short, long, value_name = "FILE")]
    pub constraint: Vec<PathBuf>,
    /// Extra of the project
    #[arg(long, value_name = "NAME", conflicts_with = "all_extras")]
    pub extra: Vec<String>,
    /// All extras of the project
    #[arg(long)]
    pub all_extras: bool,
    /// Dependency group of the project, or of the `pyproject.toml` at PATH
    #[arg(long, value_name = "[PATH:]NAME")]
    pub group: Vec<String>,
    /// Kind of lock (default: by the name of the output)
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<LockFormat>,
    /// Write nothing; exit code 3 if the lock is not up to date
    #[arg(long)]
    pub check: bool,
    /// Lock for every platform, and for this Python and newer ones
    #[arg(long)]
    pub universal: bool,
    /// Take prereleases too
    #[arg(long)]
    pub pre: bool,
    /// Do not lock what the requirements require
    #[arg(long)]
    pub no_deps: bool,
    /// Do not lock build requirements
    #[arg(long)]
    pub no_build_lock: bool,
    /// Where files come from
    #[command(flatten)]
    pub source: SourceArgs,
}
