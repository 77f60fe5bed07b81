//! What bad input gets: one clear sentence with the remedy, the documented exit code, the old environment untouched
//! and nothing half registered. One test for each row of the table in `docs/`.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use pip_accel_tests::{BuiltFile, LockWriter, Output, SdistBuilder, TestEnv, TreeDigest, WheelBuilder, host};

use crate::support::{as_root_and_user, env, exit, lock_of, user_env};

/// An environment that was realized and must survive whatever comes.
pub(crate) fn with_old_environment(env: &TestEnv) -> (TreeDigest, Vec<String>) {
    env.lock(&[&WheelBuilder::simple("old", "1.0").build()]);
    env.realize(&[]).success();
    (TreeDigest::of(&env.venv()), env.object_names())
}

/// Realizes `lock` over an old environment and asserts the refusal and that it left no trace.
#[track_caller]
pub(crate) fn refused(env: &TestEnv, lock: &str, code: i32) -> Output {
    let (venv, objects) = with_old_environment(env);
    env.write("requirements.lock", lock);
    let output = env.realize(&[]).fails_with(code).explains();
    venv.assert_unchanged(&env.venv());
    env.python_code("import old").success();
    let kept = env.object_names();
    assert!(objects.iter().all(|object| kept.contains(object)), "objects are gone: {objects:?} → {kept:?}");
    env.verify_clean();
    output
}

fn package() -> BuiltFile {
    WheelBuilder::simple("package", "1.0").build()
}

#[test]
fn an_unpinned_line_is_refused_with_its_line_and_the_command_that_locks_it() {
    for line in ["package", "package>=1", "package==1.*", "package==1.0,<2"] {
        let env = env();
        env.add(&package());
        let lock = format!("--no-index\n--find-links ../files\n\n{line} {}\n", package().hash_option());
        refused(&env, &lock, exit::LOCK_REFUSED).says("package").says("4").says("pip-accel lock requirements.in");
    }
}

#[test]
fn an_unhashed_line_is_refused() {
    let env = env();
    env.add(&package());
    refused(&env, "--no-index\n--find-links ../files\npackage==1.0\n", exit::LOCK_REFUSED)
        .says("package")
        .says("3")
        .says("hash");
}

#[test]
fn an_editable_is_refused() {
    let env = env();
    refused(&env, "-e ../somewhere\n", exit::LOCK_REFUSED).says("somewhere");
}

#[test]
fn a_build_line_that_names_a_file_or_url_is_refused() {
    for place in ["helper @ https://h.example/helper-1.0-py3-none-any.whl", "../files/helper-1.0-py3-none-any.whl"] {
        let env = env();
        let helper = WheelBuilder::simple("helper", "1.0").build();
        env.add(&helper);
        let sdist = SdistBuilder::simple("package", "1.0").build_requires("helper").build();
        let lock = lock_of(&env, &[&sdist])
            .line("#: build package==1.0")
            .line(format!("#:   {place} {}", helper.hash_option()));
        refused(&env, &lock.text(), exit::LOCK_REFUSED).says("requirements.lock:6").says("takes releases only");
        assert_eq!(env.builds(), 0);
    }
}

#[test]
fn a_line_that_is_no_requirement_is_refused() {
    let env = env();
    refused(&env, "!!! what is this\n", exit::LOCK_REFUSED).says("1");
}

#[test]
fn a_file_with_another_hash_is_refused() {
    let env = env();
    env.add(&package());
    let other = WheelBuilder::simple("package", "1.0").file("extra.py", "").build();
    let lock = LockWriter::offline().pin(&other).text();
    refused(&env, &lock, exit::LOCK_REFUSED).says("package");
}

#[test]
fn a_direct_url_whose_content_changed_is_refused() {
    let env = env();
    let path = env.add(&package());
    let wrong = WheelBuilder::simple("package", "1.0").file("extra.py", "").build();
    let lock = format!("package @ file://{} {}\n", path.display(), wrong.hash_option());
    refused(&env, &lock, exit::LOCK_REFUSED).says("package");
}

