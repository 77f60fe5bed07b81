//! Rows of `lease`.

use rusqlite::{Connection, params};

use super::{Failure, RowId};

pub(crate) fn insert(connection: &Connection, name: &str, row: RowId) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO lease (name, object) VALUES (?1, ?2)")?;
    statement.execute(params![name, row])?;
    Ok(())
}

pub(crate) fn remove(connection: &Connection, name: &str) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM lease WHERE name = ?1")?.execute([name])?;
    Ok(())
}

pub(crate) fn names(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare_cached("SELECT DISTINCT name FROM lease")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn rows(connection: &Connection) -> Result<Vec<(String, RowId)>, Failure> {
    let mut statement = connection.prepare_cached("SELECT name, object FROM lease")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The names of the leases on one object.
pub(crate) fn of_object(connection: &Connection, row: RowId) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare_cached("SELECT name FROM lease WHERE object = ?1")?;
    let rows = statement.query_map([row], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
