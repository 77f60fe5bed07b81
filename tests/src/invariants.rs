//! The invariants of a store at rest, numbered as in `docs/architecture.md` (12 to 16). They are read from the disk and
//! from a copy of the database, with nothing of the program but its formats: what `verify` overlooks is found here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::{ContentDigest, FileDigest};
use pip_accel_schema::environment::{ENVIRONMENT_MANIFEST_FILE, EnvironmentManifest};
use pip_accel_schema::manifest::{Entry, EntryKind, EntryPath, Manifest, ObjectRecord};
use pip_accel_schema::store_path::ObjectId;
use rusqlite::Connection;

/// Where an object keeps its record.
const RECORD: &str = "manifest.json";
/// The state of a row whose object counts as present.
const VALID: i64 = 1;
/// What a killed exchange leaves beside the objects has names that begin so; it is no final name.
const SWAP_PREFIX: &str = ".swap-";

/// An object's row.
struct Row {
    id: Option<ObjectId>,
    path: String,
    state: i64,
    content_digest: Vec<u8>,
}

/// What the database says.
struct Book {
    objects: HashMap<i64, Row>,
    references: Vec<(i64, i64)>,
    /// Kind and name, location, objects.
    roots: Vec<(String, PathBuf, Vec<i64>)>,
    leases: Vec<String>,
}

/// What contradicts the invariants in the store at `root`; a line each, its number first. Nothing when there is no store.
/// No program may be at work in it. Environments may be made of objects of the `lower` stores, too.
///
/// `swept`: the program was started once since the last one was killed, so that nothing unfinished may be left (16).
#[must_use]
pub fn violations(root: &Path, lower: &[PathBuf], swept: bool) -> Vec<String> {
    if !root.join("db/store.sqlite").exists() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let book = match read_book(root) {
        Ok(book) => book,
        Err(error) => return vec![format!("12: the database can't be read: {error}")],
    };
    let mut digests = HashMap::new();
    for row in book.objects.values().filter(|row| row.state == VALID) {
        check_object(root, row, &mut digests, &mut found);
    }
    check_shared_files(root, &mut digests, &mut found);
    check_names(root, &book, swept, &mut found);
    let below: Vec<Book> = lower.iter().filter_map(|root| read_book(root).ok()).collect();
    let below = below.iter().flat_map(valid_objects).collect();
    check_closures(&book, &below, &mut found);
    if swept {
        check_unfinished(root, &book, &mut found);
    }
    found.sort();
    found
}

/// Reads a copy of the database: reading the original might change it.
fn read_book(root: &Path) -> Result<Book, Box<dyn std::error::Error>> {
    let copy = tempfile::tempdir()?;
    for ending in ["", "-wal"] {
        let name = format!("store.sqlite{ending}");
        let from = root.join("db").join(&name);
        if from.exists() {
            fs::copy(from, copy.path().join(name))?;
        }
    }
    let db = Connection::open(copy.path().join("store.sqlite"))?;
    let mut statement = db.prepare("SELECT id, hash, path, state, content_digest FROM object")?;
    let objects = statement.query_map([], |row| {
        let id = ObjectId::from_slice(&row.get::<_, Vec<u8>>(1)?);
        Ok((row.get(0)?, Row { id, path: row.get(2)?, state: row.get(3)?, content_digest: row.get(4)? }))
    })?;
    let objects = objects.collect::<Result<_, _>>()?;
    let references = pairs(&db, "SELECT referrer, reference FROM reference")?;
    let held = pairs(&db, "SELECT root, object FROM root_object")?;
    let mut statement = db.prepare("SELECT id, kind, name, location FROM root")?;
    let roots = statement.query_map([], |row| {
        let (kind, name): (String, String) = (row.get(1)?, row.get(2)?);
        let location: Vec<u8> = row.get(3)?;
        let location: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(location);
        let of_root = |id: i64| held.iter().filter(move |(root, _)| *root == id).map(|(_, object)| *object).collect();
        Ok((format!("{kind} {name}"), PathBuf::from(location), of_root(row.get(0)?)))
    })?;
    let roots = roots.collect::<Result<_, _>>()?;
    let mut statement = db.prepare("SELECT DISTINCT name FROM lease")?;
    let leases = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Book { objects, references, roots, leases })
}

fn pairs(db: &Connection, query: &str) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut statement = db.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// 12 and 15 for one object.
fn check_object(root: &Path, row: &Row, digests: &mut HashMap<u64, FileDigest>, found: &mut Vec<String>) {
    let folder = root.join("store").join(&row.path);
    let record = fs::read(folder.join(RECORD)).map_err(|error| error.to_string());
    let record = record.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    let record: ObjectRecord = match record {
        Ok(record) => record,
        Err(error) => return found.push(format!("12: the record of {} can't be read: {error}", row.path)),
    };
    let mut entries = Vec::new();
    if let Err(error) = walk(&folder, "", &mut entries, digests, found) {
        return found.push(format!("12: {} can't be read: {error}", row.path));
    }
    let on_disk = Manifest::from(entries);
    if ContentDigest::from_slice(&row.content_digest) != Some(on_disk.content_digest()) {
        let (disk, said): (BTreeSet<_>, BTreeSet<_>) =
            (lines(&on_disk).into_iter().collect(), lines(&record.manifest).into_iter().collect());
        let difference: Vec<_> = disk.symmetric_difference(&said).collect();
        found.push(format!("12: {} does not hold what was registered: {difference:?}", row.path));
    }
    if record.manifest != on_disk {
        found.push(format!("12: the record of {} tells of other entries than are there", row.path));
    }
    if record.path != row.path || record.store_path().map(|path| *path.id()) != row.id {
        found.push(format!("12: the record of {} is another object's", row.path));
    }
}

