//! The link farm: symbolic links that environments share as hard links.
//!
//! A link is an inode, and inodes are what an environment of links costs: ext4 looks long for a free one after many
//! were deleted (0.4 ms each, measured, while environments come and go), and a link of over 59 bytes, which all are
//! here, takes a block that has to be freed again. A hard link *to the symbolic link* costs neither, and is the same
//! symbolic link for everyone who looks at it.
//!
//! The farm is a directory with one directory for each object, named after it. Nothing depends on it: anything in it
//! may be deleted at any time, what is wrong in it is made anew, and where hard links are not possible (another file
//! system, another owner, too many of them) links are made as usual.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use pip_accel_schema::store_path::ObjectId;

/// Longest name of a directory entry.
const NAME_BYTES_MAX: usize = 255;

/// Characters of the hash of the place that an object's links lead to.
const PLACE_HASH_LEN: usize = 8;

const OPEN_DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The farm while one environment is written, by several threads at once.
pub(super) struct Farm {
    root: Option<OwnedFd>,
    /// Set once hard links turned out to be impossible.
    closed: AtomicBool,
    /// The directory of each object, opened when it is first needed.
    objects: Vec<OnceLock<Option<OwnedFd>>>,
}

/// What the farm is asked about: the object by its position in the request, and where its links lead.
#[derive(Clone, Copy)]
pub(super) struct Plot<'a> {
    pub(super) position: usize,
    pub(super) object: ObjectId,
    pub(super) link_prefix: &'a str,
}

impl Farm {
    /// Opens the farm at `path`, created when absent; without a path, or where that fails, it is a farm of nothing.
    pub(super) fn open(path: Option<&Path>, objects: usize) -> Self {
        let root = path.and_then(|path| {
            match std::fs::create_dir(path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(_) => return None,
            }
            nix::fcntl::open(path, OPEN_DIRECTORY, Mode::empty()).ok()
        });
        let objects = std::iter::repeat_with(OnceLock::new).take(objects).collect();
        Self { closed: AtomicBool::new(root.is_none()), root, objects }
    }

    /// Makes the link `name` to `target`, which is `source` in the object; `false` when it was not made.
    pub(super) fn link(&self, plot: Plot<'_>, source: &str, target: &str, place: (BorrowedFd<'_>, &str)) -> bool {
        if source.len() > NAME_BYTES_MAX {
            return false;
        }
        let Some(object) = self.enter(plot) else { return false };
        // No path of an object has a backslash.
        let name = source.replace('/', "\\");
        let name = name.as_str();
        let made = match readlinkat(object, name) {
            Ok(text) if text == target => Ok(()),
            Ok(_) | Err(Errno::EINVAL) => {
                unlinkat(object, name, UnlinkatFlags::NoRemoveDir).and_then(|()| symlinkat(target, object, name))
            }
            Err(_) => symlinkat(target, object, name),
        };
        self.note(made.and_then(|()| linkat(object, name, place.0, place.1, AtFlags::empty())))
    }

    /// The directory of an object, created when absent.
    fn enter(&self, plot: Plot<'_>) -> Option<BorrowedFd<'_>> {
        let root = self.root.as_ref().filter(|_| !self.closed.load(Ordering::Relaxed))?;
        let open = || {
            let hash = blake3::hash(plot.link_prefix.as_bytes()).to_hex();
            let name = format!("{}-{}", plot.object, &hash[..PLACE_HASH_LEN]);
            let opened = match openat(root, name.as_str(), OPEN_DIRECTORY, Mode::empty()) {
                Err(Errno::ENOENT) => mkdirat(root, name.as_str(), Mode::from_bits_truncate(0o755))
                    .or_else(|error| if error == Errno::EEXIST { Ok(()) } else { Err(error) })
                    .and_then(|()| openat(root, name.as_str(), OPEN_DIRECTORY, Mode::empty())),
                result => result,
            };
            opened.map_err(|error| self.note(Err(error))).ok()
        };
        self.objects.get(plot.position)?.get_or_init(open).as_ref().map(AsFd::as_fd)
    }

    /// Whether it worked; where it never will, the farm is closed.
    fn note(&self, result: nix::Result<()>) -> bool {
        match result {
            Ok(()) => true,
            // Too many links to one; another process at the same work.
            Err(Errno::EMLINK | Errno::EEXIST | Errno::ENOENT | Errno::ENAMETOOLONG) => false,
            Err(error) => {
                if !self.closed.swap(true, Ordering::Relaxed) {
                    tracing::debug!(%error, "the link farm is not used");
                }
                false
            }
        }
    }
}
