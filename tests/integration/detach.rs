//! `detach`: private copies of packages that people edit, and what becomes of the edits.

use std::fs;
use std::path::{Path, PathBuf};

use pip_accel_tests::{BuiltFile, TestEnv, TreeDigest, WheelBuilder, host};

use crate::support::{as_root_and_user, env, exit};

fn edited(version: &str) -> BuiltFile {
    let wheel = WheelBuilder::simple("edited", version).file("edited/deep/__init__.py", "VALUE = 1\n");
    let wheel = wheel.file("edited_single.py", "VALUE = 1\n").file("edited/cli.py", "def main():\n    print('runs')\n");
    wheel.file("shared/edited.py", "VALUE = 1\n").entry_point("edited", "edited.cli:main").build()
}

fn other(version: &str) -> BuiltFile {
    WheelBuilder::simple("other", version).file("other/data.txt", "data\n").build()
}

fn lock(env: &TestEnv, files: &[BuiltFile]) {
    env.lock(&files.iter().collect::<Vec<_>>());
}

/// A realized environment of both packages.
fn realized(env: &TestEnv) {
    lock(env, &[edited("1.0"), other("1.0")]);
    env.realize(&[]).success();
}

/// Edits a file of the package, and adds one to it.
fn edit(env: &TestEnv) -> Vec<PathBuf> {
    let site = env.site_packages();
    let values = ["edited/deep/__init__.py", "edited_single.py", "shared/edited.py"].map(|path| site.join(path));
    // The bytecode of before is there: an edit has to count all the same.
    env.python_code("import edited.deep, edited_single, shared.edited").success();
    for path in &values {
        write_as(env, path, "VALUE = 23\n");
    }
    let added = site.join("edited/added.py");
    write_as(env, &added, "ADDED = True\n");
    [&values[..], &[added]].concat()
}

/// Writes as the user of the environment would: in place.
fn write_as(env: &TestEnv, path: &Path, text: &str) {
    let mut command = env.program(env.venv_program("python"));
    command.args(["-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"]).arg(path).arg(text);
    env.finish(command).success();
}

#[track_caller]
fn assert_edited(env: &TestEnv) {
    let values = "edited.deep.VALUE, edited_single.VALUE, shared.edited.VALUE, edited.added.ADDED";
    let imports = "import edited.added, edited.deep, edited_single, shared.edited";
    assert_eq!(env.evaluate(imports, &format!("({values})")), "(23, 23, 23, True)");
}

/// The edits work, `status` and `realize` name the package, and the store never changes.
#[test]
fn a_detached_package_is_edited_and_stays() {
    as_root_and_user(|env| {
        realized(&env);
        let objects = TreeDigest::of(&env.objects());
        let output = env.run(["detach", "Edited"]).success().says("edited==1.0 is a private copy now");
        let places: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(places.len(), 3, "{places:?}");
        assert!(places.iter().all(|place| Path::new(place).exists()), "{places:?}");
        assert!(env.site_packages().join("other").is_symlink() && !env.site_packages().join("edited").is_symlink());
        edit(&env);
        assert_edited(&env);
        env.finish(env.program(env.venv_program("edited"))).success().prints("runs");

        env.run(["status"]).success().prints("detached: edited==1.0").says("as realized");
        assert_eq!(env.run(["status", "--json"]).success().json()["detached"][0], "edited");
        env.realize(&[]).success().says("nothing to do").says("edited stays a private copy");
        env.run(["detach", "edited"]).success().says("already");
        assert_edited(&env);
        objects.assert_unchanged(&env.objects());
        env.verify_clean();
    });
}

/// Whatever else changes (another package, the link mode, a second detached one), the edits move along.
#[test]
fn edits_survive_an_environment_that_is_made_anew() {
    let env = env();
    realized(&env);
    env.run(["detach", "edited"]).success();
    edit(&env);
    env.run(["detach", "other"]).success();
    assert_edited(&env);
    env.run(["detach", "--undo", "other"]).success().says("other==1.0 is linked again");
    lock(&env, &[edited("1.0"), other("2.0")]);
    env.realize(&[]).success().says("edited stays a private copy");
    assert_eq!(env.evaluate("import other", "other.__version__"), "2.0");
    assert_edited(&env);
    for mode in ["hardlink", "copy", "symlink"] {
        env.realize(&["--link-mode", mode]).success().says("edited stays a private copy");
        assert_edited(&env);
        env.run(["status"]).success().says("as realized");
    }
    // What is missing comes back from the object, and nothing else is touched.
    fs::remove_file(env.site_packages().join("edited_single.py")).unwrap();
    env.run(["status"]).fails_with(exit::ERROR).prints("missing: ");
    env.realize(&[]).success();
    assert_eq!(env.evaluate("import edited_single, edited.deep as d", "(edited_single.VALUE, d.VALUE)"), "(1, 23)");
    env.verify_clean();
}