#[test]
fn a_wheel_for_another_platform_only_is_refused() {
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").tag("cp311-cp311-win_amd64").build();
    let lock = lock_of(&env, &[&wheel]).text();
    refused(&env, &lock, exit::LOCK_REFUSED).says("package");
}

#[test]
fn a_version_the_index_does_not_have_is_refused() {
    let env = env();
    env.add(&package());
    let newer = WheelBuilder::simple("package", "2.0").build();
    refused(&env, &LockWriter::offline().pin(&newer).text(), exit::LOCK_REFUSED).says("package");
}

#[test]
fn two_pins_of_one_package_are_refused() {
    let env = env();
    let other = WheelBuilder::simple("package", "2.0").build();
    let lock = lock_of(&env, &[&package(), &other]).text();
    refused(&env, &lock, exit::LOCK_REFUSED).says("package");
}

#[test]
fn a_lock_that_includes_itself_is_refused() {
    let env = env();
    refused(&env, "-r requirements.lock\n", exit::LOCK_REFUSED).says("requirements.lock");
}

#[test]
fn a_lock_that_is_not_there_is_an_error() {
    let env = env();
    env.run(["realize", "missing.lock"]).fails_with(exit::ERROR).explains().says("missing.lock");
}

#[test]
fn corrupt_archives_are_refused() {
    let wheel = package();
    let sdist = SdistBuilder::simple("package", "1.0").build();
    let garbage = BuiltFile { bytes: b"this is no archive".to_vec(), ..wheel.clone() };
    let broken = [wheel.truncated(200), garbage, sdist.truncated(300)];
    for file in broken {
        let env = env();
        let lock = lock_of(&env, &[&file]).text();
        refused(&env, &lock, exit::ERROR).says("package");
    }
}

#[test]
fn an_sdist_that_lies_about_its_name_or_version_fails_its_build() {
    for (name, version) in [("other", "1.0"), ("package", "1.1")] {
        let env = env();
        let lock = lock_of(&env, &[&SdistBuilder::simple("package", "1.0").claims(name, version).build()]).text();
        refused(&env, &lock, exit::BUILD_FAILED).says(name).says(version);
    }
}

#[test]
fn a_wheel_that_lies_about_its_name_is_refused() {
    let env = env();
    let wheel =
        WheelBuilder::simple("package", "1.0").evil(pip_accel_tests::Evil::MetadataName("other".to_owned())).build();
    refused(&env, &lock_of(&env, &[&wheel]).text(), exit::ERROR).says("other");
}

#[test]
fn a_missing_interpreter_is_named() {
    let env = env();
    let (venv, _) = with_old_environment(&env);
    env.realize(&["--python", "3.99"]).fails_with(exit::ERROR).explains().says("3.99");
    env.realize(&["--python", "/nowhere/python"]).fails_with(exit::ERROR).explains().says("/nowhere/python");
    venv.assert_unchanged(&env.venv());
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let env = env();
    env.run(["realize"]).fails_with(exit::USAGE);
    env.run(["realize", "requirements.lock", "--no-such-flag"]).fails_with(exit::USAGE);
    env.run(["no-such-command"]).fails_with(exit::USAGE);
}

#[test]
fn an_unknown_setting_is_refused() {
    let env = env();
    std::fs::write(env.base().join("pip-accel.conf"), "no-such-setting = 1\n").unwrap();
    env.run(["config", "show"]).fails_with(exit::USAGE).says("no-such-setting");
}

/// A PATH with all system programs but bwrap, or with another one in its place.
fn path_without_bwrap(env: &mut TestEnv, replacement: Option<&str>) {
    let programs = env.base().join("programs");
    std::fs::create_dir(&programs).unwrap();
    for directory in ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"] {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_name() != "bwrap") {
            // The first directory wins, as on a PATH.
            drop(symlink(entry.path(), programs.join(entry.file_name())));
        }
    }
    if let Some(script) = replacement {
        let path = programs.join("bwrap");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    env.set("PATH", &programs);
}

