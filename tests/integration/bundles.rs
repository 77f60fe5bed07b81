//! `bundle` and `unbundle`: an environment on its way to a machine without network.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use pip_accel_tests::{BuiltFile, LockWriter, Output, SdistBuilder, TestEnv, WheelBuilder, host};

use crate::support::{as_root_and_user, env, exit, lock_of};

pub(crate) const BUNDLE: &str = "bundle.tar";

pub(crate) fn wheel() -> BuiltFile {
    let twin = "same content, which is long enough to be shared between files of one package and of several\n";
    WheelBuilder::simple("first", "1.0")
        .file("first/one.txt", twin)
        .file("first/two.txt", twin)
        .entry_point("first-tool", "first:__name__.upper")
        .build()
}

fn sdist() -> BuiltFile {
    SdistBuilder::simple("from-source", "2.0").answer_extension().build()
}

/// Bundles `requirements.lock` of `env`.
#[track_caller]
pub(crate) fn bundle(env: &TestEnv, file: &str, arguments: &[&str]) -> Output {
    let python = env.python().display().to_string();
    env.run([&["bundle", "requirements.lock", "-o", file, "--python", &python], arguments].concat())
}

/// A store that has nothing, with the lock of `env` and no packages anywhere.
fn far_from(env: &TestEnv, other: TestEnv) -> TestEnv {
    other.write("requirements.lock", std::fs::read(env.project().join("requirements.lock")).expect("it works here"));
    other
}

fn carry(from: &TestEnv, to: &TestEnv, file: &str) -> PathBuf {
    to.write(file, std::fs::read(from.project().join(file)).expect("it works here"))
}

#[track_caller]
pub(crate) fn assert_nothing_registered(env: &TestEnv, what: &str) {
    assert_eq!(env.object_names(), Vec::<String>::new(), "{what}");
    env.verify_clean();
}

/// One wheel and one sdist that is built here, bundled.
fn bundled(arguments: &[&str]) -> TestEnv {
    let env = env();
    env.lock(&[&wheel(), &sdist()]);
    bundle(&env, BUNDLE, arguments).success();
    env
}

/// D23: what was built here is used there; no network, no build, no file but the bundle and the lock.
#[test]
fn the_other_machine_realizes_offline_and_builds_nothing() {
    let near = env();
    near.lock(&[&wheel(), &sdist()]);
    let made = bundle(&near, BUNDLE, &["--json"]).success().json();
    assert_eq!(made["objects"], 2);
    as_root_and_user(|other| {
        let far = far_from(&near, other);
        carry(&near, &far, BUNDLE);
        let report = far.run(["unbundle", BUNDLE, "--json"]).success().json();
        assert_eq!((&report["added"], &report["present"], &report["sha256"]), (&2.into(), &0.into(), &made["sha256"]));
        // The pin keeps what no environment needs yet.
        far.collect().success();
        far.realize(&["--offline"]).success().says("2 packages: 2 from the store, 0 fetched, 0 built");
        assert_eq!(far.evaluate("import first; from from_source import _answer", "_answer.answer()"), "42");
        assert_eq!(far.builds(), 0);
        far.verify_clean();
        let again = far.run(["unbundle", BUNDLE]).success().says("0 new, 2 in the store");
        again.prints(made["sha256"].as_str().unwrap());
        let roots = far.run(["roots"]).success().stdout;
        assert_eq!(roots.matches("pin bundle:").count(), 1, "{roots}");
        far.run(["unbundle", BUNDLE, "--pin", "mine"]).success().says("kept by the pin `mine`");
    });
}

