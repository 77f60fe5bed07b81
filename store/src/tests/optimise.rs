//! Equal files meet in one inode, and nothing else about them changes.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::child::Helper;
use super::*;
use crate::{OptimiseReport, VerifyDepth, VerifyOptions};

const SHORT: &str = "site/pkg/short.py";
const LONG: &str = "site/pkg/long.py";
const OWN: &str = "site/pkg/own.py";

/// An object with a short file and a long one that all have, and one of its own. They share nothing at first: what
/// `files/` has is taken away.
fn publish_unshared(test: &TestStore, name: &str) -> Object {
    let lease = test.store.lease().expect("a lease");
    let tree = test.store.new_tree().expect("a tree");
    tree.write_file(&entry(SHORT), false, b"short").expect("written");
    tree.write_file(&entry(LONG), true, &content("long")).expect("written");
    tree.write_file(&entry(OWN), false, &content(name)).expect("written");
    tree.write_file(&entry("site/pkg/__init__.py"), false, b"").expect("written");
    tree.create_symlink(&entry("site/pkg/link.py"), "own.py").expect("linked");
    let object = lease.publish(vec![new_object(tree, name, &[])]).expect("published").remove(0);
    for name in shared_names(test) {
        fs::remove_file(name).expect("removed");
    }
    object
}

fn inode(object: &Object, path: &str) -> u64 {
    fs::symlink_metadata(object.path.join(path)).expect("metadata").ino()
}

/// All that a reader can see of the store's objects, inodes left out.
fn look(test: &TestStore) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut waiting = vec![test.path("store")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("list") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            let bytes = if metadata.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
            if metadata.is_dir() {
                waiting.push(path.clone());
            }
            seen.push((path, metadata.mode(), metadata.mtime(), bytes));
        }
    }
    seen.sort();
    seen
}

fn assert_whole(store: &Store) {
    let options = VerifyOptions { depth: VerifyDepth::Full, ..VerifyOptions::default() };
    assert_eq!(store.verify(&options).expect("verified"), []);
}

/// C5: equal files share an inode afterwards, the short ones too; modes, times and bytes stay; a second run does nothing;
/// when the objects go, so do the shared names.
#[test]
fn equal_files_share_an_inode() {
    let test = TestStore::new();
    let objects: Vec<Object> = ["a", "b", "c"].map(|name| publish_unshared(&test, name)).into();
    let before = look(&test);
    let report = test.store.optimise().expect("optimised");
    assert_eq!((report.files, report.linked, report.objects_in_use, report.objects_damaged), (9, 4, 0, 0));
    assert!(report.freed_bytes > 0, "{report:?}");
    assert_eq!(look(&test), before);
    for path in [SHORT, LONG] {
        let inodes: HashSet<u64> = objects.iter().map(|object| inode(object, path)).collect();
        assert_eq!(inodes.len(), 1, "{path}");
        // Three objects and the name in `files/`.
        assert_eq!(fs::metadata(objects[0].path.join(path)).expect("metadata").nlink(), 4);
    }
    assert_whole(&test.store);
    let second = test.store.optimise().expect("optimised");
    assert_eq!(second, OptimiseReport { files: 9, ..OptimiseReport::default() });
    test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(shared_names(&test), Vec::<PathBuf>::new());
}

/// C6: an inode that is full is no failure: the next generation starts, and the second run still does nothing.
#[test]
fn a_full_inode_starts_a_generation() {
    let mut test = TestStore::new();
    let objects: Vec<Object> = (0..20).map(|number| publish_unshared(&test, &format!("object-{number}"))).collect();
    let store = Arc::get_mut(&mut test.store).expect("the only handle");
    Arc::get_mut(&mut store.shared).expect("the only handle").files.set_links_max(6);
    let report = test.store.optimise().expect("optimised");
    assert!(report.linked > 0, "{report:?}");
    let generations = shared_names(&test).iter().filter(|path| path.to_string_lossy().contains('~')).count();
    assert!(generations >= 2, "{generations}");
    for object in &objects {
        assert!(fs::metadata(object.path.join(SHORT)).expect("metadata").nlink() <= 6);
    }
    let inodes: HashSet<u64> = objects.iter().map(|object| inode(object, SHORT)).collect();
    assert!(inodes.len() < 20, "{}", inodes.len());
    assert_whole(&test.store);
    assert_eq!(test.store.optimise().expect("optimised").linked, 0);
}

