//! Publishing: the one way in which an object comes to be.
//!
//! 1. The trees are compared with what was written and made canonical, and their records written beside the content.
//! 2. Everything is synced: one `syncfs` for a batch, or each file when there are few.
//! 3. Under the publish lock, a transaction writes a `pending` row for each object. What an earlier publisher or
//!    collector left under the same id goes to the trash.
//! 4. The folders are renamed to their final names, which must be free, and the names synced.
//! 5. A second transaction makes the rows `valid`, with references, realisations and the caller's lease.
//!
//! A crash before 5 leaves `pending` rows; whoever gets the publish lock next knows that their owner is dead.
//! Nobody ever sees a row that is `valid` without a whole folder under the final name.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use pip_accel_schema::link_plan::LinkPlan;
use pip_accel_schema::manifest::{OBJECT_RECORD_FORMAT, ObjectRecord, Provenance};
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::{ObjectId, StorePath};
use rayon::prelude::*;
use rusqlite::Connection;

use crate::db::object::VALID;
use crate::db::{self, Failure, RowId};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::layout::RECORD_FILE;
use crate::lease::Lease;
use crate::lock;
use crate::object::Object;
use crate::store::{Durability, Store};
use crate::tree::{FreshFile, Sealed, TreeWriter};

/// Up to this many new files a batch syncs each of them; `syncfs` would also wait for what other programs wrote.
const FSYNC_FILES_MAX: usize = 64;

/// An object that is to be published.
#[derive(Debug)]
pub struct NewObject {
    /// What it holds.
    pub tree: TreeWriter,
    /// Its id and the name of its folder.
    pub path: StorePath,
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// What it is made from.
    pub provenance: Provenance,
    /// Objects that must live as long as this one: in the store, or in the same batch.
    pub references: Vec<ObjectId>,
    /// How environments link it; `None` for a source.
    pub link_plan: Option<LinkPlan>,
}

/// An object whose tree is whole, canonical and has its record.
#[derive(Debug)]
pub(crate) struct Sealable {
    pub(crate) tree: TreeWriter,
    pub(crate) id: ObjectId,
    pub(crate) record: ObjectRecord,
    sealed: Sealed,
}

/// What a transaction decided about one object of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A valid object is there already.
    Existing,
    /// This one is `pending`.
    Pending(RowId),
}

impl Lease {
    /// Publishes a batch and claims it; one object for each argument, in order. Where a valid object of that id is in
    /// the store already, the staged tree is dropped and that object returned.
    ///
    /// # Errors
    /// When a tree holds something that no object may hold, a reference is not in the store, the disk is full, or the
    /// store is read-only. No object of the batch is published then, except those that were there before.
    pub fn publish(&self, batch: Vec<NewObject>) -> Result<Vec<Object>, StoreError> {
        let store = &**self.store();
        store.writable("add an object")?;
        let ids: Vec<ObjectId> = batch.iter().map(|new| *new.path.id()).collect();
        let present: HashSet<ObjectId> = self.take(&ids)?.into_iter().flatten().map(|object| object.id).collect();
        let mut seen = HashSet::new();
        let wanted = |new: &NewObject| !present.contains(new.path.id()) && seen.insert(*new.path.id());
        let (new, dropped): (Vec<_>, Vec<_>) = batch.into_iter().partition(wanted);
        drop(dropped);
        if !new.is_empty() {
            let sealed = new.into_par_iter().map(seal).collect::<Result<Vec<_>, _>>()?;
            store.checkpoint("publish-sealed");
            sync_batch(store, &sealed)?;
            store.checkpoint("publish-synced");
            let (damaged, sealed) = sealed.into_iter().partition(|object: &Sealable| store.damaged.has(&object.id));
            self.register(store, sealed)?;
            for object in damaged {
                self.replace(store, object)?;
            }
        }
        let missing = |id: &ObjectId| StoreError::MissingObject(*id);
        let objects = self.take(&ids)?;
        objects.into_iter().zip(&ids).map(|(object, id)| object.ok_or_else(|| missing(id))).collect()
    }

