//! The immutable flag of folders: nobody, root included, adds, renames or removes an entry while it is set.
#![expect(unsafe_code, reason = "FS_IOC_GETFLAGS and FS_IOC_SETFLAGS have no safe wrapper in nix")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::{self, c_int};

use super::create_locked_folder;

/// `FS_IMMUTABLE_FL` of `linux/fs.h`.
const IMMUTABLE: c_int = 0x10;

mod call {
    use nix::libc::{self, c_int};

    // Both are declared for `long`, and the kernel reads and writes an `int`.
    nix::ioctl_read_bad!(flags, libc::FS_IOC_GETFLAGS, c_int);
    nix::ioctl_write_ptr_bad!(set_flags, libc::FS_IOC_SETFLAGS, c_int);
}

fn flags(folder: BorrowedFd<'_>) -> nix::Result<c_int> {
    // The kernel might write a `long` one day: there is room for it.
    let mut flags: [c_int; 2] = [0; 2];
    // SAFETY: the descriptor is open for as long as the borrow lives, and the buffer holds more than the `int` that is
    // written.
    unsafe { call::flags(folder.as_raw_fd(), flags.as_mut_ptr()) }?;
    Ok(flags[0])
}

fn set_flags(folder: BorrowedFd<'_>, flags: c_int) -> nix::Result<()> {
    let flags: [c_int; 2] = [flags, 0];
    // SAFETY: the descriptor is open for as long as the borrow lives, and the buffer holds more than the `int` that is
    // read.
    unsafe { call::set_flags(folder.as_raw_fd(), flags.as_ptr()) }.map(drop)
}

/// Opens the folder `path`, no link.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

/// Sets the flag of the folder `path`.
///
/// # Errors
/// When the file system has no such flag, or this process may not set it.
pub(crate) fn make_immutable(path: &Path) -> io::Result<()> {
    let folder = open(path)?;
    let flags = flags(folder.as_fd())?;
    Ok(set_flags(folder.as_fd(), flags | IMMUTABLE)?)
}

/// Takes the flag of an open folder away, if it has it. Where that is refused, whatever is done next to it says so.
pub(crate) fn make_mutable(folder: BorrowedFd<'_>) {
    if let Ok(flags) = flags(folder)
        && flags & IMMUTABLE != 0
    {
        let _ = set_flags(folder, flags & !IMMUTABLE);
    }
}

/// The same for the folder `path`.
pub(crate) fn make_path_mutable(path: &Path) {
    if let Ok(folder) = open(path) {
        make_mutable(folder.as_fd());
    }
}

/// Whether the folder `path` has the flag.
pub(crate) fn is_immutable(path: &Path) -> bool {
    open(path).is_ok_and(|folder| flags(folder.as_fd()).is_ok_and(|flags| flags & IMMUTABLE != 0))
}

/// Tries the flag on a fresh folder below `parent`.
///
/// # Errors
/// When the file system has no such flag, or this process may not set it.
pub(crate) fn try_immutable(parent: &Path) -> io::Result<()> {
    // Locked: another process that starts now sweeps `parent`.
    let (probe, _lock) = create_locked_folder(parent, "probe").map_err(io::Error::other)?;
    let result = make_immutable(&probe);
    make_path_mutable(&probe);
    std::fs::remove_dir(&probe)?;
    result
}
