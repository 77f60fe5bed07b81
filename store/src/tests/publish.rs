//! What may become an object, and how its files are kept.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;

use super::*;
use crate::{EntryProblem, VerifyOptions};

fn tree(test: &TestStore) -> TreeWriter {
    test.store.new_tree().expect("a tree")
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, problem: EntryProblem) {
    assert!(matches!(&result, Err(StoreError::Entry { problem: found, .. }) if *found == problem), "{result:?}");
}

fn publish_tree(test: &TestStore, tree: TreeWriter, name: &str) -> Result<Object, StoreError> {
    let lease = test.store.lease()?;
    Ok(lease.publish(vec![new_object(tree, name, &[])])?.pop().expect("one object"))
}

/// A9: a file that was not finished (its reader failed) is not in the tree, and its bytes are gone.
#[test]
fn an_unfinished_file_is_not_part_of_the_tree() {
    let test = TestStore::new();
    let tree = tree(&test);
    let mut file = tree.create_file(&entry("site/half")).expect("a file");
    file.write_all(b"half of").expect("written");
    assert_eq!((file.len(), file.is_empty()), (7, false));
    drop(file);
    assert!(!tree.path().join("site/half").exists());
    tree.write_file(&entry("site/whole"), false, b"x").expect("written");
    let folder = tree.path().to_owned();
    let object = publish_tree(&test, tree, "a").expect("published");
    assert!(!folder.exists());
    let manifest = test.store.read_manifest(&object).expect("a manifest");
    let paths: Vec<_> = manifest.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["site", "site/whole"]);
}

/// A9: a dropped tree leaves nothing.
#[test]
fn a_dropped_tree_leaves_nothing() {
    let test = TestStore::new();
    drop(write_tree(&test.store, "a").expect("a tree"));
    assert_eq!(count(&test.path("tmp")) + count(&test.path("store")) + count(&test.path("files")), 0);
}

#[test]
fn a_path_has_one_entry() {
    let test = TestStore::new();
    let tree = tree(&test);
    tree.write_file(&entry("a/b"), false, &content("b")).expect("written");
    assert_refused(tree.write_file(&entry("a/b"), false, b"other"), EntryProblem::Duplicate);
    assert_refused(tree.write_file(&entry("a/b"), false, &content("b")), EntryProblem::Duplicate);
    assert_refused(tree.create_file(&entry("a/b")), EntryProblem::Duplicate);
    assert_refused(tree.create_symlink(&entry("a/b"), "c"), EntryProblem::Duplicate);
    assert_refused(tree.write_file(&entry("a"), false, b"x"), EntryProblem::Duplicate);
    assert_refused(tree.write_file(&entry("a/b/c"), false, b"x"), EntryProblem::NotBelowFolder);
    assert_refused(tree.create_directory(&entry("a/b")), EntryProblem::NotBelowFolder);
    tree.create_directory(&entry("a")).expect("it is a folder");
    assert_eq!(fs::read(tree.path().join("a/b")).expect("read"), content("b"));
}

/// Nothing is written through a link: an archive may hold a link and then a file "below" it.
#[test]
fn nothing_is_written_through_a_link() {
    let test = TestStore::new();
    let tree = tree(&test);
    tree.create_directory(&entry("real")).expect("created");
    tree.create_symlink(&entry("link"), "real").expect("created");
    assert_refused(tree.write_file(&entry("link/file"), false, b"x"), EntryProblem::NotBelowFolder);
    assert_refused(tree.create_symlink(&entry("out"), "../out"), EntryProblem::LinkLeavesTree);
    assert_refused(tree.write_file(&entry("manifest.json"), false, b"{}"), EntryProblem::Reserved);
    assert_refused(tree.create_directory(&entry("manifest.json")), EntryProblem::Reserved);
    assert_refused(tree.write_file(&entry("manifest.json/x"), false, b"{}"), EntryProblem::Reserved);
}

