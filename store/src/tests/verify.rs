//! Damage of every kind is found, named, and left as it is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;
use crate::{Finding, FindingKind, VerifyDepth, VerifyOptions};

/// The moment of everything in a store.
fn canonical() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800)
}

/// Lets `change` write below `path`, then makes all but the damage canonical again.
pub(super) fn damage(path: &Path, change: impl FnOnce(&Path)) {
    let parent = path.parent().expect("a parent");
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).expect("chmod");
    change(path);
    fs::set_permissions(parent, fs::Permissions::from_mode(0o555)).expect("chmod");
    fs::File::open(parent).expect("open").set_modified(canonical()).expect("touched");
}

fn rewrite(path: &Path, bytes: &[u8]) {
    overwrite(path, bytes, 0o444);
}

/// Writes `bytes` into the inode of `path` so that only they tell: mode and time are those of before.
pub(super) fn overwrite(path: &Path, bytes: &[u8], mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("chmod");
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    fs::File::open(path).expect("open").set_modified(canonical()).expect("touched");
}

fn kinds(findings: &[Finding]) -> Vec<(Option<&str>, FindingKind)> {
    findings.iter().map(|finding| (finding.path.as_deref(), finding.kind)).collect()
}

fn verify(store: &Store, depth: VerifyDepth) -> Vec<Finding> {
    store.verify(&VerifyOptions { depth, ..VerifyOptions::default() }).expect("verified")
}

/// One kind of damage: the file, what is done to it, and what a quick look and a full one find.
pub(super) type Case = (&'static str, fn(&Path), &'static [FindingKind], &'static [FindingKind]);

pub(super) const CODE: &str = "site/pkg/code.py";

pub(super) const CASES: [Case; 9] = [
    (CODE, |path| fs::remove_file(path).expect("removed"), &[FindingKind::MissingFile], &[FindingKind::MissingFile]),
    (CODE, |path| rewrite(path, b"short"), &[FindingKind::WrongSize], &[FindingKind::WrongSize]),
    // Same length, mode and time: only its bytes tell.
    (CODE, |path| rewrite(path, &[b'x'; 100]), &[], &[FindingKind::WrongContent]),
    (
        CODE,
        |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("chmod"),
        &[FindingKind::WrongMode],
        &[FindingKind::WrongMode],
    ),
    (
        CODE,
        |path| fs::File::open(path).expect("open").set_modified(SystemTime::now()).expect("touched"),
        &[FindingKind::WrongTime],
        &[FindingKind::WrongTime],
    ),
    (
        CODE,
        |path| {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("created");
        },
        &[FindingKind::WrongType],
        &[FindingKind::WrongType],
    ),
    (
        "site/pkg/alias.py",
        |path| {
            fs::remove_file(path).expect("removed");
            symlink("elsewhere", path).expect("linked");
        },
        &[FindingKind::WrongContent, FindingKind::WrongTime],
        &[FindingKind::WrongContent, FindingKind::WrongTime],
    ),
    (
        "site/pkg/extra.py",
        |path| fs::write(path, "x").expect("written"),
        &[FindingKind::ExtraFile],
        &[FindingKind::ExtraFile],
    ),
    ("manifest.json", |path| rewrite(path, b"{"), &[FindingKind::UnreadableRecord], &[FindingKind::UnreadableRecord]),
];

/// C9: each kind of damage is found in the object that has it, and in no other.
#[test]
fn each_kind_of_damage_is_found() {
    for (path, change, quick, full) in CASES {
        let test = TestStore::new();
        let lease = test.store.lease().expect("a lease");
        let object = publish(&lease, "a", &[]);
        publish(&lease, "b", &[]);
        damage(&object.path.join(path), change);
        for (depth, expected) in [(VerifyDepth::Quick, quick), (VerifyDepth::Full, full)] {
            let findings = verify(&test.store, depth);
            let found: Vec<FindingKind> = findings.iter().map(|finding| finding.kind).collect();
            assert_eq!(found, expected, "{path} {depth:?} {findings:?}");
            assert!(findings.iter().all(|finding| finding.object == Some(object.id)));
        }
    }
}

#[test]
fn missing_and_unknown_objects_are_found() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let object = publish(&lease, "a", &[]);
    crate::fs_ops::remove_tree(&object.path, None).expect("removed");
    fs::create_dir(test.path("store/stray")).expect("created");
    let findings = verify(&test.store, VerifyDepth::Quick);
    assert_eq!(kinds(&findings), [(None, FindingKind::MissingObject), (None, FindingKind::UnknownObject)]);
    assert_eq!(findings[1].store_path, "stray");
    let one = VerifyOptions { objects: vec![object.id], ..VerifyOptions::default() };
    assert_eq!(test.store.verify(&one).expect("verified").len(), 1, "only what was asked for");
}

/// A record that was exchanged for another one, however consistent in itself, does not pass.
#[test]
fn a_foreign_record_is_found() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let (a, b) = (publish(&lease, "a", &[]), publish(&lease, "b", &[]));
    let foreign = fs::read(b.path.join("manifest.json")).expect("read");
    damage(&a.path.join("manifest.json"), |path| rewrite(path, &foreign));
    assert_eq!(kinds(&verify(&test.store, VerifyDepth::Quick)), [(None, FindingKind::ContentDigestMismatch)]);
    assert!(matches!(test.store.read_manifest(&a), Err(StoreError::Record { .. })));
}

