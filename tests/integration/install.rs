//! `pip-accel install` into virtualenvs: what others made is taken over and keeps working, nothing is done twice, and a
//! failure changes nothing.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{Output, SdistBuilder, TestEnv, TreeDigest, WheelBuilder, host, skip};

use crate::lock::world;
use crate::support::exit;

/// `install` with these words.
#[track_caller]
pub(crate) fn install(env: &TestEnv, words: &[&str]) -> Output {
    env.run([&["install"], words].concat())
}

/// The newest interpreter with a `venv` that puts pip in.
pub(crate) fn python_with_pip() -> Option<PathBuf> {
    let has_pip = |python: &Path| {
        let code = "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 8))";
        std::process::Command::new(python).args(["-c", code]).output().is_ok_and(|output| output.status.success())
    };
    let found = host::interpreters().into_iter().rev().map(|one| one.path).find(|path| has_pip(path));
    if found.is_none() {
        skip("no interpreter has venv and ensurepip");
    }
    found
}

/// A virtualenv of `python -m venv` in the project.
pub(crate) fn venv(env: &TestEnv, python: &Path, name: &str) -> PathBuf {
    let mut command = env.program(python);
    command.args(["-m", "venv", name]);
    env.finish(command).success();
    env.project().join(name)
}

/// pip of a virtualenv.
#[track_caller]
pub(crate) fn pip(env: &TestEnv, venv: &Path, words: &[&str]) -> Output {
    let mut command = env.program(venv.join("bin/python"));
    command.args(["-m", "pip"]).args(words);
    env.finish(command)
}

/// All files below a folder, relative to it; `without` are left out with all below them.
pub(crate) fn files(folder: &Path, without: &[&str]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).unwrap().flatten() {
            let relative = entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            if without.contains(&relative.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                files.insert(relative);
            }
        }
    }
    files
}

/// On the index: `app` 1.0 needs `library`, which has 1.0 and 2.0.
pub(crate) fn app(env: &TestEnv) {
    let app = WheelBuilder::new("app", "1.0").requires("library>=1").entry_point("app", "app:main");
    env.add(&app.file("app.py", "import library\ndef main():\n    print('app', library.__version__)\n").build());
    for version in ["1.0", "2.0"] {
        env.add(&WheelBuilder::simple("library", version).build());
    }
}

/// A virtualenv of the program virtualenv, which is installed into a virtualenv of its own from the wheels of the set-up.
fn by_virtualenv(env: &TestEnv, python: &Path) -> Option<PathBuf> {
    let (Some(wheels), Some(_)) = (host::wheels(), host::wheel_of("virtualenv")) else {
        skip("PIP_ACCEL_TEST_WHEELS has no virtualenv");
        return None;
    };
    let own = venv(env, python, "virtualenvs-own");
    pip(env, &own, &["install", "-q", "--no-index", "-f", wheels.to_str().unwrap(), "virtualenv"]).success();
    let mut command = env.program(own.join("bin/python"));
    command.args(["-m", "virtualenv", "--quiet", "--no-download", "by-virtualenv"]);
    env.finish(command).success();
    Some(env.project().join("by-virtualenv"))
}

#[test]
fn virtualenvs_of_other_programs_are_taken_over_in_place() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    app(&env);
    let by_venv = venv(&env, &python, "by-venv");
    let mut uv = env.program(host::uv().unwrap());
    uv.args(["venv", "-q", "by-uv", "--python"]).arg(&python);
    env.finish(uv).success();
    let by_uv = env.project().join("by-uv");
    for place in [Some(by_venv), Some(by_uv), by_virtualenv(&env, &python)].into_iter().flatten() {
        let own = ["pyvenv.cfg", "bin/activate", "bin/activate.fish"];
        let before: Vec<Vec<u8>> = own.iter().map(|name| std::fs::read(place.join(name)).unwrap()).collect();
        let all = files(&place, &[]);
        let url = server.index_url();
        let words = ["-i", url.as_str(), "--python", place.to_str().unwrap(), "app", "library<2"];
        install(&env, &words).success().says("2 packages: ");
        for (name, before) in own.iter().zip(before) {
            assert_eq!(std::fs::read(place.join(name)).unwrap(), before, "{name} has changed");
        }
        let now = files(&place, &[]);
        assert!(all.is_subset(&now), "gone: {:?}", all.difference(&now));
        let mut program = env.program(place.join("bin/app"));
        program.env("PATH", "/nowhere");
        assert_eq!(env.finish(program).success().stdout, "app 1.0\n");
        let mut uv = env.program(host::uv().unwrap());
        uv.args(["pip", "list", "--python"]).arg(&place);
        env.finish(uv).success().prints("library");
    }
}

