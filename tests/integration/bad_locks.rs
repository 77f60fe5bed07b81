//! Locks that can't be used, and locks whose files can't: the rows of `docs/bad-input.md` about lines, hashes and the
//! choice among the files of an index.

use pip_accel_tests::index_server::{IndexServer, PageMode};
use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, TestEnv, WheelBuilder};

use crate::bad_input::refused;
use crate::support::{env, exit};

const WHEEL: &str = "package-1.0-py3-none-any.whl";

fn package() -> BuiltFile {
    WheelBuilder::simple("package", "1.0").build()
}

/// An index of the files, and the first line of a lock that names it.
fn index(env: &TestEnv, files: &[&BuiltFile]) -> (IndexServer, String) {
    for file in files {
        env.add(file);
    }
    let server = IndexServer::start(&env.files());
    let line = format!("--index-url {}", server.index_url());
    (server, line)
}

#[test]
fn hashes_of_other_kinds_are_not_enough() {
    for hash in [
        format!("--hash=md5:{}", "0".repeat(32)),
        format!("--hash=sha512:{} --hash=sha384:{}", "0".repeat(128), "0".repeat(96)),
    ] {
        let env = env();
        env.add(&package());
        let lock = format!("--no-index\n--find-links ../files\npackage==1.0 {hash}\n");
        refused(&env, &lock, exit::LOCK_REFUSED).says("requirements.lock:3").says("sha256");
    }
}

/// Beside one that can be used, the others do no harm.
#[test]
fn a_hash_of_another_kind_beside_the_right_one_is_passed_over() {
    let env = env();
    env.add(&package());
    let line = format!("package==1.0 --hash=sha512:{} {}", "0".repeat(128), package().hash_option());
    env.write("requirements.lock", LockWriter::offline().line(line).text());
    env.realize(&[]).success();
}

#[test]
fn options_of_one_requirement_are_refused() {
    for option in ["--build-option=x", "--global-option=--fast", "--install-option=x"] {
        let env = env();
        env.add(&package());
        let lock = format!("--no-index\n--find-links ../files\npackage==1.0 {option} {}\n", package().hash_option());
        let output = refused(&env, &lock, exit::LOCK_REFUSED).says("requirements.lock:3").says("not supported");
        output.says(option.split('=').next().unwrap_or_default());
    }
}

#[test]
fn a_local_file_without_a_hash_is_told_its_own() {
    let env = env();
    env.add(&package());
    let lock = format!("../files/{WHEEL}\n");
    refused(&env, &lock, exit::LOCK_REFUSED).says("has no hash").says(&package().hash_option());
}

#[test]
fn a_lock_that_is_not_utf8_is_refused_with_its_line() {
    let env = env();
    env.write("requirements.lock", b"# fine\n# caf\xe9\n");
    env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says("requirements.lock:2").says("UTF-8");
}

#[test]
fn an_index_with_other_hashes_than_the_lock_is_refused_before_a_download() {
    for mode in [PageMode::Json, PageMode::Html] {
        let env = env();
        let (server, line) = index(&env, &[&package()]);
        let server = server.with_mode(mode);
        let other = WheelBuilder::simple("package", "1.0").file("extra.py", "").build();
        let lock = LockWriter::new().line(line).pin(&other).text();
        let output = refused(&env, &lock, exit::LOCK_REFUSED);
        output.says("no file of `package` 1.0 has a hash of the lock").says(WHEEL).says("lock");
        assert_eq!(server.request_count(&format!("/files/{WHEEL}")), 0);
    }
}

#[test]
fn a_release_for_another_python_is_refused() {
    for mode in [PageMode::Json, PageMode::Html] {
        let env = env();
        let (server, line) = index(&env, &[&package()]);
        let server = server.with_mode(mode).with_requires_python(WHEEL, ">=4.1");
        let lock = LockWriter::new().line(line).pin(&package()).text();
        let output = refused(&env, &lock, exit::LOCK_REFUSED);
        output.says("`package` 1.0 requires Python >=4.1, this is Python 3.").says("--python");
        assert_eq!(server.request_count(&format!("/files/{WHEEL}")), 0);
    }
}

#[test]
fn what_the_format_options_exclude_is_named() {
    let sdist = SdistBuilder::simple("package", "1.0").build();
    for (file, option, words) in [
        (&sdist, "--only-binary", "its sdist `package-1.0.tar.gz` is excluded by --only-binary"),
        (&package(), "--no-binary", "its wheels `package-1.0-py3-none-any.whl` are excluded by --no-binary"),
    ] {
        for selection in [":all:", "package", "other,package"] {
            let env = env();
            env.add(file);
            let lock = LockWriter::offline().line(format!("{option} {selection}")).pin(file).text();
            refused(&env, &lock, exit::LOCK_REFUSED).says(words);
            assert_eq!(env.builds(), 0);
            env.write("requirements.lock", LockWriter::offline().pin(file).text());
            env.realize(&[option, selection]).fails_with(exit::LOCK_REFUSED).explains().says(words);
            env.realize(&[]).success();
        }
    }
}
