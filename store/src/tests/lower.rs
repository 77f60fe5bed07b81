//! Stores that are read beside the own one: what is there is used in place, claimed and kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;
use pip_accel_schema::store_path::ObjectId;

use super::{NOW, TestStore, count, id, no_age, options, publish};
use crate::lower::Gate;
use crate::{Clock, GcPolicy, LowerError, NewRoot, OpenError, RootKind, Store, StoreError};

/// A store with the objects `names`, which nothing keeps.
fn lower_store(names: &[&str]) -> TestStore {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    names.iter().for_each(|name| drop(publish(&lease, name, &[])));
    test
}

/// The store of `own`, with `lower` beside it.
fn above(own: &TestStore, lower: &TestStore) -> Arc<Store> {
    let mut store = Store::open(options(&own.root())).expect("the own store");
    assert!(store.add_lower(&lower.root()).expect("a store of one's own"));
    Arc::new(store)
}

fn environment(own: &TestStore, name: &str) -> NewRoot {
    let location = own.home.path().join(name);
    fs::create_dir_all(&location).expect("a folder");
    fs::write(location.join(ENVIRONMENT_MANIFEST_FILE), "{}").expect("a manifest");
    NewRoot { kind: RootKind::Environment, name: name.to_owned(), location }
}

fn collect(test: &TestStore) -> Vec<ObjectId> {
    let report = test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    let mut ids: Vec<ObjectId> = report.deleted.iter().map(|dead| dead.id).collect();
    ids.sort_unstable();
    ids
}

fn said(lower: &TestStore) -> Vec<PathBuf> {
    fs::read_dir(lower.path("users")).expect("list").map(|entry| entry.expect("an entry").path()).collect()
}

/// B3: a lease reaches into the lower store, for as long as it lives.
#[test]
fn a_lease_keeps_what_it_took_below() {
    let (own, lower) = (TestStore::new(), lower_store(&["a", "b"]));
    let store = above(&own, &lower);
    let lease = store.lease().expect("a lease");
    let taken = lease.take(&[id("absent"), id("a")]).expect("taken");
    assert!(taken[0].is_none());
    let object = taken[1].as_ref().expect("in the lower store");
    assert!(object.path.starts_with(lower.root()) && store.lower_of(object).is_some());
    assert_eq!(collect(&lower), [id("b")]);
    drop(lease);
    assert_eq!(said(&lower), Vec::<PathBuf>::new());
    assert_eq!(collect(&lower), [id("a")]);
    assert_eq!(count(&own.path("store")), 0);
}

/// B17: what a process that was killed said is forgotten.
#[test]
fn a_dead_process_keeps_nothing_below() {
    let (own, lower) = (TestStore::new(), lower_store(&["a"]));
    let name = format!("{}-lease-p-1", nix::unistd::Uid::effective());
    fs::write(lower.path("users").join(name), format!("{}\n", id("a"))).expect("written");
    assert_eq!(collect(&lower), [id("a")]);
    assert_eq!(said(&lower), Vec::<PathBuf>::new());
    drop(own);
}

/// B20: a root keeps what it needs of either store, as long as it is there.
#[test]
fn a_root_keeps_what_it_needs_below() {
    let (own, lower) = (TestStore::new(), lower_store(&["a", "b"]));
    let store = above(&own, &lower);
    let lease = store.lease().expect("a lease");
    publish(&lease, "c", &[]);
    drop(lease);
    let root = environment(&own, "environment");
    let place = root.location.clone();
    store.put_root(root, &[id("a"), id("c")]).expect("set");
    let holds = |ids: &[ObjectId]| store.root_holds(RootKind::Environment, "environment", ids).expect("looked up");
    assert!(holds(&[id("a"), id("c")]) && !holds(&[id("c")]) && !holds(&[id("a"), id("b"), id("c")]));
    assert_eq!(collect(&lower), [id("b")]);
    assert_eq!(collect(&own), []);
    fs::remove_dir_all(place).expect("removed");
    assert_eq!(collect(&lower), [id("a")]);
    assert_eq!(said(&lower), Vec::<PathBuf>::new());
}

