//! What the collector reads of an environment: where it was made and what it is made of.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;
use pip_accel_schema::store_path::ObjectId;

/// Longest manifest that is read, in bytes; that of a hundred packages has some hundred kilobytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// The part of a manifest that says what it keeps.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct Made {
    /// Where it was made; empty when unknown.
    #[serde(default)]
    pub(crate) place: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Debug, serde::Deserialize)]
struct Package {
    object: ObjectId,
}

impl Made {
    /// The objects that it links to.
    pub(crate) fn objects(&self) -> Vec<ObjectId> {
        self.packages.iter().map(|package| package.object).collect()
    }
}

/// Reads the manifest of the environment in `folder`; one that is damaged, or no file, says nothing.
pub(crate) fn read(folder: &Path) -> io::Result<Made> {
    let path = folder.join(ENVIRONMENT_MANIFEST_FILE);
    if !fs::symlink_metadata(&path)?.is_file() {
        return Ok(Made::default());
    }
    // Whose environment it is may have put a pipe there meanwhile.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    let mut text = Vec::new();
    file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).unwrap_or_default())
}
