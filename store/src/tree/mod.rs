//! Writing the tree of an object-to-be into a staging folder.
//!
//! Everything is hashed while it is written and gets its final mode and time at once; an equal file of the store is
//! linked instead. Before the tree is published, [`TreeWriter::seal`] compares what is on disk with what was written.

mod adopt;
mod seal;
mod staged_content;
mod staged_file;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pip_accel_schema::digest::FileDigest;
use pip_accel_schema::manifest::{EntryKind, EntryPath};

use crate::dedupe::{Content, Linked, Origin};
use crate::error::{EntryProblem, IoContext, StoreError};
use crate::fs_ops;
use crate::layout::RECORD_FILE;
use crate::store::{Shared, Store};

pub(crate) use adopt::hash_with;
pub(crate) use seal::Sealed;
pub(crate) use staged_content::StagedContent;
pub use staged_file::StagedFile;

/// A tree that is being written, in a private staging folder on the store's file system.
/// All methods may be used from several threads at once. It is deleted when dropped, unless it was published.
#[derive(Debug)]
pub struct TreeWriter {
    shared: Arc<Shared>,
    directory: PathBuf,
    _lock: File,
    state: Mutex<TreeState>,
    published: bool,
}

/// What was written so far.
#[derive(Debug, Default)]
struct TreeState {
    entries: HashMap<EntryPath, EntryKind>,
    directories: HashSet<String>,
    fresh: Vec<FreshFile>,
}

/// A file whose bytes must be synced when the tree is published.
#[derive(Debug, Clone)]
pub(crate) struct FreshFile {
    pub(crate) path: EntryPath,
    pub(crate) content: Content,
    /// In which generation of `files/` to register it, if at all.
    pub(crate) generation: Option<u16>,
}

impl Store {
    /// Makes an empty staging folder for a tree.
    ///
    /// # Errors
    /// When the store is read-only or the folder can't be made.
    pub fn new_tree(&self) -> Result<TreeWriter, StoreError> {
        self.writable("add an object")?;
        let (directory, lock) = fs_ops::create_locked_folder(&self.layout().tmp(), "tree")?;
        let shared = Arc::clone(&self.shared);
        Ok(TreeWriter { shared, directory, _lock: lock, state: Mutex::default(), published: false })
    }
}

impl Drop for TreeWriter {
    fn drop(&mut self) {
        let contents: Vec<Content> = self.state().fresh.iter().map(|file| file.content).collect();
        self.shared.files.unstage(&self.directory, contents);
        if self.published {
            return;
        }
        if let Err(error) = fs_ops::remove_tree(&self.directory, None) {
            tracing::warn!(path = %self.directory.display(), %error, "a staging folder stays until the next start");
        }
    }
}

impl TreeWriter {
    /// The staging folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn state(&self) -> MutexGuard<'_, TreeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree is not in its staging folder any more.
    pub(crate) fn set_published(&mut self) {
        self.published = true;
    }

    /// Creates a folder and those above it; one that is there already is fine.
    ///
    /// # Errors
    /// When a file or link has the path or is above it, or the folder can't be made.
    pub fn create_directory(&self, path: &EntryPath) -> Result<(), StoreError> {
        check_name(path)?;
        self.ensure_directory(&mut self.state(), path)
    }

