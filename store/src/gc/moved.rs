//! Environments that were renamed, or whose folder was: their links still work, so they go on keeping their objects.
//!
//! Only the two places that a rename leads to most are looked at: beside the old one, and below the folders beside the
//! one above. An environment is known by the place that its manifest names. Whatever can't be read is not one.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;

use super::environment;

/// Entries of one folder that are looked at: a few milliseconds. More have the homes of thousands of users, not projects.
const NEIGHBOURS_MAX: usize = 2000;

/// Where the environment that was made at `place` is now, if it is near. What stands at one of the places in `known`
/// has a root of its own: whatever its manifest says, it needs no other.
pub(crate) fn find(place: &Path, known: &HashSet<PathBuf>) -> Option<PathBuf> {
    let (parent, name) = (place.parent()?, place.file_name()?);
    let beside = neighbours(parent);
    let below_renamed = parent.parent().into_iter().flat_map(neighbours).map(|folder| folder.join(name));
    beside
        .chain(below_renamed)
        .find(|candidate| candidate != place && !known.contains(candidate) && was_made_at(candidate, place))
}

/// The folders in `folder` that are on its own file system: a rename leads to no other, and what is mounted there by
/// itself as soon as somebody looks into it may hang.
fn neighbours(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let device = fs::metadata(folder).map(|metadata| metadata.dev()).ok();
    let entries = fs::read_dir(folder).into_iter().flatten().take(NEIGHBOURS_MAX).flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    // The entry's own metadata: neither a link nor a mount is followed.
    folders
        .filter(move |entry| entry.metadata().is_ok_and(|metadata| Some(metadata.dev()) == device))
        .map(|entry| entry.path())
}

/// Whether there is an environment whose manifest says that it was made at `place`.
fn was_made_at(candidate: &Path, place: &Path) -> bool {
    let manifest = candidate.join(ENVIRONMENT_MANIFEST_FILE);
    // No link is followed: through one, the environment would be found where it is not.
    let is_real = |path: &Path, is_folder: bool| {
        fs::symlink_metadata(path).is_ok_and(|found| if is_folder { found.is_dir() } else { found.is_file() })
    };
    // Most neighbours have no manifest: that is asked first.
    if !is_real(&manifest, false) || !is_real(candidate, true) {
        return false;
    }
    environment::read(candidate).is_ok_and(|made| Path::new(&made.place) == place)
}
