//! Whether a root still keeps its objects.

use std::fs;
use std::io;
use std::path::PathBuf;

use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;

use super::{DeadRootReason, GcError, GcPolicy, KeptReason, moved};
use crate::error::StoreError;
use crate::root::{Root, RootKind, device_above, is_absent};

/// What was found at a root's location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootState {
    /// It keeps its objects, because it is there.
    Live,
    /// It keeps its objects, although it is not there.
    Kept(KeptReason),
    /// It keeps its objects, because it is at another place now.
    Moved(PathBuf),
    /// It keeps nothing any more.
    Dead(DeadRootReason),
}

/// Looks at a root's location. No link is followed at its end, and any error but "there is nothing" aborts.
pub(crate) fn examine(root: &Root, policy: &GcPolicy, now: i64) -> Result<RootState, GcError> {
    let dead = |reason| {
        if policy.is_young(root.created_at, now) {
            // Its environment may be about to be moved into place.
            return RootState::Kept(KeptReason::Young);
        }
        let moved = if root.kind == RootKind::Environment { moved::find(&root.location) } else { None };
        moved.map_or(RootState::Dead(reason), RootState::Moved)
    };
    if root.kind == RootKind::Pin {
        return Ok(RootState::Live);
    }
    if exists(root, &root.location)? {
        if root.kind == RootKind::Lock || exists(root, &root.location.join(ENVIRONMENT_MANIFEST_FILE))? {
            return Ok(RootState::Live);
        }
        return Ok(dead(DeadRootReason::NotAnEnvironment));
    }
    let device = device_above(&root.location).map_err(|error| match error {
        StoreError::Io { source, .. } => unreadable(root, source),
        other => GcError::Store(other),
    })?;
    if device == root.device { Ok(dead(DeadRootReason::Missing)) } else { Ok(RootState::Kept(KeptReason::Unreachable)) }
}

fn exists(root: &Root, path: &std::path::Path) -> Result<bool, GcError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(unreadable(root, error)),
    }
}

fn unreadable(root: &Root, source: io::Error) -> GcError {
    GcError::RootUnreadable { kind: root.kind, name: root.name.clone(), location: root.location.clone(), source }
}
