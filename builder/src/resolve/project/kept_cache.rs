//! What the resolver keeps between runs: pages of indexes and metadata, in a folder of the store's indexes.
//!
//! Only runs without code write it. Two processes never use it at once: as root it changes hands for the run, and whoever
//! finds it taken has one of its own for that time.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::session::Session;

/// The folder among the store's indexes.
const FOLDER: &str = "resolver";

/// What of the cache is copied, by the beginnings of names: pages of indexes and metadata.
const COPIED: [&str; 2] = ["simple-", "wheels-"];

/// The ending of the files there that stand for themselves; others lead to archives, which are not copied.
const COPIED_ENDING: &str = "msgpack";

/// The ending of the pages.
const PAGE_ENDING: &str = "rkyv";

/// Most bytes that are copied: beyond that it is faster to ask anew. A hundred packages have 4 MB.
const COPY_BYTES_MAX: u64 = 128 << 20;

/// A cache in use.
pub(super) struct KeptCache {
    path: PathBuf,
    _lock: Option<Flock<File>>,
}

impl KeptCache {
    /// The store's, if nobody has it, else one in `scratch`.
    pub(super) fn take(session: &Session, scratch: &Path) -> std::io::Result<Self> {
        if let Some(kept) = Self::of_store(session) {
            return Ok(kept);
        }
        let path = scratch.join("cache");
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, _lock: None })
    }

    /// What is known of indexes, copied from the store's to `scratch`, unless somebody is writing it; empty without network,
    /// where nothing is saved by it.
    pub(super) fn copy(session: &Session, scratch: &Path, is_offline: bool) -> std::io::Result<Self> {
        let path = scratch.join("cache");
        std::fs::create_dir_all(&path)?;
        if let Some(kept) = Self::of_store(session).filter(|_| !is_offline) {
            let mut left = COPY_BYTES_MAX;
            for entry in std::fs::read_dir(&kept.path)? {
                let name = entry?.file_name();
                if COPIED.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                    copy_folder(&kept.path.join(&name), &path.join(&name), &mut left)?;
                }
            }
        }
        Ok(Self { path, _lock: None })
    }

    fn of_store(session: &Session) -> Option<Self> {
        let folder = session.store.index_folder().join(FOLDER);
        let path = folder.join("cache");
        std::fs::create_dir_all(&path).ok()?;
        let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        Some(Self { path, _lock: Some(lock) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Copies folders and files while there are bytes `left`; links, which lead to what is not copied, are left out.
fn copy_folder(from: &Path, to: &Path, left: &mut u64) -> std::io::Result<()> {
    let mut waiting = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let target = to.join(entry.file_name());
            if kind.is_dir() {
                waiting.push((entry.path(), target));
            } else if kind.is_file()
                && target.extension().is_some_and(|ending| ending == COPIED_ENDING || ending == PAGE_ENDING)
            {
                let Some(rest) = left.checked_sub(entry.metadata()?.len()) else { return Ok(()) };
                *left = rest;
                std::fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}
