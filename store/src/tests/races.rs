//! Several threads and processes at once.

use std::sync::Barrier;
use std::sync::mpsc;

use super::child::Helper;
use super::*;
use crate::testing::open_with_hook;
use crate::{LockOwner, VerifyDepth, VerifyOptions};

fn assert_whole(store: &Store) {
    let options = VerifyOptions { depth: VerifyDepth::Full, ..VerifyOptions::default() };
    assert_eq!(store.verify(&options).expect("verified"), []);
}

/// A1 at the level of the store: six threads, each with a handle of its own, publish one object.
#[test]
fn six_threads_publish_one_object() {
    let test = TestStore::new();
    let barrier = Barrier::new(6);
    let objects: Vec<Object> = std::thread::scope(|scope| {
        let publisher = || {
            let store = test.again();
            let lease = store.lease().expect("a lease");
            let tree = write_tree(&store, "a").expect("a tree");
            barrier.wait();
            lease.publish(vec![new_object(tree, "a", &[])]).expect("published").pop().expect("one object")
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(publisher)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(objects.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(count(&test.path("store")), 1);
    assert_eq!(count(&test.path("tmp")) + count(&test.path("trash")), 0);
    assert_whole(&test.store);
}

/// A1 with processes.
#[test]
fn six_processes_publish_one_object() {
    let test = TestStore::new();
    let mut helpers: Vec<Helper> = (0..6).map(|_| Helper::start("publish a", &test.root())).collect();
    for helper in &mut helpers {
        helper.wait_for("ready");
    }
    let threads: Vec<_> = helpers.into_iter().map(|helper| std::thread::spawn(|| helper.finish())).collect();
    for thread in threads {
        assert!(thread.join().expect("no panic").contains("published"));
    }
    assert_eq!(count(&test.path("store")), 1);
    assert_eq!(count(&test.path("tmp")) + count(&test.path("trash")), 0);
    assert_whole(&test.store);
}

/// Threads that share one handle publish different objects with equal files.
#[test]
fn threads_share_one_handle() {
    let test = TestStore::new();
    let names: Vec<String> = (0..24).map(|number| format!("package-{number}")).collect();
    std::thread::scope(|scope| {
        for names in names.chunks(6) {
            let store = &test.store;
            scope.spawn(move || {
                let lease = store.lease().expect("a lease");
                for name in names {
                    publish(&lease, name, &[]);
                }
            });
        }
    });
    assert_eq!(count(&test.path("store")), 24);
    assert_whole(&test.store);
}

/// B3: a process publishes and takes between the moment the collector has read the roots and its decision, and again
/// after it; the collector does not hold it up, and deletes nothing of that.
#[test]
fn work_goes_on_while_a_collection_runs() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "garbage", &[]);
    publish(&test.store.lease().expect("a lease"), "used-again", &[]);
    let worker = test.again();
    let lease = Arc::new(worker.lease().expect("a lease"));
    let (hook_lease, reached) = (Arc::clone(&lease), Arc::new(std::sync::Mutex::new(Vec::new())));
    let seen = Arc::clone(&reached);
    let hook = move |name: &str| {
        match name {
            "gc-roots-read" => {
                assert!(hook_lease.take(&[id("used-again")]).expect("an answer")[0].is_some());
                publish(&hook_lease, "before", &[id("used-again")]);
            }
            "gc-marked" => {
                assert!(hook_lease.take(&[id("garbage")]).expect("an answer")[0].is_none(), "it is being deleted");
                publish(&hook_lease, "after", &[id("before")]);
            }
            _ => {}
        }
        seen.lock().expect("no panic").push(name.to_owned());
    };
    let collector = open_with_hook(options(&test.root()), Arc::new(hook)).expect("a store");
    let report = collector.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert!(reached.lock().expect("no panic").contains(&"gc-marked".to_owned()));
    assert_eq!(report.deleted.iter().map(|dead| dead.id).collect::<Vec<_>>(), [id("garbage")]);
    assert_eq!(count(&test.path("store")), 3);
    assert_whole(&test.store);
}

/// B9: what is published again while the collector deletes it is whole, and the collector lets it be.
#[test]
fn what_is_published_again_during_its_deletion_is_whole() {
    let test = TestStore::new();
    publish(&test.store.lease().expect("a lease"), "a", &[]);
    let worker = test.again();
    let lease = Arc::new(worker.lease().expect("a lease"));
    let hook_lease = Arc::clone(&lease);
    let hook = move |name: &str| {
        if name == "gc-marked" {
            publish(&hook_lease, "a", &[]);
        }
    };
    let collector = open_with_hook(options(&test.root()), Arc::new(hook)).expect("a store");
    let report = collector.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(report.deleted, []);
    let object = lease.take(&[id("a")]).expect("an answer").pop().flatten().expect("the object");
    assert_eq!(std::fs::read(object.path.join("site/pkg/code.py")).expect("read"), content("a"));
    assert_whole(&test.store);
    drop((lease, collector));
    assert_eq!(test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected").deleted.len(), 1);
}

/// B2, A7: builders take what others made and publish what needs it, while collectors without any age run all the time.
/// Whatever a lease took stays whole until the lease ends.
#[test]
fn collectors_never_take_what_is_leased() {
    let test = TestStore::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let builders: Vec<_> = (0..3)
            .map(|builder| {
                let test = &test;
                scope.spawn(move || {
                    let store = test.again();
                    for round in 0..12 {
                        build_one(&store, builder, round);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let store = test.again();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
            }
        });
        let results: Vec<_> = builders.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok), "a builder failed");
    });
    test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert_eq!(count(&test.path("store")), 0);
    assert_whole(&test.store);
}

/// Takes or makes an input that all builders share, and makes an object that refers to it.
fn build_one(store: &Arc<Store>, builder: usize, round: usize) {
    let lease = store.lease().expect("a lease");
    let input = format!("input-{}", round % 3);
    let object = match lease.take(&[id(&input)]).expect("an answer").pop().flatten() {
        Some(object) => object,
        None => publish(&lease, &input, &[]),
    };
    let output = publish(&lease, &format!("output-{builder}-{round}"), &[object.id]);
    for (object, name) in [(&object, input), (&output, format!("output-{builder}-{round}"))] {
        let found = std::fs::read(object.path.join("site/pkg/code.py"));
        assert_eq!(found.expect("the lease keeps it"), content(&name));
    }
}

/// Who waits for a key is told for whom, once, and gets the lock when the other lets go.
#[test]
fn a_waiter_learns_for_whom_it_waits() {
    let test = TestStore::new();
    let mut holder = Helper::start("lock build lxml", &test.root());
    holder.wait_for("held");
    let pid = holder.pid();
    let (say, heard) = mpsc::channel::<LockOwner>();
    let store = test.again();
    let waiter = std::thread::spawn(move || {
        let mut told = 0;
        let lock = store.lock("build lxml", &mut |owner| {
            told += 1;
            say.send(owner.clone()).expect("the test listens");
        });
        drop(lock.expect("the lock"));
        told
    });
    let owner = heard.recv().expect("the waiter is told");
    assert_eq!((owner.pid, owner.since), (pid, NOW));
    assert!(!owner.command.is_empty() && !owner.host.is_empty(), "{owner:?}");
    // Other keys do not wait.
    drop(test.store.lock("build numpy", &mut |_| panic!("nobody holds this one")).expect("the lock"));
    holder.finish();
    assert_eq!(waiter.join().expect("no panic"), 1);
    assert_eq!(count(&test.path("locks")), 2, "lock files are deleted with their locks, but for `publish` and `users`");
}

/// A dead owner blocks nobody (A18).
#[test]
fn the_lock_of_a_killed_process_is_free() {
    let test = TestStore::new();
    let mut holder = Helper::start("lock a", &test.root());
    holder.wait_for("held");
    holder.kill();
    drop(test.store.lock("a", &mut |_| panic!("its owner is dead")).expect("the lock"));
}

/// Threads hand one key around; at any time one of them has it.
#[test]
fn one_key_has_one_owner() {
    let test = TestStore::new();
    let inside = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let lock = test.store.lock("key", &mut |_| {}).expect("the lock");
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
}

/// Nobody who makes anything anew.
struct Nobody;

impl crate::Remake for Nobody {
    fn remake(&mut self, object: &Object) -> Result<(), crate::RemakeError> {
        Err(crate::RemakeError::Impossible(format!("{} has no copy", object.name)))
    }
}

/// Publishes, takes and reads; what it has a lease on keeps its folder.
fn publish_and_watch(store: &Arc<Store>, publisher: usize) {
    for round in 0..15 {
        let lease = store.lease().expect("a lease");
        let name = format!("object-{publisher}-{}", round % 5);
        let object = publish(&lease, &name, &[]);
        let folder = std::fs::File::open(&object.path).expect("open");
        assert_eq!(std::fs::read(object.path.join("site/pkg/code.py")).expect("read"), content(&name));
        assert!(crate::fs_ops::is_same_file(&folder, &object.path).expect("an answer"), "exchanged under a lease");
    }
}

/// Publishers, readers with and without a lease, collections, repairs of a file that somebody deletes again and again, and
/// `optimise`, all at once: nothing fails, who has a lease sees one folder all the time, and who has none always finds the
/// file.
#[test]
fn everything_at_once() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let test = TestStore::new();
    let [pinned, other] = ["pinned", "other"].map(|name| publish(&test.store.lease().expect("a lease"), name, &[]));
    let root = crate::NewRoot { kind: crate::RootKind::Pin, name: "pin".to_owned(), location: PathBuf::new() };
    test.store.put_root(root, &[pinned.id, other.id]).expect("a root");
    let done = AtomicBool::new(false);
    let until_done = |work: &dyn Fn(&Store)| {
        let store = test.again();
        while !done.load(Ordering::Relaxed) {
            work(&store);
        }
    };
    let optimise = |store: &Store| {
        store.optimise().expect("optimised");
    };
    let collect = |store: &Store| drop(store.gc_apply(&no_age(), &mut |_| {}).expect("collected"));
    let repair = |store: &Store| {
        super::verify::damage(&pinned.path.join("scripts/run"), |path| drop(std::fs::remove_file(path)));
        let quick = VerifyOptions { depth: VerifyDepth::Quick, ..VerifyOptions::default() };
        let report = store.repair(&quick, &mut Nobody).expect("a report");
        assert!(report.lost.is_empty(), "{report:?}");
    };
    let read = |_: &Store| {
        let read = std::fs::read(pinned.path.join("site/pkg/code.py")).expect("there all the time");
        assert_eq!(read, content("pinned"));
    };
    let others: [&(dyn Fn(&Store) + Sync); 4] = [&optimise, &collect, &repair, &read];
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..3)
            .map(|number| (number, test.again()))
            .map(|(number, store)| scope.spawn(move || publish_and_watch(&store, number)))
            .collect();
        for work in others {
            scope.spawn(|| until_done(work));
        }
        let ends: Vec<_> = publishers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok));
    });
    test.store.repair(&VerifyOptions::default(), &mut Nobody).expect("a report");
    assert_whole(&test.store);
    assert_eq!(count(&test.path("tmp")) + count(&test.path("trash")), 0);
}
