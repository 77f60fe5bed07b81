//! Turns: who works on one environment, while others wait.
//!
//! Two locks, since two runs may have nothing in common but the environment: a key lock of the store, held from the look at
//! what stands there to the end, and a file beside the environment for the processes that have another store. The file is
//! held while the environment's past is read and a new one is put there, no longer: with it two runs can fetch and build
//! at the same time, and neither takes the other's generations and private copies for gone.

use std::path::Path;

use pip_accel_store::{KeyLock, LockOwner, Store, StoreError};

use super::interrupt::Interrupts;
use super::link::without_links;
use crate::cancel::CancelToken;
use crate::environment;
use crate::event::Event;

/// Who waits, and for which environment.
#[derive(Clone, Copy)]
pub(crate) struct Waiter<'a> {
    pub(crate) store: &'a Store,
    /// Ends the waiting.
    pub(crate) cancel: &'a CancelToken,
    /// The environment; absolute.
    pub(crate) destination: &'a Path,
    pub(crate) report: &'a dyn Fn(Event),
}

/// A held turn; it ends when it is dropped.
pub(crate) struct Turn {
    _lock: Option<KeyLock>,
    /// Who had to wait has heard signals since then, and goes on hearing them.
    _interrupts: Option<Interrupts>,
}

impl Waiter<'_> {
    /// Waits until no other process with this store works on the environment, by whatever path it names it.
    pub(crate) fn take_turn(self) -> Result<Turn, StoreError> {
        let key = format!("environment {}", without_links(self.destination).display());
        self.wait(|on_wait| self.store.lock(&key, on_wait).map(Some))
    }

    /// Waits until no process with whatever store reads the environment's past or replaces it.
    pub(crate) fn take_place(self) -> Result<Turn, StoreError> {
        let Some(path) = environment::place_lock(self.destination) else {
            return Ok(Turn { _lock: None, _interrupts: None });
        };
        self.wait(|on_wait| match self.store.lock_at(&path, on_wait) {
            Ok(lock) => Ok(Some(lock)),
            Err(StoreError::Interrupted) => Err(StoreError::Interrupted),
            // Who can't make a file there can't put an environment there either, and is told so by the attempt.
            Err(error) => {
                tracing::debug!(%error, "no lock beside the environment");
                Ok(None)
            }
        })
    }

    fn wait(
        self,
        take: impl FnOnce(&mut dyn FnMut(&LockOwner)) -> Result<Option<KeyLock>, StoreError>,
    ) -> Result<Turn, StoreError> {
        let mut interrupts = None;
        let lock = take(&mut |owner| {
            // Without ears a signal ends the process, as it does before anything was begun.
            interrupts = Interrupts::start(self.cancel).ok();
            let what = format!("{}, held by process {} ({})", self.destination.display(), owner.pid, owner.command);
            (self.report)(Event::Waiting { what });
        })?;
        Ok(Turn { _lock: lock, _interrupts: interrupts })
    }
}
