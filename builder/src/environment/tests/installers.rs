//! pip and uv in environments of links: what they are asked for happens, and nothing in the store changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pip_accel_schema::interpreter::Implementation;

use super::super::*;
use super::support::*;

fn alpha(version: &str, tag: &str) -> Package {
    Package::new("alpha", version)
        .file("site/alpha/__init__.py", &format!("VERSION = '{version}'\ndef main():\n    print('alpha', VERSION)\n"))
        .file("site/alpha/deep/__init__.py", "")
        .file("site/alpha_single.py", "")
        .file(&format!("site/__pycache__/alpha_single.{tag}.pyc"), "no bytecode")
        .file("data/share/alpha/x.txt", version)
        .file("headers/alpha.h", "")
        .file("scripts/alpha-tool", "#!python\nimport alpha\nprint(alpha.VERSION)\n")
        .script("alpha", "alpha", "main")
}

fn objects(store: &Path, tag: &str) -> Vec<Object> {
    let part = |name: &str| {
        Package::new(&format!("ns-{name}"), "1.0")
            .file(&format!("site/ns/{name}/__init__.py"), "")
            .file(&format!("site/ns/{name}/module.py"), "")
            .real("ns")
    };
    let shared = |name: &str| {
        Package::new(&format!("shared-{name}"), "1.0")
            .file("site/shared/__init__.py", "")
            .file(&format!("site/shared/{name}/__init__.py"), "")
            .file(&format!("site/shared/{name}.py"), "")
    };
    let beta = Package::new("beta", "1.0").file("site/beta/__init__.py", "import alpha\n").requires("alpha>=1");
    [alpha("1.0", tag), beta, part("one"), part("two"), part("three"), shared("left"), shared("right")]
        .iter()
        .map(|package| package.object(store))
        .collect()
}

/// How an installer is called for the environment.
struct Installer<'a> {
    world: &'a World,
    /// pip's own code, to be run by the environment's interpreter; `None` for uv.
    pip: Option<PathBuf>,
    uv: Option<PathBuf>,
    /// The user to become.
    uid: Option<u32>,
}

impl Installer<'_> {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let home = self.world.directory.path().join("home");
        let mut command = match self.uid {
            Some(uid) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "--"]);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.world.directory.path()).env("HOME", &home).env("XDG_CACHE_HOME", home.join("cache"));
        command
    }

    #[track_caller]
    fn python(&self, code: &str) -> String {
        run(self.command(self.world.destination().join("bin/python")).args(["-c", code]))
    }

    #[track_caller]
    fn installer(&self, words: &[&str]) -> String {
        let python = self.world.destination().join("bin/python");
        let mut command = match &self.uv {
            Some(uv) => {
                let mut command = self.command(uv);
                let words: Vec<&str> = words.iter().copied().filter(|word| *word != "-y").collect();
                command.args(["pip", words[0], "--python"]).arg(python).args(&words[1..]);
                command
            }
            None => {
                let mut command = self.command(python);
                command.arg(self.pip.as_ref().expect("pip's code")).args(words);
                command
            }
        };
        run(&mut command)
    }

    fn imports(&self, module: &str) -> bool {
        let python = self.world.destination().join("bin/python");
        output(self.command(python).args(["-c", &format!("import {module}")])).status.success()
    }

    /// The whole story, on a fresh environment.
    fn works(&self, python: &EnvironmentPython) {
        let tag = format!("cpython-{}{}", python.version.major, python.version.minor);
        let objects = objects(&self.world.store(), &tag);
        self.world.realize(python, &objects.iter().collect::<Vec<_>>());
        let before = self.world.fingerprint();
        let wheels = self.world.directory.path().join("wheels");
        fs::create_dir_all(&wheels).expect("creates");
        alpha("2.0", &tag).wheel(&wheels, &python.executable);
        Package::new("ns-four", "1.0").file("site/ns/four.py", "").real("ns").wheel(&wheels, &python.executable);
        self.give_away();

        let listed = self.installer(&["list"]);
        for name in ["alpha", "beta", "ns-one", "ns-three", "shared-left"] {
            assert!(listed.contains(name), "{listed}");
        }
        self.installer(&["check"]);
        self.installer(&["uninstall", "-y", "ns-one"]);
        assert!(!self.imports("ns.one"));
        assert!(self.imports("ns.two.module") && self.imports("ns.three"));
        self.installer(&["uninstall", "-y", "shared-left"]);
        assert!(!self.imports("shared.left") && self.imports("shared.right"));
        let wheels = wheels.to_str().expect("UTF-8");
        self.installer(&["install", "--no-index", "--find-links", wheels, "-U", "alpha"]);
        self.installer(&["install", "--no-index", "--find-links", wheels, "ns-four"]);
        assert_eq!(self.python("import alpha, ns.four; print(alpha.VERSION)"), "2.0\n");
        let bin = self.world.destination().join("bin");
        assert_eq!(run(&mut self.command(bin.join("alpha"))), "alpha 2.0\n");
        assert_eq!(run(&mut self.command(bin.join("alpha-tool"))), "2.0\n");
        self.installer(&["check"]);
        assert_eq!(self.world.fingerprint(), before);

        let status = check_environment(&self.world.destination()).expect("checks");
        let site = &python.site_packages;
        assert!(!status.is_intact());
        assert!(status.foreign.contains(&format!("{site}/alpha-2.0.dist-info")), "{status:?}");
        assert!(status.foreign.contains(&format!("{site}/ns/four.py")), "{status:?}");
        assert!(status.missing.contains(&format!("{site}/ns/one")), "{status:?}");
        assert!(status.missing.contains(&format!("{site}/alpha-1.0.dist-info")), "{status:?}");
        assert!(status.changed.contains(&format!("{site}/alpha")), "{status:?}");

        self.installer(&["uninstall", "-y", "alpha", "beta", "ns-two", "ns-four", "ns-three", "shared-right"]);
        for module in ["alpha", "beta", "ns.two", "ns.three", "shared.right"] {
            assert!(!self.imports(module), "{module}");
        }
        assert!(!bin.join("alpha").exists() && !bin.join("alpha-tool").exists());
        assert_eq!(self.world.fingerprint(), before);

        // Realized again, everything is back and what others installed is gone.
        let realized = self.world.realize(python, &objects.iter().collect::<Vec<_>>());
        assert!(realized.replaced && realized.leftover.is_none());
        assert_eq!(self.python("import alpha, ns.one, ns.two, shared.left; print(alpha.VERSION)"), "1.0\n");
        let status = check_environment(&self.world.destination()).expect("checks");
        assert!(status.is_intact() && status.foreign.is_empty(), "{status:?}");
        assert_eq!(self.world.fingerprint(), before);
    }

    /// Makes the user own the environment and a home; the store stays the owner's.
    fn give_away(&self) {
        let home = self.world.directory.path().join("home");
        fs::create_dir_all(&home).expect("creates");
        if let Some(uid) = self.uid {
            give(&home, uid);
            give(&self.world.destination(), uid);
        }
    }
}

