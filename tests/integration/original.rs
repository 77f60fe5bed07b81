//! What the original pip-accel did, or should have: its own tests from outside, and what its history and its users say.
//! Doc comments begin with the rows of `docs/compared-with-pip-accel-0.43.md`.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::terminal::talk;
use pip_accel_tests::{
    BuiltFile, HostInterpreter, LockWriter, SdistBackend, SdistBuilder, TestEnv, TreeDigest, WheelBuilder, host, skip,
};

use crate::support::{as_root_and_user, env, exit, lock_of};

/// CLI-6: the program tells its own version, which the original could not, and how it is used.
#[test]
fn the_program_tells_its_version_and_how_it_is_used() {
    let env = env();
    let version = env.run(["--version"]).success();
    assert!(version.stdout.starts_with("pip-accel ") && version.stderr.is_empty(), "{version:?}");
    env.run(["--help"]).success().prints("Usage: ").prints("realize");
    env.run(["realize", "--help"]).success().prints("--link-mode");
    assert!(!env.store().exists());
}

/// CLI-11: letters in the value of an option are no options.
#[test]
fn letters_in_the_value_of_an_option_are_no_options() {
    let env = env();
    let sdist = SdistBuilder::simple("package", "1.0").during_build("print('the build speaks')\n").build();
    env.add(&sdist);
    env.write("requirements.lock", LockWriter::new().line("--no-index").pin(&sdist).text());
    std::fs::rename(env.files(), env.base().join("quiet-verbose-json")).unwrap();
    let output = env.realize(&["-f../quiet-verbose-json"]).success();
    assert!(!output.stderr.contains("the build speaks"), "{output:?}");
    output.says("1 built");
}

/// CFG-19, INS-1: `VIRTUAL_ENV` of another environment neither stops an installation nor draws it there.
#[test]
fn a_stale_virtual_env_redirects_nothing() {
    let mut env = env();
    env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
    let other = env.project().join("other");
    env.realize(&["--venv", "other"]).success();
    let before = TreeDigest::of(&other);
    env.set("VIRTUAL_ENV", &other);
    env.lock(&[&WheelBuilder::simple("package", "2.0").build()]);
    env.realize(&[]).success();
    assert_eq!(env.evaluate("import package", "package.__version__"), "2.0");
    before.assert_unchanged(&other);
    env.set("VIRTUAL_ENV", env.project().join("gone"));
    env.realize(&["--venv", "third"]).success();
}

/// LOG-1, LOG-2, LOG-4: what happens is said on standard error, in plain lines where no terminal is.
#[test]
fn talk_is_on_standard_error_and_plain() {
    let env = env();
    env.lock(&[&SdistBuilder::simple("package", "1.0").build(), &WheelBuilder::simple("other", "1.0").build()]);
    let output = env.realize(&[]).success();
    assert_eq!(output.stdout, "");
    assert!(!output.stderr.contains('\u{1b}'), "{output:?}");
    output.says("building package==1.0\n").says("built package==1.0 in ").says("2 packages: ").says("1 built");
}

/// LOG-2, LOG-7: a terminal shows what is being built, and colours unless they are not wanted.
#[test]
fn a_terminal_shows_progress_and_colours() {
    let mut env = env();
    env.set("TERM", "xterm");
    env.lock(&[&SdistBuilder::simple("package", "1.0").build()]);
    let output = talk(env.realize_command(&[]), &[]).success();
    assert!(output.stderr.contains('\u{1b}'), "{output:?}");
    output.says("building package==1.0").says("1 built");
    env.write("requirements.lock", "package\n");
    let red = "\u{1b}[1;31merror:";
    assert!(talk(env.realize_command(&[]), &[]).fails_with(exit::LOCK_REFUSED).stderr.contains(red));
    env.set("NO_COLOR", "1");
    talk(env.realize_command(&[]), &[]).fails_with(exit::LOCK_REFUSED).never_mentions(red).says("error:");
}

/// CACHE-3, CACHE-5: the spellings of a name are one name: built once, one object.
#[test]
fn spellings_of_a_name_are_built_once() {
    let env = env();
    let sdist = SdistBuilder::simple("Foo.Bar", "1.0").build();
    env.add(&sdist);
    for (position, name) in ["Foo.Bar", "foo-bar", "foo_bar", "FOO-_bar"].into_iter().enumerate() {
        env.write("requirements.lock", LockWriter::offline().pin_as(&sdist, name, "").text());
        env.realize(&["--venv", &format!("venv-{position}")]).success();
    }
    assert_eq!(env.builds(), 1);
    let trees =
        env.object_names().into_iter().filter(|name| name.contains("-foo-bar-1.0") && !name.ends_with("-sdist"));
    assert_eq!(trees.filter(|name| !name.ends_with(".tar.gz")).count(), 1, "{:?}", env.object_names());
}

