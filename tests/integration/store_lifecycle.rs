//! The store under load, when killed, when full, and when collected (scenarios A, B, C of the specification), by its command line.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, LockWriter, Running, SdistBuilder, TestEnv, TreeDigest, WheelBuilder, host};

use crate::bad_surroundings::{if_possible, with_own_mounts};
use crate::support::{env, env_in, exit, lock_of, user_env};

/// Longest time a condition is waited for; far more than any takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A build that keeps a core busy for so many seconds.
fn slow_sdist(name: &str, seconds: f32) -> BuiltFile {
    let code = format!("import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass\n");
    SdistBuilder::simple(name, "1.0").during_build(&code).build()
}

/// A wheel of many files, so that unpacking it takes a while.
fn wheel_of_files(name: &str, version: &str, files: usize) -> BuiltFile {
    let module = name.replace('-', "_");
    let wheel = (0..files).fold(WheelBuilder::simple(name, version), |wheel, index| {
        wheel.file(&format!("{module}/part_{index}.py"), format!("VALUE = '{version} {index}'\n"))
    });
    wheel.build()
}

/// Waits until `condition` holds while `process` runs; false when the process ended first.
pub(crate) fn wait_while_running(process: &mut Running, condition: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if process.is_finished() {
            return false;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long");
        std::thread::yield_now();
    }
}

