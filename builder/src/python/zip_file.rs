//! Reading hostile zip archives: the one place that knows the `zip` crate.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use pip_accel_schema::manifest::EntryPath;
use zip::CompressionMethod;
use zip::read::{ArchiveOffset, Config, ZipArchive, ZipFileEntry};
use zip::result::ZipError;

use super::archive::{ArchiveLimits, ArchiveRefusal, entry_name, printable};

/// Bytes that one reader holds of the archive; central directories are read in fields of a few bytes.
const WINDOW_BYTES: usize = 32 << 10;

/// Bytes in which a file's content is handed on.
const CHUNK_BYTES: usize = 128 << 10;

/// Where the end record may lie: its own 22 bytes, the longest comment, and the locator of the 64-bit record.
const TAIL_BYTES_MAX: u64 = 22 + 65_535 + 20;

/// Why a zip archive can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ZipReadError {
    /// The file can't be read.
    #[error("the archive can't be read")]
    Io(#[from] io::Error),
    /// It is no zip archive, or a damaged one.
    #[error("the zip archive is damaged")]
    Format(#[source] ZipError),
    /// It breaks a rule.
    #[error("the zip archive is refused")]
    Refused(#[from] ArchiveRefusal),
}

impl From<ZipError> for ZipReadError {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => Self::Io(error),
            error => Self::Format(error),
        }
    }
}

/// One file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipMember {
    index: usize,
    /// Its checked name.
    pub path: EntryPath,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// Its unpacked length in bytes, as declared (and enforced when it is read).
    pub size: u64,
    /// Whether the archive marks it as something to run.
    pub executable: bool,
    /// Its time in seconds since 1970, as if the archive were made in UTC; absent if it has none that exists.
    pub mtime: Option<i64>,
}

/// An open archive. Clones share the file and its directory and may be read in parallel.
#[derive(Debug, Clone)]
pub struct ZipReader {
    archive: ZipArchive<SharedFile>,
}

impl ZipReader {
    /// Opens `path` and checks every entry's name, kind, method, local header and declared size.
    /// Whether names meet is left to the caller, who knows where they go.
    ///
    /// # Errors
    /// When the file can't be read, is damaged, or breaks a rule of [`ArchiveRefusal`].
    pub fn open(path: &Path, limits: &ArchiveLimits) -> Result<(Self, Vec<ZipMember>), ZipReadError> {
        let file = SharedFile::new(File::open(path)?)?;
        refuse_many_entries(&file, limits.entries)?;
        let packed_bytes = file.length;
        // A known offset leaves no room for two opinions about where the archive starts.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut archive = ZipArchive::with_config(config, file)?;
        if archive.has_duplicate_names() {
            return Err(ArchiveRefusal::Header { what: "two entries with one name" }.into());
        }
        if archive.len() as u64 > limits.entries {
            return Err(ArchiveRefusal::TooManyEntries { limit: limits.entries }.into());
        }
        archive.validate_header_consistency()?;
        let (bytes_max, too_large) = limits.unpacked_bytes_max(packed_bytes);
        let mut members = Vec::with_capacity(archive.len());
        let mut total: u64 = 0;
        for index in 0..archive.len() {
            let member = checked_member(index, &archive.by_index_data(index)?)?;
            if member.size > limits.file_bytes {
                let name = member.path.to_string();
                return Err(ArchiveRefusal::FileTooLarge { name, limit: limits.file_bytes }.into());
            }
            total = total.saturating_add(member.size);
            if total > bytes_max {
                return Err(too_large.into());
            }
            members.push(member);
        }
        Ok((Self { archive }, members))
    }

    /// Hands the content of `member` to `sink` in pieces; `buffer` is reused between calls.
    ///
    /// # Errors
    /// When the content can't be read, is damaged (CRC) or has another length than declared, or when `sink` fails.
    pub fn read<E: From<ZipReadError>>(
        &mut self,
        member: &ZipMember,
        buffer: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        buffer.resize(CHUNK_BYTES, 0);
        let mut file = self.archive.by_index(member.index).map_err(ZipReadError::from)?;
        let wrong_length =
            || ZipReadError::from(ArchiveRefusal::Length { name: member.path.to_string(), declared: member.size });
        let mut left = member.size;
        loop {
            let count = match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ZipReadError::from(error).into()),
            };
            left = left.checked_sub(count as u64).ok_or_else(wrong_length)?;
            sink(&buffer[..count])?;
        }
        if left == 0 { Ok(()) } else { Err(wrong_length().into()) }
    }

    /// The whole content of `member`, which must not have over `limit` bytes.
    ///
    /// # Errors
    /// As [`Self::read`]; [`ArchiveRefusal::FileTooLarge`].
    pub fn read_whole(&mut self, member: &ZipMember, limit: u64) -> Result<Vec<u8>, ZipReadError> {
        if member.size > limit {
            return Err(ArchiveRefusal::FileTooLarge { name: member.path.to_string(), limit }.into());
        }
        let mut content = Vec::new();
        self.read::<ZipReadError>(member, &mut Vec::new(), &mut |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(content)
    }
}

