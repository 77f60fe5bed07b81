//! A database that is lost or damaged comes back from the objects and the written-down roots.

use std::fs;

use super::child::Helper;
use super::verify::{damage, overwrite};
use super::*;
use crate::open::OpenError;
use crate::{FindingKind, Interrupt, NewRoot, RebuildReport, Root, RootKind, VerifyDepth, VerifyOptions};

const DATABASE: &str = "db/store.sqlite";

fn rebuild(test: &TestStore) -> RebuildReport {
    Store::rebuild_database(options(&test.root()), VerifyDepth::Full, &Interrupt::default()).expect("rebuilt")
}

fn remove_database(test: &TestStore) {
    for ending in ["", "-wal", "-shm"] {
        drop(fs::remove_file(test.path(&format!("{DATABASE}{ending}"))));
    }
}

fn pin(store: &Store, name: &str, objects: &[ObjectId]) {
    let root = NewRoot { kind: RootKind::Pin, name: name.to_owned(), location: PathBuf::new() };
    store.put_root(root, objects).expect("a root");
}

/// Everything that is looked up.
fn known(store: &Store, names: &[&str]) -> Vec<String> {
    let lease = store_lease(store);
    let mut seen = Vec::new();
    for name in names {
        let Some(object) = lease.take(&[id(name)]).expect("an answer").remove(0) else { continue };
        let referrers = store.referrers(&object.id).expect("referrers");
        let objects: Vec<_> = referrers.objects.iter().map(|object| object.id).collect();
        let Object { path, version, provenance, content_digest, size_bytes, link_plan, .. } = object;
        seen.push(format!(
            "{path:?} {version} {provenance:?} {content_digest} {size_bytes} {link_plan:?} {:?} {objects:?}",
            referrers.roots
        ));
    }
    seen
}

fn store_lease(store: &Store) -> Lease {
    let again = Store::open(options(store.root())).expect("the store");
    Arc::new(again).lease().expect("a lease")
}

fn assert_whole(store: &Store) {
    let options = VerifyOptions { depth: VerifyDepth::Full, ..VerifyOptions::default() };
    assert_eq!(store.verify(&options).expect("verified"), []);
}

/// Three objects in a chain that a pin keeps, and one that nothing keeps.
fn filled() -> TestStore {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    publish(&lease, "a", &[]);
    publish(&lease, "b", &[id("a")]);
    publish(&lease, "c", &[id("b")]);
    publish(&lease, "dead", &[]);
    pin(&test.store, "kept", &[id("c")]);
    drop(lease);
    test
}

const ALL: [&str; 4] = ["a", "b", "c", "dead"];

/// The database gone, or full of rubbish, or cut: opening says so and makes no empty one; afterwards all that was known is
/// known again, and a collection keeps what it must.
#[test]
fn a_database_comes_back_from_the_objects() {
    let rubbish: [Option<&[u8]>; 3] = [None, Some(b""), Some(&[b'?'; 9000])];
    for bytes in rubbish {
        let test = filled();
        let before = known(&test.store, &ALL);
        remove_database(&test);
        if let Some(bytes) = bytes {
            fs::write(test.path(DATABASE), bytes).expect("written");
        }
        match Store::open(options(&test.root())) {
            Err(OpenError::DatabaseLost { .. }) => assert!(bytes.is_none_or(<[u8]>::is_empty)),
            Err(OpenError::Store(StoreError::DatabaseDamaged { .. })) => assert!(bytes.is_some()),
            other => panic!("{other:?}"),
        }
        let report = rebuild(&test);
        assert_eq!((report.objects, report.roots, report.findings.len()), (4, 1, 0), "{report:?}");
        assert_eq!(report.kept.as_ref().map(|kept| fs::read(kept).expect("kept")).as_deref(), bytes);
        let store = test.again();
        assert_eq!(known(&store, &ALL), before);
        assert_whole(&store);
        let gone = store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted;
        assert_eq!(gone.iter().map(|dead| dead.id).collect::<Vec<_>>(), [id("dead")]);
        assert_whole(&store);
    }
}

/// Damage behind the first page shows when it is come across, and is named as what it is.
#[test]
fn damage_inside_the_database_is_named() {
    let test = filled();
    test.store.database.checkpoint();
    let path = test.path(DATABASE);
    let mut bytes = fs::read(&path).expect("read");
    bytes[4096..].fill(0xA5);
    remove_database(&test);
    fs::write(&path, bytes).expect("written");
    let seen = Store::open(options(&test.root())).map(|store| store.roots());
    let damaged = match &seen {
        Err(OpenError::Store(error)) | Ok(Err(error)) => matches!(error, StoreError::DatabaseDamaged { .. }),
        _ => false,
    };
    assert!(damaged, "{seen:?}");
    assert_eq!(rebuild(&test).objects, 4);
    assert_whole(&test.again());
}

