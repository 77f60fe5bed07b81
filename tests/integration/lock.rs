//! `pip-accel lock` against a loopback index: what is chosen and written, what stays, and what others make of it.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, Output, SdistBuilder, TestEnv, WheelBuilder, host, skip};

use crate::support::{as_root_and_user, env, exit};

/// A world with an index of its own; `None` on a machine without the resolver.
pub(crate) fn world() -> Option<(TestEnv, IndexServer)> {
    if host::uv().is_none() {
        skip("PIP_ACCEL_TEST_UV is not set and there is no uv on PATH");
        return None;
    }
    let env = env();
    let server = IndexServer::start(&env.files());
    Some((env, server))
}

/// The command with these arguments, for the tests' interpreter.
#[track_caller]
pub(crate) fn lock(env: &TestEnv, arguments: &[&str]) -> Output {
    let mut command = env.command(["lock"]);
    command.args(arguments).arg("--python").arg(env.python());
    env.finish(command)
}

/// The lock that is there.
pub(crate) fn text(env: &TestEnv) -> String {
    std::fs::read_to_string(env.project().join("requirements.lock")).unwrap()
}

/// Wheels on the index: `app` needs `library`, with the extra `fast` also `speedups`.
fn app(env: &TestEnv) -> Vec<BuiltFile> {
    let app = WheelBuilder::simple("app", "1.0").requires("library>=1").extra("fast");
    let app = app.requires("speedups ; extra == 'fast'").build();
    let files = vec![
        app,
        WheelBuilder::simple("library", "1.0").build(),
        WheelBuilder::simple("speedups", "1.0").build(),
        WheelBuilder::simple("alone", "1.0").build(),
    ];
    for file in &files {
        env.add(file);
    }
    files
}

/// The whole lock of a small project, byte by byte; the second run changes nothing, not even the file.
#[test]
fn a_lock_has_pins_hashes_and_reasons_and_is_stable() {
    as_root_and_user(|env| {
        if host::uv().is_none() {
            return skip("there is no uv");
        }
        let server = IndexServer::start(&env.files());
        let files = app(&env);
        let url = server.index_url();
        env.write("requirements.in", format!("--index-url {url}\napp[fast]\n-r more/more.in\n-c limits.txt\n"));
        env.write("more/more.in", "alone ; python_version > '3'\n");
        env.write("limits.txt", "library<2\n");
        lock(&env, &[]).success().says("4 packages in `requirements.lock`");
        let expected = format!(
            "# Made by `pip-accel lock`: change what it was made from, and lock again.\n\n--index-url {url}\n\n\
             alone==1.0 \\\n    {}\n    # via -r more/more.in\n\
             app[fast]==1.0 \\\n    {}\n    # via -r requirements.in\n\
             library==1.0 \\\n    {}\n    # via\n    #   -c limits.txt\n    #   app\n\
             speedups==1.0 \\\n    {}\n    # via app\n",
            files[3].hash_option(),
            files[0].hash_option(),
            files[1].hash_option(),
            files[2].hash_option(),
        );
        assert_eq!(text(&env), expected);
        let inode = |env: &TestEnv| env.project().join("requirements.lock").metadata().unwrap().ino();
        let before = inode(&env);
        lock(&env, &[]).success().says("4 packages: `requirements.lock` is unchanged");
        assert_eq!((inode(&env), text(&env)), (before, expected));
        assert_eq!(std::fs::read_dir(env.project()).unwrap().count(), 4, "nothing else is left there");
        env.realize(&[]).success().says("4 packages: ");
        env.verify_clean();
    });
}

/// What is written is what pip and uv install with hashes required.
#[test]
fn pip_and_uv_install_from_the_lock() {
    let Some((env, server)) = world() else { return };
    app(&env);
    env.write("requirements.in", format!("--index-url {}\napp[fast]\n", server.index_url()));
    lock(&env, &[]).success();
    if let Some(pip) = host::wheel_of("pip") {
        let mut command = env.program(env.python());
        command.arg(pip.join("pip")).args(["install", "--require-hashes", "--target", "by-pip", "--no-cache-dir"]);
        command.args(["--isolated", "--quiet", "-r", "requirements.lock"]);
        env.finish(command).success();
        assert!(env.project().join("by-pip/speedups").exists());
    } else {
        skip("PIP_ACCEL_TEST_WHEELS has no pip; run `make test`");
    }
    let uv = |arguments: &[&str]| {
        let mut command = env.program(host::uv().unwrap());
        command.args(arguments).env_remove("UV_OFFLINE").env("UV_CACHE_DIR", env.base().join("uv-cache"));
        env.finish(command).success()
    };
    uv(&["venv", "--python", env.python().to_str().unwrap(), "by-uv"]);
    uv(&["pip", "sync", "--require-hashes", "--python", "by-uv/bin/python", "requirements.lock"]);
    uv(&["pip", "check", "--python", "by-uv/bin/python"]);
}

