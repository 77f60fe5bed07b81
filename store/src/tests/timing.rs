//! Figures for a look by hand: `cargo test --release -p pip-accel-store timing -- --ignored --nocapture`.

use std::time::Instant;

use pip_accel_schema::link_plan::{LinkEntry, LinkPlan};
use pip_accel_schema::manifest::{Manifest, OBJECT_RECORD_FORMAT, ObjectRecord};
use rusqlite::params;

use super::*;
use crate::db;

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    eprintln!("{what}: {:.2} ms", start.elapsed().as_secs_f64() * 1000.0);
    value
}

/// The warm path: opening a store, taking a hundred objects with link plans of usual size, setting a root.
#[test]
#[ignore = "prints figures"]
fn warm_path() {
    let test = TestStore::new();
    let root = test.path("bench");
    let full = || OpenOptions { durability: Durability::Full, ..options(&root) };
    let store = Arc::new(timed("create", || Store::open(full()).expect("a store")));
    let lease = store.lease().expect("a lease");
    let link = |number: usize| LinkEntry { path: entry(&format!("package/module{number}.py")), is_directory: false };
    let names: Vec<String> = (0..100).map(|number| format!("package-{number}")).collect();
    let batch: Vec<NewObject> = names
        .iter()
        .map(|name| {
            let plan = LinkPlan { site_links: (0..20).map(link).collect(), ..LinkPlan::default() };
            let tree = store.new_tree().expect("a tree");
            for number in 0..280 {
                let path = entry(&format!("site/pkg{}/file{number}.py", number % 9));
                tree.write_file(&path, false, &content(&format!("{name} {number}"))).expect("written");
            }
            NewObject { link_plan: Some(plan), ..new_object(tree, name, &[]) }
        })
        .collect();
    timed("publish 100 objects, 28,000 files", || lease.publish(batch).expect("published"));
    drop((lease, store));
    let ids: Vec<ObjectId> = names.iter().map(|name| id(name)).collect();
    for _ in 0..3 {
        let store = Arc::new(timed("open", || Store::open(full()).expect("a store")));
        let lease = timed("lease", || store.lease().expect("a lease"));
        timed("take 100", || lease.take(&ids).expect("an answer"));
        timed("take 100 again", || lease.take(&ids).expect("an answer"));
        let location = test.path("venv");
        let new = crate::NewRoot { kind: crate::RootKind::Environment, name: "venv".to_owned(), location };
        timed("put root, durably", || store.put_root(new, &ids).expect("a root"));
        timed("drop the lease", || drop(lease));
        timed("close", || drop(store));
    }
    let store = Store::open(full()).expect("a store");
    timed("verify, quick", || assert_eq!(store.verify(&crate::VerifyOptions::default()).expect("verified"), []));
    store.remove_root(crate::RootKind::Environment, "venv").expect("removed");
    timed("collect 28,000 files", || store.gc_apply(&no_age(), &mut |_| {}).expect("collected"));
}

/// Finding the dead among 100,000 objects with four references each.
#[test]
#[ignore = "prints figures"]
fn plan_of_a_large_store() {
    let test = TestStore::new();
    let count = 100_000_i64;
    test.store
        .database
        .write("fill", |db| {
            let mut object = db.prepare(
                "INSERT INTO object VALUES (?1, ?2, 'p', 'a', '1', 'wheel', 1, ?3, 1000, ?3, '{}', NULL, 0, 0, 0)",
            )?;
            let mut reference = db.prepare("INSERT OR IGNORE INTO reference VALUES (?1, ?2)")?;
            for row in 1..=count {
                let hash = *blake3::hash(&row.to_le_bytes()).as_bytes();
                object.execute(params![row, &hash[..20], hash])?;
                for step in [1, 7, 31, 1001] {
                    if row > step {
                        reference.execute([row, row - step])?;
                    }
                }
            }
            db.execute("INSERT INTO root VALUES (1, 'pin', 'keep', x'', 0, 0)", [])?;
            db.execute("INSERT INTO root_object VALUES (1, ?1)", [count / 2])?;
            Ok(())
        })
        .expect("filled");
    let plan = timed("plan", || test.store.gc_plan(&no_age()).expect("a plan"));
    assert_eq!(plan.dead.len(), 50_000);
    let policy = GcPolicy { min_age_seconds: u64::MAX, ..no_age() };
    assert_eq!(timed("plan, nothing dead", || test.store.gc_plan(&policy).expect("a plan")).dead.len(), 0);
}

