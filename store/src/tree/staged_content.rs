//! Files whose bytes were verified before their tree was begun.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::ContentDigest;
use pip_accel_schema::manifest::{Entry, EntryKind, EntryPath, Manifest};

use super::{TreeWriter, create_new, duplicate};
use crate::dedupe::{Content, Linked, Origin};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;

/// Bytes of a known digest.
#[derive(Debug, Clone)]
pub(crate) enum StagedContent {
    /// Few enough to be kept in memory.
    Bytes(Vec<u8>),
    /// A canonical file on the store's file system that nobody writes to; whether it is executable.
    File(PathBuf, bool),
}

impl TreeWriter {
    /// Puts a file into the tree: a link to an equal one of the store, else to the staged one, else a copy of that.
    ///
    /// # Errors
    /// When something has the path already, or the file can't be made.
    pub(crate) fn put_staged(
        &self,
        path: &EntryPath,
        (content, size): (Content, u64),
        staged: &StagedContent,
    ) -> Result<(), StoreError> {
        let source = match staged {
            StagedContent::Bytes(bytes) => return self.write_file(path, content.executable, bytes).map(drop),
            StagedContent::File(source, executable) => (source.as_path(), *executable),
        };
        let target = self.place(path)?;
        let linked = self.shared.files.link(&content, size, &target).map_err(|error| duplicate(path, error))?;
        let origin = match linked {
            Linked::Yes(origin) => origin,
            Linked::No(generation) => {
                take_over(path, &content, source, &target)?;
                self.shared.files.stage(content, size, &target);
                Origin::Fresh(generation)
            }
        };
        self.note_file(path, content, size, origin);
        Ok(())
    }

    /// Digest of what was written so far.
    pub(crate) fn content_digest(&self) -> ContentDigest {
        let entry = |(path, kind): (&EntryPath, &EntryKind)| Entry { path: path.clone(), kind: kind.clone() };
        Manifest::from(self.state().entries.iter().map(entry).collect::<Vec<_>>()).content_digest()
    }
}

/// The mode belongs to the inode: the twin that is (not) executable is a copy.
fn take_over(
    path: &EntryPath,
    content: &Content,
    (source, executable): (&Path, bool),
    target: &Path,
) -> Result<(), StoreError> {
    if executable == content.executable && fs::hard_link(source, target).is_ok() {
        return Ok(());
    }
    let mut from = fs::File::open(source).on("open", source)?;
    let mut to = create_new(path, target)?;
    let copied = io::copy(&mut from, &mut to)
        .on("write", target)
        .and_then(|_| fs_ops::canonicalise_open_file(&to, content.executable, target));
    if copied.is_err() {
        drop(fs::remove_file(target));
    }
    copied
}