/// CACHE-6, CACHE-7: content decides. A file that looks newer is the same; the same version with other content is
/// another, whatever its time.
#[test]
fn content_decides_and_times_do_not() {
    let mut env = env();
    let first = SdistBuilder::simple("package", "1.0").file("src/package/origin.py", "ORIGIN = 'first'\n").build();
    let path = env.add(&first);
    for (trust, position) in [("yes", 0), ("no", 1)] {
        env.set("PIP_ACCEL_TRUST_MOD_TIMES", trust);
        env.write("requirements.lock", LockWriter::offline().pin(&first).text());
        let later = SystemTime::now() + Duration::from_secs(3600 * (position + 1));
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        env.realize(&["--venv", &format!("venv-{position}")]).success();
    }
    assert_eq!(env.builds(), 1);
    let second = SdistBuilder::simple("package", "1.0").file("src/package/origin.py", "ORIGIN = 'second'\n").build();
    env.lock(&[&second]);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    env.realize(&[]).success();
    assert_eq!(env.builds(), 2);
    assert_eq!(env.evaluate("from package.origin import ORIGIN", "ORIGIN"), "second");
    env.lock(&[&first]);
    env.realize(&[]).success();
    assert_eq!(env.evaluate("from package.origin import ORIGIN", "ORIGIN"), "first");
    assert_eq!(env.builds(), 2);
}

/// BLD-5, CACHE-2: what a build can import is what it declares, not what else is installed.
#[test]
fn a_build_sees_no_undeclared_neighbour() {
    let mut env = env();
    let code = "try:\n    import neighbour\n    seen = True\nexcept ImportError:\n    seen = False\n\
                open('src/package/seen.py', 'w').write('SEEN = %r\\n' % seen)\n";
    let sdist = SdistBuilder::simple("package", "1.0").during_build(code).build();
    let neighbour = WheelBuilder::simple("neighbour", "1.0").build();
    env.lock(&[&neighbour]);
    env.realize(&[]).success();
    env.set("VIRTUAL_ENV", env.venv());
    env.set("PYTHONPATH", env.site_packages());
    env.lock(&[&neighbour, &sdist]);
    env.realize(&[]).success();
    env.unset("PYTHONPATH");
    assert_eq!(env.evaluate("import neighbour; from package.seen import SEEN", "SEEN"), "False");
}

/// CACHE-2, PLT-1: CPython and PyPy of one language version share no build.
#[test]
fn two_implementations_of_one_version_share_no_build() {
    let found = host::interpreters();
    let find = |name: &str, version: Option<String>| {
        let is_it = |one: &&HostInterpreter| {
            one.implementation == name && one.is_fully_supported() && version.iter().all(|v| *v == one.short_version())
        };
        found.iter().find(is_it)
    };
    let pypy = find("PyPy", None);
    let Some((pypy, cpython)) = pypy.and_then(|pypy| Some((pypy, find("CPython", Some(pypy.short_version()))?))) else {
        return skip("a PyPy and a CPython of the same version are needed");
    };
    let env = env();
    env.lock(&[&SdistBuilder::simple("package", "1.0").build()]);
    for (python, builds) in [(pypy, 1), (cpython, 2), (pypy, 2)] {
        let path = python.path.to_str().unwrap();
        env.realize(&["--python", path, "--venv", &format!("{}-{builds}", python.implementation)]).success();
        assert_eq!(env.builds(), builds, "{python:?}");
    }
}

/// SRC-15: what several builds need is built once, and never again for another environment.
#[test]
fn a_build_requirement_is_built_once() {
    let env = env();
    let helper = SdistBuilder::simple("helper", "1.0").build();
    let needs =
        |name: &str| SdistBuilder::simple(name, "1.0").build_requires("helper").during_build("import helper\n").build();
    let (one, two) = (needs("one"), needs("two"));
    env.add(&helper);
    let mut lock = lock_of(&env, &[&one, &two]);
    for name in ["one", "two"] {
        let requirement = format!("#:   helper==1.0 {}", helper.hash_option());
        lock = lock.line(format!("#: build {name}==1.0")).line(requirement);
    }
    let lock = lock.line("#: build helper==1.0");
    env.write("requirements.lock", lock.text());
    env.realize(&[]).success();
    env.realize(&["--venv", "other"]).success();
    assert_eq!(env.builds(), 3);
}

