//! Generations of an environment: listed, compared, put back, let go (scenario E14).

use pip_accel_tests::{BuiltFile, LockWriter, Running, TestEnv, WheelBuilder};

use crate::support::{as_root_and_user, env, exit, lock_of};

const LIST: &str = "pip-accel-generations.json";

fn changing(version: &str) -> BuiltFile {
    WheelBuilder::simple("changing", version).entry_point("changing", "changing:main").build()
}

fn stable() -> BuiltFile {
    WheelBuilder::simple("stable", "1.0").build()
}

/// Realizes `changing` in these versions, one after the other, beside `stable`.
fn realize_versions(env: &TestEnv, versions: &[&str]) {
    for version in versions {
        env.lock(&[&changing(version), &stable()]);
        env.realize(&[]).success();
    }
}

#[track_caller]
fn assert_version(env: &TestEnv, version: &str) {
    assert_eq!(env.evaluate("import changing", "changing.__version__"), version);
    let metadata = "from importlib.metadata import version";
    assert_eq!(env.evaluate(metadata, "version('changing')"), version);
    env.run(["status"]).success().says("as realized");
}

fn is_in_store(env: &TestEnv, name: &str) -> bool {
    env.object_names()
        .iter()
        .any(|path| path.contains(&format!("-{name}")) && env.objects().join(path).join("site").is_dir())
}

/// E14: an earlier generation comes back by one command, without network, lock or index; going back twice returns.
#[test]
fn rolling_back_twice_returns() {
    as_root_and_user(|mut env| {
        realize_versions(&env, &["1.0", "2.0"]);
        env.travel(7200);
        env.run(["gc"]).success();
        std::fs::remove_dir_all(env.files()).unwrap();
        std::fs::rename(env.project().join("requirements.lock"), env.project().join("second.lock")).unwrap();
        env.run(["rollback"]).success().says("generation 1 is back in the place of 2: 2 packages");
        assert_version(&env, "1.0");
        env.run(["gc"]).success();
        env.run(["rollback"]).success().says("generation 2 is back in the place of 1: 2 packages");
        assert_version(&env, "2.0");
        // What came back is what its lock describes.
        let python = env.python().to_string_lossy().into_owned();
        env.write("requirements.lock", std::fs::read(env.project().join("second.lock")).unwrap());
        env.run(["realize", "requirements.lock", "--python", &python]).success().says("nothing to do");
        let report = env.run(["rollback", "--to", "1", "--json"]).success().json();
        assert_eq!((&report["version"], &report["from"], &report["to"]), (&1.into(), &2.into(), &1.into()), "{report}");
        env.run(["rollback", "--to", "1"]).success().says("nothing to do: generation 1 stands there");
        env.verify_clean();
    });
}

/// E14: the list, in exact words; the first environment at a place has no list at all, and what is only repaired is no other.
#[test]
fn the_list_tells_what_an_environment_was() {
    let mut env = env();
    env.travel(0);
    realize_versions(&env, &["1.0"]);
    assert!(!env.venv().join(LIST).exists(), "nothing was replaced yet");
    let python = env.evaluate("import platform", "platform.python_version()");
    let first = env.run(["generations"]).success().says("it was never replaced");
    assert!(first.stdout.starts_with(&format!("* 1  2 packages, Python {python}, made ")), "{first:?}");
    // Made again, by force or for a private copy: no other generation.
    std::fs::remove_file(env.venv().join("bin/changing")).unwrap();
    env.realize(&[]).success();
    env.run(["detach", "stable"]).success();
    env.run(["detach", "stable", "--undo"]).success();
    assert!(!env.venv().join(LIST).exists());
    env.travel(600);
    realize_versions(&env, &["2.0"]);
    env.run(["detach", "stable"]).success();
    env.run(["detach", "stable", "--undo"]).success();
    env.travel(3 * 3600);
    env.lock(&[&changing("3.0")]);
    env.realize(&[]).success();
    env.travel(3 * 86_400);
    let list = env.run(["generations"]).success().says("`pip-accel rollback` goes to 2");
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{list:?}");
    assert!(lines[0].starts_with(&format!("  1  2 packages, Python {python}, made ")), "{list:?}");
    assert!(lines[0].ends_with(", replaced 2 days ago"), "{list:?}");
    assert_eq!(lines[1], format!("  2  2 packages, Python {python}, made 2 days ago, replaced 2 days ago"));
    assert_eq!(lines[2], format!("* 3  1 package, Python {python}, made 2 days ago"));
    let values = env.run(["generations", "--json"]).success().json();
    assert_eq!(
        (&values["version"], &values["current"]["number"], &values["rollback_to"]),
        (&1.into(), &3.into(), &2.into())
    );
    assert_eq!(values["kept"][0]["packages"][0]["name"], "changing", "{values}");
    env.run(["status"]).success().never_mentions("foreign");
}

