//! Copies of contents elsewhere in the store.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::{ContentDigest, FileDigest};
use pip_accel_schema::manifest::{EntryKind, Manifest};
use rayon::prelude::*;

use super::mend::Patient;
use super::place;
use crate::db;
use crate::dedupe::{Content, GENERATIONS_ALWAYS};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::object::read_record;
use crate::store::Store;
use crate::verify::digest_of;

/// Where copies may be; whether they are right is found out when one is taken.
pub(super) struct Siblings<'a> {
    store: &'a Store,
    /// Contents that the first search looks for, besides those that are asked for: one search reads all records.
    foreseen: HashSet<FileDigest>,
    searched: HashSet<FileDigest>,
    places: HashMap<FileDigest, Vec<PathBuf>>,
}

impl<'a> Siblings<'a> {
    /// Nothing is searched yet.
    pub(super) fn new(store: &'a Store, patients: &[Patient]) -> Self {
        let records = patients.iter().filter_map(|patient| read_record(&patient.object.path).ok());
        let foreseen = records.flat_map(|record| digests_of(&record.manifest).collect::<Vec<_>>()).collect();
        Self { store, foreseen, searched: HashSet::new(), places: HashMap::new() }
    }

    /// Looks for `wanted` in all objects, unless it was before.
    pub(super) fn search(&mut self, wanted: HashSet<FileDigest>) -> Result<(), StoreError> {
        if wanted.is_subset(&self.searched) {
            return Ok(());
        }
        let mut all = wanted;
        all.extend(self.foreseen.drain());
        let objects = self.store.database.read("list the objects", db::object::registered)?;
        let found: Vec<(FileDigest, PathBuf)> = objects
            .par_iter()
            .flat_map_iter(|object| {
                let folder = self.store.layout().object(&object.path);
                // A damaged record leads nowhere, or to a file whose digest is not the one it says.
                let manifest = read_record(&folder).map(|record| record.manifest).unwrap_or_default();
                let entries: Vec<_> = manifest
                    .entries()
                    .iter()
                    .filter_map(|entry| match entry.kind {
                        EntryKind::File { digest, .. } if all.contains(&digest) => {
                            Some((digest, folder.join(entry.path.as_str())))
                        }
                        _ => None,
                    })
                    .collect();
                entries
            })
            .collect();
        for (digest, path) in found {
            self.places.entry(digest).or_default().push(path);
        }
        self.searched.extend(all);
        Ok(())
    }

    /// Deletes names in `files/` that say the content and lead to other bytes.
    pub(super) fn evict(&self, content: &Content) {
        for generation in 0..=GENERATIONS_ALWAYS {
            let shared = self.store.layout().shared_file(&content.digest, content.executable, generation);
            if fs::symlink_metadata(&shared).is_ok()
                && digest_of(&shared).is_ok_and(|(digest, _)| digest != content.digest)
            {
                drop(fs::remove_file(&shared));
            }
        }
    }

    /// Fills `target` from a copy with the right bytes; says from which.
    pub(super) fn copy(&self, content: &Content, size: u64, target: &Path) -> Result<Option<String>, StoreError> {
        if size == 0 && content.digest == FileDigest::from_bytes(*blake3::hash(b"").as_bytes()) {
            let file = fs::File::create_new(target).on("create", target)?;
            fs_ops::canonicalise_open_file(&file, content.executable, target)?;
            return Ok(Some("nothing: it is empty".to_owned()));
        }
        for executable in [content.executable, !content.executable] {
            for generation in 0..=GENERATIONS_ALWAYS {
                let shared = self.store.layout().shared_file(&content.digest, executable, generation);
                if place::take_checked(&shared, (content, size), target)? {
                    return Ok(Some(self.name(&shared)));
                }
            }
        }
        for place in self.places.get(&content.digest).into_iter().flatten() {
            if place::take_checked(place, (content, size), target)? {
                return Ok(Some(self.name(place)));
            }
        }
        Ok(None)
    }

    /// The manifest of another object with the same content.
    pub(super) fn manifest(&self, digest: &ContentDigest) -> Result<Option<Manifest>, StoreError> {
        let objects = self.store.database.read("list the objects", db::object::registered)?;
        let equal = objects.iter().filter(|object| object.content_digest == *digest);
        let mut manifests = equal.filter_map(|object| {
            let record = read_record(&self.store.layout().object(&object.path)).ok()?;
            (record.manifest.content_digest() == *digest).then_some(record.manifest)
        });
        Ok(manifests.next())
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.store.root()).unwrap_or(path).display().to_string()
    }
}

fn digests_of(manifest: &Manifest) -> impl Iterator<Item = FileDigest> + '_ {
    manifest.entries().iter().filter_map(|entry| match entry.kind {
        EntryKind::File { digest, .. } => Some(digest),
        EntryKind::Directory | EntryKind::Symlink { .. } => None,
    })
}
