//! Letting equal files share an inode across the store.
//!
//! Trees share while they are written (`dedupe`), with three exceptions: short files, equal files that are written in the
//! same moment, and what was there before contents were shared. Here these meet, too. A file either gives its inode to
//! `files/`, after its bytes were read and found right, or is replaced by a link to the inode there, after *its* bytes were.
//! The inode full, the next generation starts. Objects change by exchange of whole folders (`swap`), so modes, times and
//! digests stay as they are, and a process that is killed leaves the old folder or the new one. A second run finds every
//! file's inode in `files/` and does nothing.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use pip_accel_schema::manifest::EntryKind;
use rayon::prelude::*;
use serde::Serialize;

use crate::db;
use crate::dedupe::{Content, Sharing, is_shareable};
use crate::error::StoreError;
use crate::fs_ops;
use crate::layout::RECORD_FILE;
use crate::object::read_record;
use crate::scratch::Scratch;
use crate::store::Store;
use crate::swap::{StagedTree, Swapped, link_if_room};
use crate::verify::{Check, InodeDigests, Registered, VerifyDepth};

/// Objects whose new trees are synced and exchanged together.
const BATCH: usize = 32;

/// What sharing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OptimiseReport {
    /// Files looked at; empty ones are not, they take no room.
    pub files: u64,
    /// Files that share the inode of an equal one since now.
    pub linked: u64,
    /// Bytes of disk that were freed.
    pub freed_bytes: u64,
    /// Objects that stay as they are, since a running process works with them.
    pub objects_in_use: u64,
    /// Objects that stay as they are, since something is wrong with them.
    pub objects_damaged: u64,
}

/// What is done with each file.
struct Optimiser<'a> {
    store: &'a Store,
    scratch: Scratch,
    files: AtomicU64,
}

/// Whether an object can gain anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Nothing,
    Something,
    Damaged,
}

impl Store {
    /// Lets equal files of the whole store share an inode. Keeps collectors waiting while it runs; readers and publishers
    /// go on.
    ///
    /// # Errors
    /// When the store is read-only, its folders can't be read or written, the database fails, or it is interrupted. What was done until then
    /// stays, and is whole.
    pub fn optimise(&self) -> Result<OptimiseReport, StoreError> {
        self.writable("share equal files")?;
        let _lock = self.lock_collections()?;
        self.sweep_swaps()?;
        let objects = self.database.snapshot("list the objects", db::object::registered)?;
        let optimiser = Optimiser { store: self, scratch: self.scratch("optimise")?, files: AtomicU64::new(0) };
        let digests = InodeDigests::default();
        let looks: Vec<Look> =
            objects.par_iter().map(|object| optimiser.look(object, &digests)).collect::<Result<_, _>>()?;
        self.checkpoint("optimise-looked");
        let mut report = OptimiseReport {
            files: optimiser.files.load(Ordering::Relaxed),
            objects_damaged: looks.iter().filter(|look| **look == Look::Damaged).count() as u64,
            ..OptimiseReport::default()
        };
        let gaining = objects.iter().zip(&looks).filter(|(_, look)| **look == Look::Something);
        let gaining: Vec<&Registered> = gaining.map(|(object, _)| object).collect();
        for batch in gaining.chunks(BATCH) {
            self.interrupt().go_on()?;
            optimiser.share(batch, &mut report)?;
        }
        Ok(report)
    }
}

