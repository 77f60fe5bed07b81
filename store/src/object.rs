//! Objects as others see them, and the look-ups that find them.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::ContentDigest;
use pip_accel_schema::link_plan::LinkPlan;
use pip_accel_schema::manifest::{Manifest, OBJECT_RECORD_FORMAT, ObjectRecord, Provenance};
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::{OBJECT_ID_TEXT_LEN, ObjectId};
use rusqlite::Connection;

use crate::db::object::Found;
use crate::db::{self, Failure};
use crate::error::{IoContext, StoreError};
use crate::layout::RECORD_FILE;
use crate::root::Root;
use crate::store::Store;

/// Longest record that is read: a package of a million files with paths of 200 bytes stays below.
pub(crate) const RECORD_BYTES_MAX: u64 = 512 << 20;

/// Most objects that one id prefix may stand for in an answer.
const PREFIX_MATCHES_MAX: u32 = 100;

/// A valid object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its id.
    pub id: ObjectId,
    /// Its folder, absolute.
    pub path: PathBuf,
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// What it is made from.
    pub provenance: Provenance,
    /// Digest of what it holds.
    pub content_digest: ContentDigest,
    /// Sum of its files' lengths in bytes, shared ones included.
    pub size_bytes: u64,
    /// How environments link it; `None` for a source.
    pub link_plan: Option<Arc<LinkPlan>>,
    /// When it became valid, in seconds since 1970.
    pub registered_at: i64,
    /// When a lease last took it (noted at most once an hour), in seconds since 1970.
    pub last_used_at: i64,
}

/// What keeps an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Referrers {
    /// Roots that name it.
    pub roots: Vec<Root>,
    /// Objects that refer to it.
    pub objects: Vec<Object>,
}

impl Store {
    /// The valid objects of a project, newest first; those of lower stores after the own ones.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn objects_named(
        &self,
        name: &PackageName,
        version: Option<&PackageVersion>,
    ) -> Result<Vec<Object>, StoreError> {
        self.list("look up a project", |store, db| db::object::find_named(db, store.layout(), name, version))
    }

    /// The valid sources, the wheels and sdists as they were published, newest first; those of lower stores after the own
    /// ones.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn sources(&self) -> Result<Vec<Object>, StoreError> {
        self.list("list the sources", |store, db| db::object::find_sources(db, store.layout()))
    }

    /// The valid objects whose id (or directory name) starts with `id_prefix`, at most 100 of each store.
    /// A text that no id starts with has none.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn object_by_prefix(&self, id_prefix: &str) -> Result<Vec<Object>, StoreError> {
        let Some((low, high)) = id_range(id_prefix) else { return Ok(Vec::new()) };
        let range = (low.as_bytes().as_slice(), high.as_bytes().as_slice());
        self.list("look up an object", |store, db| {
            db::object::find_between(db, store.layout(), range, PREFIX_MATCHES_MAX)
        })
    }

    /// What a look-up finds here and in the lower stores; of one id only what would be used.
    fn list(
        &self,
        action: &'static str,
        look_up: impl Fn(&Self, &Connection) -> Result<Vec<Found>, Failure>,
    ) -> Result<Vec<Object>, StoreError> {
        let found = self.database.read(action, |db| look_up(self, db))?;
        let mut objects: Vec<Object> = found.into_iter().map(|(_, object)| object).collect();
        for lower in &self.lower {
            let below = lower.look_up(action, |store, db| Ok(look_up(store, db)?.into_iter().map(Some).collect()));
            let known: HashSet<ObjectId> = objects.iter().map(|object| object.id).collect();
            objects.extend(lower.note(below).into_iter().flatten().filter(|object| !known.contains(&object.id)));
        }
        Ok(objects)
    }

    /// Those of `ids` that are not (any more) in the store, nor in a lower one.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn missing(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, StoreError> {
        let absent = self.missing_here(ids)?;
        let mut missing: Vec<ObjectId> = ids.iter().filter(|id| absent.contains(id)).copied().collect();
        for lower in &self.lower {
            let here = lower.note(lower.having(&missing));
            missing.retain(|id| !here.contains(id));
        }
        Ok(missing)
    }

    /// What keeps the object alive directly: the roots that name it and the objects that refer to it.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn referrers(&self, id: &ObjectId) -> Result<Referrers, StoreError> {
        let mut referrers = self.database.snapshot("look up referrers", |db| {
            let objects = db::object::find_referrers(db, self.layout(), id)?;
            let objects = objects.into_iter().map(|(_, object)| object).collect();
            Ok(Referrers { roots: db::root::of_object(db, id)?, objects })
        })?;
        referrers.roots.extend(self.roots_below(id)?);
        Ok(referrers)
    }

    /// The list of what the object holds, from its own record on disk; checked against its content digest.
    ///
    /// # Errors
    /// When the record is missing or damaged.
    pub fn read_manifest(&self, object: &Object) -> Result<Manifest, StoreError> {
        let record = read_record(&object.path)?;
        if record.manifest.content_digest() != object.content_digest {
            let reason = "its manifest is not the one that was registered".to_owned();
            return Err(StoreError::Record { what: object.path.display().to_string(), reason });
        }
        Ok(record.manifest)
    }
}

/// Reads the record in an object's folder.
pub(crate) fn read_record(folder: &Path) -> Result<ObjectRecord, StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = folder.join(RECORD_FILE);
    let mut options = File::options();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = options.read(true).custom_flags(flags).open(&path).on("open", &path)?;
    let mut text = Vec::new();
    file.take(RECORD_BYTES_MAX).read_to_end(&mut text).on("read", &path)?;
    let damaged = |reason: String| StoreError::Record { what: path.display().to_string(), reason };
    let record: ObjectRecord = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if record.format > OBJECT_RECORD_FORMAT {
        return Err(damaged(format!("it has format {}, this program reads {OBJECT_RECORD_FORMAT}", record.format)));
    }
    Ok(record)
}

/// The smallest and the largest id whose text starts with `prefix`; of a longer text only the id counts.
fn id_range(prefix: &str) -> Option<(ObjectId, ObjectId)> {
    let prefix = match prefix.split_once('-') {
        Some((id, _)) if id.len() == OBJECT_ID_TEXT_LEN => id,
        _ => prefix,
    };
    if prefix.is_empty() || prefix.len() > OBJECT_ID_TEXT_LEN || !prefix.is_ascii() {
        return None;
    }
    let missing = OBJECT_ID_TEXT_LEN - prefix.len();
    let low = format!("{prefix}{}", "a".repeat(missing)).parse().ok()?;
    let high = format!("{prefix}{}", "7".repeat(missing)).parse().ok()?;
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_stands_for_a_range_of_ids() {
        let (low, high) = id_range("ab").expect("a prefix");
        assert_eq!(low.to_string(), format!("ab{}", "a".repeat(30)));
        assert_eq!(high.to_string(), format!("ab{}", "7".repeat(30)));
        let whole = format!("{low}-name-1.0");
        assert_eq!(id_range(&whole), Some((low, low)));
        for bad in ["", "A", "1", "ä", &"a".repeat(33)] {
            assert_eq!(id_range(bad), None, "{bad}");
        }
    }
}
