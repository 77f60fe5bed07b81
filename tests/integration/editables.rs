//! Editables: imported from where they are, built by PEP 660, outside the store.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::path::Path;

use pip_accel_tests::{BuiltFile, SdistBackend, SdistBuilder, TestEnv, TreeDigest, host, skip};

use crate::sources::{commit, direct_url, git, lock, repository, write_project};
use crate::support::{as_root_and_user, env, exit, lock_of};

fn demo() -> SdistBuilder {
    SdistBuilder::simple("demo", "1.0")
}

fn imported_from(env: &TestEnv) -> String {
    env.evaluate("import os, demo", "os.path.realpath(demo.__file__)")
}

fn edit(project: &Path, version: &str) {
    std::fs::write(project.join("src/demo/__init__.py"), format!("__version__ = {version:?}\n")).unwrap();
}

/// Test 15 of the original: `import` takes the checkout, an edit is seen at once, nothing is written there, and nothing of
/// the code is in the store. A backend without PEP 660 serves too.
#[test]
fn an_editable_is_imported_from_its_checkout() {
    as_root_and_user(|env| {
        let project = env.project().join("checkout");
        write_project(&env, &project, &demo());
        lock(&env, &["-e ./checkout"]);
        let before = TreeDigest::of(&project);
        env.realize(&[]).success().says("1 built");
        before.assert_unchanged(&project);
        assert_eq!(imported_from(&env), project.join("src/demo/__init__.py").display().to_string());
        assert_eq!(direct_url(&env, "demo")["dir_info"], serde_json::json!({ "editable": true }));
        edit(&project, "edited");
        assert_eq!(env.evaluate("import demo", "demo.__version__"), "edited");
        let objects = env.object_names();
        env.realize(&[]).success().says("nothing to do");
        env.realize(&["--venv", "other"]).success().says("1 from the store");
        assert_eq!((env.object_names(), env.builds()), (objects, 1));
        // How it is built is what makes it another one.
        std::fs::write(project.join("setup.cfg"), "[metadata]\n").unwrap();
        env.realize(&[]).success().says("1 built");
        env.verify_clean();
    });
}

/// With a real backend of PEP 660, and pip's view of it; extension modules come to where they are imported from.
#[test]
fn setuptools_makes_editables() {
    let Some(wheels) = host::wheels() else { return skip("PIP_ACCEL_TEST_WHEELS is not set; run `make test`") };
    for backend in [SdistBackend::Setuptools, SdistBackend::SetupPy] {
        let env = env();
        let project = env.project().join("checkout");
        write_project(&env, &project, &demo().backend(backend).answer_extension());
        let before = TreeDigest::of(&project);
        lock(&env, &[&format!("--find-links {}", wheels.display()), "-e ./checkout#egg=demo"]);
        env.realize(&[]).success();
        assert_eq!(imported_from(&env), project.join("src/demo/__init__.py").display().to_string(), "{backend:?}");
        assert_eq!(env.evaluate("from demo import _answer", "_answer.answer()"), "42", "{backend:?}");
        let changes = before.changes_to(&TreeDigest::of(&project));
        assert!(changes.iter().all(|change| change.contains("src/demo")), "{changes:?}");
        edit(&project, "edited");
        assert_eq!(env.evaluate("import demo", "demo.__version__"), "edited");
        env.verify_clean();
    }
}

/// pip sees an editable where it is, and takes it away without touching it.
#[test]
fn pip_knows_editables() {
    let Some(pip) = host::wheel_of("pip") else { return skip("a wheel of pip is needed (PIP_ACCEL_TEST_WHEELS)") };
    let env = env();
    let project = env.project().join("checkout");
    write_project(&env, &project, &demo());
    let text = lock_of(&env, &[&BuiltFile::read(&pip)]).line("-e ./checkout").text();
    env.write("requirements.lock", text);
    env.realize(&[]).success().says("the content of -e ").says("the lock does not fix it");
    let run = |arguments: &[&str]| {
        let mut command = env.program(env.venv_program("python"));
        command.args(["-m", "pip"]).args(arguments);
        env.finish(command).success()
    };
    let listed = run(&["list", "--editable", "--format", "json"]).json();
    assert_eq!(listed[0]["editable_project_location"], project.display().to_string());
    run(&["check"]);
    let before = TreeDigest::of(&project);
    run(&["uninstall", "--yes", "demo"]);
    before.assert_unchanged(&project);
    env.realize(&[]).success();
    env.python_code("import demo").success();
    env.verify_clean();
}

/// `-e git+…` clones into `src/`, once; what is there is never changed.
#[test]
fn an_editable_commit_is_cloned() {
    let env = env();
    let (repository, first) = repository(&env, "repo", &demo());
    let line = |commit: &str| format!("-e git+file://{}@{commit}#egg=demo", repository.display());
    lock(&env, &[&line(&first)]);
    env.realize(&[]).success().says("1 built");
    let clone = env.project().join("src/demo");
    assert_eq!(imported_from(&env), clone.join("src/demo/__init__.py").display().to_string());
    assert_eq!(git(&env, &clone, &["status", "--porcelain", "--untracked-files=no"]), "");
    edit(&clone, "mine");
    env.realize(&[]).success().says("nothing to do");
    assert_eq!(env.evaluate("import demo", "demo.__version__"), "mine");
    edit(&repository, "theirs");
    let second = commit(&env, &repository, "second");
    lock(&env, &[&line(&second)]);
    let before = TreeDigest::of(&clone);
    env.realize(&[]).fails_with(exit::ERROR).explains().says(&first).says(&format!("checkout {second}"));
    before.assert_unchanged(&clone);
    std::fs::remove_dir_all(&clone).unwrap();
    std::fs::create_dir(&clone).unwrap();
    env.realize(&[]).fails_with(exit::ERROR).explains().says("is no git repository");
}

#[test]
fn what_is_no_checkout_is_refused() {
    let env = env();
    for (line, words) in [
        ("-e ../somewhere", "there is no file"),
        ("-e demo", "names no directory or commit"),
        ("-e ../files", "is no project"),
        ("-e git+https://h.example/r@main#egg=demo", "names no full commit"),
        ("-e git+https://h.example/r@0123456789abcdef0123456789abcdef01234567", "names no directory or commit"),
    ] {
        lock(&env, &[line]);
        env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says(words);
    }
}
