//! `why-rebuild`: which declared field makes a build another one; and builds that their inputs' bytes keep from being made anew.

use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, WheelBuilder, host};

use crate::support::{env, exit, lock_of};

fn package() -> SdistBuilder {
    SdistBuilder::simple("package", "1.0").build_requires("helper")
}

/// A lock of `package` whose build requirements are `helpers`.
fn lock(env: &TestEnv, package: &BuiltFile, helpers: &[(&str, &BuiltFile)]) {
    let mut lock = lock_of(env, &[package]).line("#: build package==1.0");
    for (pin, file) in helpers {
        env.add(file);
        lock = lock.line(format!("#:   {pin} {}", file.hash_option()));
    }
    env.write("requirements.lock", lock.text());
}

#[track_caller]
fn why(env: &TestEnv, arguments: &[&str]) -> String {
    let python = env.python().to_string_lossy().into_owned();
    env.run([&["why-rebuild"], arguments, &["--python", &python]].concat()).success().printed()
}

const OF_LOCK: [&str; 2] = ["package==1.0", "requirements.lock"];
const NEAREST: &str = "package==1.0 would be built\n  the nearest build: package==1.0 (build) [ID]\n";

/// E15: one changed field is named, in words, with what it was and what it is.
#[test]
fn what_makes_a_build_another_one_is_named() {
    let env = env();
    let helper = WheelBuilder::simple("helper", "1.0").build();
    let sdist = package().build();
    lock(&env, &sdist, &[("helper==1.0", &helper)]);
    let other = WheelBuilder::simple("other", "1.0").build();
    env.write("other.lock", lock_of(&env, &[&other]).text());
    env.run(["realize", "other.lock", "--venv", "other"]).success();
    let never = "package==1.0 would be built: the store has no build of that project\n";
    assert_eq!(why(&env, &OF_LOCK), never);
    env.realize(&[]).success();
    assert_eq!(why(&env, &OF_LOCK), "nothing: it is in the store: package==1.0 (build) [ID]\n");
    // The lock says which release a name means.
    assert_eq!(why(&env, &["package", "requirements.lock"]), why(&env, &OF_LOCK));
    let python = env.python().to_string_lossy().into_owned();
    for words in [&["why-rebuild", "package"][..], &["why-rebuild", "nowhere", "requirements.lock"]] {
        env.run([words, &["--python", &python]].concat()).fails_with(exit::USAGE).explains();
    }
    assert_eq!(
        why(&env, &["package==1.0"]),
        format!("{NEAREST}  build requirements: not resolved yet for this sdist and interpreter\n")
    );

    // Another version of a build requirement.
    let newer = WheelBuilder::simple("helper", "2.0").build();
    lock(&env, &sdist, &[("helper==2.0", &newer)]);
    assert_eq!(why(&env, &OF_LOCK), format!("{NEAREST}  build requirement helper: 1.0 then, 2.0 now\n"));
    // One more, and none.
    lock(&env, &sdist, &[("helper==1.0", &helper), ("more==3.0", &WheelBuilder::simple("more", "3.0").build())]);
    assert_eq!(why(&env, &OF_LOCK), format!("{NEAREST}  build requirement more: none then, 3.0 now\n"));
    lock(&env, &sdist, &[]);
    assert_eq!(why(&env, &OF_LOCK), format!("{NEAREST}  build requirement helper: 1.0 then, none now\n"));
    // The same version with other files.
    let changed = WheelBuilder::simple("helper", "1.0").file("helper/more.py", "VALUE = 1\n").build();
    env.write("helper.lock", lock_of(&env, &[&changed]).text());
    env.run(["realize", "helper.lock", "--venv", "helper", "--python", &env.python().to_string_lossy()]).success();
    lock(&env, &sdist, &[("helper==1.0", &changed)]);
    env.run(["fetch", "requirements.lock", "--python", &env.python().to_string_lossy()]).success();
    assert_eq!(
        why(&env, &OF_LOCK),
        format!("{NEAREST}  build requirement helper==1.0: other files (content [HASH] then, [HASH] now)\n")
    );
    // Another sdist.
    let edited = package().file("src/package/more.py", "VALUE = 1\n").build();
    lock(&env, &edited, &[("helper==1.0", &helper)]);
    assert_eq!(why(&env, &OF_LOCK), format!("{NEAREST}  sdist: SHA-256 [HASH] then, [HASH] now\n"));
    // Another sandbox policy.
    lock(&env, &sdist, &[("helper==1.0", &helper)]);
    let policy = why(&env, &[&OF_LOCK[..], &["--no-sandbox"]].concat());
    let (start, end) = policy.split_once("  sandbox policy: bwrap/").unwrap_or_else(|| panic!("{policy}"));
    assert!(start == NEAREST && end.ends_with(" then, none now\n"), "{policy}");
    // Another version: two fields, and the nearest is still named.
    let next = why(&env, &["package==2.0"]);
    assert!(next.starts_with("package==2.0 would be built\n  the nearest build: package==1.0 (build) [ID]\n  version: 1.0 then, 2.0 now\n"), "{next}");
    env.verify_clean();
}

