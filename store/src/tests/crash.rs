//! Processes that die in the middle.

use super::child::{Helper, publish_forty};
use super::*;
use crate::{VerifyDepth, VerifyOptions};

/// No finding, and nothing left in the folders of unfinished work.
fn assert_clean(test: &TestStore, store: &Store) {
    let options = VerifyOptions { depth: VerifyDepth::Full, ..VerifyOptions::default() };
    assert_eq!(store.verify(&options).expect("verified"), []);
    for folder in ["tmp", "trash"] {
        assert_eq!(count(&test.path(folder)), 0, "{folder}");
    }
}

fn is_lease(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with("lease-")
}

/// A4: a publisher that is killed at any of its steps leaves nothing that anybody takes for an object; publishing again
/// heals, and a collection leaves no residue.
#[test]
fn a_killed_publisher_leaves_the_old_state_or_the_new() {
    for checkpoint in [
        "publish-sealed",
        "publish-synced",
        "publish-pending",
        "publish-one-renamed",
        "publish-renamed",
        "publish-valid",
    ] {
        let test = TestStore::new();
        let mut publisher = Helper::start(&format!("park-publish {checkpoint}"), &test.root());
        publisher.wait_for(&format!("checkpoint {checkpoint}"));
        let lease = test.store.lease().expect("a lease");
        let whole = checkpoint == "publish-valid";
        let seen = lease.take(&[id("forty")]).expect("an answer").pop().flatten();
        assert_eq!(seen.is_some(), whole, "before the kill at {checkpoint}");
        publisher.kill();

        let store = test.again();
        let seen = store.lease().expect("a lease").take(&[id("forty")]).expect("an answer").pop().flatten();
        assert_eq!(seen.is_some(), whole, "after the kill at {checkpoint}");
        assert_eq!(count(&test.path("store")), usize::from(whole), "{checkpoint}");
        drop(lease);
        assert_clean(&test, &store);

        publish_forty(&store.lease().expect("a lease"));
        assert_clean(&test, &store);
        store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
        assert_eq!(count(&test.path("store")), 0);
        assert_clean(&test, &store);
        let leases = std::fs::read_dir(test.path("locks")).expect("list").filter(is_lease).count();
        assert_eq!(leases, 0, "a lock file stays after {checkpoint}");
    }
}

/// A publisher that is killed between two folders that it protects leaves a whole object, which can be collected.
#[test]
fn a_half_protected_object_is_whole_and_can_be_collected() {
    let test = TestStore::new();
    if !nix::unistd::Uid::effective().is_root() || crate::fs_ops::try_immutable(&test.path("tmp")).is_err() {
        return super::child::say("skipped: the immutable flag can't be set here");
    }
    let mut publisher = Helper::start("park-publish-protected publish-one-protected", &test.root());
    publisher.wait_for("checkpoint publish-one-protected");
    publisher.kill();
    let store = test.again();
    let object = store.lease().expect("a lease").take(&[id("forty")]).expect("an answer").pop().flatten();
    let folder = object.expect("a valid object").path;
    let protected = (0..4).filter(|number| crate::fs_ops::is_immutable(&folder.join(format!("site/pkg{number}"))));
    assert_eq!((protected.count(), crate::fs_ops::is_immutable(&folder)), (1, false));
    assert_clean(&test, &store);
    store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(count(&test.path("store")), 0);
    assert_clean(&test, &store);
}

/// Publishing over what a killed publisher left needs no new start: the publish lock says that its owner is dead.
#[test]
fn a_running_process_takes_over_from_a_killed_publisher() {
    for checkpoint in ["publish-pending", "publish-one-renamed", "publish-renamed"] {
        let test = TestStore::new();
        let mut publisher = Helper::start(&format!("park-publish {checkpoint}"), &test.root());
        publisher.wait_for(&format!("checkpoint {checkpoint}"));
        publisher.kill();
        let object = publish_forty(&test.store.lease().expect("a lease"));
        assert!(object.path.join("site/pkg3/file39.py").exists(), "{checkpoint}");
        assert_eq!(count(&test.path("store")), 1);
        assert_eq!(test.store.verify(&VerifyOptions::default()).expect("verified"), []);
    }
}

/// B17 for one machine: a collector that is killed at any of its steps loses nothing live, and the next one finishes.
#[test]
fn a_killed_collector_is_finished_by_the_next() {
    for checkpoint in ["gc-roots-read", "gc-marked", "gc-one-renamed", "gc-renamed", "gc-one-deleted"] {
        let test = TestStore::new();
        let lease = test.store.lease().expect("a lease");
        publish(&lease, "dead-one", &[]);
        publish(&lease, "dead-two", &[id("dead-one")]);
        drop(lease);
        let lease = test.store.lease().expect("a lease");
        let live = publish(&lease, "live", &[]);
        let mut collector = Helper::start(&format!("park-gc {checkpoint}"), &test.root());
        collector.wait_for(&format!("checkpoint {checkpoint}"));
        collector.kill();

        let store = test.again();
        assert_eq!(store.verify(&VerifyOptions::default()).expect("verified"), [], "{checkpoint}");
        store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
        assert_eq!(count(&test.path("store")), 1, "{checkpoint}");
        assert!(live.path.join("site/pkg/code.py").exists());
        drop(lease);
        store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
        assert_clean(&test, &store);
        let contents: usize = std::fs::read_dir(test.path("files"))
            .expect("list")
            .map(|shard| count(&shard.expect("shard").path()))
            .sum();
        assert_eq!(contents, 0, "contents leak at {checkpoint}");
    }
}

/// What a dead process leased is collectable, and what a living one leased is not.
#[test]
fn a_lease_ends_with_its_process() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let mut holder = Helper::start("lease a", &test.root());
    holder.wait_for("taken");
    assert_eq!(test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted, []);
    holder.kill();
    assert_eq!(test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted.len(), 1);
    assert_clean(&test, &test.store);
}

/// Scratch and staging folders of a dead process go at the next start, those of a living one stay.
#[test]
fn folders_of_the_dead_go_at_the_next_start() {
    let test = TestStore::new();
    let scratch = test.store.scratch("build of lxml").expect("a folder");
    let name = scratch.path().file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with("scratch-buildoflxml-"), "{name}");
    let mut publisher = Helper::start("park-publish publish-sealed", &test.root());
    publisher.wait_for("checkpoint publish-sealed");
    drop(test.again());
    assert_eq!(count(&test.path("tmp")), 2);
    publisher.kill();
    drop(test.again());
    assert_eq!(count(&test.path("tmp")), 1);
    drop(scratch);
    assert_eq!(count(&test.path("tmp")), 0);
}

/// So do the files that only a moment passes under their names there: the kernel knows that nobody writes them any more.
#[test]
fn files_of_the_dead_go_at_the_next_start() {
    let test = TestStore::new();
    let mut writer = Helper::start("park-root root-staged", &test.root());
    writer.wait_for("checkpoint root-staged");
    drop(test.again());
    assert_eq!(count(&test.path("tmp")), 1, "its owner lives");
    writer.kill();
    drop(test.again());
    assert_eq!(count(&test.path("tmp")), 0);
    assert_eq!(test.store.roots().expect("roots").len(), 1);
}
