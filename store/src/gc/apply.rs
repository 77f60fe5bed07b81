//! Collecting: reading the graph, acting on the decision.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rusqlite::Connection;

use super::choose::choose;
use super::plan::{self, Dead, Decision, Graph};
use super::reserve::{release_reserve, renew_reserve};
use super::roots::{self, RootState};
use super::{
    DeadReason, DeadRoot, ForeignObject, GcError, GcLimits, GcPlan, GcPolicy, GcReport, GcStep, KeptRoot, MovedRoot,
    RootChange, UserFiles, UsersKept, delete_trashed,
};
use pip_accel_schema::store_path::OBJECT_ID_TEXT_LEN;

use crate::db::object::DELETING;
use crate::db::root::FoundRoot;
use crate::db::{self, Failure, RowId};
use crate::error::{IoContext, StoreError};
use crate::fs_ops::{self, Freed};
use crate::lock;
use crate::registry;
use crate::root::{Root, is_absent};
use crate::store::Store;

/// Objects that one short transaction takes away; others may write in between.
const BATCH: usize = 500;

/// Folders deleted between two calls of the observer.
const DELETE_CHUNK: usize = 32;

/// A root and what was found at its location.
pub(crate) type Examined = (FoundRoot, RootState);

/// The store paths that were taken away, where they are now, and what could not be.
type Taken = (HashSet<String>, Vec<PathBuf>, Vec<ForeignObject>);

/// A plan and the rows that it is about.
struct Marked {
    plan: GcPlan,
    rows: Vec<RowId>,
}

impl Store {
    /// What a collection would delete now, and why. Changes nothing.
    ///
    /// # Errors
    /// When a root can't be examined or the database can't be read.
    pub fn gc_plan(&self, policy: &GcPolicy) -> Result<GcPlan, GcError> {
        self.gc_plan_after(policy, &[])
    }

    /// What a collection would delete if these roots kept less than they do. Changes nothing. Whoever is not the owner of the
    /// store may not read what others need of it; how many they are is in the plan, and they may keep some of what it names.
    ///
    /// # Errors
    /// When a root can't be examined or the database can't be read.
    pub fn gc_plan_after(&self, policy: &GcPolicy, changes: &[RootChange]) -> Result<GcPlan, GcError> {
        self.refuse_incomplete()?;
        let examined = self.examine_roots(policy)?;
        let users = self.examine_users(policy)?;
        let wanted = self.wanted(policy, 0)?;
        let mut plan = self.database.snapshot("plan a collection", |db| {
            let (mut graph, _) = self.read_graph(db, &examined, &users)?;
            for change in changes {
                keep_less(db, &mut graph, &examined, change)?;
            }
            let decision = plan::decide(&graph, policy, self.now());
            let going = choose(&graph, decision.dead.clone(), policy, self.now(), wanted);
            describe(db, &decision, &going, &examined)
        })?;
        plan.users = users.kept();
        Ok(plan)
    }

    /// Bytes by which the store is larger, or the disk fuller, than the policy wants it.
    ///
    /// # Errors
    /// When the store or its file system can't be measured.
    pub fn gc_missing(&self, policy: &GcPolicy) -> Result<u64, StoreError> {
        let limits = GcLimits { max_freed_bytes: None, ..policy.limits };
        Ok(limits.wanted(0, || self.disk_usage(), || Ok(self.disk()?.free_bytes))?.unwrap_or(0))
    }

    fn wanted(&self, policy: &GcPolicy, freed: u64) -> Result<Option<u64>, StoreError> {
        policy.limits.wanted(freed, || self.disk_usage(), || Ok(self.disk()?.free_bytes))
    }

