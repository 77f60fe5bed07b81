//! Archives that attack whoever unpacks them (scenarios D1, D2): refused, nothing written outside, nothing registered.

use pip_accel_tests::package::EvilMember;
use pip_accel_tests::{Evil, SdistBuilder, TestEnv, TreeDigest, WheelBuilder};

use crate::support::{env, exit};

/// More than any limit of unpacked bytes in relation to the few kilobytes it is packed to.
const BOMB_BYTES: usize = 256 << 20;

#[track_caller]
fn assert_refused(env: &TestEnv, what: &str) {
    let base = TreeDigest::of(&env.project());
    let output = env.realize(&[]);
    assert!([exit::ERROR, exit::LOCK_REFUSED, exit::BUILD_FAILED].contains(&output.code), "{what}: {output:?}");
    let output = output.explains().says("package");
    base.assert_unchanged(&env.project());
    let is_there = std::fs::remove_file("/tmp/pip-accel-evil.py").is_ok();
    assert!(!is_there, "{what}: written outside; {output:?}");
    let left: Vec<String> =
        env.object_names().into_iter().filter(|name| env.objects().join(name).join("site").exists()).collect();
    assert!(left.is_empty(), "{what}: registered as {left:?}");
    env.verify_clean();
}

/// D1: names that lead out, mean nothing, come twice or look alike, links, members below files, lies, bombs.
#[test]
fn evil_wheels_are_refused() {
    let init = || "package/__init__.py".to_owned();
    let cases = [
        Evil::WrongHash(init()),
        Evil::ExtraRecordLine("package/ghost.py".to_owned()),
        Evil::NoRecord,
        Evil::MemberNamed("../evil.py".to_owned()),
        Evil::MemberNamed("package/../../evil.py".to_owned()),
        Evil::MemberNamed("/tmp/pip-accel-evil.py".to_owned()),
        Evil::MemberNamed("package/a\0b.py".to_owned()),
        Evil::MemberNamed("package\\..\\evil.py".to_owned()),
        Evil::MemberNamed("package/__init__.py/below-a-file.py".to_owned()),
        Evil::MemberNamed("package/./dot.py".to_owned()),
        Evil::MemberNamed("package//empty.py".to_owned()),
        Evil::MemberNamed(".".to_owned()),
        Evil::MemberNamed("package/..".to_owned()),
        // The same letter in its other Unicode form: one file on some systems, two on others.
        Evil::MemberNamed("package/caf\u{65}\u{301}.py".to_owned()),
        Evil::Symlink("package/link".to_owned(), "/etc/passwd".to_owned()),
        Evil::Duplicate(init()),
        Evil::CaseCollision(init()),
        Evil::Bomb(BOMB_BYTES),
        Evil::LyingSize("package/long.py".to_owned()),
        Evil::Encrypted(init()),
        Evil::MetadataVersion("6.6".to_owned()),
    ];
    for case in cases {
        let env = env();
        let wheel = WheelBuilder::simple("package", "1.0")
            .file("package/long.py", "# long\n".repeat(100))
            .file("package/caf\u{e9}.py", "");
        env.lock(&[&wheel.evil(case.clone()).build()]);
        assert_refused(&env, &format!("{case:?}"));
    }
}

/// D2: a script that would be written outside `bin/`.
#[test]
fn entry_points_that_leave_the_environment_are_refused() {
    for name in ["../escape", "/tmp/pip-accel-evil.py", "a/b"] {
        let env = env();
        env.lock(&[&WheelBuilder::simple("package", "1.0").entry_point(name, "package:main").build()]);
        let base = TreeDigest::of(&env.project());
        env.realize(&[]).fails_with(exit::ERROR).explains().says(name);
        assert!(std::fs::remove_file("/tmp/pip-accel-evil.py").is_err(), "{name}: written outside");
        env.verify_clean();
        base.assert_unchanged(&env.project());
    }
}

/// D1, D2: an sdist whose members or links lead out of its folder.
#[test]
fn evil_sdists_are_refused() {
    let text = str::to_owned;
    let cases = [
        EvilMember::Named(text("../evil.py")),
        EvilMember::Named(text("package-1.0/../../evil.py")),
        EvilMember::Named(text("/tmp/pip-accel-evil.py")),
        EvilMember::Symlink(text("link"), text("/etc/passwd")),
        EvilMember::Symlink(text("link"), text("../../outside")),
        EvilMember::HardLink(text("link"), text("/etc/passwd")),
        EvilMember::Device(text("device")),
        EvilMember::Bomb(BOMB_BYTES * 4),
    ];
    for case in cases {
        let env = env();
        env.lock(&[&SdistBuilder::simple("package", "1.0").evil(case.clone()).build()]);
        assert_refused(&env, &format!("{case:?}"));
    }
}

#[test]
fn a_setuid_file_in_an_sdist_loses_its_bit() {
    let env = env();
    let check = "import os\nassert not os.stat('program').st_mode & 0o6000, oct(os.stat('program').st_mode)\n";
    let sdist =
        SdistBuilder::simple("package", "1.0").evil(EvilMember::Setuid("program".to_owned())).during_build(check);
    env.lock(&[&sdist.build()]);
    env.realize(&[]).success();
}