/// The rows of 10,000 objects with 20 references each, a thousand in a batch: what publishing and rebuilding do besides
/// their work on files. The aim is 20,000 a second.
#[test]
#[ignore = "prints figures"]
fn register_in_batches() {
    const OBJECTS: i64 = 10_000;
    const BATCH: i64 = 1000;
    for _ in 0..3 {
        let test = TestStore::new();
        let records: Vec<(ObjectId, ObjectRecord)> =
            (1..=OBJECTS).map(|row| (id(&row.to_string()), record(&row.to_string()))).collect();
        let start = Instant::now();
        for (batch, records) in (0..).zip(records.chunks(BATCH as usize)) {
            let first = batch * BATCH + 1;
            let pending = test.store.database.write("register", |db| {
                for (row, (id, record)) in (first..).zip(records) {
                    assert_eq!(db::object::write_pending(db, record, id, None, NOW)?, row);
                }
                Ok(())
            });
            pending.expect("written");
            let valid = test.store.database.write("register", |db| {
                for row in first..first + BATCH {
                    assert!(db::object::make_valid(db, row)?);
                    let references: Vec<i64> = (1..=20).map(|step| row - step * 7).filter(|row| *row > 0).collect();
                    db::object::set_references(db, row, &references)?;
                }
                Ok(())
            });
            valid.expect("written");
        }
        let rate = OBJECTS as f64 / start.elapsed().as_secs_f64();
        eprintln!("registered {rate:.0} objects a second");
    }
}

/// The record of a wheel without files and with a link plan of usual size.
fn record(name: &str) -> ObjectRecord {
    let link = |number: usize| LinkEntry { path: entry(&format!("package/module{number}.py")), is_directory: false };
    let (package, version) = (name.parse().expect("a name"), "1.0".parse().expect("a version"));
    let manifest = Manifest::default();
    ObjectRecord {
        format: OBJECT_RECORD_FORMAT,
        path: StorePath::new(id(name), &package, &version, None).to_string(),
        name: package,
        version,
        provenance: Provenance::Wheel {
            file_name: format!("{name}-1.0-py3-none-any.whl"),
            sha256: sha(name),
            bytecode_tag: "test".to_owned(),
        },
        references: Vec::new(),
        content_digest: manifest.content_digest(),
        link_plan: Some(LinkPlan { site_links: (0..20).map(link).collect(), ..LinkPlan::default() }),
        manifest,
    }
}

/// Reading everything: `verify` against a loop that opens, reads and hashes each file on all processors and looks at nothing
/// else. The aim is 0.8 of its speed. They take turns, since other work on the machine slows either down at times; the
/// processor time, user and system, is less moved by that.
#[test]
#[ignore = "prints figures"]
fn verify_against_reading() {
    use rayon::prelude::*;
    let test = TestStore::new();
    let lease = test.store.lease().expect("a lease");
    for object in 0..40_u32 {
        let tree = test.store.new_tree().expect("a tree");
        for number in 0..400_u32 {
            // A mean of 15 KiB, as in usual packages, with some of a megabyte.
            let size = if number % 50 == 0 { 1 << 20 } else { 200 + (number as usize * 37) % 12_000 };
            let bytes: Vec<u8> = (object * 1000 + number).to_le_bytes().into_iter().cycle().take(size).collect();
            tree.write_file(&entry(&format!("site/pkg{}/file{number}.py", number % 9)), false, &bytes)
                .expect("written");
        }
        lease.publish(vec![new_object(tree, &format!("package-{object}"), &[])]).expect("published");
    }
    let mut files = Vec::new();
    let mut waiting = vec![test.path("store")];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).expect("list") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() { waiting.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    let options = crate::VerifyOptions { depth: crate::VerifyDepth::Full, ..crate::VerifyOptions::default() };
    for _ in 0..9 {
        let (before, start) = (processor_seconds(), Instant::now());
        let bytes: u64 = files.par_iter().map(|path| read_and_hash(path)).sum();
        let (limit, limit_work) = (start.elapsed().as_secs_f64(), processor_seconds() - before);
        let (before, start) = (processor_seconds(), Instant::now());
        let inspection = test.store.inspect(&options).expect("inspected");
        let (taken, work) = (start.elapsed().as_secs_f64(), processor_seconds() - before);
        assert_eq!(inspection.findings, []);
        eprintln!(
            "verify {bytes} bytes: loop {limit:.3} s, {limit_work:.3} s of the processors; verify {taken:.3} s, {work:.3} s: \
             {:.2} of the limit, {:.2} by processor time (aim 0.80)",
            limit / taken,
            limit_work / work
        );
    }
}

/// What the limit is made of: one file opened, read to its end and hashed.
fn read_and_hash(path: &Path) -> u64 {
    use std::io::Read;
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 256 << 10]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        let mut file = std::fs::File::open(path).expect("open");
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
        loop {
            match file.read(buffer).expect("read") {
                0 => break,
                length => {
                    hasher.update(&buffer[..length]);
                    size += length as u64;
                }
            }
        }
        assert_ne!(hasher.finalize().as_bytes(), &[0; 32]);
        size
    })
}

/// User and system time of this process so far, in seconds.
fn processor_seconds() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}