fn checked_member(index: usize, entry: &ZipFileEntry<'_>) -> Result<ZipMember, ArchiveRefusal> {
    let raw = entry.name_raw();
    let is_directory = raw.last() == Some(&b'/');
    let path = entry_name(raw.strip_suffix(b"/").unwrap_or(raw))?;
    if entry.encrypted() {
        return Err(ArchiveRefusal::Encrypted { name: path.to_string() });
    }
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(ArchiveRefusal::Method { name: path.to_string() });
    }
    let mode = entry.unix_mode().unwrap_or_default();
    let kind = match mode & libc::S_IFMT {
        0 | libc::S_IFREG => None,
        libc::S_IFDIR if is_directory => None,
        libc::S_IFDIR => Some("a folder with the name of a file"),
        libc::S_IFLNK => Some("a link"),
        _ => Some("a device, pipe or socket"),
    };
    if let Some(kind) = kind {
        return Err(ArchiveRefusal::SpecialFile { name: printable(raw), kind });
    }
    if is_directory && entry.size() > 0 {
        return Err(ArchiveRefusal::SpecialFile { name: printable(raw), kind: "a folder with content" });
    }
    let mtime = entry.last_modified().map(|time| {
        let days = days_since_1970(time.year().into(), time.month().into(), time.day().into());
        ((days * 24 + i64::from(time.hour())) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second())
    });
    Ok(ZipMember {
        index,
        path,
        is_directory,
        size: entry.size(),
        executable: !is_directory && mode & 0o111 != 0,
        mtime,
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March here, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Looks at every record from which the number of entries could be taken, before memory is reserved for them.
fn refuse_many_entries(file: &SharedFile, limit: u64) -> Result<(), ZipReadError> {
    let start = file.length.saturating_sub(TAIL_BYTES_MAX);
    let mut tail = vec![0; usize::try_from(file.length - start).unwrap_or_default()];
    file.file.read_exact_at(&mut tail, start)?;
    for window in tail.windows(20).filter(|window| window.starts_with(b"PK\x06\x07")) {
        let offset = number_at(window, 8);
        let mut record = [0; 56];
        let readable = i64::try_from(offset).is_ok() && file.file.read_exact_at(&mut record, offset).is_ok();
        if readable && record.starts_with(b"PK\x06\x06") && number_at(&record, 24).max(number_at(&record, 32)) > limit {
            return Err(ArchiveRefusal::TooManyEntries { limit }.into());
        }
    }
    Ok(())
}

fn number_at(bytes: &[u8], offset: usize) -> u64 {
    let bytes = bytes.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// A position in a file that others read too; clones have their own position and window.
#[derive(Debug)]
struct SharedFile {
    file: Arc<File>,
    length: u64,
    position: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl SharedFile {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), length, position: 0, window: Vec::new(), window_start: 0 })
    }
}

impl Clone for SharedFile {
    fn clone(&self) -> Self {
        Self { file: Arc::clone(&self.file), length: self.length, position: 0, window: Vec::new(), window_start: 0 }
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.length {
            return Ok(0);
        }
        let mut inside = self.position.checked_sub(self.window_start).and_then(|inside| usize::try_from(inside).ok());
        if inside.is_none_or(|inside| inside >= self.window.len()) {
            if buffer.len() >= WINDOW_BYTES {
                let count = self.file.read_at(buffer, self.position)?;
                self.position += count as u64;
                return Ok(count);
            }
            self.window.resize(WINDOW_BYTES, 0);
            let count = self.file.read_at(&mut self.window, self.position).inspect_err(|_| self.window.clear())?;
            self.window.truncate(count);
            self.window_start = self.position;
            inside = Some(0);
        }
        let available = &self.window[inside.unwrap_or_default()..];
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let target = match target {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        // `pread` takes signed offsets only.
        let target = target.filter(|position| i64::try_from(*position).is_ok());
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(content: &[u8]) -> Result<(ZipReader, Vec<ZipMember>), ZipReadError> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(content).expect("written");
        ZipReader::open(file.path(), &ArchiveLimits::default())
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(content in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let _ = open(&content);
        }

        #[test]
        fn damaged_archives_never_panic(
            changes in proptest::collection::vec((0_usize..400, proptest::num::u8::ANY), 1..8),
        ) {
            let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
            for name in ["a.py", "b/c.py"] {
                writer.start_file(name, zip::write::SimpleFileOptions::default()).expect("started");
                writer.write_all(&[b'x'; 100]).expect("written");
            }
            let mut content = writer.finish().expect("finished").into_inner();
            for (index, byte) in changes {
                if let Some(target) = content.get_mut(index) {
                    *target = byte;
                }
            }
            if let Ok((mut reader, members)) = open(&content) {
                for member in &members {
                    let _ = reader.read_whole(member, 1 << 20);
                }
            }
        }
    }

    #[test]
    fn dates_become_seconds() {
        for (date, days) in [((1970, 1, 1), 0), ((1980, 1, 1), 3652), ((2000, 2, 29), 11_016), ((2107, 12, 31), 50_402)]
        {
            assert_eq!(days_since_1970(date.0, date.1, date.2), days, "{date:?}");
        }
    }

    #[test]
    fn a_count_of_entries_beyond_the_limit_is_refused_before_memory_is_reserved() {
        // An empty archive whose 64-bit end record claims 2^40 entries.
        let mut bytes = b"PK\x06\x06".to_vec();
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [1_u64 << 40, 1 << 40, 46 << 40, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
        assert!(matches!(open(&bytes), Err(ZipReadError::Refused(ArchiveRefusal::TooManyEntries { .. }))));
    }
}
