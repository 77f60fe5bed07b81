//! The files in `users/`: what roots of other users need of a store, and the leases of their processes.
//!
//! `<uid>-root-<32 hex>.json` is a root as it is written down beside any database, with the store that it is a root of;
//! `<uid>-lease-<name>` has an object id in each line, and a lock that its process holds. The number in the name must be
//! that of the file's owner. Whatever is not such a file says nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::store_path::ObjectId;
use serde::{Deserialize, Serialize};

use crate::checkpoint::checkpoint;
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::registry::Written;
use crate::root::{Root, RootKind};

/// Longest file that is read: a hundred thousand objects, a thousand times what an environment with its generations needs.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;

const ROOT_WORD: &str = "root";

const LEASE_WORD: &str = "lease";

const SUFFIX: &str = ".json";

/// What the name of a file that is being written goes on with, behind the user's number.
pub(crate) const UNFINISHED_PREFIX: &str = "new-";

/// A root of another store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UserRoot {
    /// The bytes of the path of the store: any path is one.
    store: Vec<u8>,
    root: Written,
}

/// What a file in `users/` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A root needs these objects.
    Root {
        /// The root; `None` for one that only a newer program understands. That keeps what it names.
        root: Option<Root>,
        /// The store that it is a root of.
        store: PathBuf,
        /// What it needs.
        objects: Vec<ObjectId>,
    },
    /// A process uses these objects.
    Lease {
        /// Whether the process lives.
        is_held: bool,
        /// What it uses.
        objects: Vec<ObjectId>,
    },
    /// Something that only its maker and the owner of the store may read.
    Hidden,
    /// Nothing: it is none of ours.
    Nothing,
}

/// The name of a lease of this user.
pub(crate) fn lease_name(unique: &str) -> String {
    format!("{}-{LEASE_WORD}-{unique}", Uid::effective())
}

/// Whether the name is that of a lease, whoever made it.
pub(crate) fn is_lease(path: &Path) -> bool {
    path.file_name().and_then(owner_of_name).is_some_and(|(_, word)| word == LEASE_WORD)
}

/// The file of a root of `store`, which is this user's.
fn root_path(users: &Path, store: &Path, kind: RootKind, name: &str) -> PathBuf {
    let mut encoder = Encoder::for_domain("pip-accel/user-root/1");
    encoder.bytes(store.as_os_str().as_bytes()).text(kind.as_str()).text(name);
    let hex = ValueDigest::from_bytes(encoder.finish()).to_hex();
    users.join(format!("{}-{ROOT_WORD}-{}{SUFFIX}", Uid::effective(), &hex[..32]))
}

/// Says that `root` of `store` needs `objects`, unless that is said already; of none, nothing is said. The gate is held.
pub(crate) fn write(
    users: &Path,
    store: &Path,
    root: &Root,
    objects: &BTreeSet<ObjectId>,
    is_durable: bool,
) -> Result<(), StoreError> {
    if objects.is_empty() {
        return remove(users, store, root.kind, &root.name);
    }
    let path = root_path(users, store, root.kind, &root.name);
    let objects: Vec<ObjectId> = objects.iter().copied().collect();
    let value = UserRoot { store: store.as_os_str().as_bytes().to_vec(), root: Written::new(root, &objects) };
    let text = serde_json::to_vec(&value)
        .map_err(|error| StoreError::Record { what: format!("root {}", root.name), reason: error.to_string() })?;
    if read_own(&path).is_some_and(|found| found == text) {
        return Ok(());
    }
    let staged = users.join(format!("{}-{}", Uid::effective(), fs_ops::unique_name("new")));
    let mut options = FileOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let written = options.open(&staged).and_then(|mut file| {
        file.write_all(&text)?;
        if is_durable { file.sync_all() } else { Ok(()) }
    });
    checkpoint("lower-root-staged");
    let moved = written.and_then(|()| fs::rename(&staged, &path)).on("write", &path);
    checkpoint("lower-root-written");
    if moved.is_err() {
        drop(fs::remove_file(&staged));
    } else if is_durable {
        fs_ops::sync_path(users)?;
    }
    moved
}