/// A folder that only the detached package had becomes one that another package shares, and the other way round:
/// added files move along.
#[test]
fn edits_survive_in_folders_that_become_shared() {
    let env = env();
    realized(&env);
    env.run(["detach", "edited"]).success();
    edit(&env);
    let added = env.site_packages().join("shared/added.py");
    fs::write(&added, "ADDED = 1\n").unwrap();
    let sharer = WheelBuilder::new("sharer", "1.0").file("shared/sharer.py", "").build();
    lock(&env, &[edited("1.0"), sharer]);
    env.realize(&[]).success();
    env.python_code("import shared.sharer, shared.added").success();
    assert_edited(&env);
    lock(&env, &[edited("1.0")]);
    env.realize(&["--keep-foreign"]).success();
    env.python_code("import shared.sharer").fails_with(1);
    env.python_code("import shared.added").success();
    assert_edited(&env);
}

/// Nothing edited is lost silently: another version, or a lock without the package, is refused until `--reattach`.
#[test]
fn another_version_is_refused_until_it_is_asked_for() {
    let env = env();
    realized(&env);
    env.run(["detach", "edited"]).success();
    let paths = edit(&env);
    let before = TreeDigest::of(&env.venv());
    lock(&env, &[edited("2.0"), other("1.0")]);
    env.realize(&[]).fails_with(exit::ERROR).explains().says("edited==1.0, and the lock has 2.0").says("--reattach");
    lock(&env, &[other("1.0")]);
    env.realize(&[]).fails_with(exit::ERROR).explains().says("edited==1.0, which is not in the lock");
    before.assert_unchanged(&env.venv());
    assert_edited(&env);
    lock(&env, &[edited("2.0"), other("1.0")]);
    let report = env.realize(&["--reattach", "--json"]).success().says("edited is linked again").json();
    assert_eq!((&report["reattached"][0], report["detached"].as_array().map(Vec::len)), (&"edited".into(), Some(0)));
    assert_eq!(env.evaluate("import edited, edited.deep", "(edited.__version__, edited.deep.VALUE)"), "('2.0', 1)");
    assert!(!paths[3].exists());
    env.realize(&[]).success().says("nothing to do");
    env.verify_clean();
}

/// `--undo` and `--reattach` bring the links back, with the lock as it was.
#[test]
fn a_detached_package_is_linked_again_on_request() {
    let env = env();
    realized(&env);
    for way in [["detach", "edited", "--undo"].as_slice(), &["realize", "requirements.lock", "--reattach"]] {
        env.run(["detach", "edited"]).success();
        edit(&env);
        let mut command = env.command(way);
        if way[0] == "realize" {
            command.arg("--python").arg(env.python());
        }
        env.finish(command).success().says("linked again");
        assert!(env.site_packages().join("edited").is_symlink());
        assert_eq!(env.evaluate("import edited.deep", "edited.deep.VALUE"), "1");
        env.realize(&[]).success().says("nothing to do");
    }
    env.run(["detach", "edited", "--undo"]).success().says("nothing to do");
}

/// pip and uv take a detached package away like any other; then the lock's is linked again.
#[test]
fn pip_and_uv_uninstall_a_detached_package() {
    let (Some(pip), Some(uv)) = (host::wheel_of("pip"), host::uv()) else {
        return host::skip("uv and a wheel of pip are needed (PIP_ACCEL_TEST_UV, PIP_ACCEL_TEST_WHEELS)");
    };
    let env = env();
    lock(&env, &[edited("1.0"), other("1.0"), BuiltFile::read(&pip)]);
    for tool in ["pip", "uv"] {
        env.realize(&[]).success();
        env.run(["detach", "edited"]).success();
        let objects = TreeDigest::of(&env.objects());
        let mut command = env.program(env.venv_program("python"));
        command.args(["-m", "pip", "uninstall", "-y", "edited"]);
        if tool == "uv" {
            command = env.program(&uv);
            command.args(["pip", "uninstall", "edited", "--python"]).arg(env.venv_program("python"));
        }
        env.finish(command).success();
        env.python_code("import edited.deep").fails_with(1);
        assert!(!env.site_packages().join("edited/deep").exists(), "{tool} leaves files");
        env.python_code("import other").success();
        objects.assert_unchanged(&env.objects());
        env.realize(&[]).success();
        assert!(env.site_packages().join("edited").is_symlink());
    }
    env.verify_clean();
}

#[test]
fn what_cannot_be_detached_is_named() {
    let env = env();
    env.run(["detach", "edited"]).fails_with(exit::ERROR).explains().says("no environment of pip-accel");
    realized(&env);
    env.run(["detach", "nothere"]).fails_with(exit::ERROR).explains().says("has no package nothere");
    env.run(["detach"]).fails_with(exit::USAGE);
    fs::remove_file(env.venv_program("edited")).unwrap();
    env.run(["detach", "edited"]).fails_with(exit::ERROR).explains().says("not as it was realized");
}