impl Optimiser<'_> {
    /// Registers what no equal file was registered for, and says whether there is something to link.
    fn look(&self, object: &Registered, digests: &InodeDigests) -> Result<Look, StoreError> {
        self.store.interrupt().go_on()?;
        let folder = self.store.layout().object(&object.path);
        let Ok(record) = read_record(&folder) else { return Ok(Look::Damaged) };
        if record.manifest.content_digest() != object.content_digest {
            return Ok(Look::Damaged);
        }
        let mut look = Look::Nothing;
        for entry in record.manifest.entries() {
            let Some((content, size)) = content_of(&entry.kind) else { continue };
            self.files.fetch_add(1, Ordering::Relaxed);
            let place = folder.join(entry.path.as_str());
            let Ok(metadata) = fs::symlink_metadata(&place) else { return Ok(Look::Damaged) };
            if !is_shareable(&metadata, &content, size) {
                return Ok(Look::Damaged);
            }
            match self.sharing(&content, size, (&place, &metadata), digests)? {
                Sharing::Same | Sharing::Impossible => {}
                Sharing::Room(_) => look = Look::Something,
                Sharing::Wrong => return Ok(Look::Damaged),
            }
        }
        Ok(look)
    }

    fn sharing(
        &self,
        content: &Content,
        size: u64,
        own: (&Path, &Metadata),
        digests: &InodeDigests,
    ) -> Result<Sharing, StoreError> {
        let probe = self.scratch.path().join(fs_ops::unique_name("probe"));
        self.store.shared.files.sharing(content, size, own, (&probe, digests))
    }

    /// Stages and exchanges some objects.
    fn share(&self, objects: &[&Registered], report: &mut OptimiseReport) -> Result<(), StoreError> {
        let mut staged = Vec::new();
        let mut replaced = Vec::new();
        for object in objects {
            let digests = InodeDigests::default();
            let check = Check::new(self.store, object, (VerifyDepth::Quick, &digests));
            if !check.run().is_empty() {
                report.objects_damaged += 1;
                continue;
            }
            if let Some((tree, files)) = self.stage(object, &digests)? {
                staged.push(tree);
                replaced.push(files);
            }
        }
        if staged.is_empty() {
            return Ok(());
        }
        let mut freed = 0_u64;
        let mut linked = 0;
        let swapped = self.store.swap_in(&staged, |number, old| {
            let files = replaced.get(number).map_or(&[][..], Vec::as_slice);
            linked += files.len() as u64;
            freed = freed.saturating_add(freed_with(old, files));
        })?;
        report.linked += linked;
        report.freed_bytes = report.freed_bytes.saturating_add(freed);
        report.objects_in_use += swapped.iter().filter(|swapped| **swapped == Swapped::InUse).count() as u64;
        Ok(())
    }

    /// The object's tree once more, with links to shared inodes; and the files for which that is something new.
    fn stage(
        &self,
        object: &Registered,
        digests: &InodeDigests,
    ) -> Result<Option<(StagedTree, Vec<String>)>, StoreError> {
        let folder = self.store.layout().object(&object.path);
        let record = read_record(&folder)?;
        let tree = StagedTree::new(self.store, object.row, &object.path)?;
        let mut replaced = Vec::new();
        let whole = tree.fill(&record.manifest, |path, kind, target| {
            let own = folder.join(path);
            if let Some((content, size)) = content_of(kind) {
                let metadata = fs::symlink_metadata(&own).map_err(|error| StoreError::io("examine", &own, error))?;
                if let Sharing::Room(shared) = self.sharing(&content, size, (&own, &metadata), digests)?
                    && link_if_room(&shared, target)?
                {
                    replaced.push(path.to_owned());
                    return Ok(true);
                }
            }
            link_if_room(&own, target)
        })?;
        let recorded = whole && link_if_room(&folder.join(RECORD_FILE), &tree.folder().join(RECORD_FILE))?;
        Ok((recorded && !replaced.is_empty()).then_some((tree, replaced)))
    }
}

/// Bytes that go with the folder `old` because these of its `files` were the last names of their inodes. Each old folder
/// is deleted before the next one is looked at.
fn freed_with(old: &Path, files: &[String]) -> u64 {
    let mut inodes: HashMap<u64, (u64, Metadata)> = HashMap::new();
    for file in files {
        if let Ok(metadata) = fs::symlink_metadata(old.join(file)) {
            inodes.entry(metadata.ino()).or_insert((0, metadata)).0 += 1;
        }
    }
    let last = inodes.values().filter(|(names, metadata)| *names >= metadata.nlink());
    last.map(|(_, metadata)| metadata.blocks().saturating_mul(512)).fold(0, u64::saturating_add)
}

/// Content and length of a file that is worth sharing.
fn content_of(kind: &EntryKind) -> Option<(Content, u64)> {
    match kind {
        EntryKind::File { digest, size, executable } if *size > 0 => {
            Some((Content { digest: *digest, executable: *executable }, *size))
        }
        EntryKind::File { .. } | EntryKind::Directory | EntryKind::Symlink { .. } => None,
    }
}
