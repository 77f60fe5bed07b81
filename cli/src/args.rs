//! The command line as typed; doc comments are the help.

mod bundle;
pub mod generations;
pub mod inspect;
pub mod install;
mod lock;
pub mod roots;
pub mod system_packages;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use pip_accel_builder::lock::Choice;

pub use bundle::{BundleArgs, UnbundleArgs};
use generations::{DiffArgs, GenerationsArgs, RollbackArgs};
pub use lock::{LockArgs, LockFormat};

use inspect::{DuArgs, GraphArgs, ShowArgs, WhyArgs, WhyRebuildArgs};
use install::InstallArgs;
use roots::RootsArgs;
use system_packages::{DiagnoseArgs, IndexArgs, SysdepsArgs, SystemInputsArg, SystemPackagesArg};

/// A content-addressed build store for Python packages
///
/// Sdists and built binaries are kept under a hash of their inputs, builds run in a sandbox,
/// and virtualenvs are made by linking store paths.
#[derive(Debug, Parser)]
#[command(name = "pip-accel", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Every other command of pip (list, uninstall, freeze, download, wheel, ...) is passed on to the pip of the \
target; `pip-accel pip COMMAND` means pip in any case."
)]
pub struct Cli {
    /// Options of every command
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What stands for the words of a command that clap does not read.
    #[must_use]
    pub fn bare() -> Self {
        let global = GlobalArgs::default();
        Self { global, command: Command::Install(InstallArgs { arguments: Vec::new() }) }
    }
}

/// Options of every command
#[derive(Debug, Default, Args)]
pub struct GlobalArgs {
    /// Directory of the store
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Print less: -q no progress and no closing line
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
    /// Print more: -v the output of builds, -vv what the program does
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Report as JSON on standard output (format 1)
    #[arg(long, global = true)]
    pub json: bool,
    /// Configuration file to read instead of the usual ones
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// `install --no-color`; elsewhere `NO_COLOR` says it
    #[arg(skip)]
    pub no_color: bool,
    /// `install --progress-bar on|off`
    #[arg(skip)]
    pub progress: Option<bool>,
}

