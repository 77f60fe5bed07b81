//! The check of one object against its record.

use std::fs;
use std::io;

use pip_accel_schema::manifest::Manifest;

use super::inodes::{InodeDigests, State};
use super::{Finding, FindingKind, Registered, VerifyDepth};
use crate::fs_ops::{CANONICAL_MTIME, user_name};
use crate::object::read_record;
use crate::store::Store;

/// The check of one object.
pub(crate) struct Check<'a> {
    store: &'a Store,
    object: &'a Registered,
    pub(super) depth: VerifyDepth,
    pub(super) digests: &'a InodeDigests,
    /// The user to whom all of the store belongs.
    owner: u32,
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
    pub(super) fn finding(&self, path: Option<&str>, kind: FindingKind, detail: impl Into<String>) -> Finding {
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
        self.check_state(None, &State::from(&metadata), 0o555, &mut findings);
        self.check_attributes(None, fs::File::open(&folder).as_ref(), &mut findings);
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

    pub(super) fn check_time_and_owner(&self, path: Option<&str>, state: &State, findings: &mut Vec<Finding>) {
        if state.mtime != CANONICAL_MTIME {
            findings.push(self.finding(path, FindingKind::WrongTime, state.mtime.to_string()));
        }
        if state.owner != self.owner {
            let detail = format!("{} instead of {}", user_name(state.owner), user_name(self.owner));
            findings.push(self.finding(path, FindingKind::WrongOwner, detail));
        }
    }

    /// Mode, time and owner of a file or folder.
    pub(super) fn check_state(&self, path: Option<&str>, state: &State, mode: u32, findings: &mut Vec<Finding>) {
        let found = state.mode & 0o7777;
        if found != mode {
            findings.push(self.finding(path, FindingKind::WrongMode, format!("{found:04o} instead of {mode:04o}")));
        }
        self.check_time_and_owner(path, state, findings);
    }
}
