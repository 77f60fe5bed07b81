//! `realize` with locks as people have them: formats, options, sources, and the environment that comes out.

use std::os::unix::fs::PermissionsExt as _;

use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, SdistFormat, TreeDigest, WheelBuilder, host};

use crate::support::{env, env_in, lock_of};

/// A wheel with one of everything: a module, a console script, a data script, a header and a data file.
fn full_wheel() -> BuiltFile {
    WheelBuilder::simple("Full.Wheel", "1.0")
        .file("full_wheel/cli.py", "import sys\ndef main():\n    print('hello from', sys.prefix)\n    return 3\n")
        .file("full_wheel/data/text.txt", "text\n")
        .entry_point("full-tool", "full_wheel.cli:main")
        .data_script("full-script", "#!python\nimport full_wheel\nprint('script', full_wheel.__version__)\n")
        .data_file("headers", "full.h", "#define FULL 1\n")
        .data_file("data", "share/full/readme.txt", "readme\n")
        .build()
}

fn built_sdist() -> BuiltFile {
    SdistBuilder::simple("from-source", "2.0").answer_extension().build()
}

#[test]
fn a_wheel_and_an_sdist_become_an_environment() {
    let env = env();
    env.lock(&[&full_wheel(), &built_sdist()]);
    env.realize(&[]).success().says("2 packages: 0 from the store, 1 fetched, 1 built, in ");

    assert_eq!(env.evaluate("import full_wheel", "full_wheel.__version__"), "1.0");
    assert_eq!(env.evaluate("from from_source import _answer", "_answer.answer()"), "42");
    let versions = env.evaluate("from importlib.metadata import version as v", "v('full-wheel'), v('from_source')");
    assert_eq!(versions, "1.0 2.0");
    let tool = env.finish(env.program(env.venv_program("full-tool"))).fails_with(3);
    assert_eq!(tool.stdout.trim(), format!("hello from {}", env.venv().display()));
    env.finish(env.program(env.venv_program("full-script"))).success().prints("script 1.0");
    assert_eq!(std::fs::read_to_string(env.venv().join("share/full/readme.txt")).unwrap(), "readme\n");
    let header = env
        .evaluate("import sysconfig, glob, sys", "glob.glob(sys.prefix + '/include/**/full.h', recursive=True) != []");
    assert_eq!(header, "True");
    env.verify_clean();
}

#[test]
fn a_second_run_does_nothing_and_says_so() {
    let env = env();
    env.lock(&[&full_wheel(), &built_sdist()]);
    env.realize(&[]).success();
    let (venv, objects) = (TreeDigest::of(&env.venv()), TreeDigest::of(&env.objects()));
    env.realize(&[]).success().says("2 packages: nothing to do");
    venv.assert_unchanged(&env.venv());
    objects.assert_unchanged(&env.objects());
}

#[test]
fn a_second_environment_builds_and_fetches_nothing() {
    let env = env();
    env.lock(&[&full_wheel(), &built_sdist()]);
    env.realize(&[]).success();
    env.realize(&["--venv", "other"]).success().says("2 packages: 2 from the store, 0 fetched, 0 built");
    assert_eq!(env.builds(), 1);
    // The store is enough: the files may be gone and the network off.
    std::fs::remove_dir_all(env.files()).unwrap();
    env.realize(&["--venv", "third", "--offline"]).success();
}

#[test]
fn fetch_makes_a_later_offline_run_possible() {
    let env = env();
    env.lock(&[&full_wheel(), &built_sdist()]);
    env.run(["fetch", "requirements.lock"]).success();
    std::fs::remove_dir_all(env.files()).unwrap();
    env.realize(&["--offline"]).success();
    assert_eq!(env.evaluate("from from_source import _answer", "_answer.answer()"), "42");
}

#[test]
fn an_empty_lock_gives_an_empty_environment() {
    for text in ["", "\n", "# nothing yet\n\n"] {
        let env = env();
        env.write("requirements.lock", text);
        env.realize(&[]).success().says("0 packages");
        assert_eq!(env.evaluate("import sys", "sys.prefix != sys.base_prefix"), "True");
    }
}

