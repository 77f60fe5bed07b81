//! An environment that was found as recorded is not looked through again while nothing in it changes; whatever does is seen.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use pip_accel_tests::{TestEnv, WheelBuilder};

use crate::store_lifecycle::sqlite;
use crate::support::env;

/// The times of files settle within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// An environment whose check is remembered.
fn remembered() -> TestEnv {
    let env = env();
    let wheel =
        WheelBuilder::simple("known", "1.0").file("known/part.py", "VALUE = 1\n").entry_point("tool", "known:x");
    env.lock(&[&wheel.build(), &WheelBuilder::simple("other", "1.0").build()]);
    env.realize(&[]).success();
    let started = Instant::now();
    while !is_remembered(&env) {
        env.realize(&[]).success().says("nothing to do");
        assert!(started.elapsed() < PATIENCE, "the check is never remembered");
    }
    env
}

fn is_remembered(env: &TestEnv) -> bool {
    sqlite(env, "SELECT count(*) FROM memo WHERE namespace = 'environment-checked/1'").trim() != "[(0,)]"
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
        env.realize(&[]).success().says("nothing to do");
        assert!(!site.join("foreign.py").exists());
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
