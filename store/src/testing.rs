//! Handles for tests: stores that stop at a checkpoint.

use crate::checkpoint::Checkpoints;
pub use crate::checkpoint::{Hook, park_at, set_hook};
use crate::interrupt::Interrupt;
use crate::open::OpenError;
use crate::rebuild::RebuildReport;
use crate::store::{OpenOptions, Store};
use crate::verify::VerifyDepth;

/// Opens a store that calls `hook` with the name of each checkpoint it reaches: the texts that the code of the store
/// calls `checkpoint` with. See [`park_at`].
///
/// # Errors
/// As [`Store::open`].
pub fn open_with_hook(options: OpenOptions, hook: Hook) -> Result<Store, OpenError> {
    Store::open_with(options, Checkpoints::with_hook(hook))
}

/// Makes the database anew with a hook at its checkpoints.
///
/// # Errors
/// As [`Store::rebuild_database`].
pub fn rebuild_with_hook(options: OpenOptions, depth: VerifyDepth, hook: Hook) -> Result<RebuildReport, OpenError> {
    Store::rebuild_database_with(options, depth, (&Interrupt::default(), Checkpoints::with_hook(hook)))
}
