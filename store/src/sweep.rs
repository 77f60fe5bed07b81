//! Tidying up after processes that died: at every start what is cheap, in `gc` everything.
//!
//! Nothing here may keep a store from opening: what can't be tidied is reported to the log and stays.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::db;
use crate::db::object::{DELETING, PENDING};
use crate::error::{IoContext, StoreError};
use crate::fs_ops::{self, Freed};
use crate::gc;
use crate::layout::{KEY_PREFIX, LEASE_PREFIX, LOG_SUFFIX};
use crate::lock;
use crate::store::Store;

/// Folders in the trash that one start deletes; a collector that was killed may have left thousands.
const TRASH_AT_START_MAX: usize = 16;

/// Rows finished in one transaction.
const ROWS_MAX: u32 = 500;

/// Logs without a row that are younger may belong to a build that is about to be registered.
const LOG_AGE_SECONDS: i64 = 86_400;

impl Store {
    /// The cheap part: one look into `tmp/` and `trash/` and two queries when there is nothing to do.
    pub(crate) fn sweep_at_start(&self) -> Result<(), StoreError> {
        note("tmp/", self.sweep_tmp());
        note("unfinished objects", self.sweep_pending());
        note("leases", self.sweep_leases());
        note("the trash", self.sweep_trash_at_start());
        Ok(())
    }

    /// The whole, under the collector's lock: everything above without limits, and lock files and logs of the dead.
    pub(crate) fn sweep_fully(&self) -> Freed {
        let mut freed = Freed::default();
        note("tmp/", self.sweep_tmp());
        note("unfinished objects", self.sweep_pending());
        note("objects being deleted", self.sweep_deleting());
        note("folders beside the objects", self.sweep_swaps());
        note("lock files", self.sweep_lock_files());
        note("logs", self.sweep_logs());
        match trashed(&self.layout().trash()) {
            Ok(folders) => {
                for folder in folders {
                    match gc::delete_trashed(self.layout(), &folder) {
                        Ok(more) => freed.add(more),
                        Err(error) => tracing::warn!(%error, "a folder stays in the trash"),
                    }
                }
            }
            Err(error) => note("the trash", Err(error)),
        }
        freed
    }

    /// Deletes staging and scratch folders whose owner is dead.
    fn sweep_tmp(&self) -> Result<(), StoreError> {
        let tmp = self.layout().tmp();
        for entry in fs::read_dir(&tmp).on("list", &tmp)? {
            let path = entry.on("list", &tmp)?.path();
            note("a folder of a dead process", remove_if_dead(&path));
        }
        Ok(())
    }

    /// Rows that are `pending` while nobody holds the publish lock have no owner any more.
    fn sweep_pending(&self) -> Result<(), StoreError> {
        if self.unfinished(PENDING)?.is_empty() {
            return Ok(());
        }
        match lock::try_lock_exclusive(&self.layout().publish_lock())? {
            Some(_lock) => self.finish_rows(PENDING),
            None => Ok(()),
        }
    }

    /// Objects that a collector marked and did not get to; the caller has the collector's lock.
    pub(crate) fn sweep_deleting(&self) -> Result<(), StoreError> {
        self.finish_rows(DELETING)
    }

    fn unfinished(&self, state: i64) -> Result<Vec<(db::RowId, String)>, StoreError> {
        self.database.read("look for unfinished objects", |db| db::object::unfinished(db, state, ROWS_MAX))
    }

    fn finish_rows(&self, state: i64) -> Result<(), StoreError> {
        while !self.unfinished(state)?.is_empty() {
            self.database.write("finish unfinished objects", |db| {
                for (row, path) in db::object::unfinished(db, state, ROWS_MAX)? {
                    fs_ops::move_to_trash(&self.layout().object(&path), &self.layout().trash())?;
                    db::object::delete(db, row, state)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Deletes the rows of leases whose process is dead.
    fn sweep_leases(&self) -> Result<(), StoreError> {
        let names = self.database.read("list the leases", db::lease::names)?;
        for name in names {
            let path = self.layout().lease_lock(&name);
            if !lock::is_held(&path)? {
                self.database.write("end a lease", |db| db::lease::remove(db, &name))?;
                drop(fs::remove_file(&path));
            }
        }
        Ok(())
    }

    fn sweep_trash_at_start(&self) -> Result<(), StoreError> {
        let folders = trashed(&self.layout().trash())?;
        let deleting = self.unfinished(DELETING)?;
        if folders.is_empty() && deleting.is_empty() {
            return Ok(());
        }
        // While somebody collects, all of this is that process' business.
        let Some(_lock) = lock::try_lock_exclusive(&self.layout().gc_lock())? else { return Ok(()) };
        self.sweep_deleting()?;
        for folder in folders.into_iter().take(TRASH_AT_START_MAX) {
            gc::delete_trashed(self.layout(), &folder)?;
        }
        Ok(())
    }

    /// Deletes lock files of leases and keys that nobody holds.
    fn sweep_lock_files(&self) -> Result<(), StoreError> {
        self.sweep_leases()?;
        let locks = self.layout().locks();
        for entry in fs::read_dir(&locks).on("list", &locks)? {
            let entry = entry.on("list", &locks)?;
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| name.starts_with(LEASE_PREFIX) || name.starts_with(KEY_PREFIX));
            if ours {
                note("a lock file", remove_if_dead(&entry.path()));
            }
        }
        Ok(())
    }

    /// Deletes logs that no row speaks of: their build died.
    fn sweep_logs(&self) -> Result<(), StoreError> {
        let known = self.database.read("list the logs", db::build::logs)?;
        let logs = self.layout().logs();
        let now = crate::store::Clock::System.now();
        for entry in fs::read_dir(&logs).on("list", &logs)? {
            let entry = entry.on("list", &logs)?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(LOG_SUFFIX)) else { continue };
            let old = entry.metadata().is_ok_and(|metadata| metadata.mtime() < now - LOG_AGE_SECONDS);
            if old && !known.iter().any(|log| log == name) {
                note("a log", remove_if_dead(&entry.path()));
            }
        }
        Ok(())
    }
}

fn note(what: &'static str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, what, "could not be tidied up");
    }
}

/// What lies in the trash.
pub(crate) fn trashed(trash: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(trash).on("list", trash)?;
    entries.map(|entry| entry.map(|entry| entry.path()).on("list", trash)).collect()
}

/// Deletes a file or folder that its owner would have flocked, unless somebody does.
fn remove_if_dead(path: &Path) -> Result<(), StoreError> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Neither ours nor lockable (a link, an unreadable folder): what is in `tmp/` without a lock is dead.
        Err(_) => return fs_ops::remove_tree(path, None).map(drop),
    };
    if !lock::try_lock(&opened, path)? || !fs_ops::is_same_file(&opened, path)? {
        return Ok(());
    }
    fs_ops::remove_tree(path, None).map(drop)
}
