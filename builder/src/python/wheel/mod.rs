//! Wheels: from a published file to a checked tree in the store.

mod extract;
mod foreign_paths;
mod import;
mod layout;
mod record;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use pip_accel_schema::link_plan::EntryPoint;
use pip_accel_schema::manifest::EntryPath;
use pip_accel_schema::wheel::WheelFileName;
use pip_accel_store::{StoreError, TreeWriter};

use super::archive::{ArchiveLimits, ArchiveRefusal, CaseRule};
use super::entry_points::{ENTRY_POINTS_BYTES_MAX, EntryPointError, parse_entry_points};
use super::metadata::{CoreMetadata, METADATA_BYTES_MAX, MetadataError, WheelMetadata, same_version};
use super::zip_file::{ZipReadError, ZipReader};

pub use foreign_paths::{FOREIGN_PATHS_MAX, ForeignPaths, PathSet, Search};
pub use import::{ImportOptions, ImportedWheel, import_wheel};
pub use record::{RECORD_BYTES_MAX, RecordError};

/// How strict unpacking is.
#[derive(Debug, Clone, Copy)]
pub struct UnpackOptions<'a> {
    /// Limits against bombs.
    pub limits: ArchiveLimits,
    /// Whether names that meet on a file system without case are refused.
    pub case_rule: CaseRule,
    /// Whether a file that `RECORD` does not list is an error. About one in thirty of the most used
    /// projects publishes such wheels, so it is a warning by default; pip installs these files as well.
    pub refuse_unlisted: bool,
    /// Paths that are looked for in its files; of a wheel that was built here, those of its build.
    pub foreign_paths: Option<&'a ForeignPaths>,
}

impl Default for UnpackOptions<'_> {
    fn default() -> Self {
        Self {
            limits: ArchiveLimits::default(),
            case_rule: CaseRule::Refuse,
            refuse_unlisted: false,
            foreign_paths: None,
        }
    }
}

/// What was found in a file while it was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileTrait {
    /// Nothing of interest.
    None,
    /// An ELF file.
    Elf,
    /// An `__init__.py` that makes its folder a namespace package (pkgutil or pkg_resources).
    NamespaceInit,
    /// A script that starts with `#!python`.
    PythonScript,
    /// A module that looks for its project's files in the list of what was installed.
    AsksForFiles,
}

/// One file of an unpacked wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Where, relative to the tree: `site/requests/api.py`.
    pub path: EntryPath,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it may be run.
    pub executable: bool,
    /// What it is.
    pub file_trait: FileTrait,
    /// Which of [`UnpackOptions::foreign_paths`] are in it.
    pub foreign: PathSet,
}

/// A wheel that is unpacked and found to be what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedWheel {
    /// Its files, sorted by path.
    pub files: Vec<TreeFile>,
    /// Its `.dist-info` folder below `site/`.
    pub dist_info: String,
    /// Its metadata.
    pub metadata: CoreMetadata,
    /// Scripts to be generated.
    pub entry_points: Vec<EntryPoint>,
    /// Dotted names of `namespace_packages.txt`.
    pub declared_namespaces: Vec<String>,
    /// What is odd, but no reason to refuse.
    pub warnings: Vec<WheelWarning>,
    /// Sum of the files' lengths in bytes.
    pub bytes: u64,
}

