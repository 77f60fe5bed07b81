//! Leases: what a running process works with stays alive.
//!
//! A lease is a set of rows and a file below `locks/` that its process keeps flocked. The collector reads the leases and
//! marks the dead inside one transaction that holds the write lock; [`Lease::take`] writes the rows and reads the
//! objects inside one, too. So either the collector sees the lease and keeps the object, or the taker sees that the
//! object is being deleted and counts it as absent. When the process dies, the kernel drops the flock, and the next
//! process that opens the store deletes the rows. What is used of lower stores is claimed there (`lower`).

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::recipe::RecipeId;
use pip_accel_schema::store_path::ObjectId;
use rusqlite::Connection;

use crate::db::object::Found;
use crate::db::{self, Failure, RowId};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::layout::Layout;
use crate::lock::{self, LockOwner};
use crate::lower::Claims;
use crate::object::Object;
use crate::store::{Access, Store};

/// `last_used_at` is not written again within this many seconds: reading stays cheap.
const LAST_USED_GRANULARITY_SECONDS: i64 = 3600;

/// A process' claim on objects: what it took stays alive until it is dropped. Usable from several threads.
#[derive(Debug)]
pub struct Lease {
    store: Arc<Store>,
    claim: Option<Claim>,
    /// What is used of lower stores.
    below: Claims,
}

/// The recorded part; a read-only store has none.
#[derive(Debug)]
struct Claim {
    name: String,
    path: PathBuf,
    file: File,
    rows: Mutex<HashSet<RowId>>,
}

impl Claim {
    fn rows(&self) -> MutexGuard<'_, HashSet<RowId>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Starts a lease that holds nothing yet.
    ///
    /// # Errors
    /// When its lock file can't be made.
    pub fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let store = Arc::clone(self);
        if self.access == Access::ReadOnly {
            return Ok(Lease { store, claim: None, below: Claims::default() });
        }
        loop {
            let name = fs_ops::unique_name("p");
            let path = self.layout().lease_lock(&name);
            let mut file = lock::open_lock_file(&path)?;
            file.lock().on("lock", &path)?;
            // A collector may have taken the file for a dead one before it was locked.
            if fs_ops::is_same_file(&file, &path)? {
                lock::write_owner(&mut file, &LockOwner::this_process(self.now()));
                let claim = Claim { name, path, file, rows: Mutex::default() };
                return Ok(Lease { store, claim: Some(claim), below: Claims::default() });
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(claim) = &self.claim else { return };
        if !claim.rows().is_empty() {
            let removed = self.store.database.write("end a lease", |db| db::lease::remove(db, &claim.name));
            if let Err(error) = removed {
                tracing::debug!(%error, "the next process to open the store ends this lease");
                return;
            }
        }
        drop(std::fs::remove_file(&claim.path));
        drop(claim.file.unlock());
    }
}

impl Lease {
    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Looks up `ids` and claims those that are there, in this store or else in a lower one; one answer for each id, in
    /// order. An object that is not whole yet, is being deleted or whose folder is gone counts as absent.
    ///
    /// # Errors
    /// When the database fails.
    pub fn take(&self, ids: &[ObjectId]) -> Result<Vec<Option<Object>>, StoreError> {
        self.take_each("take objects", ids, db::object::find_valid)
    }

    /// Claims any source object with that SHA-256.
    ///
    /// # Errors
    /// When the database fails.
    pub fn take_source(&self, sha256: &Sha256Digest) -> Result<Option<Object>, StoreError> {
        let found = self.take_each("take a source", std::slice::from_ref(sha256), db::object::find_source)?;
        Ok(found.into_iter().flatten().next())
    }

