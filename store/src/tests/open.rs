//! Opening stores that are unusual, foreign, or not ours to write.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::child::{Helper, arguments, say};
use super::*;
use crate::db::WAL_BYTES_LEFT;
use crate::{OpenError, VerifyOptions};

fn read_only(root: &Path) -> OpenOptions {
    OpenOptions { access: Access::ReadOnly, ..options(root) }
}

/// A16: what a newer program wrote is refused, with both versions named.
#[test]
fn a_newer_store_is_refused() {
    let test = TestStore::new();
    std::fs::write(test.path("format"), "pip-accel store 99\n").expect("written");
    let refused = Store::open(options(&test.root()));
    assert!(matches!(refused, Err(OpenError::NewerFormat { found: 99, supported: 1, .. })), "{refused:?}");
    std::fs::write(test.path("format"), "pip-accel store 1\n").expect("written");

    let database = rusqlite::Connection::open(test.path("db/store.sqlite")).expect("the database");
    database.execute_batch("PRAGMA user_version = 77").expect("set");
    let refused = Store::open(options(&test.root()));
    assert!(matches!(refused, Err(OpenError::NewerFormat { found: 77, supported: 3, .. })), "{refused:?}");
    let message = refused.expect_err("refused").to_string();
    assert!(message.contains("77") && message.contains(&test.root().display().to_string()), "{message}");
}

/// A16: a store of an older program is brought to the present format by whoever opens it first, also to look only.
#[test]
fn an_older_store_is_migrated_by_who_looks() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let database = rusqlite::Connection::open(test.path("db/store.sqlite")).expect("the database");
    let back = "ALTER TABLE object DROP COLUMN verified_at; PRAGMA user_version = 1;";
    database.execute_batch(back).expect("as it was");
    let store = Store::open(read_only(&test.root())).expect("the store");
    let options = crate::VerifyOptions { depth: crate::VerifyDepth::Full, ..crate::VerifyOptions::default() };
    assert_eq!(store.verify(&options).expect("verified"), []);
}

#[test]
fn what_is_no_store_is_refused() {
    let test = TestStore::new();
    for text in ["", "something else", "pip-accel store one"] {
        std::fs::write(test.path("format"), text).expect("written");
        let refused = Store::open(options(&test.root()));
        assert!(matches!(refused, Err(OpenError::ForeignFormat { .. })), "{text}: {refused:?}");
    }
    let missing = Store::open(read_only(&test.home.path().join("nowhere")));
    assert!(matches!(missing, Err(OpenError::Missing { .. })), "{missing:?}");
    assert!(!test.home.path().join("nowhere").exists(), "reading creates nothing");
    let file = test.home.path().join("file");
    std::fs::write(&file, "x").expect("written");
    assert!(Store::open(options(&file)).is_err());
}

/// A17: a store's path may hold what has a meaning in URIs, shells and patterns.
#[test]
fn the_root_may_have_any_name() {
    let home = tempfile::tempdir().expect("a folder");
    for name in ["a?b", "a#b", "a b", "a%20b", "ünï", "a'b\"c", "?immutable=1", "a&mode=ro"] {
        let root = home.path().join(name);
        let store = Arc::new(Store::open(options(&root)).expect("a store"));
        let object = publish(&store.lease().expect("a lease"), "a", &[]);
        assert!(object.path.starts_with(&root));
        let reader = Arc::new(Store::open(read_only(&root)).expect("the store"));
        assert_eq!(reader.lease().expect("a lease").take(&[id("a")]).expect("an answer"), [Some(object)], "{name}");
        let names: Vec<_> = std::fs::read_dir(home.path()).expect("list").collect();
        assert_eq!(names.len(), 1, "{name}: something was written beside the store");
        crate::fs_ops::remove_tree(&root, None).expect("removed");
    }
}

/// A14, as the user who may write: a store that was opened for reading answers, and refuses the rest in words.
#[test]
fn a_store_opened_for_reading_only_answers() {
    let test = TestStore::new();
    let object = publish(&test.store.lease().expect("a lease"), "a", &[]);
    let reader = Arc::new(Store::open(read_only(&test.root())).expect("the store"));
    check_reader(&reader, &object.content_digest.to_string());
}