fn has_entries(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// A1: six at once in six environments: all succeed and the builder ran once.
#[test]
fn six_parallel_realizes_build_once() {
    let env = env();
    env.lock(&[&slow_sdist("shared", 1.0), &WheelBuilder::simple("wheel", "1.0").build()]);
    let running: Vec<Running> =
        (0..6).map(|index| env.start(env.realize_command(&["--venv", &format!("venv-{index}")]))).collect();
    for process in running {
        process.wait().success();
    }
    assert_eq!(env.builds(), 1);
    env.verify_clean();
}

/// A2: one fails with a hash mismatch while another builds the same target: no deadlock, the other succeeds.
#[test]
fn a_parallel_mismatch_does_not_disturb_a_running_build() {
    let env = env();
    let sdist = slow_sdist("shared", 2.0);
    env.lock(&[&sdist]);
    let other = SdistBuilder::simple("shared", "1.0").build();
    env.write("wrong.lock", LockWriter::offline().pin(&other).text());
    let mut building = env.start(env.realize_command(&[]));
    assert!(wait_while_running(&mut building, || has_entries(&env.store().join("tmp"))), "the build never began");
    env.run(["realize", "wrong.lock", "--venv", "wrong"]).fails_with(exit::LOCK_REFUSED).explains();
    building.wait().success();
    env.verify_clean();
}

/// A3: one build fails while others run: they are called cancelled, not failed, and nothing of them stays.
#[test]
fn a_failing_build_cancels_the_others() {
    let env = env();
    let failing = SdistBuilder::simple("failing", "1.0").during_build("raise SystemExit(1)\n").build();
    env.lock(&[&failing, &slow_sdist("slow", 600.0)]);
    let started = Instant::now();
    let output = env.realize(&["-j", "2"]).fails_with(exit::BUILD_FAILED).explains().says("failing");
    assert!(started.elapsed() < Duration::from_secs(300), "it waited for a build whose result nobody wants");
    let output = output.says("cancelled because of that: 1 package");
    assert!(!output.stderr.contains("slow==1.0` failed"), "{output:?}");
    env.verify_clean();
}

/// A4: killed while a wheel of many files is unpacked: nothing under its final name, the next run heals, nothing is left.
#[test]
fn killed_while_importing_leaves_nothing() {
    let env = env();
    let wheel = wheel_of_files("large", "1.0", 400);
    // The store is there before: what is killed is the import, not the making of the store.
    env.lock(&[]);
    env.realize(&[]).success();
    env.lock(&[&wheel]);
    let mut process = env.start(env.realize_command(&[]));
    let began = wait_while_running(&mut process, || has_entries(&env.store().join("tmp")));
    process.signal(Signal::SIGKILL);
    let output = process.wait();
    assert!(began || output.code == 0, "{output:?}");
    env.run(["verify"]).success();
    env.realize(&[]).success();
    assert_eq!(env.evaluate("from large import part_399", "part_399.VALUE"), "1.0 399");
    env.collect().success();
    env.verify_clean();
}

/// A5: killed at ten moments spread over the run: the environment is the old or the new one, the store is whole.
#[test]
fn killed_at_any_time_leaves_old_or_new() {
    let (one, two) = (wheel_of_files("swap", "1.0", 60), wheel_of_files("swap", "2.0", 60));
    let baseline = {
        let env = env();
        env.lock(&[&one, &SdistBuilder::simple("built", "1.0").build()]);
        let started = Instant::now();
        env.realize(&[]).success();
        started.elapsed()
    };
    for round in 0..10u32 {
        let env = env();
        env.lock(&[&one]);
        env.realize(&[]).success();
        env.lock(&[&two, &SdistBuilder::simple("built", "1.0").build()]);
        let process = env.start(env.realize_command(&[]));
        // Nothing is waited for but the moment itself: the channel never receives.
        let (_keep, moment) = mpsc::channel::<()>();
        assert!(moment.recv_timeout(baseline * 11 * round / 100).is_err());
        process.signal(Signal::SIGKILL);
        drop(process.wait());
        let version = env.evaluate("import swap, swap.part_59", "swap.__version__, swap.part_59.VALUE");
        assert!(["1.0 1.0 59", "2.0 2.0 59"].contains(&version.as_str()), "round {round}: {version}");
        env.run(["verify"]).success();
        env.realize(&[]).success();
        assert_eq!(env.evaluate("import swap, built", "swap.__version__"), "2.0");
        env.verify_clean();
    }
}

/// `^C` ends the builds, leaves nothing half registered and has its own exit code.
#[test]
fn interrupted_leaves_nothing_running() {
    let env = env();
    env.lock(&[&slow_sdist("slow", 600.0)]);
    let mut process = env.start(env.realize_command(&[]));
    // A log is there when the build begins, long after the store was made and the signal is listened for.
    let logs = env.store().join("logs");
    assert!(wait_while_running(&mut process, || has_entries(&logs)), "the build never began");
    process.signal(Signal::SIGINT);
    process.wait().fails_with(130);
    assert!(!env.venv().exists());
    env.verify_clean();
}

/// A12: no space left: an error that says so, nothing left behind, and the store works.
#[test]
fn a_full_disk_is_an_error_and_the_store_still_works() {
    let env = env();
    // Random enough not to be packed: the digests of a counter.
    let noise: Vec<u8> =
        (0..300_000u32).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes().into_iter().rev()).collect();
    let large = (0..12u8).fold(WheelBuilder::simple("large", "1.0"), |wheel, index| {
        let mut content = noise.clone();
        content.push(index);
        wheel.file(&format!("large/noise_{index}.bin"), content)
    });
    env.lock(&[&WheelBuilder::simple("small", "1.0").build()]);
    let large = large.build();
    env.add(&large);
    env.write("large.lock", LockWriter::offline().pin(&large).text());
    let script = "set -u\nmount -t tmpfs -o size=6m none \"$PIP_ACCEL_STORE\" || exit 77\n\
        \"$0\" realize requirements.lock || exit 10\n\
        \"$0\" realize large.lock --venv large\ncode=$?\n\
        test $code = 1 || exit 11\n\
        test ! -e large || exit 12\n\
        \"$0\" verify || exit 13\n\
        test -z \"$(find \"$PIP_ACCEL_STORE/tmp\" -type f)\" || exit 14\n\
        .venv/bin/python -c 'import small' || exit 15\n\
        \"$0\" realize requirements.lock --venv again || exit 16\n";
    std::fs::create_dir(env.store()).unwrap();
    let mut command = env.program("unshare");
    command.args(if host::is_root() { &["-m"][..] } else { &["-rm"] });
    command.args(["bash", "-c", script]).arg(env.binary());
    let output = env.finish(command);
    if output.code == 77 || output.code == 1 {
        return pip_accel_tests::skip("no tmpfs can be mounted here");
    }
    output.success().says("space");
}