/// What somebody else put into the staging folder, took away or changed, is noticed before it becomes an object.
#[test]
fn a_tree_that_was_tampered_with_is_refused() {
    type Tampering = fn(&Path);
    let cases: [(Tampering, EntryProblem); 6] = [
        (|folder| fs::write(folder.join("site/stray"), "x").expect("written"), EntryProblem::Unexpected),
        (|folder| fs::write(folder.join("manifest.json"), "x").expect("written"), EntryProblem::Unexpected),
        (|folder| fs::remove_file(folder.join("site/pkg/code.py")).expect("removed"), EntryProblem::Missing),
        (
            |folder| {
                fs::set_permissions(folder.join("scripts/run"), fs::Permissions::from_mode(0o4755)).expect("chmod")
            },
            EntryProblem::Changed,
        ),
        (
            |folder| {
                let path = folder.join("site/pkg/code.py");
                let bytes = fs::read(&path).expect("read");
                fs::remove_file(&path).expect("removed");
                fs::write(&path, bytes).expect("written");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("chmod");
            },
            EntryProblem::Changed,
        ),
        (
            |folder| {
                fs::remove_file(folder.join("site/pkg/alias.py")).expect("removed");
                symlink("/etc/passwd", folder.join("site/pkg/alias.py")).expect("linked");
            },
            EntryProblem::Changed,
        ),
    ];
    let test = TestStore::new();
    for (tamper, problem) in cases {
        let tree = write_tree(&test.store, "a").expect("a tree");
        tamper(tree.path());
        assert_refused(publish_tree(&test, tree, "a"), problem);
        assert_eq!(count(&test.path("store")) + count(&test.path("tmp")), 0, "{problem}");
    }
}

/// C7: what another process wrote into the tree is adopted only if it is a plain file, folder or link.
#[test]
fn special_files_are_not_adopted() {
    type Making = fn(&Path);
    let cases: [(Making, EntryProblem); 7] = [
        (|path| nix::unistd::mkfifo(path, Mode::S_IRWXU).expect("a pipe"), EntryProblem::SpecialFile),
        (|path| drop(UnixListener::bind(path).expect("a socket")), EntryProblem::SpecialFile),
        (|path| write_with_mode(path, 0o4755), EntryProblem::SpecialMode),
        (|path| write_with_mode(path, 0o2755), EntryProblem::SpecialMode),
        (|path| symlink("/etc/passwd", path).expect("linked"), EntryProblem::LinkLeavesTree),
        (|path| symlink("../../..", path).expect("linked"), EntryProblem::LinkLeavesTree),
        (|_| {}, EntryProblem::Missing),
    ];
    let test = TestStore::new();
    for (make, problem) in cases {
        let tree = tree(&test);
        tree.create_directory(&entry("site/cache")).expect("created");
        make(&tree.path().join("site/cache/x"));
        assert_refused(tree.adopt(&[entry("site/cache/x")]), problem);
    }
    if nix::unistd::geteuid().is_root() {
        let tree = tree(&test);
        fs::write(tree.path().join("foreign"), "x").expect("written");
        std::os::unix::fs::chown(tree.path().join("foreign"), Some(65_534), None).expect("chown");
        assert_refused(tree.adopt(&[entry("foreign")]), EntryProblem::ForeignOwner);
    }
}

fn write_with_mode(path: &Path, mode: u32) {
    fs::write(path, "x").expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// C7, C8: what is adopted becomes canonical: writable bits, times and extended attributes go.
#[test]
fn adopted_files_become_canonical() {
    let test = TestStore::new();
    let tree = tree(&test);
    tree.write_file(&entry("site/known.py"), false, &content("known")).expect("written");
    let cache = tree.path().join("site/__pycache__/deep");
    fs::create_dir_all(&cache).expect("created");
    write_with_mode(&cache.join("a.pyc"), 0o666);
    write_with_mode(&cache.join("tool"), 0o777);
    symlink("a.pyc", cache.join("link")).expect("linked");
    let attribute = set_attribute(&cache.join("a.pyc")) && set_attribute(&cache);
    tree.adopt(&[entry("site")]).expect("adopted");
    let object = publish_tree(&test, tree, "a").expect("published");
    let deep = object.path.join("site/__pycache__/deep");
    for (path, mode) in [("a.pyc", 0o444), ("tool", 0o555), ("", 0o555)] {
        let metadata = fs::symlink_metadata(deep.join(path)).expect("metadata");
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, 315_532_800), "{path}");
        assert!(!attribute || !has_attribute(&deep.join(path)), "{path}");
    }
    assert_eq!(fs::read_link(deep.join("link")).expect("a link"), Path::new("a.pyc"));
    assert_eq!(test.store.verify(&VerifyOptions::default()).expect("verified"), []);
    assert_eq!(test.store.read_manifest(&object).expect("a manifest").entries().len(), 7);
}

