//! The archive of a checkout, which is unpacked like an sdist and says itself where the project is.

use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::manifest::EntryPath;
use serde::{Deserialize, Serialize};

use super::identity::read_regular;

/// How the file names of such archives end. No index publishes any: they are no names of sdists.
pub(crate) const CHECKOUT_SUFFIX: &str = ".checkout.tar";

/// The file that says where the project is.
pub(crate) const CHECKOUT_FILE: &str = "checkout.json";

/// The folder of the tree.
pub(crate) const CHECKOUT_SOURCE: &str = "src";

/// Longest such file; it holds one path.
const CHECKOUT_FILE_BYTES_MAX: u64 = 64 << 10;

/// What is said of the tree.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckoutFile {
    /// 1.
    pub(crate) version: u32,
    /// The project's folder in the tree; the top without one.
    pub(crate) subdirectory: Option<String>,
}

/// The folder of the project in the unpacked archive.
pub(super) fn project_folder(destination: &Path) -> io::Result<PathBuf> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    let content = read_regular(&destination.join(CHECKOUT_FILE), CHECKOUT_FILE_BYTES_MAX)?.unwrap_or_default();
    let file: CheckoutFile = serde_json::from_slice(&content).map_err(io::Error::from)?;
    let source = destination.join(CHECKOUT_SOURCE);
    let Some(subdirectory) = file.subdirectory else { return Ok(source) };
    let folder = source.join(EntryPath::parse(&subdirectory).map_err(|error| invalid(error.to_string()))?.as_str());
    // A link of the tree leads inside it, but a build is to start where its path says.
    match folder.canonicalize()?.starts_with(source.canonicalize()?) {
        true => Ok(folder),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}
