//! The check of one object against its record.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::FileDigest;
use pip_accel_schema::manifest::{EntryKind, Manifest};
use rayon::prelude::*;

use super::inodes::{Held, InodeDigests};
use super::{Finding, FindingKind, Registered, VerifyDepth};
use crate::fs_ops::{CANONICAL_MTIME, foreign_attributes, mode_of_file, user_name};
use crate::layout::RECORD_FILE;
use crate::object::read_record;
use crate::store::Store;

/// The check of one object.
pub(crate) struct Check<'a> {
    store: &'a Store,
    object: &'a Registered,
    depth: VerifyDepth,
    digests: &'a InodeDigests,
    /// The user to whom all of the store belongs.
    owner: u32,
}

/// A file whose bytes are to be read.
struct Unread<'a> {
    place: PathBuf,
    path: String,
    metadata: Metadata,
    expected: &'a FileDigest,
}

impl<'a> Check<'a> {
    pub(crate) fn new(
        store: &'a Store,
        object: &'a Registered,
        (depth, digests): (VerifyDepth, &'a InodeDigests),
    ) -> Self {
        Self { store, object, depth, digests, owner: store.owner() }
    }
}

impl Check<'_> {
    fn finding(&self, path: Option<&str>, kind: FindingKind, detail: impl Into<String>) -> Finding {
        Finding {
            store_path: self.object.path.clone(),
            path: path.map(str::to_owned),
            kind,
            detail: detail.into(),
            object: Some(self.object.id),
        }
    }

