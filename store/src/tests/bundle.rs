//! Bundles between two stores: order, crashes, what is there already.

use std::collections::HashSet;
use std::fs::File;

use pip_accel_schema::bundle::BundleManifest;

use super::child::Helper;
use super::*;
use crate::{BundleError, BundleReport, BundleRequest, VerifyDepth, VerifyOptions, read_bundle_manifest};

/// Writes a bundle of the objects called `names`.
fn bundle(store: &Arc<Store>, names: &[&str], base: &[&str]) -> Result<(Vec<u8>, BundleReport), BundleError> {
    let request = BundleRequest {
        interpreter: "test".to_owned(),
        roots: names.iter().map(|name| id(name)).collect(),
        base: base.iter().map(|name| id(name)).collect::<HashSet<_>>(),
        facts: serde_json::Value::Null,
        pages: &|_| Vec::new(),
        compressed: false,
    };
    let mut bytes = Vec::new();
    let report = store.lease().expect("a lease").write_bundle(&request, &mut bytes)?;
    Ok((bytes, report))
}

fn unbundle(store: &Arc<Store>, bytes: &[u8]) -> Result<(usize, usize), BundleError> {
    let unbundled = store.lease().expect("a lease").read_bundle(bytes, &|_: &BundleManifest| Ok(()), &mut |_| {})?;
    Ok((unbundled.added, unbundled.present))
}

/// The process of a role: takes in the bundle beside the store.
pub(super) fn unbundle_file(store: &Arc<Store>) {
    let file = File::open(store.root().with_file_name("bundle.tar")).expect("a bundle");
    store.lease().expect("a lease").read_bundle(file, &|_: &BundleManifest| Ok(()), &mut |_| {}).expect("taken in");
}

/// A chain: each of these refers to the one before it.
fn chain(test: &TestStore, names: &[&str]) {
    let lease = test.store.lease().expect("a lease");
    let mut before = Vec::new();
    for name in names {
        publish(&lease, name, &before);
        before = vec![id(name)];
    }
}

fn assert_clean(test: &TestStore, store: &Store) {
    let options = VerifyOptions { depth: VerifyDepth::Full, ..VerifyOptions::default() };
    assert_eq!(store.verify(&options).expect("verified"), []);
    for folder in ["tmp", "trash"] {
        assert_eq!(count(&test.path(folder)), 0, "{folder}");
    }
}

/// D7: topological whatever the order of the arguments, the closure with it, and the bytes equal.
#[test]
fn the_order_of_the_arguments_means_nothing() {
    let near = TestStore::new();
    chain(&near, &["delta", "alpha", "zeta", "beta"]);
    publish(&near.store.lease().expect("a lease"), "single", &[]);
    let (bytes, report) = bundle(&near.store, &["beta", "single"], &[]).expect("a bundle");
    assert_eq!((report.objects, report.bytes), (5, bytes.len() as u64));
    assert_eq!(bundle(&near.store, &["single", "beta", "single"], &[]).expect("a bundle").0, bytes);
    let manifest = read_bundle_manifest(&bytes[..]).expect("a manifest");
    let names: Vec<&str> = manifest.objects.iter().map(|object| object.name.as_str()).collect();
    let place = |name: &str| names.iter().position(|other| *other == name).expect("it is there");
    let links = [("delta", "alpha"), ("alpha", "zeta"), ("zeta", "beta")];
    assert!(links.iter().all(|(reference, referrer)| place(reference) < place(referrer)), "{names:?}");

    let far = TestStore::new();
    assert_eq!(unbundle(&far.store, &bytes).expect("taken in"), (5, 0));
    assert_eq!(unbundle(&far.store, &bytes).expect("taken in"), (0, 5));
    assert_clean(&far, &far.store);
    // What came from there goes on as the same bytes.
    assert_eq!(bundle(&far.store, &["beta", "single"], &[]).expect("a bundle").0, bytes);
}

/// D4: what is left out must be there, also when it is deep in a chain.
#[test]
fn a_bundle_without_its_base_is_refused() {
    let near = TestStore::new();
    chain(&near, &["first", "second", "third"]);
    let (bytes, report) = bundle(&near.store, &["third"], &["first"]).expect("a bundle");
    assert_eq!((report.objects, report.base), (2, 1));
    let far = TestStore::new();
    match unbundle(&far.store, &bytes) {
        Err(BundleError::MissingBase { missing }) => assert!(missing[0].contains("first-1.0"), "{missing:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(count(&far.path("store")), 0);
    publish(&far.store.lease().expect("a lease"), "first", &[]);
    assert_eq!(unbundle(&far.store, &bytes).expect("taken in"), (2, 0));
    assert_clean(&far, &far.store);
    assert!(matches!(
        bundle(&far.store, &["absent"], &[]),
        Err(BundleError::Store(StoreError::MissingObject(missing))) if missing == id("absent")
    ));
}

/// A4: killed at any of its steps, it leaves nothing that anybody takes for an object but whole ones; repeated, it succeeds.
#[test]
fn a_killed_unbundle_is_swept_and_repeated() {
    let near = TestStore::new();
    chain(&near, &["first", "second"]);
    let (bytes, _) = bundle(&near.store, &["second"], &[]).expect("a bundle");
    let steps =
        ["unbundle-verified", "unbundle-staged", "publish-pending", "publish-one-renamed", "unbundle-published"];
    for checkpoint in steps {
        let far = TestStore::new();
        std::fs::write(far.home.path().join("bundle.tar"), &bytes).expect("written");
        let mut importer = Helper::start(&format!("park-unbundle {checkpoint}"), &far.root());
        importer.wait_for(&format!("checkpoint {checkpoint}"));
        importer.kill();
        let store = far.again();
        let whole = if checkpoint == "unbundle-published" { 2 } else { 0 };
        assert_eq!(count(&far.path("store")), whole, "{checkpoint}");
        assert_clean(&far, &store);
        assert_eq!(unbundle(&store, &bytes).expect("taken in"), (2 - whole, whole), "{checkpoint}");
        assert_clean(&far, &store);
    }
}

/// Equal contents are one inode, with each other and with what the store has; executable twins are files of their own.
#[test]
fn contents_are_shared_when_they_come_from_a_bundle() {
    use std::os::unix::fs::MetadataExt as _;
    let near = TestStore::new();
    let lease = near.store.lease().expect("a lease");
    let tree = near.store.new_tree().expect("a tree");
    for (path, executable) in [("site/a.py", false), ("site/b.py", false), ("site/c.py", true)] {
        tree.write_file(&entry(path), executable, &content("twin")).expect("written");
    }
    tree.write_file(&entry("site/empty.py"), false, b"").expect("written");
    lease.publish(vec![new_object(tree, "twins", &[])]).expect("published");
    let (bytes, _) = bundle(&near.store, &["twins"], &[]).expect("a bundle");
    let far = TestStore::new();
    unbundle(&far.store, &bytes).expect("taken in");
    let lease = far.store.lease().expect("a lease");
    let folder = lease.take(&[id("twins")]).expect("an answer").pop().flatten().expect("the object").path;
    let inode = |path: &str| folder.join(path).metadata().map(|metadata| metadata.ino()).expect("a file");
    assert_eq!(inode("site/a.py"), inode("site/b.py"));
    assert_ne!(inode("site/a.py"), inode("site/c.py"));
    assert_clean(&far, &far.store);
}
