//! `sysdeps`: what the builds of a lock need of the system, and where that is known from.

use std::fs;

use pip_accel_tests::{SdistBuilder, WheelBuilder};

use crate::rounds::Machine;
use crate::support::{as_root_and_user, env, exit};

fn sysdeps(machine: &Machine, options: &[&str]) -> pip_accel_tests::Output {
    let python = machine.env.python().to_string_lossy().into_owned();
    machine.env.run([&["sysdeps", "requirements.lock", "--python", &python], options].concat())
}

/// The line of a lock is made of what projects and users say, of trial builds, and of what earlier builds read.
#[test]
fn a_line_for_a_dockerfile() {
    as_root_and_user(|env| {
        let Some(machine) = Machine::new(env) else { return };
        let external = "[external]\nhost-requires = [\"dep:generic/libffi\", \"dep:generic/none-such\"]\n\
                        build-requires = [\"dep:virtual/compiler/c\"]\n\
                        [external.optional-host-requires]\nimages = [\"dep:generic/libwebp\"]\n";
        let says = SdistBuilder::simple("says", "1.0").pyproject(external).build();
        let lacks = machine.sdist("lacks", &["one"]);
        let wheel = WheelBuilder::simple("wheel", "1.0").build();
        machine.lock(&[&says, &lacks, &wheel]);
        let output = sysdeps(&machine, &[]).success();
        assert_eq!(output.stdout.trim(), "apt-get install --yes --no-install-recommends build-essential libffi-dev");
        output
            .says("says==1.0: libffi-dev: the project says so: dep:generic/libffi")
            .says("says==1.0: can use libwebp-dev: the project says so, for `images`: dep:generic/libwebp")
            .says("`dep:generic/none-such`, which no package is known for")
            .says("lacks==1.0: nothing is known of what its build needs; --try builds it")
            .never_mentions("wheel==");
        let value = sysdeps(&machine, &["--try", "--json"]).success().json();
        assert_eq!(value["version"], 1);
        assert_eq!(value["packages"], serde_json::json!(["build-essential", "libffi-dev", "libone-dev"]));
        assert!(value["missing"].as_array().unwrap().contains(&"libone-dev".into()));
        assert_eq!(value["builds"][0]["optional"][0]["package"], "libwebp-dev");
        assert_eq!(value["builds"][1]["packages"][0]["because"], "a trial build lacked it");
        assert!(machine.calls().is_empty(), "nothing was installed");
    });
}

/// What an earlier build read is known without the network; the compiler goes by one name.
#[test]
fn earlier_builds_tell() {
    let Some(machine) = Machine::new(env()) else { return };
    machine.lock(&[&machine.sdist("package", &[])]);
    machine.env.realize(&[]).success();
    let output = sysdeps(&machine, &["--offline"]).success();
    if output.stdout.contains("build-essential") {
        output.says("build-essential: an earlier build read it").never_mentions("libc6-dev").never_mentions("gcc-");
    }
    machine.lock(&[&WheelBuilder::simple("wheel", "1.0").build()]);
    let output = sysdeps(&machine, &[]).success().says("nothing has to be built");
    assert_eq!(output.stdout, "");
}

/// `--install` goes by the policy, as between two rounds.
#[test]
fn installing_goes_by_the_policy() {
    let Some(machine) = Machine::new(env()) else { return };
    let folder = machine.env.home().join(".pip-accel/deps");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("own.toml"), "[projects]\npackage = [\"libone-dev\", \"dpkg\"]\n").unwrap();
    machine.lock(&[&machine.sdist("package", &["one"])]);
    let output = sysdeps(&machine, &["--install"]).fails_with(exit::PACKAGE_MISSING).explains();
    output.says("no terminal").prints("dpkg libone-dev");
    sysdeps(&machine, &["--install", "--system-packages", "refuse"]).fails_with(exit::PACKAGE_MISSING);
    assert!(machine.calls().is_empty());
    sysdeps(&machine, &["--install", "--system-packages", "install"]).success();
    assert_eq!(machine.calls(), [Machine::call("libone-dev")]);
    machine.env.realize(&[]).success();
    machine.env.verify_clean();
}
