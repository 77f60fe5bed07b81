//! A store that heals: from itself, from whoever can make an object anew, and honestly where it can't.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::child::Helper;
use super::verify::{CASES, CODE, damage, overwrite};
use super::*;
use crate::{
    Action, Finding, FindingKind, NewRoot, Remake, RemakeError, RepairReport, RootKind, VerifyDepth, VerifyOptions,
};

/// Nobody who makes anything.
struct Nobody;

impl Remake for Nobody {
    fn remake(&mut self, object: &Object) -> Result<(), RemakeError> {
        Err(RemakeError::Impossible(format!("nobody here makes {}", object.name)))
    }
}

/// Makes objects as `publish` does; `change` is added to what they hold.
struct Publisher<'a> {
    store: &'a Arc<Store>,
    change: &'static str,
    made: Vec<String>,
}

impl Remake for Publisher<'_> {
    fn remake(&mut self, object: &Object) -> Result<(), RemakeError> {
        let name = object.name.as_str();
        self.made.push(name.to_owned());
        let lease = self.store.lease().expect("a lease");
        assert_eq!(lease.take(&[object.id]).expect("an answer"), [None], "a damaged object counts as absent");
        let tree = write_tree(self.store, name).expect("a tree");
        if !self.change.is_empty() {
            tree.write_file(&entry("site/pkg/change"), false, self.change.as_bytes()).expect("written");
        }
        lease.publish(vec![new_object(tree, name, &[])]).map(drop).map_err(|error| match error {
            StoreError::InUse(_) => RemakeError::NotNow(error.to_string()),
            other => RemakeError::Impossible(other.to_string()),
        })
    }
}

fn full() -> VerifyOptions {
    VerifyOptions { depth: VerifyDepth::Full, ..VerifyOptions::default() }
}

fn findings(store: &Store) -> Vec<Finding> {
    store.verify(&full()).expect("verified")
}

fn repair(store: &Store) -> RepairReport {
    store.repair(&full(), &mut Nobody).expect("a report")
}

pub(super) fn repair_with(store: &Arc<Store>, change: &'static str) -> (RepairReport, Vec<String>) {
    let mut publisher = Publisher { store, change, made: Vec::new() };
    let report = store.repair(&full(), &mut publisher).expect("a report");
    (report, publisher.made)
}

/// What the role `park-repair` does.
pub(super) fn repair_by_publishing(store: &Arc<Store>) {
    repair_with(store, "");
}

/// An object, with no lease left on it.
fn published(test: &TestStore, name: &str) -> Object {
    publish(&test.store.lease().expect("a lease"), name, &[])
}

fn take(store: &Arc<Store>, name: &str) -> Option<Object> {
    store.lease().expect("a lease").take(&[id(name)]).expect("an answer").remove(0)
}

fn actions(report: &RepairReport) -> Vec<(Option<&str>, FindingKind, &Action)> {
    let each = report.findings.iter();
    each.map(|found| (found.finding.path.as_deref(), found.finding.kind, &found.action)).collect()
}

fn code(object: &Object) -> Vec<u8> {
    fs::read(object.path.join(CODE)).expect("read")
}

/// C1, C9: each kind of damage is repaired by making the object anew or from what is there; afterwards nothing is found, and
/// everything is read-only again.
#[test]
fn each_kind_of_damage_is_repaired() {
    for (path, change, _, _) in CASES {
        let test = TestStore::new();
        let object = published(&test, "a");
        published(&test, "b");
        damage(&object.path.join(path), change);
        let (report, _) = repair_with(&test.store, "");
        assert!(!report.findings.is_empty() && report.is_whole(), "{path} {report:?}");
        assert_eq!(findings(&test.store), [], "{path}");
        assert_eq!(code(&object), content("a"));
        for below in ["", "site", "site/pkg"] {
            let mode = fs::metadata(object.path.join(below)).expect("metadata").mode();
            assert_eq!(mode & 0o7777, 0o555, "{below}");
        }
        assert_eq!((count(&test.path("tmp")), count(&test.path("trash"))), (0, 0), "{path}");
    }
}