    fn ensure_directory(&self, state: &mut TreeState, path: &EntryPath) -> Result<(), StoreError> {
        if state.directories.contains(path.as_str()) {
            return Ok(());
        }
        // Top first, without recursion: a path has up to a thousand components.
        let text = path.as_str();
        let ends = text.match_indices('/').map(|(end, _)| end).chain([text.len()]);
        for end in ends {
            let part = &text[..end];
            if state.directories.contains(part) {
                continue;
            }
            let entry = EntryPath::parse(part).map_err(|_| StoreError::entry(part, EntryProblem::NotPortable))?;
            let target = self.directory.join(part);
            match fs::create_dir(&target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(StoreError::entry(part, EntryProblem::NotBelowFolder));
                }
                Err(error) => return Err(StoreError::io("create", &target, error)),
            }
            state.directories.insert(part.to_owned());
            state.entries.insert(entry, EntryKind::Directory);
        }
        Ok(())
    }

    /// The place of a new entry: checked, and with the folders above it.
    fn place(&self, path: &EntryPath) -> Result<PathBuf, StoreError> {
        check_name(path)?;
        if let Some(parent) = path.parent() {
            let mut state = self.state();
            if !state.directories.contains(parent) {
                let parent =
                    EntryPath::parse(parent).map_err(|_| StoreError::entry(parent, EntryProblem::NotPortable))?;
                self.ensure_directory(&mut state, &parent)?;
            }
        }
        Ok(self.directory.join(path.as_str()))
    }

    fn note(&self, path: &EntryPath, kind: EntryKind) {
        self.state().entries.insert(path.clone(), kind);
    }

    fn note_file(&self, path: &EntryPath, content: Content, size: u64, origin: Origin) {
        let Content { digest, executable } = content;
        let mut state = self.state();
        state.entries.insert(path.clone(), EntryKind::File { digest, size, executable });
        if let Origin::Fresh(generation) = origin {
            state.fresh.push(FreshFile { path: path.clone(), content, generation });
        }
    }

    /// Writes a whole file; if the store has an equal one, a link to that.
    ///
    /// # Errors
    /// When something has the path already, or the file can't be written. Nothing stays under the path then.
    pub fn write_file(&self, path: &EntryPath, executable: bool, content: &[u8]) -> Result<FileDigest, StoreError> {
        let target = self.place(path)?;
        let digest = FileDigest::from_bytes(*blake3::hash(content).as_bytes());
        let size = content.len() as u64;
        let key = Content { digest, executable };
        let linked = self.shared.files.link(&key, size, &target).map_err(|error| duplicate(path, error))?;
        let origin = match linked {
            Linked::Yes(origin) => origin,
            Linked::No(generation) => {
                let mut file = create_new(path, &target)?;
                let written = file
                    .write_all(content)
                    .on("write", &target)
                    .and_then(|()| fs_ops::canonicalise_open_file(&file, executable, &target));
                if let Err(error) = written {
                    drop(fs::remove_file(&target));
                    return Err(error);
                }
                self.shared.files.stage(key, size, &target);
                Origin::Fresh(generation)
            }
        };
        self.note_file(path, key, size, origin);
        Ok(digest)
    }

    /// Creates a file that is written in pieces. It exists once [`StagedFile::finish`] returned; dropped before that,
    /// it is deleted.
    ///
    /// # Errors
    /// When something has the path already, or the file can't be made.
    pub fn create_file(&self, path: &EntryPath) -> Result<StagedFile<'_>, StoreError> {
        let target = self.place(path)?;
        let file = create_new(path, &target)?;
        Ok(StagedFile::new(self, path.clone(), target, file))
    }

    /// Creates a symbolic link. `target` is relative and may start with `..` components, but stays in the tree.
    ///
    /// # Errors
    /// When the link would leave the tree, something has the path already, or the link can't be made.
    pub fn create_symlink(&self, path: &EntryPath, target: &str) -> Result<(), StoreError> {
        check_link(path, target)?;
        let place = self.place(path)?;
        symlink(target, &place).map_err(|error| duplicate(path, StoreError::io("create", &place, error)))?;
        fs_ops::canonicalise_link(&place)?;
        self.note(path, EntryKind::Symlink { target: target.to_owned() });
        Ok(())
    }
}

/// Refuses the name of the store's own record, which lies beside the content.
pub(crate) fn check_name(path: &EntryPath) -> Result<(), StoreError> {
    match path.as_str().split('/').next() {
        Some(RECORD_FILE) => Err(StoreError::entry(path.as_str(), EntryProblem::Reserved)),
        _ => Ok(()),
    }
}

fn create_new(path: &EntryPath, target: &Path) -> Result<File, StoreError> {
    let mut options = File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(target);
    opened.map_err(|error| duplicate(path, StoreError::io("create", target, error)))
}

/// Says in the words of the tree that something has the path already, or is where a folder should be.
fn duplicate(path: &EntryPath, error: StoreError) -> StoreError {
    match &error {
        StoreError::Io { source, .. } => match source.raw_os_error() {
            Some(libc::EEXIST) => StoreError::entry(path.as_str(), EntryProblem::Duplicate),
            Some(libc::ENOTDIR) => StoreError::entry(path.as_str(), EntryProblem::NotBelowFolder),
            _ => error,
        },
        _ => error,
    }
}

/// Refuses links that may lead out of the tree. `..` is allowed at the start only: behind the name of a folder that
/// is itself a link, `..` would mean the parent of that link's target.
pub(crate) fn check_link(path: &EntryPath, target: &str) -> Result<(), StoreError> {
    let leaves = || StoreError::entry(path.as_str(), EntryProblem::LinkLeavesTree);
    if target.is_empty() || target.starts_with('/') || target.contains('\0') || target.len() > 4095 {
        return Err(leaves());
    }
    let mut depth = path.as_str().matches('/').count();
    let mut descended = false;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if descended || depth == 0 => return Err(leaves()),
            ".." => depth -= 1,
            _ => descended = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_their_tree() {
        let check = |path: &str, target: &str| check_link(&EntryPath::parse(path).expect("a path"), target).is_ok();
        for (path, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/e"), ("a", "./b/c"), ("a/b", "..")] {
            assert!(check(path, target), "{path} -> {target}");
        }
        for (path, target) in
            [("a", ".."), ("a", "../b"), ("a", "/etc"), ("a", ""), ("a/b", "../../c"), ("a/b", "c/../d"), ("a", "b\0")]
        {
            assert!(!check(path, target), "{path} -> {target}");
        }
    }
}
