//! What is collected, and what never is.

use std::fs;
use std::os::unix::fs::symlink;

use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;

use super::*;
use crate::{DeadReason, DeadRootReason, GcError, GcLimits, GcStep, KeptReason, NewRoot, RootKind, VerifyOptions};

fn put(store: &Store, kind: RootKind, location: &Path, objects: &[ObjectId]) {
    let root = NewRoot { kind, name: location.display().to_string(), location: location.to_owned() };
    store.put_root(root, objects).expect("a root");
}

/// Makes what looks like an environment at `location`.
fn make_environment(location: &Path) {
    fs::create_dir_all(location).expect("created");
    fs::write(location.join(ENVIRONMENT_MANIFEST_FILE), "{}").expect("written");
}

fn dead_ids(store: &Store, policy: &GcPolicy) -> Vec<ObjectId> {
    store.gc_plan(policy).expect("a plan").dead.iter().map(|dead| dead.id).collect()
}

/// B1, B11: an environment keeps its objects for as long as it is there and is ours.
#[test]
fn an_environment_is_a_root_while_it_is_there() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let venv = test.home.path().join("project/.venv");
    make_environment(&venv);
    put(&test.store, RootKind::Environment, &venv, &[id("a")]);
    assert_eq!(dead_ids(&test.store, &no_age()), []);

    // Somebody made a plain virtualenv in its place.
    fs::remove_file(venv.join(ENVIRONMENT_MANIFEST_FILE)).expect("removed");
    let plan = test.store.gc_plan(&no_age()).expect("a plan");
    assert_eq!(plan.dead_roots[0].reason, DeadRootReason::NotAnEnvironment);
    assert_eq!(plan.dead[0].reason, DeadReason::RootGone { root: venv.display().to_string() });

    // The whole project is gone, but not its file system.
    fs::remove_dir_all(test.home.path().join("project")).expect("removed");
    let report = test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(report.dead_roots[0].reason, DeadRootReason::Missing);
    assert_eq!(report.deleted.len(), 1);
    assert_eq!(test.store.roots().expect("listed"), []);
}

/// An environment that is about to be moved into place has a root already: young roots keep their objects.
#[test]
fn a_young_root_keeps_its_objects() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let venv = test.home.path().join(".venv");
    put(&test.store, RootKind::Environment, &venv, &[id("a")]);
    let later = Store::open(OpenOptions { clock: Clock::Fixed(NOW + 3599), ..options(&test.root()) }).expect("open");
    let policy = GcPolicy { min_age_seconds: 3600, keep_sources: false, ..GcPolicy::default() };
    let plan = later.gc_plan(&policy).expect("a plan");
    assert_eq!((plan.dead.len(), plan.kept_roots[0].reason), (0, KeptReason::Young));
    let later = Store::open(OpenOptions { clock: Clock::Fixed(NOW + 3600), ..options(&test.root()) }).expect("open");
    assert_eq!(dead_ids(&later, &policy), [id("a")]);
}

/// What lies on a disk that is not mounted now is not gone.
#[test]
fn an_unreachable_root_keeps_its_objects() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let venv = test.home.path().join("mnt/project/.venv");
    put(&test.store, RootKind::Environment, &venv, &[id("a")]);
    // As if `mnt` had been another file system when the root was set.
    test.store
        .database
        .write("move a root", |db| Ok(db.execute("UPDATE root SET device = device + 1", [])?))
        .expect("changed");
    for parents_are_there in [false, true] {
        if parents_are_there {
            fs::create_dir_all(test.home.path().join("mnt/project")).expect("created");
        }
        let report = test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
        assert_eq!(report.deleted, []);
        assert_eq!(report.kept_roots[0].reason, KeptReason::Unreachable);
    }
    assert_eq!(test.store.roots().expect("listed").len(), 1);
}