/// A `setup.py` whose `setup()` gets further arguments, and the lock that finds setuptools.
fn classic(env: &TestEnv, code: &str) -> Option<BuiltFile> {
    let (Some(wheels), Some(_)) = (host::wheels(), host::uv()) else {
        skip("PIP_ACCEL_TEST_WHEELS or PIP_ACCEL_TEST_UV is not set; run `make test`");
        return None;
    };
    let sdist = SdistBuilder::simple("classic", "1.0").backend(SdistBackend::SetupPy).during_build(code).build();
    env.write("requirements.lock", lock_of(env, &[&sdist]).line(format!("--find-links {}", wheels.display())).text());
    Some(sdist)
}

/// SRC-15: what `setup_requires` names is there when the sdist is built, in the sandbox; nobody fetches it there, and not again.
#[test]
fn setup_requires_come_from_the_store() {
    let env = env();
    env.add(&WheelBuilder::simple("helper", "1.0").build());
    let code = "plain = setup\ndef setup(**more):\n    plain(setup_requires=['helper'], **more)\n\
                import sys\nif 'bdist_wheel' in sys.argv:\n    import helper\n";
    let Some(_) = classic(&env, code) else { return };
    env.realize(&[]).success().says("1 built");
    env.python_code("import classic").success();
    std::fs::remove_file(env.files().join("helper-1.0-py3-none-any.whl")).unwrap();
    env.realize(&["--offline", "--venv", "other"]).success();
    assert_eq!(env.builds(), 1);
}

/// BLD-1: a `setup.py` of distutils alone builds, and its package can be uninstalled as any other.
#[test]
fn a_setup_py_of_distutils_builds() {
    let env = env();
    let Some(_) = classic(&env, "import setuptools\nfrom distutils.core import setup, Extension\n") else { return };
    env.realize(&[]).success().says("1 built");
    assert_eq!(env.evaluate("import importlib.metadata as m", "m.version('classic')"), "1.0");
    assert!(env.site_packages().join("classic-1.0.dist-info/RECORD").is_file());
}

/// BLD-8: files for an absolute path stay inside of each environment, however deep it lies.
#[test]
fn files_for_absolute_paths_stay_inside() {
    let env = env();
    let place = format!("/pip-accel-test-{}", std::process::id());
    let code =
        format!("plain = setup\ndef setup(**more):\n    plain(data_files=[('{place}', ['PKG-INFO'])], **more)\n");
    let Some(_) = classic(&env, &code) else { return };
    for venv in [".venv", "a/much/deeper/environment"] {
        let before = listing(&env.base().join("home"));
        env.realize(&["--venv", venv]).success();
        assert!(!Path::new(&place).exists());
        assert_eq!(listing(&env.base().join("home")), before);
        let name = place.trim_start_matches('/');
        assert!(listing(&env.project().join(venv)).iter().any(|path| path.contains(name)), "it is inside");
    }
    let outside: Vec<String> =
        listing(&env.project()).into_iter().filter(|path| path.contains("pip-accel-test-")).collect();
    assert!(outside.iter().all(|path| path.starts_with(".venv/") || path.starts_with("a/much/")), "{outside:?}");
}

