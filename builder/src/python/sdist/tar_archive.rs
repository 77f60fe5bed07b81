//! Tar archives, of sdists and of Debian packages.
//!
//! Entries are taken raw: long names and extended headers are read here, because the library would read them
//! to any length.

use std::fs::File;
use std::io::{self, Read};

use pip_accel_schema::manifest::EntryPath;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::Fault;
use super::decompress::{Compression, Meter};
use super::tree::SourceTree;
use crate::python::archive::{ArchiveLimits, ArchiveRefusal, entry_name, printable};

/// Longest extended header or long name, in bytes; names of that length are refused later by their own limit.
const EXTENDED_HEADER_BYTES_MAX: u64 = 256 << 10;

/// What an entry says about its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileHeader {
    pub(crate) executable: bool,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Length in bytes.
    pub(crate) size: u64,
}

/// Where the entries of an archive go. Names are checked ([`entry_name`]), targets of symbolic links are not.
pub(crate) trait TarTree {
    /// Whether the entry of that name is left out, whatever it is; asked before anything else.
    fn leaves_out(&self, name: &[u8]) -> bool;

    /// A folder, with its time in seconds since 1970.
    fn add_directory(&mut self, path: &EntryPath, mtime: i64) -> Result<(), Fault>;

    /// A file; `content` must have as many bytes as its header says.
    fn add_file(&mut self, path: &EntryPath, header: FileHeader, content: &mut dyn Read) -> Result<(), Fault>;

    /// A symbolic link to whatever the archive says.
    fn add_symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), Fault>;

    /// Another name of a file that came before.
    fn add_hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), Fault>;
}

/// What extended headers say about the entry that follows.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<i64>,
}

/// Unpacks the archive `file` into `tree`.
pub(super) fn unpack(
    file: File,
    compression: Compression,
    limits: &ArchiveLimits,
    tree: &mut SourceTree,
) -> Result<(), Fault> {
    let packed = file.metadata().map_err(Fault::Read)?.len();
    let (bytes_max, too_large) = limits.unpacked_bytes_max(packed);
    let (meter, overrun) = Meter::new(compression.reader(file), bytes_max);
    let result = unpack_entries(meter, limits, tree);
    match result {
        Err(Fault::Read(_)) if overrun.happened() => Err(too_large.into()),
        result => result,
    }
}

/// Unpacks the archive that `content` gives, which has to end by itself, into `tree`.
pub(crate) fn unpack_entries(content: impl Read, limits: &ArchiveLimits, tree: &mut impl TarTree) -> Result<(), Fault> {
    let mut archive = Archive::new(content);
    let mut extended = Extended::default();
    let mut count = 0;
    let mut found_end = false;
    for entry in archive.entries().map_err(Fault::Read)?.raw(true) {
        let mut entry = entry.map_err(Fault::Read)?;
        count += 1;
        if count > limits.entries {
            return Err(ArchiveRefusal::TooManyEntries { limit: limits.entries }.into());
        }
        if !extended.absorb(&mut entry)? {
            add_entry(&mut entry, &extended, limits, tree)?;
            extended = Extended::default();
            found_end = true;
        }
    }
    if !found_end {
        return Err(ArchiveRefusal::Header { what: "no files" }.into());
    }
    // What follows the end mark must decompress as well: a damaged archive is not half accepted.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(Fault::Read)?;
    Ok(())
}