#[test]
fn without_bubblewrap_nothing_is_built() {
    let mut env = env();
    path_without_bwrap(&mut env, None);
    let lock = lock_of(&env, &[&SdistBuilder::simple("package", "1.0").build()]).text();
    refused(&env, &lock, exit::NO_SANDBOX).says("bubblewrap");
    assert_eq!(env.builds(), 0);
    // Wheels need no sandbox.
    env.lock(&[&package()]);
    env.realize(&[]).success();
}

#[test]
fn without_user_namespaces_nothing_is_built() {
    let mut env = env();
    let script = "#!/bin/sh\ncase \"$1\" in --version) echo 'bubblewrap 0.8.0'; exit 0;; esac\n\
                  echo 'bwrap: No permissions to create new namespace, likely because the kernel does not allow \
                  non-privileged user namespaces.' >&2\nexit 1\n";
    path_without_bwrap(&mut env, Some(script));
    let lock = lock_of(&env, &[&SdistBuilder::simple("package", "1.0").build()]).text();
    refused(&env, &lock, exit::NO_SANDBOX).says("namespace");
}

/// The machine changes between the trial run, which is remembered, and the build.
#[test]
fn a_sandbox_that_stops_working_is_no_error_of_the_store() {
    let mut env = env();
    let real = host::program("bwrap").unwrap();
    let broken = env.base().join("broken");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" != --version ] && [ -e {broken} ]; then\n\
         echo 'bwrap: No permissions to create new namespace, likely because the kernel does not allow it.' >&2; exit 1\n\
         fi\nexec {real} \"$@\"\n",
        broken = broken.display(),
        real = real.display()
    );
    path_without_bwrap(&mut env, Some(&script));
    env.lock(&[&SdistBuilder::simple("first", "1.0").build()]);
    env.realize(&[]).success();
    std::fs::write(&broken, "").unwrap();
    let lock = lock_of(&env, &[&SdistBuilder::simple("package", "1.0").build()]).text();
    env.write("requirements.lock", lock);
    // The second time nothing is remembered any more, and the trial run says the same.
    for _ in 0..2 {
        let output = env.realize(&[]).fails_with(exit::NO_SANDBOX).explains();
        output.says("`package==1.0` can't be built without a sandbox").says("namespace").says("hint: or build without");
    }
    std::fs::remove_file(broken).unwrap();
    env.realize(&[]).success();
    env.verify_clean();
}

#[test]
fn no_sandbox_is_explicit_and_recorded() {
    let mut env = env();
    path_without_bwrap(&mut env, None);
    env.lock(&[&SdistBuilder::simple("package", "1.0").build()]);
    env.realize(&["--no-sandbox"]).success().says("sandbox");
    env.run(["show", "package"]).success().prints("sandbox");
}

/// A14: for an environment, what is there already can be asked for again, what is not is refused with the reason.
#[test]
fn a_read_only_store_serves_what_it_has() {
    let Some(env) = user_env() else { return };
    env.leave_damaged();
    with_old_environment(&env);
    let writable = env.store().metadata().unwrap().permissions();
    let read_only = |bits| {
        let mut command = env.program("chmod");
        command.arg("-R").arg(bits).arg(env.store());
        env.finish(command).success();
    };
    read_only("a-w");
    env.run(["verify"]).success();
    env.run(["roots"]).success();
    env.realize(&[]).success().says("1 package: nothing to do");
    env.realize(&["--dry-run", "--venv", "other"]).success().prints("old==1.0: in the store");
    env.realize(&["--venv", "other"]).fails_with(exit::ERROR).explains().says("read-only").says("--store");
    assert!(!env.project().join("other").exists());
    env.lock(&[&package()]);
    env.realize(&[]).fails_with(exit::ERROR).explains();
    env.python_code("import old").success();
    read_only("u+w");
    std::fs::set_permissions(env.store(), writable).unwrap();
}

