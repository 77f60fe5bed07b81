//! Whether what was built before fits the system as it is now (scenario E13), and what builds do without.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pip_accel_tests::{BuiltFile, SdistBuilder, skip};

use crate::rounds::Machine;
use crate::support::{env, exit};

/// A library of the machine that is gone with it.
struct Library {
    folder: PathBuf,
}

impl Drop for Library {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Library {
    /// `None` where nobody may write to `/usr/local`, or there is no compiler.
    fn new(name: &str) -> Option<Self> {
        let library = Self { folder: PathBuf::from("/usr/local/lib").join(name) };
        if fs::create_dir_all(&library.folder).is_err() || !library.make() {
            skip("/usr/local/lib can't be written, or there is no C compiler");
            return None;
        }
        Some(library)
    }

    fn make(&self) -> bool {
        let source = self.folder.join("x.c");
        fs::write(&source, "int pip_accel_test(void) { return 42; }\n").expect("the test's own");
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(self.file()).arg(source).status();
        made.is_ok_and(|status| status.success())
    }

    fn file(&self) -> PathBuf {
        self.folder.join("libpipacceltest.so")
    }

    /// A project that is linked with it.
    fn sdist(&self) -> BuiltFile {
        let source = "#include <Python.h>\nint pip_accel_test(void);\n\
                      static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, \"_c\"};\n\
                      PyMODINIT_FUNC PyInit__c(void) { return pip_accel_test() == 42 ? PyModule_Create(&module) : NULL; }\n";
        let folder = self.folder.display();
        let flags = format!(
            "import os\nos.environ['LDFLAGS'] = '-L{folder} -lpipacceltest -Wl,--no-as-needed,-rpath,{folder}'\n"
        );
        SdistBuilder::simple("linked", "1.0").c_extension("linked._c", source).during_build(&flags).build()
    }
}

/// A build whose library went is not used: it is built anew, or its failure is explained; what stood before stands.
#[test]
fn a_build_without_its_library_is_built_anew() {
    let Some(machine) = Machine::new(env()) else { return };
    let env = &machine.env;
    let Some(library) = Library::new(&machine.folder) else { return };
    env.lock(&[&library.sdist()]);
    env.realize(&[]).success();
    // The flags come before the object on some command lines: then nothing is linked.
    if env.python_code("import linked._c").code != 0 {
        return skip("this setuptools does not link as the test wants it");
    }
    env.realize(&[]).success().says("nothing to do");
    let builds = env.builds();
    fs::remove_file(library.file()).unwrap();
    let output = env.realize(&[]).fails_with(exit::BUILD_FAILED).explains();
    output.says("linked==1.0 is built anew: the library").says("is gone");
    assert_eq!(env.builds(), builds + 1);
    assert!(library.make());
    env.realize(&[]).success();
    assert_eq!(env.builds(), builds + 1, "it fits again");
    env.python_code("import linked._c").success();
    env.verify_clean();
}

/// `compatible` takes what can run; `exact` wants what it was built on to be as it was.
#[test]
fn exact_builds_anew_what_compatible_takes() {
    let Some(mut machine) = Machine::new(env()) else { return };
    let header = machine.include().join("own.h");
    fs::write(&header, "#define OWN 1\n").unwrap();
    machine.lock(&[&machine.sdist("package", &["own"])]);
    let env = &machine.env;
    env.realize(&["--system-inputs", "exact"]).success();
    env.realize(&["--system-inputs", "exact"]).success().says("nothing to do");
    let builds = env.builds();
    fs::write(&header, "#define OWN 2\n").unwrap();
    env.realize(&[]).success().says("nothing to do");
    fs::remove_dir_all(env.venv()).unwrap();
    env.realize(&[]).success().says("1 from the store");
    assert_eq!(env.builds(), builds);
    let output = env.realize(&["--system-inputs", "exact"]).success();
    output.says("package==1.0 is built anew: `/usr/local/include/").says("another one now").says("1 built");
    assert_eq!(env.builds(), builds + 1);
    machine.env.set("PIP_ACCEL_SYSTEM_INPUTS", "exact");
    machine.env.realize(&[]).success().says("nothing to do");
    machine.env.set("PIP_ACCEL_SYSTEM_INPUTS", "other");
    machine.env.realize(&[]).fails_with(exit::USAGE).explains();
    // Of two that fit, the one that was built on what is here.
    machine.env.unset("PIP_ACCEL_SYSTEM_INPUTS");
    fs::remove_dir_all(machine.env.venv()).unwrap();
    machine.env.realize(&[]).success();
    assert_eq!(machine.env.builds(), builds + 1);
    machine.env.verify_clean();
}

/// What a build did without is said when it is built, and kept; who takes it from the store hears nothing.
#[test]
fn what_a_build_did_without_is_said_once() {
    let Some(machine) = Machine::new(env()) else { return };
    let env = &machine.env;
    let probe = format!(
        "import subprocess\nsubprocess.run(['cc', '-E', '-x', 'c', '-', '-o', '/dev/null'], input=b'#include <{}/one.h>\\n')\n\
         import os\nos.path.exists('/usr/include/maxminddb.h')\n",
        machine.folder
    );
    // Project and header are in the table of those that are known.
    env.lock(&[&SdistBuilder::simple("maxminddb", "1.0").during_build(&probe).build()]);
    let without = "built without libone: install libone-dev and rebuild";
    let known = "built without libmaxminddb: install libmaxminddb-dev and rebuild for the C reader";
    let output = env.realize(&[]).success().says(without);
    let is_known = !std::path::Path::new("/usr/include/maxminddb.h").exists();
    if is_known {
        output.says(known);
        env.run(["show", "maxminddb"]).success().prints(known);
    }
    env.run(["show", "maxminddb"]).success().prints(without);
    env.run(["log", "maxminddb"]).success().prints(without);
    env.run(["log", "maxminddb", "--list"]).success().prints(without);
    fs::remove_dir_all(env.venv()).unwrap();
    env.realize(&[]).success().never_mentions("built without");
    env.verify_clean();
}
