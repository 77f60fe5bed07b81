//! Putting a new tree into an object's place, in one step.
//!
//! A whole tree is staged in `tmp/`, synced, moved beside the objects under a name that begins with `.swap-`, and exchanged
//! with the object's folder by `RENAME_EXCHANGE`: whoever looks finds the old tree or the new one. The exchange happens
//! inside a transaction that holds the write lock and sees no living lease on the object; those of other users, for whom
//! this is a lower store, are read before it, behind the gate. [`Lease::take`](crate::Lease::take)
//! needs that lock too, so no process works in a folder that is about to go (a sandbox may have it mounted). Programs that
//! run in environments hold no lease: files that they have open or mapped stay readable, and the next path they open is
//! of the new tree. Killed anywhere, a `.swap-` folder or a staging folder is left, which collections and repairs delete.
//!
//! The caller has the lock `gc`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use pip_accel_schema::manifest::{EntryKind, Manifest};
use rusqlite::Connection;

use crate::db::object::VALID;
use crate::db::{self, Failure, RowId};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::gc::UsersAtWork;
use crate::layout::SWAP_PREFIX;
use crate::lock;
use crate::store::{Durability, Store};

/// A tree that is to take the place of an object. Deleted when dropped before that.
#[derive(Debug)]
pub(crate) struct StagedTree {
    folder: PathBuf,
    _lock: File,
    row: RowId,
    path: String,
}

impl Drop for StagedTree {
    fn drop(&mut self) {
        if let Err(error) = fs_ops::remove_tree(&self.folder, None) {
            tracing::warn!(path = %self.folder.display(), %error, "a staging folder stays until the next start");
        }
    }
}

impl StagedTree {
    /// An empty folder for what is to replace the object of `row`, whose folder has the name `path`.
    pub(crate) fn new(store: &Store, row: RowId, path: &str) -> Result<Self, StoreError> {
        let (folder, lock) = fs_ops::create_locked_folder(&store.layout().tmp(), "swap")?;
        Ok(Self { folder, _lock: lock, row, path: path.to_owned() })
    }

    /// Where the tree is written.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folders and links of `manifest`, and each file by `file`, which gets its path inside the object and the
    /// place to fill. Returns whether `file` did so for all of them.
    pub(crate) fn fill(
        &self,
        manifest: &Manifest,
        mut file: impl FnMut(&str, &EntryKind, &Path) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut folders = Vec::new();
        // Sorted by path, so a folder comes before what is in it.
        for entry in manifest.entries() {
            let path = entry.path.as_str();
            let target = self.folder.join(path);
            match &entry.kind {
                EntryKind::Directory => {
                    fs::create_dir(&target).on("create", &target)?;
                    folders.push(target);
                }
                EntryKind::Symlink { target: text } => {
                    symlink(text, &target).on("create", &target)?;
                    fs_ops::canonicalise_link(&target)?;
                }
                EntryKind::File { .. } => {
                    if !file(path, &entry.kind, &target)? {
                        return Ok(false);
                    }
                }
            }
        }
        for folder in folders.iter().rev() {
            fs_ops::canonicalise_folder(folder)?;
        }
        Ok(true)
    }
}

/// What became of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// The new tree is in the object's place.
    Done,
    /// A living process works with the object: nothing was changed.
    InUse,
    /// There is no valid object of that row any more: nothing was changed.
    Gone,
}

impl Store {
    /// Syncs `staged` and exchanges each with its object's folder; one answer each, in order. `observe` is called with
    /// the number and the old folder of each that was exchanged, before that folder is deleted.
    pub(crate) fn swap_in(
        &self,
        staged: &[StagedTree],
        mut observe: impl FnMut(usize, &Path),
    ) -> Result<Vec<Swapped>, StoreError> {
        let objects = self.layout().objects();
        let durable = self.shared.durability == Durability::Full;
        if durable {
            fs_ops::sync_file_system(&objects)?;
        }
        self.checkpoint("swap-synced");
        let mut beside = Vec::with_capacity(staged.len());
        let users = self.hold_users_off()?;
        let publish = lock::lock_exclusive(&self.layout().publish_lock())?;
        for tree in staged {
            beside.push(self.move_beside_objects(&tree.folder)?);
        }
        self.checkpoint("swap-beside");
        let swapped = self.database.write("replace objects", |db| {
            let each = staged.iter().zip(&beside);
            each.map(|(tree, folder)| self.exchange(db, (tree.row, &tree.path), folder, &users))
                .collect::<Result<Vec<_>, _>>()
        })?;
        if durable {
            fs_ops::sync_path(&objects)?;
        }
        drop(publish);
        drop(users);
        self.checkpoint("swap-exchanged");
        for (number, folder) in beside.iter().enumerate() {
            if swapped.get(number) == Some(&Swapped::Done) {
                observe(number, folder);
                self.protect_folders(&self.layout().object(&staged[number].path));
            }
            self.discard(folder)?;
        }
        Ok(swapped)
    }

