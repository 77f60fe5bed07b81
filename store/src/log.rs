//! Logs of builds, good and bad: compressed files under `logs/` and one row each.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::RecipeId;
use serde::Serialize;

use crate::db::{self, Database};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::layout::LOG_SUFFIX;
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
    /// How it ended, one word that the builder chooses: `succeeded`, `failed`, `timed-out`.
    pub status: String,
    /// Why, for a reader; of a good build what was noticed, mostly nothing.
    pub reason: String,
    /// File name of the log; set by [`BuildLogWriter::finish`].
    pub log: String,
    /// When it began, in seconds since 1970.
    pub started_at: i64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

fn recipe_as_text<S: serde::Serializer>(recipe: &Option<RecipeId>, serializer: S) -> Result<S::Ok, S::Error> {
    recipe.as_ref().map(RecipeId::to_string).serialize(serializer)
}

/// A log that is being written. Dropped without [`finish`](Self::finish), it is deleted.
pub struct BuildLogWriter {
    database: Arc<Database>,
    encoder: Option<zstd::Encoder<'static, File>>,
    path: PathBuf,
    name: String,
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

    /// Ends the log and registers the build. `record.log` is set here; the completed record comes back.
    ///
    /// # Errors
    /// When the log can't be written to its end or the database fails; the log is deleted then.
    pub fn finish(mut self, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        let record = BuildRecord { log: self.name.clone(), ..record };
        if let Some(encoder) = &mut self.encoder {
            encoder.do_finish().on("write", &self.path)?;
        }
        self.database.write("register a build", |db| db::build::insert(db, &record))?;
        self.encoder = None;
        Ok(record)
    }
}

impl Write for BuildLogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.encoder {
            Some(encoder) => encoder.write(buffer),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for BuildLogWriter {
    fn drop(&mut self) {
        if self.encoder.is_some() {
            drop(fs::remove_file(&self.path));
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
        Ok(BuildLogWriter { database: Arc::clone(&self.database), encoder: Some(encoder), path, name })
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
        self.database.read("look up builds", |db| db::build::select(db, name, version))
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
        Ok(Box::new(zstd::Decoder::new(file).on("read", &path)?))
    }
}
