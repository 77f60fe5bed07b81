//! Logs of builds, good and bad: compressed files under `logs/` and one row each.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::RecipeId;
use serde::Serialize;

use crate::db::{self, Database};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::layout::LOG_SUFFIX;
use crate::lock;
use crate::store::Store;

/// Level of zstd: logs are written while a build runs, at far more than any compiler's output rate.
const ZSTD_LEVEL: i32 = 3;

/// One build, good or bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildRecord {
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// What was built; `None` when it failed before that was known.
    #[serde(serialize_with = "recipe_as_text")]
    pub recipe: Option<RecipeId>,
    /// How it ended, one word that the builder chooses: `built`, `failed`; of a build that did not end, `interrupted` or
    /// `running`.
    pub status: String,
    /// Why, for a reader; of a good build what was noticed, mostly nothing.
    pub reason: String,
    /// File name of the log; set by [`BuildLogWriter::finish`].
    pub log: String,
    /// When it began, in seconds since 1970.
    pub started_at: i64,
    /// How long it ran, in milliseconds; 0 for a build whose process was killed.
    pub duration_ms: u64,
}

fn recipe_as_text<S: serde::Serializer>(recipe: &Option<RecipeId>, serializer: S) -> Result<S::Ok, S::Error> {
    recipe.as_ref().map(RecipeId::to_string).serialize(serializer)
}

/// What a killed process leaves is to tell how far the build came. So the first pieces of output reach the file at once,
/// as the last words before a long silence mostly are among them.
const FLUSHED_AT_ONCE: u32 = 2000;

/// How often further output reaches the file: each time costs some bytes and packs worse.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Status of a build whose process ended before it did.
const INTERRUPTED: &str = "interrupted";

/// Status of a build that somebody is at.
const RUNNING: &str = "running";

/// A log that is being written. Dropped without [`finish`](Self::finish), it is deleted, unless the build has
/// [begun](Self::begin).
pub struct BuildLogWriter {
    database: Arc<Database>,
    encoder: Option<zstd::Encoder<'static, File>>,
    path: PathBuf,
    name: String,
    has_begun: bool,
    flushes: u32,
    flushed: Instant,
}

impl fmt::Debug for BuildLogWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BuildLogWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl BuildLogWriter {
    /// The log's file, absolute; readable with `zstdcat` once it is finished.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Registers the build as one that was interrupted. That is what it is until [`finish`](Self::finish) says otherwise,
    /// also when this process is killed. Once is enough.
    ///
    /// # Errors
    /// When the database fails.
    pub fn begin(&mut self, record: BuildRecord) -> Result<(), StoreError> {
        if self.has_begun {
            return Ok(());
        }
        let record = BuildRecord { log: self.name.clone(), status: INTERRUPTED.to_owned(), ..record };
        self.database.write("register a build", |db| db::build::put(db, &record))?;
        self.has_begun = true;
        Ok(())
    }

    /// What was written so far, at most `most` bytes of it, from the beginning.
    ///
    /// # Errors
    /// When the log can't be written or read.
    pub fn so_far(&mut self, most: u64) -> Result<Vec<u8>, StoreError> {
        self.flush().on("write", &self.path)?;
        let file = File::open(&self.path).on("open", &self.path)?;
        let mut decoder = zstd::Decoder::new(file).on("read", &self.path)?.take(most);
        let mut text = Vec::new();
        // The frame has no end yet: what comes before is whole, since it was flushed.
        match decoder.read_to_end(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error).on("read", &self.path),
            _ => Ok(text),
        }
    }

    /// Ends the log and registers the build. `record.log` is set here; the completed record comes back.
    ///
    /// # Errors
    /// When the log can't be written to its end or the database fails; the log is deleted then.
    pub fn finish(mut self, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        let record = BuildRecord { log: self.name.clone(), ..record };
        if let Some(encoder) = &mut self.encoder {
            encoder.do_finish().on("write", &self.path)?;
        }
        self.database.write("register a build", |db| db::build::put(db, &record))?;
        self.encoder = None;
        Ok(record)
    }
}

impl Write for BuildLogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.encoder {
            Some(encoder) => {
                let written = encoder.write(buffer)?;
                if self.flushes < FLUSHED_AT_ONCE || self.flushed.elapsed() >= FLUSH_EVERY {
                    encoder.flush()?;
                    self.flushes = self.flushes.saturating_add(1);
                    self.flushed = Instant::now();
                }
                Ok(written)
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for BuildLogWriter {
    fn drop(&mut self) {
        match &mut self.encoder {
            Some(encoder) if self.has_begun => drop(encoder.do_finish()),
            Some(_) => drop(fs::remove_file(&self.path)),
            None => {}
        }
    }
}

impl Store {
    /// Starts the log of a build.
    ///
    /// # Errors
    /// When the store is read-only or the file can't be made.
    pub fn new_build_log(&self, name: &PackageName, version: &PackageVersion) -> Result<BuildLogWriter, StoreError> {
        self.writable("write a log")?;
        let name = format!("{}{LOG_SUFFIX}", fs_ops::unique_name(&format!("{name}-{version}")));
        let path = self.layout().log(&name);
        let file = File::options().write(true).create_new(true).mode(0o644).open(&path).on("create", &path)?;
        // Whoever sweeps leaves logs alone that somebody holds.
        file.lock().on("lock", &path)?;
        let encoder = zstd::Encoder::new(file, ZSTD_LEVEL).on("write", &path)?;
        let (database, flushed) = (Arc::clone(&self.database), Instant::now());
        Ok(BuildLogWriter { database, encoder: Some(encoder), path, name, has_begun: false, flushes: 0, flushed })
    }

    /// The builds of a project, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn build_logs(
        &self,
        name: &PackageName,
        version: Option<&PackageVersion>,
    ) -> Result<Vec<BuildRecord>, StoreError> {
        let mut records = self.database.read("look up builds", |db| db::build::select(db, name, version))?;
        for record in records.iter_mut().filter(|record| record.status == INTERRUPTED) {
            // A log that can't be looked at is written by nobody.
            if lock::is_held(&self.layout().log(&record.log)).unwrap_or(false) {
                RUNNING.clone_into(&mut record.status);
                record.reason.clear();
            }
        }
        Ok(records)
    }

    /// Opens the log of a build, uncompressed on the way.
    ///
    /// # Errors
    /// When the log is gone, or `record.log` is not the name of one.
    pub fn read_build_log(&self, record: &BuildRecord) -> Result<Box<dyn Read>, StoreError> {
        let name = &record.log;
        if name.contains('/') || !name.ends_with(LOG_SUFFIX) {
            return Err(StoreError::ForeignName(name.clone()));
        }
        let path = self.layout().log(name);
        let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(&path).on("open", &path)?;
        Ok(Box::new(AsFarAsWritten(zstd::Decoder::new(file).on("read", &path)?)))
    }
}

/// A log whose writer was killed, or goes on writing, ends where it ends.
struct AsFarAsWritten<R>(R);

impl<R: Read> Read for AsFarAsWritten<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }
}