/// INS-3, INS-4: scripts run the interpreter of their own environment, also those with options; no other byte changes.
#[test]
fn only_the_first_line_of_scripts_changes() {
    let env = env();
    let data = b"#!/usr/bin/python3\r\nprint('a zipapp')\r\rPK\x03\x04 no line end".as_slice();
    let script = "#!python -E\nimport sys\nprint(sys.prefix)\n";
    let shell = "#!/bin/sh -e\necho shell\n";
    let wheel = WheelBuilder::simple("package", "1.0").file("package/app.pyz", data).executable("package/run.py", data);
    env.lock(&[&wheel.data_script("prefix", script).data_script("shell", shell).build()]);
    for venv in [".venv", "deeper/environment"] {
        env.realize(&["--venv", venv]).success();
        let venv = env.project().join(venv);
        let run = |name: &str| env.finish(env.program(venv.join("bin").join(name))).success().stdout;
        assert_eq!(run("prefix").trim(), venv.to_str().unwrap());
        assert_eq!(run("shell"), "shell\n");
        let script = std::fs::read_to_string(venv.join("bin/prefix")).unwrap();
        assert_eq!(script.split_once('\n').unwrap().1, "import sys\nprint(sys.prefix)\n");
    }
    for (name, mode) in [("app.pyz", 0o444), ("run.py", 0o555)] {
        let path = env.site_packages().join("package").join(name);
        assert_eq!(std::fs::read(&path).unwrap(), data);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
}

/// Relative paths of all files below `root`; links to folders are walked into.
fn listing(root: &Path) -> BTreeSet<String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

/// INS-5, INS-10: an environment has the files that pip would put there, headers in their place.
#[test]
fn the_files_are_those_that_pip_installs() {
    let Some(pip) = host::wheel_of("pip") else { return skip("PIP_ACCEL_TEST_WHEELS is not set; run `make test`") };
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0")
        .entry_point("run-it", "package:__version__")
        .data_script("script", "#!python\n")
        .data_file("headers", "package.h", "#define PACKAGE 1\n")
        .data_file("data", "share/package/data.txt", "data\n")
        .data_file("platlib", "package_native.py", "")
        .file("package/sub/data.json", "{}")
        .build();
    env.lock(&[&wheel]);
    env.realize(&[]).success();
    let theirs = env.project().join("theirs");
    let mut make = env.program(env.python());
    make.args(["-m", "venv", "--without-pip"]).arg(&theirs);
    env.finish(make).success();
    let mut install = env.program(theirs.join("bin/python"));
    install.env("PYTHONPATH", pip).args(["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--find-links"]);
    install.arg(env.files()).arg("package");
    env.finish(install).success();
    let of_packages = |root: &PathBuf| -> BTreeSet<String> {
        let is_of_packages = |path: &String| {
            let is_python = path.starts_with("bin/")
                && ["python", "activate", "Activate"].iter().any(|name| path[4..].starts_with(name));
            let is_ours = ["pip-accel", ".gitignore", "pyvenv.cfg"].iter().any(|name| path.starts_with(name))
                || path.contains("/_pip_accel_links.p");
            !is_python && !is_ours && !path.contains("__pycache__") && !path.starts_with("lib64/")
        };
        listing(root).into_iter().filter(is_of_packages).collect()
    };
    let (ours, theirs) = (of_packages(&env.venv()), of_packages(&theirs));
    assert_eq!(ours, theirs);
    let header = ours.iter().find(|path| path.ends_with("package.h")).unwrap();
    assert!(header.starts_with("include/site/python"), "{header}");
}

/// SRC-6: nothing is left in the temporary directory, by good builds and by bad ones.
#[test]
fn the_temporary_directory_is_empty_afterwards() {
    as_root_and_user(|env| {
        let good = SdistBuilder::simple("good", "1.0").during_build("import tempfile\ntempfile.mkdtemp()\n").build();
        let bad = SdistBuilder::simple("bad", "1.0").during_build("raise SystemExit('no')\n").build();
        env.lock(&[&good]);
        env.realize(&[]).success();
        env.lock(&[&bad]);
        env.realize(&[]).fails_with(exit::BUILD_FAILED);
        assert_eq!(listing(&env.base().join("tmp")), BTreeSet::new());
        assert_eq!(std::fs::read_dir(env.base().join("tmp")).unwrap().count(), 0);
        env.verify_clean();
    });
}

/// BLD-6: an archive whose names begin with `./` is the same to a build.
#[test]
fn names_with_a_leading_dot_are_read() {
    let env = env();
    let path = env.add(&SdistBuilder::simple("package", "1.0").build());
    let tar = |arguments: &[&str]| {
        let mut command = env.program("/bin/tar");
        command.args(arguments).current_dir(env.files());
        env.finish(command).success();
    };
    let name = path.file_name().unwrap().to_str().unwrap();
    tar(&["-xf", name]);
    tar(&["-czf", name, "./package-1.0"]);
    let sdist = BuiltFile { bytes: std::fs::read(&path).unwrap(), ..SdistBuilder::simple("package", "1.0").build() };
    env.write("requirements.lock", LockWriter::offline().pin(&sdist).text());
    env.realize(&[]).success().says("1 built");
    env.python_code("import package").success();
}

/// SRC-2: what the store has needs no network, whatever indexes and links a lock names; without it nothing is asked either.
#[test]
fn indexes_of_a_lock_are_not_asked_offline() {
    let env = env();
    let files = [SdistBuilder::simple("built", "1.0").build(), WheelBuilder::simple("package", "1.0").build()];
    files.iter().for_each(|file| drop(env.add(file)));
    let server = IndexServer::start(&env.files());
    let lines = [
        format!("--index-url {}", server.index_url()),
        format!("--extra-index-url {}", server.url("simple/")),
        format!("--find-links {}", server.find_links_url()),
    ];
    let lock = lines.iter().fold(LockWriter::new(), |lock, line| lock.line(line));
    env.write("requirements.lock", files.iter().fold(lock, LockWriter::pin).text());
    env.realize(&["--offline"]).fails_with(exit::OFFLINE).explains();
    assert_eq!(server.requests().len(), 0);
    env.realize(&[]).success();
    let asked = server.requests().len();
    assert!(asked > 0);
    env.realize(&["--venv", "warm"]).success();
    env.realize(&["--venv", "offline", "--offline"]).success();
    assert_eq!(server.requests().len(), asked, "{:?}", server.requests());
}
