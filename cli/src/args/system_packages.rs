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

/// Which builds are used again
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SystemInputsArg {
    /// Those that can run here: the libraries they are linked with are there (the default)
    Compatible,
    /// Those that were built on exactly the packages and files of the system that are here
    Exact,
}

impl SystemInputsArg {
    /// The word of the setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Exact => "exact",
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

/// Arguments of `sysdeps`
#[derive(Debug, Args)]
pub struct SysdepsArgs {
    /// The lock
    #[arg(value_name = "LOCK")]
    pub lock: PathBuf,
    /// Install what is missing on this machine
    #[arg(long)]
    pub install: bool,
    /// Build what is not in the store, to see what it lacks; nothing is installed for that
    #[arg(long)]
    pub r#try: bool,
    /// What --install does: ask, install without a question, or refuse
    #[arg(long, value_enum, value_name = "POLICY")]
    pub system_packages: Option<SystemPackagesArg>,
    /// What is wanted of the lock
    #[command(flatten)]
    pub choice: super::ChoiceArgs,
    /// Where files come from
    #[command(flatten)]
    pub source: super::SourceArgs,
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