/// E14: what a kept generation needs outlives collections; `generations` says how many are kept, and 0 keeps none.
#[test]
fn generations_keep_their_objects_up_to_the_limit() {
    let mut env = env();
    env.set("PIP_ACCEL_GENERATIONS", "2");
    realize_versions(&env, &["1.0", "2.0", "3.0", "4.0"]);
    env.travel(7200);
    env.run(["gc"]).success();
    let present =
        |env: &TestEnv| ["1.0", "2.0", "3.0", "4.0"].map(|version| is_in_store(env, &format!("changing-{version}")));
    assert_eq!(present(&env), [false, true, true, true]);
    let id =
        env.run(["show", "changing==2.0", "--json"]).success().json()["objects"][0]["id"].as_str().unwrap().to_owned();
    let why = env.run(["why", &id]).success().printed();
    assert!(why.contains("  environment [PROJECT]/.venv (generation 2) → changing==2.0\n"), "{why}");
    let missing = env.run(["rollback", "--to", "1"]).fails_with(exit::ERROR).explains();
    missing.says("has no earlier generation 1 (it has 2, 3)");
    env.set("PIP_ACCEL_GENERATIONS", "0");
    realize_versions(&env, &["5.0"]);
    env.run(["gc"]).success();
    assert_eq!(present(&env), [false; 4]);
    env.run(["rollback"]).fails_with(exit::ERROR).explains().says("has no earlier generation");
    env.set("PIP_ACCEL_GENERATIONS", "many");
    env.run(["rollback"]).fails_with(exit::USAGE).explains();
    env.unset("PIP_ACCEL_GENERATIONS");
    env.verify_clean();
}

