//! `pip-accel install` into other places than virtualenvs: one folder, another prefix or root, the user's own; dry runs
//! and reports.

use std::path::Path;

use pip_accel_tests::{TestEnv, TreeDigest, WheelBuilder, host};

use crate::install::{app, files, install, pip, python_with_pip, venv};
use crate::lock::world;
use crate::support::exit;

fn write(env: &TestEnv, version: &str) {
    let package = WheelBuilder::simple("package", version)
        .file(&format!("package/only_{}.py", &version[..1]), "")
        .data_script("script", "#!python\nprint('script')\n")
        .data_file("data", "share/note.txt", version)
        .entry_point("main", "package:main");
    env.add(&package.build());
}

/// `--target`: what is there stays without `--upgrade`, and gives way as a whole with it.
#[test]
fn a_folder_is_filled_as_pip_does() {
    let Some((env, server)) = world() else { return };
    write(&env, "1.0");
    let url = server.index_url();
    let at = ["-i", url.as_str(), "-t", "place"];
    install(&env, &[&at[..], &["package"]].concat()).success();
    let place = env.project().join("place");
    let first = TreeDigest::of(&place.join("package"));
    assert!(place.join("package/only_1.py").exists() && place.join("bin/main").exists());
    write(&env, "2.0");
    install(&env, &[&at[..], &["package==2.0"]].concat()).success().says("is there already");
    first.assert_unchanged(&place.join("package"));
}

#[test]
fn an_upgrade_of_a_folder_replaces_entries() {
    let Some((env, server)) = world() else { return };
    write(&env, "1.0");
    let url = server.index_url();
    let at = ["-i", url.as_str(), "-t", "place", "--no-compile"];
    install(&env, &[&at[..], &["package"]].concat()).success();
    write(&env, "2.0");
    env.write("place/mine.txt", "mine");
    install(&env, &[&at[..], &["-U", "package"]].concat()).success();
    let place = env.project().join("place");
    assert!(place.join("package/only_2.py").exists() && !place.join("package/only_1.py").exists());
    assert!(place.join("mine.txt").exists());
    assert!(!files(&place, &[]).iter().any(|path| path.ends_with(".pyc")));
}

/// The same files as pip's, in another prefix and below another root; a second run has nothing to do.
#[test]
fn a_prefix_and_a_root_hold_what_pip_puts_there() {
    let (Some((env, _server)), Some(python)) = (world(), python_with_pip()) else { return };
    write(&env, "1.0");
    let place = venv(&env, &python, "v");
    let what = ["--no-index", "--find-links", "../files", "package"];
    for option in ["--prefix", "--root"] {
        let (theirs, ours) = (format!("theirs{option}"), format!("ours{option}"));
        let folder = |name: &str| env.project().join(name).to_string_lossy().into_owned();
        let (theirs, ours) = (folder(&theirs), folder(&ours));
        pip(&env, &place, &[&["install", "-q", option, &theirs], &what[..]].concat()).success();
        install(&env, &[&["--python", "v", option, &ours], &what[..]].concat()).success();
        assert_eq!(files(Path::new(&theirs), &[]), files(Path::new(&ours), &[]), "{option}");
        install(&env, &[&["--python", "v", option, &ours], &what[..]].concat()).success().says("nothing to do");
    }
}

/// The user's own folder: upgraded and found by Python, and what was replaced is gone.
#[test]
fn the_users_own_folder_is_upgraded() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    let url = server.index_url();
    let python = python.to_str().unwrap();
    let at = ["-i", url.as_str(), "--python", python, "--user", "--break-system-packages", "--no-warn-script-location"];
    for version in ["1.0", "2.0", "1.0"] {
        write(&env, version);
        install(&env, &[&at[..], &[&format!("package=={version}")]].concat()).success().never_mentions("PATH");
        let mut command = env.program(python);
        command.args(["-c", "import package; print(package.__version__)"]);
        assert_eq!(env.finish(command).success().stdout.trim(), version);
    }
    let all = files(&env.home().join(".local"), &[]);
    assert!(!all.iter().any(|path| path.contains("only_2") || path.contains("~pip-accel")), "{all:?}");
    assert!(all.iter().any(|path| path.ends_with("package-1.0.dist-info/REQUESTED")));
    let program = env.program(env.home().join(".local/bin/script"));
    assert_eq!(env.finish(program).success().stdout, "script\n");
    let at = &at[..6];
    install(&env, &[at, &["--force-reinstall", "package==1.0"]].concat()).success().says("is not on PATH");
}

