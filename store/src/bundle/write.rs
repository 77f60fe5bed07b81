//! Taking objects out: one pass, each content once, the same bytes for the same objects.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use pip_accel_schema::bundle::{BUNDLE_FORMAT, BUNDLE_MANIFEST_NAME, BUNDLE_SEAL_NAME, BundleManifest, BundlePage};
use pip_accel_schema::digest::{FileDigest, Sha256Digest};
use pip_accel_schema::manifest::{EntryKind, EntryPath, ObjectRecord};
use pip_accel_schema::store_path::ObjectId;
use sha2::{Digest, Sha256};

use super::BundleError;
use crate::error::StoreError;
use crate::fs_ops::CANONICAL_MTIME;
use crate::interrupt::Interrupt;
use crate::lease::Lease;
use crate::object::{Object, read_record};

/// Level of zstd: a quarter of the bytes for a tenth of the time that the higher levels take.
const ZSTD_LEVEL: i32 = 6;

/// A page of the package index: its place and its text.
pub type BundlePageText = (EntryPath, String);

/// What a bundle is to hold.
pub struct BundleRequest<'a> {
    /// For which interpreter, for a reader.
    pub interpreter: String,
    /// What its receiver keeps; all they refer to goes along.
    pub roots: Vec<ObjectId>,
    /// What the receiver has already.
    pub base: HashSet<ObjectId>,
    /// Remembered answers.
    pub facts: serde_json::Value,
    /// Makes the pages of the package index for the objects that are carried.
    pub pages: &'a dyn Fn(&[ObjectRecord]) -> Vec<BundlePageText>,
    /// Whether the archive is compressed by zstd.
    pub compressed: bool,
}

impl std::fmt::Debug for BundleRequest<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BundleRequest").field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleReport {
    /// Objects that it carries.
    pub objects: usize,
    /// Objects that its receiver must have.
    pub base: usize,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of all its bytes.
    pub sha256: Sha256Digest,
}

/// Where objects are.
type Folders = HashMap<ObjectId, PathBuf>;

/// What is on its way out, hashed and counted.
struct Sink<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256,
    bytes: u64,
}

impl Write for Sink<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Lease {
    /// Writes a bundle to `out`.
    ///
    /// # Errors
    /// When an object is not in the store or damaged, `out` can't be written, or it is interrupted; what is in `out` is no bundle then.
    pub fn write_bundle(&self, request: &BundleRequest<'_>, out: &mut dyn Write) -> Result<BundleReport, BundleError> {
        let (mut records, folders) = self.closure(&request.roots)?;
        let base: BTreeSet<String> =
            records.iter().filter(|(id, _)| request.base.contains(id)).map(|(_, record)| record.path.clone()).collect();
        records.retain(|id, _| !request.base.contains(id));
        let objects = in_order(records);
        let pages = (request.pages)(&objects);
        let mut roots = request.roots.clone();
        roots.sort_unstable();
        roots.dedup();
        let page = |(path, text): &BundlePageText| BundlePage {
            path: path.clone(),
            digest: FileDigest::from_bytes(*blake3::hash(text.as_bytes()).as_bytes()),
            size: text.len() as u64,
        };
        let manifest = BundleManifest {
            format: BUNDLE_FORMAT,
            interpreter: request.interpreter.clone(),
            base: base.into_iter().collect(),
            roots,
            pages: pages.iter().map(page).collect(),
            facts: request.facts.clone(),
            objects,
        };
        let interrupt = self.store().interrupt();
        let mut sink = Sink { out, hasher: Sha256::new(), bytes: 0 };
        if request.compressed {
            let mut encoder = zstd::stream::write::Encoder::new(&mut sink, ZSTD_LEVEL).map_err(BundleError::Write)?;
            encoder.include_checksum(true).map_err(BundleError::Write)?;
            write_archive(&mut encoder, &manifest, &pages, (&folders, interrupt))?;
            encoder.finish().map_err(BundleError::Write)?;
        } else {
            let mut buffer = io::BufWriter::with_capacity(1 << 18, &mut sink);
            write_archive(&mut buffer, &manifest, &pages, (&folders, interrupt))?;
            buffer.flush().map_err(BundleError::Write)?;
        }
        sink.flush().map_err(BundleError::Write)?;
        Ok(BundleReport {
            objects: manifest.objects.len(),
            base: manifest.base.len(),
            bytes: sink.bytes,
            sha256: Sha256Digest::from_bytes(sink.hasher.finalize().into()),
        })
    }

    /// The objects and all they refer to, with their folders.
    fn closure(&self, roots: &[ObjectId]) -> Result<(BTreeMap<ObjectId, ObjectRecord>, Folders), BundleError> {
        let mut records = BTreeMap::new();
        let mut folders = HashMap::new();
        let mut waiting: Vec<ObjectId> = roots.to_vec();
        while !waiting.is_empty() {
            let found = self.take(&waiting)?;
            let mut next = Vec::new();
            for (id, object) in waiting.iter().zip(found) {
                let object = object.ok_or(StoreError::MissingObject(*id))?;
                let record = checked_record(&object)?;
                next.extend(record.references.iter().copied());
                folders.insert(*id, object.path);
                records.insert(*id, record);
            }
            next.retain(|id| !records.contains_key(id));
            next.sort_unstable();
            next.dedup();
            waiting = next;
        }
        Ok((records, folders))
    }
}