/// B12: a root that can't be examined stops the collection before anything is deleted, also of other things.
#[test]
fn an_unreadable_root_stops_the_collection() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    publish(&lease, "a", &[]);
    publish(&lease, "garbage", &[]);
    drop(lease);
    let project = test.home.path().join("project");
    make_environment(&project.join(".venv"));
    put(&test.store, RootKind::Environment, &project.join(".venv"), &[id("a")]);
    fs::rename(&project, test.home.path().join("elsewhere")).expect("renamed");
    // A link to itself fails for root, too, where a folder without permissions would not.
    symlink("project", &project).expect("linked");
    for _ in 0..2 {
        let refused = test.store.gc_apply(&no_age(), &mut |_| {});
        let Err(GcError::RootUnreadable { kind, location, .. }) = &refused else { panic!("{refused:?}") };
        assert_eq!((*kind, location), (RootKind::Environment, &project.join(".venv")));
        assert!(matches!(test.store.gc_plan(&no_age()), Err(GcError::RootUnreadable { .. })));
        assert_eq!(count(&test.path("store")), 2);
    }
    assert_eq!(
        test.store.lease().expect("a lease").take(&[id("garbage")]).expect("an answer").iter().flatten().count(),
        1
    );
}

/// A lock file is a root while the file is there; a pin until it is removed.
#[test]
fn lock_files_and_pins_are_roots() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    for name in ["locked", "pinned"] {
        publish(&lease, name, &[]);
    }
    drop(lease);
    let file = test.home.path().join("requirements.lock");
    fs::write(&file, "").expect("written");
    put(&test.store, RootKind::Lock, &file, &[id("locked")]);
    put(&test.store, RootKind::Pin, Path::new(""), &[id("pinned")]);
    assert_eq!(dead_ids(&test.store, &no_age()), []);
    fs::remove_file(&file).expect("removed");
    assert_eq!(dead_ids(&test.store, &no_age()), [id("locked")]);
    // B10: a root that is set twice is one root.
    put(&test.store, RootKind::Pin, Path::new(""), &[id("locked"), id("pinned")]);
    assert_eq!(dead_ids(&test.store, &no_age()), []);
    test.store.remove_root(RootKind::Pin, "").expect("removed");
    assert_eq!(dead_ids(&test.store, &no_age()).len(), 2);
}

/// B7, with real rows: an object that refers to itself, and a ring of two, are collected.
#[test]
fn rings_are_collected() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let references = [("self", vec![id("self")]), ("x", vec![id("y")]), ("y", vec![id("x"), id("self")])];
    let batch = references
        .map(|(name, references)| new_object(write_tree(&test.store, name).expect("a tree"), name, &references));
    lease.publish(batch.into()).expect("published");
    drop(lease);
    assert_eq!(test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted.len(), 3);
    assert_eq!(count(&test.path("store")), 0);
}

/// B8: a chain of 600 referrers (more than one transaction deletes) lives by its first and dies as a whole.
#[test]
fn a_long_chain_lives_and_dies_as_one() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let name = |number: usize| format!("link{number}");
    let batch: Vec<NewObject> = (0..600)
        .map(|number| {
            let tree = test.store.new_tree().expect("a tree");
            tree.write_file(&entry("file"), false, b"x").expect("written");
            let references = if number == 0 { vec![] } else { vec![id(&name(number - 1))] };
            new_object(tree, &name(number), &references)
        })
        .collect();
    lease.publish(batch).expect("published");
    put(&test.store, RootKind::Pin, Path::new(""), &[id(&name(599))]);
    drop(lease);
    assert_eq!(test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected").live_count, 600);
    test.store.remove_root(RootKind::Pin, "").expect("removed");
    let mut steps = Vec::new();
    let report = test.store.gc_apply(&no_age(), &mut |step| steps.push(step)).expect("collected");
    assert_eq!((report.deleted.len(), report.live_count, report.left.len()), (600, 0, 0));
    assert!(matches!(steps[0], GcStep::Marked { objects: 600, .. }));
    let last = steps.last().expect("a last step");
    assert!(
        matches!(last, GcStep::Deleted { done: 600, total: 600, freed_bytes } if *freed_bytes == report.freed_bytes)
    );
    assert_eq!(count(&test.path("store")) + count(&test.path("trash")), 0);
}

