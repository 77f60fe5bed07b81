//! The gate between a store's collector and the users of it that may not write to its database.

use std::fs::{File, OpenOptions as FileOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::checkpoint::checkpoint;
use crate::error::StoreError;

/// How long the gate is waited for. A collector holds it for one transaction; whoever holds it longer does so on purpose,
/// and everybody who may read the file can.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Between two tries. A `flock` that waits can't be given up.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Held until it is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    _file: File,
}

impl Gate {
    /// Holds the gate at `path` together with others: the collector has to wait.
    ///
    /// # Errors
    /// When it is not there, or held alone for too long.
    pub(crate) fn enter(path: &Path) -> Result<Self, StoreError> {
        hold(path, File::try_lock_shared)
    }

    /// Holds the gate alone.
    ///
    /// # Errors
    /// When it is not there, or held for too long.
    pub(crate) fn close(path: &Path) -> Result<Self, StoreError> {
        hold(path, File::try_lock)
    }
}

fn hold(path: &Path, try_lock: impl Fn(&File) -> Result<(), std::fs::TryLockError>) -> Result<Gate, StoreError> {
    let options = FileOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = options.map_err(|error| StoreError::io("open the lock", path, error))?;
    let started = Instant::now();
    let mut is_waiting = false;
    loop {
        match try_lock(&file) {
            Ok(()) => return Ok(Gate { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) if started.elapsed() < WAIT_MAX => {
                if !std::mem::replace(&mut is_waiting, true) {
                    checkpoint("gate-waits");
                }
                std::thread::sleep(TRY_EVERY);
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "another process keeps it locked");
                return Err(StoreError::io("lock", path, error));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(StoreError::io("lock", path, error)),
        }
    }
}
