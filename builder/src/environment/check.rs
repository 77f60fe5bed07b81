//! Whether an environment still is what its manifest says.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fstatat};
use pip_accel_schema::environment::{
    ENVIRONMENT_MANIFEST_FILE, ENVIRONMENT_MANIFEST_FORMAT, EnvironmentEntry, EnvironmentEntryKind,
    EnvironmentManifest, EnvironmentPackage,
};
use pip_accel_schema::generation::GENERATIONS_FILE;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::error::EnvironmentError;

/// What a check found. All paths are relative to the environment's root and sorted.
#[derive(Debug, Default)]
pub struct EnvironmentStatus {
    /// The manifest; absent when the directory or its manifest is.
    pub manifest: Option<EnvironmentManifest>,
    /// Entries that are gone; of a folder that is gone, only the folder.
    pub missing: Vec<String>,
    /// Entries that are something else now: another kind, another link text, another length.
    pub changed: Vec<String>,
    /// Entries that nobody here made; of a folder, only the folder. Bytecode that Python wrote is not counted.
    pub foreign: Vec<String>,
    /// Links that lead nowhere: `bin/python` without its interpreter, the `.dist-info` of a package without its object.
    pub dangling: Vec<String>,
}

impl EnvironmentStatus {
    /// Whether there is an environment with everything in place, foreign entries apart.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.manifest.is_some() && self.missing.is_empty() && self.changed.is_empty() && self.dangling.is_empty()
    }
}

/// Reads the manifest of the environment at `destination`; `None` when there is no manifest.
///
/// # Errors
/// When the manifest can't be read, is damaged, or is of a newer format.
pub fn read_manifest(destination: &Path) -> Result<Option<EnvironmentManifest>, EnvironmentError> {
    let path = destination.join(ENVIRONMENT_MANIFEST_FILE);
    let mut content = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut content)) {
        Ok(_) => parse_manifest(&content, &path).map(Some),
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(EnvironmentError::io("read", path)(error)),
    }
}

/// What the metadata of a package in an environment say besides its manifest.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentPackageFiles {
    /// Whether `REQUESTED` is there.
    pub requested: bool,
    /// The text of `direct_url.json`, if there is one.
    pub direct_url: Option<String>,
}

/// Reads the metadata of `package` below `site_packages`; what can't be read counts as absent.
#[must_use]
pub fn package_files(site_packages: &Path, package: &EnvironmentPackage) -> EnvironmentPackageFiles {
    let folder = site_packages.join(&package.dist_info);
    EnvironmentPackageFiles {
        requested: folder.join("REQUESTED").symlink_metadata().is_ok(),
        direct_url: std::fs::read_to_string(folder.join("direct_url.json")).ok(),
    }
}

fn parse_manifest(content: &[u8], path: &Path) -> Result<EnvironmentManifest, EnvironmentError> {
    #[derive(serde::Deserialize)]
    struct FormatOnly {
        format: u64,
    }
    let newer = |format| EnvironmentError::NewerManifest { path: path.to_owned(), format };
    match serde_json::from_slice::<EnvironmentManifest>(content) {
        Ok(manifest) if manifest.format > ENVIRONMENT_MANIFEST_FORMAT => Err(newer(manifest.format.into())),
        Ok(manifest) => Ok(manifest),
        Err(source) => match serde_json::from_slice::<FormatOnly>(content) {
            Ok(FormatOnly { format }) if format > ENVIRONMENT_MANIFEST_FORMAT.into() => Err(newer(format)),
            _ => Err(EnvironmentError::Manifest { path: path.to_owned(), source }),
        },
    }
}

/// Compares the environment at `destination` with its manifest. Nothing is written; file contents are not read.
///
/// # Errors
/// As [`read_manifest`], and when a folder can't be read.
pub fn check_environment(destination: &Path) -> Result<EnvironmentStatus, EnvironmentError> {
    match read_manifest(destination)? {
        Some(manifest) => check_against(destination, manifest),
        None => Ok(EnvironmentStatus::default()),
    }
}

