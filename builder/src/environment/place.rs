//! The place of an environment: what is there, the directory it is built in beside it, and the swap.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::AccessFlags;
use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;

use super::error::EnvironmentError;
use super::mounts;
use super::remove::remove_tree;
use super::request::Replace;
use super::write::create_directory;

/// Between the name of the environment and the random part of a directory it is built in.
const STAGING_INFIX: &str = ".pip-accel-";

/// After the name of the environment in that of its lock file.
const LOCK_SUFFIX: &str = ".pip-accel.lock";

/// Random characters at the end of the name of a directory it is built in.
const STAGING_RANDOM_LEN: usize = 16;

/// Longest part of the environment's name in it: names have 255 bytes at most.
const STAGING_NAME_BYTES_MAX: usize = 200;

/// How often the swap is tried anew when somebody else changes the destination in between.
const SWAP_ATTEMPTS: u32 = 5;

const OPEN_DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What stands at the destination.
#[derive(Debug)]
pub(super) enum Occupant {
    /// Nothing.
    Absent,
    /// An empty directory.
    Empty,
    /// An environment, ours or another's that may be replaced.
    Environment { directory: OwnedFd, identity: (u64, u64), ours: bool },
}

/// The directory that holds the destination.
#[derive(Debug)]
pub(super) struct Place {
    /// As the user gave it.
    given: PathBuf,
    /// The directory it is in, links followed.
    parent: PathBuf,
    parent_descriptor: OwnedFd,
    name: OsString,
    /// Directories that had to be created, outermost first.
    created: Vec<PathBuf>,
}

impl Place {
    /// Finds the place of `destination`, and creates the directories above it.
    pub(super) fn find(destination: &Path) -> Result<Self, EnvironmentError> {
        let (parent, name) = locate(destination)?;
        let mut created = Vec::new();
        for path in missing_folders(&parent).into_iter().rev() {
            std::fs::create_dir(path).map_err(EnvironmentError::io("create the folder", path))?;
            created.push(path.to_owned());
        }
        Self::open(destination, parent, name, created)
    }

    /// Whether an environment could be put at `destination`, as far as that can be told without changing anything.
    pub(super) fn check(destination: &Path, replace: Replace) -> Result<(), EnvironmentError> {
        let (parent, name) = locate(destination)?;
        let missing = missing_folders(&parent);
        let existing = missing.last().and_then(|path| path.parent()).unwrap_or(&parent);
        let first = missing.last().copied().unwrap_or(destination);
        if !existing.is_dir() {
            return Err(EnvironmentError::io("create the folder", first)(Errno::ENOTDIR));
        }
        nix::unistd::eaccess(existing, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(EnvironmentError::io("create the folder", first))?;
        if !missing.is_empty() {
            return Ok(());
        }
        let place = Self::open(destination, parent, name, Vec::new())?;
        let occupant = place.occupant(replace)?;
        place.refuse_mounts(&occupant)
    }

    fn open(given: &Path, parent: PathBuf, name: OsString, created: Vec<PathBuf>) -> Result<Self, EnvironmentError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let parent_descriptor =
            nix::fcntl::open(&parent, flags, Mode::empty()).map_err(EnvironmentError::io("open", &parent))?;
        Ok(Self { given: given.to_owned(), parent, parent_descriptor, name, created })
    }

    /// Refuses to replace what is a mount point, or has one in it: what is mounted is not the environment's.
    pub(super) fn refuse_mounts(&self, occupant: &Occupant) -> Result<(), EnvironmentError> {
        if matches!(occupant, Occupant::Absent) {
            return Ok(());
        }
        let place = self.resolved()?;
        let path = self.given.clone();
        match mounts::outermost(&place) {
            None => Ok(()),
            Some(mount) if mount == place => Err(EnvironmentError::MountPoint { path, source: Errno::EBUSY.into() }),
            Some(mount) => Err(EnvironmentError::MountInside { path, mount }),
        }
    }

