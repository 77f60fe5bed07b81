//! Reading each inode once, however many objects and threads come across it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::sys::stat::{FileStat, SFlag};
use pip_accel_schema::digest::FileDigest;

use crate::fs_ops::foreign_attributes;
use crate::tree::hash_with;

/// Bytes read at once; BLAKE3 hashes 16 KiB in parallel lanes, and few calls matter more than a small cache.
const BUFFER_BYTES: usize = 256 << 10;

/// What the file system says of an entry, as far as it is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) mtime: i64,
    /// Number of the user.
    pub(super) owner: u32,
    pub(super) size: u64,
    links: u64,
    /// Device and inode.
    inode: (u64, u64),
}

impl State {
    fn is(&self, kind: SFlag) -> bool {
        SFlag::from_bits_truncate(self.mode) & SFlag::S_IFMT == kind
    }

    pub(super) fn is_file(&self) -> bool {
        self.is(SFlag::S_IFREG)
    }

    pub(super) fn is_folder(&self) -> bool {
        self.is(SFlag::S_IFDIR)
    }

    pub(super) fn is_link(&self) -> bool {
        self.is(SFlag::S_IFLNK)
    }
}

impl From<&Metadata> for State {
    fn from(metadata: &Metadata) -> Self {
        Self {
            mode: metadata.mode(),
            mtime: metadata.mtime(),
            owner: metadata.uid(),
            size: metadata.size(),
            links: metadata.nlink(),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

impl From<&FileStat> for State {
    fn from(stat: &FileStat) -> Self {
        Self {
            mode: stat.st_mode,
            mtime: stat.st_mtime,
            owner: stat.st_uid,
            size: to_u64(stat.st_size),
            links: to_u64(stat.st_nlink),
            inode: (stat.st_dev, stat.st_ino),
        }
    }
}

/// Neither length nor number of links is negative; their C types differ between machines.
fn to_u64(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or(0)
}

/// Parts of what is known, each with a lock of its own.
const PARTS: usize = 16;

/// What an inode holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) digest: FileDigest,
    /// Names of extended attributes that no object has, with spaces between; mostly empty.
    pub(crate) attributes: String,
}

/// What reading an inode gave, or the error's text.
type Answer = Result<Held, String>;

/// Device and inode of a file with several names, and what it holds once somebody has read it.
type Known = HashMap<(u64, u64), Arc<OnceLock<Answer>>>;

/// Digests of inodes that were read already: a shared file is read once. Inodes that go while this lives may come back
/// with other bytes: it must not outlive a change to the store.
#[derive(Debug, Default)]
pub(crate) struct InodeDigests {
    known: [Mutex<Known>; PARTS],
    bytes: AtomicU64,
}

impl InodeDigests {
    /// What the file at `place` holds, whose metadata are known; read unless it was before.
    pub(crate) fn of(&self, place: &Path, metadata: &Metadata) -> Answer {
        self.of_file(&State::from(metadata), || open(place))
    }

    /// What a file in this state holds; `open` is asked for it unless it was read before.
    pub(super) fn of_file(&self, state: &State, open: impl FnOnce() -> io::Result<File>) -> Answer {
        let read = || {
            let held = open().and_then(|mut file| read(&mut file, state.size));
            let (held, size) = held.map_err(|error| error.to_string())?;
            self.bytes.fetch_add(size, Ordering::Relaxed);
            Ok(held)
        };
        if state.links < 2 {
            return read();
        }
        let cell = Arc::clone(self.known(state.inode).entry(state.inode).or_default());
        // Who comes second waits for the one who reads; reading uses no thread pool, so that can't be a circle.
        cell.get_or_init(read).clone()
    }

    /// Whether the inode was read, or somebody does so now.
    pub(super) fn is_known(&self, inode: (u64, u64)) -> bool {
        self.known(inode).contains_key(&inode)
    }

    /// The part of what is known that the inode belongs to.
    fn known(&self, inode: (u64, u64)) -> MutexGuard<'_, Known> {
        self.known[(inode.1 % PARTS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of an inode that was read already.
    pub(crate) fn seen(&self, inode: (u64, u64)) -> Option<FileDigest> {
        self.known(inode).get(&inode)?.get()?.as_ref().ok().map(|held| held.digest)
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Reads the file at `place`, which is no link: its digest and length.
pub(crate) fn digest_of(place: &Path) -> io::Result<(FileDigest, u64)> {
    let mut file = open(place)?;
    let size = file.metadata()?.len();
    digest(&mut file, size)
}

fn read(file: &mut File, size: u64) -> io::Result<(Held, u64)> {
    let (digest, size) = digest(file, size)?;
    Ok((Held { digest, attributes: foreign_attributes(file)?.join(" ") }, size))
}

fn open(place: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(place)
}

/// The digest and the length of a file that should have `size` bytes.
fn digest(file: &mut File, size: u64) -> io::Result<(FileDigest, u64)> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER_BYTES, 0);
        let first = read_some(file, buffer)?;
        // A read that ends before its buffer does, where the file should end, was the last one.
        if first as u64 == size && first < buffer.len() {
            return Ok((FileDigest::from_bytes(*blake3::hash(&buffer[..first]).as_bytes()), size));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&buffer[..first]);
        let rest = if first == 0 { 0 } else { hash_with(file, &mut hasher, buffer)? };
        Ok((FileDigest::from_bytes(*hasher.finalize().as_bytes()), first as u64 + rest))
    })
}

fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
