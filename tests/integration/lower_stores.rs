//! Stores of others that are read beside the own one: what is there is used in place, stays while somebody needs it, and
//! is believed only when nobody but its owner could have written it.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, TreeDigest, WheelBuilder, host};

use crate::bundles::bundle;
use crate::store_lifecycle::wait_while_running;
use crate::support::{env, exit, lock_of, user_env};

/// Long enough for everything to be old.
const A_DAY: u64 = 86_400;

/// Two worlds: that of the lower store's owner, who is root where the tests are, and that of a user who has it in his
/// settings, and no file of any package.
fn owner_and_user() -> Option<(TestEnv, TestEnv)> {
    let owner = env();
    let mut user = user_env()?;
    user.set("PIP_ACCEL_LOWER_STORES", owner.store());
    Some((owner, user))
}

/// The owner's environment of `files`, and the same lock for the user.
pub(crate) fn realized_by_owner(files: &[&BuiltFile]) -> Option<(TestEnv, TestEnv)> {
    let (owner, user) = owner_and_user()?;
    let lock = owner.lock(files);
    owner.realize(&[]).success();
    user.write("requirements.lock", std::fs::read(lock).expect("the lock"));
    Some((owner, user))
}

pub(crate) fn wheel() -> BuiltFile {
    WheelBuilder::simple("package", "1.0").build()
}

/// The only object of a project in a store.
pub(crate) fn object_of(env: &TestEnv, name: &str) -> Option<PathBuf> {
    let is_tree = |found: &&String| found.contains(&format!("-{name}-")) && !found.ends_with("-wheel");
    env.object_names().iter().find(is_tree).map(|found| env.objects().join(found))
}

/// What users said to the owner of the store.
fn said(owner: &TestEnv) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(owner.store().join("users")).expect("the folder of users");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Takes the owner's environment away and deletes what nobody needs.
fn collect(owner: &mut TestEnv) -> pip_accel_tests::Output {
    collectable(owner);
    owner.collect()
}

/// Takes the owner's environment away, and time has passed since.
pub(crate) fn collectable(owner: &mut TestEnv) {
    if owner.venv().exists() {
        std::fs::remove_dir_all(owner.venv()).expect("it is ours");
    }
    owner.travel(A_DAY);
}

