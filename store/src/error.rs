//! What can go wrong while the store is used.

use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::store_path::ObjectId;

/// Why a tree that was staged can't become an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Two entries with one path.
    #[error("is in the tree twice")]
    Duplicate,
    /// A file or link stands where a folder is needed.
    #[error("is below something that is not a folder")]
    NotBelowFolder,
    /// The name that the store keeps for its own record.
    #[error("has the name of the store's own record")]
    Reserved,
    /// A link that is absolute, empty, or leads out of its tree.
    #[error("is a link that leaves its tree")]
    LinkLeavesTree,
    /// A link whose text is not UTF-8 or a name that breaks the rules of entry paths.
    #[error("has a name or a link text that is not portable")]
    NotPortable,
    /// Neither file, folder nor link.
    #[error("is a device, a socket or a named pipe")]
    SpecialFile,
    /// Set-user-ID, set-group-ID or sticky.
    #[error("has a set-user-ID, set-group-ID or sticky bit")]
    SpecialMode,
    /// Not owned by the user that runs the store.
    #[error("belongs to another user")]
    ForeignOwner,
    /// There, but neither written through the tree nor adopted.
    #[error("was put into the tree by somebody else")]
    Unexpected,
    /// Not there any more.
    #[error("is missing from the tree")]
    Missing,
    /// Size, mode or time differ from what was written.
    #[error("was changed after it was written")]
    Changed,
}

/// Why an operation on the store failed. Nothing is half done when one of these comes back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused a step.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: `create`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file system (or the user's quota) is full; what was being written has been removed again.
    #[error("no space left for `{}`", path.display())]
    Full {
        /// What was being written.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The store was opened for reading only, or can't be written to.
    #[error("the store `{}` is read-only, it cannot {action}", root.display())]
    ReadOnly {
        /// The store.
        root: PathBuf,
        /// What was asked of it, as a verb: `add an object`.
        action: &'static str,
    },
    /// Another process kept the database locked for longer than the time-out.
    #[error("another process keeps the database `{}` locked, cannot {action}", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
    },
    /// The database refused a statement.
    #[error("the database `{}` failed, cannot {action}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// SQLite's answer.
        source: Box<rusqlite::Error>,
    },
    /// The database's file is damaged; it can be made anew from the objects.
    #[error("the database `{}` is damaged, cannot {action}", path.display())]
    DatabaseDamaged {
        /// The database.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// SQLite's answer.
        source: Box<rusqlite::Error>,
    },
    /// A living process has a lease on the object, so it can't be replaced now.
    #[error("object {0} is used by a running process")]
    InUse(ObjectId),
    /// A record on disk or a row of the database says something impossible.
    #[error("the record of `{what}` is damaged: {reason}")]
    Record {
        /// The object or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The staged tree holds something that no object may hold.
    #[error("`{path}` {problem}")]
    Entry {
        /// The path inside the tree, as far as it is text.
        path: String,
        /// What is wrong with it.
        problem: EntryProblem,
    },
    /// An object was to be published that needs one which the store does not have.
    #[error("object {object} needs object {reference}, which is not in the store")]
    MissingReference {
        /// The new object.
        object: ObjectId,
        /// What it refers to.
        reference: ObjectId,
    },
    /// A root was to be set on an object that the store does not have (any more).
    #[error("object {0} is not in the store")]
    MissingObject(ObjectId),
    /// A folder can't be moved because of its immutable flag, and this process may not take that away.
    #[error("`{}` carries the immutable flag, and this process may not take it away", path.display())]
    Immutable {
        /// The folder.
        path: PathBuf,
    },
    /// The switch was set that ends what takes long; what was finished until then stays, and is whole.
    #[error("interrupted")]
    Interrupted,
    /// A name (of a log or a lease) that is none of the store's.
    #[error("`{0}` is not the name of a file of the store")]
    ForeignName(String),
}

impl StoreError {
    /// An error of the operating system on `path`; a full disk gets its own variant.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { path: path.to_owned(), source },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// A refused entry.
    pub(crate) fn entry(path: impl Into<String>, problem: EntryProblem) -> Self {
        Self::Entry { path: path.into(), problem }
    }
}

/// Adds what was tried, and on which path, to errors of the operating system.
pub(crate) trait IoContext<T> {
    /// Turns the error into a [`StoreError`]; `action` is a verb.
    fn on(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path, source))
    }
}

impl<T> IoContext<T> for nix::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|errno| StoreError::io(action, path, errno.into()))
    }
}
