//! Small files of one environment that are the same in every `.dist-info`: one inode, linked from all of them.
//!
//! A hundred inodes take tens of milliseconds on ext4 while environments come and go: it does not reuse an inode for a
//! while after it was deleted, and looks long for another. Nothing is shared between environments this way.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::AtFlags;
use nix::unistd::linkat;

/// The first of each name, while one environment is written by several threads at once.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// Name → the folder of the file that was written; `None` where it can't be linked.
    first: Mutex<HashMap<String, Option<OwnedFd>>>,
}

impl Twins {
    /// Makes the file `name` in `directory`: the first by `write`, the others as hard links to it where that is
    /// possible. All files of one name have the same content.
    pub(super) fn make(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        write: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match first.get_mut(name) {
            None => {
                write()?;
                first.insert(name.to_owned(), Some(directory.try_clone_to_owned()?));
                return Ok(());
            }
            Some(known) => {
                let linked = known.as_ref().map(|known| linkat(known.as_fd(), name, directory, name, AtFlags::empty()));
                match linked {
                    Some(Ok(())) => return Ok(()),
                    // No hard links here, or too many: the rest are files of their own.
                    Some(Err(_)) => *known = None,
                    None => {}
                }
            }
        }
        drop(first);
        write()
    }
}
