//! A store that is damaged heals, and says honestly where it can't (scenarios C), by its command line.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pip_accel_tests::index_server::{ALWAYS, Fault, IndexServer};
use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, TestEnv, WheelBuilder};

use crate::support::{as_root_and_user, env, exit};

/// A file of a package that is longer than what the store shares by itself only when it is written.
const LONG: &str = "VALUE = 'a value that is long enough to be shared between objects, as most files are'\n";

fn wheel(name: &str) -> BuiltFile {
    let module = format!("{}/value.py", name.replace('-', "_"));
    WheelBuilder::simple(name, "1.0").file(&module, format!("NAME = '{name}'\n{LONG}")).build()
}

/// The folders of objects whose names hold `part`.
fn objects(env: &TestEnv, part: &str) -> Vec<PathBuf> {
    let names = env.object_names().into_iter().filter(|name| name.contains(part));
    names.map(|name| env.objects().join(name)).collect()
}

/// The tree of a package, which is the object that holds a `site` folder.
pub(crate) fn tree(env: &TestEnv, name: &str) -> PathBuf {
    objects(env, name).into_iter().find(|object| object.join("site").exists()).unwrap()
}

pub(crate) fn source(env: &TestEnv, name: &str) -> PathBuf {
    objects(env, name).into_iter().find(|object| !object.join("site").exists()).unwrap()
}

/// Changes the bytes of a file so that neither its length nor its mode nor its time tells.
pub(crate) fn corrupt(path: &Path) {
    let metadata = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::File::open(path)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.mtime()).unwrap()))
        .unwrap();
    fs::set_permissions(path, metadata.permissions()).unwrap();
}

pub(crate) fn remove_tree(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { remove_tree(&path) } else { fs::remove_file(path).unwrap() }
    }
    fs::remove_dir(path).unwrap();
}

/// `verify --repair` with the files of the test as the only place of files.
fn repair(env: &TestEnv) -> pip_accel_tests::Output {
    let files = env.files();
    env.run(["verify", "--repair", "--no-index", "--find-links", files.to_str().unwrap()])
}

/// C1, C3: a changed file and a deleted tree are found; the trees are unpacked again from the sources in the store, without
/// a network, and the environment of links sees the right bytes; everything is read-only again.
#[test]
fn a_damaged_wheel_is_unpacked_again() {
    as_root_and_user(|env| {
        env.lock(&[&wheel("first"), &wheel("second")]);
        env.realize(&[]).success();
        corrupt(&tree(&env, "first").join("site/first/value.py"));
        let second = tree(&env, "second");
        remove_tree(&second);
        env.run(["verify"]).fails_with(exit::STORE_DAMAGED).prints("wrong-content").prints("missing-object");
        env.run(["verify", "--repair", "--offline"]).success().prints("made anew").says("2 of 2 damages repaired");
        assert_eq!(
            env.evaluate("import first.value, second.value", "first.value.NAME, second.value.NAME"),
            "first second"
        );
        assert_eq!(fs::metadata(second.join("site/second/value.py")).unwrap().mode() & 0o7777, 0o444);
        env.verify_clean();
        env.run(["verify", "--repair"]).success().says("the store is whole");
    });
}

/// C3, C4: a damaged source is downloaded again by its hash, for one object alone; a file that several objects share is
/// repaired in each of them, from one download.
#[test]
fn a_damaged_source_is_downloaded_again() {
    let env = env();
    let shared = |name: &str| WheelBuilder::simple(name, "1.0").file(&format!("{name}/shared.py"), LONG).build();
    env.lock(&[&shared("first"), &shared("second")]);
    env.realize(&[]).success();
    for name in ["first", "second"] {
        let source = source(&env, name);
        let file = fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path());
        corrupt(&file.filter(|path| path.extension().is_some_and(|ending| ending == "whl")).last().unwrap());
    }
    corrupt(&tree(&env, "first").join("site/first/shared.py"));
    env.run(["verify", "first"]).fails_with(exit::STORE_DAMAGED).says("2 damages");
    let files = env.files();
    let only = ["verify", "--repair", "first", "--no-index", "--find-links", files.to_str().unwrap()];
    env.run(only).success();
    env.run(["verify", "first"]).success();
    env.run(["verify", "second"]).fails_with(exit::STORE_DAMAGED).says("2 damages");
    repair(&env).success().prints("repaired from");
    env.verify_clean();
    assert_eq!(env.evaluate("import first.shared", "first.shared.VALUE[:7]"), "a value");
}