fn lines(manifest: &Manifest) -> Vec<String> {
    manifest.entries().iter().map(|entry| format!("{entry:?}")).collect()
}

/// The entries below `folder`, without the record; and 15 for each.
fn walk(
    folder: &Path,
    below: &str,
    entries: &mut Vec<Entry>,
    digests: &mut HashMap<u64, FileDigest>,
    found: &mut Vec<String>,
) -> Result<(), Box<dyn std::error::Error>> {
    refuse_writable(folder, found);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("a name is not UTF-8")?;
        let inside = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let metadata = path.symlink_metadata()?;
        if inside == RECORD {
            refuse_writable(&path, found);
            continue;
        }
        let kind = if metadata.is_dir() {
            walk(&path, &inside, entries, digests, found)?;
            EntryKind::Directory
        } else if metadata.is_symlink() {
            EntryKind::Symlink { target: fs::read_link(&path)?.to_str().ok_or("a link is not UTF-8")?.to_owned() }
        } else {
            refuse_writable(&path, found);
            let digest = digest_of(&path, &metadata, digests)?;
            EntryKind::File { digest, size: metadata.len(), executable: metadata.permissions().mode() & 0o111 != 0 }
        };
        entries.push(Entry { path: EntryPath::parse(&inside)?, kind });
    }
    Ok(())
}

/// Each inode is read once.
fn digest_of(
    path: &Path,
    metadata: &fs::Metadata,
    digests: &mut HashMap<u64, FileDigest>,
) -> std::io::Result<FileDigest> {
    if let Some(digest) = digests.get(&metadata.ino()) {
        return Ok(*digest);
    }
    let digest = FileDigest::from_bytes(*blake3::hash(&fs::read(path)?).as_bytes());
    digests.insert(metadata.ino(), digest);
    Ok(digest)
}

fn refuse_writable(path: &Path, found: &mut Vec<String>) {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.permissions().mode() & 0o7222 == 0 => {}
        Ok(metadata) => found.push(format!("15: {} has the mode {:o}", path.display(), metadata.permissions().mode())),
        Err(error) => found.push(format!("15: {} can't be examined: {error}", path.display())),
    }
}

/// 12 and 15 for the contents that objects share.
fn check_shared_files(root: &Path, digests: &mut HashMap<u64, FileDigest>, found: &mut Vec<String>) {
    for shard in listed(&root.join("files")) {
        let prefix = name_of(&shard);
        for path in listed(&shard) {
            refuse_writable(&path, found);
            let name = name_of(&path);
            let rest = name.split(['-', '~']).next().unwrap_or_default();
            let digest = path.symlink_metadata().and_then(|metadata| digest_of(&path, &metadata, digests));
            match digest {
                Ok(digest) if digest.to_hex() == format!("{prefix}{rest}") => {}
                other => found.push(format!("12: the shared content {} is {other:?}", path.display())),
            }
        }
    }
}

/// 13.
fn check_names(root: &Path, book: &Book, swept: bool, found: &mut Vec<String>) {
    // A row that is pending or being deleted is the business of the next start.
    let is_known = |row: &&Row| row.state == VALID || !swept;
    let known: HashSet<&str> = book.objects.values().filter(is_known).map(|row| row.path.as_str()).collect();
    for path in listed(&root.join("store")) {
        let name = name_of(&path);
        if !known.contains(name.as_str()) && !name.starts_with(SWAP_PREFIX) {
            found.push(format!("13: no row speaks of {name}"));
        }
    }
}

fn valid_objects(book: &Book) -> impl Iterator<Item = ObjectId> {
    book.objects.values().filter(|row| row.state == VALID).filter_map(|row| row.id)
}

/// 14: what objects and roots name is valid, and so is what an environment is made of.
fn check_closures(book: &Book, below: &HashSet<ObjectId>, found: &mut Vec<String>) {
    let is_valid = |row: &i64| book.objects.get(row).is_some_and(|row| row.state == VALID);
    for (referrer, reference) in book.references.iter().filter(|(referrer, _)| is_valid(referrer)) {
        if !is_valid(reference) {
            let path = book.objects.get(referrer).map_or("?", |row| row.path.as_str());
            found.push(format!("14: {path} needs an object that is not there"));
        }
    }
    let there: HashSet<ObjectId> = valid_objects(book).chain(below.iter().copied()).collect();
    for (name, location, objects) in &book.roots {
        if !objects.iter().all(is_valid) {
            found.push(format!("14: the root {name} lacks an object"));
        }
        let Ok(text) = fs::read(location.join(ENVIRONMENT_MANIFEST_FILE)) else { continue };
        let Ok(manifest) = serde_json::from_slice::<EnvironmentManifest>(&text) else { continue };
        if location.to_str() != Some(manifest.place.as_str()) {
            continue;
        }
        // The root may name others for a while: collections believe the environment, too.
        for package in manifest.packages.iter().filter(|package| !there.contains(&package.object)) {
            found.push(format!("14: {} of the environment {name} is not there", package.name));
        }
    }
}

/// 16.
fn check_unfinished(root: &Path, book: &Book, found: &mut Vec<String>) {
    for path in listed(&root.join("tmp")) {
        found.push(format!("16: {} is left, and {}", path.display(), if is_locked(&path) { "locked" } else { "dead" }));
    }
    for row in book.objects.values().filter(|row| row.state != VALID) {
        found.push(format!("16: {} is in state {}", row.path, row.state));
    }
    for name in &book.leases {
        if !is_locked(&root.join("locks").join(format!("lease-{name}"))) {
            found.push(format!("16: the lease {name} has no owner"));
        }
    }
}

fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
