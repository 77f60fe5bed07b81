//! How much disk things take: each inode once, whatever the number of its names.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::error::{IoContext, StoreError};
use crate::store::Store;

/// Files with several names that were counted already: device, inode.
type Counted = Mutex<HashSet<(u64, u64)>>;

impl Store {
    /// Bytes of disk that the whole store takes, its database and logs included, the space that is set aside for
    /// collections not; contents with several names count once. Walks the store: about a second for a million files that the kernel knows.
    ///
    /// # Errors
    /// When a folder can't be read.
    pub fn disk_usage(&self) -> Result<u64, StoreError> {
        let counted = Counted::default();
        let root = self.root();
        let bytes = usage_below(root, &counted).on("measure", root)?;
        let reserve = fs::symlink_metadata(self.layout().reserve()).map_or(0, |metadata| metadata.blocks());
        Ok(bytes.saturating_sub(reserve.saturating_mul(512)))
    }
}

/// Bytes of disk that `folder` and all below it take; contents with several names count once, links are not followed.
/// A folder that is not there takes nothing.
///
/// # Errors
/// When a folder can't be read.
pub fn disk_usage_of(folder: &Path) -> Result<u64, StoreError> {
    usage_below(folder, &Counted::default()).on("measure", folder)
}

/// Blocks of `folder` and of all below it, in bytes. What vanishes meanwhile counts nothing.
fn usage_below(folder: &Path, counted: &Counted) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = fs::symlink_metadata(folder).map_or(0, |metadata| metadata.blocks().saturating_mul(512));
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
            Ok(metadata) => {
                let is_new = metadata.nlink() < 2
                    || counted.lock().unwrap_or_else(PoisonError::into_inner).insert((metadata.dev(), metadata.ino()));
                if is_new {
                    bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let below: Vec<io::Result<u64>> = folders.par_iter().map(|folder| usage_below(folder, counted)).collect();
    for more in below {
        bytes = bytes.saturating_add(more?);
    }
    Ok(bytes)
}
