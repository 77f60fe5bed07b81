//! What an environment looks like, and how it gets to its place.

use std::fs;
use std::process::Command;

use pip_accel_schema::environment::LinkMode;

use super::super::*;
use super::support::*;

fn demo() -> Package {
    Package::new("demo", "1.0")
        .file("site/demo/__init__.py", "def main():\n    import sys; print('demo', *sys.argv[1:])\n    return 0\n")
        .file("site/demo/data.txt", "data")
        .file("site/demo_single.py", "VALUE = 1\n")
        .file("data/share/demo/x.txt", "shared")
        .file("headers/demo.h", "#define DEMO 1\n")
        .file("scripts/demo-tool", "#!python\nimport demo_single\nprint(demo_single.VALUE)\n")
        .file("scripts/demo-sh", "#!/bin/sh\necho sh\n")
        .script("demo", "demo", "main")
}

#[test]
fn an_environment_runs_its_packages() {
    let world = World::new();
    let python = python3();
    let object = demo().object(&world.store());
    let realized = world.realize(&python, &[&object]);
    assert!(!realized.replaced && realized.foreign.is_empty() && realized.clashes.is_empty());
    let env = world.destination();
    let bin = env.join("bin");
    assert_eq!(run(Command::new(bin.join("demo")).arg("a b")), "demo a b\n");
    assert_eq!(run(&mut Command::new(bin.join("demo-tool"))), "1\n");
    assert_eq!(run(&mut Command::new(bin.join("demo-sh"))), "sh\n");
    let program = "import sys, demo, importlib.metadata as m; print(sys.prefix, sys.prefix != sys.base_prefix); \
                   print(m.version('demo'), m.distribution('demo').read_text('INSTALLER'))";
    assert_eq!(
        run(Command::new(bin.join("python")).args(["-c", program])),
        format!("{} True\n1.0 pip-accel\n\n", env.display())
    );
    let site = env.join(&python.site_packages);
    assert_eq!(fs::read_link(site.join("demo")).expect("a link"), object.directory.join("site/demo"));
    let record = fs::read_to_string(site.join("demo-1.0.dist-info/RECORD")).expect("a record");
    let mut lines: Vec<&str> = record.lines().collect();
    lines.sort_unstable();
    let header = format!("../../../include/site/python{}.{}/demo/demo.h,,", python.version.major, python.version.minor);
    assert_eq!(
        lines,
        [
            "../../../bin/demo,,",
            "../../../bin/demo-sh,,",
            "../../../bin/demo-tool,,",
            header.as_str(),
            "../../../share/demo/x.txt,,",
            "demo,,",
            "demo-1.0.dist-info/INSTALLER,,",
            "demo-1.0.dist-info/METADATA,,",
            "demo-1.0.dist-info/RECORD,,",
            "demo-1.0.dist-info/WHEEL,,",
            "demo-1.0.dist-info/entry_points.txt,,",
            "demo-1.0.dist-info/licenses,,",
            "demo_single.py,,",
        ]
    );
    let status = check_environment(&env).expect("checks");
    assert!(status.is_intact() && status.foreign.is_empty(), "{status:?}");
    assert_eq!(status.manifest.as_ref(), Some(&realized.manifest));
    assert_eq!(names(world.directory.path()), ["env", "store root"]);
}

#[test]
fn the_other_modes_need_no_store() {
    for mode in [LinkMode::Hardlink, LinkMode::Reflink, LinkMode::Copy] {
        let world = World::new();
        let object = demo().object(&world.store());
        let realized = world.realize_mode(&python3(), &[&object], mode);
        assert_eq!(realized.files.hard_links > 0, mode == LinkMode::Hardlink);
        let status = check_environment(&world.destination()).expect("checks");
        assert!(status.is_intact() && status.foreign.is_empty(), "{status:?}");
        fs::remove_dir_all(world.store()).expect("removes the store");
        assert_eq!(run(&mut Command::new(world.destination().join("bin/demo"))), "demo\n");
        assert_eq!(run(&mut Command::new(world.destination().join("bin/demo-tool"))), "1\n");
        let program = "import importlib.metadata as m, base64, hashlib\n\
                       for f in m.files('demo'):\n    \
                           print(f, f.hash and f.hash.value == base64.urlsafe_b64encode(\
                           hashlib.sha256(f.read_binary()).digest()).decode().rstrip('='))\n";
        let lines = run(Command::new(world.destination().join("bin/python")).args(["-c", program]));
        assert!(lines.contains("demo/data.txt True\n") && lines.contains("licenses/LICENSE True\n"), "{lines}");
        assert!(lines.contains("share/demo/x.txt True\n") && !lines.contains("False"), "{lines}");
    }
}
