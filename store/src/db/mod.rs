//! The database: opening, migrating, transactions. The statements live beside the tables they are for.
//!
//! SQLite in WAL mode: readers and the one writer do not block each other. `synchronous=NORMAL` means that a power cut
//! may take back the last transactions but never tears one. That suits registrations (an object that is on disk
//! and has no row is garbage); transactions that *allow something to be deleted*, or that keep something from being
//! deleted for good, are made durable by [`Database::write_durably`].

pub(crate) mod build;
pub(crate) mod graph;
pub(crate) mod inspect;
pub(crate) mod lease;
pub(crate) mod memo;
pub(crate) mod object;
pub(crate) mod root;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pip_accel_schema::sql::MIGRATIONS;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::StoreError;
use crate::layout::Layout;
use crate::lock;
use crate::open::OpenError;

/// How long a statement waits for another process' transaction. Ours take milliseconds; half a minute is a
/// machine in trouble, and the user is told so.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Statements kept prepared; we have about fifty.
const STATEMENT_CACHE: usize = 64;

/// Pages (4 KiB) in the WAL after which a commit copies them into the database. A short-lived process that opens
/// the store reads the whole WAL once, so it must stay small; each copying costs two syncs, so not too small.
const CHECKPOINT_PAGES: u32 = 512;

/// Size of the WAL from which a process that ends copies it: some ten warm runs' worth, which each following process
/// would read anew. Whoever fetched or built has far more, and two syncs are nothing to it.
pub(crate) const WAL_BYTES_LEFT: u64 = 128 * 4096;

/// How much of the database is mapped: all of a usual one. Of that of a million objects, which a collection reads as a whole,
/// the rest goes through the cache, so that it does not count as memory of the process.
const MAPPED_BYTES: u32 = 64 << 20;

/// Number of a row.
pub(crate) type RowId = i64;

/// How to open the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseMode {
    /// Everything; migrates.
    ReadWrite,
    /// Look-ups, beside writers.
    ReadOnly,
    /// Look-ups in a folder that can't be written to.
    Unwritable,
}

/// Why a transaction failed: SQLite's error, or one of the store from inside it.
#[derive(Debug)]
pub(crate) enum Failure {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The one connection of a store handle.
#[derive(Debug)]
pub(crate) struct Database {
    connection: Mutex<Connection>,
    path: PathBuf,
    durable: bool,
    mode: DatabaseMode,
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.mode == DatabaseMode::ReadWrite && wal_bytes(&self.path) > WAL_BYTES_LEFT {
            // Nobody waits at the end of a run: who reads right now leaves the copying to the next one.
            drop(self.connection().busy_timeout(Duration::ZERO));
            self.checkpoint();
        }
    }
}

impl Database {
    /// Opens the database; `durable`: whether [`Self::write_durably`] waits for the disk.
    pub(crate) fn open(layout: &Layout, mode: DatabaseMode, durable: bool) -> Result<Self, OpenError> {
        Self::open_at(layout, layout.database(), mode, durable)
    }

    /// As [`Self::open`], for a database file of another name.
    pub(crate) fn open_at(
        layout: &Layout,
        path: PathBuf,
        mode: DatabaseMode,
        durable: bool,
    ) -> Result<Self, OpenError> {
        let connection = match mode {
            DatabaseMode::ReadWrite => {
                connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
            }
            DatabaseMode::ReadOnly => connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY),
            DatabaseMode::Unwritable => connect_unwritable(&path),
        };
        let opened = connection.and_then(|connection| Ok((user_version(&connection)?, connection)));
        let (version, mut connection) = match opened {
            Ok(opened) => opened,
            Err(source) if mode == DatabaseMode::Unwritable && !is_damage(&source) => {
                return Err(OpenError::NeedsRecovery { root: layout.root().to_owned(), source: Box::new(source) });
            }
            Err(error) => return Err(error_of(&path, "be opened", error).into()),
        };
        let supported = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        if version > supported {
            return Err(OpenError::NewerFormat { root: layout.root().to_owned(), found: version, supported });
        }
        if version < supported {
            if mode == DatabaseMode::Unwritable {
                let action = "be brought to the present format";
                return Err(StoreError::ReadOnly { root: layout.root().to_owned(), action }.into());
            }
            let _lock = lock::lock_exclusive(&layout.migrate_lock())?;
            let migrated = if mode == DatabaseMode::ReadWrite {
                migrate(&mut connection, MIGRATIONS)
            } else {
                // Who only looks may write here all the same, and there is nothing to look at in the old format.
                connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
                    .and_then(|mut connection| migrate(&mut connection, MIGRATIONS))
            };
            migrated.map_err(|error| error_of(&path, "be migrated", error))?;
        }
        Ok(Self { connection: Mutex::new(connection), path, durable, mode })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction has rolled it back: the connection is as good as before.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs look-ups; several see one state of the database only inside [`Self::snapshot`].
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        work(&self.connection()).map_err(|failure| self.error(action, failure))
    }

    /// Runs look-ups that all see the same state of the database.
    pub(crate) fn snapshot<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.transact(action, TransactionBehavior::Deferred, work)
    }

    /// Runs one transaction that holds the write lock from its first statement. An error rolls it back.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.transact(action, TransactionBehavior::Immediate, work)
    }

    /// As [`Self::write`]; on return a power cut can't take the transaction back.
    pub(crate) fn write_durably<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        if !self.durable {
            return self.write(action, work);
        }
        self.read(action, |connection| Ok(connection.execute_batch("PRAGMA synchronous = FULL")?))?;
        let result = self.write(action, work);
        self.read(action, |connection| Ok(connection.execute_batch("PRAGMA synchronous = NORMAL")?))?;
        result
    }

    fn transact<T>(
        &self,
        action: &'static str,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let run = |connection: &mut Connection| -> Result<T, Failure> {
            let transaction = Transaction::new(connection, behavior)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run(&mut connection).map_err(|failure| self.error(action, failure))
    }

    /// Copies the WAL into the database and empties it, unless somebody reads from it right now.
    pub(crate) fn checkpoint(&self) {
        if let Err(error) = self.empty_log() {
            tracing::debug!(%error, "the database's log stays");
        }
    }

    /// The same for whoever needs the database to be whole without its log.
    ///
    /// # Errors
    /// When the log is not empty afterwards.
    pub(crate) fn empty_log(&self) -> Result<(), StoreError> {
        const ACTION: &str = "copy its log";
        let is_busy = self.read(ACTION, |connection| {
            Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))?)
        })?;
        if is_busy { Err(StoreError::Busy { path: self.path.clone(), action: ACTION }) } else { Ok(()) }
    }

    fn error(&self, action: &'static str, failure: Failure) -> StoreError {
        match failure {
            Failure::Store(error) => error,
            Failure::Sql(error) => error_of(&self.path, action, error),
        }
    }
}