/// C12: an object whose content, record or name is not what it should be is not registered, nor is what needs it.
#[test]
fn what_is_wrong_is_not_registered() {
    let test = filled();
    let lease = store_lease(&test.store);
    let a = lease.take(&[id("a")]).expect("an answer").remove(0).expect("there");
    let dead = lease.take(&[id("dead")]).expect("an answer").remove(0).expect("there");
    drop(lease);
    overwrite(&a.path.join("site/pkg/code.py"), &[b'x'; 100], 0o444);
    // The whole folder of one package under another's name.
    let foreign = fs::read(dead.path.join("manifest.json")).expect("read");
    let text = String::from_utf8(foreign).expect("text").replace("dead", "else");
    damage(&dead.path.join("manifest.json"), |path| overwrite(path, text.as_bytes(), 0o444));
    remove_database(&test);
    let report = rebuild(&test);
    assert_eq!(report.objects, 0, "{report:?}");
    let mut kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort();
    let expected = [
        FindingKind::WrongContent,
        FindingKind::UnreadableRecord,
        FindingKind::MissingReference,
        FindingKind::MissingReference,
    ];
    assert_eq!(kinds, expected);
    let [incomplete] = report.incomplete_roots.as_slice() else { panic!("{report:?}") };
    assert_eq!((incomplete.root.name.as_str(), incomplete.missing.as_slice()), ("kept", &[id("c")][..]));
}

/// An environment says itself what it is made of, also where the written-down root is from before.
#[test]
fn environments_say_what_they_are_made_of() {
    let test = filled();
    let venv = test.home.path().join("venv");
    fs::create_dir(&venv).expect("created");
    let root = NewRoot { kind: RootKind::Environment, name: "venv".to_owned(), location: venv.clone() };
    test.store.put_root(root, &[id("a")]).expect("a root");
    let package = |name: &str| serde_json::json!({ "name": name, "version": "1.0", "object": id(name), "dist_info": "x.dist-info" });
    let manifest = serde_json::json!({
        "format": 1, "request": "00".repeat(32), "store": test.root(), "python": "/python", "python_version": "3.11.7",
        "link_mode": "symlink", "packages": [package("dead")], "entries": [],
    });
    fs::write(venv.join("pip-accel.json"), manifest.to_string()).expect("written");
    remove_database(&test);
    assert_eq!(rebuild(&test).roots, 2);
    let store = test.again();
    assert_eq!(store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted, []);
}

/// What the old database still tells is taken over: roots from before they were written down, and remembered answers.
#[test]
fn what_the_old_database_tells_is_taken_over() {
    let test = filled();
    test.store.memo_put("test", b"key", b"value").expect("remembered");
    fs::remove_dir_all(test.path("roots")).expect("removed");
    let report = rebuild(&test);
    assert_eq!((report.objects, report.roots), (4, 1));
    assert_eq!(test.again().memo_get("test", b"key").expect("an answer").as_deref(), Some(&b"value"[..]));
}

/// The roots in `roots/` are those of the database, and a collection writes down what is missing there.
#[test]
fn roots_are_written_down() {
    let test = filled();
    let names = || {
        let (roots, unreadable) = crate::registry::read_all(test.store.layout()).expect("read");
        assert_eq!(unreadable, Vec::<PathBuf>::new());
        roots
    };
    let of_database: Vec<(Root, Vec<ObjectId>)> =
        test.store.roots().expect("roots").into_iter().map(|root| (root, vec![id("c")])).collect();
    assert_eq!(names(), of_database);
    fs::remove_dir_all(test.path("roots")).expect("removed");
    test.store.gc_apply(&GcPolicy::default(), &mut |_| {}).expect("collected");
    assert_eq!(names(), of_database);
    let missing = test.home.path().join("gone");
    let root = NewRoot { kind: RootKind::Environment, name: "gone".to_owned(), location: missing };
    test.store.put_root(root, &[id("dead")]).expect("a root");
    assert_eq!(names().len(), 2);
    test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(names().len(), 1, "a dead root goes");
    test.store.remove_root(RootKind::Pin, "kept").expect("removed");
    assert_eq!(names(), []);
}

/// Names and locations need not be text.
#[test]
fn any_location_is_written_down() {
    use std::os::unix::ffi::OsStrExt;
    let test = filled();
    let location = test.home.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9 \"x\""));
    let root = NewRoot { kind: RootKind::Lock, name: "a/b \u{1F40D}".to_owned(), location: location.clone() };
    test.store.put_root(root, &[id("a")]).expect("a root");
    let before = test.store.roots().expect("roots");
    remove_database(&test);
    rebuild(&test);
    assert_eq!(test.again().roots().expect("roots"), before);
}

