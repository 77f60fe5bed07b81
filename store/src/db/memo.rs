//! Rows of `memo`.

use rusqlite::{Connection, OptionalExtension, params};

use super::Failure;

pub(crate) fn get(connection: &Connection, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let mut statement = connection.prepare_cached("SELECT value FROM memo WHERE namespace = ?1 AND key = ?2")?;
    Ok(statement.query_row(params![namespace, key], |row| row.get(0)).optional()?)
}

pub(crate) fn put(connection: &Connection, namespace: &str, key: &[u8], value: &[u8], now: i64) -> Result<(), Failure> {
    const SQL: &str = "INSERT OR REPLACE INTO memo (namespace, key, value, written_at) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(SQL)?.execute(params![namespace, key, value, now])?;
    Ok(())
}
