//! Where a bundle is written to: a file that appears when it is whole, or whatever takes bytes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use pip_accel_store::checkpoint;

use super::MakeBundleError;

/// The place of a bundle that is being written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct BundleOutput {
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// Written beside its place, and moved there at the end.
    File { file: File, beside: PathBuf, place: PathBuf },
    /// A device, a pipe or standard output: what was written is written.
    Stream(Box<dyn StreamWrite>),
}

trait StreamWrite: Write + std::fmt::Debug {}
impl<T: Write + std::fmt::Debug> StreamWrite for T {}

impl BundleOutput {
    /// Writes to standard output.
    #[must_use]
    pub fn standard_output() -> Self {
        Self { target: Target::Stream(Box::new(io::stdout())) }
    }

    /// Writes to `place`; a file that is there stays until the bundle is whole.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn file(place: &Path) -> Result<Self, MakeBundleError> {
        let failed = |source| MakeBundleError::Output { path: place.to_owned(), source };
        let is_special = |kind: fs::FileType| kind.is_char_device() || kind.is_block_device() || kind.is_fifo();
        if fs::metadata(place).is_ok_and(|metadata| is_special(metadata.file_type())) {
            let file = File::options().write(true).open(place).map_err(failed)?;
            return Ok(Self { target: Target::Stream(Box::new(file)) });
        }
        if place.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(place.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?);
        name.push(format!(".{}.partial", std::process::id()));
        let beside = place.with_file_name(name);
        let file = File::create(&beside).map_err(failed)?;
        Ok(Self { target: Target::File { file, beside, place: place.to_owned() } })
    }

    /// Takes the bytes.
    pub(super) fn writer(&mut self) -> &mut dyn Write {
        match &mut self.target {
            Target::File { file, .. } => file,
            Target::Stream(stream) => stream,
        }
    }

    /// The bundle is whole and has its name, also after a power cut.
    pub(super) fn finish(self) -> Result<(), MakeBundleError> {
        let Target::File { file, beside, place } = &self.target else { return Ok(()) };
        checkpoint("bundle-written");
        let moved = file.sync_all().and_then(|()| fs::rename(beside, place));
        moved.map_err(|source| MakeBundleError::Output { path: place.clone(), source })
    }
}

impl Drop for BundleOutput {
    fn drop(&mut self) {
        if let Target::File { beside, .. } = &self.target {
            // After the move there is nothing under this name.
            drop(fs::remove_file(beside));
        }
    }
}
