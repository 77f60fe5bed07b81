//! What is checked before it is believed or let in: the bytes of a source, the folder of an object, the owner of a store,
//! words of others, the prefix of an interpreter.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use pip_accel_tests::environment::TEST_USER_ID;
use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, LockWriter, Output, SdistBuilder, TestEnv, WheelBuilder, host, skip};

use crate::store_lifecycle::wait_while_running;
use crate::support::{env, exit, user_env};

/// The folder of the object whose name holds `name` and that has an entry called `entry`.
fn object(env: &TestEnv, name: &str, entry: &str) -> PathBuf {
    let folders = env.object_names().into_iter().filter(|found| found.contains(name));
    folders.map(|found| env.objects().join(found)).find(|folder| folder.join(entry).exists()).unwrap()
}

/// Other bytes in a file of the store, and nothing that a look at its size, mode or time could tell.
fn tamper(file: &Path, bytes: &[u8]) {
    let metadata = file.metadata().unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(file, bytes).unwrap();
    let open = std::fs::File::options().write(true).open(file).unwrap();
    open.set_modified(metadata.modified().unwrap()).unwrap();
    std::fs::set_permissions(file, metadata.permissions()).unwrap();
}

/// The same file with one byte changed: as an attacker would have it, of the same length.
fn evil(file: &BuiltFile) -> Vec<u8> {
    let mut bytes = file.bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

/// An sdist in the store that somebody replaced after it was fetched is not built: the one of the lock is fetched anew.
/// Without a network the run ends.
#[test]
fn a_source_is_read_again_before_it_is_built() {
    let env = env();
    let sdist = SdistBuilder::simple("target", "1.0").build();
    let other = SdistBuilder::simple("target", "1.0").file("src/target/evil.py", "").build();
    env.lock(&[&sdist]);
    env.run(["fetch", "requirements.lock"]).success();
    tamper(&object(&env, "-target-1.0", &sdist.file_name).join(&sdist.file_name), &other.bytes);
    std::fs::rename(env.files(), env.base().join("away")).unwrap();
    std::fs::create_dir(env.files()).unwrap();
    env.realize(&["--offline"]).fails_with(exit::OFFLINE).explains().says("in the store is damaged");
    assert_eq!(env.builds(), 0);
    std::fs::remove_dir(env.files()).unwrap();
    std::fs::rename(env.base().join("away"), env.files()).unwrap();
    env.realize(&[]).success().says(&format!("`{}` in the store is damaged", sdist.file_name));
    assert_eq!(env.evaluate("import importlib.util as u", "u.find_spec('target.evil')"), "None");
    env.verify_clean();
}

/// The same for a wheel whose tree is gone and whose file is still there, changed where it lies: neither it nor what
/// shares its bytes is used.
#[test]
fn a_wheel_is_read_again_before_it_is_unpacked() {
    let env = env();
    let wheel = WheelBuilder::simple("target", "1.0").build();
    env.lock(&[&wheel]);
    env.realize(&[]).success();
    tamper(&object(&env, "-target-1.0", &wheel.file_name).join(&wheel.file_name), &evil(&wheel));
    std::fs::remove_dir_all(object(&env, "-target-1.0", "site")).unwrap();
    env.realize(&[]).success().says(&format!("`{}` in the store is damaged", wheel.file_name)).says("is gone from");
    env.python_code("import target").success();
    env.verify_clean();
}

/// An object whose folder was deleted is fetched anew, said, and whole for the environments that had it before.
#[test]
fn an_object_that_is_gone_is_fetched_anew() {
    for arguments in [&["realize", "requirements.lock", "--venv", "other"][..], &["fetch", "requirements.lock"]] {
        let mut env = env();
        let files = [WheelBuilder::simple("gone", "1.0").build(), WheelBuilder::simple("here", "1.0").build()];
        env.lock(&[&files[0], &files[1]]);
        env.realize(&[]).success();
        std::fs::remove_dir_all(object(&env, "-gone-1.0", "site")).unwrap();
        env.run(["status"]).fails_with(exit::ERROR);
        let python = env.python().to_owned();
        let mut command = env.command(arguments);
        command.arg("--python").arg(&python);
        env.finish(command).success().says("-gone-1.0").says("is gone from the store");
        env.python_code("import gone, here").success();
        env.run(["status"]).success();
        // The root of the first environment still names the object.
        drop(std::fs::remove_dir_all(env.project().join("other")));
        env.travel(7200);
        env.collect().success();
        env.python_code("import gone, here").success();
        env.verify_clean();
    }
}

/// `status` says to realize; that heals, in every link mode, a built object too; offline it is said what is missing.
#[test]
fn realize_makes_an_environment_whole_again() {
    for mode in ["symlink", "copy"] {
        let env = env();
        env.leave_damaged();
        let wheel = WheelBuilder::simple("gone", "1.0").build();
        let sdist = SdistBuilder::simple("built", "1.0").build();
        env.lock(&[&wheel, &sdist]);
        env.realize(&["--link-mode", mode]).success();
        for name in ["-gone-1.0", "-built-1.0"] {
            std::fs::remove_dir_all(object(&env, name, "site")).unwrap();
        }
        env.realize(&["--link-mode", mode]).success().says("1 from the store, 0 fetched, 1 built");
        env.realize(&["--link-mode", mode]).success().says("nothing to do");
        env.python_code("import gone, built").success();
        env.verify_clean();
        std::fs::remove_dir_all(object(&env, "-gone-1.0", "site")).unwrap();
        std::fs::remove_dir_all(object(&env, "-gone-1.0", &wheel.file_name)).unwrap();
        std::fs::remove_dir_all(env.files()).unwrap();
        std::fs::create_dir(env.files()).unwrap();
        env.realize(&["--link-mode", mode, "--offline"]).fails_with(exit::OFFLINE).explains().says("gone==1.0");
    }
}

/// The program as whoever runs the tests, on the store of the user of `env`.
fn as_root(env: &TestEnv, arguments: &[&str]) -> Output {
    let mut command = Command::new(env.binary());
    command.args(arguments).current_dir(env.project()).env_clear();
    for (name, value) in [("PIP_ACCEL_STORE", env.store()), ("HOME", env.home())] {
        command.env(name, value);
    }
    command.env("PIP_ACCEL_CONFIG", env.base().join("pip-accel.conf"));
    env.finish(command)
}

/// Root leaves no file of root in the store of a user.
#[test]
fn root_keeps_out_of_the_store_of_a_user() {
    let Some(env) = user_env().filter(|_| host::is_root()) else { return };
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.lock(&[&wheel]);
    env.realize(&[]).success();
    for arguments in [&["gc"][..], &["realize", "requirements.lock", "--venv", "other"], &["roots", "remove", "x"]] {
        let output = as_root(&env, arguments).fails_with(exit::ERROR).explains();
        output.says("belongs to").says("sudo -u");
    }
    let mut owners = env.program("find");
    owners.arg(env.store()).args(["-uid", "0"]);
    assert_eq!(env.finish(owners).success().stdout, "");
    assert!(!env.project().join("other").exists());
}

/// What root left in a user's store stops no collection: the rest goes, what can't be moved is named and stays usable.
#[test]
fn objects_of_another_user_stop_no_collection() {
    let Some(mut env) = user_env().filter(|_| host::is_root()) else { return };
    let (roots, users) = (WheelBuilder::simple("roots", "1.0").build(), WheelBuilder::simple("users", "1.0").build());
    // Nothing but the present environment keeps anything.
    env.set("PIP_ACCEL_GENERATIONS", "0");
    let both = env.lock(&[&roots, &users]);
    let both = std::fs::read_to_string(both).unwrap();
    env.realize(&[]).success();
    let foreign = object(&env, "-roots-1.0", "site");
    chown(&foreign, Some(0), Some(0)).unwrap();
    env.write("requirements.lock", "");
    env.realize(&[]).success();
    env.travel(7200);
    for _ in 0..2 {
        let output = env.run(["gc"]).fails_with(exit::ERROR).explains();
        output.says(&foreign.display().to_string()).says("the owner is root").says("chown -R");
        assert!(env.object_names().iter().all(|name| name.contains("-roots-1.0")), "{:?}", env.object_names());
    }
    env.write("requirements.lock", both);
    env.realize(&[]).success();
    env.python_code("import roots, users").success();
    env.write("requirements.lock", "");
    env.realize(&[]).success();
    env.travel(20_000);
    chown(&foreign, Some(TEST_USER_ID), Some(TEST_USER_ID)).unwrap();
    env.run(["gc"]).success();
    assert!(env.object_names().is_empty());
    env.verify_clean();
}

/// A program on a terminal of its own, as a person sees it.
fn on_a_terminal(env: &TestEnv, mut command: Command) -> String {
    let mut arguments = vec![command.get_program().to_owned()];
    arguments.extend(command.get_args().map(ToOwned::to_owned));
    command = env.program(env.python());
    command.args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]).args(arguments);
    command.env("TERM", "xterm");
    env.finish(command).stdout
}

