//! Sdists: from a published archive to a source tree that a build may work in.

mod build_system;
mod checkout_file;
mod decompress;
mod identity;
mod tar_archive;
#[cfg(test)]
mod tests;
mod tree;
mod zip_archive;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::{ArchiveLimits, ArchiveRefusal};
use super::metadata::{CoreMetadata, MetadataError};
use super::zip_file::ZipReadError;

pub use build_system::{
    BuildSystem, BuildSystemError, DEFAULT_BUILD_REQUIRES, LEGACY_BACKEND, PYPROJECT_BYTES_MAX, read_build_system,
};
pub(crate) use checkout_file::{CHECKOUT_FILE, CHECKOUT_SOURCE, CHECKOUT_SUFFIX, CheckoutFile};
pub(crate) use identity::read_regular;
pub use tree::MTIME_MIN;
pub(crate) use tree::check_link_target;

/// A source tree ready to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedSdist {
    /// The folder that holds `pyproject.toml` or `setup.py`: the destination, or the one folder in it.
    pub root: PathBuf,
    /// How it wants to be built.
    pub build_system: BuildSystem,
    /// What `PKG-INFO` says, if there is one: archives of version control have none.
    pub metadata: Option<CoreMetadata>,
    /// Files and links that were unpacked.
    pub file_count: u64,
    /// Sum of the files' lengths in bytes.
    pub bytes: u64,
}

/// An sdist that can't be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum SdistError {
    /// The archive can't be read or decompressed.
    #[error("sdist `{}` can't be read", archive.display())]
    Read {
        /// The archive.
        archive: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A zip archive that is damaged or breaks a rule.
    #[error("sdist `{}` can't be unpacked", archive.display())]
    Zip {
        /// The archive.
        archive: PathBuf,
        /// Why.
        source: ZipReadError,
    },
    /// It breaks a rule.
    #[error("sdist `{}` is refused", archive.display())]
    Refused {
        /// The archive.
        archive: PathBuf,
        /// Which.
        source: ArchiveRefusal,
    },
    /// Neither a zip archive nor a tar archive compressed by gzip, bzip2 or xz.
    #[error("sdist `{}` is no tar.gz, tar.bz2, tar.xz or zip archive", archive.display())]
    Format {
        /// The archive.
        archive: PathBuf,
    },
    /// A file of the source tree can't be written or read again.
    #[error("the source file `{}` can't be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `PKG-INFO` is refused.
    #[error("the metadata of sdist `{file_name}` are refused")]
    Metadata {
        /// The published name.
        file_name: String,
        /// Why.
        source: MetadataError,
    },
    /// It is another project or version than its file name says.
    #[error("sdist `{file_name}` says it is {found}")]
    Identity {
        /// The published name.
        file_name: String,
        /// Name and version by `PKG-INFO`.
        found: String,
    },
    /// It does not say how it is built, or nonsense.
    #[error("sdist `{file_name}` can't be built")]
    BuildSystem {
        /// The published name.
        file_name: String,
        /// Why.
        source: BuildSystemError,
    },
}

/// Unpacks the sdist `archive` into `destination`, an existing, empty folder that nobody else writes to.
///
/// `file_name` is the published name (`name-version.tar.gz`): the archive itself may have another one on disk.
/// Files get mode 0644 or 0755 and their own time, not before 1980. On an error `destination` holds a part of it.
///
/// # Errors
/// [`SdistError`] says what is wrong.
pub fn unpack_sdist(archive: &Path, file_name: &str, destination: &Path) -> Result<UnpackedSdist, SdistError> {
    unpack_sdist_within(archive, file_name, destination, &ArchiveLimits::default())
}

/// As [`unpack_sdist`], with other limits.
///
/// # Errors
/// As [`unpack_sdist`].
pub fn unpack_sdist_within(
    archive: &Path,
    file_name: &str,
    destination: &Path,
    limits: &ArchiveLimits,
) -> Result<UnpackedSdist, SdistError> {
    let read_error = |source| SdistError::Read { archive: archive.to_owned(), source };
    let fault = |fault: Fault| fault.for_archive(archive);
    let is_checkout = file_name.ends_with(CHECKOUT_SUFFIX);
    let mut tree = tree::SourceTree::new(destination);
    let file = File::open(archive).map_err(read_error)?;
    match decompress::Compression::of(&file).map_err(read_error)? {
        Some(decompress::Compression::Zip) => zip_archive::unpack(archive, limits, &mut tree).map_err(fault)?,
        Some(compression) => tar_archive::unpack(file, compression, limits, &mut tree).map_err(fault)?,
        None if is_checkout => {
            tar_archive::unpack(file, decompress::Compression::Plain, limits, &mut tree).map_err(fault)?;
        }
        None => return Err(SdistError::Format { archive: archive.to_owned() }),
    }
    let totals = tree.finish().map_err(fault)?;
    let root = match is_checkout {
        true => checkout_file::project_folder(destination),
        false => identity::find_root(destination, file_name),
    };
    let root = root.map_err(|source| SdistError::Write { path: destination.to_owned(), source })?;
    let metadata = identity::check_identity(&root, file_name)?;
    let build_system = read_build_system(&root)
        .map_err(|source| SdistError::BuildSystem { file_name: file_name.to_owned(), source })?;
    Ok(UnpackedSdist { root, build_system, metadata, file_count: totals.files, bytes: totals.bytes })
}

/// Why unpacking failed, before the archive is named.
#[derive(Debug)]
pub(crate) enum Fault {
    Read(io::Error),
    Zip(ZipReadError),
    Refused(ArchiveRefusal),
    Write(PathBuf, io::Error),
}

impl From<ArchiveRefusal> for Fault {
    fn from(refusal: ArchiveRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ZipReadError> for Fault {
    fn from(error: ZipReadError) -> Self {
        Self::Zip(error)
    }
}

impl Fault {
    fn for_archive(self, archive: &Path) -> SdistError {
        let archive = archive.to_owned();
        match self {
            Self::Read(source) => SdistError::Read { archive, source },
            Self::Zip(source) => SdistError::Zip { archive, source },
            Self::Refused(source) => SdistError::Refused { archive, source },
            Self::Write(path, source) => SdistError::Write { path, source },
        }
    }
}