    /// Its path without links, by which it is known wherever it is named from.
    pub(super) fn resolved(&self) -> Result<PathBuf, EnvironmentError> {
        let parent = self.parent.canonicalize().map_err(EnvironmentError::io("find", &self.parent))?;
        Ok(parent.join(&self.name))
    }

    /// Takes back what [`find`](Self::find) created, where it is still empty.
    pub(super) fn abandon(&self) {
        for path in self.created.iter().rev() {
            if std::fs::remove_dir(path).is_err() {
                return;
            }
        }
    }

    /// What is there, or a refusal when it may not be replaced.
    pub(super) fn occupant(&self, replace: Replace) -> Result<Occupant, EnvironmentError> {
        let path = || self.parent.join(&self.name);
        let directory =
            match openat(self.parent_descriptor.as_fd(), self.name.as_os_str(), OPEN_DIRECTORY, Mode::empty()) {
                Ok(directory) => directory,
                Err(Errno::ENOENT) => return Ok(Occupant::Absent),
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    return Err(self.not_ours("it is not a directory".to_owned(), false));
                }
                Err(error) => return Err(EnvironmentError::io("open", path())(error)),
            };
        let identity = identity(&directory).map_err(EnvironmentError::io("read", path()))?;
        let has_file = |name: &str| {
            fstatat(directory.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|status| status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG)
        };
        let ours = has_file(ENVIRONMENT_MANIFEST_FILE);
        let is_virtualenv = has_file("pyvenv.cfg");
        if ours || (is_virtualenv && replace == Replace::Virtualenv) {
            return Ok(Occupant::Environment { directory, identity, ours });
        }
        let names = self.names(directory)?;
        if names.is_empty() {
            return Ok(Occupant::Empty);
        }
        let found = if is_virtualenv { "a virtualenv of another program".to_owned() } else { describe(&names) };
        Err(self.not_ours(found, is_virtualenv))
    }

    fn not_ours(&self, found: String, is_virtualenv: bool) -> EnvironmentError {
        EnvironmentError::NotOurs { path: self.given.clone(), found, is_virtualenv }
    }

    fn names(&self, directory: OwnedFd) -> Result<Vec<String>, EnvironmentError> {
        let fail = |error: Errno| EnvironmentError::io("read the folder", &self.given)(error);
        let mut directory = Dir::from_fd(directory).map_err(fail)?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Creates the directory in which the environment is built, locked by this process.
    pub(super) fn stage(&self) -> Result<Staging<'_>, EnvironmentError> {
        let prefix = prefixed(&self.name, STAGING_INFIX);
        loop {
            let random = RandomState::new().hash_one(std::process::id());
            let name = format!("{prefix}{random:0width$x}", width = STAGING_RANDOM_LEN);
            let path = self.parent.join(&name);
            let fail = |error: Errno| EnvironmentError::io("create the folder", &path)(error);
            let directory = match create_directory(self.parent_descriptor.as_fd(), &name) {
                Err(Errno::EEXIST) => continue,
                result => result.map_err(fail)?,
            };
            let lock = Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
                let _ = std::fs::remove_dir(&path);
                EnvironmentError::io("lock the folder", &path)(error)
            })?;
            // Another process that sweeps may have found it between its creation and its lock.
            match fstatat(self.parent_descriptor.as_fd(), name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(status) if identity(&lock) == Ok((status.st_dev, status.st_ino)) => {}
                Ok(_) | Err(Errno::ENOENT) => continue,
                Err(error) => {
                    let _ = std::fs::remove_dir(&path);
                    return Err(fail(error));
                }
            }
            let staging = Staging { place: self, name, path, lock: Some(lock) };
            self.sweep(&prefix, &staging);
            return Ok(staging);
        }
    }

    /// Removes what killed processes left for this destination. Whatever goes wrong can wait for the next time.
    fn sweep(&self, prefix: &str, staging: &Staging<'_>) {
        let Ok(mut parent) = Dir::openat(self.parent_descriptor.as_fd(), ".", OPEN_DIRECTORY, Mode::empty()) else {
            return;
        };
        let is_random =
            |text: &str| text.len() == STAGING_RANDOM_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        for entry in parent.iter().flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == staging.name || !name.strip_prefix(prefix).is_some_and(is_random) {
                continue;
            }
            let Ok(directory) = openat(self.parent_descriptor.as_fd(), name, OPEN_DIRECTORY, Mode::empty()) else {
                continue;
            };
            if Flock::lock(directory, FlockArg::LockExclusiveNonblock).is_ok() {
                tracing::debug!(name, "removing what a killed process left");
                let _ = remove_tree(&self.parent.join(name));
            }
        }
    }
}