    /// Steps 3 to 5.
    fn register(&self, store: &Store, mut batch: Vec<Sealable>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let lock = lock::lock_exclusive(&store.layout().publish_lock())?;
        let mut trash = Vec::new();
        let fates = store.database.write("register objects", |db| self.write_pending(store, db, &batch, &mut trash))?;
        store.checkpoint("publish-pending");
        let result = rename_batch(store, &mut batch, &fates, &mut trash).and_then(|()| {
            store.checkpoint("publish-renamed");
            store.database.write("register objects", |db| self.write_valid(store, db, &batch, &fates))
        });
        if let Err(error) = result {
            withdraw(store, &batch, &fates, &mut trash);
            drop(lock);
            empty_trash(&trash);
            return Err(error);
        }
        self.hold(fates.iter().filter_map(|fate| match fate {
            Fate::Pending(row) => Some(*row),
            Fate::Existing => None,
        }));
        drop(lock);
        store.checkpoint("publish-valid");
        for (object, fate) in batch.iter().zip(&fates) {
            if matches!(fate, Fate::Pending(_)) {
                store.lost.replaced(&object.id);
                share(store, object);
            }
        }
        if store.is_protecting {
            let published = batch.par_iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Pending(_)));
            published.for_each(|(object, _)| protect(store, object));
        }
        empty_trash(&trash);
        Ok(())
    }

    fn write_pending(
        &self,
        store: &Store,
        db: &Connection,
        batch: &[Sealable],
        trash: &mut Vec<PathBuf>,
    ) -> Result<Vec<Fate>, Failure> {
        let mut fates = Vec::with_capacity(batch.len());
        for object in batch {
            let existing = db::object::find_any_state(db, &object.id)?;
            let row = match existing {
                Some(found)
                    if found.state == VALID && store.lost.is_usable(store.layout(), &object.id, &found.path) =>
                {
                    // Another publisher was faster.
                    self.claim_in(db, found.row)?;
                    fates.push(Fate::Existing);
                    continue;
                }
                Some(found) => {
                    // `pending`: its owner is dead, since this process has the publish lock.
                    // `deleting`: the collector looks at the state again before it touches the folder.
                    // `valid`: what the folder held is lost, and the row keeps its roots.
                    trash.extend(fs_ops::move_to_trash(&store.layout().object(&found.path), &store.layout().trash())?);
                    Some(found.row)
                }
                None => None,
            };
            let row = db::object::write_pending(db, &object.record, &object.id, row, store.now())?;
            fates.push(Fate::Pending(row));
        }
        let rows = rows_of_batch(batch, &fates);
        for object in batch {
            references_of(db, object, &rows)?;
        }
        Ok(fates)
    }

    fn write_valid(&self, store: &Store, db: &Connection, batch: &[Sealable], fates: &[Fate]) -> Result<(), Failure> {
        let rows = rows_of_batch(batch, fates);
        for (object, fate) in batch.iter().zip(fates) {
            let Fate::Pending(row) = *fate else { continue };
            let references = references_of(db, object, &rows)?;
            if !db::object::make_valid(db, row)? {
                let what = object.record.path.clone();
                return Err(StoreError::Record { what, reason: "its row was changed by a stranger".to_owned() }.into());
            }
            db::object::set_references(db, row, &references)?;
            if let Provenance::Build { recipe, system_inputs, .. } = &object.record.provenance {
                db::object::put_realisation(db, row, &recipe.id(), system_inputs, store.now())?;
            }
            self.claim_in(db, row)?;
        }
        Ok(())
    }
}

fn rows_of_batch(batch: &[Sealable], fates: &[Fate]) -> HashMap<ObjectId, RowId> {
    let pending = batch.iter().zip(fates).filter_map(|(object, fate)| match fate {
        Fate::Pending(row) => Some((object.id, *row)),
        Fate::Existing => None,
    });
    pending.collect()
}

/// The rows that an object refers to: of its own batch, or valid.
pub(crate) fn references_of(
    db: &Connection,
    object: &Sealable,
    batch: &HashMap<ObjectId, RowId>,
) -> Result<Vec<RowId>, Failure> {
    let mut rows = Vec::with_capacity(object.record.references.len());
    for reference in &object.record.references {
        let row = match batch.get(reference) {
            Some(row) => Some(*row),
            None => {
                db::object::find_any_state(db, reference)?.filter(|found| found.state == VALID).map(|found| found.row)
            }
        };
        let missing = StoreError::MissingReference { object: object.id, reference: *reference };
        rows.push(row.ok_or(missing)?);
    }
    Ok(rows)
}

/// Step 1 for one object.
fn seal(new: NewObject) -> Result<Sealable, StoreError> {
    let NewObject { tree, path, name, version, provenance, mut references, link_plan } = new;
    let sealed = tree.seal()?;
    references.sort_unstable();
    references.dedup();
    let record = ObjectRecord {
        format: OBJECT_RECORD_FORMAT,
        path: path.to_string(),
        name,
        version,
        provenance,
        references,
        content_digest: sealed.manifest.content_digest(),
        link_plan,
        manifest: sealed.manifest.clone(),
    };
    write_record(tree.path(), &record)?;
    Ok(Sealable { tree, id: *path.id(), record, sealed })
}