/// Words of an index and names of files move no cursor, clear no screen and begin no line.
#[test]
fn what_others_say_reaches_a_terminal_as_text() {
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.add(&wheel);
    let reason = "bad\u{1b}[2J\u{1b}]0;title\u{7}\nerror: all is lost\rhint: run this";
    let server = IndexServer::start(&env.files()).with_yanked(&wheel.file_name, reason);
    let lock = LockWriter::new().line(format!("--index-url {}", server.index_url())).pin(&wheel);
    env.write("requirements.lock", lock.text());
    let plain = env.run(["fetch", "requirements.lock"]).success();
    assert!(plain.stderr.lines().all(|line| !line.starts_with("error:") && !line.contains('\r')), "{plain:?}");
    drop(server);

    let env = self::env();
    env.add(&wheel);
    let server = IndexServer::start(&env.files()).with_yanked(&wheel.file_name, reason);
    let lock = LockWriter::new().line(format!("--index-url {}", server.index_url())).pin(&wheel);
    env.write("requirements.lock", lock.text());
    let shown = on_a_terminal(&env, env.realize_command(&[]));
    assert!(shown.contains("bad") && shown.contains("all is lost"), "{shown:?}");
    for bad in ["\u{1b}[2J", "\u{1b}]0;", "\nerror: all", "\u{7}"] {
        assert!(!shown.contains(bad), "{bad:?} in {shown:?}");
    }
    std::fs::write(env.site_packages().join("x\u{1b}[31m\nred"), "").unwrap();
    let shown = on_a_terminal(&env, env.command(["status"]));
    assert!(shown.contains("x red") && !shown.contains("\u{1b}[31m"), "{shown:?}");
}

