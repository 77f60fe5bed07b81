//! Why a checkout can't be had.

use std::io;
use std::path::PathBuf;

use super::directory::{DIRECTORY_BYTES_MAX, DIRECTORY_FILES_MAX};
use super::export::{COMMIT_BYTES_MAX, COMMIT_FILES_MAX};
use super::git::{FETCH_TIME_MAX, REPOSITORY_BYTES_MAX};
use super::submodule::SUBMODULES_MAX;

/// Why a commit or directory can't be had.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// A file or directory can't be read or written.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory is beyond a limit.
    #[error(
        "`{}` has more than {DIRECTORY_FILES_MAX} files or {} GiB", path.display(), DIRECTORY_BYTES_MAX >> 30
    )]
    TooLarge {
        /// The directory.
        path: PathBuf,
    },
    /// A commit is beyond a limit.
    #[error("its tree has more than {COMMIT_FILES_MAX} files or {} GiB", COMMIT_BYTES_MAX >> 30)]
    TooLargeCommit,
    /// A directory was written to while it was read.
    #[error("`{}` was changed while it was read", path.display())]
    Changed {
        /// The directory.
        path: PathBuf,
    },
    /// There is no git program.
    #[error("there is no program `git`")]
    NoGit(#[source] io::Error),
    /// The git program failed.
    #[error("`git {command}` failed{}", said(output))]
    Git {
        /// The subcommand.
        command: &'static str,
        /// Its last words, without credentials.
        output: String,
    },
    /// The git program took too long or wrote too much.
    #[error(
        "`git fetch` was ended: it took more than {} minutes or wrote more than {} GiB",
        FETCH_TIME_MAX.as_secs() / 60, REPOSITORY_BYTES_MAX >> 30
    )]
    Endless,
    /// The git program said something that is no answer.
    #[error("`git {command}` gave an answer that can't be read")]
    Answer {
        /// The subcommand.
        command: &'static str,
    },
    /// The repository has no such commit, branch or tag.
    #[error("the repository `{repository}` has no `{revision}`")]
    Revision {
        /// Without credentials.
        repository: String,
        /// The commit, branch or tag.
        revision: String,
    },
    /// The tree has no such folder.
    #[error("the commit has no folder `{0}`")]
    Subdirectory(String),
    /// The tree has an entry that may not be unpacked.
    #[error("its tree has `{path}`, which {reason}")]
    Entry {
        /// The entry.
        path: String,
        /// The end of a sentence.
        reason: String,
    },
    /// A submodule that can't be fetched safely.
    #[error("its submodule `{path}` {reason}")]
    Submodule {
        /// Its path in the tree.
        path: String,
        /// The end of a sentence.
        reason: String,
    },
    /// More submodules than any project has.
    #[error("it has more than {SUBMODULES_MAX} submodules, or submodules of submodules without end")]
    Submodules,
    /// The clone for an editable is at another commit.
    #[error("`{}` is at commit {found}, and {wanted} is wanted", path.display())]
    OtherCommit {
        /// The clone.
        path: PathBuf,
        /// What it is at.
        found: String,
        /// What the requirement says.
        wanted: String,
    },
    /// The place of a clone is taken by something else.
    #[error("`{}` is there and is no git repository", path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
    },
    /// A path at which no sandbox can show a checkout.
    #[error("an editable at `{}` can't be built in a sandbox: {reason}", path.display())]
    EditablePlace {
        /// The checkout.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A clone is wanted and the network is off.
    #[error("its repository was never cloned here and the network is off")]
    Offline,
    /// The run was stopped.
    #[error("it was cancelled")]
    Cancelled,
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}