    /// Deletes what is dead. Waits for another collector; publishers and readers go on meanwhile.
    ///
    /// # Errors
    /// When a root can't be examined, the database fails, the store is read-only, or it is interrupted. Objects that were marked before
    /// the error are deleted by the next collection.
    pub fn gc_apply(&self, policy: &GcPolicy, observer: &mut dyn FnMut(GcStep)) -> Result<GcReport, GcError> {
        self.writable("collect garbage")?;
        self.check_devices()?;
        if self.damaged.is_repairing() {
            // A repair of this process has the lock until what asks for room here is done.
            return Ok(GcReport::default());
        }
        let _lock = self.lock_collections()?;
        self.refuse_incomplete()?;
        // Roots first: a collection that is going to be refused deletes nothing at all.
        let examined = (self.examine_roots(policy)?, self.examine_all_users(policy)?);
        self.checkpoint("gc-roots-read");
        release_reserve(self.layout());
        let mut report = GcReport { freed_bytes: self.sweep_fully().bytes, ..GcReport::default() };
        let mut wanted = self.wanted(policy, report.freed_bytes)?;
        loop {
            let deleted = self.collect_once(policy, &examined, wanted, (&mut report, observer))?;
            // What is freed is known only afterwards: contents may have further names. So it goes on until it is enough.
            if wanted.is_none() || deleted == 0 {
                break;
            }
            wanted = self.wanted(policy, report.freed_bytes)?;
            if wanted == Some(0) {
                break;
            }
        }
        self.checkpoint("gc-deleted");
        if let Err(error) = self.renew_registry() {
            tracing::warn!(%error, "not all roots are written down beside the database");
        }
        self.database.checkpoint();
        renew_reserve(self.layout());
        Ok(report)
    }

    /// Steps 2 to 4 of the essay, for about `wanted` bytes. Returns how many objects were deleted.
    fn collect_once(
        &self,
        policy: &GcPolicy,
        examined: &(Vec<Examined>, UserFiles),
        wanted: Option<u64>,
        (report, observer): (&mut GcReport, &mut dyn FnMut(GcStep)),
    ) -> Result<usize, GcError> {
        let marked = self.mark(policy, examined, wanted)?;
        self.checkpoint("gc-marked");
        observer(GcStep::Marked { objects: marked.rows.len() as u64, bytes: marked.plan.dead_bytes });
        let (taken, folders, foreign) = self.move_to_trash(&marked.rows)?;
        report
            .foreign
            .extend(foreign.into_iter().filter(|object| !report.foreign.contains(object)).collect::<Vec<_>>());
        self.checkpoint("gc-renamed");
        let (mut freed, left) = self.delete_folders(&folders, observer)?;
        freed.add(self.delete_links(&taken));
        let plan = marked.plan;
        report.deleted.extend(plan.dead.into_iter().filter(|dead| taken.contains(&dead.path)));
        for dead in &plan.dead_roots {
            // A file that stays keeps too much after the loss of the database, which the next collection then finds out.
            if let Err(error) = registry::remove(self.layout(), dead.root.kind, &dead.root.name) {
                tracing::warn!(%error, root = dead.root.name, "a dead root stays written down");
            }
            self.remove_root_below(dead.root.kind, &dead.root.name);
        }
        report.dead_roots.extend(plan.dead_roots);
        report.kept_roots = plan.kept_roots;
        for moved in &plan.moved_roots {
            // It is written down at its new place at the end.
            if let Err(error) = registry::remove(self.layout(), moved.root.kind, &moved.root.name) {
                tracing::warn!(%error, root = moved.root.name, "a moved root stays written down at its old place");
            }
            self.follow_below(&moved.root, &moved.to);
        }
        report.moved_roots.extend(plan.moved_roots);
        let gone = report.users.gone.max(plan.users.gone);
        report.users = UsersKept { gone, ..plan.users };
        report.spared_count = plan.spared_count;
        report.live_count = plan.live_count;
        report.freed_bytes = report.freed_bytes.saturating_add(freed.bytes);
        report.left.extend(left);
        Ok(taken.len())
    }

