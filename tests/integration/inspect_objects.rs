//! `why`, the parts of `show`, and `du`: what keeps an object, what it came from, how much disk it takes, word by word.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, WheelBuilder};
use serde_json::Value;

use crate::store_lifecycle::sqlite;
use crate::store_objects::{refer, rows};
use crate::support::{env, exit};

/// Standard output without what differs from run to run.
fn text(env: &TestEnv, arguments: &[&str]) -> String {
    env.run(arguments).success().printed()
}

fn wheels(names: &[&str]) -> Vec<BuiltFile> {
    names.iter().map(|name| WheelBuilder::simple(name, "1.0").build()).collect()
}

/// The store's id of the tree of a project.
fn tree_id(env: &TestEnv, name: &str) -> String {
    let shown = env.run(["show", name, "--json"]).success().json();
    let objects = shown["objects"].as_array().unwrap();
    let tree = objects.iter().find(|object| object["provenance"]["kind"] != "source").unwrap();
    tree["id"].as_str().unwrap().to_owned()
}

/// E15: each root with a shortest way from it to the object; what the object is the source of; and its age.
#[test]
fn why_names_each_root_and_the_way_from_it() {
    let mut env = env();
    env.set("PIP_ACCEL_GENERATIONS", "0");
    let files = wheels(&["bottom", "middle", "top"]);
    env.lock(&files.iter().collect::<Vec<_>>());
    env.realize(&[]).success();
    let rows = rows(&env, &["bottom", "middle", "top"]);
    let [bottom, middle, top] = rows.as_slice() else { panic!("{rows:?}") };
    refer(&env, &[(middle, bottom), (top, middle), (bottom, bottom)]);
    env.run(["roots", "add", "deep", &tree_id(&env, "top")]).success();
    env.lock(&[&files[1]]);
    env.realize(&[]).success();
    env.travel(3600 - 60);
    let wheel = &tree_id(&env, "bottom");
    let output = env.run(["why", wheel]).success();
    let age = output.stdout.lines().find(|line| line.contains("its age")).unwrap_or_else(|| panic!("{output:?}"));
    assert!(age.starts_with("  its age: it is too young for gc for another ") && age.ends_with(" s"), "{age}");
    env.travel(7200);
    assert_eq!(
        text(&env, &["why", wheel]),
        "bottom==1.0 (wheel) [ID]\n\
         \x20 environment [PROJECT]/.venv → middle==1.0 → bottom==1.0\n\
         \x20 pin deep → top==1.0 → middle==1.0 → bottom==1.0\n"
    );
    assert_eq!(
        text(&env, &["why", "bottom==1.0"]),
        "bottom==1.0 (wheel) [ID]\n\
         \x20 environment [PROJECT]/.venv → middle==1.0 → bottom==1.0\n\
         \x20 pin deep → top==1.0 → middle==1.0 → bottom==1.0\n\
         bottom==1.0 (source) [ID]\n\
         \x20 environment [PROJECT]/.venv → middle==1.0 → bottom==1.0 → its source\n\
         \x20 pin deep → top==1.0 → middle==1.0 → bottom==1.0 → its source\n"
    );
    let report = env.run(["why", wheel, "--json"]).success().json();
    let kept = &report["objects"][0]["kept_by"];
    assert_eq!((&report["version"], kept.as_array().unwrap().len()), (&Value::from(1), 2));
    assert_eq!(kept[1]["root"]["name"], "deep");
    assert_eq!(kept[1]["path"].as_array().unwrap().len(), 3);
    assert_eq!(
        kept[1]["path"][2],
        serde_json::json!({ "id": wheel, "name": "bottom", "version": "1.0", "by": "referred" })
    );
    // With the sources dropped by policy nothing keeps the wheel file.
    env.set("PIP_ACCEL_KEEP_SOURCES", "false");
    let dropped = text(&env, &["why", "top"]);
    assert!(dropped.ends_with("top==1.0 (source) [ID]\n  nothing keeps it: the next gc deletes it\n"), "{dropped}");
}

