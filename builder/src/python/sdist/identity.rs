//! Which project an unpacked sdist is, and where its sources start.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pip_accel_schema::name::PackageName;

use super::SdistError;
use crate::python::metadata::{CoreMetadata, METADATA_BYTES_MAX, same_version};

/// Suffixes of sdists, the longer first.
const SUFFIXES: [&str; 8] = [super::CHECKOUT_SUFFIX, ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".zip"];

/// Files that mark the folder from which a project is built.
const ROOT_FILES: [&str; 2] = ["pyproject.toml", "setup.py"];

/// `name-version` of a file name.
pub(super) fn stem(file_name: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| file_name.strip_suffix(suffix)).unwrap_or(file_name)
}

/// The folder of the sources: the one that has the name of the sdist, else the only one, else the destination itself.
pub(super) fn find_root(destination: &Path, file_name: &str) -> io::Result<PathBuf> {
    let is_root = |folder: &Path| ROOT_FILES.iter().any(|file| folder.join(file).is_file());
    if is_root(destination) {
        return Ok(destination.to_owned());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(destination)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], ".");
    let wanted = plain(stem(file_name));
    let has_name = |folder: &&PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| plain(name) == wanted) && is_root(folder)
    };
    Ok(match (folders.iter().find(has_name), folders.as_slice()) {
        (Some(named), _) => named.clone(),
        (None, [only]) => only.clone(),
        _ => destination.to_owned(),
    })
}

/// Reads `PKG-INFO`, which must be about what the file name says.
///
/// File names without a version (`main.zip`, `v1.tar.gz`) say nothing; the caller knows what was asked for.
pub(super) fn check_identity(root: &Path, file_name: &str) -> Result<Option<CoreMetadata>, SdistError> {
    let path = root.join("PKG-INFO");
    let content = match read_regular(&path, METADATA_BYTES_MAX) {
        Ok(Some(content)) => content,
        Ok(None) => return Ok(None),
        Err(source) => return Err(SdistError::Write { path, source }),
    };
    let metadata = CoreMetadata::parse("PKG-INFO", &content)
        .map_err(|source| SdistError::Metadata { file_name: file_name.to_owned(), source })?;
    let stem = stem(file_name);
    let mut parts = stem.match_indices('-').map(|(index, _)| (&stem[..index], &stem[index + 1..])).peekable();
    let says_nothing = parts.peek().is_none();
    let is_this = |(name, version): (&str, &str)| {
        name.parse::<PackageName>().is_ok_and(|name| name == metadata.name)
            && same_version(version, metadata.version.as_str())
    };
    if says_nothing || parts.any(is_this) {
        return Ok(Some(metadata));
    }
    Err(SdistError::Identity {
        file_name: file_name.to_owned(),
        found: format!("{} {}", metadata.name, metadata.version),
    })
}

/// The content of a regular file of at most `limit` bytes; `None` if there is none.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut content = Vec::new();
    if file.take(limit + 1).read_to_end(&mut content)? as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(content))
}
