//! The manifest of an environment: what was asked for, what it holds, who made it.

use serde::{Deserialize, Serialize};

use crate::digest::ValueDigest;
use crate::name::{PackageName, PackageVersion};
use crate::store_path::ObjectId;

/// Format of [`EnvironmentManifest`]; a reader refuses a newer one.
pub const ENVIRONMENT_MANIFEST_FORMAT: u32 = 2;

/// File name of the manifest in the environment's root.
pub const ENVIRONMENT_MANIFEST_FILE: &str = "pip-accel.json";

/// How files of objects get into an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkMode {
    /// One symbolic link for each top-level entry.
    #[default]
    Symlink,
    /// Real folders, hard links to the store's files.
    Hardlink,
    /// Real folders, files that share blocks with the store's (copied where the file system can't).
    Reflink,
    /// Real folders, copies: an environment that needs no store.
    Copy,
}

impl LinkMode {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::Hardlink => "hardlink",
            Self::Reflink => "reflink",
            Self::Copy => "copy",
        }
    }
}

/// How the files of one package get into an environment, besides the environment's [`LinkMode`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageLink {
    /// As the environment's mode has it: in the mode symlink a link covers a whole folder.
    #[default]
    Dirs,
    /// Every folder is real, every file is what the environment's mode makes of it.
    Files,
    /// Every folder is real, every file is a copy.
    Copy,
}

impl PackageLink {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dirs, Self::Files, Self::Copy];

    /// The word on the command line and in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dirs => "dirs",
            Self::Files => "files",
            Self::Copy => "copy",
        }
    }

    /// Whether it is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One package of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentPackage {
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// The object it is linked from.
    pub object: ObjectId,
    /// Its `.dist-info` folder in `site-packages`.
    pub dist_info: String,
    /// How its files got there, where that is not the default.
    #[serde(default, skip_serializing_if = "PackageLink::is_default")]
    pub link: PackageLink,
    /// Whether the environment has a private copy of it, for people to edit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detached: bool,
}

/// What one link or file of an environment should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum EnvironmentEntryKind {
    /// A real folder.
    Directory,
    /// A symbolic link with this text.
    Link {
        /// The link's text.
        target: String,
    },
    /// A file that was written, hard-linked or copied, of this length in bytes.
    File {
        /// Its length.
        size: u64,
    },
    /// A file or folder of a detached package. It is its owner's to change, and what is below it is not listed.
    Private {
        /// The package.
        package: PackageName,
    },
}

/// One path that belongs to the environment, relative to its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EntryFields")]
pub struct EnvironmentEntry {
    /// Where.
    pub path: String,
    /// What.
    #[serde(flatten)]
    pub kind: EnvironmentEntryKind,
}

/// An entry as it is read. A manifest has a thousand of them and is read by each run: reading into a flattened, tagged
/// enum would keep every value in a map first.
#[derive(Deserialize)]
struct EntryFields {
    path: String,
    kind: EntryWord,
    target: Option<String>,
    size: Option<u64>,
    package: Option<PackageName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EntryWord {
    Directory,
    Link,
    File,
    Private,
}

impl TryFrom<EntryFields> for EnvironmentEntry {
    type Error = String;

    fn try_from(fields: EntryFields) -> Result<Self, String> {
        let EntryFields { path, kind, target, size, package } = fields;
        let kind = match (kind, target, size) {
            (EntryWord::Private, _, _) => match package {
                Some(package) => EnvironmentEntryKind::Private { package },
                None => return Err(format!("the private entry `{path}` has no package")),
            },
            (EntryWord::Directory, _, _) => EnvironmentEntryKind::Directory,
            (EntryWord::Link, Some(target), _) => EnvironmentEntryKind::Link { target },
            (EntryWord::File, _, Some(size)) => EnvironmentEntryKind::File { size },
            (EntryWord::Link, None, _) => return Err(format!("the link `{path}` has no target")),
            (EntryWord::File, _, None) => return Err(format!("the file `{path}` has no size")),
        };
        Ok(Self { path, kind })
    }
}

/// Two packages that ship the same path with different content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    /// The path, relative to the environment's root.
    pub path: String,
    /// The package whose file is there.
    pub kept: PackageName,
    /// The packages whose file is hidden, sorted.
    pub hidden: Vec<PackageName>,
}

/// The manifest, kept as `pip-accel.json` in the environment's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentManifest {
    /// [`ENVIRONMENT_MANIFEST_FORMAT`].
    pub format: u32,
    /// Digest of the request (lock, interpreter, link mode, selections): equal means nothing to do.
    pub request: ValueDigest,
    /// Where it was made, links resolved: an environment at another place was moved. Empty when nobody asked for it to
    /// be known (environments inside a sandbox), and in manifests from before this field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// The store's root directory.
    pub store: String,
    /// The base interpreter.
    pub python: String,
    /// The interpreter's version, `3.11.7`.
    pub python_version: String,
    /// How its files got there.
    pub link_mode: LinkMode,
    /// Its packages, sorted by name.
    pub packages: Vec<EnvironmentPackage>,
    /// Whether it was another program's virtualenv, or has been installed into: its own files stay as they are, and so
    /// does what others install.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_over: bool,
    /// Paths that several packages ship with different content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clashes: Vec<Clash>,
    /// Everything in it, sorted by path; folders that links cover are not listed.
    pub entries: Vec<EnvironmentEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_are_written() {
        let entry = |path: &str, kind| EnvironmentEntry { path: path.to_owned(), kind };
        let entries = [
            entry("lib", EnvironmentEntryKind::Directory),
            entry("lib64", EnvironmentEntryKind::Link { target: "lib".to_owned() }),
            entry("pyvenv.cfg", EnvironmentEntryKind::File { size: 7 }),
            entry("six.py", EnvironmentEntryKind::Private { package: "six".parse().expect("a name") }),
        ];
        let text = serde_json::to_string(&entries).expect("plain values");
        assert_eq!(
            text,
            r#"[{"path":"lib","kind":"directory"},{"path":"lib64","kind":"link","target":"lib"},{"path":"pyvenv.cfg","kind":"file","size":7},{"path":"six.py","kind":"private","package":"six"}]"#
        );
        let read: Vec<EnvironmentEntry> = serde_json::from_str(&text).expect("what was written");
        assert_eq!(read, entries);
    }

    #[test]
    fn an_entry_without_what_its_kind_needs_is_refused() {
        for text in [
            r#"{"path":"a","kind":"link"}"#,
            r#"{"path":"a","kind":"file","target":"b"}"#,
            r#"{"path":"a","kind":"private"}"#,
        ] {
            let error = serde_json::from_str::<EnvironmentEntry>(text).expect_err("refused").to_string();
            assert!(error.contains("`a` has no"), "{error}");
        }
        assert!(serde_json::from_str::<EnvironmentEntry>(r#"{"path":"a","kind":"socket"}"#).is_err());
    }
}
