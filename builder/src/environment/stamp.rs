//! One value over what `lstat` says of everything that a check looks at: when it is as it was, the check would find what
//! it found.
//!
//! Adding, removing, renaming and replacing an entry changes the times of its folder, and a symbolic link can only be
//! replaced; so the stamps of the real folders stand for all links in them, and no folder is listed and no link is read.
//! Files can be written in place: each has a stamp of its own.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstatat};
use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::environment::{ENVIRONMENT_MANIFEST_FILE, EnvironmentEntryKind, EnvironmentManifest};

/// What was changed within so many seconds may be changed once more without a new time: the clocks of file systems
/// tick up to every two seconds.
const SETTLED_SECONDS: i64 = 3;

/// The state of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Over all stamps, in the order of the manifest.
    pub digest: ValueDigest,
    /// Whether a later change is sure to change the digest.
    pub is_settled: bool,
}

/// The stamp of the environment at `destination`; `None` when something of it is not there or can't be looked at.
#[must_use]
pub fn stamp(destination: &Path, manifest: &EnvironmentManifest) -> Option<Stamp> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(destination, flags, Mode::empty()).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut sum = Sum {
        root: root.as_fd(),
        encoder: Encoder::for_domain("pip-accel/environment-stamp/1"),
        is_settled: true,
        settled_until: i64::try_from(now).ok()?.saturating_sub(SETTLED_SECONDS),
    };
    sum.encoder.bytes(manifest.request.as_bytes());
    sum.folder(".")?;
    sum.file(ENVIRONMENT_MANIFEST_FILE)?;
    for entry in &manifest.entries {
        match entry.kind {
            EnvironmentEntryKind::Directory => sum.folder(&entry.path)?,
            EnvironmentEntryKind::File { .. } => sum.file(&entry.path)?,
            EnvironmentEntryKind::Link { .. } | EnvironmentEntryKind::Private { .. } => {}
        }
    }
    Some(Stamp { digest: ValueDigest::from_bytes(sum.encoder.finish()), is_settled: sum.is_settled })
}

struct Sum<'a> {
    root: BorrowedFd<'a>,
    encoder: Encoder,
    is_settled: bool,
    settled_until: i64,
}

impl Sum<'_> {
    fn folder(&mut self, path: &str) -> Option<()> {
        let stat = self.stat(path)?;
        self.add(&stat);
        self.time(stat.st_mtime, stat.st_mtime_nsec);
        // Setting a time back changes this one.
        self.time(stat.st_ctime, stat.st_ctime_nsec);
        Some(())
    }

    /// A file may be a hard link, whose `ctime` changes with each further one.
    fn file(&mut self, path: &str) -> Option<()> {
        let stat = self.stat(path)?;
        self.add(&stat);
        self.encoder.number(stat.st_size.unsigned_abs());
        self.time(stat.st_mtime, stat.st_mtime_nsec);
        Some(())
    }

    fn stat(&self, path: &str) -> Option<FileStat> {
        fstatat(self.root, path, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
    }

    fn add(&mut self, stat: &FileStat) {
        self.encoder.number(stat.st_dev).number(stat.st_ino).number(u64::from(stat.st_mode));
    }

    fn time(&mut self, seconds: i64, nanoseconds: i64) {
        self.encoder.number(seconds.cast_unsigned()).number(nanoseconds.cast_unsigned());
        self.is_settled &= seconds <= self.settled_until;
    }
}