/// The lock file for those who read or replace what stands at `destination`, beside it. `None` where nothing stands
/// that two runs could take from each other, as the folder it would be in is not there.
pub(crate) fn place_lock(destination: &Path) -> Option<PathBuf> {
    let (parent, name) = locate(destination).ok()?;
    parent.is_dir().then(|| parent.join(prefixed(&name, LOCK_SUFFIX)))
}

/// A name beside the environment `name`, or the first part of one.
fn prefixed(name: &OsStr, suffix: &str) -> String {
    let name = name.to_string_lossy();
    let mut end = name.len().min(STAGING_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}{suffix}", &name[..end])
}

/// The directory that `destination` is in, and its name there; a link at its end is followed.
fn locate(destination: &Path) -> Result<(PathBuf, OsString), EnvironmentError> {
    let refuse = |reason| EnvironmentError::Destination { path: destination.to_owned(), reason };
    check_text(destination).map_err(refuse)?;
    let real = if destination.is_symlink() {
        destination.canonicalize().map_err(|_| refuse("is a symbolic link that leads nowhere"))?
    } else {
        destination.to_owned()
    };
    match (real.parent(), real.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_owned(), name.to_owned())),
        _ => Err(refuse("is the root of the file system")),
    }
}

/// Those of `folder` and the folders above it that are not there, innermost first.
fn missing_folders(folder: &Path) -> Vec<&Path> {
    folder.ancestors().take_while(|path| !path.exists()).collect()
}

/// Whether a destination can be written into scripts and search paths.
fn check_text(destination: &Path) -> Result<(), &'static str> {
    let Some(text) = destination.to_str() else { return Err("is not UTF-8") };
    if !destination.is_absolute() {
        return Err("is not absolute");
    }
    if destination.components().any(|component| component.as_os_str() == "..") {
        return Err("has a `..`");
    }
    if text.contains(char::is_control) {
        return Err("has a control character, which scripts can't name");
    }
    if text.contains(':') {
        return Err("has a colon, which separates the entries of PATH");
    }
    Ok(())
}

/// `Cargo.toml, src and 3 more`.
fn describe(names: &[String]) -> String {
    let shown = names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(3) {
        0 => format!("a directory with {shown}"),
        more => format!("a directory with {shown} and {more} more"),
    }
}

fn identity(directory: &OwnedFd) -> nix::Result<(u64, u64)> {
    nix::sys::stat::fstat(directory.as_fd()).map(|status| (status.st_dev, status.st_ino))
}

/// A directory beside the destination; removed when dropped before it was swapped in.
#[derive(Debug)]
pub(super) struct Staging<'a> {
    place: &'a Place,
    name: String,
    path: PathBuf,
    /// The open directory; its lock tells other processes that someone is at work. `None` once swapped in.
    lock: Option<Flock<OwnedFd>>,
}

/// What a swap left behind.
#[derive(Debug)]
pub(super) struct Swapped {
    /// Where the old environment is now.
    pub(super) old: Option<PathBuf>,
}

