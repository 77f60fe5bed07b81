//! What takes long ends in order once it is interrupted, and what is there afterwards is whole.

use super::*;
use crate::{BundleError, BundleRequest, GcError, VerifyOptions};

fn is_interrupted<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Interrupted))
}

/// Each operation says that it was interrupted; the next process finds a whole store and finishes what was begun.
#[test]
fn what_takes_long_ends_in_order() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let tree = test.store.new_tree().expect("a tree");
    tree.write_file(&entry("site/pkg/file.py"), false, &content("file")).expect("written");
    let object = lease.publish(vec![new_object(tree, "pkg", &[])]).expect("published").remove(0);
    let request = BundleRequest {
        interpreter: String::new(),
        roots: vec![object.id],
        base: Default::default(),
        facts: serde_json::Value::Null,
        pages: &|_| Vec::new(),
        compressed: false,
    };
    let mut whole = Vec::new();
    lease.write_bundle(&request, &mut whole).expect("a bundle");
    test.store.interrupt().set();
    assert!(is_interrupted(test.store.verify(&VerifyOptions::default())));
    assert!(is_interrupted(test.store.optimise()));
    let written = lease.write_bundle(&request, &mut Vec::new());
    assert!(matches!(written, Err(BundleError::Store(StoreError::Interrupted))), "{written:?}");
    drop(lease);
    let everything = GcPolicy { min_age_seconds: 0, ..GcPolicy::default() };
    let collected = test.store.gc_apply(&everything, &mut |_| {});
    assert!(matches!(collected, Err(GcError::Store(StoreError::Interrupted))), "{collected:?}");

    let again = test.again();
    assert_eq!(again.verify(&VerifyOptions::default()).expect("verified"), []);
    let lease = again.lease().expect("a lease");
    assert!(lease.take(&[object.id]).expect("looked up")[0].is_none(), "it was marked before the end");
    again.gc_apply(&everything, &mut |_| {}).expect("collected");
    assert_eq!(std::fs::read_dir(test.path("trash")).expect("listed").count(), 0);
    lease.read_bundle(&whole[..], &|_| Ok(()), &mut |_| {}).expect("taken in");
    assert_eq!(again.verify(&VerifyOptions::default()).expect("verified"), []);
    drop(lease);

    let far = TestStore::new();
    far.store.interrupt().set();
    let lease = far.store.lease().expect("a lease");
    let read = lease.read_bundle(&whole[..], &|_| Ok(()), &mut |_| {});
    assert!(matches!(read, Err(BundleError::Store(StoreError::Interrupted))), "{read:?}");
    drop(lease);
    assert_eq!(std::fs::read_dir(far.path("store")).expect("listed").count(), 0);
}

/// A lock that another process holds is waited for no longer.
#[test]
fn waiting_for_a_lock_ends() {
    let test = TestStore::new();
    let held = test.store.lock("key", &mut |_| {}).expect("the lock");
    let other = test.again();
    let interrupt = other.interrupt().clone();
    assert!(is_interrupted(other.lock("key", &mut |_| interrupt.set())));
    drop(held);
    assert!(test.store.lock("key", &mut |_| {}).is_ok());
}
