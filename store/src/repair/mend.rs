//! Mending one object from what the store has.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use pip_accel_schema::manifest::{Entry, EntryKind, EntryPath, Manifest, OBJECT_RECORD_FORMAT, ObjectRecord};
use pip_accel_schema::store_path::ObjectId;

use super::siblings::Siblings;
use super::{Action, LostObject, Repaired, place};
use crate::db::RowId;
use crate::dedupe::Content;
use crate::error::StoreError;
use crate::fs_ops::user_name;
use crate::layout::RECORD_FILE;
use crate::object::{Object, read_record};
use crate::publish::write_record;
use crate::root::Root;
use crate::store::Store;
use crate::swap::{StagedTree, Swapped};
use crate::verify::{Check, Finding, FindingKind, InodeDigests, Registered, VerifyDepth};

/// A damaged object.
#[derive(Debug)]
pub(super) struct Patient {
    pub(super) row: RowId,
    pub(super) object: Object,
    pub(super) references: Vec<ObjectId>,
    pub(super) roots: Vec<Root>,
    /// What the first look found.
    pub(super) findings: Vec<Finding>,
}

/// What became of a damaged object.
#[derive(Debug)]
pub(super) enum Mended {
    /// It is whole again.
    Whole(Vec<Repaired>),
    /// What it needs is not in the store.
    Not,
    /// A living process has a lease on it.
    InUse,
    /// It stays as it is, for this reason.
    Left(String),
    /// It is not in the store any more.
    Lost(Vec<Repaired>, LostObject),
}

impl Patient {
    /// The name of its folder.
    pub(super) fn path(&self) -> String {
        self.object.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The same action for each finding.
    pub(super) fn all(&self, action: &Action) -> Vec<Repaired> {
        self.findings.iter().map(|finding| Repaired { finding: finding.clone(), action: action.clone() }).collect()
    }

    fn registered(&self) -> Registered {
        Registered {
            row: self.row,
            id: self.object.id,
            path: self.path(),
            content_digest: self.object.content_digest,
            verified_at: 0,
            references: self.references.clone(),
        }
    }
}

/// A damaged object and what it should be.
struct Work<'a> {
    store: &'a Store,
    patient: &'a Patient,
    record: ObjectRecord,
    /// Whether the record on disk is that one.
    has_record: bool,
    /// What is wrong with the tree, found by reading all of it.
    findings: Vec<Finding>,
    /// What was done, by path.
    actions: HashMap<String, Action>,
}

impl Store {
    /// Mends the object from what is in it and elsewhere in the store. Where that does not suffice, only modes and times
    /// have changed.
    pub(super) fn mend(&self, patient: &Patient, siblings: &mut Siblings<'_>) -> Result<Mended, StoreError> {
        let folder = &patient.object.path;
        if !fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(Mended::Not);
        }
        // Nothing can be read where the mode forbids it; a mode tells nothing about the bytes.
        for finding in &patient.findings {
            if finding.kind == FindingKind::WrongMode {
                place::make_readable(&place::of(folder, finding))?;
            }
        }
        let registered = patient.registered();
        let digests = InodeDigests::default();
        let check = Check::new(self, &registered, (VerifyDepth::Full, &digests));
        let Some((record, has_record)) = self.trusted_record(patient, siblings)? else { return Ok(Mended::Not) };
        let findings = check.against(&record.manifest);
        let mut work = Work { store: self, patient, record, has_record, findings, actions: HashMap::new() };
        work.run(siblings)
    }

    /// The record that the object was registered with, and whether it is on disk as such.
    fn trusted_record(
        &self,
        patient: &Patient,
        siblings: &mut Siblings<'_>,
    ) -> Result<Option<(ObjectRecord, bool)>, StoreError> {
        let object = &patient.object;
        let path = patient.path();
        if let Ok(record) = read_record(&object.path)
            && record.path == path
            && record.content_digest == object.content_digest
            && record.manifest.content_digest() == object.content_digest
        {
            return Ok(Some((record, true)));
        }
        let own = scan(&object.path).ok().filter(|manifest| manifest.content_digest() == object.content_digest);
        let manifest = match own {
            Some(manifest) => Some(manifest),
            None => siblings.manifest(&object.content_digest)?,
        };
        let record = |manifest| ObjectRecord {
            format: OBJECT_RECORD_FORMAT,
            path,
            name: object.name.clone(),
            version: object.version.clone(),
            provenance: object.provenance.clone(),
            references: patient.references.clone(),
            content_digest: object.content_digest,
            link_plan: object.link_plan.as_deref().cloned(),
            manifest,
        };
        Ok(manifest.map(|manifest| (record(manifest), false)))
    }
}