fn error_of(path: &Path, action: &'static str, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path, source: std::io::Error::from_raw_os_error(libc::ENOSPC) },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path, action },
        _ if is_damage(&error) => StoreError::DatabaseDamaged { path, action, source: Box::new(error) },
        _ => StoreError::Database { path, action, source: Box::new(error) },
    }
}

/// Whether the error says that the file is not (any more) a database.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // No URI: a path may hold `?`, `#` and `%`.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // The last connection would copy the WAL when it closes, with two syncs: each short-lived process would pay.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000;
         PRAGMA mmap_size = {MAPPED_BYTES}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA temp_store = MEMORY;"
    ))?;
    Ok(connection)
}

/// Opens a database for looking only, in a folder that mostly can't be written to. A plain read-only connection keeps up
/// with those who write; it needs their WAL. Where there is none, or no room for an index of it, SQLite has to be told
/// that the file is `immutable`, and then ignores the WAL: right only when that is empty.
fn connect_unwritable(path: &Path) -> rusqlite::Result<Connection> {
    if beside(path, "-wal").exists() {
        let plain = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
            user_version(&connection)?;
            Ok(connection)
        });
        if plain.is_ok() || wal_bytes(path) > 0 {
            return plain;
        }
    }
    let connection = Connection::open_with_flags(
        immutable_uri(path),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(connection)
}

/// The file beside the database at `path` whose name goes on with `ending`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Size of the WAL of the database at `path`.
fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len())
}

fn immutable_uri(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            byte => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

fn user_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Runs the migrations that the database has not seen, in one transaction each.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    let seen = user_version(connection)? as usize;
    for (position, script) in migrations.iter().enumerate().skip(seen) {
        let transaction = Transaction::new(connection, TransactionBehavior::Exclusive)?;
        transaction.execute_batch(script)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {}", position + 1))?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A16: each migration runs once, whatever the version it starts from.
    #[test]
    fn an_older_database_is_migrated() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("db");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let scripts = ["CREATE TABLE a (x INTEGER) STRICT", "ALTER TABLE a ADD COLUMN y INTEGER"];
        migrate(&mut connect(&path, flags).expect("open"), &scripts[..1]).expect("first");
        let mut connection = connect(&path, flags).expect("open");
        connection.execute("INSERT INTO a (x) VALUES (7)", []).expect("insert");
        migrate(&mut connection, &scripts).expect("second");
        migrate(&mut connection, &scripts).expect("nothing to do");
        let x: i64 = connection.query_row("SELECT x FROM a WHERE y IS NULL", [], |row| row.get(0)).expect("the row");
        assert_eq!((x, user_version(&connection).expect("a version")), (7, 2));
    }

    #[test]
    fn a_failing_migration_leaves_the_version_before_it() {
        let home = tempfile::tempdir().expect("a folder");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(&home.path().join("db"), flags).expect("open");
        let scripts = ["CREATE TABLE a (x INTEGER)", "CREATE TABLE b (x INTEGER); nonsense"];
        assert!(migrate(&mut connection, &scripts).is_err());
        assert_eq!(user_version(&connection).expect("a version"), 1);
        assert!(connection.prepare("SELECT x FROM b").is_err());
    }

    #[test]
    fn uris_escape_what_has_a_meaning_in_them() {
        assert_eq!(immutable_uri(Path::new("/a?b#c d%/ä")), "file:///a%3Fb%23c%20d%25/%C3%A4?immutable=1");
    }
}