/// An interpreter whose prefix is the user's home: a build sees its library, and nothing else of the home.
#[test]
fn a_home_that_is_a_prefix_is_not_shown() {
    let is_own = |found: &host::HostInterpreter| {
        found.implementation == "CPython" && found.version >= (3, 8, 0) && !found.path.starts_with("/usr")
    };
    let Some(real) = host::interpreters().into_iter().rfind(is_own) else {
        return skip("no CPython with a prefix of its own");
    };
    let mut env = env();
    let (home, prefix) = (env.home(), real.path.parent().and_then(Path::parent).unwrap());
    std::fs::create_dir(home.join("bin")).unwrap();
    std::fs::copy(&real.path, home.join("bin/python3")).unwrap();
    for name in ["lib", "include"] {
        std::os::unix::fs::symlink(prefix.join(name), home.join(name)).unwrap();
    }
    std::fs::write(home.join("secret.txt"), "secret").unwrap();
    let python = home.join("bin/python3").display().to_string();
    // Whoever unsets HOME still has a home: there are more signs of one.
    for is_known in [true, false] {
        let code = format!(
            "import os\nwith open('src/probe/result.py', 'w') as file:\n    \
             file.write('RESULT = %r\\n' % sorted(os.listdir({:?})))\n",
            home.display().to_string()
        );
        env.lock(&[&SdistBuilder::simple("probe", "1.0").during_build(&code).build()]);
        if !is_known {
            std::fs::create_dir(home.join(".ssh")).unwrap();
            env.unset("HOME");
            std::fs::remove_dir_all(env.venv()).unwrap();
            env.set("PIP_ACCEL_STORE", env.base().join("second"));
        }
        env.realize(&["--python", &python]).success();
        let seen = env.evaluate("from probe.result import RESULT", "RESULT");
        assert!(seen.contains("'lib'") && !seen.contains("secret"), "{seen}");
    }
}

/// Without a sandbox as with one: daemons end with the build, whether that ends well or by `^C`, and a build may close
/// its output. The second daemon is an orphan that keeps nothing by which it could be found.
#[test]
fn nothing_survives_a_build_without_a_sandbox() {
    for waits in [false, true] {
        let env = env();
        let mark = env.base().join("daemon");
        let code = format!(
            "import os, subprocess, sys, time\n\
             def daemon(environment):\n    \
             code = 'import subprocess; print(subprocess.Popen([\"/bin/sleep\", \"600\"], stdout=2).pid)'\n    \
             return subprocess.check_output([sys.executable, '-c', code], start_new_session=True, cwd='/',\n        \
             env=environment, stderr=subprocess.DEVNULL, text=True)\n\
             daemons = daemon(None) + daemon({{}})\n\
             with open({0:?} + '.new', 'w') as file:\n    file.write(daemons)\n\
             os.rename({0:?} + '.new', {0:?})\n\
             if {1}:\n    time.sleep(600)\n\
             null = os.open('/dev/null', os.O_WRONLY)\nos.dup2(null, 1)\nos.dup2(null, 2)\n",
            mark.display().to_string(),
            if waits { "True" } else { "False" },
        );
        env.lock(&[&SdistBuilder::simple("package", "1.0").during_build(&code).build()]);
        let mut process = env.start(env.realize_command(&["--no-sandbox"]));
        if waits {
            assert!(wait_while_running(&mut process, || mark.exists()), "the build never began");
            process.signal(Signal::SIGINT);
        }
        process.wait().fails_with(if waits { 130 } else { 0 });
        let daemons = std::fs::read_to_string(&mark).unwrap();
        assert_eq!(daemons.lines().count(), 2);
        for daemon in daemons.lines() {
            let state = std::fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
            // A zombie is dead; who adopted it has not looked yet.
            assert!(state.is_empty() || state.contains(") Z ") || !state.contains("(sleep)"), "{state}");
        }
        env.verify_clean();
    }
}