/// A12: several packages find no room: that is said once, with what is free and what is needed.
#[test]
fn a_full_disk_is_said_once() {
    let env = env();
    let wheels: Vec<BuiltFile> = (0..4u8)
        .map(|number| {
            let noise: Vec<u8> = (0..50_000_u64)
                .flat_map(|index| *blake3::hash(&[&index.to_le_bytes()[..], &[number]].concat()).as_bytes())
                .collect();
            WheelBuilder::simple(&format!("large-{number}"), "1.0")
                .file(&format!("large_{number}/noise.bin"), noise)
                .build()
        })
        .collect();
    wheels.iter().for_each(|wheel| drop(env.add(wheel)));
    let server = IndexServer::start(&env.files());
    let lock = LockWriter::new().line(format!("--index-url {}", server.index_url()));
    env.write("requirements.lock", wheels.iter().fold(lock, |lock, wheel| lock.pin(wheel)).text());
    std::fs::create_dir(env.store()).unwrap();
    let script =
        "mount -t tmpfs -o size=1500k none \"$PIP_ACCEL_STORE\" || exit 77\n\"$0\" realize requirements.lock\n";
    let mut command = with_own_mounts(&env, "bash");
    command.args(["-c", script]).arg(env.binary());
    let Some(output) = if_possible(&env, command, "no tmpfs can be mounted here") else { return };
    let output = output.fails_with(exit::ERROR).explains();
    assert_eq!(output.stderr.matches("space left").count(), 2, "one sentence, with the system's words: {output:?}");
    assert_eq!(output.stderr.matches("hint:").count(), 1, "{output:?}");
    output.says("are free; the downloads alone need").says("pip-accel gc").never_mentions("also:");
}

/// A14, A15: a store that can't be written answers questions and serves what it has.
#[test]
fn a_read_only_store_answers_questions() {
    let Some(env) = user_env() else { return };
    env.leave_damaged();
    let wheel = WheelBuilder::simple("known", "1.0").build();
    env.lock(&[&wheel]);
    env.realize(&[]).success();
    let chmod = |bits: &str| {
        let mut command = env.program("chmod");
        command.args(["-R", bits]).arg(env.store());
        env.finish(command).success();
    };
    chmod("a-w");
    let before = TreeDigest::of(&env.store());
    env.run(["verify"]).success();
    env.run(["show", "known"]).success().prints("1.0");
    env.run(["gc", "--dry-run"]).success();
    env.run(["gc"]).fails_with(exit::ERROR).explains();
    before.assert_unchanged(&env.store());
    chmod("u+w");
}

/// The rows that a statement gives, as Python prints them.
pub(crate) fn sqlite(env: &TestEnv, statement: &str) -> String {
    let code = "import glob, sqlite3, sys\npath, = [p for p in glob.glob(sys.argv[1] + '/db/*') if not p.endswith(('-wal', '-shm'))]\n\
        connection = sqlite3.connect(path)\nprint(connection.execute(sys.argv[2]).fetchall())\nconnection.commit()\n";
    let mut command = env.program(env.python());
    command.args(["-c", code]).arg(env.store()).arg(statement);
    env.finish(command).success().stdout
}