#[test]
fn markers_are_those_of_the_target_interpreter() {
    let env = env();
    let (here, elsewhere) =
        (WheelBuilder::simple("here", "1.0").build(), WheelBuilder::simple("elsewhere", "1.0").build());
    let lock = LockWriter::offline()
        .pin_if(&here, "python_version >= '3' and sys_platform == 'linux'")
        .pin_if(&elsewhere, "python_version < '3' or sys_platform == 'win32'");
    // Only the file that is needed exists.
    env.add(&here);
    env.write("requirements.lock", lock.text());
    env.realize(&[]).success().says("1 package: ");
    env.python_code("import here").success();
}

#[test]
fn extras_and_other_spellings_are_the_same_package() {
    let env = env();
    let wheel = WheelBuilder::simple("my-package", "1.0").extra("fast").requires("other ; extra == 'fast'").build();
    let other = WheelBuilder::simple("other", "1.0").build();
    env.add(&wheel);
    let lock = lock_of(&env, &[&other]).pin_as(&wheel, "My_Package[fast]", "");
    env.write("requirements.lock", lock.text());
    env.realize(&[]).success();
    env.python_code("import my_package, other").success();
}

#[test]
fn included_files_and_constraints_are_read() {
    let env = env();
    let (first, second) = (WheelBuilder::simple("first", "1.0").build(), WheelBuilder::simple("second", "1.0").build());
    let lock = lock_of(&env, &[&first]).line("-r more/second.txt").line("-c more/constraints.txt");
    env.add(&second);
    env.write("requirements.lock", lock.text());
    env.write("more/second.txt", LockWriter::new().pin(&second).text());
    env.write("more/constraints.txt", "second==1.0\nnever-wanted==9.9\n");
    env.realize(&[]).success().says("2 packages: ");
    env.python_code("import first, second").success();
}

#[test]
fn direct_urls_and_local_files_are_taken() {
    let env = env();
    let wheel = WheelBuilder::simple("by-url", "1.0").build();
    let local = WheelBuilder::simple("by-path", "1.0").build();
    let sdist = SdistBuilder::simple("by-fragment", "1.0").build();
    for file in [&wheel, &local, &sdist] {
        env.add(file);
    }
    let files = env.files();
    let lock = LockWriter::new()
        .line(format!("by-url @ file://{}/{} {}", files.display(), wheel.file_name, wheel.hash_option()))
        .line(format!("../files/{} {}", local.file_name, local.hash_option()))
        .line(format!("by-fragment @ file://{}/{}#sha256={}", files.display(), sdist.file_name, sdist.sha256()));
    env.write("requirements.lock", lock.text());
    env.realize(&[]).success();
    env.python_code("import by_url, by_path, by_fragment").success();
}

#[test]
fn variables_in_urls_are_expanded() {
    let mut env = env();
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.add(&wheel);
    env.set("PACKAGE_FILES", env.files());
    let lock = LockWriter::new().line("--no-index").line("--find-links file://${PACKAGE_FILES}").pin(&wheel);
    env.write("requirements.lock", lock.text());
    env.realize(&[]).success();
}

#[test]
fn an_index_of_files_is_read() {
    let env = env();
    let wheel = WheelBuilder::simple("Some.Package", "1.0").build();
    env.add(&wheel);
    let page = format!(
        "<!DOCTYPE html><html><body><a href=\"../../../files/{0}#sha256={1}\">{0}</a></body></html>",
        wheel.file_name,
        wheel.sha256()
    );
    env.write("simple/some-package/index.html", page);
    let index = format!("--index-url file://{}", env.project().join("simple").display());
    env.write("requirements.lock", LockWriter::new().line(index).pin(&wheel).text());
    env.realize(&[]).success();
    env.python_code("import some_package").success();
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let wheel = WheelBuilder::simple("package", "1.0").build();
    for lock in [
        LockWriter::offline().with_crlf(),
        LockWriter::offline().with_bom(),
        LockWriter::offline().with_bom().with_crlf(),
    ] {
        let env = env();
        env.add(&wheel);
        env.write("requirements.lock", lock.pin(&wheel).text());
        env.realize(&[]).success();
        env.python_code("import package").success();
    }
}

