//! Looking at paths in the root of a sandbox, from outside.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file, under its one name: no link is left in it.
    File(PathBuf),
    /// A folder, a device, anything else.
    Other,
    /// Nothing; the path with links of folders that are there resolved.
    Nothing(PathBuf),
    /// It can't be told.
    Unknown,
}

/// The root of a sandbox.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    /// Its mount namespace: as long as this is open, what is mounted there stays, though every process of it may be dead.
    _mounts: Option<File>,
}

impl Root {
    /// The root of a thread.
    pub(super) fn of(thread: u32) -> Option<Self> {
        let mounts = File::open(format!("/proc/{thread}/ns/mnt")).ok()?;
        Some(Self { _mounts: Some(mounts), ..Self::at(Path::new(&format!("/proc/{thread}/root")))? })
    }

    /// The root at `path`, which nobody takes away.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let opened = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path);
        opened.ok().map(|file| Self { folder: file.into(), _mounts: None })
    }

    /// Looks at an absolute path. Nothing is opened for reading: a FIFO or a device would notice, or block.
    pub(super) fn find(&self, path: &Path) -> Found {
        match self.open(path) {
            Ok(descriptor) => match fstat(&descriptor) {
                Ok(status) if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG => {
                    name_of(&descriptor).map_or(Found::Unknown, Found::File)
                }
                Ok(_) => Found::Other,
                Err(_) => Found::Unknown,
            },
            Err(Errno::ENOENT | Errno::ENOTDIR) => Found::Nothing(self.wanted(path)),
            Err(_) => Found::Unknown,
        }
    }

    /// The path that is meant by one that does not exist: the longest part of it that does, by its one name, and the rest.
    fn wanted(&self, path: &Path) -> PathBuf {
        let mut rest: Vec<OsString> = Vec::new();
        let mut above = path;
        while let Some(parent) = above.parent() {
            match above.components().next_back() {
                Some(Component::Normal(name)) => rest.push(name.to_owned()),
                // A folder that is not there has nothing above it; as people mean it, it does.
                Some(Component::ParentDir) => rest.push(OsString::from("..")),
                _ => {}
            }
            above = parent;
            if let Ok(descriptor) = self.open(above)
                && let Some(name) = name_of(&descriptor)
            {
                return rest.iter().rev().fold(name, |path, part| joined(path, part));
            }
        }
        rest.iter().rev().fold(PathBuf::from("/"), |path, part| joined(path, part))
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.folder, path, how)
    }
}

fn joined(mut path: PathBuf, part: &OsStr) -> PathBuf {
    if part == ".." {
        path.pop();
    } else {
        path.push(part);
    }
    path
}

/// The path of an open file in its own mount namespace.
fn name_of(descriptor: &OwnedFd) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok().filter(|path| path.is_absolute())
}

/// The folder that a relative path of a thread starts from: its working directory, or what a descriptor is.
pub(super) fn folder_of(thread: u32, descriptor: Option<i32>) -> Option<PathBuf> {
    let link = match descriptor {
        None | Some(libc::AT_FDCWD) => format!("/proc/{thread}/cwd"),
        Some(descriptor) => format!("/proc/{thread}/fd/{}", u32::try_from(descriptor).ok()?),
    };
    fs::read_link(link).ok().filter(|path| path.is_absolute())
}
