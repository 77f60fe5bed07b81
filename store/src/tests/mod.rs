//! Scenarios of the store, each on a store of its own.

mod basics;
mod bundle;
mod child;
mod crash;
mod full_disk;
mod gc;
mod interrupt;
mod lower;
mod open;
mod optimise;
mod publish;
mod races;
mod rebuild;
mod repair;
mod timing;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::{EntryPath, Provenance};
use pip_accel_schema::store_path::{ObjectId, StorePath};

use crate::{
    Access, Clock, Durability, GcPolicy, Lease, NewObject, Object, OpenOptions, Protect, Store, StoreError, TreeWriter,
};

/// The moment of all stores here that do not say otherwise.
const NOW: i64 = 1_700_000_000;

/// A store in a folder of its own.
struct TestStore {
    store: Arc<Store>,
    home: tempfile::TempDir,
}

impl TestStore {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(options(&home.path().join("store"))).expect("a new store"));
        Self { store, home }
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("store")
    }

    /// The same store, opened once more.
    fn again(&self) -> Arc<Store> {
        Arc::new(Store::open(options(&self.root())).expect("the store"))
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        // Objects are read-only, which keeps the owner of the temporary folder from deleting them.
        drop(crate::fs_ops::remove_tree(&self.root(), None));
    }
}

fn options(root: &Path) -> OpenOptions {
    OpenOptions {
        root: root.to_owned(),
        access: Access::ReadWrite,
        durability: Durability::None,
        protect: Protect::None,
        clock: Clock::Fixed(NOW),
    }
}

fn entry(path: &str) -> EntryPath {
    EntryPath::parse(path).expect("a path")
}

fn sha(name: &str) -> Sha256Digest {
    Sha256Digest::from_bytes(*blake3::hash(name.as_bytes()).as_bytes())
}

/// The id of the object that [`new_object`] makes of `name`.
fn id(name: &str) -> ObjectId {
    ObjectId::of_wheel(&sha(name), "test")
}

/// A wheel object called `name` with what was written to `tree`.
fn new_object(tree: TreeWriter, name: &str, references: &[ObjectId]) -> NewObject {
    let package = name.parse().expect("a name");
    let version = "1.0".parse().expect("a version");
    NewObject {
        path: StorePath::new(id(name), &package, &version, None),
        tree,
        name: package,
        version,
        provenance: Provenance::Wheel {
            file_name: format!("{name}-1.0-py3-none-any.whl"),
            sha256: sha(name),
            bytecode_tag: "test".to_owned(),
        },
        references: references.to_vec(),
        link_plan: Some(pip_accel_schema::link_plan::LinkPlan::default()),
    }
}

/// Bytes that no other object of the test has.
fn content(name: &str) -> Vec<u8> {
    format!("{name} ").repeat(50).into_bytes()
}

/// A small tree: a folder, an executable, an empty file and a link.
fn write_tree(store: &Store, name: &str) -> Result<TreeWriter, StoreError> {
    let tree = store.new_tree()?;
    tree.write_file(&entry("site/pkg/__init__.py"), false, b"")?;
    tree.write_file(&entry("site/pkg/code.py"), false, &content(name))?;
    tree.write_file(&entry("scripts/run"), true, &content("shared script"))?;
    tree.create_symlink(&entry("site/pkg/alias.py"), "code.py")?;
    Ok(tree)
}

fn publish(lease: &Lease, name: &str, references: &[ObjectId]) -> Object {
    let tree = write_tree(lease.store(), name).expect("a tree");
    let mut objects = lease.publish(vec![new_object(tree, name, references)]).expect("published");
    objects.pop().expect("one object")
}

/// Everything that may go goes.
fn no_age() -> GcPolicy {
    GcPolicy { min_age_seconds: 0, keep_sources: false, ..GcPolicy::default() }
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("list").count()
}

/// Every name in `files/`.
fn shared_names(test: &TestStore) -> Vec<PathBuf> {
    let shards = std::fs::read_dir(test.path("files")).expect("list");
    let names = shards.flat_map(|shard| std::fs::read_dir(shard.expect("a shard").path()).expect("list"));
    names.map(|name| name.expect("a name").path()).collect()
}
