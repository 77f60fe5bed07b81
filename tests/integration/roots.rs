//! `roots`: pins of objects and of whole locks, what each root keeps, and roots whose place is gone.

use pip_accel_tests::{SdistBuilder, TestEnv, WheelBuilder};

use crate::support::{env, exit, user_env};

fn python(env: &TestEnv) -> String {
    env.python().to_string_lossy().into_owned()
}

/// A wheel and a build, realized.
fn realized(env: &TestEnv) {
    env.lock(&[&WheelBuilder::simple("plain", "1.0").build(), &SdistBuilder::simple("built", "2.0").build()]);
    env.realize(&[]).success();
}

/// B10: a pin that is set twice is one pin: removed once, its objects are dead.
#[test]
fn a_pin_set_twice_is_removed_once() {
    let mut env = env();
    realized(&env);
    let pin = ["roots", "pin", "requirements.lock", "release", "--python", &python(&env)];
    env.run(pin).success().says("pin `release` keeps 2 packages, 4 objects");
    env.run(pin).success();
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.travel(7200);
    env.run(["gc"]).success();
    assert_eq!(env.object_names().len(), 4, "the pin keeps trees and sources");
    // Offline and without the index: what the pin kept is all it takes.
    std::fs::remove_dir_all(env.files()).unwrap();
    env.realize(&["--offline"]).success().says("2 from the store");
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.run(["roots", "remove", ".venv"]).success();
    env.run(["roots", "remove", "release"]).success();
    env.travel(14_400);
    env.run(["gc"]).success();
    assert_eq!(env.object_names(), Vec::<String>::new());
    env.verify_clean();
}

/// B6, B10: a pin keeps sources by itself, whatever the policy says of those.
#[test]
fn a_pinned_lock_keeps_its_sources_and_is_removed_by_its_path() {
    let mut env = env();
    realized(&env);
    let report = env.run(["roots", "pin", "requirements.lock", "--json", "--python", &python(&env)]).success().json();
    assert_eq!((&report["version"], &report["packages"]), (&1.into(), &2.into()), "{report}");
    assert_eq!(report["objects"].as_array().unwrap().len(), 4, "{report}");
    let name = report["name"].as_str().unwrap();
    assert!(name.contains("/requirements.lock for cpython-") || name.contains("/requirements.lock for pypy"), "{name}");
    env.travel(7200);
    env.run(["gc", "--drop-sources"]).success();
    assert_eq!(env.object_names().len(), 4);
    env.run(["roots", "remove", "requirements.lock"]).success().says("keeps nothing any more");
    env.run(["gc", "--drop-sources"]).success();
    assert_eq!(env.object_names().len(), 2, "the environment keeps its trees");
    let pinned = env.run(["roots", "pin", "requirements.lock", "late", "--python", &python(&env)]).success();
    pinned.says("the store has no source of ").says("keeps 2 packages, 2 objects");
}

/// What the store lacks can't be kept: nothing is pinned, and nothing fetched.
#[test]
fn a_lock_that_is_not_in_the_store_is_not_pinned() {
    let env = env();
    realized(&env);
    env.lock(&[&WheelBuilder::simple("plain", "1.0").build(), &WheelBuilder::simple("absent", "1.0").build()]);
    let before = env.object_names();
    let output = env.run(["roots", "pin", "requirements.lock", "some", "--python", &python(&env)]);
    output.fails_with(exit::OFFLINE).explains().says("1 package of the lock is not in the store: absent==1.0");
    let roots = env.run(["roots", "--json"]).success().json();
    assert_eq!(roots["roots"].as_array().unwrap().len(), 1, "{roots}");
    assert_eq!(env.object_names(), before);
    env.write("bad.lock", "plain\n");
    env.run(["roots", "pin", "bad.lock"]).fails_with(exit::LOCK_REFUSED).explains();
}

/// B11: the list tells since when, what and how much; a root whose place is gone is called that until gc removes it.
#[test]
fn the_list_tells_what_each_root_keeps_and_which_are_gone() {
    let mut env = env();
    realized(&env);
    env.run(["roots", "pin", "requirements.lock", "release", "--python", &python(&env)]).success();
    assert_eq!(env.run(["roots"]).success().printed(), "environment [PROJECT]/.venv\npin release\n");
    env.travel(3 * 86_400 + 60);
    let long = env.run(["roots", "list", "-v"]).success().printed();
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!((lines[0], lines[4]), ("environment [PROJECT]/.venv", "pin release"), "{long}");
    for root in [1, 5] {
        assert_eq!(lines[root], "  set 3 days ago");
        assert!(lines[root + 1].starts_with("  keeps 4 objects, ") && lines[root + 1].ends_with(" on disk"), "{long}");
        assert_eq!(lines[root + 2], "  without it gc could free 0 B", "the other root keeps all of it");
    }
    std::fs::remove_dir_all(env.venv()).unwrap();
    let gone = "environment [PROJECT]/.venv (gone: the next gc removes it)\npin release\n";
    assert_eq!(env.run(["roots"]).success().printed(), gone);
    let report = env.run(["roots", "list", "--json"]).success().json();
    assert_eq!(report["roots"][0]["condition"]["state"], "gone", "{report}");
    assert_eq!(report["roots"][1]["objects"], 4, "{report}");
    let (kept, only) = (&report["roots"][1]["disk_bytes"], &report["roots"][1]["only_here"]["exclusive_bytes"]);
    assert!(kept.as_u64().unwrap() > 0 && kept == only, "a root that is gone keeps nothing from being freed: {report}");
    env.run(["gc"]).success();
    assert_eq!(env.run(["roots"]).success().printed(), "pin release\n");
}

/// B12: a root that can't be looked at is no reason to show none.
#[test]
fn a_root_that_cannot_be_examined_is_listed() {
    let Some(env) = user_env() else { return };
    realized(&env);
    let folder = env.project().join("locked");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    env.realize(&["--venv", "locked/venv"]).success();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let listed = env.run(["roots"]);
    let refused = env.run(["why", "plain"]);
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(listed.success().printed(), "environment [PROJECT]/.venv\nenvironment [PROJECT]/locked/venv\n");
    refused.fails_with(exit::ERROR).explains().says("cannot examine the environment root");
}
