//! What is wrong around a lock: interpreters, mounts, settings, pip's configuration. Rows of `docs/bad-input.md`.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use pip_accel_tests::{Output, TestEnv, TreeDigest, WheelBuilder, host, skip};

use crate::bad_input::with_old_environment;
use crate::support::{env, exit};

/// What a script returns when the machine does not allow what it needs.
const NOT_POSSIBLE: i32 = 77;

/// A FUSE server that knows an empty folder and nothing else, mounted at `argv[1]` under the type `argv[2]` while the
/// command `argv[3:]` runs.
const FUSE_SERVER: &str = include_str!("../data/fuse_server.py");

/// A command in a mount namespace of its own, as root there: what is mounted goes with it.
pub(crate) fn with_own_mounts(env: &TestEnv, program: &str) -> Command {
    let mut command = env.program("unshare");
    command.args(if host::is_root() { &["-m"][..] } else { &["-rm"] }).arg(program);
    command
}

/// Runs it; `None`, and a line that says so, where the machine does not allow it.
pub(crate) fn if_possible(env: &TestEnv, command: Command, what: &str) -> Option<Output> {
    let output = env.finish(command);
    let is_refused = output.code == NOT_POSSIBLE || output.stderr.starts_with("unshare:");
    if is_refused {
        skip(&format!("{what}: {}", output.stderr.trim()));
    }
    (!is_refused).then_some(output)
}

/// Nothing of another process's mounts is seen here; that none is left is seen in the list of this one.
pub(crate) fn assert_no_mounts_left(env: &TestEnv) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*env.base().to_string_lossy()), "{mounts}");
}

#[test]
fn a_mount_point_is_not_replaced() {
    for (prepare, mount) in [
        ("mkdir .venv", "mount -t tmpfs -o size=1m none .venv"),
        ("mkdir .venv && touch .venv/mine", "mount --bind .venv .venv"),
        ("\"$0\" realize first.lock", "mount --bind .venv .venv"),
    ] {
        let env = env();
        env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
        env.write("first.lock", "");
        let script = format!(
            "set -u\n{prepare} || exit 10\n{mount} || exit 77\nfind .venv | sort > before\n\
             \"$0\" realize requirements.lock\ncode=$?\nfind .venv | sort | cmp - before || exit 11\n\
             test -z \"$(find . -maxdepth 1 -name '.venv?*')\" || exit 12\nexit $code\n"
        );
        let mut command = with_own_mounts(&env, "bash");
        command.args(["-c", &script]).arg(env.binary());
        let Some(output) = if_possible(&env, command, "nothing can be mounted here") else { return };
        let output = output.fails_with(exit::ERROR).explains().says(".venv").says("--venv");
        if !prepare.contains("mine") {
            output.says("because it is a mount point");
        }
        assert_no_mounts_left(&env);
        env.verify_clean();
    }
}

/// A real mount that calls itself sshfs; where it leads makes no difference to who must not trust its locks.
#[test]
fn a_store_on_a_network_file_system_is_refused() {
    for kind in ["fuse.sshfs", "fuse.glusterfs"] {
        let env = env();
        with_old_environment(&env);
        let server = env.write("fuse_server.py", FUSE_SERVER);
        let mut command = with_own_mounts(&env, "python3");
        command.arg(server).arg(env.store().join("db")).arg(kind).arg(env.binary());
        command.args(["realize", "requirements.lock", "--venv", "other"]);
        let Some(output) = if_possible(&env, command, "no FUSE here") else { return };
        output.fails_with(exit::ERROR).explains().says("network file system").says(kind).says("--store");
        assert!(!env.project().join("other").exists());
        assert_no_mounts_left(&env);
        env.verify_clean();
    }
}

/// A program that answers like a Python of 2015.
#[test]
fn an_interpreter_that_is_too_old_is_named() {
    let env = env();
    let (venv, _) = with_old_environment(&env);
    let script = format!(
        "#!/bin/sh\n'{}' \"$@\" | sed -e 's/\"version\": \\[3, [0-9]*, [0-9]*\\]/\"version\": [3, 5, 10]/' \\\n\
         -e 's/\"full_version\": \"[^\"]*\"/\"full_version\": \"3.5.10\"/'\n",
        env.python().display()
    );
    let path = env.write("python3.5", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = path.to_str().unwrap();
    let output = env.realize(&["--python", path]).fails_with(exit::ERROR).explains();
    output
        .says("cpython-3.5.10")
        .says("is too old: CPython 2.7, CPython 3.6 or later, or PyPy 3 is needed")
        .says("--python");
    venv.assert_unchanged(&env.venv());
    env.verify_clean();
}

#[test]
fn a_setting_with_a_wrong_value_is_named_with_its_place() {
    for (line, variable, value) in [
        ("jobs = \"many\"", "PIP_ACCEL_JOBS", "many"),
        ("link-mode = \"teleport\"", "PIP_ACCEL_LINK_MODE", "teleport"),
        ("build-timeout = \"soon\"", "PIP_ACCEL_BUILD_TIMEOUT", "soon"),
        ("offline = \"perhaps\"", "PIP_ACCEL_OFFLINE", "perhaps"),
    ] {
        let mut env = env();
        let (venv, _) = with_old_environment(&env);
        let key = line.split(' ').next().unwrap();
        let config = env.base().join("pip-accel.conf");
        std::fs::write(&config, format!("{line}\n")).unwrap();
        let output = env.realize(&[]).fails_with(exit::USAGE).explains();
        output.says(key).says(&config.to_string_lossy()).says("config show");
        std::fs::write(&config, "").unwrap();
        env.set(variable, value);
        let output = env.realize(&[]).fails_with(exit::USAGE).explains();
        output.says(&format!("`{value}` is not a value for `{key}`")).says(variable);
        venv.assert_unchanged(&env.venv());
    }
    let env = env();
    for (text, word) in [("jobs = 1.5\n", "jobs"), ("store = [\"a\"]\n", "store"), ("find-links = 3\n", "find-links")] {
        std::fs::write(env.base().join("pip-accel.conf"), text).unwrap();
        env.run(["config", "show"]).fails_with(exit::USAGE).explains().says(word);
    }
}

#[test]
fn a_pip_configuration_that_cannot_be_read_is_named_with_its_place() {
    let mut env = env();
    let (venv, _) = with_old_environment(&env);
    env.set("PIP_CONFIG_FILE", env.project().join("pip.conf"));
    for (text, words) in [
        (&b"index-url = x\n"[..], "pip.conf:1 can't be read"),
        (b"[global]\n\nno equals sign\n", "pip.conf:3 can't be read"),
        (b"[global]\ntimeout = soon\n", "pip's setting `timeout` in"),
        (b"[global]\nno-index = perhaps\n", "pip.conf is `perhaps`, which is neither true nor false"),
    ] {
        env.write("pip.conf", text);
        env.realize(&[]).fails_with(exit::USAGE).explains().says(words).says("pip config debug");
        venv.assert_unchanged(&env.venv());
    }
    std::fs::remove_file(env.project().join("pip.conf")).unwrap();
    std::fs::create_dir(env.project().join("pip.conf")).unwrap();
    env.realize(&[]).fails_with(exit::USAGE).explains().says("pip.conf").says("can't be read");
    env.set("PIP_CONFIG_FILE", "/dev/null");
    env.set("PIP_RETRIES", "often");
    env.realize(&[]).fails_with(exit::USAGE).explains().says("PIP_RETRIES is `often`, which is no number");
    env.unset("PIP_RETRIES");
    let before = TreeDigest::of(&env.venv());
    env.realize(&[]).success();
    before.assert_unchanged(&env.venv());
}
