//! Arguments of the commands about system packages.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What is done about packages of the system that builds lack
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SystemPackagesArg {
    /// Show the command and ask on the terminal (the default)
    Ask,
    /// Install them without a question: apt-get, with sudo where that is needed
    Install,
    /// Unpack them into the store, without root: only the builds see them
    Unpack,
    /// Say which they are and stop
    Refuse,
}

impl SystemPackagesArg {
    /// The word of the setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Install => "install",
            Self::Unpack => "unpack",
            Self::Refuse => "refuse",
        }
    }
}

/// Arguments of `diagnose`
#[derive(Debug, Args)]
pub struct DiagnoseArgs {
    /// The log of a build, ours or pip's, plain or compressed (gzip, zstd); `-` is standard input
    #[arg(value_name = "LOG|-")]
    pub log: PathBuf,
    /// Do not use the network: take the index as it is
    #[arg(long)]
    pub offline: bool,
}

/// Arguments of `index`
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// What to do
    #[command(subcommand)]
    pub action: IndexAction,
}

/// What to do with the index of Debian's files
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum IndexAction {
    /// Make it anew from the lists of the machine's own package sources
    Update,
    /// Say what it was made from, and how old it is
    Show,
}
