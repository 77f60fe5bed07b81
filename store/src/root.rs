//! Roots: what keeps objects alive when no process runs.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;
use pip_accel_schema::store_path::ObjectId;
use serde::Serialize;

use crate::db;
use crate::error::{IoContext, StoreError};
use crate::gc::{known_places, moved};
use crate::registry;
use crate::store::Store;

/// What a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootKind {
    /// An environment; its location is the environment's folder.
    Environment,
    /// A lock file; its location is the file.
    Lock,
    /// A name that lives until it is removed; its location is empty.
    Pin,
}

impl RootKind {
    /// The word in the database and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Lock => "lock",
            Self::Pin => "pin",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Environment, Self::Lock, Self::Pin].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A root that is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRoot {
    /// What it is.
    pub kind: RootKind,
    /// Its name, unique among the roots of its kind.
    pub name: String,
    /// Where it is, absolute; empty for a pin.
    pub location: PathBuf,
}

/// A root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// What it is.
    pub kind: RootKind,
    /// Its name.
    pub name: String,
    /// Where it is; empty for a pin.
    pub location: PathBuf,
    /// Device number of the folder that holds the location, or of the nearest one above that existed when the root
    /// was set; tells an environment that was deleted from one on a disk that is not mounted.
    pub device: u64,
    /// When it was set, in seconds since 1970.
    pub created_at: i64,
}

