//! Comparing what is on disk with what was published. Findings are data; nothing is changed.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use pip_accel_schema::digest::{ContentDigest, FileDigest};
use pip_accel_schema::manifest::{EntryKind, Manifest};
use pip_accel_schema::store_path::ObjectId;
use rayon::prelude::*;
use serde::Serialize;

use crate::db;
use crate::error::{IoContext, StoreError};
use crate::fs_ops::{CANONICAL_MTIME, mode_of_file};
use crate::layout::RECORD_FILE;
use crate::lock;
use crate::object::read_record;
use crate::store::Store;
use crate::tree::hash_reader;

/// How closely to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyDepth {
    /// Names, types, sizes, modes and times.
    #[default]
    Quick,
    /// Also the bytes of every file, and the database's own consistency.
    Full,
}

/// What to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How closely.
    pub depth: VerifyDepth,
    /// Which objects; empty: all, and whether there are folders that belong to none.
    pub objects: Vec<ObjectId>,
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
    /// The database contradicts itself.
    DatabaseDamaged,
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
    pub(crate) id: ObjectId,
    pub(crate) path: String,
    pub(crate) content_digest: ContentDigest,
}

/// Digests of inodes that were read already: a shared file is read once.
type InodeDigests = Mutex<HashMap<(u64, u64), FileDigest>>;

impl Store {
    /// Compares the objects on disk with what was published. Keeps collectors waiting while it runs.
    ///
    /// # Errors
    /// When the database or the store's own folders can't be read. Damage to objects is no error but a finding.
    pub fn verify(&self, options: &VerifyOptions) -> Result<Vec<Finding>, StoreError> {
        let _lock = lock::lock_shared_if_possible(&self.layout().gc_lock())?;
        let mut findings = Vec::new();
        if options.objects.is_empty() {
            findings.extend(self.find_unknown()?);
        }
        if options.depth == VerifyDepth::Full {
            findings.extend(self.check_database()?);
        }
        let wanted: HashSet<&ObjectId> = options.objects.iter().collect();
        let mut registered = self.database.read("list the objects", db::object::registered)?;
        registered.retain(|object| wanted.is_empty() || wanted.contains(&object.id));
        let digests = InodeDigests::default();
        let check = |object: &Registered| Check { store: self, object, depth: options.depth, digests: &digests }.run();
        findings.par_extend(registered.par_iter().flat_map_iter(check));
        findings.sort();
        Ok(findings)
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
            if !known.contains(&name) && fs::symlink_metadata(entry.path()).is_ok() {
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

/// The check of one object.
struct Check<'a> {
    store: &'a Store,
    object: &'a Registered,
    depth: VerifyDepth,
    digests: &'a InodeDigests,
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

    fn run(&self) -> Vec<Finding> {
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
        self.check_mode_and_time(None, &metadata, 0o555, &mut findings);
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
        self.check_tree(&folder, &record.manifest, &mut findings);
        findings
    }

    fn check_tree(&self, folder: &Path, manifest: &Manifest, findings: &mut Vec<Finding>) {
        let mut expected: HashMap<&str, &EntryKind> =
            manifest.entries().iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
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
                    self.check_mode_and_time(Some(&path), &metadata, mode_of_file(false), findings);
                    continue;
                }
                let Some(kind) = expected.remove(path.as_str()) else {
                    findings.push(self.finding(Some(&path), FindingKind::ExtraFile, ""));
                    continue;
                };
                self.check_entry(&path, kind, (&entry.path(), &metadata), findings);
                if metadata.is_dir() && *kind == EntryKind::Directory {
                    waiting.push(path);
                }
            }
        }
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
                self.check_mode_and_time(Some(path), metadata, 0o555, findings);
            }
            EntryKind::Symlink { target } if metadata.is_symlink() => {
                if metadata.mtime() != CANONICAL_MTIME {
                    findings.push(self.finding(Some(path), FindingKind::WrongTime, metadata.mtime().to_string()));
                }
                if !fs::read_link(place).is_ok_and(|text| text.as_os_str() == target.as_str()) {
                    findings.push(self.finding(Some(path), FindingKind::WrongContent, ""));
                }
            }
            EntryKind::File { digest, size, executable } if metadata.is_file() => {
                self.check_mode_and_time(Some(path), metadata, mode_of_file(*executable), findings);
                if metadata.len() != *size {
                    let detail = format!("{} bytes instead of {size}", metadata.len());
                    findings.push(self.finding(Some(path), FindingKind::WrongSize, detail));
                } else if self.depth == VerifyDepth::Full {
                    self.check_content(path, place, (metadata, digest), findings);
                }
            }
            _ => findings.push(self.finding(Some(path), FindingKind::WrongType, "")),
        }
    }

    fn check_content(&self, path: &str, place: &Path, known: (&Metadata, &FileDigest), findings: &mut Vec<Finding>) {
        let (metadata, expected) = known;
        let inode = (metadata.dev(), metadata.ino());
        let cached = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&inode).copied();
        let digest = match cached.map_or_else(|| digest_of(place), Ok) {
            Ok(digest) => digest,
            Err(error) => {
                findings.push(self.finding(Some(path), FindingKind::UnreadableFile, error.to_string()));
                return;
            }
        };
        if metadata.nlink() > 1 {
            self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(inode, digest);
        }
        if digest != *expected {
            let detail = format!("BLAKE3 {digest} instead of {expected}");
            findings.push(self.finding(Some(path), FindingKind::WrongContent, detail));
        }
    }

    fn check_mode_and_time(&self, path: Option<&str>, metadata: &Metadata, mode: u32, findings: &mut Vec<Finding>) {
        let found = metadata.mode() & 0o7777;
        if found != mode {
            findings.push(self.finding(path, FindingKind::WrongMode, format!("{found:04o} instead of {mode:04o}")));
        }
        if metadata.mtime() != CANONICAL_MTIME {
            findings.push(self.finding(path, FindingKind::WrongTime, metadata.mtime().to_string()));
        }
    }
}

fn digest_of(place: &Path) -> io::Result<FileDigest> {
    let mut file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(place)?;
    let mut hasher = blake3::Hasher::new();
    hash_reader(&mut file, &mut hasher)?;
    Ok(FileDigest::from_bytes(*hasher.finalize().as_bytes()))
}
