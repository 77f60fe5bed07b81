//! Reading a Debian package: an `ar` archive with a tar archive of scripts and one of files.
//!
//! The package may have been made by anybody: a signed list says which bytes it has, not that they are harmless.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use pip_accel_schema::manifest::EntryPath;
use pip_accel_store::{StoreError, TreeWriter};

use super::alternatives::harvest;
use super::tree::LayerTree;
use crate::python::archive::{ArchiveLimits, ArchiveRefusal};
use crate::python::sdist::Fault;
use crate::python::sdist::decompress::Meter;
use crate::python::sdist::tar_archive::{FileHeader, TarTree, unpack_entries};

/// The first bytes of an `ar` archive.
const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Bytes before each member.
const HEADER_BYTES: usize = 60;

/// Most members; a package has three, a signed one four.
const MEMBERS_MAX: usize = 16;

/// Longest maintainer script that is read; Debian's longest has some 60 KB.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;

/// Most memory of the xz decoder, in KiB; `xz -9` asks for 65 MiB.
const XZ_MEMORY_KIB_MAX: u32 = 256 << 10;

/// Largest window of the zstd decoder, as a power of two; `zstd --ultra` of dpkg-deb asks for 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes that are read from the file at a time.
const INPUT_BYTES: usize = 128 << 10;

/// A Debian package that can't be unpacked, and why.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It can't be read or decompressed.
    #[error("`{}` can't be read", path.display())]
    Read {
        /// The package file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a Debian package of a format that is known.
    #[error("`{}` is no Debian package: {reason}", path.display())]
    Format {
        /// The package file.
        path: PathBuf,
        /// The reason.
        reason: &'static str,
    },
    /// It breaks a rule of archives.
    #[error("`{}` is refused", path.display())]
    Refused {
        /// The package file.
        path: PathBuf,
        /// Which rule.
        source: ArchiveRefusal,
    },
    /// A file of it can't be written.
    #[error("`{}` can't be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tree is refused by the store.
    #[error("`{}` can't be kept", path.display())]
    Store {
        /// The package file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// One member of the `ar` archive.
#[derive(Debug)]
struct Member {
    name: String,
    offset: u64,
    size: u64,
}

/// Unpacks the package file at `path` into `tree`: `usr` and `etc`, as they are laid over a system whose `/bin` and `/lib` are
/// links into `/usr`, with the links that its maintainer script would make by `update-alternatives`. Nothing of it is run.
///
/// # Errors
/// [`DebError`] says what is wrong.
pub fn unpack_deb(path: &Path, tree: &TreeWriter, limits: &ArchiveLimits) -> Result<(), DebError> {
    let format = |reason| DebError::Format { path: path.to_owned(), reason };
    let members = members(path)?;
    let first = members.first().filter(|member| member.name == "debian-binary");
    let first = first.ok_or_else(|| format("it does not start with its version"))?;
    let mut version = Vec::new();
    open(path, first)?.take(16).read_to_end(&mut version).map_err(|source| read_error(path, source))?;
    if !version.starts_with(b"2.") {
        return Err(format("it has another format than 2"));
    }
    let named = |stem: &str| {
        let is_it = |member: &&Member| {
            member.name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(['.']) || rest.is_empty())
        };
        members.iter().find(is_it)
    };
    let control = named("control.tar").ok_or_else(|| format("it has no control.tar"))?;
    let data = named("data.tar").ok_or_else(|| format("it has no data.tar"))?;
    let mut scripts = Scripts::default();
    unpack_member(path, control, limits, &mut scripts)?;
    let mut layer = LayerTree::new(tree);
    unpack_member(path, data, limits, &mut layer)?;
    let script = String::from_utf8_lossy(&scripts.postinst).into_owned();
    layer.finish(&harvest(&script)).map_err(|source| DebError::Store { path: path.to_owned(), source })
}

fn read_error(path: &Path, source: io::Error) -> DebError {
    DebError::Read { path: path.to_owned(), source }
}

/// The members in their order.
fn members(path: &Path) -> Result<Vec<Member>, DebError> {
    let failed = |source| read_error(path, source);
    let format = |reason| DebError::Format { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Err(format("it is no ar archive"));
    }
    let mut members = Vec::new();
    let mut offset = MAGIC.len() as u64;
    while offset < length {
        if members.len() == MEMBERS_MAX {
            return Err(format("it has too many members"));
        }
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|_| format("a header is cut off"))?;
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_end().to_owned();
        let size: u64 = text(48..58).parse().map_err(|_| format("the size of a member is no number"))?;
        let start = offset + HEADER_BYTES as u64;
        let end = start.checked_add(size).filter(|end| *end <= length && header.ends_with(b"`\n"));
        let end = end.ok_or_else(|| format("a member is cut off"))?;
        members.push(Member { name: text(0..16).trim_end_matches('/').to_owned(), offset: start, size });
        offset = end + end % 2;
    }
    Ok(members)
}

fn open(path: &Path, member: &Member) -> Result<io::Take<BufReader<File>>, DebError> {
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(member.offset))?;
        Ok(BufReader::with_capacity(INPUT_BYTES, file).take(member.size))
    };
    open().map_err(|source| read_error(path, source))
}

fn unpack_member(
    path: &Path,
    member: &Member,
    limits: &ArchiveLimits,
    tree: &mut impl TarTree,
) -> Result<(), DebError> {
    let content = open(path, member)?;
    let reader: Box<dyn Read> = match member.name.rsplit_once(".tar").map_or("", |(_, ending)| ending) {
        "" => Box::new(content),
        ".gz" => Box::new(MultiGzDecoder::new(content)),
        ".bz2" => Box::new(MultiBzDecoder::new(content)),
        ".xz" => Box::new(XzReader::new_mem_limit(content, true, XZ_MEMORY_KIB_MAX)),
        ".zst" => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(content).map_err(|source| read_error(path, source))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|source| read_error(path, source))?;
            Box::new(decoder)
        }
        _ => {
            let reason = "it is compressed by something else than gzip, bzip2, xz and zstd";
            return Err(DebError::Format { path: path.to_owned(), reason });
        }
    };
    let (bytes_max, too_large) = limits.unpacked_bytes_max(member.size);
    let (meter, overrun) = Meter::new(reader, bytes_max);
    unpack_entries(meter, limits, tree).map_err(|fault| match fault {
        Fault::Read(_) if overrun.happened() => DebError::Refused { path: path.to_owned(), source: too_large.clone() },
        Fault::Read(source) => read_error(path, source),
        Fault::Refused(source) => DebError::Refused { path: path.to_owned(), source },
        Fault::Write(path, source) => DebError::Write { path, source },
        Fault::Zip(error) => read_error(path, io::Error::other(error)),
    })
}

/// The one script that makes links.
#[derive(Debug, Default)]
struct Scripts {
    postinst: Vec<u8>,
}

impl TarTree for Scripts {
    fn leaves_out(&self, name: &[u8]) -> bool {
        name != b"postinst"
    }

    fn add_directory(&mut self, _: &EntryPath, _: i64) -> Result<(), Fault> {
        Ok(())
    }

    fn add_file(&mut self, _: &EntryPath, _: FileHeader, content: &mut dyn Read) -> Result<(), Fault> {
        self.postinst.clear();
        content.take(SCRIPT_BYTES_MAX).read_to_end(&mut self.postinst).map_err(Fault::Read)?;
        Ok(())
    }

    fn add_symlink(&mut self, _: &EntryPath, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn add_hard_link(&mut self, _: &EntryPath, _: &EntryPath) -> Result<(), Fault> {
        Ok(())
    }
}
