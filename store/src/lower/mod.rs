//! Lower stores: stores of others, read beside the own one.
//!
//! What the own store lacks is looked up in each lower store, in their order, and used where it is: nothing is copied out
//! of a lower store, and no object in it is written. Its owner's collector has to know what others use, and may trust none
//! of them. So a store has a folder `users/`, in which everybody may make files and nobody may touch another's:
//!
//! * **Root files** (`record`): what an environment, a lock or a pin of a user needs of this store. The collector looks
//!   whether that still is there, as it does with the roots of its own (`gc::users`).
//! * **Leases** (`claim`): what a running process uses, in a file that it keeps flocked.
//! * **The gate** (`gate`), the file `locks/users`: who reads objects and writes one of those files holds it shared; the
//!   collector holds it alone while it reads the files and marks what is dead. So there is no moment at which an object
//!   is in use and nobody can see it. Order: key locks, `gc`, the gate, the database.
//!
//! **Trust.** Only a store of root or of the user himself is read, and only if nobody else may write to it: what is in it
//! is run. The other way round the owner trusts nothing below `users/`: who writes nonsense there keeps objects, his own
//! environments' or others, and at worst loses his own.

mod claim;
mod gate;
pub(crate) mod record;
mod roots;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pip_accel_schema::store_path::ObjectId;
use rusqlite::Connection;

pub(crate) use claim::Claims;
pub(crate) use gate::Gate;

use crate::db::object::Found;
use crate::db::{self, Failure};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::inspect::DiskShares;
use crate::layout::Layout;
use crate::lock;
use crate::object::Object;
use crate::open::OpenError;
use crate::store::Store;

/// Mode of `users/` in a store of root: everybody may add, nobody may take away what is another's.
const USERS_MODE_OF_ROOT: u32 = 0o1777;

/// Mode of `users/` in any other store, which nobody but its owner reads.
const USERS_MODE: u32 = 0o700;

/// Why a store is not read as a lower store.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// It can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is in it would be run, and belongs to a third.
    #[error("`{}` belongs to {owner}; only stores of root or of yourself are read", path.display())]
    ForeignOwner {
        /// The store or a part of it.
        path: PathBuf,
        /// Name or number of the user.
        owner: String,
    },
    /// What is in it would be run, and others may change it.
    #[error("`{}` can be written to by others than its owner", path.display())]
    WritableByOthers {
        /// The store or a part of it.
        path: PathBuf,
    },
    /// Its owner's collector would not know what is used.
    #[error("`{}` has no folder in which others say what they use", root.display())]
    NoUsers {
        /// The store.
        root: PathBuf,
    },
}

/// A store that is read beside the own one.
#[derive(Debug)]
pub struct LowerStore {
    pub(crate) store: Store,
    /// Where this user says what he uses; `None` on a medium that nobody can write to.
    pub(crate) users: Option<PathBuf>,
    /// Why look-ups in it fail; told once.
    failure: Mutex<Option<String>>,
}

impl LowerStore {
    /// The store's root, links resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// How much disk its objects take, as [`Store::disk_shares`] tells it.
    ///
    /// # Errors
    /// When its database or a folder can't be read.
    pub fn disk_shares(&self) -> Result<DiskShares, StoreError> {
        self.store.disk_shares()
    }

    /// Name or number of its owner.
    #[must_use]
    pub fn owner(&self) -> String {
        fs::metadata(self.root()).map_or_else(|_| "?".to_owned(), |metadata| fs_ops::user_name(metadata.uid()))
    }

    /// Whether its owner's collector is told what is used of it. Not where it lies on a read-only medium.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.users.is_some()
    }

    /// Holds the gate, unless nobody could close it.
    pub(crate) fn enter(&self) -> Result<Option<Gate>, StoreError> {
        let path = self.store.layout().users_lock();
        self.users.as_ref().map(|_| Gate::enter(&path)).transpose()
    }

    /// Runs a look-up; what is not usable is not found.
    pub(crate) fn look_up(
        &self,
        action: &'static str,
        look_up: impl FnOnce(&Store, &Connection) -> Result<Vec<Option<Found>>, Failure>,
    ) -> Result<Vec<Option<Object>>, StoreError> {
        let store = &self.store;
        let found = store.database.snapshot(action, |db| look_up(store, db))?;
        let usable = |found: Option<Found>| found.map(|(_, object)| object).filter(|object| store.is_usable(object));
        Ok(found.into_iter().map(usable).collect())
    }

    /// Those of `ids` that it has.
    pub(crate) fn having(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        self.store.database.snapshot("look for objects", |db| {
            let mut here = Vec::new();
            for id in ids {
                let found = db::object::find_any_state(db, id)?;
                here.extend(found.filter(|found| found.state == db::object::VALID).map(|_| *id));
            }
            Ok(here)
        })
    }

    /// A lower store that fails is one that has nothing: the own store, and where things come from, are still there.
    pub(crate) fn note<T: Default>(&self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|error| {
            use std::error::Error as _;
            let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure
                .get_or_insert_with(|| format!("the lower store `{}` fails: {error}{source}", self.root().display()));
            T::default()
        })
    }
}

