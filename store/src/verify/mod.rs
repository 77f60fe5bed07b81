//! Comparing what is on disk with what was published. Findings are data; nothing is changed.

mod check;
mod inodes;
mod tree;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use pip_accel_schema::digest::ContentDigest;
use pip_accel_schema::store_path::ObjectId;
use rayon::prelude::*;
use serde::Serialize;

use crate::db::{self, RowId};
use crate::error::{IoContext, StoreError};
use crate::layout::SWAP_PREFIX;
use crate::store::{Access, Store};

pub(crate) use check::Check;
pub(crate) use inodes::{InodeDigests, digest_of};

/// How closely to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyDepth {
    /// Names, types, sizes, modes, owners and times.
    #[default]
    Quick,
    /// Also the bytes and the extended attributes of every file, and the database's own consistency.
    Full,
}

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How closely.
    pub depth: VerifyDepth,
    /// Which objects; empty: all, and whether there are folders that belong to none.
    pub objects: Vec<ObjectId>,
    /// With [`VerifyDepth::Full`]: objects whose bytes were verified at most so many seconds ago are looked at quickly.
    pub max_age_seconds: Option<u64>,
}

/// Whether something of that moment (0: never) was at most `age` seconds ago.
fn is_recent(moment: i64, age: u64, now: i64) -> bool {
    moment > 0 && moment >= now.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The object's folder is gone.
    MissingObject,
    /// An entry of the object is gone.
    MissingFile,
    /// The object holds an entry that it should not.
    ExtraFile,
    /// A file's bytes or a link's text are not those that were published.
    WrongContent,
    /// A file's length is not the published one.
    WrongSize,
    /// A mode is not canonical.
    WrongMode,
    /// A modification time is not canonical: somebody wrote here.
    WrongTime,
    /// The owner is not the store's.
    WrongOwner,
    /// There is an extended attribute or an access list.
    ExtraAttribute,
    /// A file where a folder should be, or the like.
    WrongType,
    /// A folder among the objects that no row speaks of.
    UnknownObject,
    /// The object's record can't be read.
    UnreadableRecord,
    /// The object's record does not have the content digest that was registered.
    ContentDigestMismatch,
    /// An entry can't be read.
    UnreadableFile,
    /// The object's record names an object that it needs, and the database does not.
    MissingReference,
    /// A content that objects are to share is not the one that its name says.
    WrongSharedFile,
    /// The database contradicts itself.
    DatabaseDamaged,
}

impl FindingKind {
    /// Whether it is not about what is there but about how: what is put right in place.
    pub(crate) const fn is_of_state(self) -> bool {
        matches!(self, Self::WrongMode | Self::WrongTime | Self::WrongOwner | Self::ExtraAttribute)
    }
}

/// One thing that is wrong. A file that several objects share by hard links is found in each of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The name of the object's folder; empty for the database.
    pub store_path: String,
    /// The entry inside the object; absent when it is about the object as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong.
    pub kind: FindingKind,
    /// What was found, for a reader; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The object, unless it is about something that is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
}

/// What the database says about an object.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) row: RowId,
    pub(crate) id: ObjectId,
    pub(crate) path: String,
    pub(crate) content_digest: ContentDigest,
    pub(crate) verified_at: i64,
    pub(crate) references: Vec<ObjectId>,
}

/// What a look at the store gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// What is wrong, sorted by object and path.
    pub findings: Vec<Finding>,
    /// Objects looked at.
    pub objects: u64,
    /// Of these, objects whose bytes were read.
    pub read_objects: u64,
    /// Bytes that were read; a content that several objects share is read once.
    pub read_bytes: u64,
}

impl Store {
    /// Compares the objects on disk with what was published; [`Self::inspect`] without its figures.
    ///
    /// # Errors
    /// As [`Self::inspect`].
    pub fn verify(&self, options: &VerifyOptions) -> Result<Vec<Finding>, StoreError> {
        Ok(self.inspect(options)?.findings)
    }

    /// Compares the objects on disk with what was published. Keeps collectors waiting while it runs. Objects whose bytes
    /// were read and right are remembered as verified, if the store is open for writing.
    ///
    /// # Errors
    /// When the database or the store's own folders can't be read, or it is interrupted. Damage to objects is no error but a finding.
    pub fn inspect(&self, options: &VerifyOptions) -> Result<Inspection, StoreError> {
        let _lock = self.keep_collections_away()?;
        self.inspect_locked(options)
    }

