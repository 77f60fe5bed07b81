//! The digest of a directory tree as it lies on the disk, to prove that nothing in a store changed.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// What each path of a tree was: kind, mode, mtime and content or link target. Two are equal when nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeDigest {
    entries: BTreeMap<PathBuf, String>,
}

impl TreeDigest {
    /// Reads the tree at `root`; a missing one is an empty tree.
    ///
    /// # Panics
    /// When something in it can't be read.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        if root.exists() {
            visit(root, root, &mut entries);
        }
        Self { entries }
    }

    /// Number of paths, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there was nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One line for each path that differs, as `path: before → after`.
    #[must_use]
    pub fn changes_to(&self, later: &Self) -> Vec<String> {
        let absent = "absent".to_owned();
        let mut paths: Vec<&PathBuf> = self.entries.keys().chain(later.entries.keys()).collect();
        paths.sort();
        paths.dedup();
        paths
            .into_iter()
            .filter_map(|path| {
                let before = self.entries.get(path).unwrap_or(&absent);
                let after = later.entries.get(path).unwrap_or(&absent);
                (before != after).then(|| format!("{}: {before} → {after}", path.display()))
            })
            .collect()
    }

    /// Asserts that the tree at `root` still is this one.
    ///
    /// # Panics
    /// When it is not; the message lists the first changes.
    #[track_caller]
    pub fn assert_unchanged(&self, root: &Path) {
        let changes = self.changes_to(&Self::of(root));
        assert!(changes.is_empty(), "{} changed:\n{}", root.display(), changes[..changes.len().min(20)].join("\n"));
    }
}

fn visit(root: &Path, path: &Path, entries: &mut BTreeMap<PathBuf, String>) {
    let metadata = path.symlink_metadata().expect("the tree does not change while it is read");
    let kind = metadata.file_type();
    let mode = metadata.permissions().mode() & 0o7777;
    let text = if kind.is_symlink() {
        format!("link to {:?}", std::fs::read_link(path).expect("it is a link"))
    } else if kind.is_file() {
        let content = std::fs::read(path).expect("the tree is readable");
        format!("file {mode:o} mtime {} {}", metadata.mtime(), hex(&Sha256::digest(&content)))
    } else if kind.is_dir() {
        format!("directory {mode:o} mtime {}", metadata.mtime())
    } else {
        format!("special {:o}", metadata.mode())
    };
    entries.insert(path.strip_prefix(root).expect("visited from the root").to_owned(), text);
    if kind.is_dir() {
        let mut children: Vec<PathBuf> =
            std::fs::read_dir(path).expect("the tree is readable").flatten().map(|entry| entry.path()).collect();
        children.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        for child in children {
            visit(root, &child, entries);
        }
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_content_mode_link_and_new_file() {
        let scratch = crate::cleanup::Scratch::new();
        let root = scratch.path();
        std::fs::write(root.join("a"), "1").unwrap();
        std::os::unix::fs::symlink("a", root.join("l")).unwrap();
        let before = TreeDigest::of(root);
        before.assert_unchanged(root);
        std::fs::set_permissions(root.join("a"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::remove_file(root.join("l")).unwrap();
        std::os::unix::fs::symlink("b", root.join("l")).unwrap();
        let changes = before.changes_to(&TreeDigest::of(root));
        assert!(changes.iter().any(|line| line.starts_with("a: ")), "{changes:?}");
        assert!(changes.iter().any(|line| line.starts_with("l: ")), "{changes:?}");
    }
}