impl Store {
    /// The roots, sorted by kind and name.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn roots(&self) -> Result<Vec<Root>, StoreError> {
        let roots = self.database.read("list the roots", db::root::all)?;
        Ok(roots.into_iter().map(|(_, root)| root).collect())
    }

    /// The root of this kind and name, if there is one.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn root_named(&self, kind: RootKind, name: &str) -> Result<Option<Root>, StoreError> {
        let found = self.database.read("look up a root", |db| db::root::find(db, kind, name))?;
        Ok(found.map(|(_, root)| root))
    }

    /// Whether there is a root of this kind and name that names exactly `objects`, in this store and in lower ones.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn root_holds(&self, kind: RootKind, name: &str, objects: &[ObjectId]) -> Result<bool, StoreError> {
        let wanted: BTreeSet<ObjectId> = objects.iter().copied().collect();
        let held = self.database.read("look up a root", |db| db::root::objects(db, kind, name))?;
        let Some(held) = held else { return Ok(false) };
        Ok(held.iter().all(|id| wanted.contains(id)) && self.is_held_below((kind, name), &wanted, &held)?)
    }

    /// Whether there is a root of this kind and name that names exactly `objects`, in this store and in lower ones, and the
    /// folder of each is there.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn root_is_whole(&self, kind: RootKind, name: &str, objects: &[ObjectId]) -> Result<bool, StoreError> {
        let held = self.database.read("look up a root", |db| db::root::folders(db, kind, name))?;
        let Some(held) = held else { return Ok(false) };
        let ids: HashSet<ObjectId> = held.iter().map(|(id, _)| *id).collect();
        let wanted: BTreeSet<ObjectId> = objects.iter().copied().collect();
        let is_usable =
            |(id, path): &(ObjectId, String)| !self.damaged.has(id) && self.lost.is_usable(self.layout(), id, path);
        let is_whole = ids.iter().all(|id| wanted.contains(id)) && held.iter().all(is_usable);
        let below: Vec<ObjectId> = wanted.difference(&ids.iter().copied().collect()).copied().collect();
        Ok(is_whole && self.are_usable_below(below) && self.is_held_below((kind, name), &wanted, &ids)?)
    }

    /// Sets a root on `objects`; the one of the same kind and name is replaced. On return it survives a power cut. What
    /// this store lacks and a lower store has is kept there, as far as somebody can say so to its owner.
    ///
    /// # Errors
    /// [`StoreError::MissingObject`] when one of the objects is not (any more) in a store; nothing is changed then.
    /// Also when the store is read-only or the database fails.
    pub fn put_root(&self, root: NewRoot, objects: &[ObjectId]) -> Result<(), StoreError> {
        self.writable("set a root")?;
        let NewRoot { kind, name, location } = root;
        let device = if kind == RootKind::Pin { 0 } else { device_above(&location)? };
        let root = Root { kind, name, location, device, created_at: self.now() };
        let moved = self.moved_away(&root)?;
        let missing = if self.lower.is_empty() { HashSet::new() } else { self.missing_here(objects)? };
        let own: Vec<ObjectId> = objects.iter().filter(|id| !missing.contains(id)).copied().collect();
        if let Some((_, old, to)) = &moved {
            // Before the new one is said, which has the name of the old one.
            self.follow_below(old, to);
        }
        // First, so that a root in the database always is a whole one.
        self.put_root_below(&root, objects, &own)?;
        let objects = own.as_slice();
        self.database.write_durably("set a root", |db| {
            if let Some((row, old, to)) = &moved {
                db::root::follow(db, *row, old, to)?;
            }
            let mut rows = Vec::with_capacity(objects.len());
            for id in objects {
                let found = db::object::find_any_state(db, id)?.filter(|found| found.state == db::object::VALID);
                rows.push(found.ok_or(StoreError::MissingObject(*id))?.row);
            }
            db::root::put(db, &root, &rows)
        })?;
        self.checkpoint("root-set");
        // The root counts; what is written beside the database is for the day on which that is lost.
        if let Err(error) = registry::write(self.layout(), &root, objects) {
            tracing::warn!(%error, root = root.name, "a root is in the database only");
        }
        if moved.is_some()
            && let Err(error) = self.renew_registry()
        {
            tracing::warn!(%error, "a root that was moved is in the database only");
        }
        Ok(())
    }

    /// The root whose place `new` is about to take while its own environment was moved to another one.
    fn moved_away(&self, new: &Root) -> Result<Option<(db::RowId, Root, PathBuf)>, StoreError> {
        let is_taken = new.location.join(ENVIRONMENT_MANIFEST_FILE).exists();
        if new.kind != RootKind::Environment || is_taken {
            return Ok(None);
        }
        let found = self.database.read("find a root", |db| db::root::find(db, new.kind, &new.name))?;
        let Some((row, old)) = found else { return Ok(None) };
        let known = known_places(self.roots()?.iter());
        Ok(moved::find(&old.location, &known).map(|to| (row, old, to)))
    }

    /// Removes a root. Returns whether there was one.
    ///
    /// # Errors
    /// When the store is read-only or the database fails.
    pub fn remove_root(&self, kind: RootKind, name: &str) -> Result<bool, StoreError> {
        self.writable("remove a root")?;
        registry::remove(self.layout(), kind, name)?;
        self.checkpoint("root-unwritten");
        let removed = self.database.write("remove a root", |db| db::root::remove(db, kind, name))?;
        self.remove_root_below(kind, name);
        Ok(removed)
    }

    /// Those of `ids` that this store itself does not have.
    pub(crate) fn missing_here(&self, ids: &[ObjectId]) -> Result<HashSet<ObjectId>, StoreError> {
        self.database.read("look for objects", |db| {
            let mut missing = HashSet::new();
            for id in ids {
                let found = db::object::find_any_state(db, id)?;
                missing.extend(found.is_none_or(|found| found.state != db::object::VALID).then_some(*id));
            }
            Ok(missing)
        })
    }
}

/// The device of the nearest existing folder above `location`.
pub(crate) fn device_above(location: &Path) -> Result<u64, StoreError> {
    let mut folder = location.parent();
    while let Some(path) = folder {
        match fs::metadata(path) {
            Ok(metadata) => return Ok(metadata.dev()),
            Err(error) if is_absent(&error) => folder = path.parent(),
            Err(error) => return Err(StoreError::io("examine", path, error)),
        }
    }
    fs::metadata("/").map(|metadata| metadata.dev()).on("examine", Path::new("/"))
}

/// Whether the error says that there is nothing at the path.
pub(crate) fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}
