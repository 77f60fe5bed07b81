//! What the file trace of a build is evidence of: of a failure whose log says nothing.

use pip_accel_tests::SdistBuilder;

use crate::rounds::Machine;
use crate::support::{as_root_and_user, env, exit};

/// Code of a build that compiles these lines without showing what the compiler says.
fn quiet(lines: &str, after: &str) -> String {
    format!(
        "import subprocess, sys\n\
         compiled = subprocess.run(['cc', '-E', '-x', 'c++', '-'], input=b'''{lines}\n''', capture_output=True)\n{after}\n"
    )
}

/// A configure script that says only that it failed: the header is what the compiler looked for and nothing has.
#[test]
fn a_failure_without_words_is_explained_by_the_trace() {
    as_root_and_user(|env| {
        let Some(machine) = Machine::new(env) else { return };
        let code = quiet(
            &format!("#include <stdio.h>\n#include <{}/one.h>", machine.folder),
            "if compiled.returncode:\n    sys.exit('failed')",
        );
        machine.lock(&[&SdistBuilder::simple("silent", "1.0").during_build(&code).build()]);
        let output = machine.env.realize(&[]).fails_with(exit::PACKAGE_MISSING).explains();
        output
            .says(&format!("missing header {0}/one.h: the build looked for /usr/include/{0}/one.h", machine.folder))
            .says("apt-get install libone-dev");
        machine.env.realize(&["--system-packages", "install"]).success();
        assert_eq!(machine.calls(), [Machine::call("libone-dev")]);
    });
}

/// What was missed and did no harm is proposed to nobody: what is found in another folder, what compilers' own headers and
/// version control ask for, and all of it when the log says what is wrong.
#[test]
fn harmless_misses_propose_nothing() {
    let Some(machine) = Machine::new(env()) else { return };
    let machine = machine.with_index(&[("stdio.h", "libodd-dev")]);
    let install = ["--system-packages", "install"];
    let harmless = quiet("#include <stdio.h>\n#if __has_include(<tbb/tbb.h>)\n#endif", "sys.exit('failed')");
    machine.lock(&[&SdistBuilder::simple("harmless", "1.0").during_build(&harmless).build()]);
    machine.env.realize(&install).fails_with(exit::BUILD_FAILED).never_mentions("apt-get");
    let probe = format!("#if __has_include(<{}/one.h>)\n#endif", machine.folder);
    let told = quiet(&probe, "None.attribute");
    machine.lock(&[&SdistBuilder::simple("told", "1.0").during_build(&told).build()]);
    machine.env.realize(&install).fails_with(exit::BUILD_FAILED).never_mentions("apt-get");
    assert!(machine.calls().is_empty());
}