/// An edit through a hard link shows in every object that shares the file.
#[test]
fn an_edit_of_a_shared_file_shows_in_all_objects() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let a = publish(&lease, "a", &[]);
    publish(&lease, "b", &[]);
    damage(&a.path.join("scripts/run"), |path| {
        let length = usize::try_from(fs::metadata(path).expect("metadata").len()).expect("small");
        rewrite(path, &vec![b'!'; length]);
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).expect("chmod");
    });
    assert_eq!(verify(&test.store, VerifyDepth::Quick), []);
    let findings = verify(&test.store, VerifyDepth::Full);
    let expected = (Some("scripts/run"), FindingKind::WrongContent);
    assert_eq!(kinds(&findings), [expected, expected]);
    assert_ne!(findings[0].object, findings[1].object);
}

#[test]
fn findings_are_data() {
    let test = TestStore::new();
    let object = publish(&test.store.lease().expect("a lease"), "a", &[]);
    damage(&object.path.join(CODE), |path| fs::remove_file(path).expect("removed"));
    let findings = serde_json::to_value(verify(&test.store, VerifyDepth::Quick)).expect("serialised");
    let expected = serde_json::json!([{
        "store_path": object.path.file_name().expect("a name").to_string_lossy(),
        "path": CODE,
        "kind": "missing-file",
        "object": object.id.to_string(),
    }]);
    assert_eq!(findings, expected);
}

/// A damaged database is a finding as well, as far as SQLite can read it.
#[test]
fn a_damaged_database_is_found() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let change = "PRAGMA foreign_keys = OFF; INSERT INTO reference VALUES (1, 4711); PRAGMA foreign_keys = ON;";
    test.store.database.read("damage", |db| Ok(db.execute_batch(change)?)).expect("changed");
    assert!(verify(&test.store, VerifyDepth::Full).iter().any(|finding| finding.kind == FindingKind::DatabaseDamaged));
}

fn inspect(store: &Store, max_age_seconds: Option<u64>) -> crate::Inspection {
    let options = VerifyOptions { depth: VerifyDepth::Full, max_age_seconds, ..VerifyOptions::default() };
    store.inspect(&options).expect("inspected")
}

/// Bytes that objects share are read once, whatever the number of their names and of the threads that come across them.
#[test]
fn each_inode_is_read_once() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    for number in 0..20 {
        publish(&lease, &format!("object-{number}"), &[]);
    }
    let shared = content("shared script").len() as u64;
    let own: u64 = (0..20).map(|number| content(&format!("object-{number}")).len() as u64).sum();
    let found = inspect(&test.store, None);
    assert_eq!((found.objects, found.read_objects, found.read_bytes), (20, 20, own + shared));
}

/// What was verified a short while ago is not read again, unless it was published or not verified since.
#[test]
fn by_age_only_what_was_not_verified_since_is_read() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    assert_eq!(inspect(&test.store, Some(100)).read_objects, 1, "never verified");
    publish(&test.store.lease().expect("a lease"), "b", &[]);
    let later = |seconds| {
        let options = OpenOptions { clock: Clock::Fixed(NOW + seconds), ..options(&test.root()) };
        Store::open(options).expect("the store")
    };
    assert_eq!(inspect(&later(50), Some(100)).read_objects, 1, "only the new one");
    assert_eq!(inspect(&later(60), Some(100)).read_objects, 0);
    assert_eq!(inspect(&later(120), Some(100)).read_objects, 1, "the older one again");
    assert_eq!(inspect(&later(120), None).read_objects, 2, "without an age everything");
}

/// What is damaged is not remembered as verified.
#[test]
fn damage_is_not_forgotten_by_age() {
    let test = TestStore::new();
    let object = publish(&test.store.lease().expect("a lease"), "a", &[]);
    damage(&object.path.join(CODE), |path| rewrite(path, &[b'x'; 100]));
    for _ in 0..2 {
        assert_eq!(kinds(&inspect(&test.store, Some(100)).findings), [(Some(CODE), FindingKind::WrongContent)]);
    }
}

/// C16: a content in `files/` that is not what its name says is found, though no object has it.
#[test]
fn a_wrong_shared_content_is_found() {
    let test = TestStore::new();
    let object = publish(&test.store.lease().expect("a lease"), "a", &[]);
    crate::fs_ops::remove_tree(&object.path, None).expect("removed");
    let shared = shared_names(&test);
    assert_eq!(shared.len(), 2);
    rewrite(&shared[0], &[b'x'; 100]);
    let findings = verify(&test.store, VerifyDepth::Full);
    let name = shared[0].strip_prefix(test.root()).expect("below the root").to_str().expect("text").to_owned();
    assert!(
        kinds(&findings).contains(&(Some(name.as_str()), FindingKind::WrongSharedFile)) && findings.len() == 2,
        "{findings:?}"
    );
}
