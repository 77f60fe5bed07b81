//! The canonical archive of a checkout: the same bytes for the same content, on every machine.
//!
//! An uncompressed tar file (no compressor's version is in its digest): first [`CHECKOUT_FILE`], which says where the
//! project is in the tree, then the tree below `src/`, sorted, with one owner, one time and two modes.

use std::io::{self, Read, Write};

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::EntryPath;
use pip_accel_schema::name::PackageName;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::python::sdist::{CHECKOUT_FILE, CHECKOUT_SOURCE, CHECKOUT_SUFFIX, CheckoutFile, MTIME_MIN};

/// The name of the archive of a project; no `-` in it, so that nothing takes a part of it for a version.
#[must_use]
pub(crate) fn archive_name(name: &PackageName) -> String {
    format!("{}{CHECKOUT_SUFFIX}", name.as_str().replace('-', "_"))
}

/// Writes one archive.
pub(super) struct Packer<W: Write> {
    builder: Builder<Hashed<W>>,
}

impl<W: Write> Packer<W> {
    /// Begins the archive of the project in `subdirectory` of the tree.
    pub(super) fn new(output: W, subdirectory: Option<&str>) -> io::Result<Self> {
        let mut packer = Self { builder: Builder::new(Hashed { output, hasher: Sha256::new() }) };
        let file = CheckoutFile { version: 1, subdirectory: subdirectory.map(str::to_owned) };
        let text = serde_json::to_vec(&file).map_err(io::Error::other)?;
        packer.append(CHECKOUT_FILE, &header(EntryType::Regular, 0o644, text.len() as u64), text.as_slice())?;
        Ok(packer)
    }

    fn append(&mut self, path: &str, header: &Header, content: impl Read) -> io::Result<()> {
        self.builder.append_data(&mut header.clone(), path, content)
    }

    pub(super) fn directory(&mut self, path: &EntryPath) -> io::Result<()> {
        let path = format!("{CHECKOUT_SOURCE}/{path}/");
        self.append(&path, &header(EntryType::Directory, 0o755, 0), io::empty())
    }

    /// Adds a file of exactly `size` bytes.
    pub(super) fn file(&mut self, path: &str, (executable, size): (bool, u64), content: impl Read) -> io::Result<()> {
        let mode = if executable { 0o755 } else { 0o644 };
        let mut content = content.take(size);
        self.append(&format!("{CHECKOUT_SOURCE}/{path}"), &header(EntryType::Regular, mode, size), &mut content)?;
        // The builder pads what is short, and the archive would be damaged.
        if content.limit() == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    pub(super) fn link(&mut self, path: &EntryPath, target: &str) -> io::Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.builder.append_link(&mut header, format!("{CHECKOUT_SOURCE}/{path}"), target)
    }

    /// Ends the archive and gives its digest.
    pub(super) fn finish(self) -> io::Result<(W, Sha256Digest)> {
        let hashed = self.builder.into_inner()?;
        Ok((hashed.output, Sha256Digest::from_bytes(hashed.hasher.finalize().into())))
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME_MIN.unsigned_abs());
    header.set_size(size);
    header
}

/// Computes the digest of what it passes on.
struct Hashed<W> {
    output: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: if these bytes change, every commit and directory that was built is built anew.
    #[test]
    fn the_bytes_are_stable() {
        let path = |text: &str| EntryPath::parse(text).expect("a path");
        let mut packer = Packer::new(Vec::new(), Some("sub")).expect("begun");
        packer.directory(&path("a")).expect("added");
        packer.file("a/b", (true, 3), &b"abc"[..]).expect("added");
        packer.link(&path("a/c"), "b").expect("added");
        packer.file(&format!("a/{}", "x".repeat(200)), (false, 0), io::empty()).expect("added");
        let (bytes, digest) = packer.finish().expect("finished");
        assert_eq!(digest, Sha256Digest::from_bytes(Sha256::digest(&bytes).into()));
        assert_eq!(digest.to_string(), "9049eee5e3553a6ecdef0f8fc342482dc170525f0515837f1d5407d2f1a4bf89");
        let mut packer = Packer::new(Vec::new(), None).expect("begun");
        assert!(packer.file("short", (false, 4), &b"abc"[..]).is_err());
    }
}
