//! Putting right what `verify` finds.
//!
//! In this order: modes and times are set in place, once the bytes are found right; what does not belong to an object is moved
//! to `quarantine/`; damaged files come from a copy (`files/`, or another object) whose digest is checked while it is copied;
//! an object whose files have no copy is made anew by a [`Remake`]; and what nobody can make goes to `quarantine/`, its row
//! away, and is named with the roots that had it. What can't be made just now is left as it is.
//!
//! An object's tree is never changed file by file: a whole new one is staged and exchanged with it (`swap`), so that a
//! reader, or the next run after a kill, finds the old one or the new one. Objects of which a living process has a lease
//! stay as they are and are named. The lock `gc` is held from the first look to the end.

mod mend;
mod place;
mod quarantine;
mod replace;
mod siblings;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pip_accel_schema::digest::ContentDigest;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::ObjectId;
use serde::Serialize;

use crate::db;
use crate::error::StoreError;
use crate::object::Object;
use crate::root::{Root, is_absent};
use crate::store::Store;
use crate::verify::{Finding, FindingKind, VerifyOptions};
use mend::{Mended, Patient};
use siblings::Siblings;

/// Who can make an object anew: by a download, by unpacking, by a build. The store knows none of these.
pub trait Remake {
    /// Makes `object` anew and publishes it under its own id, through a lease of the store that is being repaired. To such
    /// leases, objects that are still damaged count as absent, and publishing one of them replaces it.
    ///
    /// # Errors
    /// Why it can't be made: for good, which costs the store the object, or now.
    fn remake(&mut self, object: &Object) -> Result<(), RemakeError>;
}

/// Why an object was not made anew. Both hold the reason as a sentence without its full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemakeError {
    /// Trying again would not help, as far as anybody can tell.
    #[error("{0}")]
    Impossible(String),
    /// Trying again may help: a network that is down, an interruption.
    #[error("{0}")]
    NotNow(String),
}

/// What was done about a finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Action {
    /// Mode and time were set in place; the bytes are right.
    Corrected,
    /// It does not belong there and was moved.
    MovedAway {
        /// Where it is now.
        to: PathBuf,
    },
    /// The bytes came from a copy with the right digest.
    Copied {
        /// The copy, relative to the store's root.
        from: String,
    },
    /// It was written again from what the object's record or the database says.
    Rewritten,
    /// The object was made anew and has the registered content.
    Remade,
    /// The object was made anew and has another content than the registered one.
    RemadeDifferently {
        /// What it holds now.
        content_digest: ContentDigest,
    },
    /// It is a whole object and is registered again.
    Registered,
    /// The name that led to wrong bytes was deleted; nothing needs it.
    Evicted,
    /// Nothing could mend it: the object is not in the store any more.
    Quarantined {
        /// Where what was left of it is now; absent when nothing was.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<PathBuf>,
        /// Why it could not be mended.
        reason: String,
    },
    /// Nothing was done.
    Left {
        /// Why.
        reason: String,
    },
}

impl Action {
    /// Whether the damage is gone and nothing was lost.
    #[must_use]
    pub const fn is_repair(&self) -> bool {
        !matches!(self, Self::Quarantined { .. } | Self::Left { .. })
    }

    const fn is_left(&self) -> bool {
        matches!(self, Self::Left { .. })
    }
}

/// A finding and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Repaired {
    /// What was wrong.
    #[serde(flatten)]
    pub finding: Finding,
    /// What was done.
    pub action: Action,
}

/// An object that is not in the store any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostObject {
    /// Its id.
    pub id: ObjectId,
    /// The name that its folder had.
    pub path: String,
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// Why it could not be mended.
    pub reason: String,
    /// The roots that named it, and now lack it.
    pub roots: Vec<Root>,
}

/// What a repair found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// Every finding with what was done about it, sorted.
    pub findings: Vec<Repaired>,
    /// Objects that were lost.
    pub lost: Vec<LostObject>,
    /// Roots of objects whose bytes were wrong. Environments of links see the right bytes now; one of hard links or copies may
    /// still have the wrong ones.
    pub affected_roots: Vec<Root>,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes that the first look read.
    pub read_bytes: u64,
}

