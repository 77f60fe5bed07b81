//! Handles for tests: stores that stop at a checkpoint.

use crate::checkpoint::Checkpoints;
pub use crate::checkpoint::{Hook, park_at};
use crate::open::OpenError;
use crate::store::{OpenOptions, Store};

/// Opens a store that calls `hook` with the name of each checkpoint it reaches
/// (`publish-sealed`, `publish-synced`, `publish-pending`, `publish-one-renamed`, `publish-renamed`, `publish-valid`,
/// `gc-roots-read`, `gc-marked`, `gc-one-renamed`, `gc-renamed`, `gc-one-deleted`). See [`park_at`].
///
/// # Errors
/// As [`Store::open`].
pub fn open_with_hook(options: OpenOptions, hook: Hook) -> Result<Store, OpenError> {
    Store::open_with(options, Checkpoints::with_hook(hook))
}
