//! Tiny wheels and sdists made in code, correct ones and evil ones, with the same bytes in every run.

mod deb;
mod lock;
mod sdist;
mod wheel;
mod zip_writer;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub use deb::{AptRepository, DebBuilder, DebCompression};
pub use lock::LockWriter;
pub use sdist::{EvilMember, SdistBackend, SdistBuilder, SdistFormat};
pub use wheel::{Evil, WheelBuilder};
pub use zip_writer::{ZipMember, zip_archive};

use crate::tree_digest::hex;

/// Modification time of every member, seconds since 1970: the first a zip archive can hold.
pub const MEMBER_MTIME: u64 = 315_532_800;

/// A finished package file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltFile {
    /// Project name as given to the builder.
    pub name: String,
    /// Version as given to the builder.
    pub version: String,
    /// Name an index would publish it under.
    pub file_name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl BuiltFile {
    /// SHA-256 of the content, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// `--hash=sha256:…`.
    #[must_use]
    pub fn hash_option(&self) -> String {
        format!("--hash=sha256:{}", self.sha256())
    }

    /// Writes it into `directory` under its file name and returns the path.
    ///
    /// # Panics
    /// When that fails.
    pub fn write_to(&self, directory: &Path) -> PathBuf {
        let path = directory.join(&self.file_name);
        std::fs::write(&path, &self.bytes).expect("the directory is writable");
        path
    }

    /// The same file cut off after `bytes` bytes: a broken download with its own, right hash.
    #[must_use]
    pub fn truncated(&self, bytes: usize) -> Self {
        Self { bytes: self.bytes[..bytes.min(self.bytes.len())].to_vec(), ..self.clone() }
    }

    /// Reads a package file that exists, for example one of `host::wheels()`; name and version come from the file name.
    ///
    /// # Panics
    /// When it can't be read or is not named like a wheel.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let file_name = path.file_name().expect("it is a file").to_string_lossy().into_owned();
        let mut parts = file_name.split('-');
        let (name, version) =
            (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default().to_owned());
        assert!(!version.is_empty(), "{file_name} is not a wheel");
        Self { name, version, bytes: std::fs::read(path).expect("the file is readable"), file_name }
    }
}

/// A name as file names and `*.dist-info` spell it: `-`, `.` and `_` runs become one `_`.
fn escaped(name: &str) -> String {
    let mut result = String::new();
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !result.is_empty() {
            result.push('_');
        }
        result.push_str(part);
    }
    result.to_lowercase()
}