impl Extended {
    /// Reads `entry` if it is about the next one.
    fn absorb(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, Fault> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => self.path = Some(read_extended(entry)?),
            EntryType::GNULongLink => self.link = Some(read_extended(entry)?),
            EntryType::XHeader => self.parse(&read_extended(entry)?, false)?,
            EntryType::XGlobalHeader => self.parse(&read_extended(entry)?, true)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes what matters of an extended header. A global one must not name or measure all that follows.
    fn parse(&mut self, content: &[u8], global: bool) -> Result<(), Fault> {
        for field in PaxExtensions::new(content) {
            let Ok(field) = field else {
                return Err(ArchiveRefusal::Header { what: "a damaged extended header" }.into());
            };
            let (key, value) = (field.key_bytes(), field.value_bytes());
            if key.starts_with(b"GNU.sparse.") {
                return Err(ArchiveRefusal::Header { what: "a sparse file" }.into());
            }
            if !matches!(key, b"path" | b"linkpath" | b"size" | b"mtime") {
                continue;
            }
            if global {
                return Err(ArchiveRefusal::Header { what: "a global header that names files" }.into());
            }
            let text = std::str::from_utf8(value).unwrap_or_default();
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let damaged = ArchiveRefusal::Header { what: "a size that is no number" };
                    self.size = Some(text.parse().map_err(|_| damaged)?);
                }
                _ => self.mtime = text.split('.').next().and_then(|seconds| seconds.parse().ok()),
            }
        }
        Ok(())
    }
}

fn read_extended(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, Fault> {
    if entry.size() > EXTENDED_HEADER_BYTES_MAX {
        return Err(ArchiveRefusal::Header { what: "an extended header that is too long" }.into());
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).map_err(Fault::Read)?;
    while content.last() == Some(&0) {
        content.pop();
    }
    Ok(content)
}

fn add_entry(
    entry: &mut Entry<'_, impl Read>,
    extended: &Extended,
    limits: &ArchiveLimits,
    tree: &mut impl TarTree,
) -> Result<(), Fault> {
    let name = extended.path.clone().unwrap_or_else(|| entry.header().path_bytes().into_owned());
    let kind = entry.header().entry_type();
    // The oldest format marks folders by their names only.
    let is_directory = kind == EntryType::Directory || (kind == EntryType::Regular && name.ends_with(b"/"));
    let name = trim_name(&name);
    if name.is_empty() || matches!(name, b"." | b"/") {
        // The folder that was packed, `./`.
        let nameless = ArchiveRefusal::Header { what: "a file without a name" };
        return if is_directory && name != b"/" { Ok(()) } else { Err(nameless.into()) };
    }
    if tree.leaves_out(name) {
        return Ok(());
    }
    let path = entry_name(name)?;
    let mode = entry.header().mode().unwrap_or(0o644);
    let header_mtime = || i64::try_from(entry.header().mtime().unwrap_or_default()).unwrap_or(i64::MAX);
    let mtime = extended.mtime.unwrap_or_else(header_mtime);
    let link = extended.link.clone().or_else(|| entry.header().link_name_bytes().map(|link| link.into_owned()));
    let link = link.unwrap_or_default();
    let special = |kind| Err(ArchiveRefusal::SpecialFile { name: printable(name), kind }.into());
    match kind {
        _ if is_directory => tree.add_directory(&path, mtime),
        EntryType::Symlink => tree.add_symlink(&path, &link),
        EntryType::Link => tree.add_hard_link(&path, &entry_name(trim_name(&link))?),
        EntryType::Regular | EntryType::Continuous => {
            let size = entry.size();
            if extended.size.is_some_and(|extended| extended != size) {
                return Err(ArchiveRefusal::Header { what: "two sizes for one file" }.into());
            }
            if size > limits.file_bytes {
                return Err(ArchiveRefusal::FileTooLarge { name: path.to_string(), limit: limits.file_bytes }.into());
            }
            let header = FileHeader { executable: mode & 0o100 != 0, mtime, size };
            tree.add_file(&path, header, entry)
        }
        EntryType::GNUSparse => Err(ArchiveRefusal::Header { what: "a sparse file" }.into()),
        EntryType::Char | EntryType::Block => special("a device"),
        EntryType::Fifo => special("a named pipe"),
        _ => special("of an unknown kind"),
    }
}

/// The name without a leading `./` and a trailing `/`, which tar writes for folders.
fn trim_name(mut name: &[u8]) -> &[u8] {
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    while let Some(rest) = name.strip_suffix(b"/").filter(|rest| !rest.is_empty()) {
        name = rest;
    }
    name
}
