//! A file of a tree that is written in pieces.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use pip_accel_schema::digest::FileDigest;
use pip_accel_schema::manifest::EntryPath;

use super::TreeWriter;
use crate::dedupe::{Content, Linked, Origin};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;

/// A file that is being written; hashed with BLAKE3 on the way.
///
/// Every write goes to the operating system at once: write in pieces of 64 KiB or more. Dropped without
/// [`finish`](Self::finish), the file is deleted and the tree does not have it.
#[derive(Debug)]
pub struct StagedFile<'tree> {
    tree: &'tree TreeWriter,
    path: EntryPath,
    target: PathBuf,
    file: File,
    hasher: Box<blake3::Hasher>,
    length: u64,
    finished: bool,
}

impl<'tree> StagedFile<'tree> {
    pub(super) fn new(tree: &'tree TreeWriter, path: EntryPath, target: PathBuf, file: File) -> Self {
        Self { tree, path, target, file, hasher: Box::default(), length: 0, finished: false }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Ends the file and puts it into the tree; if the store has an equal one, a link to that.
    ///
    /// # Errors
    /// When its mode or time can't be set or a link can't be made; the file is deleted then.
    pub fn finish(mut self, executable: bool) -> Result<FileDigest, StoreError> {
        let digest = FileDigest::from_bytes(*self.hasher.finalize().as_bytes());
        let content = Content { digest, executable };
        let files = &self.tree.shared.files;
        let beside = self.tree.directory.join(fs_ops::unique_name(".link"));
        let origin = match files.link(&content, self.length, &beside)? {
            Linked::Yes(origin) => {
                fs::rename(&beside, &self.target).on("replace", &self.target)?;
                origin
            }
            Linked::No(generation) => {
                fs_ops::canonicalise_open_file(&self.file, executable, &self.target)?;
                files.stage(content, self.length, &self.target);
                Origin::Fresh(generation)
            }
        };
        self.finished = true;
        self.tree.note_file(&self.path, content, self.length, origin);
        Ok(digest)
    }
}

impl Write for StagedFile<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StagedFile<'_> {
    fn drop(&mut self) {
        if !self.finished {
            drop(fs::remove_file(&self.target));
        }
    }
}
