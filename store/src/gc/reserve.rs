//! Room for a collection on a full disk: marking the dead writes to the database before anything is deleted.

use std::fs::{self, File};
use std::io;

use nix::fcntl::{FallocateFlags, fallocate};

use crate::layout::Layout;

/// Size of the reserve in bytes: the database's log grows by about 100 bytes for each dead object, and 4 KiB for each
/// page that is touched first.
const RESERVE_BYTES: i64 = 8 << 20;

/// The reserve is set aside only where it is a small part of what is free.
const FREE_SHARE: u64 = 64;

/// Sets the reserve aside, unless it is there. It is a convenience: failures are not reported.
pub(crate) fn renew_reserve(layout: &Layout) {
    if let Err(error) = try_renew(layout) {
        tracing::debug!(%error, "no space is set aside for collections");
    }
}

fn try_renew(layout: &Layout) -> io::Result<()> {
    let path = layout.reserve();
    let space = nix::sys::statvfs::statvfs(layout.root())?;
    let free = space.fragment_size().saturating_mul(space.blocks_available());
    if path.exists() || free / FREE_SHARE < RESERVE_BYTES.unsigned_abs() {
        return Ok(());
    }
    let file = File::create_new(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).map_err(|errno| {
        drop(fs::remove_file(&path));
        io::Error::from(errno)
    })
}

/// Gives the reserve up.
pub(super) fn release_reserve(layout: &Layout) {
    drop(fs::remove_file(layout.reserve()));
}
