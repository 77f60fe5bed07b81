//! What a damaged database still tells: remembered answers, builds and their logs, roots from before they were written down.
//!
//! Nothing here is needed, and nothing of it makes an object valid; what can't be read is left.

use std::path::Path;

use pip_accel_schema::store_path::ObjectId;
use rusqlite::{Connection, OpenFlags};

use crate::db::{self, Database};
use crate::root::Root;

/// Tables that are copied row by row, with their columns.
const TABLES: [(&str, &str); 2] = [
    ("memo", "namespace, key, value, written_at"),
    ("build", "id, name, version, recipe, status, reason, log, started_at, duration_ms"),
];

/// Copies what can be read of the database at `old` into `database`, and returns its roots.
pub(super) fn salvage(database: &Database, old: &Path) -> Vec<(Root, Vec<ObjectId>)> {
    if !old.exists() {
        return Vec::new();
    }
    let copied = database.read("read the old database", |db| {
        db.execute("ATTACH DATABASE ?1 AS old", [old.to_string_lossy()])?;
        for (table, columns) in TABLES {
            let copy = format!("INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM old.{table}");
            if let Err(error) = db.execute_batch(&copy) {
                tracing::warn!(%error, table, "a table of the old database is lost");
            }
        }
        Ok(db.execute_batch("DETACH DATABASE old")?)
    });
    if let Err(error) = copied {
        tracing::warn!(%error, "what the old database remembered is lost");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let roots = Connection::open_with_flags(old, flags).ok().and_then(|db| db::root::all_with_objects(&db).ok());
    roots.unwrap_or_default()
}
