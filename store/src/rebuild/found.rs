//! Folders among the objects that no row speaks of: whether they are whole, and registering those that are.

use std::collections::{HashMap, HashSet};

use pip_accel_schema::manifest::{ObjectRecord, Provenance};
use pip_accel_schema::store_path::ObjectId;
use rusqlite::Connection;

use super::finding;
use crate::db::{self, Failure, RowId};
use crate::object::read_record;
use crate::store::Store;
use crate::verify::{Check, Finding, FindingKind, InodeDigests, Registered, VerifyDepth};

/// An object that is whole and says what it is.
#[derive(Debug)]
pub(crate) struct FoundObject {
    pub(crate) id: ObjectId,
    pub(crate) record: ObjectRecord,
}

impl Store {
    /// The object in the folder `name`, or what is wrong with it. Its record must agree with the folder's name, with its own
    /// provenance and with what is there.
    pub(crate) fn look_at_folder(
        &self,
        name: &str,
        depth: VerifyDepth,
        digests: &InodeDigests,
    ) -> Result<FoundObject, Vec<Finding>> {
        let wrong = |kind, detail: String| Err(vec![finding(name, kind, detail)]);
        let record = match read_record(&self.layout().object(name)) {
            Ok(record) => record,
            Err(error) => return wrong(FindingKind::UnreadableRecord, error.to_string()),
        };
        let id = match record.store_path() {
            Some(path) if record.path == name => *path.id(),
            _ => return wrong(FindingKind::UnreadableRecord, format!("it is the record of `{}`", record.path)),
        };
        if id != id_of(&record) {
            let detail = format!("it was made from what object {} is made from", id_of(&record));
            return wrong(FindingKind::UnreadableRecord, detail);
        }
        if !record.lists_its_system_inputs() {
            let detail = "it lists other system inputs than it was built with".to_owned();
            return wrong(FindingKind::UnreadableRecord, detail);
        }
        let object = Registered {
            row: 0,
            id,
            path: name.to_owned(),
            content_digest: record.content_digest,
            verified_at: 0,
            references: record.references.clone(),
        };
        let findings = Check::new(self, &object, (depth, digests)).run();
        if findings.is_empty() { Ok(FoundObject { id, record }) } else { Err(findings) }
    }
}

/// The id that follows from what an object is made from.
fn id_of(record: &ObjectRecord) -> ObjectId {
    match &record.provenance {
        Provenance::Source { file_name, sha256 } => ObjectId::of_source(file_name, sha256),
        Provenance::Wheel { sha256, bytecode_tag, .. } => ObjectId::of_wheel(sha256, bytecode_tag),
        Provenance::Build { recipe, system_inputs, bytecode_tag, .. } => {
            ObjectId::of_build(&recipe.id(), system_inputs, bytecode_tag)
        }
    }
}

/// Takes away objects that need one which is not there, until none does, and names them.
pub(super) fn drop_incomplete(objects: &mut Vec<FoundObject>) -> Vec<Finding> {
    let mut findings = Vec::new();
    loop {
        let there: HashSet<ObjectId> = objects.iter().map(|object| object.id).collect();
        let before = objects.len();
        objects.retain(|object| {
            let missing = object.record.references.iter().find(|reference| !there.contains(*reference));
            if let Some(missing) = missing {
                let kind = FindingKind::MissingReference;
                findings.push(Finding {
                    object: Some(object.id),
                    ..finding(&object.record.path, kind, missing.to_string())
                });
            }
            missing.is_none()
        });
        if objects.len() == before {
            return findings;
        }
    }
}

/// Writes valid rows for whole objects whose references are among them or valid; gives their numbers.
pub(crate) fn register(
    db: &Connection,
    objects: &[FoundObject],
    (now, verified): (i64, bool),
) -> Result<HashMap<ObjectId, RowId>, Failure> {
    let mut rows = HashMap::with_capacity(objects.len());
    for FoundObject { id, record } in objects {
        let row = db::object::write_pending(db, record, id, None, now)?;
        db::object::make_valid(db, row)?;
        if let Provenance::Build { recipe, system_inputs, .. } = &record.provenance {
            db::object::put_realisation(db, row, &recipe.id(), system_inputs, now)?;
        }
        rows.insert(*id, row);
    }
    for FoundObject { id, record } in objects {
        let row = rows.get(id).copied().unwrap_or_default();
        let mut references = Vec::with_capacity(record.references.len());
        for reference in &record.references {
            let known = rows.get(reference).copied();
            let known = match known {
                Some(row) => Some(row),
                None => db::object::find_any_state(db, reference)?
                    .filter(|found| found.state == db::object::VALID)
                    .map(|found| found.row),
            };
            references.extend(known);
        }
        db::object::set_references(db, row, &references)?;
    }
    if verified {
        db::object::set_verified(db, &objects.iter().map(|object| object.id).collect::<Vec<_>>(), now)?;
    }
    Ok(rows)
}
