//! Deleting one folder of the trash, and the shared contents that go with it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pip_accel_schema::manifest::EntryKind;

use crate::dedupe::{Content, GENERATIONS_ALWAYS};
use crate::error::{IoContext, StoreError};
use crate::fs_ops::{Freed, freed_by_unlink, remove_tree};
use crate::layout::{Layout, RECORD_FILE};
use crate::object::read_record;

/// Deletes a folder of the trash, and the names in `files/` of contents that nothing else has.
///
/// The record goes last: killed before that, the next call still knows which contents to look at.
pub(crate) fn delete_trashed(layout: &Layout, folder: &Path) -> Result<Freed, StoreError> {
    let record = read_record(folder).ok();
    let mut freed = remove_tree(folder, record.is_some().then_some(RECORD_FILE))?;
    if let Some(record) = record {
        let contents: HashSet<Content> = record
            .manifest
            .entries()
            .iter()
            .filter_map(|entry| match entry.kind {
                // Short ones are shared by `optimise` only.
                EntryKind::File { digest, size, executable } if size > 0 => Some(Content { digest, executable }),
                EntryKind::File { .. } | EntryKind::Directory | EntryKind::Symlink { .. } => None,
            })
            .collect();
        for content in contents {
            freed.add(forget(layout, &content)?);
        }
        freed.add(remove_tree(folder, None)?);
    }
    Ok(freed)
}

/// Removes the names of a content in `files/` that are its last.
///
/// A writer may link to the content in this moment: then its file keeps the inode, and only the sharing ends.
fn forget(layout: &Layout, content: &Content) -> Result<Freed, StoreError> {
    let mut freed = Freed::default();
    for generation in 0.. {
        let path = layout.shared_file(&content.digest, content.executable, generation);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.nlink() == 1 => {
                if fs::remove_file(&path).is_ok() {
                    freed.add(Freed { bytes: freed_by_unlink(1, metadata.blocks()), entries: 1 });
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if generation >= GENERATIONS_ALWAYS {
                    break;
                }
            }
            Err(error) => return Err(error).on("examine", &path),
        }
    }
    Ok(freed)
}
