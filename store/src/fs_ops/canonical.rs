//! The one form that everything in the store has: read-only, and from one moment in 1980.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, futimens, utimensat};
use nix::sys::time::TimeSpec;

use crate::error::{IoContext, StoreError};

/// Modification time of everything in the store, in seconds: 1980-01-01, the first moment that zip can express.
pub(crate) const CANONICAL_MTIME: i64 = 315_532_800;

/// Mode of every folder of an object.
const FOLDER_MODE: u32 = 0o555;

/// Mode of a file of an object.
pub(crate) const fn mode_of_file(executable: bool) -> u32 {
    if executable { 0o555 } else { 0o444 }
}

const fn moment() -> TimeSpec {
    TimeSpec::new(CANONICAL_MTIME, 0)
}

/// Gives the open file its canonical mode and time.
pub(crate) fn canonicalise_open_file(file: &File, executable: bool, path: &Path) -> Result<(), StoreError> {
    file.set_permissions(fs::Permissions::from_mode(mode_of_file(executable))).on("set the mode of", path)?;
    futimens(file, &moment(), &moment()).on("set the time of", path)
}

/// Gives a folder its canonical mode and time; nothing may be created in it afterwards.
pub(crate) fn canonicalise_folder(path: &Path) -> Result<(), StoreError> {
    fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE)).on("set the mode of", path)?;
    utimensat(AT_FDCWD, path, &moment(), &moment(), UtimensatFlags::NoFollowSymlink).on("set the time of", path)
}

/// Gives a symbolic link (not what it points to) the canonical time.
pub(crate) fn canonicalise_link(path: &Path) -> Result<(), StoreError> {
    utimensat(AT_FDCWD, path, &moment(), &moment(), UtimensatFlags::NoFollowSymlink).on("set the time of", path)
}
