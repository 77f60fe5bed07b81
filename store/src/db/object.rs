//! Rows of `object`, `reference` and `realisation`.

use std::collections::HashMap;
use std::sync::Arc;

use pip_accel_schema::digest::{ContentDigest, Sha256Digest, ValueDigest};
use pip_accel_schema::manifest::{ObjectRecord, Provenance};
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::RecipeId;
use pip_accel_schema::store_path::ObjectId;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::{Failure, RowId};
use crate::error::StoreError;
use crate::layout::Layout;
use crate::object::Object;
use crate::verify::Registered;

/// State of a row: its files may be incomplete.
pub(crate) const PENDING: i64 = 0;
/// State of a row: whole, and visible to everybody.
pub(crate) const VALID: i64 = 1;
/// State of a row: invisible, being removed.
pub(crate) const DELETING: i64 = 2;

macro_rules! select_object {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.hash, o.path, o.name, o.version, o.provenance, o.content_digest, o.size_bytes, ",
            "o.link_plan, o.registered_at, o.last_used_at FROM object o ",
            $rest
        )
    };
}

/// A valid object and its row.
pub(crate) type Found = (RowId, Object);

/// The row of an object in any state: number, state and the name of its folder.
#[derive(Debug)]
pub(crate) struct AnyState {
    pub(crate) row: RowId,
    pub(crate) state: i64,
    pub(crate) path: String,
}

pub(crate) fn find_valid(connection: &Connection, layout: &Layout, id: &ObjectId) -> Result<Option<Found>, Failure> {
    let found = select(connection, layout, select_object!("WHERE o.hash = ?1 AND o.state = 1"), [id.as_bytes()])?;
    Ok(found.into_iter().next())
}

pub(crate) fn find_source(
    connection: &Connection,
    layout: &Layout,
    sha256: &Sha256Digest,
) -> Result<Option<Found>, Failure> {
    const SQL: &str = select_object!("WHERE o.source_sha256 = ?1 AND o.kind = 'source' AND o.state = 1 LIMIT 1");
    Ok(select(connection, layout, SQL, [sha256.as_bytes()])?.into_iter().next())
}

pub(crate) fn find_realisations(
    connection: &Connection,
    layout: &Layout,
    recipe: &RecipeId,
) -> Result<Vec<Found>, Failure> {
    const SQL: &str = select_object!(
        "JOIN realisation r ON r.object = o.id WHERE r.recipe = ?1 AND o.state = 1 ORDER BY r.built_at DESC, o.id DESC"
    );
    select(connection, layout, SQL, [recipe.as_bytes()])
}

pub(crate) fn find_named(
    connection: &Connection,
    layout: &Layout,
    name: &PackageName,
    version: Option<&PackageVersion>,
) -> Result<Vec<Found>, Failure> {
    const SQL: &str = select_object!(
        "WHERE o.name = ?1 AND (?2 IS NULL OR o.version = ?2) AND o.state = 1 ORDER BY o.registered_at DESC, o.id DESC"
    );
    select(connection, layout, SQL, params![name.as_str(), version.map(PackageVersion::as_str)])
}

/// Every source.
pub(crate) fn find_sources(connection: &Connection, layout: &Layout) -> Result<Vec<Found>, Failure> {
    const SQL: &str =
        select_object!("WHERE o.kind = 'source' AND o.state = 1 ORDER BY o.registered_at DESC, o.id DESC");
    select(connection, layout, SQL, [])
}

/// Objects whose hash is between `low` and `high`, both included, at most `limit`.
pub(crate) fn find_between(
    connection: &Connection,
    layout: &Layout,
    range: (&[u8], &[u8]),
    limit: u32,
) -> Result<Vec<Found>, Failure> {
    const SQL: &str = select_object!("WHERE o.hash >= ?1 AND o.hash <= ?2 AND o.state = 1 ORDER BY o.hash LIMIT ?3");
    select(connection, layout, SQL, params![range.0, range.1, limit])
}

pub(crate) fn find_referrers(connection: &Connection, layout: &Layout, id: &ObjectId) -> Result<Vec<Found>, Failure> {
    const SQL: &str = select_object!(
        "JOIN reference r ON r.referrer = o.id JOIN object t ON t.id = r.reference
         WHERE t.hash = ?1 AND o.state = 1 ORDER BY o.name, o.id"
    );
    select(connection, layout, SQL, [id.as_bytes()])
}

/// The valid objects that the object `id` refers to, by name.
pub(crate) fn find_references(connection: &Connection, layout: &Layout, id: &ObjectId) -> Result<Vec<Found>, Failure> {
    const SQL: &str = select_object!(
        "JOIN reference r ON r.reference = o.id JOIN object f ON f.id = r.referrer
         WHERE f.hash = ?1 AND o.state = 1 ORDER BY o.name, o.id"
    );
    select(connection, layout, SQL, [id.as_bytes()])
}

