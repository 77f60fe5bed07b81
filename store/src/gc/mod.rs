//! The garbage collector.
//!
//! **Roots.** What keeps objects: environments (their folder is there and holds its manifest), lock files, pins, and the
//! leases of running processes. An object is live when a root, a lease or a live object refers to it, when it is younger
//! than the policy's age, or (by policy) when it is the source of a live object. All else is dead.
//!
//! **Order.** 1. Under the lock `gc`, look at the locations of the roots, outside any transaction: a file system may hang.
//! 2. One transaction that holds the write lock reads the graph, looks at the roots found dead once more, decides
//! ([`plan`], pure), removes dead roots and leases, and makes the dead objects `deleting`. It is synced: after a power cut
//! no row may say `valid` of a folder that step 3 took. 3. In short transactions, rows that still are `deleting` go, and
//! their folders are renamed into `trash/`. 4. The trash is deleted, in parallel; writers are not held up by that.
//!
//! **Races.** A process takes an object between 1 and 2: its lease is read in 2. After 2: it finds no valid row, and makes
//! the object anew; its publisher moves the old folder away and turns the row `pending`, which 3 respects. A root is set
//! between 1 and 2: a root that 1 did not see counts as live. Killed anywhere: `deleting` rows and the trash are found by
//! the next start or collection. Any error while roots or leases are read aborts, with nothing deleted.
//!
//! **Other users** for whom this is a lower store say what they need in files ([`users`]); these are looked at in 1 and read
//! again in 2, behind a gate that keeps these users from writing them and from reading the database meanwhile.
//!
//! Proved by `tests/gc.rs`, `tests/races.rs` and `tests/crash.rs` below `src`; the whole protocol is in `docs/store-format.md`.

mod apply;
mod choose;
mod environment;
pub(crate) mod graph;
pub(crate) mod moved;
mod plan;
mod reserve;
mod roots;
mod trash;
mod users;

use std::io;
use std::path::PathBuf;

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::ObjectId;
use serde::Serialize;

use crate::error::StoreError;
use crate::root::{Root, RootKind};

pub(crate) use apply::Examined;
pub(crate) use reserve::renew_reserve;
pub(crate) use roots::{RootState, known_places};
pub(crate) use trash::delete_trashed;
pub use users::UserRoot;
pub(crate) use users::{UserFiles, UsersAtWork};

/// Objects that were registered less than this many seconds ago are not dead, unless the policy says otherwise.
pub const MIN_AGE_SECONDS: u64 = 3600;

/// What may be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GcPolicy {
    /// Younger objects (and missing roots that were set more recently) are kept. In seconds; 0 asks for no age.
    pub min_age_seconds: u64,
    /// Whether the published files that live objects were made from are kept.
    pub keep_sources: bool,
    /// Dead objects that were used since then, by themselves or through what refers to them, are spared; in seconds.
    pub older_than_seconds: Option<u64>,
    /// How much has to go; with no limit at all, everything dead goes.
    pub limits: GcLimits,
}

/// How much of the dead goes: the least recently used first, until every limit that is given is met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GcLimits {
    /// Stop when about so many bytes are freed.
    pub max_freed_bytes: Option<u64>,
    /// Delete until the store takes at most so many bytes of disk.
    pub max_size_bytes: Option<u64>,
    /// Delete until so many bytes of the store's file system are free.
    pub min_free_bytes: Option<u64>,
}