/// A new release changes nothing until it is asked for, and then only what was asked for.
#[test]
fn old_pins_stay_until_an_upgrade() {
    let Some((env, server)) = world() else { return };
    app(&env);
    env.write("requirements.in", format!("--index-url {}\napp\nalone\n", server.index_url()));
    lock(&env, &[]).success();
    let first = text(&env);
    env.add(&WheelBuilder::simple("library", "1.5").build());
    env.add(&WheelBuilder::simple("alone", "1.5").build());
    lock(&env, &[]).success().says("unchanged");
    // Another requirement is another block, and no other line changes.
    env.write("requirements.in", format!("--index-url {}\napp\nalone\nspeedups\n", server.index_url()));
    lock(&env, &[]).success();
    let second = text(&env);
    assert_eq!(second.lines().filter(|line| !first.contains(line)).count(), 2, "{second}");
    lock(&env, &["-P", "library", "-v"]).success().says("library 1.0 becomes 1.5");
    assert!(text(&env).contains("alone==1.0") && text(&env).contains("library==1.5"), "{}", text(&env));
    lock(&env, &["-P", "nowhere"]).success().says("`nowhere` is not in the lock");
    lock(&env, &["--upgrade"]).success();
    assert!(text(&env).contains("alone==1.5"), "{}", text(&env));
    lock(&env, &["--upgrade", "--constraint", "nowhere.txt"]).fails_with(exit::ERROR).explains();
}

/// `--check` names what differs, and writes nothing.
#[test]
fn check_says_whether_a_lock_is_up_to_date() {
    let Some((env, server)) = world() else { return };
    app(&env);
    env.write("requirements.in", format!("--index-url {}\napp\n", server.index_url()));
    lock(&env, &["--check"]).fails_with(exit::LOCK_REFUSED).says("is not there");
    assert!(!env.project().join("requirements.lock").exists());
    lock(&env, &[]).success();
    lock(&env, &["--check"]).success().says("is up to date");
    env.write("requirements.in", format!("--index-url {}\napp\nalone\n", server.index_url()));
    let before = text(&env);
    let output = lock(&env, &["--check"]).fails_with(exit::LOCK_REFUSED);
    output.says("is not up to date").says("alone 1.0 is new");
    let report = lock(&env, &["--check", "--json"]).json();
    assert_eq!((&report["up_to_date"], &report["differences"][0]), (&false.into(), &"alone 1.0 is new".into()));
    assert_eq!(text(&env), before);
}

/// Extras and dependency groups of a project, from its `pyproject.toml` alone: no backend runs.
#[test]
fn projects_with_extras_and_groups() {
    let Some((env, server)) = world() else { return };
    app(&env);
    env.write(
        "pyproject.toml",
        "[project]\nname = \"Demo\"\nversion = \"1\"\ndependencies = [\"library\"]\n\
         [project.optional-dependencies]\nx = [\"speedups\"]\nall = [\"demo[x]\"]\n\
         [dependency-groups]\ndev = [\"alone\", {include-group = \"more\"}]\nmore = [\"app\"]\n\
         [build-system]\nrequires = []\nbuild-backend = \"nothing\"\n",
    );
    let url = server.index_url().to_string();
    let names = |arguments: &[&str]| -> Vec<String> {
        let output = lock(&env, &[&["-o", "-", "--index-url", &url], arguments].concat()).success();
        let names = output.stdout.lines().filter_map(|line| line.split_once("==")).map(|(name, _)| name.to_owned());
        names.collect()
    };
    assert_eq!(names(&[]), ["library"]);
    assert_eq!(names(&["--extra", "x"]), ["library", "speedups"]);
    assert_eq!(names(&["--all-extras"]), ["library", "speedups"]);
    assert_eq!(names(&["pyproject.toml", "--extra", "all"]), ["library", "speedups"]);
    assert_eq!(names(&["--group", "dev"]), ["alone", "app", "library"]);
    let output = lock(&env, &["--group", "dev", "-o", "-", "--index-url", &url]).success();
    output.prints("# via demo (pyproject.toml:dev)").prints("#   demo (pyproject.toml)");
    assert!(!env.project().join("requirements.lock").exists());
    let index = ["--index-url", &url];
    lock(&env, &[&index[..], &["--extra", "y"]].concat()).fails_with(exit::USAGE).explains().says("it has all, x");
    lock(&env, &[&index[..], &["--group", "y"]].concat()).fails_with(exit::USAGE).explains().says("it has dev, more");
    // Beside a file of requirements a group is the working directory's.
    env.write("tools.in", "speedups\n");
    assert_eq!(names(&["tools.in", "--group", "more"]), ["app", "library", "speedups"]);
}

/// Markers stand in a lock for all platforms.
#[test]
fn a_universal_lock_has_markers() {
    let Some((env, server)) = world() else { return };
    app(&env);
    let url = server.index_url();
    env.write("requirements.in", format!("--index-url {url}\nalone ; sys_platform == 'win32'\nlibrary\n"));
    lock(&env, &[]).success();
    assert!(!text(&env).contains("alone"), "{}", text(&env));
    lock(&env, &["--universal"]).success();
    assert!(text(&env).contains("alone==1.0 ; sys_platform == 'win32' \\\n"), "{}", text(&env));
    env.realize(&[]).success().says("1 package: ");
}