#[test]
fn every_link_mode_gives_the_same_imports() {
    for mode in ["symlink", "hardlink", "copy"] {
        let env = env();
        env.lock(&[&full_wheel(), &built_sdist()]);
        env.realize(&["--link-mode", mode]).success();
        assert_eq!(
            env.evaluate("from from_source import _answer; import full_wheel", "_answer.answer()"),
            "42",
            "{mode}"
        );
        let file = env.site_packages().join("full_wheel/__init__.py");
        let is_link = std::fs::read_link(env.site_packages().join("full_wheel")).is_ok();
        assert_eq!(is_link, mode == "symlink", "{mode}");
        if mode == "copy" {
            let bits = file.metadata().unwrap().permissions().mode();
            assert_ne!(bits & 0o200, 0, "a copy belongs to the user and is writable");
            // Self-contained: it needs no store any more.
            pip_accel_tests::cleanup::remove_tree(&env.store());
            env.python_code("import full_wheel").success();
        } else {
            env.verify_clean();
        }
    }
}

/// Hard links don't reach another file system: the files are copied, and that is said once, with their number.
#[test]
fn files_that_had_to_be_copied_are_counted() {
    use std::os::unix::fs::MetadataExt as _;
    let env = env();
    env.lock(&[&full_wheel()]);
    let here = env.realize(&["--link-mode", "hardlink", "--json"]).success().json();
    assert_eq!((&here["files"]["fallbacks"], &here["files"]["fallback_reason"]), (&0.into(), &().into()));
    assert_ne!(here["files"]["hard_links"], 0);
    let device = |path: &std::path::Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let shared = std::path::Path::new("/dev/shm");
    if device(shared).is_none_or(|other| Some(other) == device(&env.store())) {
        return host::skip("a second file system is needed at /dev/shm");
    }
    let elsewhere = tempfile::tempdir_in(shared).expect("it can be written");
    let venv = elsewhere.path().join("venv").display().to_string();
    let arguments = ["--link-mode", "hardlink", "--venv", &venv];
    let output = env.realize(&arguments).success().says("copied: the store is on another file system");
    assert_eq!(output.stderr.matches("copied").count(), 1, "one warning\n{}", output.stderr);
    std::fs::remove_dir_all(&venv).unwrap();
    let report = env.realize(&[&arguments[..], &["--json"]].concat()).success().json();
    assert_eq!(
        (&report["files"]["hard_links"], &report["files"]["fallback_reason"]),
        (&0.into(), &"other-file-system".into())
    );
    assert_eq!(report["files"]["fallbacks"], here["files"]["hard_links"]);
    assert_eq!(env.realize(&arguments).success().says("nothing to do").stderr.matches("copied").count(), 0);
}

#[test]
fn strange_directories_work() {
    let long = "d".repeat(120);
    for directory in ["with spaces", "non-ASCII é 中", "quotes ' and \" too", "per%20cent & # ?", long.as_str()] {
        let env = env_in(directory);
        env.lock(&[&full_wheel(), &built_sdist()]);
        env.realize(&[]).success();
        env.python_code("import full_wheel; from from_source import _answer").success();
        env.finish(env.program(env.venv_program("full-tool"))).fails_with(3);
        env.finish(env.program(env.venv_program("full-script"))).success();
        env.verify_clean();
    }
}

#[test]
fn every_sdist_format_is_built() {
    let env = env();
    let name = |format: SdistFormat| format!("format-{format:?}");
    let files = SdistFormat::ALL.map(|format| SdistBuilder::simple(&name(format), "1.0").format(format).build());
    env.lock(&files.iter().collect::<Vec<_>>());
    env.realize(&[]).success().says("4 packages: 0 from the store, 0 fetched, 4 built");
    env.python_code("import format_targz, format_zip, format_tarbz2, format_tarxz").success();
}

#[test]
fn setuptools_builds_offline_from_a_directory_of_wheels() {
    let Some(wheels) = host::wheels() else {
        return pip_accel_tests::skip("PIP_ACCEL_TEST_WHEELS is not set; run `make test`");
    };
    for backend in [pip_accel_tests::SdistBackend::SetupPy, pip_accel_tests::SdistBackend::Setuptools] {
        let env = env();
        let sdist = SdistBuilder::simple("classic", "1.0").backend(backend).answer_extension().build();
        let lock = lock_of(&env, &[&sdist]).line(format!("--find-links {}", wheels.display()));
        env.write("requirements.lock", lock.text());
        env.realize(&[]).success();
        assert_eq!(env.evaluate("from classic import _answer", "_answer.answer()"), "42", "{backend:?}");
    }
}