impl GcLimits {
    /// Bytes that still have to go after `freed`; `None`: as many as there are. `size` and `free` are those of this
    /// moment, and are only asked for when a limit needs them.
    fn wanted(
        &self,
        freed: u64,
        size: impl FnOnce() -> Result<u64, StoreError>,
        free: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<Option<u64>, StoreError> {
        let too_large = self.max_size_bytes.map(|max| Ok::<_, StoreError>(size()?.saturating_sub(max))).transpose()?;
        let too_full = self.min_free_bytes.map(|min| Ok::<_, StoreError>(min.saturating_sub(free()?))).transpose()?;
        let left = self.max_freed_bytes.map(|max| max.saturating_sub(freed));
        // A need is what the larger shortfall asks for; `max-freed` bounds it from above.
        let need = too_large.max(too_full);
        Ok(match (need, left) {
            (Some(need), Some(left)) => Some(need.min(left)),
            (need, left) => need.or(left),
        })
    }
}

impl Default for GcPolicy {
    fn default() -> Self {
        Self {
            min_age_seconds: MIN_AGE_SECONDS,
            keep_sources: true,
            older_than_seconds: None,
            limits: GcLimits::default(),
        }
    }
}

impl GcPolicy {
    /// Whether something of that moment is too young to go. What lies in the future is young.
    pub(crate) fn is_young(&self, moment: i64, now: i64) -> bool {
        let age = i64::try_from(self.min_age_seconds).unwrap_or(i64::MAX);
        age > 0 && moment > now.saturating_sub(age)
    }
}

/// A root that would keep these objects and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootChange {
    /// What it is.
    pub kind: RootKind,
    /// Its name.
    pub name: String,
    /// What it would keep.
    pub objects: Vec<ObjectId>,
}

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// Whether a root still is there can't be found out, so nothing is safe to delete.
    #[error("cannot examine the {} root `{name}` at `{}`", kind.as_str(), location.display())]
    RootUnreadable {
        /// What it is.
        kind: RootKind,
        /// Its name.
        name: String,
        /// Where it should be.
        location: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Something else is mounted on the trash, so moving there would be copying.
    #[error("`{}` is not on the file system of `{}`", trash.display(), objects.display())]
    OtherDevice {
        /// The trash.
        trash: PathBuf,
        /// The objects.
        objects: PathBuf,
    },
    /// The database was made anew without objects or roots that can't be read, and nobody knows what these need.
    #[error("the database of `{}` was made anew, and not everything was registered: what that needs is not known", root.display())]
    Incomplete {
        /// The store.
        root: PathBuf,
    },
    /// What another user needs of the store can't be read, so nothing is safe to delete.
    #[error("cannot read `{}`, which says what another user needs", path.display())]
    UserUnreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Any other failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl GcError {
    /// Whether this user may not look at what a root is about.
    fn is_forbidden(&self) -> bool {
        matches!(self, Self::RootUnreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// What those who read the store as a lower store keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UsersKept {
    /// Roots of other stores that need objects of this one.
    pub roots: u64,
    /// Running processes that do.
    pub processes: u64,
    /// Roots that are gone, and needed some.
    pub gone: u64,
    /// Roots and processes that only the owner of the store can learn about: they keep more than a plan made by others says.
    pub hidden: u64,
    /// Files in `users/` that say nothing, at most 20.
    pub nonsense: Vec<PathBuf>,
}

/// Why an object is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum DeadReason {
    /// No root, lease or live object refers to it.
    Unreferenced,
    /// Only roots that are gone did; this is one of them.
    RootGone {
        /// The root's name.
        root: String,
    },
}

/// What making an object again would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RebuildCost {
    /// A download of so many bytes.
    Download {
        /// The published file's length.
        bytes: u64,
    },
    /// Unpacking a wheel, which has to be downloaded first unless the store still has it.
    Unpack,
    /// A build.
    Build {
        /// How long the last good build took, in milliseconds; absent when no log tells.
        #[serde(skip_serializing_if = "Option::is_none")]
        milliseconds: Option<u64>,
    },
}

/// A dead object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadObject {
    /// Its id.
    pub id: ObjectId,
    /// The name of its folder.
    pub path: String,
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// Sum of its files' lengths in bytes; what deleting it frees may be less.
    pub size_bytes: u64,
    /// When it became valid, in seconds since 1970.
    pub registered_at: i64,
    /// When it was last used, in seconds since 1970.
    pub last_used_at: i64,
    /// Why it is dead.
    pub reason: DeadReason,
    /// What making it again would take.
    pub rebuild: RebuildCost,
}

