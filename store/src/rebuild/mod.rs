//! Making the database anew from what is on disk.
//!
//! Each object holds its record, and `roots/` the roots. A new database is filled beside the old one, synced, and put in its
//! place by one rename; the old file stays as `store.sqlite.damaged-N`, with its log. Killed anywhere, the old database or
//! the new one is there, or none (which is refused when the store is opened), and the command can be repeated. An object whose record or content is wrong, or that needs one
//! that is not there, is left out and named: nothing that was not looked at becomes valid. Nobody knows what such an object,
//! or a root that can't be read, needs of the others: a file beside the database keeps collections away until a repair has
//! dealt with all of it.

mod found;
mod salvage;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::environment::{ENVIRONMENT_MANIFEST_FILE, EnvironmentManifest};
use pip_accel_schema::store_path::ObjectId;
use rayon::prelude::*;
use serde::Serialize;

use crate::checkpoint::Checkpoints;
use crate::db::{self, Database, DatabaseMode, RowId};
use crate::dedupe::SharedFiles;
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::interrupt::Interrupt;
use crate::layout::{LEASE_PREFIX, Layout, SWAP_PREFIX};
use crate::lock;
use crate::open::{OpenError, check_format, refuse_network_file_system};
use crate::registry;
use crate::root::{Root, RootKind};
use crate::store::{Durability, OpenOptions, Shared, Store};
use crate::verify::{Finding, FindingKind, InodeDigests, VerifyDepth};

pub(crate) use found::{FoundObject, register};

/// Longest manifest of an environment that is read.
const ENVIRONMENT_BYTES_MAX: u64 = 256 << 20;

/// A root that names objects which are not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncompleteRoot {
    /// The root.
    pub root: Root,
    /// The objects that it named.
    pub missing: Vec<ObjectId>,
}

/// What was made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// Objects that are registered again.
    pub objects: u64,
    /// Roots that are set again.
    pub roots: u64,
    /// What is wrong with the objects that are not.
    pub findings: Vec<Finding>,
    /// Roots that are set again, but without all of their objects.
    pub incomplete_roots: Vec<IncompleteRoot>,
    /// Files in `roots/` that can't be read.
    pub unreadable_roots: Vec<PathBuf>,
    /// Where the old database is kept, if there was a file.
    pub kept: Option<PathBuf>,
}

impl RebuildReport {
    /// Whether all objects and roots are registered again. Otherwise nothing is collected before a repair.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty() && self.incomplete_roots.is_empty() && self.unreadable_roots.is_empty()
    }
}

impl Store {
    /// Makes the database of the store at `options.root` anew from its objects and its written-down roots. With
    /// [`VerifyDepth::Full`] the bytes of every object are read before it is registered.
    ///
    /// # Errors
    /// When there is no store, a running process uses it ([`StoreError::Busy`]), something can't be read or written, or
    /// `interrupt` is set. The old database is in its place then.
    pub fn rebuild_database(
        options: OpenOptions,
        depth: VerifyDepth,
        interrupt: &Interrupt,
    ) -> Result<RebuildReport, OpenError> {
        Self::rebuild_database_with(options, depth, (interrupt, Checkpoints::default()))
    }

    pub(crate) fn rebuild_database_with(
        options: OpenOptions,
        depth: VerifyDepth,
        (interrupt, checkpoints): (&Interrupt, Checkpoints),
    ) -> Result<RebuildReport, OpenError> {
        let OpenOptions { root, access, durability, clock, .. } = options;
        let layout = Layout::new(std::path::absolute(&root).on("find", &root)?);
        check_format(&layout)?;
        refuse_network_file_system(&layout)?;
        let _gc = wait_for(&layout.gc_lock(), interrupt)?;
        let _publish = wait_for(&layout.publish_lock(), interrupt)?;
        refuse_running(&layout)?;
        forget_unfinished(&layout)?;
        let path = layout.database_beside(&fs_ops::unique_name(".new"));
        let database =
            Database::open_at(&layout, path.clone(), DatabaseMode::ReadWrite, durability == Durability::Full)?;
        let files = SharedFiles::new(layout.clone());
        let store = Self::new(
            Shared { layout, durability, files, checkpoints, interrupt: interrupt.clone() },
            database,
            (access, clock),
        );
        // What stayed in its log would be lost with that.
        let filled = store.fill(depth).and_then(|report| store.database.empty_log().map(|()| report));
        store.checkpoint("rebuild-filled");
        let Self { shared, database, .. } = store;
        drop(database);
        let mut report = match filled {
            Ok(report) => report,
            Err(error) => {
                for ending in ["", "-wal", "-shm"] {
                    remove_if_there(&with_ending(&path, ending))?;
                }
                return Err(error.into());
            }
        };
        if !report.is_whole() {
            mark_incomplete(&shared, &report)?;
        }
        report.kept = put_in_place(&shared, &path)?;
        if report.is_whole() {
            remove_if_there(&shared.layout.incomplete_marker())?;
        }
        Ok(report)
    }

