//! Rules that every archive must keep, whatever its format: safe names, each once, within limits.

use std::collections::HashMap;

use icu_normalizer::ComposingNormalizerBorrowed;
use pip_accel_schema::manifest::{EntryPath, ParseEntryPathError};

/// Most entries of one archive. The largest published wheels have some 60,000 files.
pub const ARCHIVE_ENTRIES_MAX: u64 = 400_000;

/// Most bytes that one archive may unpack to. The largest published wheels unpack to about 5 GiB.
pub const ARCHIVE_BYTES_MAX: u64 = 32 << 30;

/// Most bytes of one file of an archive; the largest shared libraries in wheels have about 2 GiB.
pub const ARCHIVE_FILE_BYTES_MAX: u64 = 16 << 30;

/// Unpacked bytes for each packed byte. Deflate alone reaches 1,032, real packages stay below 30.
pub const ARCHIVE_RATIO_MAX: u64 = 200;

/// Unpacked bytes that are always allowed, so that a small archive of well compressible files passes.
pub const ARCHIVE_RATIO_FREE_BYTES: u64 = 128 << 20;

/// Most folders above a file. Real trees stay below 30; each level costs memory for each entry.
pub const ARCHIVE_DEPTH_MAX: usize = 64;

/// Limits against archives that are made to fill a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Most entries, folders included.
    pub entries: u64,
    /// Most bytes in all files together.
    pub total_bytes: u64,
    /// Most bytes in one file.
    pub file_bytes: u64,
    /// Most unpacked bytes for each packed byte, above `ratio_free_bytes`.
    pub ratio: u64,
    /// Unpacked bytes that are allowed whatever the ratio.
    pub ratio_free_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            entries: ARCHIVE_ENTRIES_MAX,
            total_bytes: ARCHIVE_BYTES_MAX,
            file_bytes: ARCHIVE_FILE_BYTES_MAX,
            ratio: ARCHIVE_RATIO_MAX,
            ratio_free_bytes: ARCHIVE_RATIO_FREE_BYTES,
        }
    }
}

impl ArchiveLimits {
    /// Most bytes that an archive of `packed` bytes may unpack to, and the refusal of one byte more.
    #[must_use]
    pub fn unpacked_bytes_max(&self, packed: u64) -> (u64, ArchiveRefusal) {
        let by_ratio = packed.saturating_mul(self.ratio).max(self.ratio_free_bytes);
        if by_ratio < self.total_bytes {
            (by_ratio, ArchiveRefusal::Ratio { limit: self.ratio })
        } else {
            (self.total_bytes, ArchiveRefusal::TooLarge { limit: self.total_bytes })
        }
    }
}

