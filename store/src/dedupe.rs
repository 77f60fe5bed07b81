//! Equal files share one inode: `files/` holds a hard link to each content.
//!
//! A content is looked up while a tree is written, and registered only after its bytes have reached the disk, so that
//! a power cut can't leave a name in `files/` for bytes that are not there. In between, trees of this process share
//! through a map in memory. `files/` is a help, never a truth: whatever is missing or wrong there costs space only.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pip_accel_schema::digest::FileDigest;
use rayon::prelude::*;

use crate::error::{IoContext, StoreError};
use crate::fs_ops::{CANONICAL_MTIME, mode_of_file};
use crate::layout::Layout;
use crate::verify::{InodeDigests, digest_of};

/// Shorter files are written each time: an inode costs less than the lookup, and every package ships the same empty
/// `__init__.py`, which would use up the links that one inode may have (65,000 on ext4).
pub(crate) const SHARED_BYTES_MIN: u64 = 64;

/// Generations of one content. 1000 times 65,000 links is more than any store holds.
pub(crate) const GENERATIONS_MAX: u16 = 1000;

/// Generations of a content that are looked at even where one before them is missing.
pub(crate) const GENERATIONS_ALWAYS: u16 = 3;

/// What makes two files the same: content and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) digest: FileDigest,
    pub(crate) executable: bool,
}

/// Where a file may share an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Its inode has a name in `files/`.
    Same,
    /// The inode of this name in `files/` is equal, and has room.
    Room(PathBuf),
    /// Nowhere: all inodes are full, its own included.
    Impossible,
    /// Its bytes are not what they should be.
    Wrong,
}

/// Whether a file has the size, mode and time of a whole file of `content`.
pub(crate) fn is_shareable(metadata: &Metadata, content: &Content, size: u64) -> bool {
    metadata.is_file()
        && metadata.len() == size
        && metadata.mtime() == CANONICAL_MTIME
        && metadata.mode() & 0o7777 == mode_of_file(content.executable)
}

/// How a file got into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Linked to bytes that are on disk already.
    Shared,
    /// Linked to, or written as, bytes that must be synced; to be registered in this generation, if in any.
    Fresh(Option<u16>),
}

/// The folder `files/`, and what this process has staged.
#[derive(Debug)]
pub(crate) struct SharedFiles {
    layout: Layout,
    staged: Mutex<HashMap<Content, PathBuf>>,
    /// Links that one inode may have; tests lower it.
    links_max: u64,
    /// Whether the bytes of what is linked are read first: while a store is repaired, `files/` may be wrong.
    careful: AtomicBool,
}