fn give(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).expect("changes the owner");
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).expect("reads").for_each(|entry| give(&entry.expect("an entry").path(), uid));
    }
}

/// The folder of pip's code, copied to where every user can read it; `None` without pip.
fn copy_of_pip(world: &World, python: &EnvironmentPython) -> Option<PathBuf> {
    let code = "import os, pip; print(os.path.dirname(os.path.abspath(pip.__file__)))";
    let found = output(Command::new(&python.executable).args(["-c", code]));
    let folder = String::from_utf8(found.stdout).ok().filter(|_| found.status.success())?;
    let to = world.directory.path().join("pip");
    run(Command::new("cp").arg("-r").arg(folder.trim()).arg(&to));
    Some(to)
}

/// Whether tests can become another user, and the interpreter that this user can run.
fn other_user() -> Option<(u32, EnvironmentPython)> {
    const UID: u32 = 1000;
    if !nix::unistd::geteuid().is_root() || program("setpriv").is_none() {
        return None;
    }
    let runs = |python: &EnvironmentPython| {
        let words = [&format!("--reuid={UID}"), &format!("--regid={UID}"), "--clear-groups", "--"];
        // By way of a shell: what setpriv itself starts keeps root's right to enter any folder.
        let shell = ["sh", "-c", "exec \"$0\" -c 'import pip'"];
        let check = output(Command::new("setpriv").args(words).args(shell).arg(&python.executable));
        python.implementation == Implementation::CPython && python.version.major == 3 && check.status.success()
    };
    interpreters().into_iter().find(runs).map(|python| (UID, python))
}

#[test]
fn pip_works_and_leaves_the_store_alone() {
    let (world, python) = (World::new(), python3());
    let Some(pip) = copy_of_pip(&world, &python) else { return };
    Installer { world: &world, pip: Some(pip), uv: None, uid: None }.works(&python);
}

#[test]
#[ignore = "takes minutes: the pip of every interpreter on the machine"]
fn every_pip_works_and_leaves_the_store_alone() {
    // Debian's pip, and those of Python 3.6 and before, need `links_hook.py`. Python 2 has no namespace packages
    // without `__init__.py`; it is tested for itself.
    for python in interpreters().into_iter().filter(|python| python.version.major == 3) {
        eprintln!("with {}", python.executable.display());
        let world = World::new();
        let Some(pip) = copy_of_pip(&world, &python) else { continue };
        Installer { world: &world, pip: Some(pip), uv: None, uid: None }.works(&python);
    }
}

#[test]
fn uv_works_and_leaves_the_store_alone() {
    let Some(uv) = program("uv") else { return };
    let world = World::new();
    Installer { world: &world, pip: None, uv: Some(uv), uid: None }.works(&python3());
}

#[test]
fn installers_work_for_a_user_who_does_not_own_the_store() {
    let Some((uid, python)) = other_user() else { return };
    eprintln!("with {}", python.executable.display());
    let world = World::new();
    let pip = copy_of_pip(&world, &python);
    Installer { world: &world, pip, uv: None, uid: Some(uid) }.works(&python);
    if let Some(uv) = program("uv") {
        let world = World::new();
        Installer { world: &world, pip: None, uv: Some(uv), uid: Some(uid) }.works(&python);
    }
}