    /// [`Self::inspect`] for a caller that has the lock `gc`.
    pub(crate) fn inspect_locked(&self, options: &VerifyOptions) -> Result<Inspection, StoreError> {
        let digests = InodeDigests::default();
        let mut findings = Vec::new();
        if options.objects.is_empty() {
            findings.extend(self.find_unknown()?);
        }
        let wanted: HashSet<&ObjectId> = options.objects.iter().collect();
        let mut registered = self.database.snapshot("list the objects", db::object::registered)?;
        registered.retain(|object| wanted.is_empty() || wanted.contains(&object.id));
        let depth = |object: &Registered| match options.max_age_seconds {
            Some(age) if is_recent(object.verified_at, age, self.now()) => VerifyDepth::Quick,
            _ => options.depth,
        };
        let check = |object| -> Result<(&Registered, VerifyDepth, Vec<Finding>), StoreError> {
            self.interrupt().go_on()?;
            let depth = depth(object);
            Ok((object, depth, Check::new(self, object, (depth, &digests)).run()))
        };
        let check_all = || registered.par_iter().map(check).collect::<Result<Vec<_>, _>>();
        // SQLite reads its file with one thread, which takes as long as some packages.
        let is_full = options.depth == VerifyDepth::Full;
        let check_database = || if is_full { self.check_database() } else { Ok(Vec::new()) };
        let (checked, of_database) = rayon::join(check_all, check_database);
        let checked = checked?;
        findings.extend(of_database?);
        let read = checked.iter().filter(|(_, depth, _)| *depth == VerifyDepth::Full);
        let whole = read.clone().filter(|(_, _, found)| found.is_empty()).map(|(object, _, _)| object.id);
        self.remember_verified(&whole.collect::<Vec<_>>())?;
        let (objects, read_objects) = (checked.len() as u64, read.count() as u64);
        findings.extend(checked.into_iter().flat_map(|(_, _, found)| found));
        if options.depth == VerifyDepth::Full && options.objects.is_empty() && options.max_age_seconds.is_none() {
            findings.extend(self.check_shared_files(&digests, &self.inodes_of(&findings))?);
        }
        findings.sort();
        Ok(Inspection { findings, objects, read_objects, read_bytes: digests.bytes_read() })
    }

    /// Devices and inodes of the entries that the findings are about.
    fn inodes_of(&self, findings: &[Finding]) -> HashSet<(u64, u64)> {
        let place = |finding: &Finding| Some(self.layout().object(&finding.store_path).join(finding.path.as_ref()?));
        let places = findings.iter().filter_map(place);
        let examined = places.filter_map(|place| fs::symlink_metadata(place).ok());
        examined.map(|metadata| (metadata.dev(), metadata.ino())).collect()
    }

    fn remember_verified(&self, objects: &[ObjectId]) -> Result<(), StoreError> {
        if self.access == Access::ReadOnly || objects.is_empty() {
            return Ok(());
        }
        self.database.write("remember what was verified", |db| db::object::set_verified(db, objects, self.now()))
    }

    /// The contents in `files/`: one that is not what its name says would get into the next object that has it.
    /// Those that were found in an object already are not named again.
    fn check_shared_files(
        &self,
        digests: &InodeDigests,
        known: &HashSet<(u64, u64)>,
    ) -> Result<Vec<Finding>, StoreError> {
        let folder = self.layout().shared_files();
        let device = fs::symlink_metadata(&folder).on("examine", &folder)?.dev();
        let finding = |path: &Path, detail: String| {
            let path = path.strip_prefix(self.root()).unwrap_or(path);
            let (path, kind) = (Some(path.display().to_string()), FindingKind::WrongSharedFile);
            Finding { store_path: String::new(), path, kind, detail, object: None }
        };
        self.shared.files.look_at_all(|entry, content| {
            // Nearly all were read as files of objects: the folder's own list is enough to know them.
            if digests.seen((device, entry.ino())) == Some(content.digest) {
                return None;
            }
            let path = entry.path();
            // A collector or writer may take names away.
            let metadata = fs::symlink_metadata(&path).ok()?;
            if known.contains(&(metadata.dev(), metadata.ino())) {
                return None;
            }
            if !metadata.is_file() {
                return Some(finding(&path, "not a file".to_owned()));
            }
            match digests.of(&path, &metadata) {
                Ok(held) if held.digest == content.digest => None,
                Ok(held) => Some(finding(&path, format!("BLAKE3 {}", held.digest))),
                Err(error) => Some(finding(&path, error)),
            }
        })
    }

    fn find_unknown(&self) -> Result<Vec<Finding>, StoreError> {
        let objects = self.layout().objects();
        let listed: Vec<_> = fs::read_dir(&objects).on("list", &objects)?.collect();
        // After the listing: a folder gets its final name only once it has a row.
        let known: HashSet<String> =
            self.database.read("list the objects", db::object::all_paths)?.into_iter().collect();
        let mut findings = Vec::new();
        for entry in listed {
            let entry = entry.on("list", &objects)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A folder on its way into or out of its place is the business of who moves it.
            if !name.starts_with(SWAP_PREFIX) && !known.contains(&name) && fs::symlink_metadata(entry.path()).is_ok() {
                findings.push(Finding {
                    store_path: name,
                    path: None,
                    kind: FindingKind::UnknownObject,
                    detail: String::new(),
                    object: None,
                });
            }
        }
        Ok(findings)
    }

    fn check_database(&self) -> Result<Vec<Finding>, StoreError> {
        let problems = self.database.read("check its consistency", db::object::integrity_problems)?;
        let finding = |detail| Finding {
            store_path: String::new(),
            path: None,
            kind: FindingKind::DatabaseDamaged,
            detail,
            object: None,
        };
        Ok(problems.into_iter().map(finding).collect())
    }
}