/// C8, C9: an extended attribute is found when all is read, another owner at any look; both are put right in place.
#[test]
fn attributes_and_owners_are_found_and_set_right() {
    for place in ["site/pkg/code.py", "site/pkg", "", "manifest.json"] {
        let test = TestStore::new();
        let object = published(&test, "a");
        let path = object.path.join(place);
        let mode = fs::metadata(&path).expect("metadata").mode();
        let inode = fs::metadata(&object.path).expect("metadata").ino();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o200)).expect("chmod");
        let mut expected = Vec::new();
        if super::publish::set_attribute(&path) {
            expected.push(FindingKind::ExtraAttribute);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::lchown(&path, Some(4242), None).expect("root may");
            expected.push(FindingKind::WrongOwner);
            let quick: Vec<FindingKind> =
                test.store.verify(&VerifyOptions::default()).expect("looked").iter().map(|found| found.kind).collect();
            assert_eq!(quick, [FindingKind::WrongOwner], "{place}");
        }
        let mut found: Vec<FindingKind> = findings(&test.store).iter().map(|found| found.kind).collect();
        found.sort_by_key(|kind| *kind == FindingKind::WrongOwner);
        assert_eq!(found, expected, "{place}");
        let (report, _) = repair_with(&test.store, "");
        assert!(report.findings.iter().all(|repaired| repaired.action == Action::Corrected), "{place} {report:?}");
        assert_eq!(findings(&test.store), [], "{place}");
        assert_eq!(
            fs::metadata(&object.path).expect("metadata").ino(),
            inode,
            "{place}: nothing is exchanged for that"
        );
    }
}

/// Modes and times are set in place, and nothing is made anew for them.
#[test]
fn modes_and_times_are_set_in_place() {
    let test = TestStore::new();
    let object = published(&test, "a");
    let folder = fs::metadata(&object.path).expect("metadata").ino();
    fs::set_permissions(object.path.join(CODE), fs::Permissions::from_mode(0o744)).expect("chmod");
    fs::set_permissions(object.path.join("scripts/run"), fs::Permissions::from_mode(0o400)).expect("chmod");
    fs::set_permissions(object.path.join("scripts"), fs::Permissions::from_mode(0o000)).expect("chmod");
    fs::File::open(object.path.join(CODE)).expect("open").set_modified(std::time::SystemTime::now()).expect("touched");
    fs::set_permissions(&object.path, fs::Permissions::from_mode(0o777)).expect("chmod");
    let report = repair(&test.store);
    assert!(actions(&report).iter().all(|(_, _, action)| **action == Action::Corrected), "{report:?}");
    assert_eq!(findings(&test.store), []);
    assert_eq!(fs::metadata(&object.path).expect("metadata").ino(), folder);
}

/// A time that tells of a write is not set back before the bytes were read: here they are not right.
#[test]
fn a_time_is_not_set_back_over_wrong_bytes() {
    let test = TestStore::new();
    let object = published(&test, "a");
    overwrite(&object.path.join(CODE), &[b'x'; 100], 0o444);
    fs::File::open(object.path.join(CODE)).expect("open").set_modified(std::time::SystemTime::now()).expect("touched");
    let quick = VerifyOptions { depth: VerifyDepth::Quick, ..VerifyOptions::default() };
    let report = test.store.repair(&quick, &mut Nobody).expect("a report");
    assert_eq!(report.lost.len(), 1, "{report:?}");
}

/// What does not belong to an object is moved, not deleted.
#[test]
fn strays_are_moved_away() {
    let test = TestStore::new();
    let object = published(&test, "a");
    damage(&object.path.join("site/pkg/mine"), |path| {
        fs::create_dir(path).expect("created");
        fs::write(path.join("notes"), "precious").expect("written");
    });
    let report = repair(&test.store);
    let [(Some("site/pkg/mine"), FindingKind::ExtraFile, Action::MovedAway { to })] = actions(&report)[..] else {
        panic!("{report:?}");
    };
    assert!(to.starts_with(test.path("quarantine")) && to.ends_with("site/pkg/mine"), "{to:?}");
    assert_eq!(fs::read_to_string(to.join("notes")).expect("read"), "precious");
    assert_eq!(findings(&test.store), []);
}

/// C4: a damaged file that objects share, of another length or of the same one, is repaired in all of them, and the name in
/// `files/` does not lead to it any more. Who has it open still reads what it was.
#[test]
fn a_shared_file_is_repaired_everywhere() {
    let length = content("shared script").len();
    for wrong in [b"short".to_vec(), vec![b'!'; length]] {
        let test = TestStore::new();
        let objects = ["a", "b"].map(|name| published(&test, name));
        let path = objects[0].path.join("scripts/run");
        overwrite(&path, &wrong, 0o555);
        let mut reader = fs::File::open(&path).expect("open");
        let (report, made) = repair_with(&test.store, "");
        assert!(report.is_whole() && report.findings.len() == 2, "{report:?}");
        assert_eq!(made.len(), 1, "the second has a copy in the first");
        assert_eq!(findings(&test.store), []);
        let inodes =
            objects.each_ref().map(|object| fs::metadata(object.path.join("scripts/run")).expect("there").ino());
        assert_eq!(inodes[0], inodes[1]);
        for shared in shared_names(&test) {
            assert_ne!(fs::read(shared).expect("read"), wrong);
        }
        let mut text = Vec::new();
        reader.read_to_end(&mut text).expect("read");
        assert_eq!(text, wrong);
        test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
        assert_eq!(shared_names(&test), Vec::<PathBuf>::new());
    }
}