/// E15, B11: what nothing keeps is said to go, with the root that is gone; and the next collection takes just that.
#[test]
fn why_says_what_the_next_collection_takes() {
    let mut env = env();
    env.lock(&wheels(&["lost"]).iter().collect::<Vec<_>>());
    env.realize(&[]).success();
    std::fs::remove_dir_all(env.venv()).unwrap();
    let young = text(&env, &["why", &tree_id(&env, "lost")]);
    let (first, rest) = young.split_once("  its age: it is too young for gc for another ").unwrap();
    assert_eq!(
        first,
        "lost==1.0 (wheel) [ID]\n  environment [PROJECT]/.venv (not there, and set a short while ago) → lost==1.0\n"
    );
    assert!(!rest.contains("nothing"), "{rest}");
    env.run(["roots", "remove", ".venv"]).success();
    let young = text(&env, &["why", &tree_id(&env, "lost")]);
    assert!(young.ends_with("\n  nothing else keeps it: gc may delete it from then on\n"), "{young}");

    env.lock(&wheels(&["lost"]).iter().collect::<Vec<_>>());
    env.realize(&[]).success();
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.travel(7200);
    let gone = "lost==1.0 (wheel) [ID]\n  environment `[PROJECT]/.venv` is gone and keeps nothing\n";
    assert_eq!(
        text(&env, &["why", &tree_id(&env, "lost")]),
        format!("{gone}  nothing keeps it: the next gc deletes it\n")
    );
    env.set("PIP_ACCEL_GC_OLDER_THAN", "30d");
    assert_eq!(
        text(&env, &["why", &tree_id(&env, "lost")]),
        format!("{gone}  nothing keeps it: gc deletes it when it was not used for another 29 days\n")
    );
    env.unset("PIP_ACCEL_GC_OLDER_THAN");
    env.run(["gc"]).success();
    assert_eq!(env.object_names(), Vec::<String>::new());
    env.run(["why", "lost"]).fails_with(exit::ERROR).explains().says("`lost` is not in this store");
}

