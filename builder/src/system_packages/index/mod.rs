//! Which Debian package has which file: a compact index of what builds look for.
//!
//! Of the seven million files that Debian's `Contents` lists name, half a million are headers, libraries, programs,
//! `.pc` files and the like. Their paths are the keys of one `fst` map, the last component first, so that "each file
//! whose path ends in `libxml/parser.h`" is one range of it. Beside them stand, for each package, its section, the
//! number of source packages that need it to be built, and what a package without files of its own stands for; and,
//! for each Python module that Debian has, the native packages that its source needs.

mod apt;
mod collect;
pub(crate) mod control;
mod format;
mod ready;
mod update;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fst::{IntoStreamer, Streamer};
use serde::{Deserialize, Serialize};

use super::evidence::Kind;

pub use apt::AptFiles;
pub use collect::Collector;
pub use format::SectionClass;
pub use ready::{Ready, make, ready};
pub use update::{IndexPlace, MAX_AGE_SECONDS, UpdateError, UpdateReport, update};

/// Largest index that is read, in bytes; Debian's has less than ten million.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// Most entries that one question yields. The most common name of a header has some hundred files.
const ENTRIES_MAX: usize = 4096;

/// Where an index comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexOrigin {
    /// When it was made, in seconds since 1970.
    pub made_at: i64,
    /// The distribution and its release, such as `debian bookworm`.
    pub distribution: String,
    /// Debian's word for the machine, such as `amd64`.
    pub architecture: String,
    /// How many files are in it.
    pub files: u64,
}

/// Why an index can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It can't be read.
    #[error("can't read the index {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is longer than any index.
    #[error("the index {} is too large", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Another version wrote it.
    #[error("the index of system packages has another format")]
    OtherFormat,
    /// Its content is not what was written.
    #[error("the index of system packages is damaged")]
    Damaged,
    /// Its map can't be read or made.
    #[error("the map of the index of system packages can't be used")]
    Map(#[source] fst::Error),
}

/// A file, and the packages that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path, without a leading `/`.
    pub path: String,
    /// The packages, sorted by name.
    pub packages: Vec<String>,
}

/// What is known of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// How its section counts.
    pub class: SectionClass,
    /// How many source packages need it to be built.
    pub build_dependencies: u32,
    /// The development packages that a development package needs.
    pub depends: Vec<String>,
    /// Other names that it goes by.
    pub provides: Vec<String>,
}

/// The index, ready to be asked.
#[derive(Debug)]
pub struct SystemIndex {
    sections: format::Sections,
    /// What users say has a thing of that kind and name; it goes before everything else.
    own: BTreeMap<(Kind, String), String>,
}