/// C2, C11: where neither a copy nor a source is left, the object goes to the quarantine, the environment that lacks it is
/// named with the command that mends it, nothing else is touched; and that command then brings it back.
#[test]
fn what_cannot_be_repaired_is_named_and_comes_back() {
    as_root_and_user(|env| {
        env.lock(&[&wheel("first"), &wheel("second")]);
        env.realize(&[]).success();
        remove_tree(&source(&env, "first"));
        corrupt(&tree(&env, "first").join("site/first/value.py"));
        let report = env.run(["verify", "--repair", "--offline"]).fails_with(exit::STORE_DAMAGED);
        let venv = env.venv().display().to_string();
        let report = report.says("first==1.0 could not be repaired").says(&format!("`{venv}` lacks first"));
        report.says(&format!("pip-accel realize LOCK --venv '{venv}'")).prints("quarantine");
        assert!(fs::read_dir(env.store().join("quarantine")).unwrap().count() > 0);
        assert_eq!(env.evaluate("import second.value", "second.value.NAME"), "second");
        env.run(["verify"]).success();
        env.realize(&[]).success();
        assert_eq!(env.evaluate("import first.value, second.value", "first.value.NAME"), "first");
        env.verify_clean();
    });
}

/// C1: a damaged build is built again, in the sandbox; the same bytes are said to be the same, others to be others.
#[test]
fn a_damaged_build_is_built_again() {
    let env = env();
    let same = SdistBuilder::simple("same", "1.0").file("src/same/value.py", LONG).build();
    let code = "import pathlib, uuid\npathlib.Path('src/chance').mkdir(exist_ok=True)\n\
        pathlib.Path('src/chance/value.py').write_text(f'VALUE = {uuid.uuid4().hex!r}')\n";
    let chance = SdistBuilder::simple("chance", "1.0").file("src/chance/long.py", format!("{LONG}X = 1\n"));
    let chance = chance.during_build(code).build();
    env.lock(&[&same, &chance]);
    env.realize(&[]).success();
    corrupt(&tree(&env, "same").join("site/same/value.py"));
    corrupt(&tree(&env, "chance").join("site/chance/long.py"));
    let report = env.run(["verify", "--repair", "--offline", "--json"]).success().json();
    let action = |name: &str| {
        let findings = report["report"]["findings"].as_array().unwrap();
        let of_object = findings.iter().find(|found| found["store_path"].as_str().unwrap().contains(name)).unwrap();
        (of_object["kind"].as_str().unwrap().to_owned(), of_object["action"]["kind"].as_str().unwrap().to_owned())
    };
    assert_eq!(action("same"), ("wrong-content".to_owned(), "remade".to_owned()));
    assert_eq!(action("chance"), ("wrong-content".to_owned(), "remade-differently".to_owned()));
    assert_eq!(env.builds(), 4);
    env.verify_clean();
    assert_eq!(env.evaluate("import same, chance", "same.__version__, chance.__version__"), "1.0 1.0");
}

/// Decision 24: an edit through an environment of hard links is undone in the store, and the environment, which still has
/// the edited file, is named.
#[test]
fn an_edit_through_a_hard_link_is_undone() {
    let env = env();
    env.lock(&[&wheel("first")]);
    env.realize(&["--link-mode", "hardlink"]).success();
    let edited = env.site_packages().join("first/value.py");
    fs::set_permissions(&edited, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&edited, "NAME = 'edited'\n").unwrap();
    env.run(["verify", "--quick"]).fails_with(exit::STORE_DAMAGED).prints("wrong-size");
    let report = env.run(["verify", "--quick", "--repair", "--offline"]).success();
    report.says(&format!("`{}` had wrong bytes", env.venv().display()));
    assert!(fs::read_to_string(tree(&env, "first").join("site/first/value.py")).unwrap().contains("'first'"));
    assert_eq!(fs::read_to_string(&edited).unwrap(), "NAME = 'edited'\n");
    env.run(["verify"]).success();
}

