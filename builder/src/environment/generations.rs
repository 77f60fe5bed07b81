//! The file that tells what an environment held before.

use std::io::Write as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use pip_accel_schema::environment::{ENVIRONMENT_MANIFEST_FILE, EnvironmentManifest, EnvironmentPackage};
use pip_accel_schema::generation::{GENERATIONS_FILE, GENERATIONS_FORMAT, Generations};
use pip_accel_store::checkpoint;

use super::error::EnvironmentError;
use super::place::Staging;
use super::write::create_file;

/// Longest file that is read, in bytes: five generations of a thousand packages have about two million.
const GENERATIONS_BYTES_MAX: u64 = 64 << 20;

/// The generations of the environment at `destination`. One that was never replaced has none but itself.
///
/// # Errors
/// When the file can't be read, is damaged, or is of a newer format.
pub fn read_generations(destination: &Path) -> Result<Generations, EnvironmentError> {
    use std::io::Read as _;
    let path = destination.join(GENERATIONS_FILE);
    let mut text = Vec::new();
    match std::fs::File::open(&path).and_then(|file| file.take(GENERATIONS_BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENOTDIR)) => {
            let made = std::fs::metadata(destination.join(ENVIRONMENT_MANIFEST_FILE)).and_then(|file| file.modified());
            let since = made.ok().and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
            return Ok(Generations::first(since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))));
        }
        Err(error) => return Err(EnvironmentError::io("read", path)(error)),
    }
    match serde_json::from_slice::<Generations>(&text) {
        Ok(found) if found.format > GENERATIONS_FORMAT => {
            Err(EnvironmentError::NewerManifest { path, format: found.format.into() })
        }
        Ok(found) => Ok(found),
        Err(source) => Err(EnvironmentError::Manifest { path, source }),
    }
}

/// Replaces the generations of the environment at `destination` as a whole.
///
/// # Errors
/// When the file can't be written.
pub fn write_generations(destination: &Path, generations: &Generations) -> Result<(), EnvironmentError> {
    let path = destination.join(GENERATIONS_FILE);
    let beside = destination.join(format!("{GENERATIONS_FILE}.new"));
    let text = to_text(generations, &path)?;
    std::fs::write(&beside, text).map_err(EnvironmentError::io("write", &beside))?;
    checkpoint("generations-staged");
    std::fs::rename(&beside, &path).map_err(EnvironmentError::io("write", &path))
}

/// Writes the generations of an environment that is being made.
pub(super) fn stage_generations(generations: &Generations, staging: &Staging<'_>) -> Result<(), EnvironmentError> {
    let path = staging.path().join(GENERATIONS_FILE);
    let text = to_text(generations, &path)?;
    create_file(staging.directory(), GENERATIONS_FILE, false)
        .and_then(|mut file| file.write_all(&text))
        .map_err(EnvironmentError::io("write", path))
}

fn to_text(generations: &Generations, path: &Path) -> Result<Vec<u8>, EnvironmentError> {
    serde_json::to_vec(generations).map_err(|source| EnvironmentError::Manifest { path: path.to_owned(), source })
}

/// The text of `direct_url.json` of `package`, if the environment at `destination` has one by its manifest.
#[must_use]
pub fn direct_url_of(
    destination: &Path,
    manifest: &EnvironmentManifest,
    package: &EnvironmentPackage,
) -> Option<String> {
    let files = manifest.entries.iter().filter(|entry| entry.path.ends_with("/direct_url.json"));
    let is_its = |path: &str| path.rsplit('/').nth(1) == Some(package.dist_info.as_str());
    let entry = files.into_iter().find(|entry| is_its(&entry.path))?;
    std::fs::read_to_string(destination.join(&entry.path)).ok()
}
