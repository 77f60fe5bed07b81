//! Rows of `root` and `root_object`.

use std::collections::HashSet;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pip_accel_schema::store_path::ObjectId;
use rusqlite::{Connection, Row, params};

use super::{Failure, RowId};
use crate::error::StoreError;
use crate::root::{Root, RootKind};

/// A root and its row.
pub(crate) type FoundRoot = (RowId, Root);

fn root_of_row(row: &Row<'_>) -> Result<FoundRoot, Failure> {
    let kind: String = row.get(1)?;
    let name: String = row.get(2)?;
    let unknown = || StoreError::Record { what: format!("root {name}"), reason: format!("unknown kind `{kind}`") };
    let root = Root {
        kind: RootKind::parse(&kind).ok_or_else(unknown)?,
        location: PathBuf::from(std::ffi::OsString::from_vec(row.get(3)?)),
        device: u64::from_ne_bytes(row.get::<_, i64>(4)?.to_ne_bytes()),
        created_at: row.get(5)?,
        name,
    };
    Ok((row.get(0)?, root))
}

/// The root of this kind and name.
pub(crate) fn find(connection: &Connection, kind: RootKind, name: &str) -> Result<Option<FoundRoot>, Failure> {
    const SQL: &str = "SELECT id, kind, name, location, device, created_at FROM root WHERE kind = ?1 AND name = ?2";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query(params![kind.as_str(), name])?;
    rows.next()?.map(root_of_row).transpose()
}

/// What the root of this kind and name names; `None` when there is none.
pub(crate) fn objects(
    connection: &Connection,
    kind: RootKind,
    name: &str,
) -> Result<Option<HashSet<ObjectId>>, Failure> {
    const SQL: &str = "SELECT o.hash FROM root_object k JOIN object o ON o.id = k.object WHERE k.root = ?1";
    let Some((row, _)) = find(connection, kind, name)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([row])?;
    let mut objects = HashSet::new();
    while let Some(row) = rows.next()? {
        objects.extend(ObjectId::from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?));
    }
    Ok(Some(objects))
}

/// The valid objects that the root of this kind and name names, with the names of their folders; `None` when there is
/// none.
pub(crate) fn folders(
    connection: &Connection,
    kind: RootKind,
    name: &str,
) -> Result<Option<Vec<(ObjectId, String)>>, Failure> {
    const SQL: &str =
        "SELECT o.hash, o.path FROM root_object k JOIN object o ON o.id = k.object WHERE k.root = ?1 AND o.state = 1";
    let Some((row, _)) = find(connection, kind, name)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([row])?;
    let mut folders = Vec::new();
    while let Some(row) = rows.next()? {
        let id = ObjectId::from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        folders.extend(id.zip(row.get::<_, Option<String>>(1)?));
    }
    Ok(Some(folders))
}

pub(crate) fn all(connection: &Connection) -> Result<Vec<FoundRoot>, Failure> {
    const SQL: &str = "SELECT id, kind, name, location, device, created_at FROM root ORDER BY kind, name";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([])?;
    let mut roots = Vec::new();
    while let Some(row) = rows.next()? {
        roots.push(root_of_row(row)?);
    }
    Ok(roots)
}

/// All roots and the objects that they name, sorted.
pub(crate) fn all_with_objects(connection: &Connection) -> Result<Vec<(Root, Vec<ObjectId>)>, Failure> {
    const SQL: &str =
        "SELECT o.hash FROM root_object k JOIN object o ON o.id = k.object WHERE k.root = ?1 ORDER BY o.hash";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut roots = Vec::new();
    for (row, root) in all(connection)? {
        let mut rows = statement.query([row])?;
        let mut objects = Vec::new();
        while let Some(row) = rows.next()? {
            objects.extend(ObjectId::from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?));
        }
        roots.push((root, objects));
    }
    Ok(roots)
}

/// The roots that name the object itself.
pub(crate) fn of_object(connection: &Connection, id: &ObjectId) -> Result<Vec<Root>, Failure> {
    const SQL: &str = "SELECT r.id, r.kind, r.name, r.location, r.device, r.created_at FROM root r
        JOIN root_object k ON k.root = r.id JOIN object o ON o.id = k.object WHERE o.hash = ?1 ORDER BY r.kind, r.name";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([id.as_bytes()])?;
    let mut roots = Vec::new();
    while let Some(row) = rows.next()? {
        roots.push(root_of_row(row)?.1);
    }
    Ok(roots)
}

/// Writes a root over the one of the same kind and name; all `objects` are rows of valid objects.
pub(crate) fn put(connection: &Connection, root: &Root, objects: &[RowId]) -> Result<(), Failure> {
    remove(connection, root.kind, &root.name)?;
    let device = i64::from_ne_bytes(root.device.to_ne_bytes());
    connection
        .prepare_cached("INSERT INTO root (kind, name, location, device, created_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            root.kind.as_str(),
            root.name,
            root.location.as_os_str().as_bytes(),
            device,
            root.created_at
        ])?;
    let row = connection.last_insert_rowid();
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO root_object (root, object) VALUES (?1, ?2)")?;
    for object in objects {
        insert.execute([row, *object])?;
    }
    Ok(())
}

/// Lets the root of this kind and name, if there is one, name the object, too.
pub(crate) fn hold(connection: &Connection, kind: RootKind, name: &str, object: RowId) -> Result<(), Failure> {
    const SQL: &str =
        "INSERT OR IGNORE INTO root_object (root, object) SELECT id, ?3 FROM root WHERE kind = ?1 AND name = ?2";
    connection.prepare_cached(SQL)?.execute((kind.as_str(), name, object))?;
    Ok(())
}

pub(crate) fn remove(connection: &Connection, kind: RootKind, name: &str) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached("DELETE FROM root WHERE kind = ?1 AND name = ?2")?;
    Ok(statement.execute(params![kind.as_str(), name])? > 0)
}

/// Lets the root of an environment follow it to `location`. A root that is there already is younger, and stays.
pub(crate) fn follow(connection: &Connection, row: RowId, root: &Root, location: &Path) -> Result<(), Failure> {
    let name = location.to_string_lossy().into_owned();
    let mut known = connection.prepare_cached("SELECT count(*) FROM root WHERE kind = ?1 AND name = ?2")?;
    if known.query_row(params![root.kind.as_str(), name], |row| row.get::<_, i64>(0))? > 0 {
        return remove_row(connection, row);
    }
    connection.prepare_cached("UPDATE root SET name = ?2, location = ?3 WHERE id = ?1")?.execute(params![
        row,
        name,
        location.as_os_str().as_bytes()
    ])?;
    Ok(())
}

pub(crate) fn remove_row(connection: &Connection, row: RowId) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM root WHERE id = ?1")?.execute([row])?;
    Ok(())
}