/// B15, C12: a lost or damaged database: every command says so and what to do; afterwards the environment is as it was, a realize
/// has nothing to do, and a collection keeps what it must and takes what it may.
#[test]
fn a_lost_database_is_made_anew() {
    as_root_and_user(|env| {
        let sdist = SdistBuilder::simple("built", "1.0").build();
        env.lock(&[&wheel("first"), &sdist]);
        env.realize(&[]).success();
        env.write("other.lock", pip_accel_tests::LockWriter::offline().pin(&wheel("second")).text());
        env.add(&wheel("second"));
        env.run(["realize", "other.lock", "--venv", "other"]).success();
        fs::remove_dir_all(env.project().join("other")).unwrap();
        let database = env.store().join("db/store.sqlite");
        for rubbish in [None, Some("no database")] {
            for ending in ["", "-wal", "-shm"] {
                drop(fs::remove_file(format!("{}{ending}", database.display())));
            }
            if let Some(rubbish) = rubbish {
                fs::write(&database, rubbish).unwrap();
            }
            for command in [&["realize", "requirements.lock"][..], &["gc"], &["verify"], &["roots"]] {
                let refused = env.run(command).fails_with(exit::STORE_DAMAGED).explains();
                refused.says("pip-accel verify --rebuild-db");
            }
            env.run(["verify", "--rebuild-db"]).success().says("roots are registered again");
            env.realize(&["--offline"]).success();
            env.run(["verify"]).success();
        }
        assert_eq!(fs::read_to_string(env.store().join("db/store.sqlite.damaged-1")).unwrap(), "no database");
        assert_eq!(env.builds(), 1);
        env.collect().success();
        assert_eq!(objects(&env, "-second-"), Vec::<PathBuf>::new());
        assert_eq!(env.evaluate("import first.value, built", "first.value.NAME"), "first");
        env.realize(&["--offline", "--venv", "again"]).success();
        env.verify_clean();
    });
}

/// B15: what was not registered when the database was made anew may need anything, so nothing is collected before the repair.
#[test]
fn nothing_is_collected_before_a_rebuilt_database_is_whole() {
    let mut env = env();
    env.lock(&[&wheel("first"), &wheel("second")]);
    env.realize(&[]).success();
    let broken = fs::read_dir(env.store().join("roots")).unwrap().flatten().next().unwrap().path();
    let text = fs::read(&broken).unwrap();
    fs::write(&broken, "no root").unwrap();
    for ending in ["", "-wal", "-shm"] {
        drop(fs::remove_file(env.store().join(format!("db/store.sqlite{ending}"))));
    }
    env.run(["verify", "--rebuild-db"]).fails_with(exit::STORE_DAMAGED).says("nothing is collected");
    env.travel(100_000);
    for arguments in [&["gc", "--min-age", "0"][..], &["gc", "--dry-run"]] {
        env.run(arguments).fails_with(exit::STORE_DAMAGED).explains().says("verify --repair");
    }
    assert_eq!(objects(&env, "-first-").len() + objects(&env, "-second-").len(), 4);
    // The file is readable again, and the database made once more has all.
    fs::write(&broken, text).unwrap();
    env.run(["verify", "--rebuild-db"]).success();
    env.run(["gc", "--min-age", "0"]).success();
    assert_eq!(env.evaluate("import first.value", "first.value.NAME"), "first");
    env.verify_clean();
}

/// C12, C16: an object whose bytes are wrong is not registered again, the environment that lacks it is named, and the next
/// repair moves it away.
#[test]
fn a_rebuilt_database_has_no_damaged_object() {
    let env = env();
    env.lock(&[&wheel("first")]);
    env.realize(&[]).success();
    corrupt(&tree(&env, "first").join("site/first/value.py"));
    fs::remove_file(env.store().join("db/store.sqlite")).unwrap();
    let rebuilt = env.run(["verify", "--rebuild-db"]).fails_with(exit::STORE_DAMAGED).prints("wrong-content");
    rebuilt.says("lacks 1 of its objects");
    env.run(["verify", "--repair", "--offline"]).success().prints("moved to");
    env.realize(&["--offline"]).success();
    assert_eq!(env.evaluate("import first.value", "first.value.NAME"), "first");
    env.verify_clean();
}