    /// Deletes what the link farm has for objects that are gone; an error costs space, nothing else.
    fn delete_links(&self, taken: &HashSet<String>) -> Freed {
        let ids: HashSet<&str> = taken.iter().filter_map(|path| path.get(..OBJECT_ID_TEXT_LEN)).collect();
        let mut freed = Freed::default();
        let Ok(entries) = fs::read_dir(self.layout().link_farm()) else { return freed };
        for entry in entries.flatten() {
            let is_dead =
                entry.file_name().to_str().and_then(|name| name.get(..OBJECT_ID_TEXT_LEN).map(|id| ids.contains(id)));
            if is_dead == Some(true) {
                match fs_ops::remove_tree(&entry.path(), None) {
                    Ok(more) => freed.add(more),
                    Err(error) => tracing::warn!(%error, "links of a deleted object stay behind"),
                }
            }
        }
        freed
    }

    /// What was not registered when the database was made anew may need anything.
    fn refuse_incomplete(&self) -> Result<(), GcError> {
        let path = self.layout().incomplete_marker();
        match fs::symlink_metadata(&path) {
            Ok(_) => Err(GcError::Incomplete { root: self.root().to_owned() }),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(StoreError::io("examine", &path, error).into()),
        }
    }

    fn check_devices(&self) -> Result<(), GcError> {
        let (trash, objects) = (self.layout().trash(), self.layout().objects());
        let device = |path: &PathBuf| fs::symlink_metadata(path).map(|metadata| metadata.dev()).on("examine", path);
        if device(&trash)? == device(&objects)? { Ok(()) } else { Err(GcError::OtherDevice { trash, objects }) }
    }

    pub(crate) fn examine_roots(&self, policy: &GcPolicy) -> Result<Vec<Examined>, GcError> {
        let roots = self.database.read("list the roots", db::root::all)?;
        let known = roots::known_places(roots.iter().map(|(_, root)| root));
        let is_onlooker = self.is_onlooker();
        roots
            .into_par_iter()
            .map(|(row, root)| {
                let state = match roots::examine(&root, &known, policy, self.now()) {
                    Err(error) if is_onlooker && error.is_forbidden() => RootState::Live { needs: Vec::new() },
                    state => state?,
                };
                Ok(((row, root), state))
            })
            .collect()
    }

    /// The graph, as seen by the transaction of `db`; and the names of leases whose process is dead.
    fn read_graph(
        &self,
        db: &Connection,
        examined: &[Examined],
        users: &UserFiles,
    ) -> Result<(Graph, Vec<String>), Failure> {
        let dead_roots = examined.iter().filter(|(_, state)| matches!(state, RootState::Dead(_)));
        let mut held: HashMap<String, bool> = HashMap::new();
        let mut leased = Vec::new();
        for (name, row) in db::lease::rows(db)? {
            let alive = match held.get(&name) {
                Some(alive) => *alive,
                None => {
                    let alive = lock::is_held(&self.layout().lease_lock(&name))?;
                    held.insert(name, alive);
                    alive
                }
            };
            if alive {
                leased.push(row);
            }
        }
        // What environments need keeps like a lease does; what they name that is not there keeps nothing.
        let needed = examined.iter().filter_map(|(_, state)| match state {
            RootState::Live { needs } | RootState::Moved { needs, .. } => Some(needs),
            RootState::Kept(_) | RootState::Dead(_) => None,
        });
        for id in needed.flatten().chain(users.needs()).collect::<HashSet<_>>() {
            leased.extend(db::object::find_any_state(db, id)?.map(|found| found.row));
        }
        let objects = db::graph::objects(db)?;
        let graph = Graph {
            references: db::graph::references(db, &objects)?,
            objects,
            root_objects: db::graph::root_objects(db)?,
            dead_roots: dead_roots.map(|((row, _), _)| *row).collect(),
            leased,
        };
        Ok((graph, held.into_iter().filter(|(_, alive)| !alive).map(|(name, _)| name).collect()))
    }

