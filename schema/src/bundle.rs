//! What a bundle says about itself: the objects it carries, in the order in which they can be registered, and the
//! names of its members. Everything else about its bytes follows from this.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::digest::{FileDigest, Sha256Digest, ValueDigest};
use crate::encode::Encoder;
use crate::manifest::{EntryKind, EntryPath, ObjectRecord, Provenance};
use crate::store_path::ObjectId;

/// Format of [`BundleManifest`]; a reader refuses a newer one.
pub const BUNDLE_FORMAT: u32 = 1;

/// Name of the first member, which is the manifest as JSON.
pub const BUNDLE_MANIFEST_NAME: &str = "pip-accel-bundle.json";

/// Name of the second member: BLAKE3 of the first, in hexadecimal, and a newline.
pub const BUNDLE_SEAL_NAME: &str = "pip-accel-bundle.b3";

/// Folder of the published files among the members: what pip's `--find-links` takes.
pub const BUNDLE_PACKAGES_FOLDER: &str = "packages";

/// Folder of the pages of the package index (PEP 503) among the members: what pip's `--index-url` takes.
pub const BUNDLE_INDEX_FOLDER: &str = "simple";

/// Folder of all other contents.
const FILES_FOLDER: &str = "files";

/// A page of the package index that a bundle carries for other installers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundlePage {
    /// Its place, below [`BUNDLE_INDEX_FOLDER`].
    pub path: EntryPath,
    /// BLAKE3 of its bytes.
    pub digest: FileDigest,
    /// Its length in bytes.
    pub size: u64,
}

/// The first member of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleManifest {
    /// [`BUNDLE_FORMAT`].
    pub format: u32,
    /// For which interpreter, for a reader: `cpython-3.11.7-x86_64-linux-gnu`.
    pub interpreter: String,
    /// The objects it carries: each after those it refers to, else by id.
    pub objects: Vec<ObjectRecord>,
    /// Directory names of objects that belong to it and that the receiver must have, sorted.
    pub base: Vec<String>,
    /// What whoever unpacks it keeps alive, sorted: of `objects` or of `base`.
    pub roots: Vec<ObjectId>,
    /// The pages of the package index, sorted by path.
    pub pages: Vec<BundlePage>,
    /// Remembered answers that the crate above the store understands.
    pub facts: serde_json::Value,
}

/// One member of the archive after the manifest and its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleMember {
    /// Its name in the archive.
    pub name: String,
    /// BLAKE3 of its bytes.
    pub digest: FileDigest,
    /// Its length in bytes.
    pub size: u64,
    /// What its SHA-256 must be, where it is a published file.
    pub sha256: Option<Sha256Digest>,
}

/// The names of published files in a bundle of `objects`, by content: `packages/<file name>`, and for a second file
/// of one name `packages/<SHA-256>/<file name>`.
#[must_use]
pub fn package_members(objects: &[ObjectRecord]) -> BTreeMap<FileDigest, (String, Sha256Digest)> {
    let mut members = BTreeMap::new();
    let mut taken = HashSet::new();
    for object in objects {
        let Provenance::Source { file_name, sha256 } = &object.provenance else { continue };
        let Some(EntryKind::File { digest, .. }) = object.manifest.entries().first().map(|entry| &entry.kind) else {
            continue;
        };
        if members.contains_key(digest) {
            continue;
        }
        let name = if taken.insert(file_name) {
            format!("{BUNDLE_PACKAGES_FOLDER}/{file_name}")
        } else {
            format!("{BUNDLE_PACKAGES_FOLDER}/{sha256}/{file_name}")
        };
        members.insert(*digest, (name, *sha256));
    }
    members
}

impl BundleManifest {
    /// The members after the manifest and its seal, in their order: pages, then each content once, where it is first needed.
    #[must_use]
    pub fn members(&self) -> Vec<BundleMember> {
        let page = |page: &BundlePage| BundleMember {
            name: page.path.to_string(),
            digest: page.digest,
            size: page.size,
            sha256: None,
        };
        let mut members: Vec<BundleMember> = self.pages.iter().map(page).collect();
        let packages = package_members(&self.objects);
        let mut seen = BTreeSet::new();
        for entry in self.objects.iter().flat_map(|object| object.manifest.entries()) {
            let EntryKind::File { digest, size, .. } = &entry.kind else { continue };
            if !seen.insert(*digest) {
                continue;
            }
            let (name, sha256) = match packages.get(digest) {
                Some((name, sha256)) => (name.clone(), Some(*sha256)),
                None => (format!("{FILES_FOLDER}/{digest}"), None),
            };
            members.push(BundleMember { name, digest: *digest, size: *size, sha256 });
        }
        members
    }

    /// What the bundle is for, as one digest: the objects that whoever unpacks it keeps.
    #[must_use]
    pub fn closure_digest(&self) -> ValueDigest {
        let mut encoder = Encoder::for_domain("pip-accel/bundle-closure/1");
        encoder.number(self.roots.len() as u64);
        for root in &self.roots {
            encoder.bytes(root.as_bytes());
        }
        ValueDigest::from_bytes(encoder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Entry, Manifest, OBJECT_RECORD_FORMAT};

    fn source(file_name: &str, number: u8) -> ObjectRecord {
        let sha256 = Sha256Digest::from_bytes([number; 32]);
        let kind = EntryKind::File { digest: FileDigest::from_bytes([number; 32]), size: 7, executable: false };
        let manifest = Manifest::from(vec![Entry { path: EntryPath::parse(file_name).expect("a path"), kind }]);
        ObjectRecord {
            format: OBJECT_RECORD_FORMAT,
            path: format!("{}-a-1", ObjectId::of_source(file_name, &sha256)),
            name: "a".parse().expect("a name"),
            version: "1".parse().expect("a version"),
            provenance: Provenance::Source { file_name: file_name.to_owned(), sha256 },
            references: Vec::new(),
            content_digest: manifest.content_digest(),
            link_plan: None,
            manifest,
        }
    }

    #[test]
    fn each_content_is_one_member_and_names_never_meet() {
        let manifest = BundleManifest {
            format: BUNDLE_FORMAT,
            interpreter: String::new(),
            objects: vec![source("a-1.tar.gz", 1), source("a-1.tar.gz", 2), source("b-1.tar.gz", 1)],
            base: Vec::new(),
            roots: Vec::new(),
            pages: Vec::new(),
            facts: serde_json::Value::Null,
        };
        let names: Vec<String> = manifest.members().into_iter().map(|member| member.name).collect();
        assert_eq!(names, ["packages/a-1.tar.gz", &format!("packages/{}/a-1.tar.gz", "02".repeat(32))]);
    }
}