/// E17: an environment comes from a lower store without a download; nothing is copied, and nothing there is written but
/// what its owner has to know.
#[test]
fn a_lower_store_is_used_in_place() {
    let Some((owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    let before = ["store", "files", "roots"].map(|name| (name, TreeDigest::of(&owner.store().join(name))));
    user.realize(&["--offline"]).success().says("1 package: ");
    assert_eq!(user.object_names(), Vec::<String>::new(), "an object was copied");
    for (name, digest) in &before {
        digest.assert_unchanged(&owner.store().join(name));
    }
    let link = std::fs::read_link(user.site_packages().join("package")).expect("a link");
    assert!(link.starts_with(owner.objects()), "{link:?}");
    assert_eq!(user.evaluate("import package", "package.__version__"), "1.0");
    assert_eq!(said(&owner).len(), 1, "one root, no lease");
    user.realize(&["--offline"]).success().says("nothing to do");
    user.verify_clean();
    owner.verify_clean();
}

/// E17: a build by the owner is a build for everybody.
#[test]
fn builds_of_a_lower_store_are_used() {
    let sdist = SdistBuilder::simple("built", "1.0").build();
    let Some((owner, user)) = realized_by_owner(&[&sdist]) else { return };
    user.realize(&["--offline"]).success();
    assert_eq!((owner.builds(), user.builds()), (1, 0));
    assert_eq!(user.object_names(), Vec::<String>::new());
    assert_eq!(user.evaluate("import built", "built.__version__"), "1.0");
}

/// E17, B20: what one has and what the other has meet in one environment; each keeps its own.
#[test]
fn both_stores_meet_in_one_environment() {
    let Some((mut owner, mut user)) = realized_by_owner(&[&wheel()]) else { return };
    let other = WheelBuilder::simple("other", "2.0").build();
    user.write("requirements.lock", lock_of(&user, &[&wheel(), &other]).text());
    std::fs::remove_file(user.files().join(&wheel().file_name)).expect("only the lower store has it");
    user.realize(&[]).success().says("2 packages: ");
    assert!(object_of(&user, "other").is_some() && object_of(&user, "package").is_none(), "{:?}", user.object_names());
    collect(&mut owner).success();
    user.travel(A_DAY);
    user.collect().success();
    assert_eq!(user.evaluate("import package, other", "package.__version__ + other.__version__"), "1.02.0");
    user.run(["status"]).success();
}

/// B11, B20: the owner's collection keeps what a user's environment needs, and takes it when that is gone, whether or not
/// the user collects.
#[test]
fn the_owners_collection_respects_users() {
    for collects in [false, true] {
        let Some((mut owner, mut user)) = realized_by_owner(&[&wheel()]) else { return };
        user.realize(&["--offline"]).success();
        collect(&mut owner).success().says("1 roots of other users: they keep objects");
        assert_eq!(user.evaluate("import package", "package.__version__"), "1.0");
        user.run(["status"]).success();
        let object = object_of(&owner, "package").expect("it is kept");
        let id = object.file_name().and_then(|name| name.to_str()).expect("text")[..32].to_owned();
        owner.run(["why", &id]).success().prints("of the user");
        // Another user may look, too, but not at what users said.
        user.run(["--store", owner.store().to_str().expect("text"), "why", &id]).success();
        std::fs::remove_dir_all(user.venv()).expect("root may, and it is ours otherwise");
        if collects {
            user.travel(A_DAY);
            user.collect().success();
            assert_eq!(said(&owner), Vec::<PathBuf>::new(), "the user's collection took it back");
        }
        owner.collect().success();
        assert_eq!(owner.object_names(), Vec::<String>::new());
        assert_eq!(said(&owner), Vec::<PathBuf>::new());
    }
}

/// E15: the owner sees whose roots keep what, and how much that is; it is nobody's secret from himself.
#[test]
fn the_owner_sees_the_roots_of_others() {
    let Some((owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    user.realize(&["--offline"]).success();
    let theirs = format!("environment {} of the user ", user.venv().display());
    owner.run(["roots"]).success().prints(&theirs).prints(&format!("environment {}\n", owner.venv().display()));
    owner.run(["roots", "list", "-v"]).success().prints(&theirs).prints("keeps 2 objects").prints("could free 0 B");
    owner.run(["du"]).success().prints(&theirs).never_mentions("kept by no root");
    let listed = owner.run(["roots", "--json"]).success().json();
    let users: Vec<bool> = listed["roots"].as_array().unwrap().iter().map(|root| root["user"].is_string()).collect();
    assert_eq!(users, [false, true], "{listed}");
    user.run(["roots"]).success().never_mentions("of the user");
    std::fs::remove_dir_all(user.venv()).unwrap();
    let mut later = owner;
    later.travel(A_DAY);
    later.run(["roots"]).success().prints(&format!("{}", user.venv().display())).prints("(gone: ");
}

/// B20: who only looks at a store of another may plan its collection. What he may not read keeps what the owner's collection
/// would keep; he is told that there is such.
#[test]
fn a_plan_of_anothers_collection_says_what_it_cannot_read() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    if !host::is_root() {
        host::skip("a third user needs root");
        return;
    }
    user.realize(&["--offline"]).success();
    let mine = said(&owner).remove(0);
    let name = mine.file_name().and_then(|name| name.to_str()).expect("text");
    let others = mine.with_file_name(format!("4242-{}", name.split_once('-').expect("a number").1));
    std::fs::rename(&mine, &others).expect("root may");
    chown(&others, Some(4242), None).expect("root may");
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(owner.project(), private).expect("ours");
    let plan = |arguments: &[&str]| {
        let store = owner.store();
        let first = ["--store", store.to_str().expect("text"), "gc", "--dry-run", "--min-age", "0"];
        user.run(first.iter().chain(arguments))
    };
    plan(&[]).success().says("1 root or process of others can be read by the owner of the store only");
    assert!(plan(&["--json"]).success().stdout.contains("\"hidden\":1"));
    owner.run(["gc", "--dry-run", "--min-age", "0"]).success().never_mentions("of others can be read");
    collect(&mut owner).success();
}

/// B20: an environment that was moved goes on keeping what it needs of a lower store.
#[test]
fn a_moved_environment_keeps_its_objects() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    user.realize(&["--offline"]).success();
    let moved = user.project().join("moved");
    std::fs::rename(user.venv(), &moved).expect("renamed");
    collect(&mut owner).success();
    assert!(object_of(&owner, "package").is_some());
    user.run(["status", "--venv", "moved"]).says("it is registered at this place now");
    owner.collect().success();
    let output = user.finish({
        let mut python = user.program(moved.join("bin/python"));
        python.args(["-c", "import package; print(package.__version__)"]);
        python
    });
    assert_eq!(output.success().stdout.trim(), "1.0");
}

/// B20, E14: an environment was moved, and another one made in its old place: the lower store's owner keeps what both need.
#[test]
fn a_moved_environment_and_the_one_in_its_old_place_keep_their_objects() {
    let (one, two) = (wheel(), WheelBuilder::simple("package", "2.0").build());
    let Some((mut owner, user)) = realized_by_owner(&[&one]) else { return };
    user.realize(&["--offline"]).success();
    std::fs::rename(user.venv(), user.project().join("moved")).expect("renamed");
    owner.lock(&[&two]);
    owner.realize(&[]).success();
    user.write("requirements.lock", lock_of(&env(), &[&two]).text());
    user.realize(&["--offline"]).success();
    collect(&mut owner).success().says("2 roots of other users: they keep objects");
    for (place, version) in [(".venv", "2.0"), ("moved", "1.0")] {
        let mut python = user.program(user.project().join(place).join("bin/python"));
        python.args(["-c", "import package; print(package.__version__)"]);
        assert_eq!(user.finish(python).success().stdout.trim(), version, "{place}");
    }
}

/// B25, B3: what a running process of a user works with stays, although no root names it yet.
#[test]
fn the_owners_collection_respects_running_processes() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    let release = user.project().join("release");
    let code = format!("import os, time\nwhile not os.path.exists({release:?}): time.sleep(0.02)\n");
    let sdist = SdistBuilder::simple("slow", "1.0").during_build(&code).build();
    user.write("requirements.lock", lock_of(&user, &[&wheel(), &sdist]).text());
    std::fs::remove_file(user.files().join(&wheel().file_name)).expect("only the lower store has it");
    let mut running = user.start(user.realize_command(&["--no-sandbox"]));
    let is_claimed = || said(&owner).iter().any(|path| path.metadata().is_ok_and(|found| found.len() > 0));
    assert!(wait_while_running(&mut running, is_claimed), "{:?}", running.wait());
    collect(&mut owner).success().says("1 running processes of other users");
    std::fs::write(&release, "").expect("written");
    running.wait().success();
    assert_eq!(user.evaluate("import package", "package.__version__"), "1.0");
}

/// B21, B24: whatever a user puts into the folder of users, the collection neither fails nor stops, deletes nothing
/// outside, and takes what is dead. At most it keeps objects that somebody names.
#[test]
fn nonsense_of_users_stops_no_collection() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel(), &WheelBuilder::simple("dead", "1.0").build()]) else {
        return;
    };
    user.write("requirements.lock", lock_of(&env(), &[&wheel()]).text());
    user.realize(&["--offline"]).success();
    let uid = std::os::unix::fs::MetadataExt::uid(&said(&owner)[0].metadata().expect("the root's file"));
    let users = owner.store().join("users");
    let victim = user.write("victim", "precious");
    let name = |number: u32| users.join(format!("{uid}-root-{number:032x}.json"));
    let give = |path: &Path| {
        if host::is_root() {
            std::os::unix::fs::lchown(path, Some(uid), Some(uid)).expect("root may give files away");
        }
    };
    nix::unistd::mkfifo(&name(1), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    symlink(&victim, name(2)).expect("a link");
    std::fs::create_dir(name(3)).expect("a folder");
    std::fs::write(name(4), "[".repeat(1_000_000)).expect("nested");
    std::fs::File::create(name(5)).and_then(|file| file.set_len(1 << 30)).expect("large");
    let text = |kind: &str, location: &str, id: &str| {
        serde_json::json!({ "store": [47], "root": { "format": 1, "kind": kind, "name": "x", "location": location,
            "device": 0, "created_at": 0, "objects": [id] } })
        .to_string()
    };
    let none = "a".repeat(32);
    std::fs::write(name(6), text("environment", "/proc/self/fd/0", &none)).expect("a place that is none");
    std::fs::write(name(7), text("lock", "relative/../..", &none)).expect("a place that is relative");
    std::fs::write(name(8), text("environment", &format!("/{}", "x/".repeat(5000)), &none)).expect("a long place");
    std::fs::write(users.join("0-root-00000000000000000000000000000000.json"), "{}").expect("root's name");
    std::fs::write(users.join(format!("{uid}-lease-p-1")), "not an id\n").expect("a dead lease");
    for entry in said(&owner) {
        give(&entry);
    }
    collect(&mut owner).success().says("says nothing that this program understands");
    assert!(
        object_of(&owner, "dead").is_none() && object_of(&owner, "package").is_some(),
        "{:?}",
        owner.object_names()
    );
    assert_eq!(std::fs::read_to_string(victim).expect("still there"), "precious");
    assert_eq!(user.evaluate("import package", "package.__version__"), "1.0");
    // For the removal of the world.
    std::fs::remove_dir(name(3)).expect("an empty folder");
}

