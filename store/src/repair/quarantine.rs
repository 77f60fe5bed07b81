//! What can't be mended is moved out of `store/`, to be looked at by a person. Nothing here is deleted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pip_accel_schema::store_path::ObjectId;

use super::mend::{Mended, Patient};
use super::{Action, LostObject, place};
use crate::db;
use crate::db::object::VALID;
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::lock;
use crate::rebuild;
use crate::registry;
use crate::store::Store;
use crate::verify::{InodeDigests, VerifyDepth};

impl Store {
    /// A free name in the quarantine, which is there then.
    fn quarantine_place(&self, name: &str) -> Result<PathBuf, StoreError> {
        let folder = self.layout().quarantine();
        fs::create_dir_all(&folder).on("create", &folder)?;
        Ok(folder.join(fs_ops::unique_name(name)))
    }

    /// Moves entries that do not belong to the object in `folder` away; gives the folder in which they are now, under
    /// their old paths.
    pub(super) fn quarantine_entries(
        &self,
        name: &str,
        folder: &Path,
        entries: &[String],
    ) -> Result<PathBuf, StoreError> {
        let to = self.quarantine_place(name)?;
        for entry in entries {
            let (from, target) = (folder.join(entry), to.join(entry));
            let above = target.parent().unwrap_or(&to);
            fs::create_dir_all(above).on("create", above)?;
            let parent = from.parent().unwrap_or(folder);
            place::change_folder(parent, || {
                fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).on("set the mode of", parent)?;
                let moved = move_out(&from, &target);
                fs_ops::canonicalise_folder(parent)?;
                moved.map(drop)
            })?;
        }
        Ok(to)
    }

    /// Takes the object out of the store: its row goes, with what says that roots and objects need it, and its folder is
    /// moved. Unless a living process uses it.
    pub(super) fn quarantine_object(&self, patient: &Patient, reason: String) -> Result<Mended, StoreError> {
        let path = patient.path();
        let to = self.quarantine_place(&path)?;
        let users = self.hold_users_off()?;
        let _publish = lock::lock_exclusive(&self.layout().publish_lock())?;
        let moved = self.database.write_durably("take an object out", |db| {
            if users.use_object(&path) || self.is_used(db, patient.row)? {
                return Ok(None);
            }
            let moved = move_out(&self.layout().object(&path), &to)?;
            self.checkpoint("repair-quarantined");
            db::object::forget(db, patient.row)?;
            Ok(Some(moved))
        })?;
        let Some(moved) = moved else { return Ok(Mended::InUse) };
        let lost = LostObject {
            id: patient.object.id,
            path,
            name: patient.object.name.clone(),
            version: patient.object.version.clone(),
            reason: reason.clone(),
            roots: patient.roots.clone(),
        };
        Ok(Mended::Lost(patient.all(&Action::Quarantined { to: moved.then_some(to), reason }), lost))
    }

    /// A folder that no row speaks of: registered when it is a whole object, else moved away.
    pub(super) fn repair_unknown(&self, name: &str) -> Result<Action, StoreError> {
        let _publish = lock::lock_exclusive(&self.layout().publish_lock())?;
        if let Ok(found) = self.look_at_folder(name, VerifyDepth::Full, &InodeDigests::default()) {
            let (written, _) = registry::read_all(self.layout())?;
            let registered = self.database.write("register an object", |db| {
                let known = db::object::find_any_state(db, &found.id)?.is_some();
                for reference in &found.record.references {
                    if db::object::find_any_state(db, reference)?.is_none_or(|found| found.state != VALID) {
                        return Ok(false);
                    }
                }
                if !known {
                    let id = found.id;
                    let rows = rebuild::register(db, &[found], (self.now(), true))?;
                    // It was unknown because it could not be read when the database was made anew.
                    for (root, _) in written.iter().filter(|(_, objects)| objects.contains(&id)) {
                        db::root::hold(db, root.kind, &root.name, rows[&id])?;
                    }
                }
                Ok(!known)
            })?;
            if registered {
                return Ok(Action::Registered);
            }
        }
        let to = self.quarantine_place(name)?;
        match move_out(&self.layout().object(name), &to) {
            Ok(_) => Ok(Action::MovedAway { to }),
            Err(error) => Ok(Action::Left { reason: error.to_string() }),
        }
    }

    /// Lets the database say that the object of `row` needs the object `id`; whether that is in the store.
    pub(super) fn refer(&self, row: db::RowId, id: &ObjectId) -> Result<bool, StoreError> {
        self.database.write("write a reference", |db| match db::object::find_any_state(db, id)? {
            Some(found) if found.state == VALID => db::object::add_reference(db, row, found.row).map(|()| true),
            _ => Ok(false),
        })
    }
}

/// Moves a folder, file or link; whether there was one.
fn move_out(from: &Path, to: &Path) -> Result<bool, StoreError> {
    let Ok(metadata) = fs::symlink_metadata(from) else { return Ok(false) };
    if metadata.is_dir() {
        fs_ops::make_path_mutable(from);
        // The kernel wants write permission on a folder that gets a new parent; best effort, the rename tells.
        drop(fs::set_permissions(from, fs::Permissions::from_mode(0o755)));
    }
    fs::rename(from, to).on("move to the quarantine", from)?;
    Ok(true)
}
