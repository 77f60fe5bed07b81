//! Look-ups for people's questions: single objects of the graph, as little of each as an answer needs.

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::ObjectId;
use rusqlite::{Connection, Params};

use super::{Failure, RowId};
use crate::error::StoreError;

/// One valid object of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) row: RowId,
    pub(crate) id: ObjectId,
    pub(crate) name: PackageName,
    pub(crate) version: PackageVersion,
    pub(crate) is_source: bool,
    pub(crate) registered_at: i64,
    pub(crate) last_used_at: i64,
}

macro_rules! select_node {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.hash, o.name, o.version, o.kind = 'source', o.registered_at, o.last_used_at FROM object o ",
            $rest
        )
    };
}

/// The valid object `id`.
pub(crate) fn node(connection: &Connection, id: &ObjectId) -> Result<Option<Node>, Failure> {
    Ok(select(connection, select_node!("WHERE o.hash = ?1 AND o.state = 1"), [id.as_bytes()])?.pop())
}

/// The valid objects that refer to `row`, by name.
pub(crate) fn referrers(connection: &Connection, row: RowId) -> Result<Vec<Node>, Failure> {
    const SQL: &str = select_node!(
        "JOIN reference r ON r.referrer = o.id WHERE r.reference = ?1 AND o.state = 1 ORDER BY o.name, o.version, o.id"
    );
    select(connection, SQL, [row])
}

/// The valid objects that were made from the source `row`, by name.
pub(crate) fn made_from(connection: &Connection, row: RowId) -> Result<Vec<Node>, Failure> {
    const SQL: &str = select_node!(
        "WHERE o.source_sha256 = (SELECT s.source_sha256 FROM object s WHERE s.id = ?1) AND o.kind <> 'source'
         AND o.state = 1 ORDER BY o.name, o.version, o.id"
    );
    select(connection, SQL, [row])
}

/// The rows of the roots that name the object `row` themselves.
pub(crate) fn roots_of(connection: &Connection, row: RowId) -> Result<Vec<RowId>, Failure> {
    let mut statement = connection.prepare_cached("SELECT root FROM root_object WHERE object = ?1 ORDER BY root")?;
    let rows = statement.query_map([row], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Row, id and folder name of all valid objects, by row.
pub(crate) fn folders(connection: &Connection) -> Result<Vec<(RowId, ObjectId, String)>, Failure> {
    let mut statement = connection.prepare_cached("SELECT id, hash, path FROM object WHERE state = 1 ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let path: String = row.get(2)?;
        let hash = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        found.push((row.get(0)?, ObjectId::from_slice(hash).ok_or_else(|| damaged(&path, "its hash"))?, path));
    }
    Ok(found)
}

fn damaged(what: &str, column: &str) -> StoreError {
    StoreError::Record { what: what.to_owned(), reason: format!("{column} is not readable") }
}

fn select(connection: &Connection, sql: &str, parameters: impl Params) -> Result<Vec<Node>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(2)?;
        let hash = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        found.push(Node {
            row: row.get(0)?,
            id: ObjectId::from_slice(hash).ok_or_else(|| damaged(&name, "its hash"))?,
            name: name.parse().map_err(|_| damaged(&name, "its name"))?,
            version: row.get::<_, String>(3)?.parse().map_err(|_| damaged(&name, "its version"))?,
            is_source: row.get(4)?,
            registered_at: row.get(5)?,
            last_used_at: row.get(6)?,
        });
    }
    Ok(found)
}