/// Sets an extended attribute with the system's own tool, where there is one and the file system has attributes.
pub(super) fn set_attribute(path: &Path) -> bool {
    let mut command = std::process::Command::new("setfattr");
    let done = command.args(["-n", "user.origin", "-v", "elsewhere"]).arg(path).status();
    match done {
        Ok(status) => status.success(),
        // Python has the call as well, and is on more machines.
        Err(_) => std::process::Command::new("python3")
            .args(["-c", "import os,sys; os.setxattr(sys.argv[1], 'user.origin', b'elsewhere')"])
            .arg(path)
            .status()
            .is_ok_and(|status| status.success()),
    }
}

fn has_attribute(path: &Path) -> bool {
    let script = "import os,sys; sys.exit('user.origin' not in os.listxattr(sys.argv[1]))";
    std::process::Command::new("python3").args(["-c", script]).arg(path).status().is_ok_and(|status| status.success())
}

/// A file with a second name elsewhere is copied: whoever has the other name can't write to the object.
#[test]
fn a_hard_link_from_elsewhere_is_cut() {
    let test = TestStore::new();
    let tree = tree(&test);
    let outside = test.home.path().join("outside");
    fs::write(&outside, content("outside")).expect("written");
    fs::hard_link(&outside, tree.path().join("inside")).expect("linked");
    tree.adopt(&[entry("inside")]).expect("adopted");
    let object = publish_tree(&test, tree, "a").expect("published");
    fs::write(&outside, "changed").expect("written");
    assert_eq!(fs::read(object.path.join("inside")).expect("read"), content("outside"));
    assert_ne!(
        fs::metadata(&outside).expect("metadata").ino(),
        fs::metadata(object.path.join("inside")).expect("metadata").ino()
    );
}

fn inode(path: &Path) -> (u64, u64) {
    let metadata = fs::symlink_metadata(path).expect("metadata");
    (metadata.ino(), metadata.nlink())
}

/// Equal files are one inode: in one tree, in trees that are written at the same time, and with older objects. Small
/// files are not, and an executable is not its plain twin.
#[test]
fn equal_files_share_one_inode() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let bytes = content("licence");
    let write = |tree: &TreeWriter| {
        tree.write_file(&entry("one"), false, &bytes).expect("written");
        let mut file = tree.create_file(&entry("two")).expect("a file");
        file.write_all(&bytes).expect("written");
        file.finish(false).expect("finished");
        tree.write_file(&entry("run"), true, &bytes).expect("written");
        tree.write_file(&entry("small"), false, b"").expect("written");
        fs::write(tree.path().join("adopted"), &bytes).expect("written");
        tree.adopt(&[entry("adopted")]).expect("adopted");
    };
    let (first, second) = (tree(&test), tree(&test));
    write(&first);
    write(&second);
    let batch = vec![new_object(first, "first", &[]), new_object(second, "second", &[])];
    let mut objects = lease.publish(batch).expect("published");
    let third = test.again().new_tree().expect("a tree");
    write(&third);
    objects.extend(lease.publish(vec![new_object(third, "third", &[])]).expect("published"));
    let (shared, links) = inode(&objects[0].path.join("one"));
    assert_eq!(links, 3 * 3 + 1, "three names in three objects, one in files/");
    for object in &objects {
        for name in ["one", "two", "adopted"] {
            assert_eq!(inode(&object.path.join(name)).0, shared, "{name}");
        }
        assert_ne!(inode(&object.path.join("run")).0, shared);
        assert_eq!(inode(&object.path.join("small")).1, 1);
    }
    assert_eq!(inode(&objects[0].path.join("run")).1, 4);
    assert_eq!(test.store.verify(&VerifyOptions::default()).expect("verified"), []);
}

/// A10: a shared content that somebody changed is not linked again.
#[test]
fn a_changed_shared_file_is_replaced() {
    let test = TestStore::new();
    let first = publish(&test.store.lease().expect("a lease"), "first", &[]);
    let script = first.path.join("scripts/run");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let length = fs::metadata(&script).expect("metadata").len();
    fs::write(&script, vec![b'!'; usize::try_from(length).expect("small")]).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o555)).expect("chmod");
    let second = publish(&test.store.lease().expect("a lease"), "second", &[]);
    assert_eq!(fs::read(second.path.join("scripts/run")).expect("read"), content("shared script"));
    let third = publish(&test.store.lease().expect("a lease"), "third", &[]);
    assert_eq!(inode(&third.path.join("scripts/run")).0, inode(&second.path.join("scripts/run")).0);
}