/// The rule that an archive breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveRefusal {
    /// The name is absolute, leaves its folder, or has characters that are no part of a path.
    #[error("an entry has an unsafe name")]
    Name(#[from] ParseEntryPathError),
    /// The name holds control characters or starts with a drive letter.
    #[error("entry `{name}` {reason}")]
    Characters {
        /// The name, with what can't be printed escaped.
        name: String,
        /// The reason as the end of a sentence.
        reason: &'static str,
    },
    /// Over [`ARCHIVE_DEPTH_MAX`].
    #[error("entry `{name}` lies below over {ARCHIVE_DEPTH_MAX} folders")]
    TooDeep {
        /// The name, shortened.
        name: String,
    },
    /// Two entries have one name.
    #[error("entry `{name}` comes twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Two names differ only by case or by the way their characters are encoded.
    #[error("entries `{name}` and `{other}` differ only by case or Unicode form")]
    Collision {
        /// One name.
        name: String,
        /// The other.
        other: String,
    },
    /// An entry lies below one that is no folder.
    #[error("entry `{name}` lies below `{file}`, which is no folder")]
    BelowFile {
        /// The entry.
        name: String,
        /// What should be its folder.
        file: String,
    },
    /// A link where none may be, or one that leaves the archive.
    #[error("entry `{name}` is a link to `{target}`, which {reason}")]
    Link {
        /// The entry.
        name: String,
        /// Where it points to.
        target: String,
        /// The reason as the end of a sentence.
        reason: &'static str,
    },
    /// Neither a file, a folder nor a link.
    #[error("entry `{name}` is {kind}")]
    SpecialFile {
        /// The entry.
        name: String,
        /// What it is: `a device`.
        kind: &'static str,
    },
    /// The entry is encrypted.
    #[error("entry `{name}` is encrypted")]
    Encrypted {
        /// The entry.
        name: String,
    },
    /// A compression method that no package may use.
    #[error("entry `{name}` is compressed by a method other than deflate")]
    Method {
        /// The entry.
        name: String,
    },
    /// The entry has more or fewer bytes than it says.
    #[error("entry `{name}` does not have the {declared} bytes it declares")]
    Length {
        /// The entry.
        name: String,
        /// The declared length in bytes.
        declared: u64,
    },
    /// Over [`ArchiveLimits::entries`].
    #[error("the archive has over {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// Over [`ArchiveLimits::file_bytes`].
    #[error("entry `{name}` has over {limit} bytes")]
    FileTooLarge {
        /// The entry.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Over [`ArchiveLimits::total_bytes`].
    #[error("the archive unpacks to over {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Over [`ArchiveLimits::ratio`].
    #[error("the archive unpacks to over {limit} times its size")]
    Ratio {
        /// The limit.
        limit: u64,
    },
    /// A header of the archive is out of bounds or contradicts another.
    #[error("the archive has {what}")]
    Header {
        /// What is wrong: `a sparse file`.
        what: &'static str,
    },
}

/// Checks the name of an entry.
///
/// # Errors
/// [`ArchiveRefusal::Name`], [`ArchiveRefusal::TooDeep`] and [`ArchiveRefusal::Characters`], also for bytes that
/// are not UTF-8.
pub fn entry_name(bytes: &[u8]) -> Result<EntryPath, ArchiveRefusal> {
    let refused = |reason| ArchiveRefusal::Characters { name: printable(bytes), reason };
    let text = std::str::from_utf8(bytes).map_err(|_| refused("has a name that is not UTF-8"))?;
    if text.contains(|character: char| character.is_control() && character != '\0') {
        return Err(refused("has control characters in its name"));
    }
    let mut start = text.bytes();
    if start.next().is_some_and(|byte| byte.is_ascii_alphabetic()) && start.next() == Some(b':') {
        return Err(refused("starts with a drive letter"));
    }
    if text.bytes().filter(|byte| *byte == b'/').count() > ARCHIVE_DEPTH_MAX {
        return Err(ArchiveRefusal::TooDeep { name: printable(bytes) });
    }
    Ok(EntryPath::parse(text)?)
}

/// A name for a message: shortened, with nothing that acts on a terminal.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).flat_map(char::escape_debug).collect()
}

/// Whether names that meet on a file system without case are an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseRule {
    /// They are: what unpacks here must unpack to the same everywhere.
    Refuse,
    /// They are not.
    Allow,
}

/// The names of an archive so far.
#[derive(Debug)]
pub struct NameTable {
    rule: CaseRule,
    /// Path to whether it is a folder.
    entries: HashMap<String, bool>,
    /// Case-folded path to path; empty when the rule is not applied.
    folded: HashMap<String, String>,
}

impl NameTable {
    /// No names yet.
    #[must_use]
    pub fn new(rule: CaseRule) -> Self {
        Self { rule, entries: HashMap::new(), folded: HashMap::new() }
    }

    /// Adds a file (or a link) and the folders above it.
    ///
    /// # Errors
    /// [`ArchiveRefusal::Duplicate`], [`ArchiveRefusal::BelowFile`] and [`ArchiveRefusal::Collision`].
    pub fn add_file(&mut self, path: &EntryPath) -> Result<(), ArchiveRefusal> {
        self.add_parents(path)?;
        match self.entries.get(path.as_str()) {
            None => self.insert(path.as_str(), false),
            Some(_) => Err(ArchiveRefusal::Duplicate { name: path.to_string() }),
        }
    }

    /// Adds a folder, which may be there already, and the folders above it.
    ///
    /// # Errors
    /// As [`Self::add_file`].
    pub fn add_directory(&mut self, path: &EntryPath) -> Result<(), ArchiveRefusal> {
        self.add_parents(path)?;
        match self.entries.get(path.as_str()) {
            None => self.insert(path.as_str(), true),
            Some(true) => Ok(()),
            Some(false) => Err(ArchiveRefusal::Duplicate { name: path.to_string() }),
        }
    }

    /// Whether a file (or a link) has this path.
    #[must_use]
    pub fn has_file(&self, path: &str) -> bool {
        self.entries.get(path) == Some(&false)
    }

