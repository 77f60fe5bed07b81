//! Deletion that can't be led astray: every step is relative to an open folder and follows no link.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{IoContext, StoreError};

/// How deep folders are opened within each other. What lies deeper is moved up to the top first,
/// so that a hostile tree of any depth needs no more descriptors than these.
const OPEN_DEPTH_MAX: usize = 48;

/// What a deletion gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Bytes on disk, contents that still have another name not counted.
    pub(crate) bytes: u64,
    /// Files, links and folders.
    pub(crate) entries: u64,
}

impl Freed {
    pub(crate) fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.entries = self.entries.saturating_add(other.entries);
    }
}

/// The bytes on disk that go when one name of this file goes.
pub(crate) fn freed_by_unlink(links: u64, blocks: u64) -> u64 {
    if links <= 1 { blocks.saturating_mul(512) } else { 0 }
}

/// Deletes `path` with all below it, also folders that are read-only or immutable; it need not exist.
/// `keep` names one entry at the top that stays, together with the folder itself.
pub(crate) fn remove_tree(path: &Path, keep: Option<&str>) -> Result<Freed, StoreError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(StoreError::io("delete", path, io::ErrorKind::InvalidInput.into()));
    };
    let parent_folder = match open_folder(nix::fcntl::AT_FDCWD, &c_name(parent.as_os_str(), path)?) {
        Ok(folder) => folder,
        Err(Errno::ENOENT) => return Ok(Freed::default()),
        Err(errno) => return Err(StoreError::io("open", parent, errno.into())),
    };
    let mut removal = Removal { top: parent_folder.as_fd(), freed: Freed::default(), waiting: Vec::new(), keep };
    let name = c_name(name, path)?;
    removal.remove(parent_folder.as_fd(), &name, 0).on("delete", path)?;
    while let Some(name) = removal.waiting.pop() {
        removal.remove(parent_folder.as_fd(), &name, 1).on("delete", path)?;
    }
    Ok(removal.freed)
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    freed: Freed,
    /// Folders that were moved up, beside the top of the tree.
    waiting: Vec<CString>,
    keep: Option<&'a str>,
}

impl Removal<'_> {
    fn remove(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> nix::Result<()> {
        let stat = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if !is_folder(&stat) {
            self.freed.bytes += freed_by_unlink(to_u64(stat.st_nlink), to_u64(stat.st_blocks));
            return self.unlink(parent, name, UnlinkatFlags::NoRemoveDir);
        }
        if depth >= OPEN_DEPTH_MAX {
            return self.move_up(parent, name);
        }
        let folder = match open_writable_folder(parent, name) {
            // Another process that sweeps was faster.
            Err(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        let kept = self.empty(folder, depth)?;
        if kept {
            return Ok(());
        }
        self.freed.bytes += to_u64(stat.st_blocks).saturating_mul(512);
        self.unlink(parent, name, UnlinkatFlags::RemoveDir)
    }

    /// Removes all that is in `folder`, except the kept entry of the top folder; returns whether that is there.
    fn empty(&mut self, folder: OwnedFd, depth: usize) -> nix::Result<bool> {
        let listed = folder.try_clone().map_err(|_| Errno::EMFILE)?;
        let mut kept = false;
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::from_fd(listed)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_bytes() {
                b"." | b".." => {}
                bytes if depth == 0 && self.keep.is_some_and(|keep| keep.as_bytes() == bytes) => kept = true,
                _ => names.push(name.to_owned()),
            }
        }
        for name in names {
            self.remove(folder.as_fd(), &name, depth + 1)?;
        }
        Ok(kept)
    }

    /// Gives a folder that lies too deep a name beside the top of the tree, to be deleted there later.
    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
        // The kernel wants write permission on a folder that gets a new parent.
        drop(open_writable_folder(parent, name)?);
        let flat = CString::new(super::unique_name("deep")).map_err(|_| Errno::EINVAL)?;
        renameat(parent, name, self.top, flat.as_c_str())?;
        self.waiting.push(flat);
        Ok(())
    }

    fn unlink(&mut self, parent: BorrowedFd<'_>, name: &CStr, flags: UnlinkatFlags) -> nix::Result<()> {
        match unlinkat(parent, name, flags) {
            Ok(()) => {
                self.freed.entries += 1;
                Ok(())
            }
            // Another process that sweeps was faster.
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

fn open_folder<Fd: AsFd>(parent: Fd, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Opens a folder for emptying: readable, searchable and writable for its owner.
fn open_writable_folder(parent: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let folder = match open_folder(parent, name) {
        Err(Errno::EACCES) => {
            fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            open_folder(parent, name)?
        }
        other => other?,
    };
    super::make_mutable(folder.as_fd());
    let stat = fstat(&folder)?;
    if Mode::from_bits_truncate(stat.st_mode) & Mode::S_IRWXU != Mode::S_IRWXU {
        fchmod(&folder, Mode::S_IRWXU)?;
    }
    Ok(folder)
}

fn is_folder(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

fn to_u64(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

fn c_name(name: &OsStr, path: &Path) -> Result<CString, StoreError> {
    CString::new(name.as_bytes()).map_err(|error| StoreError::io("delete", path, error.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn read_only_and_unreadable_folders_go_and_links_are_not_followed() {
        let home = tempfile::tempdir().expect("a folder");
        let outside = home.path().join("outside");
        fs::create_dir(&outside).expect("create");
        fs::write(outside.join("precious"), "x").expect("write");
        let tree = home.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).expect("create");
        fs::write(tree.join("a/b/file"), "x").expect("write");
        symlink(&outside, tree.join("a/link")).expect("link");
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o000)).expect("chmod");
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o555)).expect("chmod");
        let freed = remove_tree(&tree, None).expect("removed");
        assert_eq!(freed.entries, 5);
        assert!(!tree.exists());
        assert!(outside.join("precious").exists());
        assert_eq!(remove_tree(&tree, None).expect("nothing to do"), Freed::default());
    }

    /// A build may leave folders nested a thousand deep to exhaust descriptors or the stack.
    #[test]
    fn a_tree_of_any_depth_goes() {
        let home = tempfile::tempdir().expect("a folder");
        let tree = home.path().join("tree");
        fs::create_dir(&tree).expect("create");
        let mut folder =
            open_folder(nix::fcntl::AT_FDCWD, &c_name(tree.as_os_str(), &tree).expect("a name")).expect("open");
        let name = CString::new("d").expect("a name");
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&folder, name.as_c_str(), Mode::S_IRWXU).expect("create");
            folder = open_folder(&folder, &name).expect("open");
        }
        remove_tree(&tree, None).expect("removed");
        assert_eq!(fs::read_dir(home.path()).expect("list").count(), 0);
    }

    #[test]
    fn a_kept_entry_stays_with_its_folder() {
        let home = tempfile::tempdir().expect("a folder");
        let tree = home.path().join("tree");
        fs::create_dir_all(tree.join("a/keep")).expect("create");
        fs::write(tree.join("keep"), "x").expect("write");
        remove_tree(&tree, Some("keep")).expect("removed");
        let left: Vec<_> = fs::read_dir(&tree).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
        assert_eq!(left, ["keep"]);
    }
}
