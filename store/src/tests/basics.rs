//! Publishing, finding and deleting on the straight path.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::{NewRoot, RootKind, VerifyDepth, VerifyOptions};

#[test]
fn what_was_published_is_found_whole_and_canonical() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    assert_eq!(lease.take(&[id("a")]).expect("an answer"), [None]);
    let object = publish(&lease, "a", &[]);
    assert_eq!(lease.take(&[id("a"), id("b")]).expect("an answer"), [Some(object.clone()), None]);
    assert_eq!(object.id, id("a"));
    assert_eq!((object.registered_at, object.size_bytes), (NOW, content("a").len() as u64 + 700));
    let manifest = test.store.read_manifest(&object).expect("a manifest");
    let paths: Vec<_> = manifest.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(
        paths,
        ["scripts", "scripts/run", "site", "site/pkg", "site/pkg/__init__.py", "site/pkg/alias.py", "site/pkg/code.py"]
    );
    for (path, mode) in [("", 0o555), ("site/pkg", 0o555), ("site/pkg/code.py", 0o444), ("scripts/run", 0o555)] {
        let metadata = std::fs::symlink_metadata(object.path.join(path)).expect("metadata");
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.mtime()), (mode, 315_532_800), "{path}");
    }
    let options = VerifyOptions { depth: VerifyDepth::Full, ..VerifyOptions::default() };
    assert_eq!(test.store.verify(&options).expect("verified"), []);
    assert_eq!(count(&test.path("tmp")), 0);
    assert_eq!(count(&test.path("trash")), 0);
}

#[test]
fn publishing_again_returns_what_is_there() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let first = publish(&lease, "a", &[]);
    let other = test.again();
    let second = publish(&other.lease().expect("a lease"), "a", &[]);
    assert_eq!(first, second);
    assert_eq!(count(&test.path("store")), 1);
    assert_eq!(count(&test.path("tmp")), 0);
}

#[test]
fn objects_are_found_by_name_prefix_source_and_referrer() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let a = publish(&lease, "a", &[]);
    let b = publish(&lease, "b", &[a.id]);
    let root = NewRoot { kind: RootKind::Pin, name: "keep".to_owned(), location: PathBuf::new() };
    test.store.put_root(root, &[a.id]).expect("a root");
    assert_eq!(test.store.objects_named(&a.name, None).expect("found"), std::slice::from_ref(&a));
    assert_eq!(test.store.objects_named(&a.name, Some(&"2".parse().expect("a version"))).expect("none"), []);
    assert_eq!(test.store.object_by_prefix(&a.id.to_string()[..8]).expect("found"), std::slice::from_ref(&a));
    let referrers = test.store.referrers(&a.id).expect("found");
    assert_eq!(referrers.objects, [b]);
    assert_eq!(referrers.roots.iter().map(|root| root.name.as_str()).collect::<Vec<_>>(), ["keep"]);
    assert_eq!(lease.take_source(&sha("a")).expect("an answer"), None, "a wheel's tree is not its source");
}

#[test]
fn memos_and_logs_come_back() {
    let test = TestStore::new();
    test.store.memo_put("python", b"key", b"one").expect("written");
    test.store.memo_put("python", b"key", b"two").expect("written");
    assert_eq!(test.again().memo_get("python", b"key").expect("read").as_deref(), Some(b"two".as_slice()));
    assert_eq!(test.store.memo_get("other", b"key").expect("read"), None);

    let (name, version) = ("lxml".parse().expect("a name"), "5.3.0".parse().expect("a version"));
    let mut log = test.store.new_build_log(&name, &version).expect("a log");
    std::io::Write::write_all(&mut log, b"gcc: fatal error\n").expect("written");
    let record = crate::BuildRecord {
        name: name.clone(),
        version,
        recipe: None,
        status: "failed".to_owned(),
        reason: "exit status 1".to_owned(),
        log: String::new(),
        started_at: NOW,
        duration_ms: 12,
    };
    let record = log.finish(record).expect("registered");
    assert_eq!(test.store.build_logs(&name, None).expect("read"), std::slice::from_ref(&record));
    let mut text = String::new();
    test.store.read_build_log(&record).expect("opened").read_to_string(&mut text).expect("read");
    assert_eq!(text, "gcc: fatal error\n");
    let foreign = crate::BuildRecord { log: "../db/store.sqlite".to_owned(), ..record };
    assert!(matches!(test.store.read_build_log(&foreign), Err(StoreError::ForeignName(_))));
}

#[test]
fn an_unfinished_log_leaves_nothing() {
    let test = TestStore::new();
    let log = test.store.new_build_log(&"a".parse().expect("a name"), &"1".parse().expect("a version"));
    drop(log.expect("a log"));
    assert_eq!(count(&test.path("logs")), 0);
}

/// B1: what is rooted survives, and goes with its closure once the root is removed.
#[test]
fn a_root_keeps_its_closure() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let dependency = publish(&lease, "dependency", &[]);
    let object = publish(&lease, "object", &[dependency.id]);
    publish(&lease, "garbage", &[]);
    let root = NewRoot { kind: RootKind::Pin, name: "keep".to_owned(), location: PathBuf::new() };
    test.store.put_root(root, &[object.id]).expect("a root");
    drop(lease);

    let plan = test.store.gc_plan(&no_age()).expect("a plan");
    assert_eq!(plan.dead.iter().map(|dead| dead.id).collect::<Vec<_>>(), [id("garbage")]);
    assert_eq!(plan.live_count, 2);
    let report = test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(report.deleted, plan.dead);
    assert!(report.freed_bytes > 0);
    assert!(object.path.exists() && dependency.path.exists());
    assert_eq!(count(&test.path("store")), 2);

    assert!(test.store.remove_root(RootKind::Pin, "keep").expect("removed"));
    assert!(!test.store.remove_root(RootKind::Pin, "keep").expect("gone already"));
    let report = test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(report.deleted.len(), 2);
    for folder in ["store", "trash", "tmp"] {
        assert_eq!(count(&test.path(folder)), 0, "{folder}");
    }
    let shared: usize =
        std::fs::read_dir(test.path("files")).expect("list").map(|shard| count(&shard.expect("shard").path())).sum();
    assert_eq!(shared, 0, "contents that nobody has any more stay in files/");
}

#[test]
fn a_root_on_what_is_not_there_is_refused() {
    let test = TestStore::new();
    let root = NewRoot { kind: RootKind::Pin, name: "keep".to_owned(), location: PathBuf::new() };
    let refused = test.store.put_root(root, &[id("a")]);
    assert!(matches!(refused, Err(StoreError::MissingObject(missing)) if missing == id("a")));
    assert_eq!(test.store.roots().expect("listed"), []);
}
