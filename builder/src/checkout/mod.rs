//! Projects that are no file of an index: commits of git repositories, and directories of this machine.
//!
//! Each becomes a canonical archive (`archive`), which the store keeps like an sdist under its SHA-256; from there on
//! nothing tells it from one. A commit is fetched once (`git`, `export`), a directory is read again only when a look at
//! its files says that something changed (`directory`). Editables stay where they are: only the wheel that points at
//! them is built (`Editable`).

mod archive;
mod clone;
mod copy;
mod directory;
mod error;
mod export;
mod git;
mod git_url;
mod history;
mod name;
mod obtain;
mod repository;
mod submodule;
mod survey;

use std::fmt;
use std::path::PathBuf;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::name::PackageName;

pub(crate) use clone::clone_editables;
pub(crate) use copy::copy_of;
pub use directory::{DIRECTORY_BYTES_MAX, DIRECTORY_FILES_MAX};
pub use error::CheckoutError;
pub use export::{COMMIT_BYTES_MAX, COMMIT_FILES_MAX};
pub use git::{FETCH_TIME_MAX, REPOSITORY_BYTES_MAX};
pub use git_url::{
    COMMIT_DIGITS, Commit, GIT_TRANSPORTS, GitCommit, GitReference, ParseCommitError, ParseGitReferenceError,
};
pub use name::static_name;
pub(crate) use obtain::fixed_selection;
pub use obtain::resolve_reference;
pub use submodule::SUBMODULES_MAX;
pub(crate) use survey::{Survey, content_stamp};

/// What a pin that no index has means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Where it is.
    pub place: CheckoutPlace,
    /// Whether the pin's name is the project's; else it is a stand-in until the build tells.
    pub is_named: bool,
}

/// Where a checkout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckoutPlace {
    /// A commit of a repository.
    Git(GitCommit),
    /// A directory with the content of this digest.
    Directory(Directory),
    /// A directory that environments import from where it is.
    Editable(Editable),
}

/// A directory as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// The directory; absolute.
    pub path: PathBuf,
    /// SHA-256 of its canonical archive.
    pub sha256: Sha256Digest,
}

/// A directory that environments import from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editable {
    /// The directory; absolute, links resolved.
    pub path: PathBuf,
    /// Over the path and the files that say how it is built.
    pub sha256: Sha256Digest,
    /// The commit that was cloned there, where the requirement names one.
    pub git: Option<GitCommit>,
}

impl Checkout {
    /// The digest by which a directory or editable is known; a commit has none before it was fetched.
    #[must_use]
    pub fn digest(&self) -> Option<Sha256Digest> {
        match &self.place {
            CheckoutPlace::Git(_) => None,
            CheckoutPlace::Directory(directory) => Some(directory.sha256),
            CheckoutPlace::Editable(editable) => Some(editable.sha256),
        }
    }

    /// A name from the place, where nothing else tells one before the build.
    #[must_use]
    pub fn stand_in_name(&self) -> Option<PackageName> {
        let text = match &self.place {
            CheckoutPlace::Git(commit) => commit.repository.last_segment().unwrap_or_default(),
            CheckoutPlace::Directory(Directory { path, .. }) | CheckoutPlace::Editable(Editable { path, .. }) => {
                let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                real.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
        };
        let text = text.strip_suffix(".git").unwrap_or(&text);
        let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
        let text: String = text.chars().map(plain).take(100).collect();
        text.trim_matches('-').parse().or_else(|_| "checkout".parse()).ok()
    }
}

impl fmt::Display for CheckoutPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(commit) => write!(formatter, "{commit}"),
            Self::Directory(directory) => write!(formatter, "{}", directory.path.display()),
            Self::Editable(editable) => write!(formatter, "-e {}", editable.path.display()),
        }
    }
}
