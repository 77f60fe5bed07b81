//! Sdists that are zip archives.

use std::io::Cursor;
use std::path::Path;

use super::Fault;
use super::tar_archive::FileHeader;
use super::tree::{MTIME_MIN, SourceTree};
use crate::python::archive::ArchiveLimits;
use crate::python::zip_file::{ZipMember, ZipReader};

/// Longest file of a zip sdist, in bytes: such files pass through memory. The format is out of use for
/// sdists, and the largest known have a few megabytes.
const ZIP_FILE_BYTES_MAX: u64 = 256 << 20;

/// Unpacks `archive` into `tree`.
pub(super) fn unpack(archive: &Path, limits: &ArchiveLimits, tree: &mut SourceTree) -> Result<(), Fault> {
    let (mut reader, members) = ZipReader::open(archive, limits)?;
    let (folders, files): (Vec<ZipMember>, Vec<ZipMember>) =
        members.into_iter().partition(|member| member.is_directory);
    for folder in folders {
        tree.add_directory(&folder.path, MTIME_MIN)?;
    }
    for file in files {
        let content = reader.read_whole(&file, ZIP_FILE_BYTES_MAX.min(limits.file_bytes))?;
        let mtime = file.mtime.unwrap_or(MTIME_MIN);
        let header = FileHeader { executable: file.executable, mtime, size: file.size };
        tree.add_file(&file.path, header, &mut Cursor::new(content))?;
    }
    Ok(())
}