/// C5: equal files of several packages share an inode afterwards, also the short ones; a second run has nothing to do; the
/// store is whole, and the environment runs.
#[test]
fn equal_files_share_their_room() {
    as_root_and_user(|env| {
        let short = |name: &str| WheelBuilder::simple(name, "1.0").file(&format!("{name}/short.py"), "X = 1\n").build();
        env.lock(&[&short("first"), &short("second"), &short("third")]);
        env.realize(&[]).success();
        let inodes = || {
            let places =
                ["first", "second", "third"].map(|name| tree(&env, name).join(format!("site/{name}/short.py")));
            let mut inodes: Vec<u64> = places.iter().map(|path| fs::metadata(path).unwrap().ino()).collect();
            inodes.sort_unstable();
            inodes.dedup();
            inodes.len()
        };
        assert_eq!(inodes(), 3);
        let report = env.run(["optimise", "--json"]).success().json();
        assert!(report["report"]["freed_bytes"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(inodes(), 1);
        env.run(["optimise"]).success().says("0 of ");
        assert_eq!(env.evaluate("import first.short, third.short", "first.short.X + third.short.X"), "2");
        env.run(["status"]).success();
        env.verify_clean();
    });
}

/// With an age, only what was not verified since is read.
#[test]
fn by_age_nothing_is_read_twice() {
    let mut env = env();
    env.lock(&[&wheel("first")]);
    env.realize(&[]).success();
    let read = |env: &TestEnv| {
        let report = env.run(["verify", "--max-age", "2d", "--json"]).success().json();
        report["read_objects"].as_u64().unwrap()
    };
    assert_eq!((read(&env), read(&env)), (2, 0));
    env.travel(3 * 86_400);
    assert_eq!(read(&env), 2);
    env.run(["verify", "--max-age", "soon"]).fails_with(exit::USAGE).explains();
}

/// What a repair says that has nothing but the places that locks named.
fn repair_from_places(env: &TestEnv) -> pip_accel_tests::Output {
    env.run(["verify", "--repair", "--no-index"])
}

/// A wheel and an sdist at URLs that only the lock names, realized.
fn realized_from_urls(env: &TestEnv) -> (IndexServer, BuiltFile, BuiltFile) {
    let files = (wheel("first"), SdistBuilder::simple("built", "1.0").file("src/built/value.py", LONG).build());
    let server = IndexServer::start(&env.files());
    let mut lock = LockWriter::new().line("--no-index");
    for file in [&files.0, &files.1] {
        env.add(file);
        let mut url = server.file_url(&file.file_name);
        url.set_username("reader").unwrap();
        url.set_password(Some("hunter2")).unwrap();
        lock = lock.line(format!("{} @ {url} {}", file.name, file.hash_option()));
    }
    // setuptools and wheel lie beside the other files.
    env.write("requirements.lock", lock.line("--find-links ../files").text());
    env.realize(&[]).success();
    (server, files.0, files.1)
}

/// C3: no index lists a file that a lock named by its URL, so the URL is remembered beside the source, without its password.
#[test]
fn a_source_is_downloaded_again_from_where_a_lock_had_it() {
    let env = env();
    let (server, first, built) = realized_from_urls(&env);
    for file in [&first, &built] {
        corrupt(&source(&env, &file.name).join(&file.file_name));
    }
    corrupt(&tree(&env, "built").join("site/built/value.py"));
    let before = server.request_count(&format!("/files/{}", first.file_name));
    repair_from_places(&env).success();
    assert_eq!(server.request_count(&format!("/files/{}", first.file_name)), before + 1);
    env.verify_clean();
    let database = ["store.sqlite", "store.sqlite-wal"].map(|name| fs::read(env.store().join("db").join(name)));
    let holds = |bytes: &Vec<u8>| bytes.windows(7).any(|window| window == b"hunter2");
    assert!(!database.iter().flatten().any(holds), "the password is in the database");
}

/// C2, C3: a source that moved is found by the index, and where that does not have it either, the answer names the place.
#[test]
fn a_source_that_moved_is_looked_for_in_the_index() {
    let env = env();
    let (server, first, _) = realized_from_urls(&env);
    let gone = Fault::Status { status: 404, retry_after: None, times: ALWAYS };
    server.add_fault(&format!("/files/{}", first.file_name), gone);
    let damaged = source(&env, "first").join(&first.file_name);
    corrupt(&damaged);
    repair(&env).success();
    env.verify_clean();
    corrupt(&damaged);
    let report = repair_from_places(&env).fails_with(exit::STORE_DAMAGED).says("first==1.0 could not be repaired");
    report.says(&format!("`{}` does not exist", server.file_url(&first.file_name)));
    env.leave_damaged();
}