/// B9: after a deletion, the same object can be published again and is whole.
#[test]
fn what_was_deleted_can_be_published_again() {
    let test = TestStore::new();
    for _ in 0..3 {
        let lease = test.store.lease().expect("a lease");
        assert_eq!(lease.take(&[id("a")]).expect("an answer"), [None]);
        let object = publish(&lease, "a", &[]);
        assert!(object.path.join("site/pkg/code.py").exists());
        drop(lease);
        assert_eq!(test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted.len(), 1);
        assert!(!object.path.exists());
    }
}

/// B23: the report counts the bytes that really came free: shared contents once, and only with their last name.
#[test]
fn shared_bytes_are_freed_once() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let big = vec![9; 1 << 20];
    let publish_big = |name: &str| {
        let tree = test.store.new_tree().expect("a tree");
        tree.write_file(&entry("big"), false, &big).expect("written");
        lease.publish(vec![new_object(tree, name, &[])]).expect("published").pop().expect("one object")
    };
    for name in ["one", "two", "three"] {
        publish_big(name);
    }
    put(&test.store, RootKind::Pin, Path::new(""), &[id("three")]);
    drop(lease);
    let report = test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(report.deleted.len(), 2);
    assert!(report.freed_bytes < 1 << 20, "{} bytes, but `three` has the content still", report.freed_bytes);
    test.store.remove_root(RootKind::Pin, "").expect("removed");
    let report = test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert!((1 << 20..(1 << 20) + 65_536).contains(&report.freed_bytes), "{} bytes", report.freed_bytes);
}

/// An environment of hard links keeps the bytes: they are not counted as freed, and the environment stays whole.
#[test]
fn hard_links_outside_keep_their_bytes() {
    let test = TestStore::new();
    let object = publish(&test.store.lease().expect("a lease"), "a", &[]);
    let copy = test.home.path().join("copy.py");
    fs::hard_link(object.path.join("site/pkg/code.py"), &copy).expect("linked");
    test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(fs::read(&copy).expect("read"), content("a"));
}

/// What another process took an hour ago is noted, for reports.
#[test]
fn last_use_is_noted_once_an_hour() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let at = |seconds: i64| {
        let store =
            Store::open(OpenOptions { clock: Clock::Fixed(NOW + seconds), ..options(&test.root()) }).expect("open");
        let store = Arc::new(store);
        store.lease().expect("a lease").take(&[id("a")]).expect("an answer");
        store.objects_named(&"a".parse().expect("a name"), None).expect("found")[0].last_used_at - NOW
    };
    assert_eq!([at(10), at(3601), at(3700), at(9000)], [0, 3601, 3601, 9000]);
}

/// Age alone keeps an object, and what it needs.
#[test]
fn young_objects_are_kept() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    publish(&lease, "old", &[]);
    let store = Store::open(OpenOptions { clock: Clock::Fixed(NOW + 5000), ..options(&test.root()) }).expect("open");
    let store = Arc::new(store);
    publish(&store.lease().expect("a lease"), "young", &[id("old")]);
    drop(lease);
    assert_eq!(store.gc_apply(&GcPolicy::default(), &mut |_| {}).expect("collected").deleted, []);
    assert_eq!(store.verify(&VerifyOptions::default()).expect("verified"), []);
}