impl SharedFiles {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, staged: Mutex::default(), links_max: u64::MAX, careful: AtomicBool::new(false) }
    }

    /// Whether to read the bytes of what is linked from now on.
    pub(crate) fn set_careful(&self, careful: bool) {
        self.careful.store(careful, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn set_links_max(&mut self, links: u64) {
        self.links_max = links;
    }

    fn staged(&self) -> MutexGuard<'_, HashMap<Content, PathBuf>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries to make `target` (which must not exist) a link to an equal file of `size` bytes.
    /// `Err` holds the generation to register a written file in.
    pub(crate) fn link(&self, content: &Content, size: u64, target: &Path) -> Result<Linked, StoreError> {
        if size < SHARED_BYTES_MIN {
            return Ok(Linked::No(None));
        }
        for generation in 0..GENERATIONS_MAX {
            let shared = self.layout.shared_file(&content.digest, content.executable, generation);
            match self.link_one(&shared, content, size, target)? {
                Attempt::Linked => return Ok(Linked::Yes(Origin::Shared)),
                Attempt::Full => {}
                Attempt::Absent => return self.link_staged(content, size, target, generation),
                Attempt::Impossible => return Ok(Linked::No(None)),
            }
        }
        Ok(Linked::No(None))
    }

    fn link_staged(&self, content: &Content, size: u64, target: &Path, generation: u16) -> Result<Linked, StoreError> {
        let staged = self.staged().get(content).cloned();
        let Some(staged) = staged else { return Ok(Linked::No(Some(generation))) };
        match self.link_one(&staged, content, size, target)? {
            Attempt::Linked => Ok(Linked::Yes(Origin::Fresh(Some(generation)))),
            Attempt::Absent | Attempt::Full | Attempt::Impossible => Ok(Linked::No(Some(generation))),
        }
    }

    fn link_one(&self, source: &Path, content: &Content, size: u64, target: &Path) -> Result<Attempt, StoreError> {
        if let Err(error) = fs::hard_link(source, target) {
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => Ok(Attempt::Absent),
                Some(libc::EMLINK) => Ok(Attempt::Full),
                // Not our file (fs.protected_hardlinks), or no hard links at all.
                Some(libc::EPERM | libc::EACCES | libc::EXDEV | libc::ENOTSUP) => Ok(Attempt::Impossible),
                _ => Err(StoreError::io("create", target, error)),
            };
        }
        let metadata = fs::symlink_metadata(target).on("examine", target)?;
        let is_right = || digest_of(target).is_ok_and(|(digest, _)| digest == content.digest);
        let whole = is_shareable(&metadata, content, size) && (!self.careful.load(Ordering::Relaxed) || is_right());
        if whole && metadata.nlink() <= self.links_max {
            return Ok(Attempt::Linked);
        }
        fs::remove_file(target).on("delete", target)?;
        if whole {
            return Ok(Attempt::Full);
        }
        // Somebody changed the shared inode. Objects that have it are for `verify` to find; nobody new gets it.
        drop(fs::remove_file(source));
        Ok(Attempt::Absent)
    }

    /// What `look` says about the names in `files/` and the contents that they stand for; asked in parallel. What is named
    /// otherwise is passed over.
    pub(crate) fn look_at_all<T: Send>(
        &self,
        look: impl Fn(&fs::DirEntry, &Content) -> Option<T> + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let top = self.layout.shared_files();
        let shards: Vec<fs::DirEntry> = fs::read_dir(&top).and_then(Iterator::collect).on("list", &top)?;
        let look_at_shard = |shard: &fs::DirEntry| -> Result<Vec<T>, StoreError> {
            let entries = match fs::read_dir(shard.path()) {
                Ok(entries) => entries,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(StoreError::io("list", &shard.path(), error)),
            };
            let mut said = Vec::new();
            let start = shard.file_name();
            for entry in entries {
                let entry = entry.on("list", &shard.path())?;
                let rest = entry.file_name();
                let content = start.to_str().zip(rest.to_str()).and_then(|(start, rest)| content_named(start, rest));
                said.extend(content.and_then(|content| look(&entry, &content)));
            }
            Ok(said)
        };
        let said: Vec<Vec<T>> = shards.par_iter().map(look_at_shard).collect::<Result<_, _>>()?;
        Ok(said.into_iter().flatten().collect())
    }

    /// Where the file `own` of `content` may share an inode with equal ones; where nobody is registered, `own` is, once its
    /// bytes are found right. `probe` is a free path beside the store's files, `digests` what was read before.
    pub(crate) fn sharing(
        &self,
        content: &Content,
        size: u64,
        own: (&Path, &Metadata),
        (probe, digests): (&Path, &InodeDigests),
    ) -> Result<Sharing, StoreError> {
        let (place, metadata) = own;
        let mut room = None;
        let mut free = None;
        for generation in 0..GENERATIONS_MAX {
            let shared = self.layout.shared_file(&content.digest, content.executable, generation);
            match fs::symlink_metadata(&shared) {
                Ok(found) if (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()) => {
                    return Ok(Sharing::Same);
                }
                Ok(_) if room.is_some() => {}
                Ok(found)
                    if !is_shareable(&found, content, size)
                        || digests.of(&shared, &found).map(|held| held.digest) != Ok(content.digest) =>
                {
                    // Somebody changed it: nobody new gets it, and the objects that have it are for `verify` to find.
                    fs::remove_file(&shared).on("delete", &shared)?;
                    free.get_or_insert(generation);
                }
                Ok(_) => match self.link_one(&shared, content, size, probe)? {
                    Attempt::Linked => {
                        fs::remove_file(probe).on("delete", probe)?;
                        room = Some(shared);
                    }
                    Attempt::Full | Attempt::Absent | Attempt::Impossible => {}
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    free.get_or_insert(generation);
                    // A collector may have taken names of earlier generations.
                    if generation >= GENERATIONS_ALWAYS {
                        break;
                    }
                }
                Err(error) => return Err(StoreError::io("examine", &shared, error)),
            }
        }
        if let Some(shared) = room {
            return Ok(Sharing::Room(shared));
        }
        let Some(generation) = free.filter(|_| metadata.nlink() < self.links_max) else {
            return Ok(Sharing::Impossible);
        };
        if digests.of(place, metadata).map(|held| held.digest) != Ok(content.digest) {
            return Ok(Sharing::Wrong);
        }
        self.register(content, generation, place);
        let shared = self.layout.shared_file(&content.digest, content.executable, generation);
        match fs::symlink_metadata(&shared) {
            Ok(found) if (found.dev(), found.ino()) == (metadata.dev(), metadata.ino()) => Ok(Sharing::Same),
            // Somebody else was faster with an equal one.
            Ok(_) => Ok(Sharing::Room(shared)),
            Err(_) => Ok(Sharing::Impossible),
        }
    }

    /// Lets later trees of this process link to a file that is written but not yet published.
    pub(crate) fn stage(&self, content: Content, size: u64, path: &Path) {
        if size >= SHARED_BYTES_MIN {
            self.staged().entry(content).or_insert_with(|| path.to_owned());
        }
    }

    /// Takes back what [`Self::stage`] said about files below `folder`.
    pub(crate) fn unstage(&self, folder: &Path, contents: impl IntoIterator<Item = Content>) {
        let mut staged = self.staged();
        for content in contents {
            if staged.get(&content).is_some_and(|path| path.starts_with(folder)) {
                staged.remove(&content);
            }
        }
    }

    /// Registers the published file `path`, whose bytes are on disk. It is only a help: errors are not reported.
    pub(crate) fn register(&self, content: &Content, generation: u16, path: &Path) {
        let shared = self.layout.shared_file(&content.digest, content.executable, generation);
        let linked = match fs::hard_link(path, &shared) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let shard = shared.parent().unwrap_or(&shared);
                let made = fs::DirBuilder::new().mode(0o755).create(shard);
                match made {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => fs::hard_link(path, &shared),
                }
            }
            other => other,
        };
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::debug!(path = %shared.display(), %error, "a content is not shared");
            }
            _ => {}
        }
    }
}

/// The content that a name in `files/` stands for.
fn content_named(shard: &str, rest: &str) -> Option<Content> {
    let rest = rest.split_once('~').map_or(rest, |(rest, _)| rest);
    let (rest, executable) = rest.strip_suffix("-x").map_or((rest, false), |rest| (rest, true));
    Some(Content { digest: format!("{shard}{rest}").parse().ok()?, executable })
}

/// Whether an equal file was found and linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linked {
    Yes(Origin),
    /// The file must be written, and may be registered in that generation.
    No(Option<u16>),
}

enum Attempt {
    Linked,
    /// The inode has as many links as the file system allows.
    Full,
    Absent,
    Impossible,
}
