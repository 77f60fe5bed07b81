//! What is checked again before it is believed: the bytes of a source, the folder of an object.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, WheelBuilder};

use crate::support::{env, exit};

/// The folder of the object whose name holds `name` and that has an entry called `entry`.
fn object(env: &TestEnv, name: &str, entry: &str) -> PathBuf {
    let folders = env.object_names().into_iter().filter(|found| found.contains(name));
    folders.map(|found| env.objects().join(found)).find(|folder| folder.join(entry).exists()).unwrap()
}

/// Other bytes in a file of the store, and nothing that a look at its size, mode or time could tell.
fn tamper(file: &Path, bytes: &[u8]) {
    let metadata = file.metadata().unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(file, bytes).unwrap();
    let open = std::fs::File::options().write(true).open(file).unwrap();
    open.set_modified(metadata.modified().unwrap()).unwrap();
    std::fs::set_permissions(file, metadata.permissions()).unwrap();
}

/// The same file with one byte changed: as an attacker would have it, of the same length.
fn evil(file: &BuiltFile) -> Vec<u8> {
    let mut bytes = file.bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

/// An sdist in the store that somebody replaced after it was fetched is not built: the one of the lock is fetched anew.
/// Without a network the run ends.
#[test]
fn a_source_is_read_again_before_it_is_built() {
    let env = env();
    let sdist = SdistBuilder::simple("target", "1.0").build();
    let other = SdistBuilder::simple("target", "1.0").file("src/target/evil.py", "").build();
    env.lock(&[&sdist]);
    env.run(["fetch", "requirements.lock"]).success();
    tamper(&object(&env, "-target-1.0", &sdist.file_name).join(&sdist.file_name), &other.bytes);
    std::fs::rename(env.files(), env.base().join("away")).unwrap();
    std::fs::create_dir(env.files()).unwrap();
    env.realize(&["--offline"]).fails_with(exit::OFFLINE).explains().says("in the store is damaged");
    assert_eq!(env.builds(), 0);
    std::fs::remove_dir(env.files()).unwrap();
    std::fs::rename(env.base().join("away"), env.files()).unwrap();
    env.realize(&[]).success().says(&format!("`{}` in the store is damaged", sdist.file_name));
    assert_eq!(env.evaluate("import importlib.util as u", "u.find_spec('target.evil')"), "None");
    env.verify_clean();
}

/// The same for a wheel whose tree is gone and whose file is still there, changed where it lies: neither it nor what
/// shares its bytes is used.
#[test]
fn a_wheel_is_read_again_before_it_is_unpacked() {
    let env = env();
    let wheel = WheelBuilder::simple("target", "1.0").build();
    env.lock(&[&wheel]);
    env.realize(&[]).success();
    tamper(&object(&env, "-target-1.0", &wheel.file_name).join(&wheel.file_name), &evil(&wheel));
    std::fs::remove_dir_all(object(&env, "-target-1.0", "site")).unwrap();
    env.realize(&[]).success().says(&format!("`{}` in the store is damaged", wheel.file_name)).says("is gone from");
    env.python_code("import target").success();
    env.verify_clean();
}

/// An object whose folder was deleted is fetched anew, said, and whole for the environments that had it before.
#[test]
fn an_object_that_is_gone_is_fetched_anew() {
    for arguments in [&["realize", "requirements.lock", "--venv", "other"][..], &["fetch", "requirements.lock"]] {
        let mut env = env();
        let files = [WheelBuilder::simple("gone", "1.0").build(), WheelBuilder::simple("here", "1.0").build()];
        env.lock(&[&files[0], &files[1]]);
        env.realize(&[]).success();
        std::fs::remove_dir_all(object(&env, "-gone-1.0", "site")).unwrap();
        env.run(["status"]).fails_with(exit::ERROR);
        let python = env.python().to_owned();
        let mut command = env.command(arguments);
        command.arg("--python").arg(&python);
        env.finish(command).success().says("-gone-1.0").says("is gone from the store");
        env.python_code("import gone, here").success();
        env.run(["status"]).success();
        // The root of the first environment still names the object.
        drop(std::fs::remove_dir_all(env.project().join("other")));
        env.travel(7200);
        env.collect().success();
        env.python_code("import gone, here").success();
        env.verify_clean();
    }
}

/// `status` says to realize; that heals, in every link mode, a built object too; offline it is said what is missing.
#[test]
fn realize_makes_an_environment_whole_again() {
    for mode in ["symlink", "copy"] {
        let env = env();
        let wheel = WheelBuilder::simple("gone", "1.0").build();
        let sdist = SdistBuilder::simple("built", "1.0").build();
        env.lock(&[&wheel, &sdist]);
        env.realize(&["--link-mode", mode]).success();
        for name in ["-gone-1.0", "-built-1.0"] {
            std::fs::remove_dir_all(object(&env, name, "site")).unwrap();
        }
        env.realize(&["--link-mode", mode]).success().says("0 from the store, 1 fetched, 1 built");
        env.realize(&["--link-mode", mode]).success().says("nothing to do");
        env.python_code("import gone, built").success();
        env.verify_clean();
        std::fs::remove_dir_all(object(&env, "-gone-1.0", "site")).unwrap();
        std::fs::remove_dir_all(object(&env, "-gone-1.0", &wheel.file_name)).unwrap();
        std::fs::remove_dir_all(env.files()).unwrap();
        std::fs::create_dir(env.files()).unwrap();
        env.realize(&["--link-mode", mode, "--offline"]).fails_with(exit::OFFLINE).explains().says("gone==1.0");
    }
}
