//! Rows of `build`.

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::RecipeId;
use rusqlite::{Connection, params};

use super::Failure;
use crate::error::StoreError;
use crate::log::BuildRecord;

/// Writes the row of a build, in place of an earlier one with the same log.
pub(crate) fn put(connection: &Connection, record: &BuildRecord) -> Result<(), Failure> {
    const SQL: &str = "INSERT INTO build (name, version, recipe, status, reason, log, started_at, duration_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached("DELETE FROM build WHERE log = ?1")?.execute([&record.log])?;
    connection.prepare_cached(SQL)?.execute(params![
        record.name.as_str(),
        record.version.as_str(),
        record.recipe.as_ref().map(RecipeId::as_bytes),
        record.status,
        record.reason,
        record.log,
        record.started_at,
        i64::try_from(record.duration_ms).unwrap_or(i64::MAX),
    ])?;
    Ok(())
}

pub(crate) fn select(
    connection: &Connection,
    name: &PackageName,
    version: Option<&PackageVersion>,
) -> Result<Vec<BuildRecord>, Failure> {
    const SQL: &str = "SELECT version, recipe, status, reason, log, started_at, duration_ms FROM build
        WHERE name = ?1 AND (?2 IS NULL OR version = ?2) ORDER BY started_at DESC, id DESC";
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query(params![name.as_str(), version.map(PackageVersion::as_str)])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let version: String = row.get(0)?;
        let recipe: Option<Vec<u8>> = row.get(1)?;
        let damaged = |_| StoreError::Record { what: format!("build of {name}"), reason: "no version".to_owned() };
        records.push(BuildRecord {
            name: name.clone(),
            version: version.parse().map_err(damaged)?,
            recipe: recipe.and_then(|bytes| RecipeId::from_slice(&bytes)),
            status: row.get(2)?,
            reason: row.get(3)?,
            log: row.get(4)?,
            started_at: row.get(5)?,
            duration_ms: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
        });
    }
    Ok(records)
}

/// The names of all logs that a row speaks of.
pub(crate) fn logs(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare_cached("SELECT log FROM build")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