/// What a page of `--find-links` says of its files is in the lock, though the resolver does not tell.
#[test]
fn pages_of_links_give_hashes() {
    let Some((env, server)) = world() else { return };
    let alone = WheelBuilder::simple("alone", "1.0").build();
    for file in [&alone, &WheelBuilder::simple("alone", "0.9").build()] {
        env.add(file);
    }
    env.write("requirements.in", format!("--no-index\n--find-links {}\nalone\n", server.find_links_url()));
    lock(&env, &[]).success();
    let text = text(&env);
    assert_eq!(text.matches("--hash=").count(), 1, "{text}");
    assert!(text.contains(&format!("--hash=sha256:{}", alone.sha256())), "{text}");
    env.realize(&[]).success();
    env.python_code("import alone").success();
}

/// What a day did not know yet is not chosen.
#[test]
fn a_day_limits_the_choice() {
    let Some((env, server)) = world() else { return };
    let files = ["1.0", "2.0"].map(|version| WheelBuilder::simple("alone", version).build());
    files.iter().for_each(|file| drop(env.add(file)));
    let server = server.with_upload_time(&files[0].file_name, "2020-01-01T00:00:00Z");
    let server = server.with_upload_time(&files[1].file_name, "2021-01-01T00:00:00Z");
    env.write("requirements.in", format!("--index-url {}\nalone\n", server.index_url()));
    lock(&env, &["--exclude-newer", "2020-06-01"]).success();
    assert!(text(&env).contains("alone==1.0"));
    lock(&env, &["--exclude-newer", "7 days"]).fails_with(exit::USAGE).says("`7 days` is no day");
    lock(&env, &["--upgrade"]).success();
    assert!(text(&env).contains("alone==2.0"));
}

/// The build requirements of what has to be built are locked with it, those of builds for builds too; another store makes
/// the same of them, and they stay until an upgrade.
#[test]
fn build_requirements_are_locked_and_kept() {
    let Some((mut env, server)) = world() else { return };
    let sdist = SdistBuilder::simple("package", "1.0").build_requires("helper").dynamic_build_requires("late").build();
    let helper = SdistBuilder::simple("helper", "1.0").build_requires("deep").build();
    let files =
        [sdist, helper, WheelBuilder::simple("deep", "1.0").build(), WheelBuilder::simple("late", "1.0").build()];
    files.iter().for_each(|file| drop(env.add(file)));
    env.write("requirements.in", format!("--index-url {}\npackage\n", server.index_url()));
    lock(&env, &[]).success();
    let hash = |index: usize| format!("#:       {}\n", files[index].hash_option());
    let expected = format!(
        "\n#: build helper==1.0\n#:   deep==1.0 \\\n{}\n#: build package==1.0\n#:   helper==1.0 \\\n{}\
         #:   late==1.0 \\\n{}",
        hash(2),
        hash(1),
        hash(3)
    );
    assert!(text(&env).ends_with(&expected), "{}", text(&env));
    env.add(&WheelBuilder::simple("late", "2.0").build());
    lock(&env, &[]).success().says("unchanged");
    env.set("PIP_ACCEL_STORE", env.base().join("other"));
    lock(&env, &[]).success().says("unchanged");
    env.realize(&[]).success().never_mentions("freeze").says("1 built");
    lock(&env, &["--upgrade", "-v"]).success().says("the build requirements of package 1.0");
    assert!(text(&env).contains("#:   late==2.0"), "{}", text(&env));
    lock(&env, &["--no-build-lock"]).success();
    assert!(!text(&env).contains("#: build"));
}

/// `pylock.toml`: the same choice, with the locked builds in a table of our own, and the same stability.
#[test]
fn a_pylock_holds_the_same() {
    let Some((env, server)) = world() else { return };
    app(&env);
    env.add(&SdistBuilder::simple("package", "1.0").build_requires("deep").build());
    env.add(&WheelBuilder::simple("deep", "1.0").build());
    env.write("requirements.in", format!("--index-url {}\napp\npackage\n", server.index_url_with_login("", None)));
    lock(&env, &["--format", "pylock"]).success().says("3 packages in `pylock.toml`");
    let read = || std::fs::read_to_string(env.project().join("pylock.toml")).unwrap();
    let first = read();
    assert!(first.contains("created-by = \"pip-accel\"") && first.contains("name = \"library\""), "{first}");
    assert!(first.contains("[[tool.pip-accel.builds]]\nname = \"package\""), "{first}");
    env.add(&WheelBuilder::simple("library", "1.5").build());
    lock(&env, &["-o", "pylock.toml"]).success().says("`pylock.toml` is unchanged");
    lock(&env, &["-o", "pylock.toml", "-P", "library", "-v"]).success().says("library 1.0 becomes 1.5");
    let mut command = Command::new(env.python());
    command.args(["-c", "import sys, tomllib; tomllib.load(open(sys.argv[1], 'rb'))"]);
    if command.arg(env.project().join("pylock.toml")).output().unwrap().status.success() {
        return;
    }
    skip("this Python has no tomllib");
}