/// E15, B8: of a long way the ends are shown; programs get all of it.
#[test]
fn a_long_way_is_shortened_for_people() {
    let mut env = env();
    env.set("PIP_ACCEL_GENERATIONS", "0");
    let names: Vec<String> = (0..12).map(|index| format!("link-{index:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let files = wheels(&names);
    env.lock(&files.iter().collect::<Vec<_>>());
    env.realize(&[]).success();
    let rows = rows(&env, &names);
    refer(&env, &rows.windows(2).map(|pair| (&pair[1], &pair[0])).collect::<Vec<_>>());
    env.lock(&[files.last().unwrap()]);
    env.realize(&[]).success();
    env.travel(7200);
    let first = tree_id(&env, "link-00");
    assert_eq!(
        text(&env, &["why", &first]),
        "link-00==1.0 (wheel) [ID]\n  environment [PROJECT]/.venv → link-11==1.0 → link-10==1.0 → link-09==1.0 → link-08==1.0 \
         → (4 more) → link-03==1.0 → link-02==1.0 → link-01==1.0 → link-00==1.0\n"
    );
    let report = env.run(["why", &first, "--json"]).success().json();
    assert_eq!(report["objects"][0]["kept_by"][0]["path"].as_array().unwrap().len(), 12);
}

/// E15: a process that uses an object keeps it, and is named.
#[test]
fn why_names_the_process_that_uses_an_object() {
    let mut env = env();
    let waiting =
        SdistBuilder::simple("slow", "1.0").during_build("import threading\nthreading.Event().wait()\n").build();
    let wheel = WheelBuilder::simple("used", "1.0").build();
    env.lock(&[&wheel]);
    env.realize(&[]).success();
    env.run(["roots", "remove", ".venv"]).success();
    env.lock(&[&wheel, &waiting]);
    let mut running = env.start(env.realize_command(&["--venv", "other"]));
    env.travel(7200);
    let id = tree_id(&env, "used");
    let started = std::time::Instant::now();
    let report = loop {
        let report = env.run(["why", &id, "--json"]).success().json();
        if report["objects"][0]["kept_by"].as_array().unwrap().iter().any(|kept| kept["kind"] == "process") {
            break report;
        }
        assert!(!running.is_finished() && started.elapsed().as_secs() < 60, "it never took the object: {report}");
    };
    let id_of_process = running.id();
    let owner = &report["objects"][0]["kept_by"][0]["owner"];
    let said = env.run(["why", &id]).success();
    running.signal(nix::sys::signal::Signal::SIGTERM);
    drop(running.wait());
    assert_eq!(owner["pid"], id_of_process, "{report}");
    assert!(said.stdout.contains(&format!("  process {} (pip-accel", owner["pid"])), "{said:?}");
    assert!(said.stdout.contains(") → used==1.0\n"), "{said:?}");
    let after = env.run(["why", &id]).success();
    assert!(after.stdout.ends_with("  nothing keeps it: the next gc deletes it\n"), "{after:?}");
}

/// E15: references, referrers, what an object was made from; each in its own words.
#[test]
fn show_has_a_part_for_each_question() {
    let env = env();
    let built = SdistBuilder::simple("built", "2.0").build();
    let files = wheels(&["bottom", "top"]);
    env.lock(&[&built, &files[0], &files[1]]);
    env.realize(&[]).success();
    let rows = rows(&env, &["bottom", "built", "top"]);
    let [bottom, build, top] = rows.as_slice() else { panic!("{rows:?}") };
    refer(&env, &[(top, bottom), (build, bottom), (bottom, bottom)]);
    let [bottom, build, top] = ["bottom", "built", "top"].map(|name| tree_id(&env, name));
    assert_eq!(
        text(&env, &["show", "--referrers", &bottom]),
        "bottom==1.0 (wheel) [ID]\n  bottom==1.0 (wheel) [ID]\n  built==2.0 (build) [ID]\n  top==1.0 (wheel) [ID]\n"
    );
    assert_eq!(text(&env, &["show", "--references", &top]), "top==1.0 (wheel) [ID]\n  bottom==1.0 (wheel) [ID]\n");
    assert_eq!(
        text(&env, &["show", "--tree", &build]),
        "built==2.0 (build) [ID]\n\
         ├─ source built==2.0 (source) [ID]\n\
         └─ refers to bottom==1.0 (wheel) [ID]\n\
         \x20  ├─ source bottom==1.0 (source) [ID]\n\
         \x20  └─ refers to bottom==1.0 (wheel) [ID] (see above)\n"
    );
    let tree = env.run(["show", "--tree", &build, "--json"]).success().json();
    assert_eq!(tree["objects"][0]["parts"][1]["parts"][1]["again"], true, "{tree}");
    let list = env.run(["show", "--referrers", &bottom, "--json"]).success().json();
    assert_eq!(list["objects"][0]["objects"].as_array().unwrap().len(), 3, "{list}");
    env.run(["show", "--tree", "--size", &build]).fails_with(exit::USAGE);
    env.run(["show", "--tree", "absent"]).fails_with(exit::ERROR).explains();
}

/// Bytes of disk by inode, and which objects have a name for it, by another walk than the program's.
fn inodes(env: &TestEnv) -> BTreeMap<u64, (u64, BTreeSet<String>)> {
    fn walk(path: &Path, object: &str, found: &mut BTreeMap<u64, (u64, BTreeSet<String>)>) {
        let metadata = path.symlink_metadata().unwrap();
        let entry = found.entry(metadata.ino()).or_default();
        entry.0 = metadata.blocks() * 512;
        entry.1.insert(object.to_owned());
        if metadata.is_dir() {
            for below in std::fs::read_dir(path).unwrap() {
                walk(&below.unwrap().path(), object, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    for name in env.object_names() {
        walk(&env.objects().join(&name), &name, &mut found);
    }
    found
}

/// Bytes of the objects whose names satisfy `is_member`, and those that are theirs alone.
fn expected(env: &TestEnv, is_member: impl Fn(&str) -> bool) -> (u64, u64) {
    let inodes = inodes(env);
    let ours = inodes.values().filter(|(_, owners)| owners.iter().any(|name| is_member(name)));
    let alone = ours.clone().filter(|(_, owners)| owners.iter().all(|name| is_member(name)));
    (ours.map(|(bytes, _)| bytes).sum(), alone.map(|(bytes, _)| bytes).sum())
}

fn share(value: &Value) -> (u64, u64) {
    (value["bytes"].as_u64().unwrap(), value["exclusive_bytes"].as_u64().unwrap())
}

/// E15: an inode counts once, and is exclusive when no other object has a name for it; environments do not count as owners.
#[test]
fn du_tells_what_is_shared() {
    let mut env = env();
    env.set("PIP_ACCEL_GENERATIONS", "0");
    let noise = crate::index_support::content(200_000);
    let wheel = |name: &str, own: usize| {
        let wheel = WheelBuilder::simple(name, "1.0").file(&format!("{name}/shared.bin"), &noise);
        wheel.file(&format!("{name}/own.bin"), &noise[..own]).build()
    };
    let (one, two) = (wheel("one", 50_000), wheel("two", 90_000));
    env.lock(&[&one, &two]);
    env.realize(&["--link-mode", "hardlink"]).success();
    env.lock(&[&one]);
    env.realize(&["--venv", "other"]).success();
    env.run(["roots", "add", "kept", &tree_id(&env, "two")]).success();

    let is_tree_of = |name: &'static str| {
        let is_tree = env.objects();
        move |path: &str| path.contains(&format!("-{name}-1.0")) && is_tree.join(path).join("site").is_dir()
    };
    for name in ["one", "two"] {
        let report = env.run(["show", "--size", &tree_id(&env, name), "--json"]).success().json();
        let size = &report["objects"][0];
        let (bytes, exclusive) = expected(&env, is_tree_of(name));
        assert_eq!((size["disk_bytes"].as_u64(), size["exclusive_bytes"].as_u64()), (Some(bytes), Some(exclusive)));
        assert_eq!(size["shared_bytes"].as_u64(), Some(bytes - exclusive));
        assert!(bytes - exclusive >= 200_000, "the shared file is not shared: {size}");
        let report = env.run(["du", &format!("{name}==1.0"), "--json"]).success().json();
        assert_eq!(share(&report["total"]), expected(&env, |path| path.contains(&format!("-{name}-1.0"))), "{report}");
        assert_eq!(report["objects"].as_array().unwrap().len(), 2);
    }
    let report = env.run(["du", "--venv", "other", "--json"]).success().json();
    assert_eq!(share(&report["packages"]), expected(&env, is_tree_of("one")), "{report}");
    assert_eq!(share(&report["kept"]), expected(&env, |path| path.contains("-one-1.0")), "{report}");
    assert!(report["own_bytes"].as_u64().unwrap() > 0);

    let table = env.run(["du", "--json"]).success().json();
    let roots = table["roots"].as_array().unwrap();
    let names: Vec<&str> = roots.iter().map(|root| root["root"]["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], env.venv().to_str().unwrap(), "the largest comes first: {names:?}");
    assert_eq!(share(&roots[0]["share"]), expected(&env, |_| true));
    assert_eq!(share(&table["objects"]), expected(&env, |_| true));
    assert_eq!(share(&table["kept_by_no_root"]), (0, 0));
    assert!(table["store_bytes"].as_u64() >= table["objects"]["bytes"].as_u64());

    // What is gone is named, and what nothing keeps is a line of its own.
    env.run(["roots", "remove", "kept"]).success();
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.travel(7200);
    let lines = text(&env, &["du"]);
    assert!(lines.starts_with("      size  exclusive  what\n"), "{lines}");
    for line in ["  environment [PROJECT]/.venv (gone) (4 objects)\n", "  environment [PROJECT]/other (2 objects)\n"] {
        assert!(lines.contains(line), "{line}{lines}");
    }
    assert!(
        lines.contains("  kept by no root (2 objects)\n") && lines.contains("  all objects (4 objects)\n"),
        "{lines}"
    );
    let unkept = env.run(["du", "--json"]).success().json();
    assert_eq!(share(&unkept["kept_by_no_root"]), expected(&env, |path| path.contains("-two-1.0")));
    let packages = text(&env, &["du", "two"]);
    assert!(packages.lines().last().unwrap().ends_with("  together (2 objects)"), "{packages}");
    let venv = text(&env, &["du", "--venv", "other"]);
    assert!(venv.lines().last().unwrap().ends_with("  its own files and links"), "{venv}");
    assert_eq!(sqlite(&env, "SELECT count(*) FROM lease").trim(), "[(0,)]");
}

#[test]
fn du_and_why_refuse_what_they_do_not_know() {
    let env = env();
    env.lock(&wheels(&["known"]).iter().collect::<Vec<_>>());
    env.realize(&[]).success();
    for arguments in [&["du", "absent"][..], &["du", "absent==1.0"], &["why", "absent"]] {
        env.run(arguments).fails_with(exit::ERROR).explains().says("is not in this store");
    }
    env.run(["du", "--venv", "nowhere"]).fails_with(exit::ERROR).explains().says("is no environment of pip-accel");
    env.run(["du", "known==!"]).fails_with(exit::USAGE);
    env.run(["du", "known", "--venv", ".venv"]).fails_with(exit::USAGE);
}