/// What is to be verified: all valid objects.
pub(crate) fn registered(connection: &Connection) -> Result<Vec<Registered>, Failure> {
    const SQL: &str = "SELECT id, hash, path, content_digest, verified_at FROM object WHERE state = 1";
    let mut references = references_by_row(connection)?;
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let path: String = row.get(2)?;
        let hash = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let digest = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        let number: RowId = row.get(0)?;
        found.push(Registered {
            row: number,
            id: ObjectId::from_slice(hash).ok_or_else(|| damaged(&path, "its hash"))?,
            content_digest: ContentDigest::from_slice(digest).ok_or_else(|| damaged(&path, "its content digest"))?,
            verified_at: row.get(4)?,
            references: references.remove(&number).unwrap_or_default(),
            path,
        });
    }
    Ok(found)
}

/// What each row refers to.
fn references_by_row(connection: &Connection) -> Result<HashMap<RowId, Vec<ObjectId>>, Failure> {
    const SQL: &str = "SELECT r.referrer, o.hash FROM reference r JOIN object o ON o.id = r.reference";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([])?;
    let mut found: HashMap<RowId, Vec<ObjectId>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let hash = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        found.entry(row.get(0)?).or_default().extend(ObjectId::from_slice(hash));
    }
    Ok(found)
}

/// Notes that the bytes of these objects were read and right.
pub(crate) fn set_verified(connection: &Connection, objects: &[ObjectId], now: i64) -> Result<(), Failure> {
    let mut update = connection.prepare_cached("UPDATE object SET verified_at = ?2 WHERE hash = ?1")?;
    for id in objects {
        update.execute(params![id.as_bytes(), now])?;
    }
    Ok(())
}

/// The folder names of rows in every state.
pub(crate) fn all_paths(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare_cached("SELECT path FROM object")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What SQLite finds wrong with its own file; empty when all is well.
pub(crate) fn integrity_problems(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for check in ["PRAGMA integrity_check(20)", "PRAGMA foreign_key_check"] {
        let mut statement = connection.prepare(check)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        problems.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().filter(|text| text != "ok"));
    }
    Ok(problems)
}

fn select(connection: &Connection, layout: &Layout, sql: &str, parameters: impl Params) -> Result<Vec<Found>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(object_of_row(layout, row)?);
    }
    Ok(found)
}

fn damaged(what: &str, column: &str) -> StoreError {
    StoreError::Record { what: what.to_owned(), reason: format!("{column} is not readable") }
}

fn object_of_row(layout: &Layout, row: &Row<'_>) -> Result<Found, Failure> {
    let path = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
    let bytes = |column| row.get_ref(column).and_then(|value| value.as_blob().map_err(rusqlite::Error::from));
    let text = |column| row.get_ref(column).and_then(|value| value.as_str().map_err(rusqlite::Error::from));
    let link_plan = match row.get_ref(8)?.as_blob_or_null().map_err(rusqlite::Error::from)? {
        None => None,
        Some(plan) => Some(Arc::new(serde_json::from_slice(plan).map_err(|_| damaged(path, "its link plan"))?)),
    };
    let object = Object {
        id: ObjectId::from_slice(bytes(1)?).ok_or_else(|| damaged(path, "its hash"))?,
        path: layout.object(path),
        name: text(3)?.parse().map_err(|_| damaged(path, "its name"))?,
        version: text(4)?.parse().map_err(|_| damaged(path, "its version"))?,
        provenance: serde_json::from_str(text(5)?).map_err(|_| damaged(path, "its provenance"))?,
        content_digest: ContentDigest::from_slice(bytes(6)?).ok_or_else(|| damaged(path, "its content digest"))?,
        size_bytes: u64::try_from(row.get::<_, i64>(7)?).map_err(|_| damaged(path, "its size"))?,
        link_plan,
        registered_at: row.get(9)?,
        last_used_at: row.get(10)?,
    };
    Ok((row.get(0)?, object))
}

pub(crate) fn find_any_state(connection: &Connection, id: &ObjectId) -> Result<Option<AnyState>, Failure> {
    let mut statement = connection.prepare_cached("SELECT id, state, path FROM object WHERE hash = ?1")?;
    let row = statement
        .query_row([id.as_bytes()], |row| Ok(AnyState { row: row.get(0)?, state: row.get(1)?, path: row.get(2)? }));
    Ok(row.optional()?)
}