/// A16: a store that a newer version wrote is refused, with the reason, and not touched. (There is one version of the
/// format so far; that older ones are migrated is shown by `store/src/db/mod.rs`.)
#[test]
fn a_newer_store_is_refused() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("known", "1.0").build()]);
    env.realize(&[]).success();
    sqlite(&env, "PRAGMA user_version = 9999");
    let objects = TreeDigest::of(&env.objects());
    env.realize(&["--venv", "other"]).fails_with(exit::ERROR).explains().says("newer");
    env.run(["gc"]).fails_with(exit::ERROR).explains();
    objects.assert_unchanged(&env.objects());
    assert!(sqlite(&env, "PRAGMA user_version").contains("9999"));
}

/// A17: characters that mean something in URLs, shells and SQL mean nothing in the store's path.
#[test]
fn strange_store_paths_work() {
    for directory in ["what?mode=memory", "a#b", "two words", "é 中", "100%41", "quote'd"] {
        let env = env_in(directory);
        env.lock(&[&WheelBuilder::simple("known", "1.0").build()]);
        env.realize(&[]).success();
        env.verify_clean();
        env.collect().success();
        env.python_code("import known").success();
    }
}

/// B1: what an environment holds survives; without it, it goes; `--dry-run` tells the same before.
#[test]
fn gc_keeps_what_an_environment_needs_and_nothing_else() {
    let env = env();
    let (kept, dead) = (WheelBuilder::simple("kept", "1.0").build(), SdistBuilder::simple("dead", "1.0").build());
    env.lock(&[&kept]);
    env.realize(&[]).success();
    env.write("dead.lock", lock_of(&env, &[&dead]).text());
    env.run(["realize", "dead.lock", "--venv", "doomed"]).success();
    let before = TreeDigest::of(&env.venv());
    env.collect().success();
    assert!(env.object_names().iter().any(|name| name.contains("-dead-1.0")));

    std::fs::remove_dir_all(env.project().join("doomed")).unwrap();
    let plan = env.run(["gc", "--dry-run", "--min-age", "0"]).success();
    assert!(plan.stdout.contains("-dead-1.0") && !plan.stdout.contains("-kept-1.0"), "{plan:?}");
    env.collect().success().prints("-dead-1.0");
    assert!(env.object_names().iter().all(|name| !name.contains("-dead-1.0")));
    assert!(env.object_names().iter().any(|name| name.contains("-kept-1.0")));
    env.python_code("import kept").success();
    before.assert_unchanged(&env.venv());
    env.verify_clean();
}

/// B1: young objects are spared without being asked to; the clock is the program's.
#[test]
fn young_objects_are_never_dead() {
    let mut env = env();
    env.lock(&[&WheelBuilder::simple("young", "1.0").build()]);
    env.run(["fetch", "requirements.lock"]).success();
    let before = env.object_names();
    assert!(!before.is_empty());
    sqlite(&env, "DELETE FROM root_object");
    env.run(["gc"]).success();
    assert_eq!(env.object_names(), before);
    env.travel(2 * 60 * 60);
    env.run(["gc"]).success();
    assert!(env.object_names().is_empty(), "{:?}", env.object_names());
}

/// B2, B3: gc neither waits for a running build nor takes what it uses: its inputs, and what waits for it.
#[test]
fn gc_and_a_parallel_build_do_not_disturb_each_other() {
    let env = env();
    env.write("dead.lock", lock_of(&env, &[&WheelBuilder::simple("dead", "1.0").build()]).text());
    env.run(["realize", "dead.lock", "--venv", "doomed"]).success();
    std::fs::remove_dir_all(env.project().join("doomed")).unwrap();
    // Fetched, but rooted by nothing but the running process: the wheel beside the slow build, and what that needs.
    let helper = WheelBuilder::simple("helper", "1.0").build();
    env.add(&helper);
    let code = "import helper, time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: import helper\n";
    let slow = SdistBuilder::simple("slow", "1.0").build_requires("helper==1.0").during_build(code).build();
    let lock = lock_of(&env, &[&WheelBuilder::simple("leased", "1.0").build(), &slow])
        .line("#: build slow==1.0")
        .line(format!("#:   helper==1.0 {}", helper.hash_option()));
    env.write("requirements.lock", lock.text());
    let mut building = env.start(env.realize_command(&[]));
    let has = |name: &str| env.object_names().iter().any(|object| object.contains(name));
    let leased = || has("-leased-1.0") && has("-helper-1.0") && env.builds() > 0;
    assert!(wait_while_running(&mut building, leased), "the build never began");
    env.collect().success().prints("-dead-1.0");
    assert!(!building.is_finished(), "it was over before gc was");
    assert!(leased(), "gc took what a running process uses");
    building.wait().success();
    env.python_code("import leased, slow").success();
    env.verify_clean();
}

