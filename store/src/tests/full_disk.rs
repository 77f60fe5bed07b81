//! A disk that fills up: a real one, a small tmpfs in a mount namespace of the child's own.

use std::io::Write;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use super::child::{Helper, arguments, say};
use super::*;
use crate::VerifyOptions;

/// A12: no space left is a typed error, nothing half is left, and the store goes on working.
#[test]
fn a_full_disk_is_an_error_and_not_the_end() {
    let home = tempfile::tempdir().expect("a folder");
    let unshare = |program: &str| {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--propagation", "private", "--", program]);
        command
    };
    if !unshare("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine allows no mount namespace");
        return;
    }
    let exe = std::env::current_exe().expect("this binary");
    let mut command = unshare(&exe.display().to_string());
    command.args(arguments());
    let said = Helper::spawn(command, "full-disk", home.path()).finish();
    assert!(said.contains("survived"), "{said}");
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Full { .. })
}

/// The child's side: everything below `home` is a disk of 4 MiB.
pub(super) fn on_small_disk(home: &Path) {
    mount(Some("tmpfs"), home, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).expect("a small disk");
    let root = home.join("store");
    let store = Arc::new(Store::open(options(&root)).expect("a store"));
    let lease = store.lease().expect("a lease");
    publish(&lease, "first", &[]);

    // A file that does not fit, in one piece and in many.
    let big = vec![7; 8 << 20];
    let tree = store.new_tree().expect("a tree");
    let refused = tree.write_file(&entry("site/big"), false, &big).expect_err("no space");
    assert!(is_full(&refused), "{refused:?}");
    assert!(!tree.path().join("site/big").exists());
    let mut file = tree.create_file(&entry("site/pieces")).expect("a file");
    let refused = big.chunks(65_536).try_for_each(|piece| file.write_all(piece)).expect_err("no space");
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    drop(file);
    drop(tree);
    assert_eq!(count(&root.join("tmp")), 0);
    publish(&lease, "second", &[]);

    // No space for the record and the database: fill the disk to the last byte.
    let tree = write_tree(&store, "third").expect("a tree");
    let filler = home.join("filler");
    fill(&filler);
    let refused = lease.publish(vec![new_object(tree, "third", &[])]).expect_err("no space");
    assert!(is_full(&refused), "{refused:?}");
    assert_eq!(lease.take(&[id("first"), id("third")]).expect("reading needs no space").iter().flatten().count(), 1);
    std::fs::remove_file(&filler).expect("removed");
    assert_eq!(count(&root.join("tmp")), 0);
    publish(&lease, "third", &[]);
    assert_eq!(store.verify(&VerifyOptions::default()).expect("verified"), []);

    // A collection on a full disk works with what was set aside for it.
    drop(lease);
    std::fs::write(root.join("reserve"), vec![1; 1 << 20]).expect("a reserve");
    fill(&filler);
    let report = store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(report.deleted.len(), 3);
    drop(store);
    drop(Store::open(options(&root)).expect("opened again"));
    say("survived");
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file");
    for size in [65_536, 4096, 512, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
