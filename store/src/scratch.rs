//! Private folders for work that is not (yet) an object, such as builds.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::fs_ops;
use crate::store::Store;

/// A private folder (mode 0700) on the store's file system. It is deleted with everything in it when dropped,
/// or by the next process that opens the store if this one dies.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs_ops::remove_tree(&self.path, None) {
            tracing::warn!(path = %self.path.display(), %error, "a scratch folder stays until the next start");
        }
    }
}

impl Store {
    /// Makes a private folder; `purpose` becomes a part of its name, reduced to letters and digits.
    ///
    /// # Errors
    /// When the store is read-only or the folder can't be made.
    pub fn scratch(&self, purpose: &str) -> Result<Scratch, StoreError> {
        self.writable("make a scratch folder")?;
        let purpose: String = purpose.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        let (path, lock) = fs_ops::create_locked_folder(&self.layout().tmp(), &format!("scratch-{purpose}"))?;
        Ok(Scratch { path, _lock: lock })
    }
}