/// What this user said of the root, as far as it still is there.
pub(crate) fn registered(users: &Path, store: &Path, kind: RootKind, name: &str) -> BTreeSet<ObjectId> {
    let text = read_own(&root_path(users, store, kind, name));
    let said = text.and_then(|text| serde_json::from_slice::<UserRoot>(&text).ok());
    said.map(|said| said.root.objects().iter().copied().collect()).unwrap_or_default()
}

/// Takes back what was said of a root.
pub(crate) fn remove(users: &Path, store: &Path, kind: RootKind, name: &str) -> Result<(), StoreError> {
    let path = root_path(users, store, kind, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", &path, error)),
        _ => Ok(()),
    }
}

/// The roots of `store` for which this user said that they need something here, with that, by kind and name.
pub(crate) fn roots_of(users: &Path, store: &Path) -> Result<Vec<(Root, Vec<ObjectId>)>, StoreError> {
    let mut roots = Vec::new();
    for entry in fs::read_dir(users).on("list", users)? {
        let entry = entry.on("list", users)?;
        if owner_of_name(&entry.file_name()) != Some((Uid::effective().as_raw(), ROOT_WORD)) {
            continue;
        }
        if let Ok(Some((_, Said::Root { root: Some(root), store: found, objects }))) = read(&entry.path())
            && found == store
        {
            roots.push((root, objects));
        }
    }
    roots.sort_by(|(left, _), (right, _)| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
    Ok(roots)
}

/// A file of this user.
fn read_own(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (file, metadata) = open(path).ok()?;
    if metadata.uid() != Uid::effective().as_raw() || !metadata.is_file() {
        return None;
    }
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Opens what may be anything without waiting for it and without following it elsewhere.
fn open(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = FileOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// The user and the kind in the name of a file in `users/`.
fn owner_of_name(name: &OsStr) -> Option<(u32, &'static str)> {
    let (uid, rest) = name.to_str()?.split_once('-')?;
    let word = [ROOT_WORD, LEASE_WORD]
        .into_iter()
        .find(|word| rest.strip_prefix(word).is_some_and(|rest| rest.starts_with('-')))?;
    Some((uid.parse().ok()?, word))
}

/// Reads the file `path` of `users/`, whoever made it: its owner and what it says. `None`: it is gone.
///
/// # Errors
/// Only where the disk fails: then nobody knows what it says. What its maker can bring about says [`Said::Nothing`].
pub(crate) fn read(path: &Path) -> io::Result<Option<(u32, Said)>> {
    let opened = open(path);
    let (file, metadata) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return match error.raw_os_error() {
                // A link, a socket, a device without driver, something mounted by its owner.
                Some(libc::ELOOP | libc::ENXIO | libc::ENODEV) => Ok(Some((owner_at(path), Said::Nothing))),
                Some(libc::EACCES | libc::EPERM) if Uid::effective().is_root() => {
                    Ok(Some((owner_at(path), Said::Nothing)))
                }
                Some(libc::EACCES) => Ok(Some((owner_at(path), Said::Hidden))),
                _ => Err(error),
            };
        }
    };
    let owner = metadata.uid();
    let named = path.file_name().and_then(owner_of_name);
    let Some((_, word)) = named.filter(|(uid, _)| *uid == owner && metadata.is_file()) else {
        return Ok(Some((owner, Said::Nothing)));
    };
    if metadata.len() > FILE_BYTES_MAX {
        return Ok(Some((owner, Said::Nothing)));
    }
    let mut text = Vec::new();
    (&file).take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(Some((owner, if word == ROOT_WORD { said_root(&text) } else { said_lease(&file, &text)? })))
}

fn owner_at(path: &Path) -> u32 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.uid())
}