impl RepairReport {
    /// Whether the store is whole now, and nothing was lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|repaired| repaired.action.is_repair())
    }
}

/// The objects that are being repaired by this handle: absent to its leases, replaced when published. `lost` says why that
/// is another notion than an object whose folder is gone.
#[derive(Debug, Default)]
pub(crate) struct Damaged {
    repairing: AtomicBool,
    ids: Mutex<HashSet<ObjectId>>,
    changed: Mutex<HashMap<ObjectId, ContentDigest>>,
}

impl Damaged {
    fn ids(&self) -> MutexGuard<'_, HashSet<ObjectId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a repair runs: it has the lock `gc` then, for which nobody else of this process may wait.
    pub(crate) fn is_repairing(&self) -> bool {
        self.repairing.load(Ordering::Relaxed)
    }

    /// Whether the object waits for its repair.
    pub(crate) fn has(&self, id: &ObjectId) -> bool {
        self.ids().contains(id)
    }

    /// The object is in the store again; `changed`: with another content than the registered one.
    fn done(&self, id: &ObjectId, changed: Option<ContentDigest>) {
        self.ids().remove(id);
        if let Some(digest) = changed {
            self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, digest);
        }
    }

    fn changed(&self, id: &ObjectId) -> Option<ContentDigest> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }
}

/// Ends the special treatment of damaged objects, however a repair ends.
struct Ending<'a>(&'a Store);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.damaged.ids().clear();
        self.0.damaged.repairing.store(false, Ordering::Relaxed);
        self.0.shared.files.set_careful(false);
    }
}

