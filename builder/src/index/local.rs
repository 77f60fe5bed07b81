//! Files of this machine: `file:` URLs, directories of files, and small files read under a limit.

use pip_accel_schema::digest::Sha256Digest;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use url::Url;

use super::page::PublishedFile;

/// Most entries of one directory that are looked at: ten times the largest mirror directory known to us.
pub const DIRECTORY_ENTRIES_MAX: usize = 1_000_000;

/// The content of `path`, or `None` if it has more than `limit` bytes.
pub(super) fn read_at_most(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// The files in the directory `path`, sorted by name; names that are not UTF-8 belong to no package.
///
/// Their size is not asked for: a directory of thousands would cost thousands of calls.
pub(super) fn list_directory(path: &Path) -> io::Result<Vec<PublishedFile>> {
    let path = std::path::absolute(path)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&path)?.take(DIRECTORY_ENTRIES_MAX) {
        let entry = entry?;
        let name = entry.file_name();
        let Some(file_name) = name.to_str() else { continue };
        // A link may lead to a file; what it leads to shows when it is read.
        if entry.file_type()?.is_dir() {
            continue;
        }
        if let Ok(url) = Url::from_file_path(path.join(file_name)) {
            files.extend(PublishedFile::from_link(file_name.to_owned(), url));
        }
    }
    files.sort_unstable_by(|left, right| left.file_name.cmp(&right.file_name));
    Ok(files)
}

/// The digest of a file of this machine.
///
/// # Errors
/// When it can't be read.
pub fn sha256_of_file(path: &Path) -> std::io::Result<Sha256Digest> {
    let mut hasher = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(Sha256Digest::from_bytes(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