/// Standard output and standard input, and a compressed file, carry the same.
#[test]
fn bundles_go_through_pipes_and_are_compressed_by_their_name() {
    let near = bundled(&[]);
    let plain = std::fs::read(near.project().join(BUNDLE)).unwrap();
    let mut command = near.command(["bundle", "requirements.lock", "-o", "-", "--offline", "--python"]);
    let output = command.arg(near.python()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == plain, "standard output gets the same bytes");
    bundle(&near, "bundle.tar.zst", &["--offline"]).success();
    let compressed = std::fs::read(near.project().join("bundle.tar.zst")).unwrap();
    assert!(compressed.len() < plain.len() / 2, "{} of {}", compressed.len(), plain.len());
    for bytes in [plain, compressed] {
        let far = far_from(&near, env());
        let mut command = far.command(["unbundle", "-"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
        far.realize(&["--offline"]).success().says("2 packages: 2 from the store");
    }
    near.run(["bundle", "requirements.lock", "-o", "-", "--json"]).fails_with(exit::USAGE).explains();
}

/// D7: the same objects are the same bytes, whatever the order of the lock and whichever store they are in.
#[test]
fn the_same_objects_are_the_same_bytes() {
    let files = [wheel(), sdist(), WheelBuilder::simple("second", "3.0").build()];
    let mut bundles = Vec::new();
    for order in [[0, 1, 2], [2, 0, 1]] {
        let env = env();
        env.lock(&order.map(|position| &files[position]));
        bundle(&env, BUNDLE, &["--sources"]).success();
        bundles.push(std::fs::read(env.project().join(BUNDLE)).unwrap());
    }
    assert!(bundles[0] == bundles[1], "two bundles of the same objects differ");
}

/// Shared files travel once, and plain pip installs from the extracted archive, by index and by directory.
#[test]
fn pip_installs_from_an_extracted_bundle() {
    let Some(pip) = host::wheel_of("pip") else {
        return host::skip("a wheel of pip is needed (PIP_ACCEL_TEST_WHEELS); run `make test`");
    };
    let env = bundled(&["--sources"]);
    let members = members(&env.project().join(BUNDLE));
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    let twins = members.iter().filter(|(_, content)| content.starts_with(b"same content"));
    assert_eq!(twins.count(), 1, "{names:?}");
    let extracted = env.project().join("extracted");
    std::fs::create_dir(&extracted).unwrap();
    tar::Archive::new(std::fs::File::open(env.project().join(BUNDLE)).unwrap()).unpack(&extracted).unwrap();
    env.lock(&[&BuiltFile::read(&pip)]);
    let places = [
        ["--index-url".to_owned(), format!("file://{}", extracted.join("simple").display())],
        ["--find-links".to_owned(), extracted.join("packages").display().to_string()],
    ];
    for (number, place) in places.iter().enumerate() {
        env.realize(&["--replace"]).success();
        let mut command = env.program(env.venv_program("python"));
        command.args(["-m", "pip", "install", "--isolated", "first==1.0"]).args(place);
        if number == 1 {
            command.arg("--no-index");
        }
        env.finish(command).success();
        assert_eq!(env.evaluate("import first", "first.__version__"), "1.0");
    }
    env.verify_clean();
}

/// With sources, the published files go along and are objects there.
#[test]
fn a_bundle_with_sources_carries_the_published_files() {
    let near = bundled(&["--sources"]);
    let far = far_from(&near, env());
    carry(&near, &far, BUNDLE);
    far.run(["unbundle", BUNDLE]).success();
    let built: Vec<String> = far.object_names().into_iter().filter(|name| name.contains("from-source")).collect();
    assert_eq!(built.len(), 2, "{built:?}");
    far.realize(&["--offline", "--no-binary", ":none:"]).success();
    assert_eq!(far.builds(), 0);
}

/// D4: a bundle with less than everything, and a store without the rest.
#[test]
fn what_the_other_side_has_is_left_out_and_must_be_there() {
    let near = env();
    near.lock(&[&wheel(), &sdist()]);
    bundle(&near, "old.tar", &[]).success();
    std::fs::copy(near.project().join("requirements.lock"), near.project().join("old.lock")).unwrap();
    let third = WheelBuilder::simple("third", "3.0").build();
    near.write("requirements.lock", lock_of(&near, &[&wheel(), &sdist(), &third]).text());
    for since in ["old.tar", "old.lock"] {
        let report = bundle(&near, "new.tar", &["--since", since, "--json"]).success().json();
        assert_eq!((&report["objects"], &report["base"]), (&1.into(), &2.into()), "{since}");
        let far = far_from(&near, env());
        carry(&near, &far, "old.tar");
        carry(&near, &far, "new.tar");
        let refused = far.run(["unbundle", "new.tar"]).fails_with(exit::ERROR).explains();
        refused.says("from-source-2.0").says("first-1.0");
        assert_nothing_registered(&far, since);
        far.run(["unbundle", "old.tar"]).success();
        far.run(["unbundle", "new.tar"]).success().says("1 new");
        // The second one's pin keeps all of its lock.
        let pin = format!("bundle:{}", far.run(["roots"]).success().stdout.split("bundle:").nth(1).unwrap().trim());
        far.run(["roots", "remove", pin.split_whitespace().next().unwrap()]).success();
        far.run(["unbundle", "new.tar"]).success();
        far.realize(&["--offline"]).success().says("3 packages: 3 from the store");
    }
    bundle(&near, "new.tar", &["--since", "nothing.tar"]).fails_with(exit::USAGE).explains();
}

/// D3: an output that can't take it; what was at the place stays, and nothing half is left.
#[test]
fn an_output_that_fails_is_an_error() {
    let env = bundled(&[]);
    for (place, word) in [("/dev/full", "free some space"), ("no/such/folder/b.tar", "name another place"), (".", "b")]
    {
        bundle(&env, place, &["--offline"]).fails_with(exit::ERROR).explains().says(word);
    }
    std::fs::write(env.project().join(BUNDLE), "the old one").unwrap();
    let elsewhere = WheelBuilder::simple("elsewhere", "1.0").build();
    env.write("requirements.lock", LockWriter::offline().pin(&elsewhere).text());
    bundle(&env, BUNDLE, &["--offline"]).fails_with(exit::OFFLINE).explains();
    assert_eq!(std::fs::read(env.project().join(BUNDLE)).unwrap(), b"the old one");
    let left = std::fs::read_dir(env.project()).unwrap().flatten();
    let partial = left.filter(|entry| entry.file_name().to_string_lossy().contains("partial"));
    assert_eq!(partial.count(), 0);
}

/// An object that was changed in the store is not carried on.
#[test]
fn a_damaged_object_is_not_bundled() {
    use std::os::unix::fs::PermissionsExt;
    let env = bundled(&[]);
    env.leave_damaged();
    let name = env.object_names().into_iter().find(|name| name.contains("first")).unwrap();
    let file = env.objects().join(name).join("site/first/one.txt");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let content = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, content.to_uppercase()).unwrap();
    bundle(&env, BUNDLE, &["--offline"]).fails_with(exit::ERROR).explains().says("is damaged");
}

/// The members of an archive in their order.
pub(crate) fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("it works here"));
    let read = |entry: std::io::Result<tar::Entry<'_, std::fs::File>>| {
        let mut entry = entry.expect("it works here");
        let name = entry.path().expect("it works here").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("it works here");
        (name, content)
    };
    archive.entries().expect("it works here").map(read).collect()
}