/// As [`check_environment`], for who has read the manifest already.
///
/// # Errors
/// When a folder can't be read.
pub fn check_against(destination: &Path, manifest: EnvironmentManifest) -> Result<EnvironmentStatus, EnvironmentError> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let root =
        nix::fcntl::open(destination, flags, Mode::empty()).map_err(EnvironmentError::io("open", destination))?;
    let mut status = inspect(root.as_fd(), destination, &manifest.entries)?;
    status.dangling = dangling(root.as_fd(), &manifest);
    status.manifest = Some(manifest);
    Ok(status)
}

/// One link for each object, and the interpreter: objects are there as a whole or not at all.
fn dangling(root: BorrowedFd<'_>, manifest: &EnvironmentManifest) -> Vec<String> {
    let is_link = |entry: &&EnvironmentEntry| matches!(entry.kind, EnvironmentEntryKind::Link { .. });
    let is_metadata = |entry: &EnvironmentEntry| {
        entry.path.ends_with(".dist-info/METADATA") || entry.path == "bin/python" || entry.path == "bin/pypy3"
    };
    let leads_nowhere =
        |entry: &&EnvironmentEntry| fstatat(root, entry.path.as_str(), AtFlags::empty()) == Err(Errno::ENOENT);
    let links = manifest.entries.iter().filter(is_link).filter(|entry| is_metadata(entry));
    // What is missing altogether is in another list.
    let is_there = |entry: &&EnvironmentEntry| fstatat(root, entry.path.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
    links.filter(leads_nowhere).filter(is_there).map(|entry| entry.path.clone()).collect()
}

/// Folders below which another thread is not worth its start.
const FOLDERS_OF_A_THREAD_MIN: usize = 16;

/// What one folder should hold, sorted by name.
type Expected<'a> = Vec<(&'a str, &'a EnvironmentEntryKind)>;

/// Compares the folder `root` with `entries`, folder by folder: one listing each tells the kinds of all its entries.
pub(super) fn inspect(
    root: BorrowedFd<'_>,
    root_path: &Path,
    entries: &[EnvironmentEntry],
) -> Result<EnvironmentStatus, EnvironmentError> {
    let mut sorted: Vec<(&str, &str, &EnvironmentEntryKind)> = entries
        .iter()
        .map(|entry| {
            let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
            (folder, name, &entry.kind)
        })
        .collect();
    // Folders without entries of ours are looked through for foreign ones too.
    sorted.sort_unstable_by_key(|(folder, name, _)| (*folder, *name));
    let mut folders: Vec<(&str, Expected<'_>)> = Vec::new();
    for (folder, name, kind) in sorted {
        match folders.last_mut() {
            Some((last, expected)) if *last == folder => expected.push((name, kind)),
            _ => folders.push((folder, vec![(name, kind)])),
        }
    }
    let listed: HashSet<&str> = folders.iter().map(|(folder, _)| *folder).collect();
    let is_directory = |entry: &&EnvironmentEntry| matches!(entry.kind, EnvironmentEntryKind::Directory);
    let empty = entries.iter().filter(is_directory).map(|entry| entry.path.as_str());
    folders.extend(empty.filter(|folder| !listed.contains(folder)).map(|folder| (folder, Vec::new())));
    folders.sort_by_key(|(folder, _)| *folder);

    let folders = folders.par_iter().with_min_len(FOLDERS_OF_A_THREAD_MIN);
    let parts = folders
        .map(|(folder, expected)| inspect_folder(root, root_path, folder, expected))
        .collect::<Result<Vec<_>, _>>()?;
    let mut status = EnvironmentStatus::default();
    for part in parts {
        status.missing.extend(part.missing);
        status.changed.extend(part.changed);
        status.foreign.extend(part.foreign);
    }
    leave_out_what_is_below(&mut status);
    status.missing.sort_unstable();
    status.changed.sort_unstable();
    status.foreign.sort_unstable();
    Ok(status)
}

/// Nothing is said of what is below an entry that is missing or something else now.
fn leave_out_what_is_below(status: &mut EnvironmentStatus) {
    let broken: HashSet<String> = status.missing.iter().chain(&status.changed).cloned().collect();
    let is_below = |path: &String| ancestors(path).skip(1).any(|above| broken.contains(above));
    if !broken.is_empty() {
        status.missing.retain(|path| !is_below(path));
        status.changed.retain(|path| !is_below(path));
        status.foreign.retain(|path| !is_below(path));
    }
}

/// Compares one folder.
fn inspect_folder(
    root: BorrowedFd<'_>,
    root_path: &Path,
    folder: &str,
    expected: &Expected<'_>,
) -> Result<EnvironmentStatus, EnvironmentError> {
    let mut status = EnvironmentStatus::default();
    let fail = |error: Errno| EnvironmentError::io("read the folder", root_path.join(folder))(error);
    let path = if folder.is_empty() { "." } else { folder };
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = match openat(root, path, flags, Mode::empty()) {
        Ok(directory) => Dir::from_fd(directory).map_err(fail)?,
        // It is named as missing or changed where its parent is compared.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(status),
        Err(error) => return Err(fail(error)),
    };
    let mut seen = vec![false; expected.len()];
    let mut found = Vec::with_capacity(expected.len());
    for entry in directory.iter() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match expected.binary_search_by(|(expected, _)| expected.as_bytes().cmp(name)) {
            Ok(position) => {
                seen[position] = true;
                found.push((position, entry.file_type()));
            }
            Err(_) if is_harmless(folder, name) => {}
            Err(_) => status.foreign.push(join(folder, &String::from_utf8_lossy(name))),
        }
    }
    for (position, file_type) in found {
        let (name, kind) = expected[position];
        if !is_as_recorded(directory.as_fd(), name, file_type, kind).map_err(fail)? {
            status.changed.push(join(folder, name));
        }
    }
    let missing = expected.iter().zip(seen).filter(|(_, seen)| !seen);
    status.missing.extend(missing.map(|((name, _), _)| join(folder, name)));
    Ok(status)
}

/// `a/b/c`, `a/b`, `a`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn is_as_recorded(
    folder: BorrowedFd<'_>,
    name: &str,
    file_type: Option<Type>,
    kind: &EnvironmentEntryKind,
) -> nix::Result<bool> {
    let status = || fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    let file_type = match file_type {
        Some(file_type) => file_type,
        // Some file systems say nothing in listings.
        None => match status()?.st_mode & nix::libc::S_IFMT {
            nix::libc::S_IFDIR => Type::Directory,
            nix::libc::S_IFLNK => Type::Symlink,
            nix::libc::S_IFREG => Type::File,
            _ => Type::Fifo,
        },
    };
    Ok(match (kind, file_type) {
        (EnvironmentEntryKind::Directory, Type::Directory) => true,
        (EnvironmentEntryKind::Link { target }, Type::Symlink) => readlinkat(folder, name)? == target.as_str(),
        (EnvironmentEntryKind::Private { .. }, _) => true,
        (EnvironmentEntryKind::File { size }, Type::File) => u64::try_from(status()?.st_size) == Ok(*size),
        _ => false,
    })
}

/// Whether an unknown entry is of no interest: the manifest itself, the list of generations, bytecode and other caches of it, the lock file of
/// uv, what a network file system keeps of an open file that was deleted.
fn is_harmless(folder: &str, name: &[u8]) -> bool {
    let is_bytecode = name.ends_with(b".pyc") || name.ends_with(b".pyo") || name == b"__pycache__";
    // Python writes bytecode under another name first, and numba keeps its machine code there.
    let is_in_cache = folder.rsplit('/').next() == Some("__pycache__");
    is_bytecode
        || is_in_cache
        || name.starts_with(b".nfs")
        || (folder.is_empty()
            && (name == ENVIRONMENT_MANIFEST_FILE.as_bytes()
                || name == GENERATIONS_FILE.as_bytes()
                || name == b".lock"))
}
