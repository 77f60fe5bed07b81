//! What must not be lost or changed when an environment is made, replaced or collected: what is mounted in it, other
//! environments, the objects of one that was put back.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::sys::signal::Signal;
use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{LockWriter, SdistBuilder, TestEnv, WheelBuilder, cleanup};

use crate::bad_surroundings::{assert_no_mounts_left, if_possible, with_own_mounts};
use crate::interrupts::{PLACE_LOCK, held, key_locks_of, waits_with_ears};
use crate::store_lifecycle::wait_while_running;
use crate::support::{env, exit};

/// Locks `a.lock` and `b.lock` with a package of that name each.
fn two_locks(env: &TestEnv) {
    locks(env, &["a", "b"]);
}

/// The same for any names.
fn locks(env: &TestEnv, names: &[&str]) {
    for name in names {
        let wheel = WheelBuilder::simple(name, "1.0").build();
        env.add(&wheel);
        env.write(&format!("{name}.lock"), LockWriter::offline().pin(&wheel).text());
    }
}

fn realize(env: &TestEnv, lock: &str, venv: &str) -> pip_accel_tests::Output {
    let python = env.python().to_str().unwrap();
    env.run(["realize", lock, "--venv", venv, "--python", python])
}

/// Collects everything that nothing needs, and asserts that what stands at `venv` works.
fn collect_and_import(env: &TestEnv, venv: &str, module: &str) {
    env.collect().success();
    let mut command = env.program(env.project().join(venv).join("bin/python"));
    command.args(["-c", &format!("import {module}")]);
    env.finish(command).success();
    env.verify_clean();
}

/// An environment that was moved away, replaced and put back keeps what it needs, whether or not somebody looks at it.
#[test]
fn an_environment_that_is_put_back_keeps_its_objects() {
    for look in ["nothing", "realize", "status"] {
        let env = env();
        two_locks(&env);
        realize(&env, "a.lock", ".venv").success();
        std::fs::rename(env.venv(), env.project().join("bak")).unwrap();
        realize(&env, "b.lock", ".venv").success();
        std::fs::remove_dir_all(env.venv()).unwrap();
        std::fs::rename(env.project().join("bak"), env.venv()).unwrap();
        match look {
            "realize" => drop(realize(&env, "a.lock", ".venv").success().says("nothing to do")),
            "status" => {
                assert_eq!(env.run(["status", "--json"]).success().json()["keeping"], "registered");
                assert_eq!(env.run(["status", "--json"]).success().json()["keeping"], "kept");
            }
            _ => {}
        }
        collect_and_import(&env, ".venv", "a");
        let is_kept = |name: &str| env.object_names().iter().any(|path| path.contains(&format!("-{name}-1.0")));
        // Who looked at it set the root right, so that the other package is of no use any more.
        assert_eq!((is_kept("a"), is_kept("b")), (true, look == "nothing"), "{look}");
    }
}

/// A copy of the old one has the manifest of the old one: the root that comes to it must keep that.
#[test]
fn a_copy_of_an_older_environment_is_found_with_its_own_objects() {
    let env = env();
    two_locks(&env);
    realize(&env, "a.lock", ".venv").success();
    let mut copy = env.program("cp");
    copy.args(["-a", ".venv", "bak"]);
    env.finish(copy).success();
    realize(&env, "b.lock", ".venv").success();
    std::fs::remove_dir_all(env.venv()).unwrap();
    collect_and_import(&env, "bak", "a");
    collect_and_import(&env, "bak", "a");
}

/// Blue and green change places, one of them is realized there and goes: the other must not suffer.
#[test]
fn environments_that_change_places_keep_their_objects() {
    let env = env();
    two_locks(&env);
    realize(&env, "a.lock", "blue").success();
    realize(&env, "b.lock", "green").success();
    let place = |name: &str| env.project().join(name);
    for (from, to) in [("blue", "aside"), ("green", "blue"), ("aside", "green")] {
        std::fs::rename(place(from), place(to)).unwrap();
    }
    collect_and_import(&env, "blue", "b");
    collect_and_import(&env, "green", "a");
    realize(&env, "a.lock", "green").success();
    std::fs::remove_dir_all(place("green")).unwrap();
    env.collect().success().says(&format!("`{}` is gone", place("green").display()));
    collect_and_import(&env, "blue", "b");
    let roots = env.run(["roots", "--json"]).success().json();
    assert_eq!(roots["roots"].as_array().unwrap().len(), 1, "{roots}");
}