/// E14: `gc --older-than` lets go of generations that were replaced before that, says so, and leaves the others.
#[test]
fn a_collection_by_age_lets_old_generations_go() {
    let mut env = env();
    env.travel(0);
    realize_versions(&env, &["1.0", "2.0"]);
    env.travel(20 * 86_400);
    realize_versions(&env, &["3.0"]);
    env.travel(35 * 86_400);
    env.run(["gc"]).success();
    assert!(is_in_store(&env, "changing-1.0"), "without an age generations stay");
    let plan = env.run(["gc", "--older-than", "30d", "--dry-run", "--json"]).success().json();
    assert_eq!(plan["expired_generations"][0]["numbers"], serde_json::json!([1]), "{plan}");
    assert!(is_in_store(&env, "changing-1.0"));
    let planned = env.run(["gc", "--older-than", "30d", "--dry-run"]).success();
    let output = env.run(["gc", "--older-than", "30d"]).success();
    assert!(planned.stdout.contains("-changing-1.0"), "{planned:?}");
    assert_eq!(sorted(&planned.stdout), sorted(&output.stdout), "what was announced is what was done");
    assert!(
        output.stderr.contains("generation 1 of `") && output.stderr.contains("keep nothing any more"),
        "{output:?}"
    );
    assert!(!is_in_store(&env, "changing-1.0") && is_in_store(&env, "changing-2.0"));
    env.run(["status"]).success();
    env.run(["rollback"]).success();
    assert_version(&env, "2.0");
    env.verify_clean();
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

/// E14: a limit of size that the dead do not meet lets earlier generations go, the oldest first and no more than it takes;
/// what stands there now stays, whatever the limit. The dry run says the same.
#[test]
fn a_limit_of_size_lets_the_oldest_generations_go() {
    let mut env = env();
    for (hour, version) in ["1.0", "2.0", "3.0"].into_iter().enumerate() {
        env.travel(3600 * hour as u64);
        let noise: Vec<u8> = (0..32_768_u64)
            .flat_map(|index| *blake3::hash(&[&index.to_le_bytes()[..], version.as_bytes()].concat()).as_bytes())
            .collect();
        let large = WheelBuilder::simple("changing", version).file("changing/data.bin", noise).build();
        env.lock(&[&large]);
        env.realize(&[]).success();
    }
    env.travel(4 * 3600);
    // Two megabytes a version, packed and unpacked.
    let there = || ["1.0", "2.0", "3.0"].map(|version| is_in_store(&env, &format!("changing-{version}")));
    env.run(["gc"]).success();
    assert_eq!(there(), [true; 3], "nothing is dead");
    let both = |limit: &str, gone: &str| {
        let planned = env.run(["gc", "--max-size", limit, "--dry-run"]).success().says(gone);
        let done = env.run(["gc", "--max-size", limit]).success().says(gone);
        assert_eq!(sorted(&planned.stdout), sorted(&done.stdout), "{planned:?} {done:?}");
    };
    both("5M", "generation 1 of `");
    assert_eq!(there(), [false, true, true]);
    env.run(["rollback"]).success().says("generation 2 is back");
    env.run(["rollback"]).success().says("generation 3 is back");
    both("1", "generation 2 of `");
    assert_eq!(there(), [false, false, true]);
    assert_version(&env, "3.0");
    env.verify_clean();
}

/// E14: a moved environment takes its past along.
#[test]
fn a_moved_environment_keeps_its_generations() {
    let mut env = env();
    realize_versions(&env, &["1.0", "2.0"]);
    std::fs::rename(env.venv(), env.project().join("moved")).unwrap();
    env.run(["status", "--venv", "moved"]).fails_with(exit::ERROR).says("registered at this place");
    env.travel(7200);
    env.run(["gc"]).success();
    assert!(is_in_store(&env, "changing-1.0"));
    env.run(["rollback", "--venv", "moved"]).success();
    env.run(["status", "--venv", "moved"]).success();
    let mut python = env.program(env.project().join("moved/bin/python"));
    python.args(["-c", "import changing; print(changing.__version__)"]);
    assert_eq!(env.finish(python).success().stdout.trim(), "1.0");
    env.verify_clean();
}

/// E14: link mode, links of single packages, direct URLs and foreign entries are as they were, or as asked.
#[test]
fn what_comes_back_is_as_it_was() {
    let env = env();
    let path = env.add(&changing("1.0"));
    env.add(&stable());
    let direct = format!("changing @ file://{} {}", path.display(), changing("1.0").hash_option());
    env.write("requirements.lock", LockWriter::offline().line(direct).pin(&stable()).text());
    env.realize(&["--link-mode", "hardlink", "--link", "stable=copy"]).success();
    let entry = env.site_packages().join("changing/__init__.py");
    let url =
        |env: &TestEnv| std::fs::read_to_string(env.site_packages().join("changing-1.0.dist-info/direct_url.json"));
    let before = url(&env).unwrap();
    realize_versions(&env, &["2.0"]);
    assert!(env.site_packages().join("changing").is_symlink());
    std::fs::write(env.site_packages().join("foreign.py"), "").unwrap();
    env.run(["rollback", "--keep-foreign"]).success().says("foreign.py");
    assert!(!env.site_packages().join("changing").is_symlink() && entry.is_file());
    assert_eq!(url(&env).unwrap(), before);
    assert!(env.site_packages().join("foreign.py").exists());
    let manifest = std::fs::read_to_string(env.venv().join("pip-accel.json")).unwrap();
    assert!(manifest.contains("\"link\":\"copy\""), "{manifest}");
    env.run(["rollback"]).success().says("foreign.py");
    assert!(!env.site_packages().join("foreign.py").exists());
    assert_version(&env, "2.0");
}

/// E14: edits in a private copy are lost by no rollback that was not told so.
#[test]
fn a_private_copy_is_not_rolled_over() {
    let env = env();
    realize_versions(&env, &["1.0", "2.0"]);
    env.run(["detach", "changing"]).success();
    env.run(["rollback"])
        .fails_with(exit::ERROR)
        .explains()
        .says("private copy of changing==2.0, and generation 1 has 1.0");
    assert_version(&env, "2.0");
    env.run(["rollback", "--reattach"]).success();
    assert_version(&env, "1.0");
}

/// What can't be put back is said, and the environment stays as it is.
#[test]
fn what_cannot_be_rolled_back_is_named() {
    let mut env = env();
    for command in ["generations", "rollback"] {
        env.run([command]).fails_with(exit::ERROR).explains().says("is no environment of pip-accel");
    }
    realize_versions(&env, &["1.0", "2.0"]);
    let list = std::fs::read(env.venv().join(LIST)).unwrap();
    for (text, sentence) in [
        ("{", "pip-accel-generations.json"),
        (r#"{"format":99,"current":1,"current_made_at":0,"kept":[]}"#, "format 99"),
    ] {
        std::fs::write(env.venv().join(LIST), text).unwrap();
        for command in ["generations", "rollback"] {
            env.run([command]).fails_with(exit::ERROR).explains().says(sentence);
        }
        assert_version(&env, "2.0");
    }
    std::fs::write(env.venv().join(LIST), list).unwrap();
    // Somebody took the root away, and gc the objects.
    env.run(["roots", "remove", ".venv"]).success();
    env.travel(7200);
    env.run(["gc"]).success();
    let output = env.run(["rollback"]).fails_with(exit::ERROR).explains();
    output.says("the store has no changing==1.0, stable==1.0 of generation 1 any more");
    // A damaged list keeps nobody from realizing.
    std::fs::write(env.venv().join(LIST), "{").unwrap();
    env.realize(&[]).success();
    assert_version(&env, "2.0");
    env.verify_clean();
}

/// E14: several at one place at once: each finds a whole environment, and one of them stands there in the end.
#[test]
fn several_at_once_leave_one_of_them() {
    let env = env();
    let versions = ["1.0", "2.0", "3.0", "4.0"];
    for version in versions {
        env.write(&format!("{version}.lock"), lock_of(&env, &[&changing(version), &stable()]).text());
    }
    realize_versions(&env, &["1.0", "2.0"]);
    let python = env.python().to_string_lossy().into_owned();
    let mut running: Vec<Running> = versions
        .iter()
        .map(|version| env.spawn(["realize", &format!("{version}.lock"), "--python", &python]))
        .collect();
    running.extend((0..3).map(|_| env.spawn(["rollback"])));
    for process in running {
        process.wait().success();
    }
    let version = env.evaluate("import changing", "changing.__version__");
    assert!(versions.contains(&version.as_str()), "{version}");
    assert_version(&env, &version);
    env.collect().success();
    for _ in 0..2 {
        env.run(["rollback"]).success();
        env.run(["status"]).success();
    }
    env.verify_clean();
}

/// E14: killed at any moment of a rollback, the old or the new one stands there, and either works.
#[test]
fn a_killed_rollback_leaves_old_or_new() {
    let env = env();
    realize_versions(&env, &["1.0", "2.0"]);
    for delay in 0..20_u32 {
        let mut running = env.spawn(["rollback"]);
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(2) * delay && !running.is_finished() {
            std::thread::yield_now();
        }
        if !running.is_finished() {
            running.signal(nix::sys::signal::Signal::SIGKILL);
        }
        drop(running.wait());
        let version = env.evaluate("import changing", "changing.__version__");
        assert!(["1.0", "2.0"].contains(&version.as_str()), "{version}");
        assert_version(&env, &version);
    }
    env.collect().success();
    env.run(["rollback"]).success();
    env.verify_clean();
}

fn differences(env: &TestEnv, arguments: &[&str]) -> String {
    let output = env.run([&["diff"], arguments].concat()).success();
    let text = output.printed();
    // Sizes of wheels are those of their metadata, too.
    let mut words = text.split_inclusive(['(', ')']);
    words.by_ref().map(|word| if word.ends_with(')') && word.contains(" B") { "SIZE)" } else { word }).collect()
}

/// E14: added, removed, changed and rebuilt packages between generations, environments and locks, in exact words.
#[test]
fn differences_are_named() {
    let env = env();
    realize_versions(&env, &["1.0"]);
    let (new, other_file) = (
        WheelBuilder::simple("new", "1.0").build(),
        WheelBuilder::simple("stable", "1.0").file("stable/more.py", "").build(),
    );
    env.lock(&[&changing("2.0"), &new, &other_file]);
    env.realize(&[]).success();
    let expected = "~ changing 1.0 → 2.0 (SIZE)\n+ new==1.0 (SIZE)\n~ stable==1.0 rebuilt, or another file (SIZE)\n";
    assert_eq!(differences(&env, &[]), expected);
    assert_eq!(differences(&env, &["1"]), expected);
    assert_eq!(differences(&env, &["1", "2"]), expected);
    let output = env.run(["diff"]).success();
    let output = output.says("generation 1 → .venv: 1 added, 0 removed, 1 of another version, 1 rebuilt; ");
    assert!(output.stdout.contains(" → 2.0 ("), "{output:?}");
    let back = "~ changing 2.0 → 1.0 (SIZE)\n- new==1.0 (SIZE)\n~ stable==1.0 rebuilt, or another file (SIZE)\n";
    assert_eq!(differences(&env, &["2", "1"]), back);
    assert_eq!(differences(&env, &["2", "2"]), "");
    // A lock and an environment, and two environments.
    assert_eq!(differences(&env, &["requirements.lock", ".venv"]), "");
    let absent = WheelBuilder::simple("new", "1.0").file("new/more.py", "").build();
    env.write(
        "next.lock",
        lock_of(&env, &[&changing("2.0"), &absent, &other_file, &WheelBuilder::simple("later", "3.0").build()]).text(),
    );
    assert_eq!(
        differences(&env, &[".venv", "next.lock"]),
        "+ later==3.0 (not in the store)\n? new==1.0: the store does not have it, so it may be another build\n"
    );
    env.run(["realize", "requirements.lock", "--venv", "twin", "--python", &env.python().to_string_lossy()]).success();
    assert_eq!(differences(&env, &[".venv", "twin"]), "");
    assert_eq!(differences(&env, &["1", "twin"]), expected);
    let values = env.run(["diff", "--json"]).success().json();
    assert_eq!((&values["version"], &values["changes"][0]["kind"]), (&1.into(), &"version".into()), "{values}");
    assert_eq!(
        (&values["changes"][0]["then"]["package_version"], &values["changes"][1]["kind"]),
        (&"1.0".into(), &"added".into())
    );
    env.run(["diff", "7"]).fails_with(exit::ERROR).explains().says("has no earlier generation 7 (it has 1)");
    env.run(["diff", "nowhere"]).fails_with(exit::ERROR).explains().says("nowhere");
    env.run(["diff", "1", "2", "--venv", "twin"]).fails_with(exit::ERROR).explains();
}
