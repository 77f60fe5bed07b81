//! Objects whose row is valid and whose folder does not hold them any more: somebody deleted or changed it.
//!
//! A look-up does not find them, and publishing one again gives the row, with all roots that name it, a new folder. Until
//! then nothing is changed: a run that can't have the object anew leaves things as it found them.
//!
//! This is not what a repair knows (`repair::Damaged`), although both hide a valid row from look-ups. What is lost was found
//! by accident, while others may be reading the folder: publishing it moves the rest of the folder away and takes the row
//! over, as for an object that is new, without the lock `gc` and whoever has a lease. What a repair has in hand may be
//! whole but for one file: it is exchanged as a whole under the lock `gc`, never while somebody has a lease on it, and
//! the report says whether its content changed. One notion for both would have to choose one of these two ways.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pip_accel_schema::manifest::EntryKind;
use pip_accel_schema::store_path::ObjectId;

use crate::dedupe::GENERATIONS_MAX;
use crate::layout::Layout;
use crate::object::{Object, read_record};
use crate::store::Store;

/// What the processes of this handle found out about objects.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Objects whose content is not what was published.
    changed: Mutex<HashSet<ObjectId>>,
    /// Folders that are gone, and whether that was told already.
    gone: Mutex<BTreeMap<String, bool>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lost {
    /// Whether the folder of a valid row is there and, as far as this handle knows, whole. One `lstat`.
    pub(crate) fn is_usable(&self, layout: &Layout, id: &ObjectId, path: &str) -> bool {
        if locked(&self.changed).contains(id) {
            return false;
        }
        // Any other answer than a folder (no permission, an I/O error) is for whoever reads it to report.
        let gone = match fs::symlink_metadata(layout.object(path)) {
            Ok(metadata) => !metadata.is_dir(),
            Err(error) => crate::root::is_absent(&error),
        };
        if gone {
            locked(&self.gone).entry(path.to_owned()).or_insert(false);
        }
        !gone
    }

    /// The object has a new folder.
    pub(crate) fn replaced(&self, id: &ObjectId) {
        locked(&self.changed).remove(id);
    }
}

impl Store {
    /// Whether the folder of an object whose row is valid is there and, as far as this handle knows, whole.
    pub(crate) fn is_usable(&self, object: &Object) -> bool {
        let name = object.path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| self.lost.is_usable(self.layout(), &object.id, name))
    }

    /// From now on this handle does not find `object`, whose content is not what was published; publishing it again
    /// replaces it. Files that later objects would share with it are not shared any more.
    pub fn distrust(&self, object: &Object) {
        if let Some(lower) = self.lower_of(object) {
            locked(&lower.store.lost.changed).insert(object.id);
            return;
        }
        if let Ok(record) = read_record(&object.path) {
            for entry in record.manifest.entries() {
                let EntryKind::File { digest, executable, .. } = &entry.kind else { continue };
                let Ok(own) = fs::symlink_metadata(object.path.join(entry.path.as_str())) else { continue };
                for generation in 0..GENERATIONS_MAX {
                    let shared = self.layout().shared_file(digest, *executable, generation);
                    match fs::symlink_metadata(&shared) {
                        // A name that can't be removed costs another download, no more: the bytes are checked again.
                        Ok(found) if (found.dev(), found.ino()) == (own.dev(), own.ino()) => {
                            drop(fs::remove_file(&shared));
                        }
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
            }
        }
        locked(&self.lost.changed).insert(object.id);
    }

    /// Names of folders of objects that look-ups missed, sorted, in this store and then in lower ones;
    /// each is told once.
    #[must_use]
    pub fn take_gone(&self) -> Vec<String> {
        let mut gone = locked(&self.lost.gone);
        let untold = gone.iter_mut().filter_map(|(path, told)| (!std::mem::replace(told, true)).then(|| path.clone()));
        let mut names: Vec<String> = untold.collect();
        names.extend(self.lower.iter().flat_map(|lower| lower.store.take_gone()));
        names
    }
}