/// C10: bytes come from a copy with the right digest, be it in `files/` or in another object; a copy that is wrong itself is
/// not taken.
#[test]
fn a_copy_is_taken_when_its_digest_is_right() {
    for keep_shared in [true, false] {
        let test = TestStore::new();
        let objects = ["a", "b"].map(|name| published(&test, name));
        if !keep_shared {
            for shared in shared_names(&test) {
                fs::remove_file(shared).expect("removed");
            }
        }
        damage(&objects[0].path.join("scripts/run"), |path| fs::remove_file(path).expect("removed"));
        let report = repair(&test.store);
        let [(_, FindingKind::MissingFile, Action::Copied { from })] = actions(&report)[..] else {
            panic!("{report:?}")
        };
        assert!(from.starts_with(if keep_shared { "files/" } else { "store/" }), "{from}");
        assert_eq!(findings(&test.store), []);

        overwrite(&objects[1].path.join("scripts/run"), b"wrong", 0o555);
        let report = repair(&test.store);
        assert_eq!(report.lost.len(), 2, "there is no right copy: {report:?}");
    }
}

/// A damaged record is written again: from the tree where that is whole, else from an object with the same content.
#[test]
fn a_record_is_written_again() {
    let test = TestStore::new();
    let object = published(&test, "a");
    damage(&object.path.join("manifest.json"), |path| overwrite(path, b"{", 0o444));
    let report = repair(&test.store);
    assert_eq!(actions(&report), [(None, FindingKind::UnreadableRecord, &Action::Rewritten)]);
    assert_eq!(findings(&test.store), []);
    assert!(test.store.read_manifest(&object).is_ok());
    damage(&object.path.join("manifest.json"), |path| fs::remove_file(path).expect("removed"));
    damage(&object.path.join("site/pkg/mine"), |path| fs::write(path, "x").expect("written"));
    let report = repair(&test.store);
    assert_eq!(report.lost.len(), 1, "neither the record nor the tree says what it was: {report:?}");
}

/// C1, C3: a deleted object is made anew; one that comes out otherwise replaces the old one, and that is said.
#[test]
fn a_missing_object_is_made_anew() {
    let test = TestStore::new();
    let object = published(&test, "a");
    crate::fs_ops::remove_tree(&object.path, None).expect("removed");
    let (report, made) = repair_with(&test.store, "");
    assert_eq!(made, ["a"]);
    assert_eq!(actions(&report), [(None, FindingKind::MissingObject, &Action::Remade)]);
    assert_eq!(take(&test.store, "a").map(|found| found.content_digest), Some(object.content_digest));

    overwrite(&object.path.join(CODE), &[b'x'; 100], 0o444);
    let (report, _) = repair_with(&test.store, "other");
    let found = take(&test.store, "a").expect("there");
    let expected = Action::RemadeDifferently { content_digest: found.content_digest };
    assert_eq!(actions(&report), [(Some(CODE), FindingKind::WrongContent, &expected)]);
    assert_ne!(found.content_digest, object.content_digest);
    assert!(report.is_whole());
    assert_eq!(findings(&test.store), []);
}

/// C2, C11: what nobody can make is moved to the quarantine with what is left of it, named with the roots that lack it, and
/// published again like anything that was never there. Nothing else is touched.
#[test]
fn what_cannot_be_repaired_is_quarantined_and_comes_back() {
    let test = TestStore::new();
    let object = published(&test, "a");
    let other = published(&test, "b");
    let root = NewRoot { kind: RootKind::Pin, name: "pin".to_owned(), location: PathBuf::new() };
    test.store.put_root(root, &[object.id, other.id]).expect("a root");
    overwrite(&object.path.join(CODE), &[b'x'; 100], 0o444);
    let report = repair(&test.store);
    assert!(!report.is_whole());
    let [lost] = report.lost.as_slice() else { panic!("{report:?}") };
    assert_eq!((lost.id, lost.roots[0].name.as_str(), lost.reason.as_str()), (object.id, "pin", "nobody here makes a"));
    let [(Some(CODE), FindingKind::WrongContent, Action::Quarantined { to: Some(to), .. })] = actions(&report)[..]
    else {
        panic!("{report:?}");
    };
    assert_eq!(fs::read(to.join(CODE)).expect("kept"), [b'x'; 100]);
    assert_eq!(take(&test.store, "a"), None);
    assert_eq!(findings(&test.store), []);
    test.store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
    assert!(take(&test.store, "b").is_some() && to.exists());
    let again = published(&test, "a");
    assert_eq!((again.content_digest, code(&again)), (object.content_digest, content("a")));
    assert_eq!(findings(&test.store), []);
}