    /// Claims a source object for each SHA-256 that there is one of; in the order of the arguments.
    ///
    /// # Errors
    /// When the database fails.
    pub fn take_sources(&self, sha256: &[Sha256Digest]) -> Result<Vec<Object>, StoreError> {
        let found = self.take_each("take sources", sha256, db::object::find_source)?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Claims the objects that builds of `recipe` gave, the newest first; those of lower stores after the own ones.
    ///
    /// # Errors
    /// When the database fails.
    pub fn take_realisations(&self, recipe: &RecipeId) -> Result<Vec<Object>, StoreError> {
        let look_up = |store: &Store, db: &Connection| {
            let found = db::object::find_realisations(db, store.layout(), recipe)?;
            Ok(found.into_iter().map(Some).collect())
        };
        let mut found = self.claiming("take realisations", look_up)?;
        for position in 0..self.store.lower.len() {
            found.extend(self.claiming_below(position, "take realisations", look_up));
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// One answer for each key: from the own store, else from the first lower store that has one.
    fn take_each<K>(
        &self,
        action: &'static str,
        keys: &[K],
        find: impl Fn(&Connection, &Layout, &K) -> Result<Option<Found>, Failure>,
    ) -> Result<Vec<Option<Object>>, StoreError> {
        let look_up = |keys: &mut dyn Iterator<Item = &K>, store: &Store, db: &Connection| {
            keys.map(|key| find(db, store.layout(), key)).collect::<Result<Vec<_>, _>>()
        };
        let mut found = self.claiming(action, |store, db| look_up(&mut keys.iter(), store, db))?;
        for lower in 0..self.store.lower.len() {
            let open: Vec<usize> = (0..keys.len()).filter(|position| found[*position].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let more = self.claiming_below(lower, action, |store, db| {
                look_up(&mut open.iter().map(|position| &keys[*position]), store, db)
            });
            for (position, object) in open.into_iter().zip(more) {
                found[position] = object;
            }
        }
        Ok(found)
    }

    /// As [`Self::claiming`], in a lower store. One that fails has nothing.
    fn claiming_below(
        &self,
        position: usize,
        action: &'static str,
        look_up: impl FnOnce(&Store, &Connection) -> Result<Vec<Option<Found>>, Failure>,
    ) -> Vec<Option<Object>> {
        let lower = &self.store.lower[position];
        lower.note(self.below.look_up((position, lower), action, look_up))
    }

    /// Runs a look-up and claims what it finds, in one transaction. What this handle is repairing, and what is not
    /// usable, is not found.
    fn claiming(
        &self,
        action: &'static str,
        look_up: impl FnOnce(&Store, &Connection) -> Result<Vec<Option<Found>>, Failure>,
    ) -> Result<Vec<Option<Object>>, StoreError> {
        let store = &*self.store;
        let look_up = |store: &Store, db: &Connection| {
            let is_usable = |found: &Found| !store.damaged.has(&found.1.id) && store.is_usable(&found.1);
            Ok::<_, Failure>(look_up(store, db)?.into_iter().map(|found| found.filter(is_usable)).collect::<Vec<_>>())
        };
        let found = match &self.claim {
            None => store.database.snapshot(action, |db| look_up(store, db))?,
            Some(claim) => {
                let now = store.now();
                let found = store.database.write(action, |db| {
                    let found = look_up(store, db)?;
                    let held = claim.rows();
                    for (row, object) in found.iter().flatten() {
                        if !held.contains(row) {
                            db::lease::insert(db, &claim.name, *row)?;
                        }
                        if object.last_used_at < now - LAST_USED_GRANULARITY_SECONDS {
                            db::object::touch(db, *row, now)?;
                        }
                    }
                    Ok(found)
                })?;
                claim.rows().extend(found.iter().flatten().map(|(row, _)| *row));
                found
            }
        };
        Ok(found.into_iter().map(|found| found.map(|(_, object)| object)).collect())
    }

    /// Writes the claim on `row` inside the transaction of `db`; tell [`Self::hold`] once that is committed.
    pub(crate) fn claim_in(&self, db: &Connection, row: RowId) -> Result<(), Failure> {
        match &self.claim {
            Some(claim) => db::lease::insert(db, &claim.name, row),
            None => Ok(()),
        }
    }

    /// Remembers rows whose claims are committed.
    pub(crate) fn hold(&self, rows: impl IntoIterator<Item = RowId>) {
        if let Some(claim) = &self.claim {
            claim.rows().extend(rows);
        }
    }
}
