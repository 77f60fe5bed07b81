//! Taking a bundle in: all of it is verified before any of it is registered.
//!
//! 1. The manifest is checked (`check`), and what its base names must be here.
//! 2. Each content is hashed as it comes; those that are needed are kept in a scratch folder, short ones in memory.
//! 3. When the end of the archive was read and everything was as announced, trees are made of links to these files and
//!    published like any others, in batches: an object never before those it refers to.
//!
//! A process that dies leaves a scratch folder that nobody locks, or whole objects that no root keeps yet.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use pip_accel_schema::bundle::{BundleManifest, BundleMember};
use pip_accel_schema::digest::{FileDigest, Sha256Digest};
use pip_accel_schema::manifest::{EntryKind, ObjectRecord};
use pip_accel_schema::store_path::{ObjectId, StorePath};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::read::Reader;
use super::{BundleError, BundleFault};
use crate::dedupe::{Content, SHARED_BYTES_MIN};
use crate::error::StoreError;
use crate::fs_ops;
use crate::interrupt::Interrupt;
use crate::lease::Lease;
use crate::lock::LockOwner;
use crate::publish::NewObject;
use crate::store::Store;
use crate::tree::StagedContent;

/// Objects that are published together: each holds a file descriptor while it is staged.
const BATCH_OBJECTS: usize = 64;

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// A bundle that was taken in.
#[derive(Debug, Clone, PartialEq)]
pub struct Unbundled {
    /// What it says of itself.
    pub manifest: BundleManifest,
    /// SHA-256 of all its bytes, as they were read.
    pub sha256: Sha256Digest,
    /// Objects that are new in the store.
    pub added: usize,
    /// Objects that it carries and the store had.
    pub present: usize,
}

/// Contents on their way from the archive into trees.
struct Staging {
    folder: PathBuf,
    interrupt: Interrupt,
    /// Contents that new objects need, and whether the first of them is executable.
    wanted: HashMap<FileDigest, bool>,
    staged: HashMap<FileDigest, StagedContent>,
}

impl Lease {
    /// Takes in the bundle that `input` carries, and claims what it is for. `check` is what the caller knows about the
    /// objects' meaning; it sees the manifest before anything is written. Whoever takes in a bundle for the same purpose at
    /// the same time is waited for, which `on_wait` is told; then what it has taken in is here.
    ///
    /// # Errors
    /// When the bundle is cut off, corrupt, hostile or made for a store that has more, the disk is full, or the store
    /// is read-only, or it is interrupted. Nothing is registered then, unless the disk fails or the switch is set while what was verified is registered.
    pub fn read_bundle(
        &self,
        input: impl Read,
        check: &dyn Fn(&BundleManifest) -> Result<(), BundleFault>,
        on_wait: &mut dyn FnMut(&LockOwner),
    ) -> Result<Unbundled, BundleError> {
        let store = &**self.store();
        store.writable("add an object")?;
        let scratch = store.scratch("unbundle")?;
        let mut staging = Staging {
            folder: scratch.path().to_owned(),
            interrupt: store.interrupt().clone(),
            wanted: HashMap::new(),
            staged: HashMap::new(),
        };
        let mut present = HashSet::new();
        let mut turn = None;
        let (manifest, sha256) = {
            let staging = std::cell::RefCell::new(&mut staging);
            let mut begin = |manifest: &BundleManifest| {
                check(manifest)?;
                turn = Some(store.lock(&format!("unbundle {}", manifest.closure_digest().to_hex()), on_wait)?);
                present = self.present(manifest)?;
                let mut staging = staging.borrow_mut();
                let needed = staging.want(manifest, &present);
                let free = store.disk()?.free_bytes;
                if needed > free { Err(BundleError::NoRoom { needed, free }) } else { Ok(()) }
            };
            Reader::new(input)?.walk(&mut begin, &mut |member, content| staging.borrow_mut().take(member, content))?
        };
        store.checkpoint("unbundle-verified");
        let is_new = |object: &&ObjectRecord| object.store_path().is_some_and(|path| !present.contains(path.id()));
        let new: Vec<&ObjectRecord> = manifest.objects.iter().filter(is_new).collect();
        for batch in new.chunks(BATCH_OBJECTS) {
            store.interrupt().go_on()?;
            let trees = batch.par_iter().map(|record| staging.tree(store, record)).collect::<Result<Vec<_>, _>>()?;
            store.checkpoint("unbundle-staged");
            self.publish(trees)?;
            store.checkpoint("unbundle-published");
        }
        drop(turn);
        let (added, present) = (new.len(), manifest.objects.len() - new.len());
        Ok(Unbundled { manifest, sha256, added, present })
    }