#[test]
fn the_format_options_choose_between_wheel_and_sdist() {
    let wheel = WheelBuilder::simple("both", "1.0").file("both/origin.py", "ORIGIN = 'wheel'\n").build();
    let sdist = SdistBuilder::simple("both", "1.0").file("src/both/origin.py", "ORIGIN = 'sdist'\n").build();
    for (line, arguments, expected) in [
        ("", &[][..], "wheel"),
        ("--no-binary both", &[], "sdist"),
        ("", &["--no-binary", ":all:"], "sdist"),
        ("--no-binary :all:", &["--only-binary", "both"], "wheel"),
    ] {
        let env = env();
        env.add(&wheel);
        env.add(&sdist);
        env.write("requirements.lock", LockWriter::offline().line(line).pin_any(&[&wheel, &sdist]).text());
        env.realize(arguments).success();
        assert_eq!(env.evaluate("from both.origin import ORIGIN", "ORIGIN"), expected, "{line} {arguments:?}");
    }
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_is_missing() {
    let env = env();
    env.lock(&[&full_wheel()]);
    env.realize(&["--dry-run"]).success().prints("full-wheel==1.0");
    assert!(!env.venv().exists());
    assert!(env.object_names().is_empty());
}

#[test]
fn json_reports_what_was_done() {
    let env = env();
    env.lock(&[&full_wheel(), &built_sdist()]);
    let report = env.realize(&["--json"]).success().json();
    assert_eq!(report["version"], 1);
    assert_eq!((&report["packages"], &report["fetched"], &report["built"]), (&2.into(), &1.into(), &1.into()));
    let again = env.realize(&["--json"]).success().json();
    assert_eq!(again["unchanged"], true);
}

/// As `pip install -r` does it: what is in the lock was asked for.
#[test]
fn every_project_of_a_lock_is_requested() {
    let env = env();
    env.lock(&[&full_wheel(), &built_sdist()]);
    env.realize(&[]).success();
    let requested = env.evaluate(
        "from importlib.metadata import distributions",
        "[(d.read_text('REQUESTED'), 'REQUESTED' in d.read_text('RECORD')) for d in distributions()]",
    );
    assert_eq!(requested, "[('', True), ('', True)]");
    env.realize(&[]).success().says("nothing to do");
}

#[test]
fn a_report_says_where_the_time_went() {
    let env = env();
    env.lock(&[&full_wheel(), &built_sdist()]);
    let report = env.realize(&["--json"]).success().json();
    let spent = |name: &str| report["phases"][name].as_f64().unwrap();
    assert!(spent("plan") + spent("obtain") + spent("link") <= report["seconds"].as_f64().unwrap());
    for activity in ["index", "download", "unpack", "build", "publish"] {
        assert!(report["phases"]["work"][activity].as_f64().unwrap() > 0.0, "{activity}: {report}");
    }
    // Nothing is missing any more, so there is no such work.
    let warm = env.realize(&["--venv", "second", "-v"]).success();
    assert!(warm.stderr.lines().any(|line| line.starts_with("plan ")), "{}", warm.stderr);
    assert!(!warm.stderr.contains("overlapping"), "{}", warm.stderr);
}

#[test]
fn a_changed_lock_replaces_the_old_packages() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("old", "1.0").build(), &WheelBuilder::simple("both", "1.0").build()]);
    env.realize(&[]).success();
    env.lock(&[&WheelBuilder::simple("new", "1.0").build(), &WheelBuilder::simple("both", "2.0").build()]);
    env.realize(&[]).success();
    assert_eq!(env.evaluate("import both, new", "both.__version__"), "2.0");
    env.python_code("import old").fails_with(1);
    let names = env.evaluate(
        "from importlib.metadata import distributions",
        "sorted(d.metadata['Name'] for d in distributions())",
    );
    assert!(!names.contains("old") && names.contains("new"), "{names}");
}

#[test]
fn what_others_installed_is_named_and_kept_only_on_request() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("ours", "1.0").build()]);
    env.realize(&[]).success();
    let foreign =
        |env: &pip_accel_tests::TestEnv| std::fs::write(env.site_packages().join("foreign.py"), "x = 1\n").unwrap();
    foreign(&env);
    env.lock(&[&WheelBuilder::simple("ours", "2.0").build()]);
    env.realize(&["--keep-foreign"]).success().says("foreign.py");
    env.python_code("import foreign").success();
    env.lock(&[&WheelBuilder::simple("ours", "3.0").build()]);
    env.realize(&[]).success().says("foreign.py");
    env.python_code("import foreign").fails_with(1);
}