/// B9: what was deleted and comes back is whole, not remembered.
#[test]
fn what_was_deleted_can_come_back() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("back", "1.0").build(), &SdistBuilder::simple("built", "1.0").build()]);
    for _ in 0..3 {
        env.realize(&[]).success();
        env.python_code("import back, built").success();
        std::fs::remove_dir_all(env.venv()).unwrap();
        env.collect().success();
        assert!(env.object_names().is_empty(), "{:?}", env.object_names());
        env.verify_clean();
    }
    assert_eq!(env.builds(), 3);
}

/// B12: an environment that can't be looked at is not a dead one, and while it is not known what it needs nothing is
/// deleted, not even what is dead for certain.
#[test]
fn an_unreadable_root_deletes_nothing() {
    let Some(env) = user_env() else { return };
    env.write("dead.lock", lock_of(&env, &[&WheelBuilder::simple("dead", "1.0").build()]).text());
    env.run(
        ["realize", "dead.lock", "--venv"]
            .map(std::ffi::OsStr::new)
            .into_iter()
            .chain([env.base().join("files/doomed").as_os_str()]),
    )
    .success();
    std::fs::remove_dir_all(env.files().join("doomed")).unwrap();
    env.lock(&[&WheelBuilder::simple("kept", "1.0").build()]);
    env.realize(&[]).success();
    let before = TreeDigest::of(&env.objects());
    let collect = |arguments: &[&str]| {
        let mut command = env.command(arguments);
        command.current_dir(env.base());
        env.finish(command)
    };
    std::fs::set_permissions(env.project(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let outputs = [collect(&["gc", "--min-age", "0"]), collect(&["gc", "--min-age", "0", "--dry-run"])];
    std::fs::set_permissions(env.project(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for output in outputs {
        output.fails_with(exit::ERROR).explains().says("cannot examine the environment root").says(".venv");
    }
    before.assert_unchanged(&env.objects());
    env.python_code("import kept").success();
    collect(&["gc", "--min-age", "0"]).success().prints("-dead-1.0");
    env.python_code("import kept").success();
}

/// A pin keeps what no environment needs.
#[test]
fn a_pin_keeps_an_object() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("pinned", "1.0").build()]);
    env.realize(&[]).success();
    let object = env.object_names().into_iter().find(|name| env.objects().join(name).join("site").is_dir()).unwrap();
    let path = env.objects().join(&object);
    env.run(["roots", "add", "keep"].map(std::ffi::OsStr::new).into_iter().chain([path.as_os_str()])).success();
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.collect().success();
    assert!(path.is_dir());
    env.run(["roots", "remove", "keep"]).success();
    env.collect().success();
    assert!(!path.exists());
}

/// Equal files of different packages share one inode.
#[test]
fn equal_files_are_kept_once() {
    let env = env();
    let text = "# a licence that everybody has\n".repeat(100);
    let wheel = |name: &str| WheelBuilder::simple(name, "1.0").file(&format!("{name}/LICENCE"), &text).build();
    // One after the other: two that are unpacked in the same moment may miss each other.
    env.lock(&[&wheel("one")]);
    env.realize(&[]).success();
    env.lock(&[&wheel("one"), &wheel("two")]);
    env.realize(&[]).success();
    let inode = |name: &str| env.site_packages().join(name).join("LICENCE").metadata().unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
}