    /// Step 2 of the essay.
    fn mark(
        &self,
        policy: &GcPolicy,
        (examined, users): &(Vec<Examined>, UserFiles),
        wanted: Option<u64>,
    ) -> Result<Marked, GcError> {
        let mut refused = None;
        let gate = self.close_gate()?;
        let users = self.confirm_users(users)?;
        self.checkpoint("gc-gate-closed");
        let marked = self.database.write_durably("mark dead objects", |db| {
            let examined = match confirm(db, examined, policy, self.now())? {
                Ok(examined) => examined,
                Err(error) => {
                    refused = Some(error);
                    return Ok(None);
                }
            };
            let (graph, dead_leases) = self.read_graph(db, &examined, &users)?;
            let decision = plan::decide(&graph, policy, self.now());
            let going = choose(&graph, decision.dead.clone(), policy, self.now(), wanted);
            let plan = describe(db, &decision, &going, &examined)?;
            for lease in dead_leases {
                db::lease::remove(db, &lease)?;
            }
            for ((row, root), state) in &examined {
                match state {
                    RootState::Dead(_) => db::root::remove_row(db, *row)?,
                    RootState::Moved { to, .. } => db::root::follow(db, *row, root, to)?,
                    RootState::Live { .. } | RootState::Kept(_) => {}
                }
            }
            let rows: Vec<RowId> = going.iter().map(|dead| dead.row).collect();
            db::graph::mark_deleting(db, &rows)?;
            Ok(Some(Marked { plan, rows }))
        })?;
        users.tidy(self.now());
        drop(gate);
        match (marked, refused) {
            (Some(mut marked), _) => {
                marked.plan.users = users.kept();
                Ok(marked)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Marked { plan: GcPlan::default(), rows: Vec::new() }),
        }
    }

    /// Step 3: the store paths that were taken away, and where they are now. What belongs to another user, who ran the
    /// program here as root for instance, can't be moved: it is valid again, so that neither this nor a later run
    /// that needs it is stuck.
    fn move_to_trash(&self, rows: &[RowId]) -> Result<Taken, StoreError> {
        let (mut taken, mut folders, mut foreign) = (HashSet::new(), Vec::new(), Vec::new());
        for batch in rows.chunks(BATCH) {
            self.database.write("delete objects", |db| {
                for row in batch {
                    // Whoever published the object again has taken the row over.
                    let Some(path) = db::graph::path_if(db, *row, DELETING)? else { continue };
                    let folder = self.layout().object(&path);
                    match fs_ops::move_to_trash(&folder, &self.layout().trash()) {
                        Ok(moved) => folders.extend(moved),
                        Err(error) => {
                            foreign.push(ForeignObject { owner: foreign_owner(&folder).ok_or(error)?, path: folder });
                            db::graph::unmark(db, *row)?;
                            continue;
                        }
                    }
                    self.checkpoint("gc-one-renamed");
                    db::object::delete(db, *row, DELETING)?;
                    taken.insert(path);
                }
                Ok(())
            })?;
        }
        Ok((taken, folders, foreign))
    }

    /// Step 4.
    fn delete_folders(
        &self,
        folders: &[PathBuf],
        observer: &mut dyn FnMut(GcStep),
    ) -> Result<(Freed, Vec<PathBuf>), StoreError> {
        let mut freed = Freed::default();
        let mut left = Vec::new();
        let mut done = 0;
        for chunk in folders.chunks(DELETE_CHUNK) {
            // What is left in the trash is known to nobody any more; the next collection empties it.
            self.interrupt().go_on()?;
            let results: Vec<Result<Freed, StoreError>> =
                chunk.par_iter().map(|folder| delete_trashed(self.layout(), folder)).collect();
            for (folder, result) in chunk.iter().zip(results) {
                match result {
                    Ok(more) => freed.add(more),
                    Err(error) => {
                        tracing::warn!(%error, "a folder stays in the trash");
                        left.push(folder.clone());
                    }
                }
            }
            done += chunk.len() as u64;
            observer(GcStep::Deleted { done, total: folders.len() as u64, freed_bytes: freed.bytes });
            self.checkpoint("gc-one-deleted");
        }
        Ok((freed, left))
    }
}

