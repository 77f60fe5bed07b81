//! A temporary directory that also goes away when it holds read-only or immutable directories, as stores do.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::host;

/// A temporary directory, removed with all it holds when dropped; kept when `PIP_ACCEL_TEST_KEEP` is set.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates it below the system's temporary directory, readable by other users (some tests change identity).
    ///
    /// # Panics
    /// When the directory can't be created: no test can run then.
    #[must_use]
    pub fn new() -> Self {
        let path = tempfile::Builder::new()
            .prefix("pip-accel-test-")
            .tempdir()
            .expect("the temporary directory is writable")
            .keep();
        let path = path.canonicalize().expect("it was created just now");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { path }
    }

    /// Its absolute path, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if host::variable("PIP_ACCEL_TEST_KEEP").is_none() {
            remove_tree(&self.path);
        }
    }
}

/// Removes a tree whose directories may be read-only, or immutable when we are root. Errors are ignored: it runs in drops.
pub fn remove_tree(path: &Path) {
    if std::fs::remove_dir_all(path).is_ok() {
        return;
    }
    make_writable(path);
    if std::fs::remove_dir_all(path).is_err() && path.exists() {
        drop(
            Command::new("chattr")
                .args(["-R", "-f", "-i", "--"])
                .arg(path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status(),
        );
        make_writable(path);
        drop(std::fs::remove_dir_all(path));
    }
}

/// Gives the owner all rights on every directory of a tree; links are not followed.
pub fn make_writable(path: &Path) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    if !metadata.is_dir() {
        return;
    }
    drop(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)));
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        make_writable(&entry.path());
    }
}

/// Creates a directory and its parents with mode 0755, whatever the umask.
///
/// # Panics
/// When that fails.
pub fn create_directories(path: &Path) {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o755).create(path).expect("a directory below the scratch directory can be created");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_trees_are_removed() {
        let scratch = Scratch::new();
        let path = scratch.path().to_owned();
        let locked = path.join("a/b");
        create_directories(&locked);
        std::fs::write(locked.join("file"), "x").unwrap();
        for directory in [&locked, &path.join("a")] {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o555)).unwrap();
        }
        drop(scratch);
        assert!(!path.exists());
    }
}