/// E15: the interpreter, by its label; programs get the same as values.
#[test]
fn another_interpreter_is_named() {
    let env = env();
    let sdist = SdistBuilder::simple("package", "1.0").build();
    env.lock(&[&sdist]);
    env.realize(&[]).success();
    let own = env.evaluate("import sys", "'%d.%d' % sys.version_info[:2]");
    let is_other = |found: &host::HostInterpreter| {
        found.is_fully_supported() && format!("{}.{}", found.version.0, found.version.1) != own
    };
    let Some(other) = host::interpreters().into_iter().find(is_other) else {
        host::skip("a second interpreter that sdists are built for is needed");
        return;
    };
    let path = other.path.to_string_lossy().into_owned();
    let report =
        env.run(["why-rebuild", "package==1.0", "requirements.lock", "--python", &path, "--json"]).success().json();
    assert_eq!((&report["version"], &report["answer"]), (&1.into(), &"differs".into()), "{report}");
    let [difference] = report["differences"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!(difference["field"], "interpreter", "{report}");
    assert!(difference["then"].as_str().unwrap().contains(&own), "{report}");
    let words = env.run(["why-rebuild", "package==1.0", "--python", &path]).success();
    assert!(words.stdout.contains("\n  interpreter: ") && words.stdout.contains(" then, "), "{words:?}");
}

/// E15: a wheel is not built; what gc took is said to have been there.
#[test]
fn wheels_and_collected_builds_have_their_own_answer() {
    let mut env = env();
    let wheel = WheelBuilder::simple("wheel", "1.0").build();
    env.lock(&[&wheel, &SdistBuilder::simple("package", "1.0").build()]);
    env.realize(&[]).success();
    let answer = why(&env, &["wheel==1.0", "requirements.lock"]);
    assert_eq!(answer, format!("nothing is built: wheel==1.0 comes from the wheel {}\n", wheel.file_name));
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.travel(7200);
    env.run(["gc"]).success();
    let deleted = "package==1.0 would be built: the store had what its recipe gave, and has it no more\n";
    assert_eq!(why(&env, &OF_LOCK), deleted);
    env.run(["why-rebuild", "package"]).fails_with(exit::USAGE).explains().says("`NAME==VERSION` is expected");
    let absent = env.run(["why-rebuild", "absent==1.0", "requirements.lock"]);
    absent.fails_with(exit::ERROR).explains().says("the lock has no `absent==1.0`");
}

/// E12: a build requirement whose sdist changed and whose files did not keeps what depends on it from being built anew.
#[test]
fn a_comment_in_a_build_requirement_rebuilds_nothing_else() {
    let env = env();
    let helper = |comment: &str| SdistBuilder::simple("helper", "1.0").file("notes.txt", comment).build();
    let sdist = package().build();
    lock(&env, &sdist, &[("helper==1.0", &helper("one"))]);
    env.realize(&[]).success().says("1 built");
    assert_eq!(env.builds(), 2);
    lock(&env, &sdist, &[("helper==1.0", &helper("two"))]);
    let output = env.realize(&["--venv", "other"]).success();
    assert!(output.stderr.contains("0 built"), "{output:?}");
    assert_eq!(env.builds(), 3, "the helper was built anew, the package was not");
    assert_eq!(why(&env, &OF_LOCK), "nothing: it is in the store: package==1.0 (build) [ID]\n");
    env.verify_clean();
}
