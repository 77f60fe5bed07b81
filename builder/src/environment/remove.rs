//! Removing trees of links.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const OPEN_DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Removes a directory and what is in it. Links are never followed and nothing that is mounted in it is entered: there
/// it stops. Folders without write permission are given it first.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let directory = match nix::fcntl::open(path, OPEN_DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EACCES) => {
            allow(path)?;
            nix::fcntl::open(path, OPEN_DIRECTORY, Mode::empty())?
        }
        Err(error) => return Err(error.into()),
    };
    empty(&directory, path)?;
    std::fs::remove_dir(path)
}

fn empty(directory: &OwnedFd, path: &Path) -> io::Result<()> {
    for entry in Dir::from_fd(directory.try_clone()?)?.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let mut kind = UnlinkatFlags::NoRemoveDir;
        if matches!(entry.file_type(), Some(Type::Directory) | None) {
            match enter(directory.as_fd(), name, path) {
                Ok(child) => {
                    empty(&child, &path.join(name))?;
                    kind = UnlinkatFlags::RemoveDir;
                }
                // Where listings don't say what an entry is.
                Err(Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match unlinkat(directory, name, kind) {
            Err(Errno::EACCES) => {
                allow(path)?;
                unlinkat(directory, name, kind)?;
            }
            result => result?,
        }
    }
    Ok(())
}

/// Opens a folder; [`Errno::EXDEV`] when something is mounted on it.
fn enter(parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> nix::Result<OwnedFd> {
    match open_here(parent, name) {
        Err(Errno::EACCES) => {
            allow(&path.join(name)).map_err(|_| Errno::EACCES)?;
            open_here(parent, name)
        }
        result => result,
    }
}

fn open_here(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OPEN_DIRECTORY).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(parent, name, how) {
        // Before Linux 5.6, or a container that does not know the call: a mount of the same device is not seen.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            let child = openat(parent, name, OPEN_DIRECTORY, Mode::empty())?;
            if fstat(&child)?.st_dev == fstat(parent)?.st_dev { Ok(child) } else { Err(Errno::EXDEV) }
        }
        result => result,
    }
}

fn allow(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}
