//! Decompression with a meter: no archive unpacks to more than it may, whatever its headers say.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

/// Most memory that the xz decoder may take, in KiB; `xz -9` asks for 65 MiB.
const XZ_MEMORY_KIB_MAX: u32 = 256 << 10;

/// Bytes that are read from the file at a time.
const INPUT_BYTES: usize = 128 << 10;

/// How an archive is packed, by its first bytes: names lie too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Zip,
    /// Not at all: archives that were made here.
    Plain,
}

impl Compression {
    /// Looks at the start of `file`.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut start = [0; 6];
        let mut length = 0;
        while length < start.len() {
            match file.read_at(&mut start[length..], length as u64)? {
                0 => break,
                count => length += count,
            }
        }
        let start = &start[..length];
        Ok(match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Self::Xz),
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Self::Zip),
            _ => None,
        })
    }

    /// The unpacked bytes of `file`.
    pub(super) fn reader(self, file: File) -> Box<dyn Read> {
        let file = BufReader::with_capacity(INPUT_BYTES, file);
        match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(file)),
            Self::Xz => Box::new(XzReader::new_mem_limit(file, true, XZ_MEMORY_KIB_MAX)),
            // A zip archive has no stream of bytes; it is read by its own directory.
            Self::Zip | Self::Plain => Box::new(file),
        }
    }
}

/// Whether a [`Meter`] ran out: asked when reading fails, since readers in between wrap errors as they like.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrun(Rc<Cell<bool>>);

impl Overrun {
    pub(super) fn happened(&self) -> bool {
        self.0.get()
    }
}

/// Passes bytes on up to a limit, then fails.
#[derive(Debug)]
pub(super) struct Meter<R> {
    inner: R,
    left: u64,
    overrun: Overrun,
}

impl<R: Read> Meter<R> {
    pub(super) fn new(inner: R, limit: u64) -> (Self, Overrun) {
        let overrun = Overrun::default();
        (Self { inner, left: limit, overrun: overrun.clone() }, overrun)
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => {
                self.overrun.0.set(true);
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }
}