/// The record beside the content, which must be the one that was registered.
fn checked_record(object: &Object) -> Result<ObjectRecord, StoreError> {
    let record = read_record(&object.path)?;
    let is_same = record.content_digest == object.content_digest
        && record.manifest.content_digest() == object.content_digest
        && record.store_path().is_some_and(|path| *path.id() == object.id);
    if is_same {
        return Ok(record);
    }
    let reason = "it is not the one that was registered".to_owned();
    Err(StoreError::Record { what: object.path.display().to_string(), reason })
}

/// Each after those it refers to, else by id.
fn in_order(mut waiting: BTreeMap<ObjectId, ObjectRecord>) -> Vec<ObjectRecord> {
    let ids: HashSet<ObjectId> = waiting.keys().copied().collect();
    let mut referrers: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
    let mut open: HashMap<ObjectId, usize> = HashMap::new();
    for (id, record) in &waiting {
        let inside = record.references.iter().filter(|reference| *reference != id && ids.contains(reference));
        let mut count = 0;
        for reference in inside {
            referrers.entry(*reference).or_default().push(*id);
            count += 1;
        }
        open.insert(*id, count);
    }
    let mut ready: BTreeSet<ObjectId> = open.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while let Some(id) = ready.pop_first() {
        ordered.extend(waiting.remove(&id));
        for referrer in referrers.remove(&id).unwrap_or_default() {
            if let Some(count) = open.get_mut(&referrer) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(referrer);
                }
            }
        }
    }
    // A ring can't come to be: an object's references are there before it is.
    ordered.extend(waiting.into_values());
    ordered
}

fn write_archive(
    out: &mut dyn Write,
    manifest: &BundleManifest,
    pages: &[BundlePageText],
    (folders, interrupt): (&Folders, &Interrupt),
) -> Result<(), BundleError> {
    let mut archive = tar::Builder::new(out);
    let text = serde_json::to_vec(manifest)
        .map_err(|error| StoreError::Record { what: BUNDLE_MANIFEST_NAME.to_owned(), reason: error.to_string() })?;
    append(&mut archive, BUNDLE_MANIFEST_NAME, text.len() as u64, &mut &text[..]).map_err(BundleError::Write)?;
    let seal = seal_of(&text);
    append(&mut archive, BUNDLE_SEAL_NAME, seal.len() as u64, &mut seal.as_bytes()).map_err(BundleError::Write)?;
    let pages: HashMap<&str, &str> = pages.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let places = places(manifest, folders);
    for member in manifest.members() {
        interrupt.go_on()?;
        if let Some(text) = pages.get(member.name.as_str()) {
            append(&mut archive, &member.name, member.size, &mut text.as_bytes()).map_err(BundleError::Write)?;
            continue;
        }
        let Some((object, folder, path)) = places.get(&member.digest) else { continue };
        let damaged = || BundleError::Damaged { object: (*object).to_owned(), path: path.to_string() };
        let place = folder.join(path.as_str());
        let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&place);
        let file = file.map_err(|source| StoreError::io("open", &place, source))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == member.size) {
            return Err(damaged());
        }
        let mut content = Content { file, hasher: blake3::Hasher::new(), left: member.size, error: None };
        let appended = append(&mut archive, &member.name, member.size, &mut content);
        if let Some(source) = content.error {
            return Err(StoreError::io("read", &place, source).into());
        }
        appended.map_err(BundleError::Write)?;
        if *content.hasher.finalize().as_bytes() != *member.digest.as_bytes() {
            return Err(damaged());
        }
    }
    archive.finish().map_err(BundleError::Write)
}

/// A file on its way into the archive: hashed, and exactly as long as announced.
struct Content {
    file: File,
    hasher: blake3::Hasher,
    left: u64,
    error: Option<io::Error>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..most]) {
            // It became shorter: zeros keep the archive in step, and the digest tells.
            Ok(0) => {
                buffer[..most].fill(0);
                self.left -= most as u64;
                self.hasher.update(&buffer[..most]);
                Ok(most)
            }
            Ok(length) => {
                self.left -= length as u64;
                self.hasher.update(&buffer[..length]);
                Ok(length)
            }
            Err(error) => {
                let kind = error.kind();
                if kind != io::ErrorKind::Interrupted {
                    self.error = Some(error);
                }
                Err(kind.into())
            }
        }
    }
}

/// For each content the first file that has it: directory name and folder of its object, and the path there.
fn places<'a>(
    manifest: &'a BundleManifest,
    folders: &'a Folders,
) -> HashMap<FileDigest, (&'a str, &'a PathBuf, &'a EntryPath)> {
    let mut places = HashMap::new();
    for object in &manifest.objects {
        let Some(folder) = object.store_path().and_then(|path| folders.get(path.id())) else { continue };
        for entry in object.manifest.entries() {
            if let EntryKind::File { digest, .. } = &entry.kind {
                places.entry(*digest).or_insert((object.path.as_str(), folder, &entry.path));
            }
        }
    }
    places
}

/// What proves the manifest whole.
pub(super) fn seal_of(manifest: &[u8]) -> String {
    format!("{}\n", blake3::hash(manifest).to_hex())
}

/// The blocks before the content of a member: its header, and before that its name where it is a long one.
pub(super) fn head_of(name: &str, size: u64) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, name, size, &mut io::empty())?;
    Ok(archive.get_ref().clone())
}

fn append<W: Write>(archive: &mut tar::Builder<W>, name: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(CANONICAL_MTIME.unsigned_abs());
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, content)
}