/// Something odd about a wheel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WheelWarning {
    /// A newer minor format.
    #[error("the wheel has the newer format 1.{minor}")]
    NewerFormat {
        /// Its minor number.
        minor: u32,
    },
    /// Files that `RECORD` does not list.
    #[error("`RECORD` does not list {count} of the wheel's files, such as `{first}`")]
    Unlisted {
        /// One of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// Files that `RECORD` lists without a digest.
    #[error("`RECORD` has no digest for {count} of the wheel's files, such as `{first}`")]
    Undigested {
        /// One of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// Bytecode that `RECORD` lists and the wheel does not hold.
    #[error("`RECORD` lists {count} file{} of bytecode that the wheel lacks, such as `{first}`", if *count == 1 { "" } else { "s" })]
    MissingBytecode {
        /// One of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// Bytecode of the wheel that is made anew.
    #[error("the wheel's own bytecode is left out: {count} file{}, such as `{first}`", if *count == 1 { "" } else { "s" })]
    ShippedBytecode {
        /// One of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// A folder that looks like the wheel's `.data`, but has another name.
    #[error("`{folder}` is not this wheel's data folder and goes to site-packages")]
    ForeignData {
        /// The folder.
        folder: String,
    },
}

/// A wheel that can't be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("wheel `{}` can't be used", archive.display())]
pub struct WheelError {
    /// The wheel.
    pub archive: PathBuf,
    /// Why.
    #[source]
    pub fault: Box<WheelFault>,
}

impl WheelError {
    /// Whether the store or this machine failed, not the wheel.
    #[must_use]
    pub const fn is_of_the_store(&self) -> bool {
        matches!(*self.fault, WheelFault::Store { .. } | WheelFault::Bytecode { .. })
    }
}

/// Why a wheel can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WheelFault {
    /// The archive is unreadable, damaged or breaks a rule.
    #[error("the archive can't be unpacked")]
    Zip(#[from] ZipReadError),
    /// The tree breaks a rule that its archive kept: files of two folders that meet.
    #[error("the unpacked tree is refused")]
    Refused(#[from] ArchiveRefusal),
    /// No `.dist-info` folder, or several.
    #[error("the wheel has {} `.dist-info` folders instead of one", folders.len())]
    DistInfo {
        /// Those it has, sorted; at most ten.
        folders: Vec<String>,
    },
    /// A file of the `.dist-info` folder is missing.
    #[error("the wheel has no `{file}`")]
    Missing {
        /// The file.
        file: String,
    },
    /// `METADATA` or `WHEEL` is refused.
    #[error("the wheel's metadata is refused")]
    Metadata(#[from] MetadataError),
    /// It is another project or version than its file name says.
    #[error("the file name says {expected}, {place} says {found}")]
    Identity {
        /// Name and version by the file name.
        expected: String,
        /// What contradicts it: `METADATA`.
        place: String,
        /// What it says.
        found: String,
    },
    /// A file of the `.data` folder for which the format knows no place.
    #[error("`{path}` is below no known folder of the wheel's data")]
    Scheme {
        /// The file.
        path: String,
    },
    /// `RECORD` is refused or contradicts the content.
    #[error("the wheel contradicts its own list of files")]
    Record(#[from] RecordError),
    /// `entry_points.txt` or a script is refused.
    #[error("the wheel's scripts are refused")]
    EntryPoints(#[from] EntryPointError),
    /// The store could not take a file.
    #[error("the store can't take `{path}`")]
    Store {
        /// The file.
        path: String,
        /// Why.
        source: StoreError,
    },
    /// A file could not be written or read again.
    #[error("`{path}` can't be unpacked")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its bytecode could not be made.
    #[error("the wheel can't be compiled")]
    Bytecode(#[from] super::bytecode::BytecodeError),
    /// A path of the plan breaks the rules for paths.
    #[error("the wheel can't be linked")]
    Path(#[from] pip_accel_schema::manifest::ParseEntryPathError),
}

/// Unpacks the wheel `archive` into `tree` and checks all it says about itself.
///
/// `file_name` is the published name: the archive itself may have another one on disk.
/// On an error `tree` holds a part of the wheel and must be dropped.
///
/// # Errors
/// [`WheelFault`] says what is wrong.
pub fn unpack_wheel(
    archive: &Path,
    file_name: &WheelFileName,
    tree: &TreeWriter,
    options: &UnpackOptions<'_>,
) -> Result<UnpackedWheel, WheelError> {
    unpack(archive, file_name, tree, options)
        .map_err(|fault| WheelError { archive: archive.to_owned(), fault: Box::new(fault) })
}

fn unpack(
    archive: &Path,
    file_name: &WheelFileName,
    tree: &TreeWriter,
    options: &UnpackOptions<'_>,
) -> Result<UnpackedWheel, WheelFault> {
    let (mut reader, members) = ZipReader::open(archive, &options.limits)?;
    let mut warnings = Vec::new();
    let layout = layout::Layout::new(members, file_name, options, &mut warnings)?;

    let wheel = WheelMetadata::parse(&layout.read_dist_info(&mut reader, "WHEEL", METADATA_BYTES_MAX)?)?;
    if wheel.format_minor > WheelMetadata::FORMAT_MINOR_KNOWN {
        warnings.push(WheelWarning::NewerFormat { minor: wheel.format_minor });
    }
    let content = layout.read_dist_info(&mut reader, "METADATA", METADATA_BYTES_MAX)?;
    let metadata = CoreMetadata::parse("METADATA", &content)?;
    check_identity(file_name, "METADATA", &metadata)?;

    let optional =
        |reader: &mut ZipReader, file: &str| match layout.read_dist_info(reader, file, ENTRY_POINTS_BYTES_MAX) {
            Err(WheelFault::Missing { .. }) => Ok(None),
            read => read.map(Some),
        };
    let entry_points = match optional(&mut reader, "entry_points.txt")? {
        Some(content) => parse_entry_points(&content)?,
        None => Vec::new(),
    };
    let namespaces = optional(&mut reader, "namespace_packages.txt")?.unwrap_or_default();
    let declared_namespaces = String::from_utf8_lossy(&namespaces).split_whitespace().map(str::to_owned).collect();

    let mut record = record::parse_record(&layout.read_dist_info(&mut reader, "RECORD", RECORD_BYTES_MAX)?)?;
    // What the list says about itself can't be right.
    record.remove(&format!("{}/RECORD", layout.dist_info));
    layout.compare_with_record(&record, options.refuse_unlisted, &mut warnings)?;
    let looked_for = extract::LookedFor { project: file_name.name.as_str(), foreign_paths: options.foreign_paths };
    let mut files = extract::extract(&reader, &layout.files, (&record, looked_for), tree)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    let bytes = files.iter().map(|file| file.size).sum();
    let dist_info = layout.dist_info;
    Ok(UnpackedWheel { files, dist_info, metadata, entry_points, declared_namespaces, warnings, bytes })
}

fn check_identity(file_name: &WheelFileName, place: &str, metadata: &CoreMetadata) -> Result<(), WheelFault> {
    if metadata.name == file_name.name && same_version(metadata.version.as_str(), file_name.version.as_str()) {
        return Ok(());
    }
    Err(WheelFault::Identity {
        expected: format!("{} {}", file_name.name, file_name.version),
        place: place.to_owned(),
        found: format!("{} {}", metadata.name, metadata.version),
    })
}