impl Staging<'_> {
    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.lock.as_deref().map_or(self.place.parent_descriptor.as_fd(), AsFd::as_fd)
    }

    /// Puts it at the destination, in one step that leaves either the old or the new there.
    pub(super) fn install(mut self, mut occupant: Occupant, replace: Replace) -> Result<Swapped, EnvironmentError> {
        let mut attempts = 0;
        loop {
            let result = match &occupant {
                Occupant::Absent => self.rename(RenameFlags::RENAME_NOREPLACE).map(|()| None),
                // rename(2) replaces a directory only when it is empty.
                Occupant::Empty => self.rename(RenameFlags::empty()).map(|()| None),
                Occupant::Environment { identity, .. } => self.exchange(*identity, replace)?.map(Some),
            };
            match result {
                Ok(old) => {
                    self.lock = None;
                    let path = old.map(|()| self.path.clone());
                    return Ok(Swapped { old: path });
                }
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOENT | Errno::ENOTDIR) if attempts < SWAP_ATTEMPTS => {
                    attempts += 1;
                    occupant = self.place.occupant(replace)?;
                }
                Err(error @ (Errno::EBUSY | Errno::EXDEV)) => {
                    return Err(EnvironmentError::MountPoint { path: self.place.given.clone(), source: error.into() });
                }
                Err(error) => return Err(EnvironmentError::io("put the environment at", &self.place.given)(error)),
            }
        }
    }

    fn rename(&self, flags: RenameFlags) -> nix::Result<()> {
        let parent = self.place.parent_descriptor.as_fd();
        let (from, to) = (self.name.as_str(), self.place.name.as_os_str());
        if flags.is_empty() {
            return renameat(parent, from, parent, to);
        }
        match renameat2(parent, from, parent, to, flags) {
            // The file system knows no flags. A directory still never replaces one that holds something.
            Err(Errno::EINVAL | Errno::ENOSYS) if flags == RenameFlags::RENAME_NOREPLACE => {
                renameat(parent, from, parent, to)
            }
            result => result,
        }
    }

    /// Swaps with an environment that was looked at before; the outer error is for what someone else put there since.
    fn exchange(&self, looked_at: (u64, u64), replace: Replace) -> Result<nix::Result<()>, EnvironmentError> {
        match self.rename(RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOSYS) => return Ok(self.exchange_in_steps()),
            Err(error) => return Ok(Err(error)),
        }
        let swapped_out =
            openat(self.place.parent_descriptor.as_fd(), self.name.as_str(), OPEN_DIRECTORY, Mode::empty())
                .and_then(|directory| identity(&directory));
        if swapped_out == Ok(looked_at) {
            return Ok(Ok(()));
        }
        let name = OsStr::new(&self.name);
        let other = self.place.at(name).and_then(|other| other.occupant(replace).map(drop));
        if other.is_err() {
            self.rename(RenameFlags::RENAME_EXCHANGE).map_err(EnvironmentError::io("put back", &self.place.given))?;
        }
        other.map(Ok)
    }

    /// For file systems without `RENAME_EXCHANGE`: between the two steps there is no environment for a moment.
    fn exchange_in_steps(&self) -> nix::Result<()> {
        let parent = self.place.parent_descriptor.as_fd();
        let aside = format!("{}-old", self.name);
        renameat(parent, self.place.name.as_os_str(), parent, aside.as_str())?;
        if let Err(error) = renameat(parent, self.name.as_str(), parent, self.place.name.as_os_str()) {
            renameat(parent, aside.as_str(), parent, self.place.name.as_os_str())?;
            return Err(error);
        }
        renameat(parent, aside.as_str(), parent, self.name.as_str())
    }
}

impl Place {
    /// The same directory with another name in it.
    fn at(&self, name: &OsStr) -> Result<Self, EnvironmentError> {
        let parent_descriptor =
            self.parent_descriptor.try_clone().map_err(EnvironmentError::io("open", &self.parent))?;
        let (given, parent) = (self.given.clone(), self.parent.clone());
        Ok(Self { given, parent, parent_descriptor, name: name.to_owned(), created: Vec::new() })
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = remove_tree(&self.path);
        }
    }
}