/// The rows that are not valid: number, state, folder name.
pub(crate) fn unfinished(connection: &Connection, state: i64, limit: u32) -> Result<Vec<(RowId, String)>, Failure> {
    // `state <> 1` is what the partial index covers.
    const SQL: &str = "SELECT id, path FROM object WHERE state <> 1 AND state = ?1 LIMIT ?2";
    let mut statement = connection.prepare_cached(SQL)?;
    let rows = statement.query_map(params![state, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn json<T: serde::Serialize>(path: &str, value: &T) -> Result<String, Failure> {
    let error = |error: serde_json::Error| StoreError::Record { what: path.to_owned(), reason: error.to_string() };
    Ok(serde_json::to_string(value).map_err(error)?)
}

/// Kind of an object and the SHA-256 of the published file that it comes from.
fn kind_and_source(provenance: &Provenance) -> (&'static str, &Sha256Digest) {
    match provenance {
        Provenance::Source { sha256, .. } => ("source", sha256),
        Provenance::Wheel { sha256, .. } => ("wheel", sha256),
        Provenance::Build { recipe, .. } => ("build", &recipe.source),
    }
}

/// Writes the pending row of `record`, over the row `existing` if there is one.
pub(crate) fn write_pending(
    connection: &Connection,
    record: &ObjectRecord,
    id: &ObjectId,
    existing: Option<RowId>,
    now: i64,
) -> Result<RowId, Failure> {
    const SQL: &str = "INSERT INTO object (id, hash, path, name, version, kind, state, content_digest, size_bytes,
            source_sha256, provenance, link_plan, registered_at, last_used_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?12)
        ON CONFLICT (id) DO UPDATE SET path = ?3, name = ?4, version = ?5, kind = ?6, state = 0, content_digest = ?7,
            size_bytes = ?8, source_sha256 = ?9, provenance = ?10, link_plan = ?11, registered_at = ?12,
            last_used_at = ?12";
    let (kind, source) = kind_and_source(&record.provenance);
    let plan = record.link_plan.as_ref().map(|plan| json(&record.path, plan)).transpose()?;
    connection.prepare_cached(SQL)?.execute(params![
        existing,
        id.as_bytes(),
        record.path,
        record.name.as_str(),
        record.version.as_str(),
        kind,
        record.content_digest.as_bytes(),
        i64::try_from(record.manifest.size_bytes()).unwrap_or(i64::MAX),
        source.as_bytes(),
        json(&record.path, &record.provenance)?,
        plan.map(String::into_bytes),
        now,
    ])?;
    Ok(existing.unwrap_or_else(|| connection.last_insert_rowid()))
}

/// Makes a pending row valid. Returns whether it was pending.
pub(crate) fn make_valid(connection: &Connection, row: RowId) -> Result<bool, Failure> {
    let changed =
        connection.prepare_cached("UPDATE object SET state = 1 WHERE id = ?1 AND state = 0")?.execute([row])?;
    Ok(changed == 1)
}

/// Replaces what `row` refers to.
pub(crate) fn set_references(connection: &Connection, row: RowId, references: &[RowId]) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM reference WHERE referrer = ?1")?.execute([row])?;
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO reference (referrer, reference) VALUES (?1, ?2)")?;
    for reference in references {
        insert.execute([row, *reference])?;
    }
    Ok(())
}

pub(crate) fn put_realisation(
    connection: &Connection,
    row: RowId,
    recipe: &RecipeId,
    system_inputs: &ValueDigest,
    now: i64,
) -> Result<(), Failure> {
    const SQL: &str =
        "INSERT OR REPLACE INTO realisation (recipe, system_inputs, object, built_at) VALUES (?1, ?2, ?3, ?4)";
    let parameters = params![recipe.as_bytes(), system_inputs.as_bytes(), row, now];
    connection.prepare_cached(SQL)?.execute(parameters)?;
    Ok(())
}

pub(crate) fn touch(connection: &Connection, row: RowId, now: i64) -> Result<(), Failure> {
    connection.prepare_cached("UPDATE object SET last_used_at = ?2 WHERE id = ?1")?.execute([row, now])?;
    Ok(())
}

/// Deletes `row` if it still is in `state`, with its references and realisations. Returns whether it was.
pub(crate) fn delete(connection: &Connection, row: RowId, state: i64) -> Result<bool, Failure> {
    connection
        .prepare_cached("DELETE FROM reference WHERE referrer IN (SELECT id FROM object WHERE id = ?1 AND state = ?2)")?
        .execute([row, state])?;
    Ok(connection.prepare_cached("DELETE FROM object WHERE id = ?1 AND state = ?2")?.execute([row, state])? == 1)
}

/// Deletes a row in any state, with all that speaks of it.
pub(crate) fn forget(connection: &Connection, row: RowId) -> Result<(), Failure> {
    const SQL: [&str; 4] = [
        "DELETE FROM reference WHERE referrer = ?1 OR reference = ?1",
        "DELETE FROM root_object WHERE object = ?1",
        "DELETE FROM lease WHERE object = ?1",
        "DELETE FROM object WHERE id = ?1",
    ];
    for sql in SQL {
        connection.prepare_cached(sql)?.execute([row])?;
    }
    Ok(())
}

/// What `row` refers to, sorted.
pub(crate) fn references_of_row(connection: &Connection, row: RowId) -> Result<Vec<ObjectId>, Failure> {
    const SQL: &str =
        "SELECT o.hash FROM reference r JOIN object o ON o.id = r.reference WHERE r.referrer = ?1 ORDER BY o.hash";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query([row])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(ObjectId::from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?));
    }
    Ok(found)
}

/// Lets `row` refer to `reference`.
pub(crate) fn add_reference(connection: &Connection, row: RowId, reference: RowId) -> Result<(), Failure> {
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO reference (referrer, reference) VALUES (?1, ?2)")?;
    insert.execute([row, reference])?;
    Ok(())
}
