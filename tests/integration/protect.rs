//! `protect = immutable`: folders of objects that root can't change either, and a store that still can be collected.

use std::path::{Path, PathBuf};
use std::process::Command;

use pip_accel_tests::{TestEnv, WheelBuilder, host};

use crate::support::{env, exit, user_env};

/// A store whose objects are protected. `None`, and a line that says so, where that is not possible.
fn protected() -> Option<TestEnv> {
    if !host::is_root() || host::program("chattr").is_none() || host::program("lsattr").is_none() {
        host::skip("protecting objects needs root, `chattr` and `lsattr` (e2fsprogs)");
        return None;
    }
    let mut env = env();
    let probe = env.project().join("probe");
    std::fs::create_dir(&probe).expect("the project is writable");
    let can = change_flag("+i", &probe) && change_flag("-i", &probe);
    if !can {
        host::skip("the immutable flag can't be set here (file system or CAP_LINUX_IMMUTABLE)");
        return None;
    }
    env.set("PIP_ACCEL_PROTECT", "immutable");
    Some(env)
}

fn change_flag(change: &str, path: &Path) -> bool {
    Command::new("chattr").arg(change).arg(path).output().is_ok_and(|output| output.status.success())
}

fn is_immutable(path: &Path) -> bool {
    let output = Command::new("lsattr").arg("-d").arg(path).output().expect("it was there a moment ago");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().is_some_and(|flags| flags.contains('i'))
}

fn realized(env: &TestEnv) {
    let wheel = WheelBuilder::simple("guarded", "1.0").file("guarded/deep/data.txt", "data\n");
    env.lock(&[&wheel.build(), &WheelBuilder::simple("second", "1.0").build()]);
    env.realize(&[]).success();
}

/// Every folder of an object, deepest last.
fn folders(top: &Path) -> Vec<PathBuf> {
    let mut folders = vec![top.to_owned()];
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        let entries = std::fs::read_dir(&folder).expect("objects can be read").flatten().map(|entry| entry.path());
        folders.extend(entries.filter(|path| path.is_dir() && !path.is_symlink()));
        next += 1;
    }
    folders
}

fn objects(env: &TestEnv) -> Vec<PathBuf> {
    env.object_names().iter().map(|name| env.objects().join(name)).collect()
}

/// Makes everything dead, collects, and finds nothing left.
fn collect_all(env: &mut TestEnv) {
    std::fs::remove_dir_all(env.venv()).expect("the environment is ours");
    env.travel(2 * 3600);
    env.collect().success();
    assert_eq!(env.object_names(), Vec::<String>::new());
    env.verify_clean();
}

/// Root can neither add, rename nor remove an entry of an object; everything else works, collecting included.
#[test]
fn objects_are_immutable_and_collected() {
    let Some(mut env) = protected() else { return };
    realized(&env);
    for object in objects(&env) {
        for folder in folders(&object) {
            assert!(is_immutable(&folder), "{}", folder.display());
            std::fs::write(folder.join("new"), "").expect_err("root can't add a file");
        }
        std::fs::remove_file(object.join("manifest.json")).expect_err("root can't remove a file");
        std::fs::rename(&object, env.objects().join("elsewhere")).expect_err("root can't move an object");
    }
    env.python_code("import guarded, second").success();
    env.realize(&[]).success().says("nothing to do");
    for mode in ["hardlink", "copy", "symlink"] {
        env.realize(&["--link-mode", mode]).success();
        env.python_code("import guarded, second").success();
    }
    // Equal files are shared with protected objects.
    env.lock(&[&WheelBuilder::simple("guarded", "2.0").file("guarded/deep/data.txt", "data\n").build()]);
    env.realize(&[]).success();
    env.verify_clean();
    collect_all(&mut env);
}

/// As after a crash between two folders, or after a change of the setting.
#[test]
fn half_protected_objects_are_collected() {
    let Some(mut env) = protected() else { return };
    realized(&env);
    for (index, object) in objects(&env).iter().enumerate() {
        for folder in folders(object).iter().skip(index % 2).step_by(2) {
            assert!(change_flag("-i", folder));
        }
    }
    env.set("PIP_ACCEL_PROTECT", "none");
    collect_all(&mut env);
}

/// In a container root lacks the capability: that is said, and nothing is lost.
#[test]
fn without_the_capability_that_is_said_and_nothing_is_lost() {
    let Some(mut env) = protected() else { return };
    if host::program("setpriv").is_none() {
        return host::skip("`setpriv` (util-linux) is needed");
    }
    let powerless = |env: &TestEnv, arguments: &[&str]| {
        let mut command = env.program("setpriv");
        command.args(["--bounding-set", "-linux_immutable", "--"]).arg(env.binary()).args(arguments);
        env.finish(command)
    };
    powerless(&env, &["verify"]).fails_with(exit::ERROR).explains().says("no store");
    realized(&env);
    powerless(&env, &["roots", "add", "pin", &env.object_names()[0]])
        .fails_with(exit::ERROR)
        .explains()
        .says("can't be given the immutable flag");
    let names = env.object_names();
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.travel(2 * 3600);
    env.set("PIP_ACCEL_PROTECT", "auto");
    powerless(&env, &["gc", "--min-age", "0"]).fails_with(exit::ERROR).explains().says("carries the immutable flag");
    powerless(&env, &["verify"]).success();
    assert_eq!(env.object_names(), names);
    env.collect().success();
    assert_eq!(env.object_names(), Vec::<String>::new());
    env.verify_clean();
}

/// `auto` is off for now, and `immutable` is root's: a user's store is as it always was.
#[test]
fn others_stores_are_not_protected() {
    if host::program("lsattr").is_none() {
        return host::skip("`lsattr` (e2fsprogs) is needed");
    }
    for (env, setting) in [(Some(env()), "auto"), (user_env(), "immutable")] {
        let Some(mut env) = env else { continue };
        env.set("PIP_ACCEL_PROTECT", setting);
        realized(&env);
        assert!(objects(&env).iter().all(|object| !is_immutable(object)), "{setting}");
        collect_all(&mut env);
    }
}

/// C1: protected objects are repaired and share their room, and are protected again afterwards.
#[test]
fn protected_objects_are_repaired() {
    let Some(mut env) = protected() else { return };
    realized(&env);
    let guarded = objects(&env).into_iter().find(|object| object.join("site/guarded").exists()).expect("realized");
    let deep = guarded.join("site/guarded/deep");
    assert!(change_flag("-i", &deep));
    std::fs::write(deep.join("stray"), "x").expect("not protected any more");
    std::fs::remove_file(deep.join("data.txt")).expect("not protected any more");
    env.run(["verify"]).fails_with(exit::STORE_DAMAGED).prints("extra-file").prints("missing-file");
    env.run(["verify", "--repair", "--offline"]).success();
    assert_eq!(std::fs::read_to_string(deep.join("data.txt")).expect("repaired"), "data\n");
    env.run(["optimise"]).success();
    for folder in objects(&env).iter().flat_map(|object| folders(object)) {
        assert!(is_immutable(&folder), "{}", folder.display());
    }
    collect_all(&mut env);
}