    /// Gives a finished folder of `tmp/` a name beside the objects and its final mode.
    pub(crate) fn move_beside_objects(&self, folder: &Path) -> Result<PathBuf, StoreError> {
        let beside = self.layout().objects().join(fs_ops::unique_name(SWAP_PREFIX.trim_end_matches('-')));
        fs::rename(folder, &beside).on("move beside the objects", folder)?;
        fs_ops::canonicalise_folder(&beside)?;
        Ok(beside)
    }

    /// Exchanges `folder` with that of the valid object `row`, inside the transaction of `db`, unless somebody uses it.
    pub(crate) fn exchange(
        &self,
        db: &Connection,
        (row, path): (RowId, &str),
        folder: &Path,
        users: &UsersAtWork,
    ) -> Result<Swapped, Failure> {
        if db::graph::path_if(db, row, VALID)?.as_deref() != Some(path) {
            return Ok(Swapped::Gone);
        }
        if users.use_object(path) || self.is_used(db, row)? {
            return Ok(Swapped::InUse);
        }
        let target = self.layout().object(path);
        fs_ops::make_path_mutable(&target);
        match renameat2(AT_FDCWD, folder, AT_FDCWD, &target, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => Ok(Swapped::Done),
            Err(Errno::ENOENT) if fs_ops::rename_if_absent(folder, &target)? => Ok(Swapped::Done),
            Err(errno) => Err(StoreError::io("exchange", &target, errno.into()).into()),
        }
    }

    /// Gives the folders of an object's new tree the immutable flag where objects are to have it. What fails costs protection.
    fn protect_folders(&self, top: &Path) {
        let mut waiting = if self.is_protecting { vec![top.to_owned()] } else { Vec::new() };
        while let Some(folder) = waiting.pop() {
            let below = fs::read_dir(&folder).into_iter().flatten().flatten();
            let folders = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            waiting.extend(folders.map(|entry| entry.path()));
            if let Err(error) = fs_ops::make_immutable(&folder) {
                tracing::warn!(path = %folder.display(), %error, "an object stays without the immutable flag");
            }
        }
    }

    /// Whether a living process has a lease on the object of `row`.
    pub(crate) fn is_used(&self, db: &Connection, row: RowId) -> Result<bool, Failure> {
        for name in db::lease::of_object(db, row)? {
            if lock::is_held(&self.layout().lease_lock(&name))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes a folder that lost its place.
    pub(crate) fn discard(&self, folder: &Path) -> Result<(), StoreError> {
        match fs_ops::move_to_trash(folder, &self.layout().trash())? {
            Some(trashed) => fs_ops::remove_tree(&trashed, None).map(drop),
            None => Ok(()),
        }
    }

    /// Deletes what killed exchanges left beside the objects; the caller has the lock `gc`, so nobody exchanges now.
    pub(crate) fn sweep_swaps(&self) -> Result<(), StoreError> {
        let objects = self.layout().objects();
        for entry in fs::read_dir(&objects).on("list", &objects)? {
            let entry = entry.on("list", &objects)?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(SWAP_PREFIX)) {
                self.discard(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Makes `target` another name of `source`; `Ok(false)` where the inode has no room for one.
pub(crate) fn link_if_room(source: &Path, target: &Path) -> Result<bool, StoreError> {
    match fs::hard_link(source, target) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EMLINK) => Ok(false),
        // Another user's file (fs.protected_hardlinks), or no hard links at all.
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => Ok(false),
        Err(error) => Err(StoreError::io("link", target, error)),
    }
}
