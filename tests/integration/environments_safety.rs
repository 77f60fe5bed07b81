//! What must not be lost or changed when an environment is made, replaced or collected: what is mounted in it, other
//! environments, the objects of one that was put back.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{LockWriter, TestEnv, WheelBuilder};

use crate::bad_surroundings::{assert_no_mounts_left, if_possible, with_own_mounts};
use crate::support::{env, exit};

/// A virtualenv of another program at the place of the environment.
fn foreign_virtualenv(env: &TestEnv) {
    env.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
    env.write(".venv/bin/mine", "");
}

/// A bind mount has the device of the environment: comparing devices does not tell.
#[test]
fn what_is_mounted_inside_an_environment_stays() {
    for mount in ["mount --bind mine '.venv/my data'", "mount -t tmpfs -o size=1m none '.venv/my data'"] {
        let env = env();
        env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
        env.write("first.lock", "");
        let script = format!(
            "set -u\n\"$0\" realize first.lock || exit 10\nmkdir mine '.venv/my data'\n{mount} || exit 77\n\
             echo mine > '.venv/my data/mine'\nfind .venv | sort > before\n\
             for flag in --keep-foreign --reattach; do \"$0\" realize requirements.lock $flag; code=$?\n\
             test $code = 1 || exit 11\nfind .venv | sort | cmp - before || exit 12\n\
             test -z \"$(find . -maxdepth 1 -name '.*venv?*')\" || exit 13; done\nexit 1\n"
        );
        let mut command = with_own_mounts(&env, "bash");
        command.args(["-c", &script]).arg(env.binary());
        let Some(output) = if_possible(&env, command, "nothing can be mounted here") else { return };
        output
            .fails_with(exit::ERROR)
            .explains()
            .says("something is mounted in it, at `")
            .says("my data")
            .says("--venv");
        assert_no_mounts_left(&env);
        env.verify_clean();
    }
}

/// What a killed run left, with something mounted in it since: the rest may go, that may not.
#[test]
fn what_is_mounted_in_leftovers_stays() {
    let env = env();
    env.write("requirements.lock", "");
    let script = "set -u\nold=..venv.pip-accel-0123456789abcdef\nmkdir -p mine $old/data $old/gone\n\
        echo mine > mine/mine\nmount --bind mine $old/data || exit 77\ntouch -d '1 hour ago' $old\n\
        \"$0\" realize requirements.lock || exit 10\ntest -f mine/mine || exit 11\n\
        umount $old/data\ntouch -d '1 hour ago' $old\n\"$0\" realize requirements.lock --link-mode copy || exit 12\n\
        test ! -e $old || exit 13\ntest -f mine/mine || exit 14\n";
    let mut command = with_own_mounts(&env, "bash");
    command.args(["-c", script]).arg(env.binary());
    if let Some(output) = if_possible(&env, command, "nothing can be mounted here") {
        output.success();
    }
    assert_no_mounts_left(&env);
}

/// A place that can't be had is known before anything is fetched for it.
#[test]
fn the_place_is_looked_at_first() {
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.add(&wheel);
    env.write("requirements.lock", LockWriter::new().pin(&wheel).text());
    let server = IndexServer::start(&env.files());
    let index = server.index_url();
    foreign_virtualenv(&env);
    env.write("file", "");
    for (venv, reason) in
        [(".venv", "a virtualenv of another program"), ("file/env", "file/env"), ("file", "not a dir")]
    {
        let output = env.realize(&["--venv", venv, "--index-url", index.as_str()]);
        output.fails_with(exit::ERROR).explains().says(reason);
    }
    assert_eq!((server.requests().len(), env.object_names()), (0, Vec::new()));
    env.realize(&["--replace", "--index-url", index.as_str()]).success();
    env.python_code("import package").success();
}