impl Store {
    /// Reads the store at `root` beside this one, after those that were added before. `false`: it is this store or one
    /// that was added already.
    ///
    /// # Errors
    /// When there is none, it can't be opened, or its owner or modes do not allow to trust it.
    pub fn add_lower(&mut self, root: &Path) -> Result<bool, LowerError> {
        let missing = || OpenError::Missing { root: root.to_owned() };
        let root = match root.canonicalize() {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing().into()),
            Err(error) => return Err(OpenError::from(StoreError::io("find", root, error)).into()),
        };
        let own = self.root().canonicalize().unwrap_or_else(|_| self.root().to_owned());
        if root == own || self.lower.iter().any(|lower| lower.root() == root) {
            return Ok(false);
        }
        let layout = Layout::new(root.clone());
        require_trust(&layout)?;
        let store = Self::open_lower(layout, self.clock)?;
        let users = users_folder(store.layout())?;
        self.lower.push(LowerStore { store, users, failure: Mutex::default() });
        Ok(true)
    }

    /// The stores that are read beside this one, in the order in which they are asked.
    #[must_use]
    pub fn lower_stores(&self) -> &[LowerStore] {
        &self.lower
    }

    /// The lower store that `object` lies in; `None` for one of this store.
    #[must_use]
    pub fn lower_of(&self, object: &Object) -> Option<&LowerStore> {
        self.lower.iter().find(|lower| object.path.parent() == Some(&lower.store.layout().objects()))
    }

    /// What went wrong with lower stores since the last time.
    #[must_use]
    pub fn take_lower_failures(&self) -> Vec<String> {
        let take = |lower: &LowerStore| lower.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.lower.iter().filter_map(take).collect()
    }

    /// Makes the folder in which others say what they use, if this is the store's owner.
    pub(crate) fn make_users_folder(layout: &Layout) {
        if let Err(error) = make_users_folder(layout) {
            tracing::debug!(%error, "others can't use this store as a lower store");
        }
    }
}

fn make_users_folder(layout: &Layout) -> Result<(), StoreError> {
    let folder = layout.users();
    if fs::symlink_metadata(&folder).is_ok() {
        return Ok(());
    }
    let owner = fs::metadata(layout.root()).on("examine", layout.root())?.uid();
    if owner != nix::unistd::Uid::effective().as_raw() {
        return Ok(());
    }
    // Before anybody can find the folder and then no gate.
    drop(lock::open_lock_file(&layout.users_lock())?);
    let staged = layout.tmp().join(fs_ops::unique_name("users"));
    fs::DirBuilder::new().mode(0o700).create(&staged).on("create", &staged)?;
    let mode = if owner == 0 { USERS_MODE_OF_ROOT } else { USERS_MODE };
    fs::set_permissions(&staged, fs::Permissions::from_mode(mode)).on("set the mode of", &staged)?;
    if !fs_ops::rename_if_absent(&staged, &folder)? {
        drop(fs::remove_dir(&staged));
    }
    Ok(())
}

/// What is read must belong to root or to this user, and nobody else may write to it.
fn require_trust(layout: &Layout) -> Result<(), LowerError> {
    let me = nix::unistd::Uid::effective().as_raw();
    let parts = [layout.root().to_owned(), layout.objects(), layout.database_folder(), layout.database()];
    for path in parts {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // Opening tells what is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(OpenError::from(StoreError::io("examine", &path, error)).into()),
        };
        if metadata.uid() != 0 && metadata.uid() != me {
            return Err(LowerError::ForeignOwner { path, owner: fs_ops::user_name(metadata.uid()) });
        }
        // Of one's own store one's own group may be a group of one.
        let others = if metadata.uid() == me { 0o002 } else { 0o022 };
        if metadata.is_symlink() || metadata.mode() & others != 0 {
            return Err(LowerError::WritableByOthers { path });
        }
    }
    Ok(())
}

/// The folder in which this user says what he uses.
fn users_folder(layout: &Layout) -> Result<Option<PathBuf>, LowerError> {
    let folder = layout.users();
    if is_read_only(layout.root()) {
        return Ok(None);
    }
    let owner = fs::symlink_metadata(layout.root()).map(|metadata| metadata.uid());
    let is_there = fs::symlink_metadata(&folder)
        .is_ok_and(|metadata| metadata.is_dir() && owner.is_ok_and(|owner| owner == metadata.uid()));
    let flags = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
    let is_usable = is_there && layout.users_lock().exists() && nix::unistd::eaccess(&folder, flags).is_ok();
    if is_usable { Ok(Some(folder)) } else { Err(LowerError::NoUsers { root: layout.root().to_owned() }) }
}

/// Whether nobody can write to the file system of `path` by this mount.
fn is_read_only(path: &Path) -> bool {
    nix::sys::statvfs::statvfs(path).is_ok_and(|answer| answer.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}
