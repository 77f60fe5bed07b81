//! An environment that was found as recorded is not looked through again while nothing in it changes; whatever does is seen.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use pip_accel_tests::{TestEnv, WheelBuilder};

use crate::store_lifecycle::sqlite;
use crate::support::env;

/// The times of files settle within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn known() -> WheelBuilder {
    WheelBuilder::simple("known", "1.0").file("known/part.py", "VALUE = 1\n").entry_point("tool", "known:x")
}

/// An environment whose check is remembered.
fn remembered() -> TestEnv {
    let env = env();
    env.lock(&[&known().build(), &WheelBuilder::simple("other", "1.0").build()]);
    env.realize(&[]).success();
    remember(&env);
    env
}

/// Runs until the environment as it is now was checked and the check is remembered.
fn remember(env: &TestEnv) {
    sqlite(env, "DELETE FROM memo WHERE namespace = 'environment-checked/3'");
    let started = Instant::now();
    while sqlite(env, "SELECT count(*) FROM memo WHERE namespace = 'environment-checked/3'").trim() == "[(0,)]" {
        env.realize(&[]).success().says("nothing to do");
        assert!(started.elapsed() < PATIENCE, "the check is never remembered");
    }
}

fn modified(path: &Path) -> std::time::SystemTime {
    path.symlink_metadata().expect("it is there").modified().expect("a time")
}

/// Each change, alone, makes the next run look again and mend it.
#[test]
fn whatever_changes_is_seen_and_mended() {
    let env = remembered();
    let site = env.site_packages();
    let changes: [(&str, &dyn Fn()); 6] = [
        ("a link is gone", &|| std::fs::remove_file(site.join("known")).expect("removed")),
        ("a link leads elsewhere", &|| {
            std::fs::remove_file(site.join("known")).expect("removed");
            symlink(site.join("other"), site.join("known")).expect("linked");
        }),
        ("a file has another length", &|| std::fs::write(env.venv_program("tool"), "#!/bin/sh\n").expect("written")),
        ("a file is gone", &|| std::fs::remove_file(env.venv().join("pyvenv.cfg")).expect("removed")),
        ("somebody put a file in", &|| std::fs::write(site.join("foreign.py"), "").expect("written")),
        ("a folder is gone", &|| std::fs::remove_dir_all(site.join("other-1.0.dist-info")).expect("removed")),
    ];
    for (what, change) in changes {
        change();
        let output = env.realize(&[]).success();
        assert!(!output.stderr.contains("nothing to do"), "{what}: it was not seen\n{output:?}");
        assert_eq!(env.evaluate("import known.part, other", "known.part.VALUE, other.__version__"), "1 1.0", "{what}");
        assert!(!site.join("foreign.py").exists());
        remember(&env);
    }
}

/// What is remembered saves the look into each folder, and a run leaves everything as it is.
#[test]
fn a_remembered_check_changes_nothing() {
    let env = remembered();
    let (folder, manifest) = (env.site_packages(), env.venv().join("pip-accel.json"));
    let before = (modified(&folder), modified(&manifest));
    env.realize(&[]).success().says("nothing to do");
    assert_eq!((modified(&folder), modified(&manifest)), before);
    // Objects lie elsewhere: that they are gone is seen all the same.
    let object = env.object_names().into_iter().find(|name| name.contains("-other-1.0-py3")).expect("its tree");
    std::fs::rename(env.objects().join(&object), env.base().join("elsewhere")).expect("renamed");
    let output = env.realize(&["--offline"]).success();
    assert!(!output.stderr.contains("nothing to do"), "{output:?}");
    assert_eq!(env.evaluate("import known.part, other", "known.part.VALUE, other.__version__"), "1 1.0");
}

/// What decides from outside the environment is asked every time: the lock, the options, pip's configuration, the root.
#[test]
fn another_question_gets_another_answer() {
    let mut env = remembered();
    let (known, other) = (known().build(), WheelBuilder::simple("other", "1.0").build());
    env.lock(&[&known]);
    env.realize(&[]).success().says("1 package: 1 from the store");
    assert!(!env.site_packages().join("other").exists());
    env.lock(&[&known, &other]);
    env.realize(&[]).success().says("2 packages: 2 from the store");
    remember(&env);
    env.realize(&["--link-mode", "copy"]).success().says("2 packages: 2 from the store");
    env.realize(&[]).success().says("2 packages: 2 from the store");
    remember(&env);
    env.set("PIP_NO_BINARY", "known");
    env.realize(&["--offline"]).fails_with(3);
    env.unset("PIP_NO_BINARY");
    env.realize(&[]).success().says("nothing to do");
    // Without its root the next collection would take the objects away.
    sqlite(&env, "DELETE FROM root_object");
    sqlite(&env, "DELETE FROM root");
    env.realize(&[]).success().says("nothing to do");
    assert_eq!(sqlite(&env, "SELECT count(*) FROM root").trim(), "[(1,)]");
}

/// Once a day all is looked at again, so that what is in daily use is known to be.
#[test]
fn a_check_is_not_remembered_for_ever() {
    let mut env = remembered();
    let used = |env: &TestEnv| sqlite(env, "SELECT max(last_used_at) FROM object");
    let before = used(&env);
    env.realize(&[]).success().says("nothing to do");
    assert_eq!(used(&env), before);
    env.travel(2 * 86_400);
    env.realize(&[]).success().says("nothing to do");
    assert_ne!(used(&env), before);
}
