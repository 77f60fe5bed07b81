//! Scenarios of other stores' test suites that no other module shows: sharing work, waiting, refusing before writing,
//! and what does not belong to a store.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, LockWriter, Running, SdistBuilder, TestEnv, WheelBuilder, host};

use crate::bundles::{BUNDLE, bundle};
use crate::lower_races::stopped_at;
use crate::store_lifecycle::wait_while_running;
use crate::support::{env, exit};

fn noise(megabytes: u32) -> Vec<u8> {
    (0..megabytes << 18).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// A8: six fetch one file from an index, and six take in one bundle, all at once: all succeed, the file was sent once,
/// and each object is there once.
#[test]
fn one_file_for_six_that_want_it_at_once() {
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").file("package/noise.bin", noise(2)).build();
    env.add(&wheel);
    let server = IndexServer::start(&env.files());
    let lock = LockWriter::new().line(format!("--index-url {}", server.index_url())).pin(&wheel);
    env.write("requirements.lock", lock.text());
    let all = |arguments: &dyn Fn(usize) -> Vec<String>, env: &TestEnv| {
        let running: Vec<Running> = (0..6).map(|number| env.spawn(arguments(number))).collect();
        running.into_iter().for_each(|process| drop(process.wait().success()));
    };
    all(
        &|number| ["realize", "requirements.lock", "--venv", &format!("venv-{number}")].map(str::to_owned).into(),
        &env,
    );
    assert_eq!(server.request_count(&format!("/files/{}", wheel.file_name)), 1);
    assert_eq!(env.object_names().len(), 2, "{:?}", env.object_names());
    bundle(&env, BUNDLE, &[]).success();
    let far = crate::support::env();
    far.write(BUNDLE, fs::read(env.project().join(BUNDLE)).unwrap());
    all(&|number| ["unbundle", BUNDLE, "--pin", &format!("pin-{number}")].map(str::to_owned).into(), &far);
    assert_eq!(far.object_names().len(), 1, "{:?}", far.object_names());
    far.verify_clean();
    env.verify_clean();
}

/// A13: a bundle for which there is no room is refused before anything of it is written.
#[test]
fn what_has_no_room_is_refused_before_it_is_written() {
    let env = env();
    let wheel = WheelBuilder::simple("large", "1.0").file("large/noise.bin", noise(8)).build();
    env.lock(&[&wheel]);
    bundle(&env, BUNDLE, &[]).success();
    env.leave_damaged();
    let script = "set -u\nmount -t tmpfs -o size=6m none \"$PIP_ACCEL_STORE\" || exit 77\n\
        \"$0\" gc || exit 10\nbefore=$(stat -f -c %f \"$PIP_ACCEL_STORE\")\n\
        \"$0\" unbundle bundle.tar\ntest $? = 1 || exit 11\n\
        after=$(stat -f -c %f \"$PIP_ACCEL_STORE\")\n\
        test $((before - after)) -lt 64 || exit 12\n\
        \"$0\" verify || exit 13\ntest -z \"$(ls \"$PIP_ACCEL_STORE/tmp\")\" || exit 14\n";
    let mut command = env.program("unshare");
    command.args(if host::is_root() { &["-m"][..] } else { &["-rm"] });
    command.args(["bash", "-c", script]).arg(env.binary());
    let output = env.finish(command);
    if output.code == 77 || output.code == 1 {
        return pip_accel_tests::skip("no tmpfs can be mounted here");
    }
    output.success().explains();
}

/// A12: the disk fills up while a bundle is read, which nobody could know before: the reason is said, nothing of it is in the
/// store, and with room it is taken in.
#[test]
fn a_disk_that_fills_up_while_a_bundle_is_read() {
    let env = env();
    let wheel = WheelBuilder::simple("large", "1.0").file("large/noise.bin", noise(8)).build();
    env.lock(&[&wheel]);
    bundle(&env, BUNDLE, &[]).success();
    env.leave_damaged();
    // The first half, then everything that is left of the disk once the first content is on its way, then the rest.
    let script = "set -u\nstore=$PIP_ACCEL_STORE\nmount -t tmpfs -o size=16m none \"$store\" || exit 77\n\
        \"$0\" gc || exit 10\n\
        halves() { head -c 4000000 bundle.tar; until test -n \"$(find \"$store/tmp\" -type f -size +1000k)\"; do test -e done && exit; done; \
        cat /dev/zero > \"$store/filler\" 2> /dev/null; tail -c +4000001 bundle.tar; }\n\
        halves | \"$0\" unbundle - ; code=$?; touch done\ntest $code = 1 || exit 11\n\
        rm \"$store/filler\" || exit 12\n\"$0\" verify || exit 13\n\
        test -z \"$(ls \"$store/tmp\" \"$store/store\" | grep -v :)\" || exit 14\ntest -z \"$(\"$0\" roots)\" || exit 15\n\
        \"$0\" unbundle bundle.tar || exit 16\n\"$0\" verify || exit 17\n";
    let mut command = env.program("unshare");
    command.args(if host::is_root() { &["-m"][..] } else { &["-rm"] });
    command.args(["bash", "-c", script]).arg(env.binary());
    let output = env.finish(command);
    if output.code == 77 || output.code == 1 {
        return pip_accel_tests::skip("no tmpfs can be mounted here");
    }
    output.success().says("error: no space left for").says("hint: free some space").says("1 object for").says("1 new");
}

/// A8: two processes take in the same bundle at once. Both succeed, and each object is made by one of them only: the other
/// waits and says for whom.
#[test]
fn the_same_bundle_twice_at_once_is_taken_in_once() {
    let near = env();
    near.lock(&[&WheelBuilder::simple("one", "1.0").build(), &WheelBuilder::simple("two", "2.0").build()]);
    bundle(&near, BUNDLE, &[]).success();
    let far = crate::support::env();
    far.write(BUNDLE, fs::read(near.project().join(BUNDLE)).unwrap());
    let first = stopped_at(&far, &["unbundle", BUNDLE, "--json"], "unbundle-verified");
    let said = far.base().join("said.txt");
    let mut command = far.command(["unbundle", BUNDLE, "--json"]);
    command.stdout(fs::File::create(far.base().join("report.json")).unwrap()).stderr(fs::File::create(&said).unwrap());
    let mut second = command.spawn().unwrap();
    let waits =
        || fs::read_to_string(&said).is_ok_and(|text| text.contains(&format!("waiting for process {}", first.id())));
    while !waits() {
        assert!(second.try_wait().unwrap().is_none(), "it did not wait: {:?}", fs::read_to_string(&said));
        std::thread::yield_now();
    }
    first.signal(Signal::SIGCONT);
    let first = first.wait().success().json();
    assert!(second.wait().unwrap().success());
    let second: serde_json::Value = serde_json::from_slice(&fs::read(far.base().join("report.json")).unwrap()).unwrap();
    assert_eq!((&first["added"], &first["present"]), (&2.into(), &0.into()));
    assert_eq!((&second["added"], &second["present"]), (&0.into(), &2.into()));
    far.verify_clean();
}

/// A18: who waits for another's build says so and can be interrupted alone; whoever had it and dies blocks nobody.
#[test]
fn a_lock_is_waited_for_given_up_and_taken_from_the_dead() {
    let env = env();
    let code = "import os, time\nend = time.monotonic() + 600\nwhile time.monotonic() < end: pass\n";
    env.lock(&[&SdistBuilder::simple("slow", "1.0").during_build(code).build()]);
    let mut builder = env.start(env.realize_command(&["--venv", "builder"]));
    let logs = env.store().join("logs");
    let count = || fs::read_dir(&logs).map_or(0, Iterator::count);
    assert!(wait_while_running(&mut builder, || count() == 1), "the build never began");
    let said = env.base().join("said.txt");
    let mut command = env.realize_command(&["--venv", "waiter"]);
    command.stderr(fs::File::create(&said).unwrap());
    let mut waiter = command.spawn().unwrap();
    let has_said = || fs::read_to_string(&said).is_ok_and(|text| text.contains("waiting for"));
    assert!(wait_while_running(&mut builder, has_said), "nobody waited");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(waiter.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(waiter.wait().unwrap().code(), Some(130));
    assert!(!builder.is_finished(), "the build is another's");
    builder.signal(Signal::SIGKILL);
    drop(builder.wait());
    let mut next = env.start(env.realize_command(&["--venv", "next"]));
    assert!(wait_while_running(&mut next, || count() == 2), "the dead one's lock is held");
    next.signal(Signal::SIGINT);
    next.wait().fails_with(130);
    env.verify_clean();
}

/// A19: the same name, version and file name with other bytes is another object: each lock gets its own, and the other
/// one's stays what it was.
#[test]
fn the_same_version_with_other_bytes_is_another_object() {
    let env = env();
    let wheel = |text: &str| -> BuiltFile {
        WheelBuilder::simple("package", "1.0").file("package/value.py", format!("VALUE = '{text}'\n")).build()
    };
    let (old, new) = (wheel("old"), wheel("new"));
    assert_eq!(old.file_name, new.file_name);
    for (venv, file, value) in [("one", &old, "old"), ("two", &new, "new"), ("three", &old, "old")] {
        env.lock(&[file]);
        env.realize(&["--venv", venv]).success();
        let mut python = env.program(env.project().join(venv).join("bin/python"));
        python.args(["-c", "import package.value as p; print(p.VALUE)"]);
        assert_eq!(env.finish(python).success().stdout.trim(), value);
    }
    let trees = env.object_names().into_iter().filter(|name| env.objects().join(name).join("site").exists());
    assert_eq!(trees.count(), 2);
    env.verify_clean();
}

/// B13: what lies among locks, written-down roots, temporary files and the trash and is none, also what would make a
/// reader wait for ever, stops no collection; the lease of a living process counts.
#[test]
fn junk_beside_the_leases_stops_nobody() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("kept", "1.0").build()]);
    env.realize(&[]).success();
    for folder in ["locks", "roots", "tmp", "trash"] {
        let place = env.store().join(folder);
        fs::write(place.join("lease-junk"), "{").unwrap();
        fs::write(place.join("pin-junk.json"), [0xFF, 0]).unwrap();
        fs::create_dir(place.join("lease-folder")).unwrap();
        symlink("/nonexistent", place.join("lease-link")).unwrap();
        symlink(env.project(), place.join("link-to-the-project")).unwrap();
        nix::unistd::mkfifo(&place.join("lease-pipe"), Mode::from_bits_truncate(0o600)).unwrap();
    }
    env.collect().success();
    env.python_code("import kept").success();
    assert!(env.venv().exists(), "a link in the store led out of it");
    env.run(["roots"]).success();
    env.verify_clean();
}