/// What a living process works with is left and named; when the process has ended, it is repaired.
#[test]
fn what_is_in_use_is_left() {
    let test = TestStore::new();
    let object = published(&test, "a");
    overwrite(&object.path.join(CODE), &[b'x'; 100], 0o444);
    let mut user = Helper::start("lease a", &test.root());
    user.wait_for("taken");
    for report in [repair(&test.store), repair_with(&test.store, "").0] {
        assert!(matches!(actions(&report)[..], [(_, _, Action::Left { .. })]), "{report:?}");
    }
    assert_eq!(code(&object), [b'x'; 100]);
    user.finish();
    assert!(repair_with(&test.store, "").0.is_whole());
    assert_eq!(code(&object), content("a"));
}

/// What can't be made just now stays, damaged and named.
#[test]
fn what_cannot_be_made_now_is_left() {
    struct Later;
    impl Remake for Later {
        fn remake(&mut self, _: &Object) -> Result<(), RemakeError> {
            Err(RemakeError::NotNow("later".to_owned()))
        }
    }
    let test = TestStore::new();
    let object = published(&test, "a");
    overwrite(&object.path.join(CODE), &[b'x'; 100], 0o444);
    let report = test.store.repair(&full(), &mut Later).expect("a report");
    assert_eq!(actions(&report)[0].2, &Action::Left { reason: "later".to_owned() });
    assert!(take(&test.store, "a").is_some() && !report.is_whole());
    assert_eq!(findings(&test.store).len(), 1);
}

/// Folders that no row speaks of: a whole object is registered again, anything else is moved away.
#[test]
fn unknown_folders_are_registered_or_moved() {
    let test = TestStore::new();
    let object = published(&test, "a");
    let forget = |db: &rusqlite::Connection| Ok(db.execute_batch("DELETE FROM lease; DELETE FROM object;")?);
    test.store.database.read("forget", forget).expect("forgotten");
    fs::create_dir(test.path("store/stray")).expect("created");
    let report = repair(&test.store);
    let [(_, _, Action::Registered), (_, _, Action::MovedAway { .. })] = actions(&report)[..] else {
        panic!("{report:?}")
    };
    assert_eq!(take(&test.store, "a").map(|found| found.content_digest), Some(object.content_digest));
    assert_eq!(findings(&test.store), []);
}

/// C16: a wrong content in `files/` is deleted, and the next object that has it gets the right bytes.
#[test]
fn a_wrong_shared_content_is_evicted() {
    let test = TestStore::new();
    published(&test, "a");
    test.store.gc_apply(&GcPolicy { min_age_seconds: 10_000, ..no_age() }, &mut |_| {}).expect("nothing goes");
    let object = take(&test.store, "a").expect("there");
    crate::fs_ops::remove_tree(&object.path, None).expect("removed");
    for shared in shared_names(&test) {
        let executable = shared.to_string_lossy().contains("-x");
        let length = usize::try_from(fs::metadata(&shared).expect("metadata").len()).expect("small");
        overwrite(&shared, &vec![b'!'; length], if executable { 0o555 } else { 0o444 });
    }
    let (report, _) = repair_with(&test.store, "");
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(actions(&report).iter().filter(|(_, _, action)| **action == Action::Evicted).count(), 2);
    assert_eq!(code(&object), content("a"));
    assert_eq!(findings(&test.store), []);
}

/// Killed at any step: the object is the old one, damaged, or the new one, whole; the next repair ends the work.
#[test]
fn a_killed_repair_can_be_repeated() {
    let copied = ["repair-inspected", "repair-staged", "swap-synced", "swap-beside", "swap-exchanged"];
    let remade = ["publish-sealed", "publish-synced", "replace-beside", "replace-exchanged"];
    for (checkpoint, path) in
        copied.map(|name| (name, "scripts/run")).into_iter().chain(remade.map(|name| (name, CODE)))
    {
        let test = TestStore::new();
        let object = published(&test, "a");
        published(&test, "b");
        if path == CODE {
            overwrite(&object.path.join(path), &[b'x'; 100], 0o444);
        } else {
            damage(&object.path.join(path), |path| fs::remove_file(path).expect("removed"));
        }
        let before = findings(&test.store);
        let mut helper = Helper::start(&format!("park-repair {checkpoint}"), &test.root());
        helper.wait_for(&format!("checkpoint {checkpoint}"));
        helper.kill();
        let store = test.again();
        let after = findings(&store);
        assert!(after.is_empty() || after == before, "{checkpoint} {after:?}");
        assert_eq!(after.is_empty(), checkpoint.ends_with("-exchanged"), "{checkpoint}");
        assert!(repair_with(&store, "").0.is_whole(), "{checkpoint}");
        assert_eq!(findings(&store), [], "{checkpoint}");
        assert_eq!((code(&object), count(&test.path("tmp"))), (content("a"), 0), "{checkpoint}");
    }
}