    /// Fills the empty database of this handle.
    fn fill(&self, depth: VerifyDepth) -> Result<RebuildReport, StoreError> {
        self.sweep_swaps()?;
        let mut report = RebuildReport::default();
        let mut objects = Vec::new();
        for found in self.look_at_folders(depth)? {
            match found {
                Ok(object) => objects.push(object),
                Err(findings) => report.findings.extend(findings),
            }
        }
        report.findings.extend(found::drop_incomplete(&mut objects));
        report.findings.sort();
        let verified = depth == VerifyDepth::Full;
        let rows = self.database.write("register objects", |db| register(db, &objects, (self.now(), verified)))?;
        report.objects = rows.len() as u64;
        let salvaged = salvage::salvage(&self.database, &newest_database(self.layout()));
        self.set_roots(&rows, salvaged, &mut report)?;
        Ok(report)
    }

    fn look_at_folders(&self, depth: VerifyDepth) -> Result<Vec<Result<FoundObject, Vec<Finding>>>, StoreError> {
        let objects = self.layout().objects();
        let mut names = Vec::new();
        for entry in fs::read_dir(&objects).on("list", &objects)? {
            let name = entry.on("list", &objects)?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(SWAP_PREFIX) {
                names.push(name);
            }
        }
        let digests = InodeDigests::default();
        let look = |name: &String| {
            self.interrupt().go_on()?;
            Ok(self.look_at_folder(name, depth, &digests))
        };
        names.par_iter().map(look).collect()
    }

    fn set_roots(
        &self,
        rows: &HashMap<ObjectId, RowId>,
        salvaged: Vec<(Root, Vec<ObjectId>)>,
        report: &mut RebuildReport,
    ) -> Result<(), StoreError> {
        let (written, unreadable) = registry::read_all(self.layout())?;
        report.unreadable_roots = unreadable;
        let mut known: HashMap<(RootKind, String), (Root, HashSet<ObjectId>)> = HashMap::new();
        for (root, objects) in written.into_iter().chain(salvaged) {
            let key = (root.kind, root.name.clone());
            known.entry(key).or_insert_with(|| (root, HashSet::new())).1.extend(objects);
        }
        let mut roots: Vec<(Root, HashSet<ObjectId>)> = known.into_values().collect();
        roots.sort_by(|(left, _), (right, _)| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
        for (root, objects) in &mut roots {
            if root.kind == RootKind::Environment {
                objects.extend(objects_of_environment(&root.location));
            }
        }
        self.database.write_durably("set the roots", |db| {
            for (root, objects) in &roots {
                let found: Vec<RowId> = objects.iter().filter_map(|id| rows.get(id).copied()).collect();
                db::root::put(db, root, &found)?;
                let mut missing: Vec<ObjectId> = objects.iter().filter(|id| !rows.contains_key(*id)).copied().collect();
                missing.sort_unstable();
                if !missing.is_empty() {
                    report.incomplete_roots.push(IncompleteRoot { root: root.clone(), missing });
                }
            }
            Ok(())
        })?;
        report.roots = roots.len() as u64;
        Ok(())
    }
}

/// The objects that an environment says it is made of; none when there is no manifest that can be read.
fn objects_of_environment(location: &Path) -> Vec<ObjectId> {
    use std::io::Read;
    let mut text = Vec::new();
    let file = fs::File::open(location.join(ENVIRONMENT_MANIFEST_FILE));
    let read = file.and_then(|file| file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut text));
    let manifest = read.ok().and_then(|_| serde_json::from_slice::<EnvironmentManifest>(&text).ok());
    manifest.into_iter().flat_map(|manifest| manifest.packages).map(|package| package.object).collect()
}

/// Refuses while a process that took objects lives: what it writes would go into the old database.
fn refuse_running(layout: &Layout) -> Result<(), StoreError> {
    let locks = layout.locks();
    for entry in fs::read_dir(&locks).on("list", &locks)? {
        let entry = entry.on("list", &locks)?;
        let is_lease = entry.file_name().to_str().is_some_and(|name| name.starts_with(LEASE_PREFIX));
        if is_lease && lock::is_held(&entry.path())? {
            return Err(StoreError::Busy { path: layout.database(), action: "make it anew" });
        }
    }
    Ok(())
}