/// B9: a young root whose environment is not there yet keeps its objects.
#[test]
fn a_young_root_keeps_what_it_needs_below() {
    let (own, lower) = (TestStore::new(), lower_store(&["a"]));
    let root = NewRoot { location: own.home.path().join("not-yet"), ..environment(&own, "environment") };
    above(&own, &lower).put_root(root, &[id("a")]).expect("set");
    let policy = GcPolicy { min_age_seconds: 10, keep_sources: false, ..GcPolicy::default() };
    let collect = |now| {
        let options = crate::OpenOptions { clock: Clock::Fixed(now), ..options(&lower.root()) };
        let store = Store::open(options).expect("the store");
        store.gc_apply(&policy, &mut |_| {}).expect("collected").deleted.len()
    };
    assert_eq!((collect(NOW + 5), collect(NOW + 20)), (0, 1));
}

/// A root that can't be set changes nothing, and a root keeps an object in both stores when an environment may link to
/// either.
#[test]
fn roots_change_as_a_whole_and_forget_no_place() {
    let (own, lower) = (TestStore::new(), lower_store(&["a"]));
    let store = above(&own, &lower);
    store.put_root(environment(&own, "environment"), &[id("a")]).expect("set");
    let refused = store.put_root(environment(&own, "environment"), &[id("absent")]);
    assert!(matches!(refused, Err(StoreError::MissingObject(missing)) if missing == id("absent")));
    assert_eq!(collect(&lower), []);
    // Now the own store has it, too.
    let lease = own.store.lease().expect("a lease");
    publish(&lease, "a", &[]);
    store.put_root(environment(&own, "environment"), &[id("a")]).expect("set");
    assert!(store.root_holds(RootKind::Environment, "environment", &[id("a")]).expect("looked up"));
    drop(lease);
    assert_eq!((collect(&lower), collect(&own)), (vec![], vec![]));
    assert!(store.remove_root(RootKind::Environment, "environment").expect("removed"));
    assert_eq!((collect(&lower), collect(&own)), (vec![id("a")], vec![id("a")]));
}

/// B25: the collector waits for who looks something up, and nobody looks something up while it marks.
#[test]
fn the_gate_keeps_apart() {
    let lower = lower_store(&["a"]);
    let path = lower.path("locks/users");
    let inside = Gate::enter(&path).expect("entered");
    let again = Gate::enter(&path).expect("entered by two");
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| collect(&lower));
        assert_eq!(lower.store.missing(&[id("a")]).expect("looked up"), [], "it was deleted behind the gate");
        drop((inside, again));
        assert_eq!(collector.join().expect("no panic"), [id("a")]);
    });
}

/// A16, A14: a lower store is never brought to another format, and one that does not fit is refused by a typed reason.
#[test]
fn what_does_not_fit_is_refused() {
    let (own, lower) = (TestStore::new(), lower_store(&["a"]));
    let mut store = Store::open(options(&own.root())).expect("the own store");
    assert!(!store.add_lower(&own.root()).expect("it is this one"));
    let refused = |store: &mut Store, path: &Path| store.add_lower(path).expect_err("refused");
    let nowhere = own.home.path().join("nowhere");
    assert!(matches!(refused(&mut store, &nowhere), LowerError::Open(OpenError::Missing { .. })));
    assert!(matches!(refused(&mut store, own.home.path()), LowerError::Open(OpenError::Missing { .. })));
    let set_version = |version: u32| {
        let db = rusqlite::Connection::open(lower.path("db/store.sqlite")).expect("the database");
        db.execute_batch(&format!("PRAGMA user_version = {version}")).expect("set");
    };
    let version = u32::try_from(pip_accel_schema::sql::MIGRATIONS.len()).expect("few");
    set_version(version - 1);
    let older = refused(&mut store, &lower.root());
    assert!(matches!(older, LowerError::Open(OpenError::Store(StoreError::ReadOnly { .. }))), "{older:?}");
    set_version(version + 1);
    assert!(matches!(refused(&mut store, &lower.root()), LowerError::Open(OpenError::NewerFormat { .. })));
    set_version(version);
    assert!(store.add_lower(&lower.root()).expect("it fits") && !store.add_lower(&lower.root()).expect("again"));
}
