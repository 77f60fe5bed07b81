//! The last look at a tree before it is published.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pip_accel_schema::manifest::{Entry, EntryKind, EntryPath, Manifest};

use super::{FreshFile, TreeState, TreeWriter};
use crate::error::{EntryProblem, IoContext, StoreError};
use crate::fs_ops::{self, CANONICAL_MTIME, mode_of_file};

/// What a sealed tree holds.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) manifest: Manifest,
    /// Files that must be synced and registered.
    pub(crate) fresh: Vec<FreshFile>,
    /// The folders, deepest first.
    pub(crate) folders: Vec<String>,
}

impl TreeWriter {
    /// Checks that the folder holds exactly what was written and gives its sub-folders their final mode and time.
    /// The top folder stays writable: the record still has to go there.
    pub(crate) fn seal(&self) -> Result<Sealed, StoreError> {
        let state = self.state();
        self.compare(&state)?;
        let mut folders: Vec<String> = state.directories.iter().cloned().collect();
        folders.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
        for folder in &folders {
            fs_ops::canonicalise_folder(&self.directory.join(folder))?;
        }
        let entry = |(path, kind): (&EntryPath, &EntryKind)| Entry { path: path.clone(), kind: kind.clone() };
        let manifest = Manifest::from(state.entries.iter().map(entry).collect::<Vec<_>>());
        Ok(Sealed { manifest, fresh: state.fresh.clone(), folders })
    }

    fn compare(&self, state: &TreeState) -> Result<(), StoreError> {
        let mut found = 0;
        let mut waiting = vec![String::new()];
        while let Some(folder) = waiting.pop() {
            let directory = self.directory.join(&folder);
            for entry in fs::read_dir(&directory).on("list", &directory)? {
                let entry = entry.on("list", &directory)?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let path = if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") };
                let known = EntryPath::parse(&path).ok().and_then(|parsed| state.entries.get(&parsed));
                let Some(known) = known else { return Err(StoreError::entry(path, EntryProblem::Unexpected)) };
                let metadata = entry.metadata().on("examine", &entry.path())?;
                if !is_as_written(known, &metadata, &entry.path()) {
                    return Err(StoreError::entry(path, EntryProblem::Changed));
                }
                found += 1;
                if metadata.is_dir() {
                    waiting.push(path);
                }
            }
        }
        if found == state.entries.len() {
            return Ok(());
        }
        let missing =
            state.entries.keys().find(|path| fs::symlink_metadata(self.directory.join(path.as_str())).is_err());
        Err(StoreError::entry(missing.map_or_else(String::new, EntryPath::to_string), EntryProblem::Missing))
    }
}

fn is_as_written(known: &EntryKind, metadata: &Metadata, path: &Path) -> bool {
    match known {
        EntryKind::Directory => metadata.is_dir(),
        EntryKind::Symlink { target } => {
            metadata.is_symlink() && fs::read_link(path).is_ok_and(|text| text.as_os_str() == target.as_str())
        }
        EntryKind::File { size, executable, .. } => {
            metadata.is_file()
                && metadata.len() == *size
                && metadata.mode() & 0o7777 == mode_of_file(*executable)
                && metadata.mtime() == CANONICAL_MTIME
        }
    }
}
