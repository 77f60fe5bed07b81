//! Directories of this machine: built when their content changed, never written to.

use std::time::{Duration, SystemTime};

use pip_accel_tests::{SdistBuilder, TestEnv, TreeDigest, WheelBuilder, host, skip};

use crate::sources::{direct_url, git, give, lock, repository, write_project};
use crate::support::{as_root_and_user, env, exit, lock_of};

fn demo() -> SdistBuilder {
    SdistBuilder::simple("demo", "1.0")
}

/// Test 17 of the original: an unchanged directory with new times is not built again; a changed one of the same version
/// is, at another path of the store. Nothing is written into it.
#[test]
fn a_directory_is_built_when_its_content_changed() {
    as_root_and_user(|env| {
        let project = env.project().join("checkout");
        write_project(&env, &project, &demo());
        lock(&env, &["./checkout"]);
        let before = TreeDigest::of(&project);
        env.realize(&[]).success().says("1 built");
        before.assert_unchanged(&project);
        assert_eq!(direct_url(&env, "demo")["dir_info"], serde_json::json!({}));
        let first = env.evaluate("import os, demo", "os.path.realpath(demo.__file__)");
        // Leftovers of tools are no content, and times neither.
        std::fs::create_dir_all(project.join("src/demo/__pycache__")).unwrap();
        std::fs::write(project.join("src/demo/__pycache__/x.pyc"), "x").unwrap();
        std::fs::create_dir_all(project.join("env/lib")).unwrap();
        std::fs::write(project.join("env/pyvenv.cfg"), "home = /usr\n").unwrap();
        let file = std::fs::File::options().write(true).open(project.join("src/demo/__init__.py")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(5000)).unwrap();
        give(&env, &project);
        env.realize(&[]).success().says("nothing to do");
        env.realize(&["--venv", "other"]).success().says("1 from the store");
        assert_eq!(env.builds(), 1);
        std::fs::write(project.join("src/demo/__init__.py"), "__version__ = 'changed'\n").unwrap();
        env.realize(&[]).success().says("1 built");
        assert_eq!(env.evaluate("import demo", "demo.__version__"), "changed");
        assert_ne!(env.evaluate("import os, demo", "os.path.realpath(demo.__file__)"), first);
        env.verify_clean();
    });
}

/// The lock's own folder, with the environment in it; a `file:` URL; a link that leads out is left out, and said.
#[test]
fn a_directory_may_hold_its_environment() {
    let env = env();
    write_project(&env, &env.project(), &demo());
    std::os::unix::fs::symlink("/etc", env.project().join("out")).unwrap();
    lock(&env, &["."]);
    env.realize(&[]).success().says("left out of").says("`out` (a link that leads out)");
    env.realize(&[]).success().says("nothing to do");
    env.realize(&["--venv", "other"]).success().says("1 from the store");
    assert_eq!(env.builds(), 1);
    let far = crate::support::env();
    lock(&far, &[&format!("demo @ file://{}", env.project().display())]);
    far.realize(&[]).success().says("1 built");
    lock(&far, &["../files"]);
    far.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says("is no project");
}

/// A project that two lines name is refused, also when only the build tells the name of one.
#[test]
fn a_checkout_and_a_release_of_one_project_are_refused() {
    let env = env();
    let wheel = WheelBuilder::simple("demo", "1.0").build();
    write_project(&env, &env.project().join("checkout"), &demo());
    env.write("requirements.lock", lock_of(&env, &[&wheel]).line("./checkout").text());
    env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says("another line of the lock has too");
    env.write("requirements.lock", lock_of(&env, &[&wheel]).line("demo @ file:checkout").text());
    env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says("is locked differently");
}

/// A project with setuptools-like version control in its build has its repository's tags there.
#[test]
fn a_directory_that_asks_for_its_history_gets_it() {
    let env = env();
    let code = "import subprocess\n# setuptools_scm\n\
        open('src/demo/said.txt', 'wb').write(subprocess.check_output(['git', 'describe', '--tags', '--long', '--dirty']))\n";
    let sdist = demo().during_build(code).file("setup.cfg", "[options]\nsetup_requires = setuptools_scm\n");
    let (repository, commit) = repository(&env, "repo", &sdist);
    git(&env, &repository, &["tag", "v3"]);
    lock(&env, &["../repo"]);
    let said =
        |env: &TestEnv| env.evaluate("import importlib.resources as r", "(r.files('demo') / 'said.txt').read_text()");
    let before = TreeDigest::of(&repository);
    env.realize(&[]).success();
    before.assert_unchanged(&repository);
    assert_eq!(said(&env), format!("v3-0-g{}", &commit[..7]));
    git(&env, &repository, &["tag", "-d", "v3"]);
    git(&env, &repository, &["tag", "v4"]);
    env.realize(&[]).success().says("1 built");
    assert_eq!(said(&env), format!("v4-0-g{}", &commit[..7]));
    std::fs::write(repository.join("src/demo/__init__.py"), "__version__ = 'edited'\n").unwrap();
    // What the repository itself wants to have run is not even read.
    let marker = env.base().join("marker");
    git(&env, &repository, &["config", "core.fsmonitor", &format!("touch {}; false", marker.display())]);
    git(&env, &repository, &["config", "core.sshCommand", &format!("touch {}; false", marker.display())]);
    env.realize(&[]).success().says("1 built");
    assert!(!marker.exists(), "a command of the repository's configuration ran");
    assert!(said(&env).ends_with("-dirty"), "{}", said(&env));
}

/// An unchanged directory is looked at, not read.
#[test]
fn an_unchanged_directory_is_not_read() {
    let env = env();
    let project = env.project().join("checkout");
    write_project(&env, &project, &demo().file("big.bin", vec![1; 1 << 20]));
    lock(&env, &["./checkout"]);
    let reads = |env: &TestEnv| {
        let mut command = env.program("strace");
        command.args(["-f", "-e", "trace=openat,open", "-o", "trace.txt"]).arg(env.binary());
        command.args(["realize", "requirements.lock", "--python"]).arg(env.python());
        env.finish(command).success();
        std::fs::read_to_string(env.project().join("trace.txt")).unwrap().contains("big.bin")
    };
    if host::program("strace").is_none() {
        return skip("strace shows which files are opened");
    }
    // Until the files are old enough for a look to be believed.
    env.realize(&[]).success();
    let old = SystemTime::now();
    while reads(&env) {
        assert!(old.elapsed().unwrap() < Duration::from_secs(60), "an unchanged directory is read in each run");
    }
}