fn keep_less(
    db: &Connection,
    graph: &mut Graph,
    examined: &[Examined],
    RootChange { kind, name, objects }: &RootChange,
) -> Result<(), Failure> {
    let Some(root) = examined.iter().find(|((_, root), _)| root.kind == *kind && root.name == *name) else {
        return Ok(());
    };
    let mut kept = HashSet::new();
    for id in objects {
        kept.extend(db::object::find_any_state(db, id)?.map(|found| found.row));
    }
    let row = root.0.0;
    graph.root_objects.retain(|(root, object)| *root != row || kept.contains(object));
    Ok(())
}

/// The user whose folder this is, if that is another one than this process's.
fn foreign_owner(folder: &Path) -> Option<String> {
    let owner = fs::symlink_metadata(folder).ok()?.uid();
    (owner != nix::unistd::Uid::effective().as_raw()).then(|| fs_ops::user_name(owner))
}

/// The roots as the transaction of `db` sees them. One that was found dead before must be the same row and still be
/// dead; one that is new is live.
fn confirm(
    db: &Connection,
    examined: &[Examined],
    policy: &GcPolicy,
    now: i64,
) -> Result<Result<Vec<Examined>, GcError>, Failure> {
    let before: HashMap<RowId, (&Root, &RootState)> =
        examined.iter().map(|((row, root), state)| (*row, (root, state))).collect();
    let mut confirmed = Vec::new();
    let roots = db::root::all(db)?;
    let places = roots::known_places(roots.iter().map(|(_, root)| root));
    for (row, root) in roots {
        let state = match before.get(&row) {
            Some((known, RootState::Dead(_))) if **known == root => match roots::examine(&root, &places, policy, now) {
                Ok(state) => state,
                Err(error) => return Ok(Err(error)),
            },
            Some((known, state)) if **known == root => (*state).clone(),
            _ => RootState::Live { needs: Vec::new() },
        };
        confirmed.push(((row, root), state));
    }
    Ok(Ok(confirmed))
}

fn describe(db: &Connection, decision: &Decision, going: &[Dead], examined: &[Examined]) -> Result<GcPlan, Failure> {
    let names: HashMap<RowId, &str> = examined.iter().map(|((row, root), _)| (*row, root.name.as_str())).collect();
    let mut dead = Vec::with_capacity(going.len());
    for object in going {
        let root = object.kept_by.and_then(|row| names.get(&row));
        let reason = root.map_or(DeadReason::Unreferenced, |root| DeadReason::RootGone { root: (*root).to_owned() });
        dead.push(db::graph::describe(db, object.row, reason)?);
    }
    let mut plan = GcPlan {
        dead_bytes: dead.iter().map(|dead| dead.size_bytes).fold(0, u64::saturating_add),
        spared_count: (decision.dead.len() - going.len()) as u64,
        dead,
        live_count: decision.live_count,
        live_bytes: decision.live_bytes,
        ..GcPlan::default()
    };
    for ((_, root), state) in examined {
        match state {
            RootState::Live { .. } => {}
            RootState::Moved { to, .. } => plan.moved_roots.push(MovedRoot { root: root.clone(), to: to.clone() }),
            RootState::Dead(reason) => plan.dead_roots.push(DeadRoot { root: root.clone(), reason: *reason }),
            RootState::Kept(reason) => plan.kept_roots.push(KeptRoot { root: root.clone(), reason: *reason }),
        }
    }
    Ok(plan)
}