/// What to do
#[derive(Debug, Subcommand)]
// Only the arguments of the command that is run are made: the others would be a tenth of a run with nothing to do.
#[command(defer = true)]
pub enum Command {
    /// Make exactly the environment that a lock describes
    Realize(RealizeArgs),
    /// Install packages with pip's arguments; every other command of pip is passed on to pip
    Install(InstallArgs),
    /// Lock a project: choose versions, and write them with their hashes
    Lock(LockArgs),
    /// Fill the store with what a lock needs, so that `realize --offline` works
    Fetch(FetchArgs),
    /// Build one package and keep it in the store
    Build(BuildArgs),
    /// Show the log of a package's last build
    Log(LogArgs),
    /// Explain the log of a failed build: what is missing, and which Debian package has it
    Diagnose(DiagnoseArgs),
    /// Say which packages of the system the builds of a lock need, as one line for a Dockerfile
    Sysdeps(SysdepsArgs),
    /// Handle the index of Debian's files, which `diagnose` asks
    Index(IndexArgs),
    /// Say what an object is, from what, how large, and who refers to it
    Show(ShowArgs),
    /// Say what keeps an object, or which requirement brought a package
    Why(WhyArgs),
    /// Say why a release would be built: what differs from the nearest build that the store has
    WhyRebuild(WhyRebuildArgs),
    /// Draw what an environment or a lock is made of
    Graph(GraphArgs),
    /// Say how much disk things take, and how much of it is theirs alone
    Du(DuArgs),
    /// Give packages of an environment private copies that may be edited
    Detach(DetachArgs),
    /// Say whether an environment still is what its manifest says
    Status(StatusArgs),
    /// List what an environment was before
    Generations(GenerationsArgs),
    /// Put an earlier generation of an environment back in its place
    Rollback(RollbackArgs),
    /// Say what two generations, environments or locks do not have in common
    Diff(DiffArgs),
    /// Handle what keeps objects alive
    Roots(RootsArgs),
    /// Delete what nothing refers to
    Gc(GcArgs),
    /// Check that the store holds what it says, and repair it
    Verify(VerifyArgs),
    /// Let equal files of the store share their room on the disk
    Optimise,
    /// Pack what a lock needs into one file, for a machine without network
    Bundle(BundleArgs),
    /// Take in what `bundle` packed on another machine
    Unbundle(UnbundleArgs),
    /// Handle the configuration
    Config(ConfigArgs),
    /// Check this machine: sandbox, compilers, interpreters, disk, index
    Doctor(DoctorArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell that reads them
        shell: clap_complete::Shell,
    },
    /// Write the man pages
    Man {
        /// Where they go; made if it is not there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// How files get into an environment
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LinkModeArg {
    /// One symbolic link for each top-level entry (the default; fastest)
    Symlink,
    /// Real folders, hard links to the store's files
    Hardlink,
    /// Real folders, files that share blocks with the store's
    Reflink,
    /// Real folders and copies: needs no store afterwards
    Copy,
}

/// Which interpreter, and where files come from
#[derive(Debug, Default, Args)]
pub struct SourceArgs {
    /// Interpreter: a version, a name or a path (default: the active one)
    #[arg(short, long, value_name = "VERSION|NAME|PATH")]
    pub python: Option<String>,
    /// Do not use the network
    #[arg(long)]
    pub offline: bool,
    /// Do not use wheels of these projects (`:all:`, `:none:`, or names)
    #[arg(long, value_name = "NAME|:all:")]
    pub no_binary: Vec<String>,
    /// Do not build these projects (`:all:`, `:none:`, or names)
    #[arg(long, value_name = "NAME|:all:")]
    pub only_binary: Vec<String>,
    /// Package index
    #[arg(short, long, value_name = "URL")]
    pub index_url: Option<String>,
    /// Further package index
    #[arg(long, value_name = "URL")]
    pub extra_index_url: Vec<String>,
    /// Directory or page with files
    #[arg(short, long, value_name = "DIR|URL")]
    pub find_links: Vec<String>,
    /// Use no index, only --find-links
    #[arg(long)]
    pub no_index: bool,
    /// Builds that run at once
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Build without isolation: the build can read and change whatever you can
    #[arg(long)]
    pub no_sandbox: bool,
    /// Which builds are used again: those that can run here, or those built on exactly what is here
    #[arg(long, value_enum, value_name = "POLICY")]
    pub system_inputs: Option<SystemInputsArg>,
    /// Constraints for build requirements, a line each; only `install` has an option for them.
    #[arg(skip)]
    pub build_constraints: Vec<String>,
}

/// What is wanted of a lock that leaves a choice
#[derive(Debug, Default, Args)]
pub struct ChoiceArgs {
    /// Take this extra of the lock's project too
    #[arg(long, value_name = "EXTRA", value_delimiter = ',')]
    pub extra: Vec<String>,
    /// Take all extras
    #[arg(long)]
    pub all_extras: bool,
    /// Take this group of dependencies too
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub group: Vec<String>,
    /// Take no group but those named with --group
    #[arg(long)]
    pub no_default_groups: bool,
    /// Leave out the group `dev`
    #[arg(long)]
    pub no_dev: bool,
    /// Leave out the project itself, take only what it requires
    #[arg(long)]
    pub no_project: bool,
}

impl ChoiceArgs {
    /// The choice for the reader of locks.
    #[must_use]
    pub fn choice(&self) -> Choice {
        Choice {
            extras: self.extra.clone(),
            all_extras: self.all_extras,
            groups: self.group.clone(),
            no_default_groups: self.no_default_groups,
            no_dev: self.no_dev,
            no_project: self.no_project,
        }
    }
}

/// Arguments of `realize`
#[derive(Debug, Args)]
pub struct RealizeArgs {
    /// The lock: a requirements file with pins and hashes, `pylock.toml`, `uv.lock`, `poetry.lock` or `Pipfile.lock`
    #[arg(value_name = "LOCK")]
    pub lock: PathBuf,
    /// Where the environment goes
    #[arg(long, value_name = "DIR", default_value = ".venv")]
    pub venv: PathBuf,
    /// How files get into it
    #[arg(long, value_enum, value_name = "MODE")]
    pub link_mode: Option<LinkModeArg>,
    /// How files of one package get into it: `dirs` as the link mode has it, `files` with every folder real,
    /// `copy` with private copies
    #[arg(long, value_name = "NAME=dirs|files|copy")]
    pub link: Vec<String>,
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Make nothing; print the `#: build` lines that freeze the build requirements resolved here so far
    #[arg(long, conflicts_with = "dry_run")]
    pub print_build_lock: bool,
    /// Keep what others installed into the environment; without it, that is named and removed
    #[arg(long)]
    pub keep_foreign: bool,
    /// Replace a directory that this program did not make, if it is a virtualenv
    #[arg(long)]
    pub replace: bool,
    /// Link detached packages again: their private copies go, with all that was edited in them
    #[arg(long)]
    pub reattach: bool,
    /// What to do when a build lacks packages of the system
    #[arg(long, value_enum, value_name = "POLICY")]
    pub system_packages: Option<SystemPackagesArg>,
    /// What is wanted of the lock
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Where files come from
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `fetch`
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The lock
    #[arg(value_name = "LOCK")]
    pub lock: PathBuf,
    /// What to do when a build lacks packages of the system
    #[arg(long, value_enum, value_name = "POLICY")]
    pub system_packages: Option<SystemPackagesArg>,
    /// What is wanted of the lock
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Where files come from
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// `NAME==VERSION`, or the path of an sdist
    #[arg(value_name = "NAME==VERSION|SDIST")]
    pub target: String,
    /// What its backend is told (PEP 517); part of what is built
    #[arg(short = 'C', long = "config-settings", alias = "config-setting", value_name = "KEY=VALUE")]
    pub config_settings: Vec<String>,
    /// What to do when a build lacks packages of the system
    #[arg(long, value_enum, value_name = "POLICY")]
    pub system_packages: Option<SystemPackagesArg>,
    /// Where files come from
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `log`
#[derive(Debug, Args)]
pub struct LogArgs {
    /// `NAME` or `NAME==VERSION`
    #[arg(value_name = "PKG")]
    pub package: String,
    /// List the builds instead of showing the last one's output
    #[arg(long)]
    pub list: bool,
}

/// Arguments of `detach`
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// The packages
    #[arg(value_name = "PKG", required = true)]
    pub packages: Vec<String>,
    /// The environment
    #[arg(long, value_name = "DIR", default_value = ".venv")]
    pub venv: PathBuf,
    /// Link them again: the private copies go, with all that was edited in them
    #[arg(long)]
    pub undo: bool,
}

/// Arguments of `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The environment
    #[arg(long, value_name = "DIR", default_value = ".venv")]
    pub venv: PathBuf,
}

/// Arguments of `gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Objects younger than this are kept: seconds, or a number with s, m, h or d
    #[arg(long, value_name = "AGE")]
    pub min_age: Option<String>,
    /// Spare what was used since then (same units)
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Stop when so much is freed: bytes, or a number with K, M, G or T
    #[arg(long, value_name = "SIZE")]
    pub max_freed: Option<String>,
    /// Delete, least recently used first, until the store takes at most so much disk
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Delete, least recently used first, until so much of the disk is free
    #[arg(long, value_name = "SIZE")]
    pub min_free: Option<String>,
    /// Keep the sdists and wheels of what stays
    #[arg(long, overrides_with = "drop_sources")]
    pub keep_sources: bool,
    /// Delete the sdists and wheels of what stays, too
    #[arg(long)]
    pub drop_sources: bool,
}

/// Arguments of `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only these: `NAME`, `NAME==VERSION`, the beginning of an object id, or a path in the store
    #[arg(value_name = "PKG|ID", conflicts_with = "rebuild_db")]
    pub objects: Vec<String>,
    /// Look at sizes, times and modes only
    #[arg(long)]
    pub quick: bool,
    /// Read only what was not verified within this time: seconds, or a number with s, m, h or d
    #[arg(long, value_name = "AGE", conflicts_with_all = ["quick", "rebuild_db"])]
    pub max_age: Option<String>,
    /// Put right what is found: from copies in the store, the index, or by building again
    #[arg(long, conflicts_with = "rebuild_db")]
    pub repair: bool,
    /// Make a lost or damaged database anew from the objects
    #[arg(long)]
    pub rebuild_db: bool,
    /// Where files for repairs come from
    #[command(flatten)]
    pub source: SourceArgs,
}

/// Arguments of `config`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What to do with the configuration
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Show every setting and where it comes from
    Show,
}

/// Arguments of `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Do not use the network
    #[arg(long)]
    pub offline: bool,
}
