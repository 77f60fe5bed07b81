//! Every interpreter of the machine runs an environment.

use std::process::Command;

use super::super::*;
use super::support::*;

#[test]
fn every_interpreter_runs_an_environment() {
    for python in interpreters() {
        let world = World::new();
        let objects = [
            Package::new("demo", "1.0")
                .file("site/demo/__init__.py", "def main():\n    import sys; print(sys.prefix)\n")
                .file("site/demo/__main__.py", "print('as module')\n")
                .file("scripts/demo-tool", "#!python\nimport demo\ndemo.main()\n")
                .script("demo", "demo", "main"),
            Package::new("old-one", "1.0")
                .file("site/old/__init__.py", "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n")
                .file("site/old/one/__init__.py", "")
                .real("old"),
            Package::new("old-two", "1.0")
                .file("site/old/__init__.py", "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n")
                .file("site/old/two/__init__.py", "")
                .real("old"),
        ]
        .map(|package| package.object(&world.store()));
        world.realize(&python, &objects.iter().collect::<Vec<_>>());
        let before = world.fingerprint();
        let env = world.destination();
        let bin = env.join("bin");
        let prefix = format!("{}\n", env.display());
        let context = python.executable.display();
        let major_minor = format!("python{}.{}", python.version.major, python.version.minor);
        for name in ["python", &format!("python{}", python.version.major), &major_minor] {
            assert_eq!(run(Command::new(bin.join(name)).args(["-c", "import demo; demo.main()"])), prefix, "{context}");
        }
        assert_eq!(run(&mut Command::new(bin.join("demo"))), prefix, "{context}");
        assert_eq!(run(&mut Command::new(bin.join("demo-tool"))), prefix, "{context}");
        assert_eq!(run(Command::new(bin.join("python")).args(["-m", "demo"])), "as module\n", "{context}");
        run(Command::new(bin.join("python")).args(["-c", "import old.one, old.two, json, ctypes, ssl"]));
        let home = world.directory.path().join("home");
        let program =
            "import site, sys; print(site.ENABLE_USER_SITE); print([p for p in sys.path if 'site-packages' in p])";
        let site = format!("False\n['{}']\n", env.join(&python.site_packages).display());
        assert_eq!(run(Command::new(bin.join("python")).args(["-c", program]).env("HOME", home)), site, "{context}");
        let status = check_environment(&env).expect("checks");
        assert!(status.is_intact() && status.foreign.is_empty(), "{context}: {status:?}");
        assert_eq!(world.fingerprint(), before, "{context}");
    }
}
