//! The whole graph of objects at once, for the garbage collector.

use pip_accel_schema::store_path::ObjectId;
use rusqlite::{Connection, OptionalExtension, params};

use super::object::{DELETING, VALID};
use super::{Failure, RowId};
use crate::error::StoreError;
use crate::gc::graph::{Edges, Objects};
use crate::gc::{DeadObject, DeadReason, RebuildCost};

/// What the collector needs to know of one valid object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GraphObject {
    pub(crate) row: RowId,
    pub(crate) is_source: bool,
    pub(crate) size_bytes: u64,
    pub(crate) registered_at: i64,
    pub(crate) last_used_at: i64,
    /// First half of the SHA-256 of the published file it comes from; enough to match objects, never to prove one.
    pub(crate) source: Option<[u8; 16]>,
}

/// All valid objects, sorted by row.
pub(crate) fn objects(connection: &Connection) -> Result<Objects, Failure> {
    const SQL: &str = "SELECT id, kind, size_bytes, registered_at, source_sha256, last_used_at FROM object WHERE state = 1 ORDER BY id";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([])?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let source = row.get_ref(4)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        objects.push(GraphObject {
            row: row.get(0)?,
            is_source: row.get_ref(1)?.as_str().is_ok_and(|kind| kind == "source"),
            size_bytes: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
            registered_at: row.get(3)?,
            last_used_at: row.get(5)?,
            source: source.and_then(|bytes| bytes.first_chunk().copied()),
        });
    }
    Ok(objects.into_iter().collect())
}

/// All edges between `objects`. The primary key has them in the order of their referrers.
pub(crate) fn references(connection: &Connection, objects: &Objects) -> Result<Edges, Failure> {
    let mut statement = connection.prepare_cached("SELECT referrer, reference FROM reference ORDER BY referrer")?;
    let mut rows = statement.query([])?;
    let mut edges = Edges::builder(objects);
    while let Some(row) = rows.next()? {
        edges.add(row.get(0)?, row.get(1)?);
    }
    Ok(edges.finish())
}

/// What the roots name: root, object.
pub(crate) fn root_objects(connection: &Connection) -> Result<Vec<(RowId, RowId)>, Failure> {
    pairs(connection, "SELECT root, object FROM root_object")
}

fn pairs(connection: &Connection, sql: &str) -> Result<Vec<(RowId, RowId)>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next()? {
        pairs.push((row.get(0)?, row.get(1)?));
    }
    Ok(pairs)
}

/// Makes valid objects invisible. No live object refers to one of them, so all edges to them go with their referrers.
pub(crate) fn mark_deleting(connection: &Connection, rows: &[RowId]) -> Result<(), Failure> {
    let mut forget = connection.prepare_cached("DELETE FROM reference WHERE referrer = ?1")?;
    let mut mark = connection.prepare_cached("UPDATE object SET state = ?2 WHERE id = ?1 AND state = ?3")?;
    for row in rows {
        forget.execute([row])?;
        mark.execute([*row, DELETING, VALID])?;
    }
    Ok(())
}

/// Makes a row valid again that [`mark_deleting`] marked. What it referred to stays forgotten: that goes as well.
pub(crate) fn unmark(connection: &Connection, row: RowId) -> Result<(), Failure> {
    let mut mark = connection.prepare_cached("UPDATE object SET state = ?2 WHERE id = ?1 AND state = ?3")?;
    mark.execute([row, VALID, DELETING])?;
    Ok(())
}

/// The folder name of `row` if it is in `state`.
pub(crate) fn path_if(connection: &Connection, row: RowId, state: i64) -> Result<Option<String>, Failure> {
    let mut statement = connection.prepare_cached("SELECT path FROM object WHERE id = ?1 AND state = ?2")?;
    Ok(statement.query_row(params![row, state], |row| row.get(0)).optional()?)
}

/// Names a dead object for a report.
pub(crate) fn describe(connection: &Connection, row: RowId, reason: DeadReason) -> Result<DeadObject, Failure> {
    // The last good build of the object's recipe says how long a build takes.
    const SQL: &str = "SELECT o.hash, o.path, o.name, o.version, o.size_bytes, o.registered_at, o.last_used_at, o.kind,
            CASE o.kind WHEN 'build' THEN (SELECT b.duration_ms FROM realisation r JOIN build b ON b.recipe = r.recipe
                AND b.name = o.name WHERE r.object = o.id ORDER BY b.id DESC LIMIT 1) END
        FROM object o WHERE o.id = ?1";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([row])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let path: String = row.get(1)?;
    let damaged = |reason: &str| StoreError::Record { what: path.clone(), reason: reason.to_owned() };
    let hash = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
    let size_bytes = u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0);
    let rebuild = match row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)? {
        "source" => RebuildCost::Download { bytes: size_bytes },
        "build" => {
            let milliseconds = row.get::<_, Option<i64>>(8)?.and_then(|duration| u64::try_from(duration).ok());
            RebuildCost::Build { milliseconds }
        }
        _ => RebuildCost::Unpack,
    };
    Ok(DeadObject {
        id: ObjectId::from_slice(hash).ok_or_else(|| damaged("its hash is not readable"))?,
        name: row.get::<_, String>(2)?.parse().map_err(|_| damaged("its name is not readable"))?,
        version: row.get::<_, String>(3)?.parse().map_err(|_| damaged("its version is not readable"))?,
        size_bytes,
        registered_at: row.get(5)?,
        last_used_at: row.get(6)?,
        reason,
        rebuild,
        path: path.clone(),
    })
}
