//! One system call: a file that shares its blocks with another.
#![expect(unsafe_code, reason = "FICLONE has no safe wrapper in nix")]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::libc::c_int;

mod call {
    nix::ioctl_write_int_bad!(ficlone, nix::request_code_write!(0x94, 9, std::mem::size_of::<nix::libc::c_int>()));
}

/// Makes `destination` share the blocks of `source`; its earlier content is gone.
///
/// # Errors
/// What the kernel says: mostly `EOPNOTSUPP` or `EXDEV`, when the file systems can't.
pub(crate) fn clone_file(source: &File, destination: &File) -> nix::Result<()> {
    let source: c_int = source.as_raw_fd();
    // SAFETY: both descriptors are open for as long as the borrows live, and FICLONE takes a descriptor as its
    // argument: it reads and writes no memory of this process.
    unsafe { call::ficlone(destination.as_raw_fd(), source) }.map(drop)
}