    /// The paths of all folders, in no order.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|(_, is_directory)| **is_directory).map(|(path, _)| path.as_str())
    }

    fn add_parents(&mut self, path: &EntryPath) -> Result<(), ArchiveRefusal> {
        let text = path.as_str();
        // From the deepest folder upwards: the first one that is known has all its parents.
        let mut missing = Vec::new();
        for (index, _) in text.rmatch_indices('/') {
            let parent = &text[..index];
            match self.entries.get(parent) {
                Some(true) => break,
                Some(false) => {
                    return Err(ArchiveRefusal::BelowFile { name: text.to_owned(), file: parent.to_owned() });
                }
                None => missing.push(parent),
            }
        }
        missing.into_iter().rev().try_for_each(|parent| self.insert(parent, true))
    }

    fn insert(&mut self, path: &str, is_directory: bool) -> Result<(), ArchiveRefusal> {
        if self.rule == CaseRule::Refuse {
            // One name per component is enough: the parents were compared before.
            if let Some(other) = self.folded.insert(fold(path), path.to_owned()) {
                return Err(ArchiveRefusal::Collision { name: path.to_owned(), other });
            }
        }
        // Folders that no entry names count as well.
        if self.entries.len() as u64 >= ARCHIVE_ENTRIES_MAX {
            return Err(ArchiveRefusal::TooManyEntries { limit: ARCHIVE_ENTRIES_MAX });
        }
        self.entries.insert(path.to_owned(), is_directory);
        Ok(())
    }
}

/// The form in which names that look alike to a file system without case, or one that normalises, are equal.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let folded: String = normalizer.normalize(name).chars().flat_map(char::to_uppercase).collect();
    let folded: String = folded.chars().flat_map(char::to_lowercase).collect();
    normalizer.normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text).expect("a path")
    }

    /// D1: names that could leave the folder, hide or act on a terminal.
    #[test]
    fn unsafe_names_are_refused() {
        for bad in [
            &b""[..],
            b"/etc/passwd",
            b"../x",
            b"a/../../x",
            b"a/./b",
            b"a//b",
            b"a\\..\\b",
            b"a\0b",
            b"C:/x",
            b"c:x",
            b"a\nb",
            b"a\x1b[2J",
            b"\xff\xfe",
            b".",
            b"..",
            b"a/",
        ] {
            assert!(entry_name(bad).is_err(), "{}", printable(bad));
        }
        assert!(matches!(entry_name("d/".repeat(100).as_bytes()), Err(ArchiveRefusal::TooDeep { .. })));
        assert_eq!(entry_name("ä/b.py".as_bytes()).expect("a good name").as_str(), "ä/b.py");
    }

    /// D1: duplicates, files below files, names that meet without case.
    #[test]
    fn names_that_meet_are_refused() {
        let mut table = NameTable::new(CaseRule::Refuse);
        table.add_file(&path("a/b/c.py")).expect("the first");
        table.add_directory(&path("a/b")).expect("a known folder");
        assert_eq!(table.add_file(&path("a/b/c.py")), Err(ArchiveRefusal::Duplicate { name: "a/b/c.py".to_owned() }));
        assert!(matches!(table.add_file(&path("a/b")), Err(ArchiveRefusal::Duplicate { .. })));
        assert!(matches!(table.add_file(&path("a/b/c.py/d")), Err(ArchiveRefusal::BelowFile { .. })));
        assert!(matches!(table.add_directory(&path("a/b/c.py/d/e")), Err(ArchiveRefusal::BelowFile { .. })));
        for other in ["A/x.py", "a/B/c.py", "a/b/C.PY", "a/b/ｃ.py"] {
            assert!(matches!(table.add_file(&path(other)), Err(ArchiveRefusal::Collision { .. })), "{other}");
        }
        table.add_file(&path("stra\u{df}e")).expect("a new name");
        assert!(matches!(table.add_file(&path("STRASSE")), Err(ArchiveRefusal::Collision { .. })));
        table.add_file(&path("caf\u{e9}")).expect("a new name");
        assert!(matches!(table.add_file(&path("cafe\u{301}")), Err(ArchiveRefusal::Collision { .. })));
        let mut table = NameTable::new(CaseRule::Allow);
        table.add_file(&path("a")).expect("the first");
        table.add_file(&path("A")).expect("case matters");
    }
}