/// An HTTP server on the loopback device that gives every request the same bytes, until the process ends.
fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/simple/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            drop(stream.read(&mut request));
            drop(stream.write_all(answer));
        }
    });
    url
}

#[test]
fn an_index_that_is_down_is_an_error_with_its_address() {
    let env = env();
    let lock = LockWriter::new().line("--index-url http://127.0.0.1:9/simple/").pin(&package()).text();
    refused(&env, &lock, exit::ERROR).says("127.0.0.1:9");
}

#[test]
fn an_index_that_answers_rubbish_is_an_error() {
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.pypi.simple.v1+json\r\nContent-Length: 9\r\n\r\n{\"files\":",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x01",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"",
    ];
    for answer in answers {
        let env = env();
        let lock = LockWriter::new().line(format!("--index-url {}", server(answer))).pin(&package()).text();
        refused(&env, &lock, exit::ERROR).says("package").says("127.0.0.1");
    }
}

#[test]
fn passwords_appear_nowhere() {
    let env = env();
    let lock = LockWriter::new().line("--index-url http://user:s3cr3t-word@127.0.0.1:9/simple/").pin(&package()).text();
    refused(&env, &lock, exit::ERROR).never_mentions("s3cr3t-word");
}

#[test]
fn offline_names_what_the_store_lacks() {
    let env = env();
    let (venv, _) = with_old_environment(&env);
    env.write("requirements.lock", LockWriter::new().pin(&package()).text());
    env.realize(&["--offline"]).fails_with(exit::OFFLINE).explains().says("package");
    venv.assert_unchanged(&env.venv());
    env.verify_clean();
}

#[test]
fn a_directory_that_is_not_ours_is_left_alone() {
    as_root_and_user(|env| {
        env.lock(&[&package()]);
        env.write(".venv/precious.txt", "mine\n");
        let before = TreeDigest::of(&env.venv());
        env.realize(&[]).fails_with(exit::ERROR).explains().says(".venv");
        env.realize(&["--replace"]).fails_with(exit::ERROR).explains();
        before.assert_unchanged(&env.venv());
        env.verify_clean();
    });
}

#[test]
fn a_file_where_the_environment_should_go_is_left_alone() {
    let env = env();
    env.lock(&[&package()]);
    let path = env.write(".venv", "a file\n");
    env.realize(&[]).fails_with(exit::ERROR).explains().says(".venv");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "a file\n");
}

#[test]
fn a_failed_build_shows_its_last_lines_and_its_log() {
    let env = env();
    let sdist =
        SdistBuilder::simple("package", "1.0").during_build("print('the last words')\nraise SystemExit(7)\n").build();
    let lock = lock_of(&env, &[&sdist]).text();
    refused(&env, &lock, exit::BUILD_FAILED).says("package").says("the last words").says("pip-accel log package");
    env.run(["log", "package"]).success().prints("the last words");
}

#[test]
fn a_damaged_store_is_found() {
    let env = env();
    env.leave_damaged();
    with_old_environment(&env);
    let object = env
        .object_names()
        .into_iter()
        .find(|name| name.contains("-old-1.0") && env.objects().join(name).join("site").is_dir());
    let file = env.objects().join(object.expect("the wheel is in the store")).join("site/old/__init__.py");
    let mode = file.metadata().unwrap().permissions();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, "__version__ = 'evil'\n").unwrap();
    std::fs::set_permissions(&file, mode).unwrap();
    env.run(["verify"]).fails_with(exit::STORE_DAMAGED).prints("old/__init__.py");
    env.run(["verify", "--quick"]).fails_with(exit::STORE_DAMAGED);
}
