//! Handles for tests: stores that stop at a checkpoint.

use crate::checkpoint::Checkpoints;
pub use crate::checkpoint::{Hook, park_at};
use crate::open::OpenError;
use crate::rebuild::RebuildReport;
use crate::store::{OpenOptions, Store};
use crate::verify::VerifyDepth;

/// Opens a store that calls `hook` with the name of each checkpoint it reaches
/// (`publish-sealed`, `publish-synced`, `publish-pending`, `publish-one-renamed`, `publish-renamed`, `publish-valid`,
/// `gc-roots-read`, `gc-marked`, `gc-one-renamed`, `gc-renamed`, `gc-one-deleted`,
/// `unbundle-verified`, `unbundle-staged`, `unbundle-published`, `swap-synced`, `swap-beside`, `swap-exchanged`,
/// `repair-inspected`, `repair-staged`, `repair-quarantined`, `replace-beside`, `replace-exchanged`,
/// and in [`rebuild_with_hook`] `rebuild-filled`, `rebuild-kept`, `rebuild-done`). See [`park_at`].
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
    Store::rebuild_database_with(options, depth, Checkpoints::with_hook(hook))
}
