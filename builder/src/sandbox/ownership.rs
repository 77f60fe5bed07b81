//! Lending folders to the user who runs builds for root, and taking them back.
//!
//! Only for [`super::Identity::Delegated`]. No process of the sandbox lives while this runs, so there are no races with
//! it; still no link is ever followed, and every step goes through an open folder.

use std::ffi::CString;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchown, fchownat};

/// Deepest folder that changes hands. Each level costs an open descriptor; real source trees have some 30 levels.
const DEPTH_MAX: usize = 200;

/// How folders are opened: never through a link.
const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A folder could not change its owner.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// A system call failed.
    #[error("cannot change the owner of `{path}`")]
    Change {
        /// The entry, or the folder it is in.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Folders inside folders without end.
    #[error("`{path}` holds folders more than {DEPTH_MAX} levels deep")]
    TooDeep {
        /// The folder where we started.
        path: PathBuf,
    },
}

/// A change of owner: everything in the tree that belongs to `from` will belong to `to` (uid and gid alike).
#[derive(Clone, Copy, Debug)]
pub(super) struct Handover {
    /// The owner whose entries change.
    pub(super) from: u32,
    /// The new owner and group.
    pub(super) to: u32,
    /// Also files with several links. Not when lending: another name of the file may be in a store. Always when
    /// taking back: links made by a build stay in its folder, since links cannot cross mounts.
    pub(super) linked_files: bool,
}

/// An open folder whose entries were dealt with, and the folders in it that were not.
struct Level {
    folder: Dir,
    path: PathBuf,
    pending: Vec<CString>,
}

impl Handover {
    /// Changes a whole tree, the folder itself included.
    pub(super) fn apply(self, root: &Path) -> Result<(), OwnershipError> {
        let failure = |path: &Path| {
            let path = path.to_owned();
            move |source: Errno| OwnershipError::Change { path, source: source.into() }
        };
        let top = Dir::open(root, FOLDER, Mode::empty()).map_err(failure(root))?;
        let status = fstat(&top).map_err(failure(root))?;
        if self.concerns(&status) {
            let (user, group) = self.owner();
            fchown(&top, user, group).map_err(failure(root))?;
        }
        let mut levels = vec![self.level(top, root.to_owned()).map_err(failure(root))?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.pending.pop() else {
                levels.pop();
                continue;
            };
            let path = level.path.join(OsStr::from_bytes(name.to_bytes()));
            let folder = Dir::openat(&level.folder, name.as_c_str(), FOLDER, Mode::empty()).map_err(failure(&path))?;
            if levels.len() == DEPTH_MAX {
                return Err(OwnershipError::TooDeep { path: root.to_owned() });
            }
            let level = self.level(folder, path.clone()).map_err(failure(&path))?;
            levels.push(level);
        }
        Ok(())
    }

    /// Changes what lies directly in a folder.
    fn level(self, mut folder: Dir, path: PathBuf) -> Result<Level, Errno> {
        let names: Result<Vec<CString>, Errno> =
            folder.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned())).collect();
        let mut pending = Vec::new();
        for name in names? {
            if matches!(name.as_bytes(), b"." | b"..") {
                continue;
            }
            let status = fstatat(&folder, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if self.concerns(&status) {
                let (user, group) = self.owner();
                fchownat(&folder, name.as_c_str(), user, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            }
            if is_folder(&status) {
                pending.push(name);
            }
        }
        Ok(Level { folder, path, pending })
    }

    fn concerns(self, status: &FileStat) -> bool {
        status.st_uid == self.from && (self.linked_files || status.st_nlink == 1 || is_folder(status))
    }

    fn owner(self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.to)), Some(Gid::from_raw(self.to)))
    }
}

fn is_folder(status: &FileStat) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// Needs root, as the code itself does; as a user there is nobody to hand over to.
    #[test]
    fn tree_changes_hands_and_comes_back() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("temporary directory");
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).expect("folders");
        fs::write(tree.join("a/b/file"), "x").expect("file");
        fs::write(&outside, "x").expect("file");
        symlink(&outside, tree.join("link")).expect("link");
        fs::hard_link(&outside, tree.join("hard")).expect("hard link");
        let owner = |path: &Path| fs::symlink_metadata(path).expect("exists").uid();

        Handover { from: 0, to: 4242, linked_files: false }.apply(&tree).expect("lend");
        for path in ["", "a", "a/b", "a/b/file", "link"] {
            assert_eq!(owner(&tree.join(path)), 4242, "{path}");
        }
        assert_eq!(owner(&outside), 0, "neither a link nor a second name reaches outside");

        Handover { from: 4242, to: 0, linked_files: true }.apply(&tree).expect("take back");
        assert_eq!((owner(&tree), owner(&tree.join("a/b/file")), owner(&tree.join("link"))), (0, 0, 0));
    }

    #[test]
    fn endless_depth_is_an_error() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let mut path = folder.path().to_owned();
        (0..=DEPTH_MAX).for_each(|_| path.push("d"));
        fs::create_dir_all(&path).expect("deep folders");
        let id = nix::unistd::geteuid().as_raw();
        let result = Handover { from: id, to: id, linked_files: true }.apply(folder.path());
        assert!(matches!(result, Err(OwnershipError::TooDeep { .. })));
    }
}