impl Work<'_> {
    fn run(&mut self, siblings: &mut Siblings<'_>) -> Result<Mended, StoreError> {
        let folder = self.patient.object.path.clone();
        let damaged: HashSet<String> = self.paths(|kind| kind != FindingKind::ExtraFile && !kind.is_of_state());
        let strays: Vec<String> = self.paths(|kind| kind == FindingKind::ExtraFile).into_iter().collect();
        if !strays.is_empty() {
            let to = self.store.quarantine_entries(&self.patient.path(), &folder, &strays)?;
            for stray in strays {
                let to = to.join(&stray);
                self.actions.insert(stray, Action::MovedAway { to });
            }
        }
        let executable: HashSet<&str> = self.record.manifest.entries().iter().filter_map(executable_path).collect();
        let owner = self.store.owner();
        let mut wrong: Vec<String> = self.paths(FindingKind::is_of_state).into_iter().collect();
        wrong.retain(|path| !is_below(&damaged, path));
        for path in wrong.iter().map(String::as_str).chain([""]) {
            if let Err(foreign) = place::correct(&folder.join(path), executable.contains(path), owner)? {
                let reason = format!("`{path}` belongs to {foreign}, and only root can change that: sudo chown -hR");
                return Ok(Mended::Left(format!("{reason} {} {}", user_name(owner), folder.display())));
            }
        }
        if !damaged.is_empty() || !self.has_record {
            match self.replace(&damaged, siblings)? {
                Some(Swapped::Done) => {}
                Some(Swapped::InUse) => return Ok(Mended::InUse),
                Some(Swapped::Gone) | None => return Ok(Mended::Not),
            }
        }
        let (registered, digests) = (self.patient.registered(), InodeDigests::default());
        let check = Check::new(self.store, &registered, (VerifyDepth::Quick, &digests));
        let whole = check.against(&self.record.manifest).is_empty();
        if whole { Ok(Mended::Whole(self.outcomes())) } else { Ok(Mended::Not) }
    }

    fn paths(&self, wanted: impl Fn(FindingKind) -> bool) -> HashSet<String> {
        let found = self.findings.iter().filter(|finding| wanted(finding.kind));
        found.filter_map(|finding| finding.path.clone()).collect()
    }

    /// Stages the tree as it should be and exchanges it; `None` when a content is nowhere.
    fn replace(
        &mut self,
        damaged: &HashSet<String>,
        siblings: &mut Siblings<'_>,
    ) -> Result<Option<Swapped>, StoreError> {
        let folder = &self.patient.object.path;
        let tree = StagedTree::new(self.store, self.patient.row, &self.patient.path())?;
        let wanted = self.record.manifest.entries().iter().filter(|entry| is_below(damaged, entry.path.as_str()));
        let wanted: Vec<(Content, u64)> = wanted.filter_map(|entry| content_of(&entry.kind)).collect();
        for (content, _) in &wanted {
            siblings.evict(content);
        }
        siblings.search(wanted.iter().map(|(content, _)| content.digest).collect())?;
        let actions = &mut self.actions;
        let whole = tree.fill(&self.record.manifest, |path, kind, target| {
            let Some((content, size)) = content_of(kind) else { return Ok(true) };
            if !is_below(damaged, path) && place::link_or_copy(&folder.join(path), (&content, size), target)? {
                return Ok(true);
            }
            let from = siblings.copy(&content, size, target)?;
            if let Some(from) = &from {
                actions.insert(path.to_owned(), Action::Copied { from: from.clone() });
            }
            Ok(from.is_some())
        })?;
        if !whole {
            return Ok(None);
        }
        write_record(tree.folder(), &self.record)?;
        self.store.checkpoint("repair-staged");
        Ok(self.store.swap_in(&[tree], |_, _| {})?.pop())
    }

    /// What was done about each finding of the first look and of this one.
    fn outcomes(&self) -> Vec<Repaired> {
        let mut findings = self.patient.findings.clone();
        findings.extend(self.findings.iter().cloned());
        findings.sort();
        findings.dedup();
        let action = |finding: &Finding| match finding.kind {
            kind if kind.is_of_state() => Action::Corrected,
            FindingKind::MissingReference => self.mend_reference(&finding.detail),
            _ => {
                let known = finding.path.as_ref().and_then(|path| self.actions.get(path));
                // What the second look did not find was a matter of modes.
                let gone = finding.path.is_some() && !self.findings.contains(finding);
                known.cloned().unwrap_or(if gone { Action::Corrected } else { Action::Rewritten })
            }
        };
        findings.into_iter().map(|finding| Repaired { action: action(&finding), finding }).collect()
    }

    /// Lets the database say again that the object needs the one with that id.
    fn mend_reference(&self, id: &str) -> Action {
        let absent = || Action::Left { reason: "the object that it needs is not in the store".to_owned() };
        let Ok(id) = id.parse() else { return absent() };
        match self.store.refer(self.patient.row, &id) {
            Ok(true) => Action::Rewritten,
            Ok(false) => absent(),
            Err(error) => Action::Left { reason: error.to_string() },
        }
    }
}

/// Whether `path` or a folder above it is among `paths`.
fn is_below(paths: &HashSet<String>, path: &str) -> bool {
    let above = path.match_indices('/').map(|(end, _)| &path[..end]);
    above.chain([path]).any(|part| paths.contains(part))
}

fn content_of(kind: &EntryKind) -> Option<(Content, u64)> {
    match kind {
        EntryKind::File { digest, size, executable } => {
            Some((Content { digest: *digest, executable: *executable }, *size))
        }
        EntryKind::Directory | EntryKind::Symlink { .. } => None,
    }
}

fn executable_path(entry: &Entry) -> Option<&str> {
    matches!(entry.kind, EntryKind::File { executable: true, .. }).then(|| entry.path.as_str())
}

/// The manifest of what is there; an error where something could not be part of an object.
fn scan(folder: &Path) -> std::io::Result<Manifest> {
    use std::os::unix::fs::MetadataExt;
    let unfit = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut entries = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(below) = waiting.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|_| unfit())?;
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if path == RECORD_FILE {
                continue;
            }
            let metadata = entry.metadata()?;
            let kind = if metadata.is_dir() {
                waiting.push(path.clone());
                EntryKind::Directory
            } else if metadata.is_symlink() {
                let target = fs::read_link(entry.path())?.into_os_string().into_string().map_err(|_| unfit())?;
                EntryKind::Symlink { target }
            } else if metadata.is_file() {
                let (digest, size) = crate::verify::digest_of(&entry.path())?;
                EntryKind::File { digest, size, executable: metadata.mode() & 0o100 != 0 }
            } else {
                return Err(unfit());
            };
            entries.push(Entry { path: EntryPath::parse(&path).map_err(|_| unfit())?, kind });
        }
    }
    Ok(Manifest::from(entries))
}