/// What a running process works with keeps its folder; a file that somebody has open stays readable.
#[test]
fn what_is_in_use_stays() {
    use std::io::Read;
    let test = TestStore::new();
    let (a, b) = (publish_unshared(&test, "a"), publish_unshared(&test, "b"));
    let mut user = Helper::start("lease a", &test.root());
    user.wait_for("taken");
    let folder = |object: &Object| fs::metadata(&object.path).expect("metadata").ino();
    let (kept, moved) = (folder(&a), folder(&b));
    let mut open = fs::File::open(b.path.join(SHORT)).expect("open");
    // The first object's files are registered; only the second's are replaced, whichever that is.
    let report = test.store.optimise().expect("optimised");
    assert_eq!(folder(&a), kept);
    if report.objects_in_use == 0 {
        assert_ne!(folder(&b), moved);
    }
    let mut text = String::new();
    open.read_to_string(&mut text).expect("read");
    assert_eq!(text, "short");
    user.finish();
    test.store.optimise().expect("optimised");
    assert_eq!(inode(&a, SHORT), inode(&b, SHORT));
    assert_whole(&test.store);
}

/// C16: bytes that are not what they should be get into no other object, and the name that led to them goes.
#[test]
fn a_wrong_content_is_not_spread() {
    let test = TestStore::new();
    let a = publish_unshared(&test, "a");
    test.store.optimise().expect("optimised");
    let path = a.path.join(LONG);
    let length = fs::metadata(&path).expect("metadata").len();
    let wrong = vec![b'!'; usize::try_from(length).expect("small")];
    super::verify::overwrite(&path, &wrong, 0o555);
    let b = publish_with_long(&test);
    for _ in 0..2 {
        test.store.optimise().expect("optimised");
        assert_eq!(fs::read(b.path.join(LONG)).expect("read"), content("long"));
        for shared in shared_names(&test) {
            assert_ne!(fs::read(shared).expect("read"), wrong);
        }
    }
    // The damaged file met the right bytes.
    assert_whole(&test.store);
}

fn publish_with_long(test: &TestStore) -> Object {
    let lease = test.store.lease().expect("a lease");
    let tree = test.store.new_tree().expect("a tree");
    // Not through `files/`: written before anything was shared.
    let hidden = test.path("hidden");
    fs::rename(test.path("files"), &hidden).expect("hidden");
    fs::create_dir(test.path("files")).expect("created");
    tree.write_file(&entry(LONG), true, &content("long")).expect("written");
    let object = lease.publish(vec![new_object(tree, "b", &[])]).expect("published").remove(0);
    fs::remove_dir_all(test.path("files")).expect("removed");
    fs::rename(&hidden, test.path("files")).expect("back");
    object
}

/// Killed at any step: the store is whole, the next collection leaves no residue, and the next run does what is left.
#[test]
fn a_killed_run_harms_nothing() {
    for checkpoint in ["swap-synced", "swap-beside", "swap-exchanged"] {
        let test = TestStore::new();
        let objects = ["a", "b"].map(|name| publish_unshared(&test, name));
        let before = look(&test);
        let mut helper = Helper::start(&format!("park-optimise {checkpoint}"), &test.root());
        helper.wait_for(&format!("checkpoint {checkpoint}"));
        helper.kill();
        let store = test.again();
        assert_whole(&store);
        store.optimise().expect("optimised");
        assert_eq!(inode(&objects[0], SHORT), inode(&objects[1], SHORT), "{checkpoint}");
        assert_eq!(look(&test), before, "{checkpoint}");
        assert_whole(&store);
        assert_eq!((count(&test.path("tmp")), count(&test.path("trash"))), (0, 0), "{checkpoint}");
    }
}