/// A failure in the middle of writing: everything is put back.
#[test]
fn a_failure_puts_back_what_was_moved() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    write(&env, "1.0");
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--python", python.to_str().unwrap(), "--prefix", "place"];
    install(&env, &[&at[..], &["package"]].concat()).success();
    write(&env, "2.0");
    let place = env.project().join("place");
    // A file stands where a folder has to go.
    std::fs::remove_dir_all(place.join("share")).unwrap();
    std::fs::write(place.join("share"), "in the way").unwrap();
    let contents = || {
        let all = files(&place, &[]).into_iter();
        all.map(|path| (std::fs::read(place.join(&path)).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = contents();
    install(&env, &[&at[..], &["-U", "package"]].concat()).fails_with(exit::ERROR).explains();
    assert_eq!(before, contents());
}

/// PEP 668, read as pip reads it.
#[test]
fn an_interpreter_of_the_systems_is_left_alone() {
    let Some((env, server)) = world() else { return };
    write(&env, "1.0");
    let code = "import os, sysconfig; print(os.path.isfile(sysconfig.get_path('stdlib') + '/EXTERNALLY-MANAGED'))";
    let mut command = env.program(env.python());
    command.args(["-c", code]);
    if env.finish(command).success().stdout.trim() != "True" {
        return pip_accel_tests::skip("no interpreter here is EXTERNALLY-MANAGED");
    }
    let at = ["-i", server.index_url().as_str(), "--python", env.python().to_str().unwrap()].map(str::to_owned);
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    for words in [&["package"][..], &["--user", "package"]] {
        install(&env, &[&at, words].concat()).fails_with(exit::ERROR).says("EXTERNALLY-MANAGED").explains();
    }
    install(&env, &[&at, &["--user", "--break-system-packages", "package"][..]].concat()).success();
    assert!(files(&env.home().join(".local"), &[]).iter().any(|path| path.ends_with("package/__init__.py")));
}

/// Nothing is installed by a dry run, and the report says what would be: pip's version 1.
#[test]
fn a_dry_run_reports_and_installs_nothing() {
    let Some((env, server)) = world() else { return };
    app(&env);
    let url = server.index_url();
    let words = ["-i", url.as_str(), "--venv", ".venv", "--dry-run", "app"];
    let output = install(&env, &words).success();
    assert_eq!(output.stdout, "Would install app-1.0 library-2.0\n");
    assert!(!env.venv().exists());
    let report = install(&env, &[&words[..], &["-q", "--report", "-"]].concat()).success().json();
    assert_eq!(report["version"], "1");
    let names: Vec<&str> =
        report["install"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["app", "library"]);
    assert_eq!(report["install"][0]["requested"], true);
    assert_eq!(report["install"][1]["requested"], false);
    assert_eq!(report["install"][0]["metadata"]["requires_dist"][0], "library>=1");
    assert!(report["environment"]["python_version"].is_string());
    install(&env, &["-i", url.as_str(), "--venv", ".venv", "app", "--report", "report.json"]).success();
    let text = std::fs::read_to_string(env.project().join("report.json")).unwrap();
    assert!(text.contains("\"is_direct\": false"));
}

/// `--ignore-installed`, `--force-reinstall`, `--no-deps`, `--pre`, constraints, hashes, formats.
#[test]
fn options_of_choice_are_heard() {
    let Some((mut env, server)) = world() else { return };
    app(&env);
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    env.add(&WheelBuilder::simple("library", "3.0rc1").build());
    install(&env, &["--venv", "none", "--no-deps", "app"]).success().says("1 package: ");
    install(&env, &["--venv", ".venv", "--pre", "library"]).success();
    assert_eq!(env.evaluate("import library", "library.__version__"), "3.0rc1");
    install(&env, &["--force-reinstall", "library==3.0rc1"]).success().says("1 package: 1 from the store");
    install(&env, &["-I", "library==3.0rc1"]).success().says("1 package: 1 from the store");
    env.write("limits.txt", "library<2\n");
    install(&env, &["-c", "limits.txt", "app"]).success();
    assert_eq!(env.evaluate("import library", "library.__version__"), "1.0");
    install(&env, &["--require-hashes", "app"]).fails_with(exit::LOCK_REFUSED).says("hashes").explains();
    install(&env, &["--no-binary", "library", "library==2.0"]).fails_with(exit::LOCK_REFUSED).explains();
    env.write("pyproject.toml", "[dependency-groups]\ndev = [\"library==2.0\"]\n");
    install(&env, &["--group", "dev"]).success();
    assert_eq!(env.evaluate("import library", "library.__version__"), "2.0");
    let hash = WheelBuilder::simple("library", "1.0").build().hash_option();
    env.write("hashed.txt", format!("library==1.0 {hash}\n"));
    install(&env, &["--require-hashes", "-r", "hashed.txt"]).success();
    env.write("mixed.txt", format!("library==1.0 {hash}\napp\n"));
    install(&env, &["-r", "mixed.txt"]).fails_with(exit::LOCK_REFUSED).says("app");
    install(&env, &["--no-require-hashes", "-r", "mixed.txt"]).success();
}

/// `-e`: Python imports from the checkout, and what changes there is seen.
#[test]
fn an_editable_is_used_in_place() {
    let Some((env, _server)) = world() else { return };
    if host::wheel_of("setuptools").is_none() {
        return pip_accel_tests::skip("PIP_ACCEL_TEST_WHEELS has no setuptools");
    }
    let wheels = host::wheels().unwrap().to_string_lossy().into_owned();
    env.write(
        "checkout/pyproject.toml",
        concat!(
            "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n",
            "[project]\nname = \"mine\"\nversion = \"1.0\"\n[tool.setuptools]\npackages = [\"mine\"]\n",
        ),
    );
    env.write("checkout/mine/__init__.py", "VALUE = 1\n");
    install(&env, &["--no-index", "-f", &wheels, "--venv", ".venv", "-e", "./checkout"]).success();
    assert_eq!(env.evaluate("import mine", "mine.VALUE"), "1");
    env.write("checkout/mine/__init__.py", "VALUE = 22\n");
    assert_eq!(env.evaluate("import mine", "mine.VALUE"), "22");
}
