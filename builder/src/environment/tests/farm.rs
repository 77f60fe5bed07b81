//! The link farm: only speed depends on it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::*;
use super::support::*;

fn realize(world: &World, object: &Object, name: &str, farm: &Path) -> PathBuf {
    let python = python3();
    let destination = world.directory.path().join(name);
    let (trees, store) = ([object.tree()], world.store());
    let request = EnvironmentRequest { link_farm: Some(farm), ..request(&destination, &python, &trees, &store) };
    realize_environment(&request).expect("realizes");
    let status = check_environment(&destination).expect("checks");
    assert!(status.is_intact() && status.foreign.is_empty(), "{status:?}");
    let program = "import demo, importlib.metadata as m; print(m.version('demo'), len(m.files('demo')))";
    assert_eq!(run(Command::new(destination.join("bin/python")).args(["-c", program])), "1.0 7\n");
    destination.join(python.site_packages)
}

fn demo(world: &World) -> Object {
    Package::new("demo", "1.0").file("site/demo/__init__.py", "").file("site/single.py", "").object(&world.store())
}

#[test]
fn environments_share_links() {
    let world = World::new();
    let object = demo(&world);
    let farm = world.directory.path().join("farm");
    let one = realize(&world, &object, "one", &farm);
    let before = world.fingerprint();
    let two = realize(&world, &object, "two", &farm);
    for path in ["demo", "single.py", "demo-1.0.dist-info/METADATA"] {
        let inode = |site: &Path| site.join(path).symlink_metadata().expect("is there").ino();
        assert_eq!(inode(&one), inode(&two), "{path}");
    }
    assert!(one.join("demo").is_symlink());
    let plots = names(&farm);
    assert!(plots.len() == 1 && plots[0].starts_with(&format!("{}-", object.id)), "{plots:?}");
    // What happens to one environment does not reach the other.
    fs::remove_dir_all(world.directory.path().join("one")).expect("removes");
    fs::remove_dir_all(&farm).expect("removes");
    let status = check_environment(&world.directory.path().join("two")).expect("checks");
    assert!(status.is_intact() && status.foreign.is_empty(), "{status:?}");
    assert_eq!(world.fingerprint(), before);
}

#[test]
fn what_is_wrong_in_the_farm_is_made_anew() {
    let world = World::new();
    let object = demo(&world);
    let farm = world.directory.path().join("farm");
    realize(&world, &object, "one", &farm);
    let plot = farm.join(&names(&farm)[0]);
    for name in names(&plot) {
        let path = plot.join(&name);
        fs::remove_file(&path).expect("removes");
        match name.ends_with("single.py") {
            true => fs::write(&path, "not a link").expect("writes"),
            false => symlink("/nowhere", &path).expect("links"),
        }
    }
    let site = realize(&world, &object, "two", &farm);
    assert_eq!(fs::read_link(site.join("demo")).expect("a link"), object.directory.join("site/demo"));
}

#[test]
fn without_a_usable_farm_links_are_made_as_usual() {
    let world = World::new();
    let object = demo(&world);
    let file = world.directory.path().join("file");
    fs::write(&file, "").expect("writes");
    for farm in [&file, &file.join("farm"), Path::new("/proc/farm")] {
        realize(&world, &object, "env", farm);
    }
    // Often another file system than that of temporary directories.
    if let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") {
        realize(&world, &object, "env", elsewhere.path());
    }
}