/// Two runs for one place take turns, whatever they call it.
#[test]
fn two_names_of_one_place_take_turns() {
    let env = env();
    let slow = SdistBuilder::simple("slow", "1.0")
        .during_build(
            "while True: pass
",
        )
        .build();
    env.lock(&[&slow]);
    env.write("empty.lock", "");
    std::os::unix::fs::symlink(env.project(), env.base().join("alias")).unwrap();
    let mut first = env.start(env.realize_command(&[]));
    let logs = env.store().join("logs");
    let has_log = || std::fs::read_dir(&logs).is_ok_and(|mut entries| entries.next().is_some());
    assert!(wait_while_running(&mut first, has_log), "the build never began");
    let alias = env.base().join("alias/.venv");
    let mut second = env.spawn([Path::new("realize"), Path::new("empty.lock"), Path::new("--venv"), &alias]);
    let (id, turns) = (second.id(), key_locks_of(first.id(), &env.store().join("locks")));
    let waits = || turns.iter().any(|turn| waits_with_ears(id, turn));
    assert!(wait_while_running(&mut second, waits), "the second did not wait");
    first.signal(Signal::SIGINT);
    first.wait().fails_with(130);
    second.wait().success().says("held by process");
    assert!(env.venv().join("pip-accel.json").exists());
    cleanup::remove_tree(&env.venv());
}

/// Runs with two stores have no lock of a store in common; still each waits while the other puts its environment there,
/// and none takes away what the other has just put there without keeping it as a generation.
#[test]
fn two_stores_take_turns_at_one_place() {
    const ROUNDS: usize = 8;
    let env = env();
    locks(&env, &["a", "b", "c", "d"]);
    let python = env.python().display().to_string();
    let stores = ["first", "second"].map(|name| env.base().join(name).display().to_string());
    let run = |store: &str, lock: &str| {
        env.command(["--store", store, "realize", lock, "--python", &python, "--venv", ".venv"])
    };
    for store in &stores {
        env.finish(run(store, "a.lock")).success();
    }
    let place = env.project().join(PLACE_LOCK);
    let lock = held(&place);
    let mut waiting = env.start(run(&stores[1], "b.lock"));
    let id = waiting.id();
    assert!(wait_while_running(&mut waiting, || waits_with_ears(id, &place)), "it did not wait");
    env.python_code("import a").success();
    drop(lock);
    waiting.wait().success().says("held by process");
    env.python_code("import b").success();
    let generation = || {
        let list = std::fs::read_to_string(env.venv().join("pip-accel-generations.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&list).unwrap()["current"].as_u64().unwrap()
    };
    let before = generation();
    std::thread::scope(|scope| {
        for (store, locks) in stores.iter().zip([["c.lock", "a.lock"], ["d.lock", "b.lock"]]) {
            let (env, run) = (&env, &run);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    env.finish(run(store, locks[round % 2])).success();
                }
            });
        }
    });
    // Each run found another environment there, replaced that, and counted it.
    assert_eq!(generation() - before, 2 * ROUNDS as u64);
    env.finish(env.command(["status"])).success();
    assert!(!place.exists());
}

/// `^C` while a warm run links: nothing was fetched in this run. What stood there still does, and nothing else is there.
#[test]
fn interrupted_while_linking_leaves_the_old_environment() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("small", "1.0").build()]);
    env.realize(&[]).success();
    let files = (0..6000).map(|index| (format!("large/part_{}/{index}.txt", index % 60), "text"));
    let large = files.fold(WheelBuilder::simple("large", "1.0"), |wheel, (path, text)| wheel.file(&path, text)).build();
    env.lock(&[&large]);
    env.realize(&["--venv", "other"]).success();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let staged = || {
            let entries = std::fs::read_dir(env.project()).unwrap().flatten();
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("..venv.pip-accel-")).count()
        };
        let mut process = env.start(env.realize_command(&["--link-mode", "copy"]));
        assert!(wait_while_running(&mut process, || staged() > 0), "it never linked");
        process.signal(signal);
        process.wait().fails_with(130).says("interrupted; nothing was changed, what was fetched is kept");
        assert_eq!(staged(), 0);
        env.python_code("import small").success();
        env.run(["status"]).success().says("as realized");
    }
    env.realize(&["--link-mode", "copy"]).success();
    env.python_code("import large").success();
    env.verify_clean();
}

/// A name that is not UTF-8, at the top and further down.
#[test]
fn foreign_entries_whose_names_are_no_text_are_kept() {
    let env = env();
    two_locks(&env);
    realize(&env, "a.lock", ".venv").success();
    let name = OsStr::from_bytes(b"caf\xe9");
    let folder = env.site_packages().join(name);
    std::fs::create_dir(&folder).unwrap();
    for place in [&folder, &env.venv()] {
        std::fs::write(place.join(name).with_extension("txt"), "mine").unwrap();
    }
    let python = env.python().to_str().unwrap();
    env.run(["realize", "b.lock", "--keep-foreign", "--python", python]).success().says("not from the lock, kept");
    for place in [&folder, &env.venv()] {
        assert_eq!(std::fs::read_to_string(place.join(name).with_extension("txt")).unwrap(), "mine");
    }
    env.python_code("import b").success();
}

