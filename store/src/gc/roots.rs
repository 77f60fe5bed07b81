//! Whether a root still keeps its objects.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;
use pip_accel_schema::store_path::ObjectId;

use super::{DeadRootReason, GcError, GcPolicy, KeptReason, environment, moved};
use crate::error::StoreError;
use crate::root::{Root, RootKind, device_above, is_absent};

/// What was found at a root's location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootState {
    /// It keeps its objects, because it is there. An environment that was put there by hand (an old one is back, two
    /// have changed places) may need others than its root was set for: those that its manifest names are kept as well.
    Live { needs: Vec<ObjectId> },
    /// It keeps its objects, although it is not there.
    Kept(KeptReason),
    /// It keeps its objects and those of its manifest, because it is at another place now.
    Moved { to: PathBuf, needs: Vec<ObjectId> },
    /// It keeps nothing any more.
    Dead(DeadRootReason),
}

/// The places of all environments that have a root.
pub(crate) fn known_places<'a>(roots: impl Iterator<Item = &'a Root>) -> HashSet<PathBuf> {
    roots.filter(|root| root.kind == RootKind::Environment).map(|root| root.location.clone()).collect()
}

/// Looks at a root's location. No link is followed at its end, and any error but "there is nothing" aborts.
pub(crate) fn examine(
    root: &Root,
    known: &HashSet<PathBuf>,
    policy: &GcPolicy,
    now: i64,
) -> Result<RootState, GcError> {
    let needs = |folder: &Path| match environment::read(folder) {
        Ok(made) => Ok(made.objects()),
        // Deleted in this moment.
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        Err(error) => Err(unreadable(root, error)),
    };
    let dead = |reason| {
        if policy.is_young(root.created_at, now) {
            // Its environment may be about to be moved into place.
            return Ok(RootState::Kept(KeptReason::Young));
        }
        let moved = if root.kind == RootKind::Environment { moved::find(&root.location, known) } else { None };
        match moved {
            Some(to) => Ok(RootState::Moved { needs: needs(&to)?, to }),
            None => Ok(RootState::Dead(reason)),
        }
    };
    if root.kind == RootKind::Pin {
        return Ok(RootState::Live { needs: Vec::new() });
    }
    if exists(root, &root.location)? {
        if root.kind == RootKind::Lock {
            return Ok(RootState::Live { needs: Vec::new() });
        }
        if exists(root, &root.location.join(ENVIRONMENT_MANIFEST_FILE))? {
            return Ok(RootState::Live { needs: needs(&root.location)? });
        }
        return dead(DeadRootReason::NotAnEnvironment);
    }
    let device = device_above(&root.location).map_err(|error| match error {
        StoreError::Io { source, .. } => unreadable(root, source),
        other => GcError::Store(other),
    })?;
    if device == root.device { dead(DeadRootReason::Missing) } else { Ok(RootState::Kept(KeptReason::Unreachable)) }
}

fn exists(root: &Root, path: &Path) -> Result<bool, GcError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(unreadable(root, error)),
    }
}

fn unreadable(root: &Root, source: io::Error) -> GcError {
    GcError::RootUnreadable { kind: root.kind, name: root.name.clone(), location: root.location.clone(), source }
}
