//! Directories: what of them counts, whether it changed, and its archive.
//!
//! A look at an unchanged directory reads no file: path, length, times, inode and mode of all entries are one stamp,
//! and the digest of the content is remembered under it.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::manifest::EntryPath;

use super::archive::Packer;
use super::error::CheckoutError;
use super::git::Git;
use super::history::History;
use crate::python::sdist::check_link_target;
use crate::session::Session;

/// Most files of a directory that is built. The largest projects have some 80,000; more is a home or a disk.
pub const DIRECTORY_FILES_MAX: usize = 200_000;

/// Most bytes of a directory that is built: all of them are copied when something changed.
pub const DIRECTORY_BYTES_MAX: u64 = 4 << 30;

/// Deepest folder: as archives have it.
const DEPTH_MAX: usize = crate::python::archive::ARCHIVE_DEPTH_MAX - 4;

/// Files younger than this are looked into again: another write may leave their times as they are.
const SETTLED_NANOSECONDS: i128 = 1_000_000_000;

/// Names that are never part of a project: what version control, interpreters and test runners leave.
const IGNORED: [&str; 13] = [
    ".git",
    ".hg",
    ".svn",
    ".bzr",
    "__pycache__",
    ".eggs",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".DS_Store",
    "pip-wheel-metadata",
];

/// One entry of a directory.
#[derive(Debug)]
struct Found {
    path: EntryPath,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory,
    File { executable: bool, size: u64 },
    Link { target: String },
}

/// What of a directory counts.
#[derive(Debug)]
pub(super) struct Listing {
    root: PathBuf,
    entries: Vec<Found>,
    history: Option<(Git, History)>,
    /// Over what a look at the entries tells.
    pub(super) stamp: ValueDigest,
    /// Whether a change after the look would change the stamp.
    pub(super) is_settled: bool,
    /// Entries that are left out although they look like parts of the project, each with the reason.
    pub(super) left_out: Vec<String>,
}

/// Looks at the directory `root`; `stores` are left out.
pub(super) fn list(session: &Session, root: &Path, stores: &[PathBuf]) -> Result<Listing, CheckoutError> {
    let mut walk =
        Walk { root, stores, entries: Vec::new(), left_out: Vec::new(), bytes: 0, newest: 0, states: Vec::new() };
    walk.folder(root, "", 0)?;
    let Walk { mut entries, mut states, left_out, newest, .. } = walk;
    entries.sort_by(|one, other| one.path.as_str().cmp(other.path.as_str()));
    states.sort();
    let history = History::of_directory(session, root);
    let mut encoder = Encoder::for_domain("pip-accel/directory-stamp/1");
    encoder.number(states.len() as u64);
    for (path, state) in &states {
        encoder.text(path);
        for number in state {
            encoder.bytes(&number.to_le_bytes());
        }
    }
    encoder.optional_text(history.as_ref().map(|(_, history)| history.refs()).as_deref());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as i128);
    let stamp = ValueDigest::from_bytes(encoder.finish());
    let is_settled = now - newest > SETTLED_NANOSECONDS;
    Ok(Listing { root: root.to_owned(), entries, history, stamp, is_settled, left_out })
}

/// Numbers that change when a file does: device, inode, mode, length, times.
type State = [i128; 6];

