//! What the resolver keeps between runs: pages of indexes and metadata, in a folder of the store's indexes.
//!
//! Only runs without code write it. Two processes never use it at once: as root it changes hands for the run, and whoever
//! finds it taken has one of its own for that time.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::session::Session;

/// The folder among the store's indexes.
const FOLDER: &str = "resolver";

/// A cache in use.
pub(super) struct KeptCache {
    path: PathBuf,
    _lock: Option<Flock<File>>,
}

impl KeptCache {
    /// The store's, if nobody has it, else one in `scratch`.
    pub(super) fn take(session: &Session, scratch: &Path) -> std::io::Result<Self> {
        if let Some(kept) = Self::of_store(session) {
            return Ok(kept);
        }
        let path = scratch.join("cache");
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, _lock: None })
    }

    fn of_store(session: &Session) -> Option<Self> {
        let folder = session.store.index_folder().join(FOLDER);
        let path = folder.join("cache");
        std::fs::create_dir_all(&path).ok()?;
        let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        Some(Self { path, _lock: Some(lock) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