/// Says in a file beside the database that something is missing, with what it is for a reader.
fn mark_incomplete(shared: &Shared, report: &RebuildReport) -> Result<(), StoreError> {
    let path = shared.layout.incomplete_marker();
    let objects = report.findings.iter().map(|finding| finding.store_path.clone());
    let roots = report.incomplete_roots.iter().map(|root| root.root.name.clone());
    let unreadable = report.unreadable_roots.iter().map(|path| path.display().to_string());
    let mut lines: Vec<String> = objects.chain(roots).chain(unreadable).collect();
    lines.dedup();
    fs::write(&path, lines.join("\n") + "\n").on("write", &path)?;
    if shared.durability == Durability::Full { fs_ops::sync_path(&path) } else { Ok(()) }
}

/// Holds a lock alone as soon as nobody else does.
fn wait_for(path: &Path, interrupt: &Interrupt) -> Result<fs::File, StoreError> {
    let file = lock::open_lock_file(path)?;
    interrupt.wait_until(|| lock::try_lock(&file, path))?;
    Ok(file)
}

/// Deletes the databases that killed runs did not finish.
fn forget_unfinished(layout: &Layout) -> Result<(), StoreError> {
    let folder = layout.database_folder();
    for entry in fs::read_dir(&folder).on("list", &folder)? {
        let path = entry.on("list", &folder)?.path();
        let unfinished = layout.database_beside(".new-");
        if path.to_string_lossy().starts_with(&*unfinished.to_string_lossy()) {
            fs::remove_file(&path).on("delete", &path)?;
        }
    }
    Ok(())
}

/// Gives the new database at `fresh` the name of the old one, which is kept under another.
fn put_in_place(shared: &Shared, fresh: &Path) -> Result<Option<PathBuf>, StoreError> {
    let (layout, durable) = (&shared.layout, shared.durability == Durability::Full);
    for ending in ["-wal", "-shm"] {
        // Empty after the checkpoint; a log under another name would never be read.
        remove_if_there(&with_ending(fresh, ending))?;
    }
    if durable {
        fs_ops::sync_path(fresh)?;
    }
    let path = layout.database();
    let kept = keep(layout, &path)?;
    shared.checkpoints.reach("rebuild-kept");
    // First the database, then its log, which must not be applied to the new one. Without its log the old one would be
    // taken for whole and miss what was written last, roots among it; a store without any is refused.
    remove_if_there(&path)?;
    shared.checkpoints.reach("rebuild-database-removed");
    for ending in ["-wal", "-shm"] {
        remove_if_there(&with_ending(&path, ending))?;
    }
    shared.checkpoints.reach("rebuild-log-removed");
    fs::rename(fresh, &path).on("replace", &path)?;
    if durable {
        fs_ops::sync_path(&layout.database_folder())?;
    }
    shared.checkpoints.reach("rebuild-done");
    Ok(kept)
}

/// The database; where a killed run has removed that, its second name.
fn newest_database(layout: &Layout) -> PathBuf {
    let path = layout.database();
    if path.exists() {
        return path;
    }
    let kept = (1..).map(|number| kept_name(layout, number)).take_while(|kept| kept.exists());
    kept.last().unwrap_or(path)
}

fn kept_name(layout: &Layout, number: u32) -> PathBuf {
    layout.database_beside(&format!(".damaged-{number}"))
}

/// Gives the old database and its log second names, the first that are free.
fn keep(layout: &Layout, path: &Path) -> Result<Option<PathBuf>, StoreError> {
    for number in 1.. {
        let kept = kept_name(layout, number);
        if fs::symlink_metadata(&kept).is_ok() {
            continue;
        }
        if !keep_one(path, &kept)? {
            return Ok(None);
        }
        keep_one(&with_ending(path, "-wal"), &with_ending(&kept, "-wal"))?;
        return Ok(Some(kept));
    }
    Ok(None)
}

/// Gives a file a second name, or another one where another user's file may have no second. Whether there was a file.
fn keep_one(from: &Path, to: &Path) -> Result<bool, StoreError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // A store without a database is refused as such until the new one has the name.
            fs::rename(from, to).map(|()| true).on("keep", from)
        }
        Err(error) => Err(StoreError::io("keep", from, error)),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", path, error)),
        _ => Ok(()),
    }
}

/// A finding about the folder `name` that no row speaks of.
fn finding(name: &str, kind: FindingKind, detail: String) -> Finding {
    Finding { store_path: name.to_owned(), path: None, kind, detail, object: None }
}
