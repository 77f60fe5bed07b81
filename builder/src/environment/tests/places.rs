//! Destinations: what is replaced, what is refused, and what is there after a failure.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use super::super::*;
use super::support::*;

fn demo(store: &Path, version: &str) -> Object {
    Package::new("demo", version).file("site/demo/__init__.py", &format!("VERSION = '{version}'\n")).object(store)
}

fn realize_at(destination: &Path, world: &World, objects: &[&Object]) -> Result<Realized, EnvironmentError> {
    let trees: Vec<PackageTree<'_>> = objects.iter().map(|object| object.tree()).collect();
    realize_environment(&request(destination, &python3(), &trees, &world.store()))
}

#[test]
fn an_environment_is_replaced_in_one_step_and_the_old_one_goes() {
    let world = World::new();
    let python = python3();
    let (old, new) = (demo(&world.store(), "1.0"), demo(&world.store(), "2.0"));
    world.realize(&python, &[&old]);
    let inode = fs::metadata(world.destination()).expect("is there").ino();
    let realized = world.realize(&python, &[&new]);
    assert!(realized.replaced && realized.leftover.is_none() && realized.foreign.is_empty());
    assert_ne!(fs::metadata(world.destination()).expect("is there").ino(), inode);
    assert_eq!(names(world.directory.path()), ["env", "store root"]);
    let site = world.destination().join(&python.site_packages);
    assert!(site.join("demo-2.0.dist-info").exists() && !site.join("demo-1.0.dist-info").exists());
}

#[test]
fn what_is_not_ours_is_refused_and_stays() {
    let world = World::new();
    let object = demo(&world.store(), "1.0");
    let base = world.directory.path();
    let project = base.join("project");
    fs::create_dir(&project).expect("creates");
    for name in ["a", "b", "c", "d"] {
        fs::write(project.join(name), name).expect("writes");
    }
    let error = realize_at(&project, &world, &[&object]).expect_err("is refused");
    assert!(error.to_string().contains("a directory with `a`, `b`, `c` and 1 more"), "{error}");
    assert_eq!(names(&project), ["a", "b", "c", "d"]);

    let file = base.join("file");
    fs::write(&file, "text").expect("writes");
    assert!(matches!(realize_at(&file, &world, &[&object]), Err(EnvironmentError::NotOurs { .. })));
    let below_file = realize_at(&file.join("env"), &world, &[&object]);
    assert!(matches!(below_file, Err(EnvironmentError::Io { .. })), "{below_file:?}");

    let virtualenv = base.join("virtualenv");
    fs::create_dir_all(virtualenv.join("lib")).expect("creates");
    fs::write(virtualenv.join("pyvenv.cfg"), "home = /usr/bin\n").expect("writes");
    let error = realize_at(&virtualenv, &world, &[&object]).expect_err("is refused");
    assert!(matches!(error, EnvironmentError::NotOurs { is_virtualenv: true, .. }), "{error}");
    assert_eq!(names(&virtualenv), ["lib", "pyvenv.cfg"]);
    assert_eq!(names(base), ["file", "project", "store root", "virtualenv"]);
}

#[test]
fn empty_directories_are_taken_and_parents_are_made() {
    let world = World::new();
    let object = demo(&world.store(), "1.0");
    fs::create_dir(world.destination()).expect("creates");
    let realized = realize_at(&world.destination(), &world, &[&object]).expect("realizes");
    assert!(!realized.replaced);
    let deep = world.directory.path().join("a/b/c");
    realize_at(&deep, &world, &[&object]).expect("realizes");
    assert!(deep.join("pyvenv.cfg").exists());
}

#[test]
fn a_symbolic_link_is_followed_and_stays() {
    let world = World::new();
    let object = demo(&world.store(), "1.0");
    let base = world.directory.path();
    fs::create_dir(base.join("real")).expect("creates");
    symlink("real", base.join("link")).expect("links");
    for expected in [false, true] {
        let realized = realize_at(&base.join("link"), &world, &[&object]).expect("realizes");
        assert_eq!(realized.replaced, expected);
    }
    assert_eq!(fs::read_link(base.join("link")).expect("a link"), Path::new("real"));
    let activate = fs::read_to_string(base.join("real/bin/activate")).expect("reads");
    assert!(activate.contains(&format!("{}/link", base.display())), "{activate}");
    symlink("nowhere", base.join("dangling")).expect("links");
    let error = realize_at(&base.join("dangling"), &world, &[&object]).expect_err("is refused");
    assert!(matches!(error, EnvironmentError::Destination { .. }), "{error}");
    assert_eq!(names(base), ["dangling", "link", "real", "store root"]);
}