/// Exactly what the lock describes: what someone installed beside it goes, and is named; with the option or the
/// setting it stays, and is named.
#[test]
fn foreign_entries_go_although_the_lock_is_the_same() {
    let mut env = env();
    env.lock(&[&full_wheel()]);
    env.realize(&[]).success();
    let foreign = env.site_packages().join("foreign.py");
    std::fs::write(&foreign, "x = 1\n").unwrap();
    env.run(["status"]).success().prints("foreign: ");
    env.realize(&["--keep-foreign"]).success().says("foreign.py").says("kept").says("nothing to do");
    env.set("PIP_ACCEL_KEEP_FOREIGN", "yes");
    env.realize(&[]).success().says("foreign.py").says("kept").says("nothing to do");
    assert!(foreign.exists());
    env.unset("PIP_ACCEL_KEEP_FOREIGN");
    let report = env.realize(&["--json"]).success().says("removed").json();
    assert_eq!((&report["unchanged"], report["foreign"].as_array().map(Vec::len)), (&false.into(), Some(1)));
    assert!(!foreign.exists());
    let output = env.realize(&[]).success().says("nothing to do");
    assert!(!output.stderr.contains("foreign"), "{}", output.stderr);
}

/// What programs leave by themselves is no reason to make the environment anew.
#[test]
fn what_python_and_uv_write_by_themselves_is_not_foreign() {
    let env = env();
    env.leave_damaged();
    let single = WheelBuilder::new("single", "1.0").file("single.py", "").build();
    env.lock(&[&full_wheel(), &single]);
    env.realize(&[]).success();
    let site = env.site_packages();
    let caches = site.join("__pycache__");
    // Another optimisation level is bytecode of its own, which Python writes where it may.
    let mut optimised = env.program(env.venv_program("python"));
    optimised.args(["-OO", "-c", "import single, full_wheel"]);
    env.finish(optimised).success();
    assert!(std::fs::read_dir(&caches).unwrap().flatten().any(|file| file.path().to_string_lossy().contains("opt-2")));
    for path in [caches.join("single.pyc.140234"), caches.join("single.f-1.py311.nbi"), site.join(".nfs000000000123")] {
        std::fs::write(path, "").unwrap();
    }
    std::fs::write(env.venv().join(".lock"), "").unwrap();
    env.realize(&[]).success().says("nothing to do");
}

#[test]
fn bytecode_is_there_and_never_checks_its_source() {
    let env = env();
    env.lock(&[&full_wheel()]);
    env.realize(&[]).success();
    let cached = env.evaluate("import importlib.util as u, full_wheel", "u.cache_from_source(full_wheel.__file__)");
    let bytes = std::fs::read(cached).unwrap();
    // PEP 552: bit 0 hash-based, bit 1 (check the source) clear.
    assert_eq!(bytes[4..8], [1, 0, 0, 0]);
}

#[test]
fn every_interpreter_of_the_machine_realizes_wheels() {
    for interpreter in host::interpreters() {
        let env = env();
        let universal =
            WheelBuilder::simple("universal", "1.0").tag("py2.py3-none-any").entry_point("tool", "universal.cli:main");
        let wheel = universal.file("universal/cli.py", "def main():\n    print('ran')\n").build();
        env.lock(&[&wheel]);
        let path = interpreter.path.to_string_lossy().into_owned();
        env.realize(&["--python", &path]).success();
        let version = env.evaluate("import sys, universal", "'%d.%d.%d' % sys.version_info[:3]");
        let (major, minor, micro) = interpreter.version;
        assert_eq!(version, format!("{major}.{minor}.{micro}"), "{path}");
        env.finish(env.program(env.venv_program("tool"))).success().prints("ran");
    }
}

#[test]
fn a_version_names_an_interpreter() {
    let env = env();
    env.lock(&[]);
    let version = env.finish({
        let mut command = env.program(env.python());
        command.args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
        command
    });
    let version = version.success().stdout.trim().to_owned();
    env.run(["realize", "requirements.lock", "--python", &version]).success();
    assert_eq!(env.evaluate("import sys", "'%d.%d' % sys.version_info[:2]"), version);
}

#[test]
fn status_sees_what_was_changed() {
    let env = env();
    env.lock(&[&full_wheel()]);
    env.realize(&[]).success();
    env.run(["status"]).success();
    std::fs::remove_file(env.venv_program("full-tool")).unwrap();
    env.run(["status"]).fails_with(1).prints("missing: bin/full-tool");
    env.realize(&[]).success();
    env.run(["status"]).success();
}