/// Why a root is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadRootReason {
    /// Nothing is at its location.
    Missing,
    /// What is at its location is not (any more) an environment of pip-accel.
    NotAnEnvironment,
}

/// A root that keeps nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadRoot {
    /// The root.
    pub root: Root,
    /// Why it is dead.
    pub reason: DeadRootReason,
}

/// Why a root that is not there keeps its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptReason {
    /// The file system that it was on is not there.
    Unreachable,
    /// It was set a short while ago.
    Young,
}

/// A root that is not there, and keeps its objects all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptRoot {
    /// The root.
    pub root: Root,
    /// Why it is kept.
    pub reason: KeptReason,
}

/// An environment that is at another place than when its root was set, and keeps its objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedRoot {
    /// The root as it was.
    pub root: Root,
    /// Where the environment is now.
    pub to: PathBuf,
}

/// What a collection would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GcPlan {
    /// The dead objects that would go, in the order in which they would.
    pub dead: Vec<DeadObject>,
    /// Dead objects that the policy spares.
    pub spared_count: u64,
    /// Sum of the sizes of those that go in bytes; shared files count each time, so that deleting them may free less.
    pub dead_bytes: u64,
    /// How many objects are live.
    pub live_count: u64,
    /// Sum of the sizes of the live objects in bytes.
    pub live_bytes: u64,
    /// Roots that are gone.
    pub dead_roots: Vec<DeadRoot>,
    /// Roots that are not there but kept.
    pub kept_roots: Vec<KeptRoot>,
    /// Environments that were moved; a collection lets their roots follow them.
    pub moved_roots: Vec<MovedRoot>,
    /// What other users keep.
    pub users: UsersKept,
}

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcStep {
    /// The dead are known, and invisible from now on.
    Marked {
        /// How many objects.
        objects: u64,
        /// Sum of their sizes in bytes.
        bytes: u64,
    },
    /// Some of them have been deleted.
    Deleted {
        /// How many so far.
        done: u64,
        /// Of how many.
        total: u64,
        /// Bytes freed so far.
        freed_bytes: u64,
    },
}

/// A dead object that belongs to another user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignObject {
    /// Its folder.
    pub path: PathBuf,
    /// Name or number of the user.
    pub owner: String,
}

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// The objects that were deleted, and why.
    pub deleted: Vec<DeadObject>,
    /// Roots that were removed, since they are gone.
    pub dead_roots: Vec<DeadRoot>,
    /// Roots that are not there but kept.
    pub kept_roots: Vec<KeptRoot>,
    /// Environments that were moved, and whose roots have followed them.
    pub moved_roots: Vec<MovedRoot>,
    /// What other users keep.
    pub users: UsersKept,
    /// Dead objects that the policy spared.
    pub spared_count: u64,
    /// How many live objects there are.
    pub live_count: u64,
    /// Bytes of disk that were freed; a content with several names counts once, and only when its last name went.
    pub freed_bytes: u64,
    /// Folders that could not be deleted; they stay in the trash for the next time.
    pub left: Vec<PathBuf>,
    /// Dead objects that this user may not move, since they belong to another; they stay where they are, and usable.
    pub foreign: Vec<ForeignObject>,
}

impl GcReport {
    /// Adds what a further collection did.
    pub fn add(&mut self, next: Self) {
        self.deleted.extend(next.deleted);
        self.dead_roots.extend(next.dead_roots);
        self.moved_roots.extend(next.moved_roots);
        self.freed_bytes = self.freed_bytes.saturating_add(next.freed_bytes);
        // These are about what is there in the end.
        self.kept_roots = next.kept_roots;
        self.users = next.users;
        self.spared_count = next.spared_count;
        self.live_count = next.live_count;
        self.left.extend(next.left);
        self.foreign = next.foreign;
    }
}