    /// Everything that is wrong with the object; nothing is changed.
    pub(crate) fn run(&self) -> Vec<Finding> {
        let folder = self.store.layout().object(&self.object.path);
        let metadata = match fs::symlink_metadata(&folder) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return vec![self.finding(None, FindingKind::MissingObject, "")];
            }
            Err(error) => return vec![self.finding(None, FindingKind::UnreadableFile, error.to_string())],
        };
        if !metadata.is_dir() {
            return vec![self.finding(None, FindingKind::WrongType, "not a folder")];
        }
        let mut findings = Vec::new();
        self.check_state(None, (&folder, &metadata), 0o555, &mut findings);
        let record = match read_record(&folder) {
            Ok(record) => record,
            Err(error) => {
                let detail = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                findings.push(self.finding(None, FindingKind::UnreadableRecord, detail));
                return findings;
            }
        };
        let digest = record.manifest.content_digest();
        if digest != self.object.content_digest || record.content_digest != self.object.content_digest {
            let detail = format!("registered {}, found {digest}", self.object.content_digest);
            findings.push(self.finding(None, FindingKind::ContentDigestMismatch, detail));
        }
        for reference in &record.references {
            if !self.object.references.contains(reference) {
                findings.push(self.finding(None, FindingKind::MissingReference, reference.to_string()));
            }
        }
        self.check_tree(&folder, &record.manifest, &mut findings);
        findings
    }

    /// What is wrong with the tree, compared with `manifest`; the record is not looked at.
    pub(crate) fn against(&self, manifest: &Manifest) -> Vec<Finding> {
        let folder = self.store.layout().object(&self.object.path);
        let mut findings = Vec::new();
        self.check_tree(&folder, manifest, &mut findings);
        findings
    }

    fn check_tree(&self, folder: &Path, manifest: &Manifest, findings: &mut Vec<Finding>) {
        let mut expected: HashMap<&str, &EntryKind> =
            manifest.entries().iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
        let mut unread = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(below) = waiting.pop() {
            let directory = folder.join(&below);
            let entries = fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let entries = match entries {
                Ok(entries) => entries,
                Err(error) => {
                    findings.push(self.finding(Some(&below), FindingKind::UnreadableFile, error.to_string()));
                    continue;
                }
            };
            for entry in entries {
                let name = entry.file_name().to_string_lossy().into_owned();
                let path = if below.is_empty() { name } else { format!("{below}/{name}") };
                let metadata = match entry.metadata() {
                    Ok(metadata) => metadata,
                    Err(error) => {
                        findings.push(self.finding(Some(&path), FindingKind::UnreadableFile, error.to_string()));
                        continue;
                    }
                };
                if path == RECORD_FILE {
                    self.check_state(Some(&path), (&entry.path(), &metadata), mode_of_file(false), findings);
                    self.check_attributes(Some(&path), &entry.path(), findings);
                    continue;
                }
                let Some(kind) = expected.remove(path.as_str()) else {
                    findings.push(self.finding(Some(&path), FindingKind::ExtraFile, ""));
                    continue;
                };
                self.check_entry(&path, kind, (&entry.path(), &metadata), findings);
                match kind {
                    EntryKind::Directory if metadata.is_dir() => waiting.push(path),
                    EntryKind::File { digest, size, .. }
                        if self.depth == VerifyDepth::Full && metadata.is_file() && metadata.len() == *size =>
                    {
                        unread.push(Unread { place: entry.path(), path, metadata, expected: digest });
                    }
                    EntryKind::Directory | EntryKind::File { .. } | EntryKind::Symlink { .. } => {}
                }
            }
        }
        findings.extend(self.check_contents(&unread));
        // Below a folder that is missing itself, only the folder is named.
        for path in expected.keys() {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            if !parent.is_some_and(|parent| expected.contains_key(parent)) {
                findings.push(self.finding(Some(path), FindingKind::MissingFile, ""));
            }
        }
    }

    fn check_entry(&self, path: &str, kind: &EntryKind, found: (&Path, &Metadata), findings: &mut Vec<Finding>) {
        let (place, metadata) = found;
        match kind {
            EntryKind::Directory if metadata.is_dir() => {
                self.check_state(Some(path), found, 0o555, findings);
            }
            EntryKind::Symlink { target } if metadata.is_symlink() => {
                self.check_time_and_owner(Some(path), metadata, findings);
                if !fs::read_link(place).is_ok_and(|text| text.as_os_str() == target.as_str()) {
                    findings.push(self.finding(Some(path), FindingKind::WrongContent, ""));
                }
            }
            EntryKind::File { size, executable, .. } if metadata.is_file() => {
                self.check_state(Some(path), found, mode_of_file(*executable), findings);
                if metadata.len() != *size {
                    let detail = format!("{} bytes instead of {size}", metadata.len());
                    findings.push(self.finding(Some(path), FindingKind::WrongSize, detail));
                }
            }
            _ => findings.push(self.finding(Some(path), FindingKind::WrongType, "")),
        }
    }

    /// Reads the files whose lengths are right, in parallel: one object may be most of a store.
    fn check_contents(&self, files: &[Unread<'_>]) -> Vec<Finding> {
        let check = |file: &Unread<'_>| {
            let wrong = |kind, detail| Some(self.finding(Some(&file.path), kind, detail));
            match self.digests.of(&file.place, &file.metadata) {
                Err(error) => [wrong(FindingKind::UnreadableFile, error), None],
                Ok(Held { digest, attributes }) => {
                    let detail = || format!("BLAKE3 {digest} instead of {}", file.expected);
                    let content =
                        if digest == *file.expected { None } else { wrong(FindingKind::WrongContent, detail()) };
                    [content, if attributes.is_empty() { None } else { wrong(FindingKind::ExtraAttribute, attributes) }]
                }
            }
        };
        files.par_iter().flat_map_iter(|file| check(file).into_iter().flatten()).collect()
    }

    /// Attributes of what is not read as a content: folders and the record.
    fn check_attributes(&self, path: Option<&str>, place: &Path, findings: &mut Vec<Finding>) {
        if self.depth != VerifyDepth::Full {
            return;
        }
        let opened = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(place);
        match opened.and_then(|opened| foreign_attributes(&opened)) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => findings.push(self.finding(path, FindingKind::ExtraAttribute, names.join(" "))),
            Err(error) => findings.push(self.finding(path, FindingKind::UnreadableFile, error.to_string())),
        }
    }

    fn check_time_and_owner(&self, path: Option<&str>, metadata: &Metadata, findings: &mut Vec<Finding>) {
        if metadata.mtime() != CANONICAL_MTIME {
            findings.push(self.finding(path, FindingKind::WrongTime, metadata.mtime().to_string()));
        }
        if metadata.uid() != self.owner {
            let detail = format!("{} instead of {}", user_name(metadata.uid()), user_name(self.owner));
            findings.push(self.finding(path, FindingKind::WrongOwner, detail));
        }
    }

    fn check_state(&self, path: Option<&str>, found: (&Path, &Metadata), mode: u32, findings: &mut Vec<Finding>) {
        let (place, metadata) = found;
        let found = metadata.mode() & 0o7777;
        if found != mode {
            findings.push(self.finding(path, FindingKind::WrongMode, format!("{found:04o} instead of {mode:04o}")));
        }
        self.check_time_and_owner(path, metadata, findings);
        if metadata.is_dir() {
            self.check_attributes(path, place, findings);
        }
    }
}