/// Writes the record beside an object's content.
pub(crate) fn write_record(folder: &Path, record: &ObjectRecord) -> Result<(), StoreError> {
    let path = folder.join(RECORD_FILE);
    let text = serde_json::to_vec(record)
        .map_err(|error| StoreError::Record { what: record.path.clone(), reason: error.to_string() })?;
    let mut file = File::create_new(&path).on("create", &path)?;
    file.write_all(&text).on("write", &path)?;
    fs_ops::canonicalise_open_file(&file, false, &path)
}

/// Step 2.
fn sync_batch(store: &Store, batch: &[Sealable]) -> Result<(), StoreError> {
    if store.shared.durability == Durability::None {
        return Ok(());
    }
    let files: usize = batch.iter().map(|object| object.sealed.fresh.len() + object.sealed.folders.len() + 2).sum();
    if files > FSYNC_FILES_MAX {
        return fs_ops::sync_file_system(&store.layout().objects());
    }
    for object in batch {
        let top = object.tree.path();
        for FreshFile { path, .. } in &object.sealed.fresh {
            fs_ops::sync_path(&top.join(path.as_str()))?;
        }
        fs_ops::sync_path(&top.join(RECORD_FILE))?;
        for folder in &object.sealed.folders {
            fs_ops::sync_path(&top.join(folder))?;
        }
        fs_ops::sync_path(top)?;
    }
    Ok(())
}

/// Step 4.
fn rename_batch(
    store: &Store,
    batch: &mut [Sealable],
    fates: &[Fate],
    trash: &mut Vec<PathBuf>,
) -> Result<(), StoreError> {
    for (object, fate) in batch.iter_mut().zip(fates) {
        if *fate == Fate::Existing {
            continue;
        }
        let target = store.layout().object(&object.record.path);
        while !fs_ops::rename_if_absent(object.tree.path(), &target)? {
            // No row speaks of it, and nobody else publishes: a power cut took the row.
            trash.extend(fs_ops::move_to_trash(&target, &store.layout().trash())?);
        }
        object.tree.set_published();
        fs_ops::canonicalise_folder(&target)?;
        store.checkpoint("publish-one-renamed");
    }
    match store.shared.durability {
        Durability::Full => fs_ops::sync_path(&store.layout().objects()),
        Durability::None => Ok(()),
    }
}

/// Undoes steps 3 and 4, as far as that is possible; the start-up sweep does the rest.
fn withdraw(store: &Store, batch: &[Sealable], fates: &[Fate], trash: &mut Vec<PathBuf>) {
    let undone = store.database.write("withdraw objects", |db| {
        for (object, fate) in batch.iter().zip(fates) {
            let Fate::Pending(row) = *fate else { continue };
            // `None` when the rename was not reached.
            trash.extend(fs_ops::move_to_trash(&store.layout().object(&object.record.path), &store.layout().trash())?);
            db::object::delete(db, row, db::object::PENDING)?;
        }
        Ok(())
    });
    if let Err(error) = undone {
        tracing::warn!(%error, "unfinished objects stay until the next start");
    }
}

/// Lets later objects share the files of a published one.
pub(crate) fn share(store: &Store, object: &Sealable) {
    let folder = store.layout().object(&object.record.path);
    for FreshFile { path, content, generation } in &object.sealed.fresh {
        if let Some(generation) = generation {
            store.shared.files.register(content, *generation, &folder.join(path.as_str()));
        }
    }
}

/// Gives the folders of a published object the immutable flag. It is valid without: what fails here costs protection.
pub(crate) fn protect(store: &Store, object: &Sealable) {
    let top = store.layout().object(&object.record.path);
    let folders = object.sealed.folders.iter().map(|folder| top.join(folder));
    for folder in folders.chain([top.clone()]) {
        if let Err(error) = fs_ops::make_immutable(&folder) {
            tracing::warn!(path = %folder.display(), %error, "an object stays without the immutable flag");
            return;
        }
        store.checkpoint("publish-one-protected");
    }
}

/// Deletes what this publisher threw away; what stays is for the sweep.
fn empty_trash(trash: &[PathBuf]) {
    for path in trash {
        drop(fs_ops::remove_tree(path, None));
    }
}
