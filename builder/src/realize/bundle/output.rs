//! Where a bundle is written to: a file that appears when it is whole, or whatever takes bytes.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use pip_accel_store::{Interrupt, checkpoint};

use super::MakeBundleError;
use crate::realize::Interruptible;

/// Ending of a bundle that is not whole yet.
const PARTIAL: &str = ".partial";

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
    Stream(Interruptible<File>),
}

impl BundleOutput {
    /// Writes to standard output, until `interrupt` is set.
    ///
    /// # Errors
    /// When there is none.
    pub fn standard_output(interrupt: &Interrupt) -> Result<Self, MakeBundleError> {
        let own = io::stdout().as_fd().try_clone_to_owned();
        let own = own.map_err(|source| MakeBundleError::Output { path: PathBuf::from("-"), source })?;
        Ok(Self { target: Target::Stream(Interruptible::new(File::from(own), interrupt)) })
    }

    /// Writes to `place`; a file that is there stays until the bundle is whole. What waits for a reader does so until
    /// `interrupt` is set.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn file(place: &Path, interrupt: &Interrupt) -> Result<Self, MakeBundleError> {
        let failed = |source| MakeBundleError::Output { path: place.to_owned(), source };
        let is_special = |kind: fs::FileType| kind.is_char_device() || kind.is_block_device() || kind.is_fifo();
        if fs::metadata(place).is_ok_and(|metadata| is_special(metadata.file_type())) {
            let file = File::options().write(true).open(place).map_err(failed)?;
            return Ok(Self { target: Target::Stream(Interruptible::new(file, interrupt)) });
        }
        if place.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let name = place.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        forget_dead(place, &prefix);
        let (file, beside) = create_beside(place, &prefix).map_err(failed)?;
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

/// A file that this process has locked, so that others can tell it from what a killed one left.
fn create_beside(place: &Path, prefix: &OsStr) -> io::Result<(File, PathBuf)> {
    let mut name = prefix.to_owned();
    name.push(std::process::id().to_string());
    name.push(PARTIAL);
    let beside = place.with_file_name(name);
    loop {
        let file = File::create(&beside)?;
        file.lock()?;
        let is_named = |metadata: fs::Metadata| Ok((metadata.dev(), metadata.ino()) == identity(&file)?);
        match fs::symlink_metadata(&beside).and_then(is_named) {
            Ok(true) => return Ok((file, beside)),
            // Somebody found it before it was locked, and took it away.
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Deletes what killed processes left beside `place`. What can't be deleted stays.
fn forget_dead(place: &Path, prefix: &OsStr) {
    let folder = place.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number =
            name.as_bytes().strip_prefix(prefix.as_bytes()).and_then(|rest| rest.strip_suffix(PARTIAL.as_bytes()));
        let is_partial = number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit));
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_partial && is_file && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            drop(fs::remove_file(entry.path()));
        }
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
