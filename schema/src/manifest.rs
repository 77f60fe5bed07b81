//! What an object holds: the canonical list of its entries, and the record that travels with it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::{ContentDigest, FileDigest, Sha256Digest, ValueDigest};
use crate::encode::Encoder;
use crate::link_plan::LinkPlan;
use crate::name::{PackageName, PackageVersion};
use crate::recipe::Recipe;
use crate::store_path::{ObjectId, StorePath};
use crate::system_inputs::SystemInputs;

/// Format of [`ObjectRecord`] on disk; a reader refuses a newer one.
pub const OBJECT_RECORD_FORMAT: u32 = 1;

/// Longest relative path inside an object: Linux's `PATH_MAX` less room for the store's own prefix.
pub const ENTRY_PATH_BYTES_MAX: usize = 2048;

/// A path inside a tree: relative, `/`-separated, UTF-8, with no empty, `.` or `..` component and no NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EntryPath(String);

/// Why a text is not an [`EntryPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {reason}")]
pub struct ParseEntryPathError {
    /// The refused text, shortened.
    pub path: String,
    /// The reason as the end of a sentence: `is absolute`.
    pub reason: &'static str,
}

impl EntryPath {
    /// Checks `text`.
    ///
    /// # Errors
    /// When `text` is empty, absolute, too long, or has a component that is empty, `.`, `..`,
    /// over 255 bytes or holds a NUL or backslash (which other tools would read as a separator).
    pub fn parse(text: &str) -> Result<Self, ParseEntryPathError> {
        let error = |reason| Err(ParseEntryPathError { path: text.chars().take(200).collect(), reason });
        if text.is_empty() {
            return error("is empty");
        }
        if text.starts_with('/') {
            return error("is absolute");
        }
        if text.len() > ENTRY_PATH_BYTES_MAX {
            return error("is too long");
        }
        if text.contains(['\0', '\\']) {
            return error("holds a NUL or a backslash");
        }
        for component in text.split('/') {
            match component {
                "" => return error("has an empty component"),
                "." | ".." => return error("leaves its folder (`.` or `..`)"),
                component if component.len() > 255 => return error("has a component of over 255 bytes"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path `self/component`; `component` must come from another checked path.
    ///
    /// # Errors
    /// When the joined path breaks a rule of [`EntryPath::parse`].
    pub fn join(&self, component: &str) -> Result<Self, ParseEntryPathError> {
        Self::parse(&format!("{}/{component}", self.0))
    }

    /// The path without its last component, or `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The last component.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EntryPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What stands at one path of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum EntryKind {
    /// A folder (mode 0555).
    Directory,
    /// A regular file (mode 0444, or 0555 when `executable`).
    File {
        /// BLAKE3 of its bytes.
        digest: FileDigest,
        /// Its length in bytes.
        size: u64,
        /// Whether it may be run.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A symbolic link that stays inside the tree.
    Symlink {
        /// The link's text, relative.
        target: String,
    },
}

/// One path of a tree and what stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EntryFields")]
pub struct Entry {
    /// Where, relative to the object's directory.
    pub path: EntryPath,
    /// What.
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// An entry as it is read. A store has hundreds of thousands of them, and verifying reads them all: reading into a
/// flattened, tagged enum would keep every value in a map first.
#[derive(Deserialize)]
struct EntryFields {
    path: EntryPath,
    kind: EntryWord,
    digest: Option<FileDigest>,
    size: Option<u64>,
    #[serde(default)]
    executable: bool,
    target: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EntryWord {
    Directory,
    File,
    Symlink,
}

impl TryFrom<EntryFields> for Entry {
    type Error = String;

    fn try_from(fields: EntryFields) -> Result<Self, String> {
        let EntryFields { path, kind, digest, size, executable, target } = fields;
        let kind = match (kind, digest, size, target) {
            (EntryWord::Directory, ..) => EntryKind::Directory,
            (EntryWord::File, Some(digest), Some(size), _) => EntryKind::File { digest, size, executable },
            (EntryWord::Symlink, _, _, Some(target)) => EntryKind::Symlink { target },
            (EntryWord::File, ..) => return Err(format!("the file `{path}` has no digest or size")),
            (EntryWord::Symlink, ..) => return Err(format!("the link `{path}` has no target")),
        };
        Ok(Self { path, kind })
    }
}

/// The entries of a tree, sorted by the bytes of their paths, each path once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Manifest {
    entries: Vec<Entry>,
}

impl From<Vec<Entry>> for Manifest {
    /// Sorts the entries; of two with the same path the first stays.
    fn from(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        entries.dedup_by(|right, left| right.path == left.path);
        Self { entries }
    }
}

impl From<Manifest> for Vec<Entry> {
    fn from(manifest: Manifest) -> Self {
        manifest.entries
    }
}

impl Manifest {
    /// The sorted entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Sum of the files' lengths in bytes; equal files count each time.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let size = |entry: &Entry| match entry.kind {
            EntryKind::File { size, .. } => size,
            EntryKind::Directory | EntryKind::Symlink { .. } => 0,
        };
        self.entries.iter().map(size).fold(0, u64::saturating_add)
    }

    /// The digest that proves a tree whole.
    #[must_use]
    pub fn content_digest(&self) -> ContentDigest {
        let mut encoder = Encoder::for_domain("pip-accel/content/1");
        encoder.number(self.entries.len() as u64);
        for entry in &self.entries {
            encoder.text(entry.path.as_str());
            match &entry.kind {
                EntryKind::Directory => encoder.number(0),
                EntryKind::File { digest, size, executable } => {
                    encoder.number(if *executable { 2 } else { 1 }).bytes(digest.as_bytes()).number(*size)
                }
                EntryKind::Symlink { target } => encoder.number(3).text(target),
            };
        }
        ContentDigest::from_bytes(encoder.finish())
    }
}

/// What an object is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Provenance {
    /// A file as its index published it, under its own name in the object's directory.
    Source {
        /// The published name.
        file_name: String,
        /// Its SHA-256.
        sha256: Sha256Digest,
    },
    /// The tree of a published wheel.
    Wheel {
        /// The wheel's file name.
        file_name: String,
        /// The wheel's SHA-256.
        sha256: Sha256Digest,
        /// Which bytecode was added.
        bytecode_tag: String,
    },
    /// The tree of a wheel that was built here.
    Build {
        /// The file name of the wheel that the build made.
        file_name: String,
        /// Everything declared about the build.
        recipe: Box<Recipe>,
        /// Digest of what the build read outside the store.
        system_inputs: ValueDigest,
        /// What that was; `None` when the build was not traced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<Box<SystemInputs>>,
        /// Which bytecode was added.
        bytecode_tag: String,
    },
    /// A layer: the tree of a Debian package, as it is laid over `/usr` in a sandbox.
    Layer {
        /// The package as Debian calls it: `libstdc++-12-dev`.
        package: String,
        /// Its version as Debian writes it: `1:2.3-4~deb12u1`.
        version: String,
        /// What it is for: `amd64`, `all`.
        architecture: String,
        /// The package file's SHA-256.
        sha256: Sha256Digest,
    },
}

/// The record of an object: kept in the database and, as `manifest.json`, beside its content,
/// so that the database can be made anew from the objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// [`OBJECT_RECORD_FORMAT`].
    pub format: u32,
    /// Its directory name.
    pub path: String,
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// What it is made from.
    pub provenance: Provenance,
    /// Objects that must live as long as this one, sorted.
    pub references: Vec<ObjectId>,
    /// Digest of `manifest`.
    pub content_digest: ContentDigest,
    /// How environments link it; `None` for a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_plan: Option<LinkPlan>,
    /// What it holds.
    pub manifest: Manifest,
}

impl ObjectRecord {
    /// Whether the list of what a build read is the one that its digest says; there may be none.
    #[must_use]
    pub fn lists_its_system_inputs(&self) -> bool {
        match &self.provenance {
            Provenance::Build { system_inputs, read: Some(read), .. } => read.digest() == *system_inputs,
            _ => true,
        }
    }

    /// The parsed directory name, or `None` when the record was tampered with.
    #[must_use]
    pub fn store_path(&self) -> Option<StorePath> {
        self.path.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_paths_stay_inside_their_tree() {
        for good in ["a", "a/b.py", "ä/ö", "...", "a/..b"] {
            assert!(EntryPath::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/a", "a//b", "a/", ".", "..", "a/../b", "a\0", "a\\b", &long, &"a/".repeat(2000)] {
            assert!(EntryPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        let entry = |path: &str, kind| Entry { path: EntryPath::parse(path).expect("a path"), kind };
        let file = |executable| EntryKind::File { digest: FileDigest::from_bytes([7; 32]), size: 3, executable };
        let entries = vec![
            entry("a", EntryKind::Directory),
            entry("a/b", file(false)),
            entry("a/c", file(true)),
            entry("a/d", EntryKind::Symlink { target: "b".to_owned() }),
        ];
        let manifest = Manifest::from(entries);
        let text = serde_json::to_string(&manifest).expect("written");
        assert_eq!(serde_json::from_str::<Manifest>(&text).expect("read"), manifest);
        for bad in [r#"{"path":"a","kind":"file","size":1}"#, r#"{"path":"a","kind":"symlink"}"#] {
            assert!(serde_json::from_str::<Entry>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_entries() {
        let entry = |path: &str| Entry { path: EntryPath::parse(path).expect("a path"), kind: EntryKind::Directory };
        let one = Manifest::from(vec![entry("a"), entry("b")]);
        let other = Manifest::from(vec![entry("b"), entry("a"), entry("a")]);
        assert_eq!(one.content_digest(), other.content_digest());
        assert_eq!(one, other);
    }
}