impl SystemIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// When it can't be read, or is not what was written.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let failed = |source| IndexError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(failed)?.len() > INDEX_BYTES_MAX {
            return Err(IndexError::TooLarge { path: path.to_owned() });
        }
        Self::from_bytes(std::fs::read(path).map_err(failed)?)
    }

    /// Takes an index that is in memory.
    ///
    /// # Errors
    /// When it is not what was written.
    #[expect(clippy::needless_pass_by_value, reason = "the bytes are of no use to the caller afterwards")]
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, IndexError> {
        Ok(Self { sections: format::read(&bytes)?, own: BTreeMap::new() })
    }

    /// The same, with what users say has a thing of a kind and name.
    #[must_use]
    pub fn with_own(mut self, own: BTreeMap<(Kind, String), String>) -> Self {
        self.own = own;
        self
    }

    /// The package that users say has this.
    pub(super) fn own_package(&self, kind: Kind, name: &str) -> Option<&str> {
        // An owned key is the price of a tuple as key; there are a handful of questions a log.
        if self.own.is_empty() { None } else { self.own.get(&(kind, name.to_owned())).map(String::as_str) }
    }

    /// An index without any file: what is known without one.
    ///
    /// # Errors
    /// Never, unless the format contradicts itself.
    pub fn empty() -> Result<Self, IndexError> {
        Collector::default().into_index(&IndexOrigin::default())
    }

    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> &IndexOrigin {
        &self.sections.origin
    }

    /// Whether it has no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sections.paths.is_empty()
    }

    /// The files whose path ends in `suffix`, whole components; in the order of their reversed paths.
    #[must_use]
    pub fn ending_in(&self, suffix: &str) -> Vec<Entry> {
        let key = collect::reversed(suffix.trim_matches('/'));
        self.range(&format!("{key}/"))
    }

    /// The files whose name begins with `beginning`.
    #[must_use]
    pub fn beginning_with(&self, beginning: &str) -> Vec<Entry> {
        self.range(beginning)
    }

    /// The file at exactly `path`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<Entry> {
        let key = collect::reversed(path.trim_matches('/'));
        let set = self.sections.paths.get(key.as_bytes())?;
        Some(Entry { path: path.trim_matches('/').to_owned(), packages: self.set(set) })
    }

    fn range(&self, prefix: &str) -> Vec<Entry> {
        let mut stream = self.sections.paths.range().ge(prefix).into_stream();
        let mut entries = Vec::new();
        while let Some((key, set)) = stream.next() {
            if !key.starts_with(prefix.as_bytes()) || entries.len() >= ENTRIES_MAX {
                break;
            }
            if let Ok(key) = std::str::from_utf8(key) {
                entries.push(Entry { path: collect::reversed(key), packages: self.set(set) });
            }
        }
        entries
    }

    fn set(&self, offset: u64) -> Vec<String> {
        let line = line_at(&self.sections.sets, offset);
        let of = |offset: &str| {
            let line = line_at(&self.sections.packages, offset.parse().ok()?);
            Some(line.split('\t').next()?.to_owned())
        };
        line.split(' ').filter_map(of).collect()
    }

    /// What is known of a package of that name.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<Package> {
        let line = line_of(&self.sections.packages, name)?;
        let mut fields = line.split('\t');
        let words = |field: Option<&str>| -> Vec<String> {
            field.unwrap_or_default().split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        Some(Package {
            name: fields.next()?.to_owned(),
            class: SectionClass::from_letter(fields.next()?),
            build_dependencies: fields.next()?.parse().unwrap_or(0),
            depends: words(fields.next()),
            provides: words(fields.next()),
        })
    }

    /// The names of packages that begin with `beginning`, sorted.
    pub fn packages_beginning_with<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = &'a str> {
        let packages = &self.sections.packages;
        let start = first_line_from(packages, beginning);
        let names = packages.get(start..).unwrap_or_default().lines();
        names.filter_map(|line| line.split('\t').next()).take_while(move |name| name.starts_with(beginning))
    }

    /// The native packages that Debian's source of the Python module or project `name` needs; empty if Debian has none.
    #[must_use]
    pub fn python_source(&self, name: &str) -> Vec<&str> {
        let line = line_of(&self.sections.python, name).unwrap_or_default();
        line.split_once('\t').map(|(_, packages)| packages.split(' ').collect()).unwrap_or_default()
    }
}

/// The line of `text` that begins at `offset`.
fn line_at(text: &str, offset: u64) -> &str {
    let rest = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)).unwrap_or_default();
    rest.lines().next().unwrap_or_default()
}

/// The line of the sorted `text` whose first field is `name`.
fn line_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.get(first_line_from(text, name)..)?.lines().next()?;
    (line.split('\t').next() == Some(name)).then_some(line)
}

/// Where the first line begins whose first field is not less than `name`; lines are sorted by that field.
fn first_line_from(text: &str, name: &str) -> usize {
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let bytes = text.as_bytes();
        let start = bytes[..middle].iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| start + length + 1);
        let field = text.get(start..end).unwrap_or_default().split(['\t', '\n']).next().unwrap_or_default();
        if field < name {
            low = end;
        } else {
            high = start;
        }
    }
    low
}
