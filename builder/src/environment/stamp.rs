//! One value over what `lstat` says of everything that a check looks at: when it is as it was, the check would find what
//! it found.
//!
//! Adding, removing, renaming and replacing an entry changes the times of its folder, and a symbolic link can only be
//! replaced; so the stamps of the real folders stand for all links in them, and no folder is listed and no link is read.
//! Files can be written in place: each has a stamp of its own.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstatat};
use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::environment::{ENVIRONMENT_MANIFEST_FILE, EnvironmentEntryKind, EnvironmentManifest};
use serde::{Deserialize, Serialize};

/// What was changed this short a time ago may be changed once more without a new time: the clocks of file systems
/// tick up to every two seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// The same where the time has digits below the millisecond: such a clock is the kernel's, which ticks a hundred times
/// a second or more.
const SETTLED_AFTER_FINE: Duration = Duration::from_millis(100);

/// What of an environment has a stamp; paths are relative to its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    folders: Vec<String>,
    files: Vec<String>,
}

impl Watched {
    /// Everything that the manifest names, and the manifest.
    #[must_use]
    pub fn of(manifest: &EnvironmentManifest) -> Self {
        let mut watched = Self { folders: vec![".".to_owned()], files: vec![ENVIRONMENT_MANIFEST_FILE.to_owned()] };
        for entry in &manifest.entries {
            match entry.kind {
                EnvironmentEntryKind::Directory => watched.folders.push(entry.path.clone()),
                EnvironmentEntryKind::File { .. } => watched.files.push(entry.path.clone()),
                EnvironmentEntryKind::Link { .. } | EnvironmentEntryKind::Private { .. } => {}
            }
        }
        watched
    }

    /// The stamp of the environment at `destination`; `None` when something of it is not there or can't be looked at.
    #[must_use]
    pub fn stamp(&self, destination: &Path) -> Option<Stamp> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(destination, flags, Mode::empty()).ok()?;
        let mut sum = Sum {
            root: root.as_fd(),
            encoder: Encoder::for_domain("pip-accel/environment-stamp/2"),
            is_settled: true,
            now: SystemTime::now().duration_since(UNIX_EPOCH).ok()?,
        };
        for path in &self.folders {
            sum.folder(path)?;
        }
        for path in &self.files {
            sum.file(path)?;
        }
        Some(Stamp { digest: ValueDigest::from_bytes(sum.encoder.finish()), is_settled: sum.is_settled })
    }
}

/// The state of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Over all stamps.
    pub digest: ValueDigest,
    /// Whether a later change is sure to change the digest.
    pub is_settled: bool,
}

struct Sum<'a> {
    root: BorrowedFd<'a>,
    encoder: Encoder,
    is_settled: bool,
    now: Duration,
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
        let wait = if nanoseconds % 1_000_000 == 0 { SETTLED_AFTER } else { SETTLED_AFTER_FINE };
        let time = Duration::from_secs(seconds.max(0).cast_unsigned())
            + Duration::from_nanos(nanoseconds.max(0).cast_unsigned());
        self.is_settled &= time + wait <= self.now;
    }
}