    /// Claims those of the bundle's objects that are here; all of its base must be.
    fn present(&self, manifest: &BundleManifest) -> Result<HashSet<ObjectId>, BundleError> {
        let ids_of = |paths: &mut dyn Iterator<Item = &String>| -> Vec<ObjectId> {
            paths.filter_map(|path| path.parse::<StorePath>().ok()).map(|path| *path.id()).collect()
        };
        let base = self.take(&ids_of(&mut manifest.base.iter()))?;
        let is_missing = |(path, found): (&String, &Option<_>)| found.is_none().then(|| path.clone());
        let missing: Vec<String> = manifest.base.iter().zip(&base).filter_map(is_missing).collect();
        if !missing.is_empty() {
            return Err(BundleError::MissingBase { missing });
        }
        let objects = self.take(&ids_of(&mut manifest.objects.iter().map(|object| &object.path)))?;
        Ok(objects.into_iter().flatten().map(|object| object.id).collect())
    }
}

impl Staging {
    /// Decides which contents are kept; returns their bytes.
    fn want(&mut self, manifest: &BundleManifest, present: &HashSet<ObjectId>) -> u64 {
        let mut bytes = 0_u64;
        for object in &manifest.objects {
            if object.store_path().is_none_or(|path| present.contains(path.id())) {
                continue;
            }
            for entry in object.manifest.entries() {
                if let EntryKind::File { digest, size, executable } = &entry.kind
                    && !self.wanted.contains_key(digest)
                {
                    self.wanted.insert(*digest, *executable);
                    bytes = bytes.saturating_add(*size);
                }
            }
        }
        bytes
    }

    /// Verifies one member and keeps it where it is needed.
    fn take(&mut self, member: &BundleMember, content: &mut dyn Read) -> Result<(), BundleError> {
        self.interrupt.go_on()?;
        let place = self.folder.join(member.digest.to_hex());
        let mut target = match self.wanted.get(&member.digest) {
            None => Target::Nowhere,
            Some(_) if member.size < SHARED_BYTES_MIN => Target::Memory(Vec::new()),
            Some(executable) => {
                let file = File::create_new(&place).map_err(|source| StoreError::io("create", &place, source))?;
                Target::File(file, *executable)
            }
        };
        copy_verified(member, content, &mut target, &place)?;
        let staged = match target {
            Target::Nowhere => return Ok(()),
            Target::Memory(bytes) => StagedContent::Bytes(bytes),
            Target::File(file, executable) => {
                fs_ops::canonicalise_open_file(&file, executable, &place)?;
                StagedContent::File(place, executable)
            }
        };
        self.staged.insert(member.digest, staged);
        Ok(())
    }

    /// The tree of an object, of contents that were verified.
    fn tree(&self, store: &Store, record: &ObjectRecord) -> Result<NewObject, BundleError> {
        let wrong = |reason: &str| BundleError::from(BundleFault::new(&record.path, reason));
        let path = record.store_path().ok_or_else(|| wrong("is no directory name of an object"))?;
        let tree = store.new_tree()?;
        for entry in record.manifest.entries() {
            match &entry.kind {
                EntryKind::Directory => tree.create_directory(&entry.path)?,
                EntryKind::Symlink { target } => tree.create_symlink(&entry.path, target)?,
                EntryKind::File { digest, size, executable } => {
                    let staged = self.staged.get(digest).ok_or_else(|| wrong("has a file that the bundle lacks"))?;
                    let content = Content { digest: *digest, executable: *executable };
                    tree.put_staged(&entry.path, (content, *size), staged)?;
                }
            }
        }
        if tree.content_digest() != record.content_digest {
            return Err(wrong("is not what its content digest says"));
        }
        Ok(NewObject {
            tree,
            path,
            name: record.name.clone(),
            version: record.version.clone(),
            provenance: record.provenance.clone(),
            references: record.references.clone(),
            link_plan: record.link_plan.clone(),
        })
    }
}

/// Where a verified content goes.
enum Target {
    Nowhere,
    Memory(Vec<u8>),
    File(File, bool),
}

fn copy_verified(
    member: &BundleMember,
    content: &mut dyn Read,
    target: &mut Target,
    place: &Path,
) -> Result<(), BundleError> {
    let mut hasher = blake3::Hasher::new();
    let mut published = member.sha256.map(|expected| (expected, Sha256::new()));
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0_u64;
    loop {
        let length = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BundleError::Read(error)),
        };
        let bytes = &buffer[..length];
        size += length as u64;
        hasher.update(bytes);
        if let Some((_, hasher)) = &mut published {
            hasher.update(bytes);
        }
        match target {
            Target::Nowhere => {}
            Target::Memory(kept) => kept.extend_from_slice(bytes),
            Target::File(file, _) => file.write_all(bytes).map_err(|source| StoreError::io("write", place, source))?,
        }
    }
    if size < member.size {
        return Err(BundleError::CutOff);
    }
    let is_announced = *hasher.finalize().as_bytes() == *member.digest.as_bytes();
    let is_published =
        published.is_none_or(|(expected, hasher)| Sha256Digest::from_bytes(hasher.finalize().into()) == expected);
    match (is_announced, is_published) {
        (true, true) => Ok(()),
        (false, _) => Err(BundleFault::new(&member.name, "is not what its digest says").into()),
        (true, false) => Err(BundleFault::new(&member.name, "is not the file of that SHA-256").into()),
    }
}