/// A4: killed while it reads; the next start sweeps, and it succeeds when repeated.
#[test]
fn killed_while_it_reads_leaves_nothing() {
    let near = bundled(&["--sources"]);
    let bytes = std::fs::read(near.project().join(BUNDLE)).unwrap();
    let far = far_from(&near, env());
    for part in 1..4 {
        let mut command = far.command(["unbundle", "-"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&bytes[..bytes.len() * part / 4]).unwrap();
        // Its scratch folder is there once it has begun; what it read by then is of no importance.
        // A file is there for a moment while the store is made.
        let is_folder = |entry: std::fs::DirEntry| entry.path().is_dir();
        let begun = || std::fs::read_dir(far.store().join("tmp")).is_ok_and(|all| all.flatten().any(is_folder));
        while !begun() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdin);
        assert_nothing_registered(&far, "killed");
    }
    carry(&near, &far, BUNDLE);
    far.run(["unbundle", BUNDLE]).success();
    far.realize(&["--offline"]).success();
    far.verify_clean();
}

/// A14: a store that can't be written takes nothing in, and can be bundled from.
#[test]
fn a_read_only_store_can_be_bundled_from() {
    let Some(env) = crate::support::user_env() else { return };
    env.leave_damaged();
    env.lock(&[&wheel()]);
    env.realize(&[]).success();
    bundle(&env, BUNDLE, &[]).success();
    let modes = ["chmod", "-R", "a-w"];
    let mut command = env.program(modes[0]);
    command.args(&modes[1..]).arg(env.store());
    env.finish(command).success();
    bundle(&env, "again.tar", &["--offline"]).success();
    env.run(["unbundle", BUNDLE]).fails_with(exit::ERROR).explains();
    let mut command = env.program("chmod");
    command.args(["-R", "u+w"]).arg(env.store());
    env.finish(command).success();
}

/// What a bundle brings is of no use to a lock with other hashes.
#[test]
fn another_lock_gets_nothing_from_a_bundle() {
    let near = bundled(&[]);
    let far = env();
    carry(&near, &far, BUNDLE);
    far.run(["unbundle", BUNDLE]).success();
    let other = WheelBuilder::simple("first", "1.0").file("first/other.txt", "other").build();
    far.write("requirements.lock", LockWriter::offline().pin(&other).text());
    far.realize(&["--offline"]).fails_with(exit::OFFLINE).explains();
}