/// B14: only a folder of the store, at its exact name, is an object; what merely looks like one is neither kept as a root
/// nor collected.
#[test]
fn only_exact_paths_are_objects() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
    env.realize(&[]).success();
    let object = env.objects().join(&env.object_names()[0]);
    let text = object.to_str().unwrap();
    let beside = env.store().join("store-of-another").join(object.file_name().unwrap());
    for wrong in [format!("{text}x"), text.replacen("/store/", "/elsewhere/", 1), beside.display().to_string()] {
        let output = env.run(["roots", "add", "wrong", &wrong]);
        assert_ne!(output.code, 0, "{wrong} was taken for an object\n{output:?}");
    }
    env.run(["roots", "add", "right"].map(OsStr::new).into_iter().chain([object.as_os_str()])).success();
    let strays = ["no-object", "lost+found", "0123456789abcdfghijklmnpqrsvwxyz", ".hidden"];
    strays.iter().for_each(|name| fs::create_dir(env.objects().join(name)).unwrap());
    env.collect().success();
    let found = env.run(["verify"]).fails_with(exit::STORE_DAMAGED);
    for name in strays {
        assert!(env.objects().join(name).exists(), "{name} was collected");
        assert!(found.stdout.contains(&format!("{name}: unknown-object")), "{found:?}");
    }
    env.run(["verify", "--repair"]).success();
    assert!(strays.iter().all(|name| !Path::new(&env.objects().join(name)).exists()));
    env.verify_clean();
}