/// Installers of others go on working in what was taken over, and what they do stays.
#[test]
fn pip_lists_checks_installs_and_uninstalls_afterwards() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    app(&env);
    let place = venv(&env, &python, "v");
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--python", "v"];
    install(&env, &[&at[..], &["app"]].concat()).success();
    pip(&env, &place, &["list"]).success().prints("app").prints("library").prints("pip");
    pip(&env, &place, &["check"]).success();
    pip(&env, &place, &["install", "-q", "--no-index", "--find-links", "../files", "library==1.0"]).success();
    // Another installation keeps what pip installed, and takes nothing back.
    env.add(&WheelBuilder::simple("other", "1.0").build());
    install(&env, &[&at[..], &["other"]].concat()).success();
    pip(&env, &place, &["freeze"]).success().prints("library==1.0").prints("other==1.0");
    pip(&env, &place, &["uninstall", "-y", "library", "app"]).success();
    let left = pip(&env, &place, &["freeze"]).success();
    assert_eq!(left.stdout, "other==1.0\n");
    assert!(!files(&place, &[]).iter().any(|path| path.contains("library")));
    env.verify_clean();
}

/// What pip installed and we replace goes with all its files.
#[test]
fn a_distribution_of_pip_is_replaced_as_a_whole() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    let old = WheelBuilder::simple("package", "1.0").file("package/only_old.py", "").entry_point("old-program", "a:b");
    env.add(&old.build());
    env.add(&WheelBuilder::simple("package", "2.0").build());
    let place = venv(&env, &python, "v");
    pip(&env, &place, &["install", "-q", "--no-index", "--find-links", "../files", "package==1.0"]).success();
    assert!(place.join("bin/old-program").exists());
    let url = server.index_url();
    install(&env, &["-i", url.as_str(), "--python", "v", "-U", "package"]).success();
    let now = files(&place, &[]);
    assert!(!now.iter().any(|path| path.contains("only_old") || path.contains("old-program")), "{now:?}");
    pip(&env, &place, &["freeze"]).success().prints("package==2.0");
}

/// CLI-21: already satisfied is exit 0, without a network and without a change.
#[test]
fn what_is_satisfied_is_left_alone() {
    let Some((env, server)) = world() else { return };
    app(&env);
    let url = server.index_url();
    install(&env, &["-i", url.as_str(), "--venv", ".venv", "app"]).success().says("2 packages: ");
    let (digest, asked) = (TreeDigest::of(&env.venv()), server.requests().len());
    for words in [&["app"][..], &["app>=1", "library"], &["-i", url.as_str(), "app"]] {
        install(&env, words).success().says("nothing to do");
    }
    assert_eq!(server.requests().len(), asked);
    digest.assert_unchanged(&env.venv());
}

/// The second environment is made from what was chosen for the first: no index, no resolver.
#[test]
fn a_choice_is_remembered() {
    let Some((mut env, server)) = world() else { return };
    app(&env);
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    env.write("requirements.txt", "app\nlibrary<2\n");
    install(&env, &["-r", "requirements.txt", "--venv", "first"]).success();
    let asked = server.requests().len();
    env.set("PIP_ACCEL_UV", "/nowhere/uv");
    install(&env, &["-r", "requirements.txt", "--venv", ".venv"]).success().says("2 packages: 2 from the store");
    assert_eq!(server.requests().len(), asked);
    assert_eq!(env.evaluate("import library", "library.__version__"), "1.0");
    // Another question is no remembered one.
    env.write("requirements.txt", "app\n");
    install(&env, &["-r", "requirements.txt", "--venv", "third"]).fails_with(exit::ERROR);
}

/// SRC-2: what the store has is used without an index, and `--upgrade` asks for newer versions.
#[test]
fn the_store_comes_first_and_an_upgrade_asks() {
    let Some((mut env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("library", "1.0").build());
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    install(&env, &["library", "--venv", "first"]).success();
    let asked = server.requests().len();
    app(&env);
    install(&env, &["library>=1", "--venv", ".venv"]).success().says("1 from the store");
    assert_eq!(server.requests().len(), asked);
    install(&env, &["library>=1"]).success().says("nothing to do");
    install(&env, &["-U", "library>=1"]).success().says("1 package: ");
    assert_eq!(env.evaluate("import library", "library.__version__"), "2.0");
    // Offline, the store is all there is.
    install(&env, &["--offline", "library==1.0"]).success().says("1 from the store");
    install(&env, &["--offline", "app"]).fails_with(exit::OFFLINE).explains();
}

/// Dependencies are upgraded only where they must be, or with the strategy `eager`.
#[test]
fn an_upgrade_leaves_dependencies_alone_unless_it_is_eager() {
    let Some((mut env, server)) = world() else { return };
    app(&env);
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    install(&env, &["--venv", ".venv", "app", "library==1.0"]).success();
    let library = || env.evaluate("import library", "library.__version__");
    install(&env, &["-U", "app"]).success().says("nothing to do");
    assert_eq!(library(), "1.0");
    install(&env, &["-U", "--upgrade-strategy", "eager", "app"]).success();
    assert_eq!(library(), "2.0");
    install(&env, &["library==1.0"]).success();
    assert_eq!(library(), "1.0");
    env.run(["rollback"]).success();
    assert_eq!(library(), "2.0");
}

/// Rollback brings back the packages, and leaves pip where it is.
#[test]
fn a_rollback_keeps_what_was_taken_over() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    app(&env);
    let place = venv(&env, &python, "v");
    let url = server.index_url();
    for requirement in ["library==1.0", "library==2.0"] {
        install(&env, &["-i", url.as_str(), "--python", "v", requirement]).success();
    }
    env.run(["rollback", "--venv", "v"]).success().never_mentions("bin/pip");
    pip(&env, &place, &["list", "--format=freeze"]).success().prints("library==1.0").prints("pip==");
}