/// Decision 21: where an inode may have no more links, a next generation starts, and goes when it is dead.
#[test]
fn a_new_generation_starts_when_an_inode_is_full() {
    let test = TestStore::new();
    let mut store = Store::open(options(&test.root())).expect("the store");
    let shared = Arc::get_mut(&mut store.shared).expect("nobody else has it");
    shared.files.set_links_max(3);
    let store = Arc::new(store);
    let lease = store.lease().expect("a lease");
    let objects: Vec<Object> = (0..7).map(|number| publish(&lease, &format!("p{number}"), &[])).collect();
    let inodes: std::collections::HashSet<u64> =
        objects.iter().map(|object| inode(&object.path.join("scripts/run")).0).collect();
    assert_eq!(inodes.len(), 4, "one name in files/ and two in objects for each generation");
    assert_eq!(test.store.verify(&VerifyOptions::default()).expect("verified"), []);
    drop(lease);
    test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    let left: usize =
        fs::read_dir(test.path("files")).expect("list").map(|shard| count(&shard.expect("a shard").path())).sum();
    assert_eq!(left, 0);
}

#[test]
fn references_must_be_in_the_store_or_the_batch() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let tree = write_tree(&test.store, "a").expect("a tree");
    let refused = lease.publish(vec![new_object(tree, "a", &[id("missing")])]);
    assert!(matches!(refused, Err(StoreError::MissingReference { reference, .. }) if reference == id("missing")));
    assert_eq!(count(&test.path("store")) + count(&test.path("tmp")) + count(&test.path("trash")), 0);
    assert_eq!(test.store.database.read("count", crate::db::object::all_paths).expect("read").len(), 0);

    // A batch may refer to itself in any order, and hold an object twice.
    let batch = [("x", vec![id("y"), id("x")]), ("y", vec![id("x")]), ("x", vec![])];
    let batch =
        batch.map(|(name, references)| new_object(write_tree(&test.store, name).expect("a tree"), name, &references));
    let objects = lease.publish(batch.into()).expect("published");
    assert_eq!(objects.iter().map(|object| object.id).collect::<Vec<_>>(), [id("x"), id("y"), id("x")]);
    assert_eq!(test.store.referrers(&id("x")).expect("found").objects.len(), 2);
}

/// A batch is published as a whole or not at all.
#[test]
fn one_bad_object_spoils_its_batch() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let good = new_object(write_tree(&test.store, "good").expect("a tree"), "good", &[]);
    let bad = write_tree(&test.store, "bad").expect("a tree");
    fs::write(bad.path().join("stray"), "x").expect("written");
    assert_refused(lease.publish(vec![good, new_object(bad, "bad", &[])]), EntryProblem::Unexpected);
    assert_eq!(lease.take(&[id("good")]).expect("an answer"), [None]);
    assert_eq!(count(&test.path("store")) + count(&test.path("tmp")), 0);
}

/// What a power cut left without a row does not stand in the way.
#[test]
fn a_leftover_folder_is_replaced() {
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    let object = publish(&lease, "a", &[]);
    let path = object.path.clone();
    drop(lease);
    test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    fs::create_dir(&path).expect("created");
    fs::write(path.join("half"), "x").expect("written");
    let again = publish(&test.store.lease().expect("a lease"), "a", &[]);
    assert_eq!(again.path, path);
    assert!(!path.join("half").exists());
    assert_eq!(test.store.verify(&VerifyOptions::default()).expect("verified"), []);
    assert_eq!(count(&test.path("trash")), 0);
}

/// The durable way works as well, with few files and with many.
#[test]
fn durable_stores_publish_too() {
    let test = TestStore::new();
    let root = test.home.path().join("store/durable");
    let store = Store::open(OpenOptions { durability: Durability::Full, ..options(&root) }).expect("a store");
    let store = Arc::new(store);
    let lease = store.lease().expect("a lease");
    publish(&lease, "few", &[]);
    super::child::publish_forty(&lease);
    let many: Vec<NewObject> = (0..20)
        .map(|number| format!("many{number}"))
        .map(|name| new_object(write_tree(&store, &name).expect("a tree"), &name, &[]))
        .collect();
    assert_eq!(lease.publish(many).expect("published").len(), 20);
    assert_eq!(store.verify(&VerifyOptions::default()).expect("verified"), []);
    drop(lease);
    assert_eq!(store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted.len(), 22);
}
