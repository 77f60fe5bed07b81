//! Reading each inode once, however many objects and threads come across it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pip_accel_schema::digest::FileDigest;

use crate::fs_ops::foreign_attributes;
use crate::tree::hash_with;

/// Bytes read at once; BLAKE3 hashes 16 KiB in parallel lanes, and few calls matter more than a small cache.
const BUFFER_BYTES: usize = 256 << 10;

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
    known: Mutex<Known>,
    bytes: AtomicU64,
}

impl InodeDigests {
    /// What the file at `place` holds, whose metadata are known; read unless it was before.
    pub(crate) fn of(&self, place: &Path, metadata: &Metadata) -> Answer {
        if metadata.nlink() < 2 {
            return self.read(place);
        }
        let inode = (metadata.dev(), metadata.ino());
        let cell = Arc::clone(self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(inode).or_default());
        // Who comes second waits for the one who reads; reading uses no thread pool, so that can't be a circle.
        cell.get_or_init(|| self.read(place)).clone()
    }

    /// The digest of an inode that was read already.
    pub(crate) fn seen(&self, inode: (u64, u64)) -> Option<FileDigest> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&inode)?.get()?.as_ref().ok().map(|held| held.digest)
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn read(&self, place: &Path) -> Answer {
        let (held, size) = read(place).map_err(|error| error.to_string())?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(held)
    }
}

/// Reads the file at `place`, which is no link: its digest and length.
pub(crate) fn digest_of(place: &Path) -> io::Result<(FileDigest, u64)> {
    digest(&mut open(place)?)
}

fn read(place: &Path) -> io::Result<(Held, u64)> {
    let mut file = open(place)?;
    let (digest, size) = digest(&mut file)?;
    Ok((Held { digest, attributes: foreign_attributes(&file)?.join(" ") }, size))
}

fn open(place: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(place)
}

fn digest(file: &mut File) -> io::Result<(FileDigest, u64)> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let mut hasher = blake3::Hasher::new();
    let size = BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER_BYTES, 0);
        hash_with(file, &mut hasher, buffer)
    })?;
    Ok((FileDigest::from_bytes(*hasher.finalize().as_bytes()), size))
}