struct Walk<'a> {
    root: &'a Path,
    stores: &'a [PathBuf],
    entries: Vec<Found>,
    left_out: Vec<String>,
    bytes: u64,
    newest: i128,
    states: Vec<(String, State)>,
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> CheckoutError + '_ {
    |source| CheckoutError::Io { path: path.to_owned(), source }
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), CheckoutError> {
        if depth > DEPTH_MAX {
            self.left_out.push(format!("`{prefix}` (too deep)"));
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(io_error(folder))? {
            let entry = entry.map_err(io_error(folder))?;
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                self.left_out.push(format!("`{}` (its name is not UTF-8)", path.display()));
                continue;
            };
            let relative = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            let metadata = path.symlink_metadata().map_err(io_error(&path))?;
            if is_ignored(&name, prefix.is_empty(), (&path, &metadata)) || self.stores.contains(&path) {
                continue;
            }
            let Ok(entry_path) = EntryPath::parse(&relative) else {
                self.left_out.push(format!("`{}` (an odd name)", relative.escape_debug()));
                continue;
            };
            self.add(&path, entry_path, &metadata, depth)?;
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, entry: EntryPath, metadata: &Metadata, depth: usize) -> Result<(), CheckoutError> {
        let kind = if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_file() {
            self.bytes += metadata.len();
            Kind::File { executable: metadata.permissions().mode() & 0o100 != 0, size: metadata.len() }
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(io_error(path))?;
            match target.to_str().filter(|target| check_link_target(&entry, target).is_ok()) {
                Some(target) => Kind::Link { target: target.to_owned() },
                None => {
                    self.left_out.push(format!("`{entry}` (a link that leads out)"));
                    return Ok(());
                }
            }
        } else {
            // Sockets and pipes are of running programs.
            return Ok(());
        };
        if self.entries.len() >= DIRECTORY_FILES_MAX || self.bytes > DIRECTORY_BYTES_MAX {
            return Err(CheckoutError::TooLarge { path: self.root.to_owned() });
        }
        let is_directory = matches!(kind, Kind::Directory);
        self.note(&entry, metadata, is_directory);
        let text = entry.as_str().to_owned();
        self.entries.push(Found { path: entry, kind });
        if is_directory { self.folder(path, &text, depth + 1) } else { Ok(()) }
    }

    /// The times of a folder change with what is ignored in it.
    fn note(&mut self, entry: &EntryPath, metadata: &Metadata, is_directory: bool) {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let modified = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
        let changed = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
        let (device, inode, mode) = (metadata.dev().into(), metadata.ino().into(), metadata.mode().into());
        let state = match is_directory {
            true => [device, inode, mode, 0, 0, 0],
            false => {
                self.newest = self.newest.max(changed).max(modified);
                [device, inode, mode, metadata.len().into(), modified, changed]
            }
        };
        self.states.push((entry.as_str().to_owned(), state));
    }
}

fn is_ignored(name: &str, is_top: bool, (path, metadata): (&Path, &Metadata)) -> bool {
    if IGNORED.contains(&name) {
        return true;
    }
    if !metadata.is_dir() {
        return name.ends_with(".pyc");
    }
    let is_egg_info = name.ends_with(".egg-info");
    is_egg_info || path.join("pyvenv.cfg").is_file() || (is_top && is_leftover(name, path))
}

/// Whether a folder at the top is what an earlier build left there, and no package of that name.
fn is_leftover(name: &str, path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    let names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    match name {
        "build" => {
            let is_of_build =
                |name: &String| ["lib", "temp.", "bdist.", "lib."].iter().any(|part| name.starts_with(part));
            !names.iter().any(|name| name.ends_with(".py")) && names.iter().any(is_of_build)
        }
        "dist" => {
            let is_file = |name: &String| [".whl", ".tar.gz", ".zip", ".egg"].iter().any(|end| name.ends_with(end));
            !names.is_empty() && names.iter().all(is_file)
        }
        _ => false,
    }
}

impl Listing {
    /// Writes the archive to `output` and gives its digest; `scratch` is an empty folder.
    pub(super) fn pack<W: Write>(&self, output: W, scratch: &Path) -> Result<(W, Sha256Digest), CheckoutError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| CheckoutError::Io { path: path.clone(), source }
        };
        let mut packer = Packer::new(output, None).map_err(write(&self.root))?;
        for Found { path, kind } in &self.entries {
            let place = self.root.join(path.as_str());
            match kind {
                Kind::Directory => packer.directory(path).map_err(write(&place))?,
                Kind::Link { target } => packer.link(path, target).map_err(write(&place))?,
                Kind::File { executable, size } => {
                    // Exchanged for a link or a pipe since it was looked at, it is not read.
                    let mut options = File::options();
                    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
                    let file = options.open(&place).map_err(write(&place))?;
                    packer.file(path.as_str(), (*executable, *size), file).map_err(|source| match source.kind() {
                        io::ErrorKind::UnexpectedEof => CheckoutError::Changed { path: self.root.clone() },
                        _ => CheckoutError::Io { path: place.clone(), source },
                    })?;
                }
            }
        }
        if let Some((git, history)) = &self.history {
            history.pack(git, scratch, &mut packer)?;
        }
        packer.finish().map_err(write(&self.root))
    }
}
