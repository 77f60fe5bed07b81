//! Locks between processes: `flock` on files below `locks/`.
//!
//! The kernel drops a lock when its owner dies, so a dead owner never blocks anybody. A lock file is deleted by the
//! owner just before it lets go; who waited for it then holds a lock on a file without a name, notices,
//! and starts again. Order of acquisition: key locks, then `gc`, then `publish`, then the database.

use std::fs::{File, OpenOptions as FileOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::store::Store;

/// Longest owner record that is read; ours have about 150 bytes.
const OWNER_BYTES_MAX: u64 = 4096;

/// Who holds a lock, for messages only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockOwner {
    /// Process id on `host`, in the owner's PID namespace; 0 when unknown.
    pub pid: u32,
    /// Host name of the machine or container; empty when unknown.
    pub host: String,
    /// When the lock was taken, in seconds since 1970; 0 when unknown.
    pub since: i64,
    /// The program's name (without its arguments, which may hold credentials).
    pub command: String,
}

impl LockOwner {
    pub(crate) fn this_process(now: i64) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        let command = std::fs::read_to_string("/proc/self/comm").unwrap_or_default().trim_end().to_owned();
        Self { pid: std::process::id(), host, since: now, command }
    }
}

/// A held lock on one key; released when dropped.
#[derive(Debug)]
pub struct KeyLock {
    file: File,
    path: PathBuf,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // While the lock still is held: nobody else may delete the name under which others look for it.
        drop(std::fs::remove_file(&self.path));
        drop(self.file.unlock());
    }
}

impl Store {
    /// Takes the lock on `key`, waiting for as long as another process or thread holds it.
    /// `on_wait` is called once, with the owner, if there is something to wait for.
    ///
    /// # Errors
    /// When the store is read-only, the lock file can't be created or locked, or the waiting is interrupted.
    pub fn lock(&self, key: &str, on_wait: &mut dyn FnMut(&LockOwner)) -> Result<KeyLock, StoreError> {
        self.writable("take a lock")?;
        self.lock_at(&self.layout().key_lock(key), on_wait)
    }

    /// Takes the lock file at `path`, which may be outside the store, as [`Self::lock`] does. There is a file of that name
    /// only while somebody holds the lock, or was killed holding it.
    ///
    /// # Errors
    /// When the lock file can't be created or locked, or the waiting is interrupted.
    pub fn lock_at(&self, path: &Path, on_wait: &mut dyn FnMut(&LockOwner)) -> Result<KeyLock, StoreError> {
        let mut waited = false;
        loop {
            let mut file = open_lock_file(path)?;
            if !try_lock(&file, path)? {
                if !waited {
                    on_wait(&read_owner(&file));
                    waited = true;
                }
                self.interrupt().wait_until(|| try_lock(&file, path))?;
            }
            if fs_ops::is_same_file(&file, path)? {
                write_owner(&mut file, &LockOwner::this_process(self.now()));
                return Ok(KeyLock { file, path: path.to_owned() });
            }
        }
    }

    /// Waits for the exclusive lock `gc`: no collection, repair or sharing of another process runs while it is held.
    pub(crate) fn lock_collections(&self) -> Result<File, StoreError> {
        let path = self.layout().gc_lock();
        let file = open_lock_file(&path)?;
        self.interrupt().wait_until(|| try_lock(&file, &path))?;
        Ok(file)
    }

    /// Waits until no collection, repair or sharing runs, and keeps them away; others may do so too. Where the file
    /// neither is there nor can be made (a store that can't be written to), nobody can run one: `None`.
    pub(crate) fn keep_collections_away(&self) -> Result<Option<File>, StoreError> {
        let path = self.layout().gc_lock();
        let Ok(file) = File::open(&path).or_else(|_| open_lock_file(&path)) else { return Ok(None) };
        self.interrupt().wait_until(|| match file.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, error)),
        })?;
        Ok(Some(file))
    }
}

/// Opens a lock file, creating it where needed.
pub(crate) fn open_lock_file(path: &Path) -> Result<File, StoreError> {
    FileOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .on("open the lock", path)
}

/// Takes the exclusive lock if nobody holds one.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool, StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path, error)),
    }
}

/// Waits for the exclusive lock on a file whose name is never deleted and that is held for moments only (`publish`).
pub(crate) fn lock_exclusive(path: &Path) -> Result<File, StoreError> {
    let file = open_lock_file(path)?;
    file.lock().on("lock", path)?;
    Ok(file)
}

/// Takes the exclusive lock on a file whose name is never deleted, or returns `None` when another holds it.
pub(crate) fn try_lock_exclusive(path: &Path) -> Result<Option<File>, StoreError> {
    let file = open_lock_file(path)?;
    Ok(try_lock(&file, path)?.then_some(file))
}

/// Whether somebody alive holds the lock file `path`. A file that is gone is held by nobody.
pub(crate) fn is_held(path: &Path) -> Result<bool, StoreError> {
    let file = match FileOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("open the lock", path, error)),
    };
    Ok(!try_lock(&file, path)?)
}

/// The record that the owner left in the file; unknown when it has not written it yet.
fn read_owner(file: &File) -> LockOwner {
    let mut text = String::new();
    let read = file.take(OWNER_BYTES_MAX).read_to_string(&mut text);
    read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Who holds the lock file `path`, as far as it told.
pub(crate) fn owner_of(path: &Path) -> LockOwner {
    let file = FileOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    file.map_or_else(|_| LockOwner::default(), |file| read_owner(&file))
}

/// Leaves a record for those who wait. It is only read for messages: a failure (a full disk) is none of the lock.
pub(crate) fn write_owner(file: &mut File, owner: &LockOwner) {
    let Ok(text) = serde_json::to_vec(owner) else { return };
    drop(file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text)));
}