#[test]
fn destinations_that_scripts_cannot_name_are_refused() {
    let world = World::new();
    let object = demo(&world.store(), "1.0");
    let base = world.directory.path();
    let not_utf8 = base.join(OsStr::from_bytes(b"caf\xe9"));
    let relative = Path::new("relative");
    for (bad, reason) in [
        (not_utf8.as_path(), "UTF-8"),
        (relative, "absolute"),
        (&base.join("a:b"), "colon"),
        (&base.join("a\nb"), "control"),
        (&base.join("a/../b"), "`..`"),
        (Path::new("/"), "root"),
    ] {
        let error = realize_at(bad, &world, &[&object]).expect_err("is refused").to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(names(base), ["store root"]);
}

#[test]
fn a_failure_leaves_the_old_environment_and_nothing_beside_it() {
    let world = World::new();
    let python = python3();
    let (old, shared) = (demo(&world.store(), "1.0"), demo(&world.store(), "2.0"));
    let realized = world.realize(&python, &[&old]);
    // Another package has the same folder, so that it has to be listed; and it is gone.
    let other = Package::new("other", "1.0").file("site/demo/x.py", "").object(&world.store());
    fs::remove_dir_all(&other.directory).expect("removes");
    let error = realize_at(&world.destination(), &world, &[&shared, &other]).expect_err("fails");
    assert!(matches!(error, EnvironmentError::Io { .. }), "{error}");
    let duplicate = realize_at(&world.destination(), &world, &[&old, &shared]);
    assert!(matches!(duplicate, Err(EnvironmentError::Duplicate(_))));
    let mut evil = demo(&world.store(), "3.0");
    for name in ["../../evil", "", "a/b", ".."] {
        evil.plan.entry_points = vec![pip_accel_schema::link_plan::EntryPoint {
            name: name.to_owned(),
            module: "a".to_owned(),
            attribute: "b".to_owned(),
        }];
        let refused = realize_at(&world.destination(), &world, &[&evil]);
        assert!(matches!(refused, Err(EnvironmentError::Plan { .. })), "{refused:?}");
    }
    // The copy of a missing file fails in the middle of writing.
    let broken = Package::new("broken", "1.0").file("scripts/tool", "#!python\n").object(&world.store());
    fs::remove_file(broken.directory.join("scripts/tool")).expect("removes");
    realize_at(&world.destination(), &world, &[&broken]).expect_err("fails");
    realize_at(&world.directory.path().join("new/env"), &world, &[&broken]).expect_err("fails");
    let status = check_environment(&world.destination()).expect("checks");
    assert!(status.is_intact());
    assert_eq!(status.manifest, Some(realized.manifest));
    assert_eq!(names(world.directory.path()), ["env", "store root"]);
}

#[test]
fn what_killed_processes_left_is_swept() {
    let world = World::new();
    let object = demo(&world.store(), "1.0");
    let base = world.directory.path();
    let left = base.join(".env.pip-accel-0123456789abcdef");
    let held = base.join(".env.pip-accel-0123456789abcdee");
    let foreign = base.join(".env.pip-accel-backup");
    for directory in [&left, &held, &foreign] {
        fs::create_dir_all(directory.join("lib")).expect("creates");
    }
    let holder = fs::File::open(&held).expect("opens");
    holder.lock().expect("locks");
    realize_at(&world.destination(), &world, &[&object]).expect("realizes");
    assert!(!left.exists() && held.exists() && foreign.exists());
}

#[test]
fn foreign_entries_are_named_and_kept_on_request() {
    let world = World::new();
    let python = python3();
    let (old, new) = (demo(&world.store(), "1.0"), demo(&world.store(), "2.0"));
    let ns = Package::new("ns-one", "1.0").file("site/ns/one/__init__.py", "").real("ns").object(&world.store());
    world.realize(&python, &[&old, &ns]);
    let env = world.destination();
    let site = env.join(&python.site_packages);
    fs::create_dir_all(site.join("extra/deep")).expect("creates");
    fs::write(site.join("extra/deep/x.py"), "X = 1\n").expect("writes");
    symlink("x.py", site.join("extra/deep/y.py")).expect("links");
    fs::create_dir_all(site.join("extra-1.0.dist-info")).expect("creates");
    fs::create_dir_all(site.join("demo-9.0.dist-info")).expect("creates");
    fs::write(site.join("ns/added.py"), "").expect("writes");
    fs::write(env.join("bin/extra"), "#!/bin/sh\n").expect("writes");
    fs::create_dir_all(env.join("share/extra")).expect("creates");
    fs::create_dir_all(site.join("__pycache__")).expect("creates");
    // Someone replaced what was ours.
    fs::remove_file(site.join("demo")).expect("removes");
    fs::create_dir(site.join("demo")).expect("creates");
    let at_site = |name: &str| format!("{}/{name}", python.site_packages);
    let mut expected = vec!["bin/extra".to_owned(), "share".to_owned()];
    expected.extend(["demo", "demo-9.0.dist-info", "extra", "extra-1.0.dist-info", "ns/added.py"].map(at_site));
    expected.sort();

    let trees = [new.tree(), ns.tree()];
    let (destination, store) = (world.destination(), world.store());
    let kept = EnvironmentRequest { keep_foreign: true, ..request(&destination, &python, &trees, &store) };
    let realized = realize_environment(&kept).expect("realizes");
    assert_eq!(realized.foreign, expected);
    assert_eq!(realized.foreign_lost, [at_site("demo"), at_site("demo-9.0.dist-info")]);
    assert_eq!(fs::read_to_string(site.join("extra/deep/y.py")).expect("reads"), "X = 1\n");
    assert!(site.join("ns/added.py").exists() && env.join("share/extra").is_dir() && site.join("demo").is_symlink());

    // They are still foreign, and without the request they go.
    let realized = world.realize(&python, &[&new, &ns]);
    expected.retain(|path| !path.contains("/demo"));
    assert_eq!(realized.foreign, expected);
    assert!(!site.join("extra").exists());
    assert_eq!(names(world.directory.path()), ["env", "store root"]);
}

#[test]
fn a_virtualenv_of_another_program_is_replaced_on_request() {
    let world = World::new();
    let python = python3();
    let object = demo(&world.store(), "1.0");
    let env = world.destination();
    run(Command::new(&python.executable).args(["-m", "venv", "--without-pip"]).arg(&env));
    let site = env.join(&python.site_packages);
    fs::write(site.join("mine.py"), "").expect("writes");
    let trees = [object.tree()];
    let (destination, store) = (world.destination(), world.store());
    let request = EnvironmentRequest {
        keep_foreign: true,
        replace: Replace::Virtualenv,
        ..request(&destination, &python, &trees, &store)
    };
    let realized = realize_environment(&request).expect("realizes");
    assert!(realized.replaced);
    assert_eq!(realized.foreign, [format!("{}/mine.py", python.site_packages)]);
    assert!(site.join("mine.py").exists() && site.join("demo").exists());
}

#[test]
fn a_check_names_what_is_missing_changed_or_leads_nowhere() {
    let world = World::new();
    let python = python3();
    let (object, gone) = (demo(&world.store(), "1.0"), Package::new("gone", "1.0").object(&world.store()));
    assert!(check_environment(&world.destination()).expect("checks").manifest.is_none());
    world.realize(&python, &[&object, &gone]);
    let env = world.destination();
    fs::remove_dir_all(&gone.directory).expect("removes");
    fs::remove_dir_all(env.join(&python.site_packages).join("demo-1.0.dist-info")).expect("removes");
    fs::write(env.join("pyvenv.cfg"), "home = /elsewhere\n").expect("writes");
    fs::remove_file(env.join("lib64")).expect("removes");
    symlink("elsewhere", env.join("lib64")).expect("links");
    let status = check_environment(&env).expect("checks");
    assert!(!status.is_intact());
    assert_eq!(status.missing, [format!("{}/demo-1.0.dist-info", python.site_packages)]);
    assert_eq!(status.changed, ["lib64", "pyvenv.cfg"]);
    assert_eq!(status.dangling, [format!("{}/gone-1.0.dist-info/METADATA", python.site_packages)]);
    assert!(status.foreign.is_empty());

    fs::write(env.join("pip-accel.json"), "{\"format\": 99}").expect("writes");
    assert!(matches!(read_manifest(&env), Err(EnvironmentError::NewerManifest { format: 99, .. })));
    let error = realize_at(&env, &world, &[&object]).expect_err("is refused");
    assert!(matches!(error, EnvironmentError::NewerManifest { .. }), "{error}");
    fs::write(env.join("pip-accel.json"), "").expect("writes");
    assert!(matches!(check_environment(&env), Err(EnvironmentError::Manifest { .. })));
    // A damaged environment is still ours.
    assert!(realize_at(&env, &world, &[&object]).expect("realizes").replaced);
}