/// A14, A16: a lower store that can't be used is named, with the reason and the remedy; the run goes on without it.
#[test]
fn a_lower_store_that_cannot_be_used_is_said() {
    let Some((owner, mut user)) = realized_by_owner(&[&wheel()]) else { return };
    let store = owner.store();
    let refused = |user: &TestEnv, reason: &str| {
        let output = user.realize(&["--offline"]).fails_with(exit::OFFLINE);
        output.says("warning: the lower store").says(reason).says("hint: ");
        user.run(["doctor", "--offline"]).prints("BAD lower store").prints(reason);
    };
    user.set("PIP_ACCEL_LOWER_STORES", owner.base().join("nowhere"));
    refused(&user, "there is no store at");
    user.set("PIP_ACCEL_LOWER_STORES", &store);
    let users = store.join("users");
    std::fs::rename(&users, store.join("away")).expect("renamed");
    refused(&user, "has no folder in which others say what they use");
    std::fs::rename(store.join("away"), &users).expect("renamed");
    std::fs::set_permissions(store.join("db"), std::fs::Permissions::from_mode(0o777)).expect("ours");
    refused(&user, "can be written to by others than its owner");
    std::fs::set_permissions(store.join("db"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let format = std::fs::read_to_string(store.join("format")).expect("text");
    std::fs::write(store.join("format"), "pip-accel store 99\n").expect("ours");
    refused(&user, "has format 99");
    std::fs::write(store.join("format"), format).expect("ours");
    if host::is_root() {
        chown(store.join("store"), Some(4242), None).expect("root may give folders away");
        refused(&user, "belongs to 4242; only stores of root or of yourself are read");
        chown(store.join("store"), Some(0), None).expect("root may");
        std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o700)).expect("ours");
        refused(&user, "cannot");
        std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    // The own store among the lower ones, and one twice, is no mistake: one file of settings serves everybody.
    let list = format!("{}:{}:{}", user.store().display(), store.display(), store.display());
    user.set("PIP_ACCEL_LOWER_STORES", list);
    user.realize(&["--offline"]).success().never_mentions("warning");
}

/// A14: a lower store on a medium that nobody can write to is read, its database without a place for an index.
#[test]
fn a_lower_store_on_a_read_only_medium_is_used() {
    let Some((owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    if !host::is_root() {
        host::skip("mounting needs root");
        return;
    }
    for has_log in [true, false] {
        if !has_log {
            assert!(owner.store().join("db/store.sqlite-wal").exists(), "it was to be read until now");
            owner.finish(without_log(&owner)).success();
            assert!(!owner.store().join("db/store.sqlite-wal").exists());
        }
        let inner = user.realize_command(&["--offline", "--venv", if has_log { "one" } else { "two" }]);
        let mut command = std::process::Command::new("unshare");
        let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
        command.args(["--mount", "--", "sh", "-c", script]).arg(owner.store()).arg(inner.get_program());
        command.args(inner.get_args()).env_clear().current_dir(user.project());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        user.finish(command).success().never_mentions("warning");
        assert_eq!(said(&owner), Vec::<PathBuf>::new());
        assert_eq!(user.object_names(), Vec::<String>::new());
    }
}

/// Python's SQLite copies the log into the database and deletes it.
fn without_log(owner: &TestEnv) -> std::process::Command {
    let mut python = owner.program(owner.python());
    let code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select count(*) from object').fetchall(); c.close()";
    python.args(["-c", code]).arg(owner.store().join("db/store.sqlite"));
    python
}

/// E14: generations go back to what only the lower store has; E15: what people ask is answered for both stores.
#[test]
fn questions_and_generations_reach_lower_stores() {
    let (one, two) = (wheel(), WheelBuilder::simple("package", "2.0").build());
    let Some((mut owner, mut user)) = realized_by_owner(&[&one]) else { return };
    user.realize(&["--offline"]).success();
    owner.lock(&[&two]);
    owner.realize(&[]).success();
    user.write("requirements.lock", lock_of(&env(), &[&two]).text());
    user.realize(&["--offline"]).success();
    collect(&mut owner).success();
    user.run(["rollback"]).success();
    assert_eq!(user.evaluate("import package", "package.__version__"), "1.0");

    let store = owner.store().display().to_string();
    user.run(["show", "package==1.0"])
        .success()
        .prints("in the lower store: ")
        .prints(&store)
        .prints("kept by: environment");
    user.run(["why", "package==1.0"]).success().prints("environment ").prints("it lies in the lower store ");
    user.run(["du", "--venv", ".venv"]).success().prints("its packages in the lower store ").prints(&store);
    user.run(["verify", "package==1.0"]).fails_with(exit::ERROR).says("is in the lower store").says("hint: ");
    user.run(["doctor", "--offline"]).prints("ok  lower store: ").prints(&store);
    user.run(["config", "show"]).success().prints("lower-stores = ").prints(&store).prints("$PIP_ACCEL_LOWER_STORES");
    user.run(["roots"]).success().prints("environment ");
    user.run(["status"]).success();
    let before = ["store", "files", "roots", "users"].map(|name| (name, TreeDigest::of(&owner.store().join(name))));
    user.travel(A_DAY);
    user.collect().success();
    for (name, digest) in &before {
        digest.assert_unchanged(&owner.store().join(name));
    }
}

/// D23, E17: what a bundle carries and a lower store has is used there: none of it is taken in, and its owner keeps it for
/// as long as the pin of the bundle lasts.
#[test]
fn a_bundle_takes_in_only_what_no_lower_store_has() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    let other = WheelBuilder::simple("other", "2.0").build();
    let far = env();
    far.lock(&[&wheel(), &other]);
    bundle(&far, "bundle.tar", &[]).success();
    for name in ["bundle.tar", "requirements.lock"] {
        user.write(name, std::fs::read(far.project().join(name)).unwrap());
    }
    let report = user.run(["unbundle", "bundle.tar", "--json"]).success().json();
    assert_eq!((&report["added"], &report["present"]), (&1.into(), &1.into()), "{report}");
    assert!(object_of(&user, "package").is_none() && object_of(&user, "other").is_some(), "{:?}", user.object_names());
    collect(&mut owner).success().says("1 roots of other users: they keep objects");
    user.realize(&["--offline"]).success().says("2 packages: 2 from the store");
    assert_eq!(user.evaluate("import package, other", "package.__version__ + other.__version__"), "1.02.0");
    std::fs::remove_dir_all(user.venv()).unwrap();
    let pin = report["pin"].as_str().unwrap();
    user.run(["roots", "remove", pin]).success();
    user.run(["roots", "remove", user.venv().to_str().unwrap()]).success();
    owner.collect().success();
    assert!(object_of(&owner, "package").is_none(), "{:?}", owner.object_names());
}

/// D4, D23: the bundle of a lock carries all of it, wherever it lies.
#[test]
fn a_bundle_carries_what_lies_in_a_lower_store() {
    let sdist = SdistBuilder::simple("built", "1.0").build();
    let Some((owner, user)) = realized_by_owner(&[&wheel(), &sdist]) else { return };
    let other = WheelBuilder::simple("other", "2.0").build();
    let lock = lock_of(&user, &[&wheel(), &sdist, &other]).text();
    user.write("requirements.lock", &lock);
    for file in [&wheel(), &sdist] {
        std::fs::remove_file(user.files().join(&file.file_name)).unwrap();
    }
    for arguments in [&[][..], &["--sources"]] {
        bundle(&user, "bundle.tar", arguments).success().says("objects");
        let far = env();
        far.write("bundle.tar", std::fs::read(user.project().join("bundle.tar")).unwrap());
        far.write("requirements.lock", &lock);
        far.run(["unbundle", "bundle.tar"]).success();
        far.realize(&["--offline"]).success().says("3 packages: 3 from the store");
        assert_eq!(far.builds(), 0);
        far.verify_clean();
    }
    assert_eq!((owner.builds(), user.builds()), (1, 0));
}

/// B20: a pin reaches into a lower store as well, and ends where it is removed.
#[test]
fn pins_reach_lower_stores() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    let object = object_of(&owner, "package").expect("the tree");
    let id = object.file_name().and_then(|name| name.to_str()).expect("text")[..32].to_owned();
    user.run(["roots", "add", "mine", &id]).success();
    collect(&mut owner).success();
    assert!(object.exists());
    user.run(["roots", "remove", "mine"]).success();
    owner.collect().success();
    assert!(!object.exists());
}

/// B20: files of another user can't be hard-linked; they are copied, and the environment works without the lower store.
#[test]
fn copies_of_a_lower_store_stand_alone() {
    let Some((owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    for mode in ["hardlink", "copy"] {
        user.realize(&["--offline", "--link-mode", mode, "--venv", mode]).success();
        let file = user.project().join(mode).join("bin/python");
        let mut python = user.program(file);
        python.args(["-c", "import package; print(package.__file__)"]);
        let place = user.finish(python).success().stdout.trim().to_owned();
        assert!(place.starts_with(user.project().to_str().expect("text")), "{place}");
    }
    owner.verify_clean();
}
