//! The roots once more, outside the database: one JSON file each in `roots/`, so that a lost database can be made anew.
//!
//! The database is what counts as long as it is there; a file is written after a root was set and deleted before one is
//! removed, so at worst a file is missing (the next [`Store::renew_registry`] writes it) or keeps something that nobody asked
//! for any more. No sync of its own: after a power cut the last files may be missing or empty while the database has the
//! roots, and only both losses together lose a root.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::store_path::ObjectId;
use serde::{Deserialize, Serialize};

use crate::checkpoint::checkpoint;
use crate::db;
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::layout::Layout;
use crate::root::{Root, RootKind};
use crate::store::{Access, Store};

/// Format of a file; a reader passes over newer ones.
const FORMAT: u32 = 1;

/// Ending of the files.
const SUFFIX: &str = ".json";

/// A root as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    format: u32,
    kind: String,
    name: String,
    /// The location's bytes where they are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// The location's bytes where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location_bytes: Option<Vec<u8>>,
    device: u64,
    created_at: i64,
    objects: Vec<ObjectId>,
}

impl Written {
    pub(crate) fn new(root: &Root, objects: &[ObjectId]) -> Self {
        let text = root.location.to_str();
        Self {
            format: FORMAT,
            kind: root.kind.as_str().to_owned(),
            name: root.name.clone(),
            location: text.map(str::to_owned),
            location_bytes: text.is_none().then(|| root.location.as_os_str().as_bytes().to_vec()),
            device: root.device,
            created_at: root.created_at,
            objects: objects.to_vec(),
        }
    }

    pub(crate) fn objects(&self) -> &[ObjectId] {
        &self.objects
    }

    /// `None` for one of a newer program.
    pub(crate) fn into_root(self) -> Option<(Root, Vec<ObjectId>)> {
        let location = match (self.location, self.location_bytes) {
            (Some(text), None) => PathBuf::from(text),
            (None, Some(bytes)) => PathBuf::from(OsString::from_vec(bytes)),
            _ => return None,
        };
        let kind = RootKind::parse(&self.kind).filter(|_| self.format <= FORMAT)?;
        let root = Root { kind, name: self.name, location, device: self.device, created_at: self.created_at };
        Some((root, self.objects))
    }
}

/// Where the root is written down: its kind and name, hashed, since names hold whatever callers like.
fn place(layout: &Layout, kind: RootKind, name: &str) -> PathBuf {
    let digest = Encoder::for_domain("pip-accel/root-file/1").text(kind.as_str()).text(name).finish();
    let digest = ValueDigest::from_bytes(digest).to_hex();
    layout.roots().join(format!("{}-{}{SUFFIX}", kind.as_str(), &digest[..32]))
}

/// Writes a root down, unless the same is there.
pub(crate) fn write(layout: &Layout, root: &Root, objects: &[ObjectId]) -> Result<(), StoreError> {
    let mut objects = objects.to_vec();
    objects.sort_unstable();
    objects.dedup();
    let path = place(layout, root.kind, &root.name);
    let text = serde_json::to_vec(&Written::new(root, &objects))
        .map_err(|error| StoreError::Record { what: format!("root {}", root.name), reason: error.to_string() })?;
    if fs::read(&path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let (staged, mut file) = fs_ops::create_locked_file(&layout.tmp(), "root")?;
    let written = file.write_all(&text).on("write", &staged);
    checkpoint("root-staged");
    let moved = written.and_then(|()| match fs::rename(&staged, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The store is from before roots were written down.
            let folder = layout.roots();
            fs::create_dir_all(&folder)
                .on("create", &folder)
                .and_then(|()| fs::rename(&staged, &path).on("write", &path))
        }
        other => other.on("write", &path),
    });
    if moved.is_err() {
        drop(fs::remove_file(&staged));
    }
    moved
}

/// Deletes what was written down of a root.
pub(crate) fn remove(layout: &Layout, kind: RootKind, name: &str) -> Result<(), StoreError> {
    let path = place(layout, kind, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", &path, error)),
        _ => Ok(()),
    }
}

/// All roots that are written down, and the files that can't be read as such.
#[expect(clippy::type_complexity, reason = "two lists, told apart where they are made")]
pub(crate) fn read_all(layout: &Layout) -> Result<(Vec<(Root, Vec<ObjectId>)>, Vec<PathBuf>), StoreError> {
    let folder = layout.roots();
    let (mut roots, mut unreadable) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((roots, unreadable)),
        Err(error) => return Err(StoreError::io("list", &folder, error)),
    };
    for entry in entries {
        let path = entry.on("list", &folder)?.path();
        match read_one(&path) {
            Some(root) => roots.push(root),
            None => unreadable.push(path),
        }
    }
    roots.sort_by(|(left, _), (right, _)| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
    Ok((roots, unreadable))
}

fn read_one(path: &Path) -> Option<(Root, Vec<ObjectId>)> {
    let written: Written = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    written.into_root()
}

impl Store {
    /// Writes down the roots of the database that are not written down, or otherwise. Deletes nothing: a database that lost
    /// its roots must not make their files go, too. What a root of the database lacks of its file stays in that: the object
    /// could not be read when the database was made anew, and may come back.
    pub(crate) fn renew_registry(&self) -> Result<(), StoreError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        for (root, objects) in self.database.snapshot("list the roots", db::root::all_with_objects)? {
            let known = read_one(&place(self.layout(), root.kind, &root.name));
            let has_all = |known: &(Root, Vec<ObjectId>)| {
                known.0 == root && objects.iter().all(|object| known.1.contains(object))
            };
            if !known.as_ref().is_some_and(has_all) {
                write(self.layout(), &root, &objects)?;
            }
        }
        Ok(())
    }
}