/// What somebody does to the files of one environment, modes and owners included, reaches no other one.
#[test]
fn environments_share_no_file() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
    for venv in [".venv", "two"] {
        env.realize(&["--venv", venv]).success();
    }
    let metadata = |venv: &str, name: &str| {
        let site = env.site_packages().strip_prefix(env.venv()).unwrap().to_owned();
        env.project().join(venv).join(site).join("package-1.0.dist-info").join(name)
    };
    let read = |venv: &str, name: &str| std::fs::read_to_string(metadata(venv, name)).unwrap();
    let names = ["RECORD", "INSTALLER", "REQUESTED"];
    let before = names.map(|name| read("two", name));
    for name in names {
        let path = metadata(".venv", name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::fs::write(&path, format!("{}added\n", read(".venv", name))).unwrap();
    }
    assert_eq!(names.map(|name| read("two", name)), before);
    env.run(["status", "--venv", "two"]).success();
    env.run(["status"]).fails_with(exit::ERROR).prints("INSTALLER").prints("REQUESTED");
    env.realize(&[]).success();
    assert_eq!(names.map(|name| read(".venv", name)), before);
}

/// A hundred `.dist-info` folders need a hundred inodes less for each file that is the same in all.
#[test]
fn files_that_are_the_same_in_all_packages_are_one() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("one", "1.0").build(), &WheelBuilder::simple("two", "1.0").build()]);
    env.realize(&[]).success();
    let inode = |path: &str| std::fs::metadata(env.site_packages().join(path)).expect("it is there").ino();
    for name in ["INSTALLER", "REQUESTED"] {
        assert_eq!(inode(&format!("one-1.0.dist-info/{name}")), inode(&format!("two-1.0.dist-info/{name}")));
    }
    assert_ne!(inode("one-1.0.dist-info/RECORD"), inode("two-1.0.dist-info/RECORD"));
    // An installer that writes one package anew leaves the other alone.
    std::fs::remove_file(env.site_packages().join("one-1.0.dist-info/INSTALLER")).expect("removed");
    std::fs::write(env.site_packages().join("one-1.0.dist-info/INSTALLER"), "pip\n").expect("written");
    let other = std::fs::read_to_string(env.site_packages().join("two-1.0.dist-info/INSTALLER")).expect("reads");
    assert_eq!(other, "pip-accel\n");
}

/// A virtualenv of another program at the place of the environment.
fn foreign_virtualenv(env: &TestEnv) {
    env.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
    env.write(".venv/bin/mine", "");
}

/// A bind mount has the device of the environment: comparing devices does not tell.
#[test]
fn what_is_mounted_inside_an_environment_stays() {
    for mount in ["mount --bind mine '.venv/my data'", "mount -t tmpfs -o size=1m none '.venv/my data'"] {
        let env = env();
        env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
        env.write("first.lock", "");
        let script = format!(
            "set -u\n\"$0\" realize first.lock || exit 10\nmkdir mine '.venv/my data'\n{mount} || exit 77\n\
             echo mine > '.venv/my data/mine'\nfind .venv | sort > before\n\
             for flag in --keep-foreign --reattach; do \"$0\" realize requirements.lock $flag; code=$?\n\
             test $code = 1 || exit 11\nfind .venv | sort | cmp - before || exit 12\n\
             test -z \"$(find . -maxdepth 1 -name '.*venv?*')\" || exit 13; done\nexit 1\n"
        );
        let mut command = with_own_mounts(&env, "bash");
        command.args(["-c", &script]).arg(env.binary());
        let Some(output) = if_possible(&env, command, "nothing can be mounted here") else { return };
        output
            .fails_with(exit::ERROR)
            .explains()
            .says("something is mounted in it, at `")
            .says("my data")
            .says("--venv");
        assert_no_mounts_left(&env);
        env.verify_clean();
    }
}

/// What a killed run left, with something mounted in it since: the rest may go, that may not.
#[test]
fn what_is_mounted_in_leftovers_stays() {
    let env = env();
    env.write("requirements.lock", "");
    let script = "set -u\nold=..venv.pip-accel-0123456789abcdef\nmkdir -p mine $old/data $old/gone\n\
        echo mine > mine/mine\nmount --bind mine $old/data || exit 77\ntouch -d '1 hour ago' $old\n\
        \"$0\" realize requirements.lock || exit 10\ntest -f mine/mine || exit 11\n\
        umount $old/data\ntouch -d '1 hour ago' $old\n\"$0\" realize requirements.lock --link-mode copy || exit 12\n\
        test ! -e $old || exit 13\ntest -f mine/mine || exit 14\n";
    let mut command = with_own_mounts(&env, "bash");
    command.args(["-c", script]).arg(env.binary());
    if let Some(output) = if_possible(&env, command, "nothing can be mounted here") {
        output.success();
    }
    assert_no_mounts_left(&env);
}

/// A place that can't be had is known before anything is fetched for it.
#[test]
fn the_place_is_looked_at_first() {
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.add(&wheel);
    env.write("requirements.lock", LockWriter::new().pin(&wheel).text());
    let server = IndexServer::start(&env.files());
    let index = server.index_url();
    foreign_virtualenv(&env);
    env.write("file", "");
    for (venv, reason) in
        [(".venv", "a virtualenv of another program"), ("file/env", "file/env"), ("file", "not a dir")]
    {
        let output = env.realize(&["--venv", venv, "--index-url", index.as_str()]);
        output.fails_with(exit::ERROR).explains().says(reason);
    }
    assert_eq!((server.requests().len(), env.object_names()), (0, Vec::new()));
    env.realize(&["--replace", "--index-url", index.as_str()]).success();
    env.python_code("import package").success();
}