/// A build that fails, a version that is not there: the virtualenv is what it was, byte by byte.
#[test]
fn a_failure_leaves_everything_as_it_was() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    app(&env);
    env.add(&SdistBuilder::simple("broken", "1.0").during_build("raise SystemExit(3)\n").build());
    let place = venv(&env, &python, "v");
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--python", "v"];
    install(&env, &[&at[..], &["library==1.0"]].concat()).success();
    let before = TreeDigest::of(&place);
    for (requirements, code) in [
        (&["library==2.0", "broken"][..], exit::BUILD_FAILED),
        (&["library==3.0"], exit::LOCK_REFUSED),
        (&["nowhere"], exit::LOCK_REFUSED),
        (&["app", "library<1"], exit::LOCK_REFUSED),
    ] {
        install(&env, &[&at[..], requirements].concat()).fails_with(code).explains();
        before.assert_unchanged(&place);
    }
    env.verify_clean();
}

/// Test 12 of the original: the same files and the same `pip freeze` as after pip, for the same wheels.
#[test]
fn the_files_are_those_that_pip_installs() {
    let (Some((env, _server)), Some(python)) = (world(), python_with_pip()) else { return };
    app(&env);
    let parts = WheelBuilder::simple("parts", "1.0")
        .file("parts/data.txt", "data")
        .data_script("parts-script", "#!python\nprint('script')\n")
        .data_file("data", "share/parts/note.txt", "note")
        .data_file("headers", "parts.h", "int x;\n")
        .entry_point("parts-main", "parts:main");
    env.add(&parts.build());
    let (theirs, ours) = (venv(&env, &python, "theirs"), venv(&env, &python, "ours"));
    let what = ["--no-index", "--find-links", "../files", "app", "parts"];
    pip(&env, &theirs, &[&["install", "-q"], &what[..]].concat()).success();
    install(&env, &[&["--python", "ours", "--link-mode", "copy"], &what[..]].concat()).success();
    assert_eq!(files(&theirs, &[]), files(&ours, &["pip-accel.json"]));
    let freeze = |place: &Path| pip(&env, place, &["freeze"]).success().stdout;
    assert_eq!(freeze(&theirs), freeze(&ours));
    pip(&env, &ours, &["check"]).success();
    pip(&env, &ours, &["uninstall", "-q", "-y", "app", "parts", "library"]).success();
    pip(&env, &theirs, &["uninstall", "-q", "-y", "app", "parts", "library"]).success();
    let bare = |place| {
        let left = files(place, &["pip-accel.json"]);
        left.into_iter().filter(|path| !path.contains("/pip/")).collect::<BTreeSet<_>>()
    };
    assert_eq!(bare(&theirs), bare(&ours));
}

/// Requirements that are not met afterwards are named, as pip does.
#[test]
fn broken_requirements_of_others_are_named() {
    let Some((mut env, server)) = world() else { return };
    app(&env);
    env.add(&WheelBuilder::simple("strict", "1.0").requires("library<2").build());
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    install(&env, &["--venv", ".venv", "strict"]).success();
    install(&env, &["library==2.0"]).success().says("strict is broken now").says("library<2");
    install(&env, &["--no-warn-conflicts", "--force-reinstall", "library==2.0"]).success().never_mentions("broken");
}

/// Only what the user named is REQUESTED, and what was stays so.
#[test]
fn what_was_asked_for_is_known() {
    let Some((mut env, server)) = world() else { return };
    app(&env);
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    install(&env, &["--venv", ".venv", "app"]).success();
    let requested =
        |name: &str, version: &str| env.site_packages().join(format!("{name}-{version}.dist-info/REQUESTED")).exists();
    assert!(requested("app", "1.0") && !requested("library", "2.0"));
    install(&env, &["library==1.0"]).success();
    assert!(requested("app", "1.0") && requested("library", "1.0"));
}

/// An index answers, `server` is used by a name that the environment says.
#[test]
fn a_local_wheel_and_a_script_can_be_installed() {
    let Some((mut env, server)) = world() else { return };
    app(&env);
    let server: IndexServer = server;
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    let wheel = "../files/app-1.0-py3-none-any.whl";
    install(&env, &["--venv", ".venv", wheel]).success().says("2 packages: ");
    install(&env, &[wheel]).success().says("nothing to do");
    let url = std::fs::read_to_string(env.site_packages().join("app-1.0.dist-info/direct_url.json")).unwrap();
    assert!(url.contains("app-1.0-py3-none-any.whl"), "{url}");
    env.write("script.py", "# /// script\n# dependencies = [\"library==1.0\"]\n# ///\n");
    install(&env, &["--requirements-from-script", "script.py"]).success().says("1 package: ");
    assert_eq!(env.evaluate("import library", "library.__version__"), "1.0");
}