/// A store with three dead objects of a megabyte each, last used in the order of their names.
fn store_with_old_and_new() -> TestStore {
    let test = TestStore::new();
    for (position, name) in ["old", "middle", "new"].into_iter().enumerate() {
        let clock = Clock::Fixed(NOW + 1000 * i64::try_from(position).expect("few"));
        let store = Arc::new(Store::open(OpenOptions { clock, ..options(&test.root()) }).expect("open"));
        let lease = store.lease().expect("a lease");
        let tree = store.new_tree().expect("a tree");
        tree.write_file(&entry("site/data"), false, &content(name).repeat(1 << 14)[..1 << 20]).expect("written");
        lease.publish(vec![new_object(tree, name, &[])]).expect("published");
    }
    test
}

fn deleted(report: &crate::GcReport) -> Vec<&str> {
    report.deleted.iter().map(|dead| dead.name.as_str()).collect()
}

/// B22: a limit stops the collection, and the least recently used go first.
#[test]
fn limits_stop_a_collection() {
    let collect = |limits: GcLimits| {
        let test = store_with_old_and_new();
        let policy = GcPolicy { limits, ..no_age() };
        let planned = test.store.gc_plan(&policy).expect("a plan");
        let report = test.store.gc_apply(&policy, &mut |_| {}).expect("collected");
        assert_eq!(planned.dead.iter().map(|dead| dead.name.as_str()).collect::<Vec<_>>(), deleted(&report));
        assert_eq!(report.spared_count, 3 - report.deleted.len() as u64);
        (report, test)
    };
    let (report, _test) = collect(GcLimits { max_freed_bytes: Some(1), ..GcLimits::default() });
    assert_eq!(deleted(&report), ["old"]);
    assert!((1 << 20..2 << 20).contains(&report.freed_bytes), "{}", report.freed_bytes);

    let (report, test) = collect(GcLimits { max_size_bytes: Some(0), ..GcLimits::default() });
    assert_eq!(deleted(&report), ["old", "middle", "new"]);
    let empty = test.store.disk_usage().expect("measured");
    let (report, test) = collect(GcLimits { max_size_bytes: Some(empty + (3 << 19)), ..GcLimits::default() });
    assert_eq!(deleted(&report), ["old", "middle"]);
    assert!(test.store.disk_usage().expect("measured") <= empty + (3 << 19));

    let (report, _test) = collect(GcLimits { min_free_bytes: Some(0), ..GcLimits::default() });
    assert_eq!(deleted(&report), Vec::<&str>::new());
    let (report, _test) = collect(GcLimits { min_free_bytes: Some(u64::MAX), ..GcLimits::default() });
    assert_eq!(deleted(&report).len(), 3, "as much as there is");
    let both = GcLimits { min_free_bytes: Some(u64::MAX), max_freed_bytes: Some(1), ..GcLimits::default() };
    assert_eq!(deleted(&collect(both).0), ["old"]);
}

/// B19: what was used recently is spared.
#[test]
fn an_age_of_use_spares_what_is_newer() {
    let test = store_with_old_and_new();
    let later = Store::open(OpenOptions { clock: Clock::Fixed(NOW + 3000), ..options(&test.root()) }).expect("open");
    let policy = GcPolicy { older_than_seconds: Some(2000), ..no_age() };
    let report = later.gc_apply(&policy, &mut |_| {}).expect("collected");
    assert_eq!((deleted(&report), report.spared_count), (vec!["old", "middle"], 1));
}

/// B23: a content with several names counts once, and only when its last name goes.
#[test]
fn disk_usage_counts_a_shared_content_once() {
    let test = TestStore::new();
    let before = test.store.disk_usage().expect("measured");
    let lease = test.store.lease().expect("a lease");
    for name in ["a", "b", "c"] {
        let tree = test.store.new_tree().expect("a tree");
        tree.write_file(&entry("site/data"), false, &[7; 1 << 20]).expect("written");
        lease.publish(vec![new_object(tree, name, &[])]).expect("published");
    }
    let more = test.store.disk_usage().expect("measured") - before;
    assert!((1 << 20..2 << 20).contains(&more), "{more}");
}