/// Interrupted while the objects are looked at, it leaves the old database, and nothing beside it.
#[test]
fn an_interrupted_rebuild_leaves_the_old_database() {
    let test = filled();
    let before = known(&test.store, &ALL);
    let interrupt = Interrupt::default();
    interrupt.set();
    let refused = Store::rebuild_database(options(&test.root()), VerifyDepth::Full, &interrupt);
    assert!(matches!(refused, Err(OpenError::Store(StoreError::Interrupted))), "{refused:?}");
    let names = fs::read_dir(test.path("db")).expect("list").filter_map(Result::ok).map(|entry| entry.file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains(".new-")));
    assert_eq!(known(&test.again(), &ALL), before);
}

/// While a process works with objects, the database stays.
#[test]
fn a_database_in_use_is_not_made_anew() {
    let test = filled();
    let mut user = Helper::start("lease a", &test.root());
    user.wait_for("taken");
    let refused = Store::rebuild_database(options(&test.root()), VerifyDepth::Quick, &Interrupt::default());
    assert!(matches!(refused, Err(OpenError::Store(StoreError::Busy { .. }))), "{refused:?}");
    user.finish();
    assert_eq!(rebuild(&test).objects, 4);
}

/// Killed at any step: the old database or the new one is there, and doing it again leaves no residue.
#[test]
fn a_killed_rebuild_can_be_repeated() {
    for checkpoint in ["rebuild-filled", "rebuild-kept", "rebuild-done"] {
        let test = filled();
        let before = known(&test.store, &ALL);
        remove_database(&test);
        fs::write(test.path(DATABASE), [b'?'; 5000]).expect("written");
        let mut helper = Helper::start(&format!("park-rebuild {checkpoint}"), &test.root());
        helper.wait_for(&format!("checkpoint {checkpoint}"));
        helper.kill();
        assert_eq!(Store::open(options(&test.root())).is_ok(), checkpoint == "rebuild-done", "{checkpoint}");
        rebuild(&test);
        assert_eq!(known(&test.again(), &ALL), before, "{checkpoint}");
        let left = fs::read_dir(test.path("db")).expect("list").filter_map(Result::ok);
        assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(".new-")));
    }
}

/// Killed while the new database takes the place of one whose last writes are in its log: there is no moment at which the
/// old one is opened without these, and its roots are known again even where they are written down nowhere else.
#[test]
fn a_killed_rebuild_loses_no_root_of_a_whole_database() {
    for checkpoint in ["rebuild-kept", "rebuild-database-removed", "rebuild-log-removed", "rebuild-done"] {
        let test = filled();
        let before = test.store.roots().expect("roots");
        fs::remove_dir_all(test.path("roots")).expect("removed");
        fs::create_dir(test.path("roots")).expect("made");
        let mut helper = Helper::start(&format!("park-rebuild {checkpoint}"), &test.root());
        helper.wait_for(&format!("checkpoint {checkpoint}"));
        helper.kill();
        match Store::open(options(&test.root())) {
            Ok(store) => assert_eq!(store.roots().expect("roots"), before, "{checkpoint}"),
            Err(error) => assert!(matches!(error, OpenError::DatabaseLost { .. }), "{checkpoint}: {error:?}"),
        }
        assert_eq!(rebuild(&test).roots, 1, "{checkpoint}");
        assert_eq!(test.again().roots().expect("roots"), before, "{checkpoint}");
    }
}

/// An object that can't be read when the database is made anew is named with the root that lacks it; once it can be, a
/// repair registers it, and the root keeps it as before.
#[test]
fn an_object_that_could_not_be_read_comes_back_to_its_root() {
    let test = filled();
    let record =
        store_lease(&test.store).take(&[id("c")]).expect("an answer").remove(0).expect("c").path.join("manifest.json");
    let aside = test.home.path().join("aside");
    let folder = record.parent().expect("a folder").to_owned();
    let change = |from: &Path, to: &Path| {
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("writable");
        fs::rename(from, to).expect("moved");
        crate::fs_ops::canonicalise_folder(&folder).expect("as before");
    };
    change(&record, &aside);
    let report = rebuild(&test);
    assert_eq!((report.objects, report.incomplete_roots.len()), (3, 1), "{report:?}");
    change(&aside, &record);
    let store = test.again();
    // Nobody knows yet what it needs.
    let before = store.objects_named(&"a".parse().expect("a name"), None).expect("objects");
    let refused = store.gc_apply(&no_age(), &mut |_| {});
    assert!(matches!(refused, Err(crate::GcError::Incomplete { .. })), "{refused:?}");
    assert!(store.gc_plan(&no_age()).is_err());
    assert_eq!(store.objects_named(&"a".parse().expect("a name"), None).expect("objects"), before);
    let (repaired, _) = super::repair::repair_with(&store, "");
    assert!(repaired.is_whole(), "{repaired:?}");
    let gone = store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted;
    assert_eq!(gone.iter().map(|dead| dead.id).collect::<Vec<_>>(), [id("dead")]);
    assert_whole(&store);
}