fn check_reader(reader: &Arc<Store>, content_digest: &str) {
    let lease = reader.lease().expect("a lease");
    let object = lease.take(&[id("a")]).expect("an answer").pop().flatten().expect("the object");
    assert_eq!(object.content_digest.to_string(), content_digest);
    assert_eq!(reader.objects_named(&object.name, None).expect("found"), std::slice::from_ref(&object));
    assert!(!reader.read_manifest(&object).expect("a manifest").entries().is_empty());
    assert_eq!(reader.verify(&VerifyOptions::default()).expect("verified"), []);
    assert!(reader.gc_plan(&no_age()).is_ok());
    reader.memo_put("a", b"b", b"c").expect("silently skipped");
    assert_eq!(reader.memo_get("a", b"b").expect("an answer"), None);
    let refused = reader.new_tree().expect_err("a refusal");
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused:?}");
    let message = refused.to_string();
    assert!(message.contains("read-only") && message.contains("add an object"), "{message}");
    assert!(reader.gc_apply(&no_age(), &mut |_| {}).is_err());
    assert!(reader.lock("a", &mut |_| {}).is_err());
}

/// Each process reads the write-ahead log when it opens the store: a long one does not outlive the process that wrote it.
#[test]
fn a_long_log_is_copied_at_the_end_and_a_short_one_is_left() {
    let test = TestStore::new();
    let log = || std::fs::metadata(test.path("db/store.sqlite-wal")).expect("a log").len();
    let other = test.again();
    other.memo_put("test", b"key", b"value").expect("written");
    drop(other);
    assert!(log() > 0, "copying a short log costs two syncs");
    let other = test.again();
    let long = vec![7; usize::try_from(WAL_BYTES_LEFT).expect("small") + 1];
    other.memo_put("test", b"key", &long).expect("written");
    drop(other);
    assert_eq!(log(), 0);
    assert_eq!(test.store.memo_get("test", b"key").expect("read"), Some(long));
}

/// A14, A15: the same for a user who has no right to write, with an empty write-ahead log and with a full one.
#[test]
fn a_store_without_write_permission_answers() {
    let test = TestStore::new();
    let object = publish(&test.store.lease().expect("a lease"), "a", &[]);
    // As root, permissions say nothing: the child becomes nobody. It must reach the store and this binary.
    let root_user = nix::unistd::geteuid().is_root();
    std::fs::set_permissions(test.home.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let exe = test.home.path().join("child");
    std::fs::copy(std::env::current_exe().expect("this binary"), &exe).expect("copied");
    for log in ["full", "empty"] {
        if log == "empty" {
            test.store.database.checkpoint();
        }
        let wal = std::fs::metadata(test.path("db/store.sqlite-wal")).expect("a log").len();
        assert_eq!(wal == 0, log == "empty");
        chmod_below(&test.root(), |mode| mode & !0o222);
        let mut command = Command::new(&exe);
        command.args(arguments()).current_dir("/");
        if root_user {
            command.uid(65_534).gid(65_534);
        }
        let helper = Helper::spawn(command, &format!("read-only {}", object.content_digest), &test.root());
        let said = helper.finish();
        chmod_below(&test.root(), |mode| mode | 0o200);
        assert!(said.contains("answered"), "{said}");
    }
}

/// The other side of [`a_store_without_write_permission_answers`].
pub(super) fn without_rights(root: &Path) {
    let refused = Store::open(options(root)).expect_err("no right to write");
    assert!(matches!(refused, OpenError::NotWritable { .. }), "{refused:?}");
    let reader = Arc::new(Store::open(read_only(root)).expect("the store"));
    let digest = reader.objects_named(&"a".parse().expect("a name"), None).expect("found")[0].content_digest;
    check_reader(&reader, &digest.to_string());
    say("answered");
}

/// Changes the modes of the store's own folders and files, not of the objects.
fn chmod_below(root: &Path, change: impl Fn(u32) -> u32 + Copy) {
    for folder in ["db", "locks", "tmp", "trash", "store", "files", "logs"] {
        let folder = root.join(folder);
        for entry in std::fs::read_dir(&folder).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_file() {
                let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(change(mode))).expect("chmod");
            }
        }
        let mode = std::fs::metadata(&folder).expect("metadata").permissions().mode();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(change(mode))).expect("chmod");
    }
    let mode = std::fs::metadata(root).expect("metadata").permissions().mode();
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(change(mode))).expect("chmod");
}

/// Six processes create one store at the same moment.
#[test]
fn several_processes_create_one_store() {
    let test = TestStore::new();
    let root = test.home.path().join("store").join("another");
    let helpers: Vec<Helper> = (0..4).map(|_| Helper::start("publish a", &root)).collect();
    let said: Vec<String> = helpers.into_iter().map(Helper::finish).collect();
    assert!(said.iter().all(|said| said.contains("published")), "{said:?}");
    assert_eq!(count(&root.join("store")), 1);
}

#[test]
fn the_disk_is_measured() {
    let test = TestStore::new();
    let space = test.store.disk().expect("measured");
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
}