fn said_root(text: &[u8]) -> Said {
    let Ok(UserRoot { store, root }) = serde_json::from_slice(text) else { return Said::Nothing };
    let objects = root.objects().to_vec();
    Said::Root { root: root.into_root().map(|(root, _)| root), store: OsStr::from_bytes(&store).into(), objects }
}

fn said_lease(file: &File, text: &[u8]) -> io::Result<Said> {
    let is_held = match file.try_lock() {
        Ok(()) => false,
        Err(fs::TryLockError::WouldBlock) => true,
        Err(fs::TryLockError::Error(error)) => return Err(error),
    };
    // The last line may be under way.
    let lines = String::from_utf8_lossy(text);
    Ok(Said::Lease { is_held, objects: lines.lines().filter_map(|line| line.parse().ok()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_slice(&[byte; 20]).expect("twenty bytes")
    }

    fn root(name: &str) -> Root {
        let location = PathBuf::from("/home/me/.venv");
        Root { kind: RootKind::Environment, name: name.to_owned(), location, device: 7, created_at: 5 }
    }

    #[test]
    fn what_was_written_is_read() {
        let users = tempfile::tempdir().expect("a folder");
        let store = Path::new("/home/me/.pip-accel");
        let objects = BTreeSet::from([id(1), id(2)]);
        write(users.path(), store, &root("a"), &objects, true).expect("written");
        assert_eq!(registered(users.path(), store, RootKind::Environment, "a"), objects);
        assert_eq!(roots_of(users.path(), store).expect("roots"), [(root("a"), vec![id(1), id(2)])]);
        assert!(roots_of(users.path(), Path::new("/other")).expect("roots").is_empty());
        write(users.path(), store, &root("a"), &BTreeSet::new(), true).expect("taken back");
        assert_eq!(fs::read_dir(users.path()).expect("list").count(), 0);
    }

    /// What is no file of ours says nothing, and is no error: neither a pipe, which would block, nor a link, nor a folder.
    #[test]
    fn nonsense_says_nothing() {
        let users = tempfile::tempdir().expect("a folder");
        let me = Uid::effective();
        let at = |name: &str| users.path().join(name);
        let root_name = |number: u32| format!("{me}-root-{number:032x}.json");
        nix::unistd::mkfifo(&at(&root_name(0)), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        std::os::unix::fs::symlink("/dev/zero", at(&root_name(1))).expect("a link");
        fs::create_dir(at(&root_name(2))).expect("a folder");
        fs::write(at(&root_name(3)), "{\"store\": [47], \"root\": {").expect("a file");
        fs::write(at(&root_name(4)), vec![b'['; 100_000]).expect("a file");
        File::create(at(&root_name(5))).and_then(|file| file.set_len(FILE_BYTES_MAX + 1)).expect("a file");
        fs::write(at("4294967295-root-00.json"), "{}").expect("a file");
        fs::write(at("nothing"), "{}").expect("a file");
        for entry in fs::read_dir(users.path()).expect("list") {
            let path = entry.expect("an entry").path();
            let said = read(&path).expect("no error").map(|(_, said)| said);
            assert_eq!(said, Some(Said::Nothing), "{}", path.display());
        }
        assert!(read(&at("absent")).expect("no error").is_none());
    }

    /// A file of a newer program keeps what it names, whatever else it says.
    #[test]
    fn a_newer_file_keeps_what_it_names() {
        let users = tempfile::tempdir().expect("a folder");
        let path = root_path(users.path(), Path::new("/s"), RootKind::Pin, "a");
        let value = serde_json::json!({ "store": [47, 115], "more": 1, "root": {
            "format": 99, "kind": "something", "name": "a", "device": 0, "created_at": 0, "objects": [id(1)], "new": [] } });
        fs::write(&path, value.to_string()).expect("a file");
        let Some((_, Said::Root { root: None, objects, .. })) = read(&path).expect("read") else {
            panic!("not a root")
        };
        assert_eq!(objects, [id(1)]);
    }
}
