//! The file trace through the whole program: what builds read of the system is recorded, what they miss is evidence, and
//! a machine that can't trace builds all the same (scenario E13: one recipe, two sets of system inputs).

use std::path::Path;

use pip_accel_tests::{SdistBuilder, TestEnv};
use serde_json::Value;

use crate::support::{as_root_and_user, env, exit};

/// A project that compiles C with this line in front.
fn project(name: &str, line: &str) -> SdistBuilder {
    let source = format!(
        "{line}\n#include <Python.h>\nstatic struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, \"_c\", NULL, -1, NULL}};\n\
         PyMODINIT_FUNC PyInit__c(void) {{ return PyModule_Create(&module); }}\n"
    );
    SdistBuilder::simple(name, "1.0").c_extension(&format!("{name}._c"), &source)
}

fn provenance(env: &TestEnv, name: &str) -> Value {
    let objects = env.run(["show", name, "--json"]).success().json()["objects"].clone();
    let built = objects.as_array().expect("a list").iter().find(|object| object["provenance"]["kind"] == "build");
    built.expect("a built object")["provenance"].clone()
}

fn packages(read: &Value) -> Vec<String> {
    let all = read["packages"].as_array().expect("a list");
    all.iter().map(|package| package["name"].as_str().expect("a name").to_owned()).collect()
}

/// Which package dpkg says has a file.
fn owner(path: &str) -> Option<String> {
    let path = Path::new(path).canonicalize().ok()?;
    let output = std::process::Command::new("dpkg-query").arg("-S").arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    text.split([':', ',']).next().map(str::to_owned)
}

#[test]
fn what_a_build_reads_is_recorded() {
    let (Some(header), Some(compiler)) = (owner("/usr/include/stdio.h"), owner("/usr/bin/cc")) else {
        return pip_accel_tests::host::skip("no dpkg with a C compiler");
    };
    as_root_and_user(|env| {
        env.lock(&[&project("reader", "").build()]);
        env.realize(&[]).success();
        let provenance = provenance(&env, "reader");
        let found = packages(&provenance["read"]);
        assert!(found.contains(&header) && found.contains(&compiler), "{found:?} {header} {compiler}");
        assert_eq!(provenance["read"]["files"], Value::Null, "every file has a package");

        let line = format!("read of the system: {}", found[0]);
        env.run(["show", "reader"]).success().prints(&line);
        env.run(["log", "reader"]).success().prints(&line);
        let builds = env.run(["log", "reader", "--json"]).success().json();
        assert_eq!(builds["builds"][0]["read"], provenance["read"]);
        env.verify_clean();
    });
}

/// Two stores, one machine: the same inputs, so the same object. What was not read does not count.
#[test]
fn the_same_system_gives_the_same_object() {
    let names = || {
        let env = env();
        env.lock(&[&project("twice", "#include <stdlib.h>").build()]);
        env.realize(&[]).success();
        env.object_names()
    };
    assert_eq!(names(), names());
}

/// Who does not want to be watched is not: nothing is known of the build then, and nothing is said of a machine that can't.
#[test]
fn a_build_is_not_traced_when_nobody_wants_it() {
    let mut env = env();
    env.set("PIP_ACCEL_TRACE", "no");
    env.lock(&[&project("unseen", "").build()]);
    env.realize(&[]).success().says("1 built").never_mentions("traced");
    assert_eq!(provenance(&env, "unseen")["read"], Value::Null);
    env.lock(&[&project("misser", "#include <libnone/none-such.h>").build()]);
    env.realize(&[]).fails_with(exit::BUILD_FAILED);
    env.run(["log", "misser"]).success().prints("none-such.h").never_mentions("pip-accel: missed:");
}

#[test]
fn what_is_looked_for_in_vain_is_evidence() {
    as_root_and_user(|env| {
        env.lock(&[&project("misser", "#include <libnone/none-such.h>").build()]);
        env.realize(&[]).fails_with(exit::BUILD_FAILED);
        let log = env.run(["log", "misser"]).success();
        log.prints("pip-accel: missed: /usr/include/libnone/none-such.h")
            .never_mentions("missed: /usr/include/Python.h");
    });
}

/// E13: a machine without the trace builds, says so once, and what it builds is another realisation of the same recipe.
#[test]
fn a_kernel_that_refuses_is_no_obstacle() {
    as_root_and_user(|env| {
        env.lock(&[&project("plain", "").build(), &project("other", "").build()]);
        // bwrap installs its filter by prctl(2), so only the tracer's seccomp(2) fails.
        let wrapper = env.write(
            "refuse.py",
            "import ctypes, os, platform, struct, sys\n\
             call = {'x86_64': 317, 'aarch64': 277}[platform.machine()]\n\
             code = struct.pack('=' + 'HBBI' * 4, 0x20,0,0,0, 0x15,0,1,call, 6,0,0,0x00050016, 6,0,0,0x7fff0000)\n\
             buffer = ctypes.create_string_buffer(code, len(code))\n\
             libc = ctypes.CDLL(None)\n\
             libc.prctl(38, 1, 0, 0, 0)\n\
             assert libc.prctl(22, 2, struct.pack('@HP', 4, ctypes.addressof(buffer)), 0, 0) == 0\n\
             os.execv(sys.argv[1], sys.argv[1:])\n",
        );
        let untraced = |arguments: &[&str]| {
            let python = env.python().to_owned();
            let mut command = env.program(&python);
            command.arg(&wrapper).arg(env.binary()).args(["realize", "requirements.lock", "--python"]).arg(&python);
            command.args(arguments);
            env.finish(command)
        };
        let output = untraced(&[]).success().says("builds can't be traced here").stderr;
        assert_eq!(output.matches("can't be traced").count(), 1, "{output}");
        assert_eq!(provenance(&env, "plain")["read"], Value::Null);
        env.run(["show", "plain"]).success().prints("read of the system: not known");
        let recipe = provenance(&env, "plain")["recipe"].clone();

        // Somebody who traces takes what is there: nothing is built twice.
        std::fs::remove_dir_all(env.venv()).expect("an environment");
        let before = env.builds();
        env.realize(&[]).success();
        assert_eq!(env.builds(), before);
        assert_eq!(provenance(&env, "plain")["recipe"], recipe);

        // Said once in the life of a store.
        env.lock(&[&project("third", "").build()]);
        untraced(&[]).success().never_mentions("can't be traced");
    });
}

/// A build whose calls are a flood, and one that reads what no package has.
#[test]
fn odd_builds_are_built() {
    let flood = "import os\nlong = 'x' * 250\nfor n in range(90000):\n    os.path.exists('/usr/%s/%d' % (long, n))\n";
    let env = env();
    env.lock(&[&SdistBuilder::simple("flood", "1.0").during_build(flood).build()]);
    env.realize(&[]).success();
    assert_eq!(provenance(&env, "flood")["read"], Value::Null, "it is not known in full");
    env.verify_clean();
}
