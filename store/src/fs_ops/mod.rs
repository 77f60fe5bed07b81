//! The steps that publishing and deleting are made of, each with the path in its error.

mod canonical;
mod immutable;
mod remove;
mod xattr;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags};

pub(crate) use canonical::{
    CANONICAL_MTIME, canonicalise_folder, canonicalise_link, canonicalise_open_file, mode_of_file,
};
pub(crate) use immutable::{is_immutable, make_immutable, make_mutable, make_path_mutable, try_immutable};
pub(crate) use remove::{Freed, freed_by_unlink, remove_tree};
pub(crate) use xattr::{foreign_attributes, strip_extended_attributes};

use crate::error::{IoContext, StoreError};

/// A name that no other process on this machine uses now: process id, counter, and the start of the process' time.
pub(crate) fn unique_name(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // A process id comes back after a while (and exists once per container): the clock tells the two apart.
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos() % (1 << 62)).unwrap_or(0));
    format!("{prefix}-{}-{count}-{nanos:x}", std::process::id())
}

/// Creates a private folder below `parent` and locks it for the life of the returned file.
///
/// The sweep deletes folders that nobody locks. It may find this one between its creation and its lock;
/// then the folder is gone once the lock is there, and another is made.
pub(crate) fn create_locked_folder(parent: &Path, prefix: &str) -> Result<(PathBuf, File), StoreError> {
    loop {
        let path = parent.join(unique_name(prefix));
        fs::DirBuilder::new().mode(0o700).create(&path).on("create", &path)?;
        let folder = match File::open(&path) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("open", &path, error)),
        };
        folder.lock().on("lock", &path)?;
        if is_same_file(&folder, &path)? {
            // The umask may have taken bits away.
            folder.set_permissions(fs::Permissions::from_mode(0o700)).on("set the mode of", &path)?;
            // Default ACLs of the parent would be inherited by all that is created below.
            strip_extended_attributes(&folder, &path)?;
            return Ok((path, folder));
        }
    }
}

/// Creates a file below `parent` and locks it for the life of the returned handle, as [`create_locked_folder`] does.
pub(crate) fn create_locked_file(parent: &Path, prefix: &str) -> Result<(PathBuf, File), StoreError> {
    loop {
        let path = parent.join(unique_name(prefix));
        let file = File::create_new(&path).on("create", &path)?;
        let is_ours = file.lock().on("lock", &path).and_then(|()| is_same_file(&file, &path));
        match is_ours {
            Ok(true) => return Ok((path, file)),
            Ok(false) => {}
            Err(error) => {
                drop(fs::remove_file(&path));
                return Err(error);
            }
        }
    }
}

/// Whether `path` still leads to the open `file`.
pub(crate) fn is_same_file(file: &File, path: &Path) -> Result<bool, StoreError> {
    let opened = file.metadata().on("examine", path)?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("examine", path, error)),
    }
}

/// Renames `from` to `to`, unless something is there: `Ok(false)`.
pub(crate) fn rename_if_absent(from: &Path, to: &Path) -> Result<bool, StoreError> {
    match nix::fcntl::renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST | Errno::ENOTEMPTY) => Ok(false),
        // A file system without the flag. Publishers hold the publish lock, so nobody comes between.
        Err(Errno::EINVAL | Errno::ENOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Ok(false),
            Err(_) => fs::rename(from, to).map(|()| true).on("publish", to),
        },
        Err(errno) => Err(StoreError::io("publish", to, errno.into())),
    }
}

/// Moves the folder or file `path` into `trash` under a fresh name; `Ok(None)` when there is nothing.
pub(crate) fn move_to_trash(path: &Path, trash: &Path) -> Result<Option<PathBuf>, StoreError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("examine", path, error)),
    };
    if metadata.is_dir() {
        // A folder that can't be changed can't be moved, and the kernel wants write permission on one that gets a new
        // parent; best effort, the rename tells.
        make_path_mutable(path);
        drop(fs::set_permissions(path, fs::Permissions::from_mode(0o700)));
    }
    let target = trash.join(unique_name("dead"));
    match fs::rename(path, &target) {
        Ok(()) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) if is_immutable(path) => Err(StoreError::Immutable { path: path.to_owned() }),
        Err(error) => Err(StoreError::io("move to the trash", path, error)),
    }
}

/// The user's name, or the number of one who has none.
pub(crate) fn user_name(uid: u32) -> String {
    let known = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

/// Makes everything written so far on the file system of `folder` durable.
pub(crate) fn sync_file_system(folder: &Path) -> Result<(), StoreError> {
    let opened = File::open(folder).on("open", folder)?;
    nix::unistd::syncfs(&opened).on("sync the file system of", folder)
}

/// Makes one file, or the names in one folder, durable.
pub(crate) fn sync_path(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|opened| opened.sync_all()).on("sync", path)
}