impl Store {
    /// Verifies as [`Self::inspect`] does and repairs what is found; `remaker` makes what has no copy in the store. Keeps
    /// collectors, and other repairs, waiting.
    ///
    /// # Errors
    /// When the store is read-only, or its database or own folders can't be read or written, or it is interrupted. What was repaired until then
    /// stays repaired. That something can't be repaired is no error but in the report.
    pub fn repair(&self, options: &VerifyOptions, remaker: &mut dyn Remake) -> Result<RepairReport, StoreError> {
        self.writable("repair objects")?;
        let _lock = self.lock_collections()?;
        self.sweep_swaps()?;
        self.renew_registry()?;
        let inspection = self.inspect_locked(options)?;
        self.checkpoint("repair-inspected");
        let mut report =
            RepairReport { objects: inspection.objects, read_bytes: inspection.read_bytes, ..RepairReport::default() };
        let mut by_object: BTreeMap<ObjectId, Vec<Finding>> = BTreeMap::new();
        let _ending = Ending(self);
        self.damaged.repairing.store(true, Ordering::Relaxed);
        self.shared.files.set_careful(true);
        for finding in inspection.findings {
            match finding.object {
                Some(id) => by_object.entry(id).or_default().push(finding),
                None => report.findings.push(self.repair_elsewhere(finding)?),
            }
        }
        self.damaged.ids().extend(by_object.keys());
        let patients = self.patients(by_object)?;
        let mut siblings = Siblings::new(self, &patients);
        let mut hopeless = Vec::new();
        for patient in patients {
            self.interrupt().go_on()?;
            match self.mend(&patient, &mut siblings)? {
                Mended::Not => hopeless.push(patient),
                mended => self.note(&patient, mended, &mut report)?,
            }
        }
        for patient in hopeless {
            self.interrupt().go_on()?;
            let mended = self.mend_or_remake(&patient, &mut siblings, remaker)?;
            self.note(&patient, mended, &mut report)?;
        }
        report.findings.sort();
        report.affected_roots.sort_by(|left, right| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
        report.affected_roots.dedup();
        if options.objects.is_empty() && !report.findings.iter().any(|repaired| repaired.action.is_left()) {
            self.allow_collections()?;
        }
        Ok(report)
    }

    /// All that was not registered when the database was made anew is registered now, or away and named.
    fn allow_collections(&self) -> Result<(), StoreError> {
        let path = self.layout().incomplete_marker();
        match fs::remove_file(&path) {
            Err(error) if !is_absent(&error) => Err(StoreError::io("delete", &path, error)),
            _ => Ok(()),
        }
    }

    /// The damaged objects: sources first, since others are made of them, then published wheels, then builds.
    fn patients(&self, by_object: BTreeMap<ObjectId, Vec<Finding>>) -> Result<Vec<Patient>, StoreError> {
        let mut patients = Vec::new();
        for (id, findings) in by_object {
            let found = self.database.snapshot("look up an object", |db| {
                let Some((row, object)) = db::object::find_valid(db, self.layout(), &id)? else { return Ok(None) };
                let references = db::object::references_of_row(db, row)?;
                Ok(Some((row, object, references, db::root::of_object(db, &id)?)))
            })?;
            // A row that can't be found is the database's damage, which is named apart.
            let Some((row, object, references, roots)) = found else { continue };
            patients.push(Patient { row, object, references, roots, findings });
        }
        patients.sort_by_key(|patient| match patient.object.provenance {
            Provenance::Source { .. } => 0,
            Provenance::Wheel { .. } => 1,
            Provenance::Build { .. } => 2,
        });
        Ok(patients)
    }

    /// The second try: others are repaired now, so there may be copies; else by making the object anew.
    fn mend_or_remake(
        &self,
        patient: &Patient,
        siblings: &mut Siblings<'_>,
        remaker: &mut dyn Remake,
    ) -> Result<Mended, StoreError> {
        match self.mend(patient, siblings)? {
            Mended::Not => {}
            mended => return Ok(mended),
        }
        let id = &patient.object.id;
        let remade = remaker.remake(&patient.object);
        if !self.damaged.has(id) {
            let action = self.damaged.changed(id);
            let action = action.map_or(Action::Remade, |content_digest| Action::RemadeDifferently { content_digest });
            return Ok(Mended::Whole(patient.all(&action)));
        }
        // What was not made because of that is not given up.
        self.interrupt().go_on()?;
        match remade {
            Ok(()) => self.quarantine_object(patient, "what was made instead is another object".to_owned()),
            Err(RemakeError::Impossible(reason)) => self.quarantine_object(patient, reason),
            Err(RemakeError::NotNow(reason)) => Ok(Mended::Left(reason)),
        }
    }

    fn note(&self, patient: &Patient, mended: Mended, report: &mut RepairReport) -> Result<(), StoreError> {
        let (repaired, lost) = match mended {
            Mended::Whole(repaired) => {
                self.damaged.done(&patient.object.id, None);
                (repaired, None)
            }
            Mended::Lost(repaired, lost) => (repaired, Some(lost)),
            Mended::InUse => {
                let reason = "a running process uses it; repeat the command when that has ended".to_owned();
                (patient.all(&Action::Left { reason }), None)
            }
            Mended::Left(reason) => (patient.all(&Action::Left { reason }), None),
            Mended::Not => (patient.all(&Action::Left { reason: "nothing could mend it".to_owned() }), None),
        };
        if repaired.iter().any(|repaired| is_of_bytes(repaired.finding.kind)) {
            report.affected_roots.extend(patient.roots.iter().cloned());
        }
        report.findings.extend(repaired);
        report.lost.extend(lost);
        Ok(())
    }

    /// Findings that are about no registered object.
    fn repair_elsewhere(&self, finding: Finding) -> Result<Repaired, StoreError> {
        let action = match finding.kind {
            FindingKind::UnknownObject => self.repair_unknown(&finding.store_path)?,
            FindingKind::WrongSharedFile => {
                let path = self.root().join(finding.path.as_deref().unwrap_or_default());
                match fs::remove_file(&path) {
                    Ok(()) => Action::Evicted,
                    Err(error) => Action::Left { reason: error.to_string() },
                }
            }
            _ => Action::Left { reason: "the database has to be made anew".to_owned() },
        };
        Ok(Repaired { finding, action })
    }
}

/// Whether somebody may have seen wrong bytes.
const fn is_of_bytes(kind: FindingKind) -> bool {
    !kind.is_of_state() && !matches!(kind, FindingKind::ExtraFile)
}
