//! Each file-system call of an operation fails once. Whatever then happens, nothing is lost and nothing half done stays:
//! the program ends well or says why, the environment is the old or the new one, the store is whole, and the operation
//! succeeds when it is repeated.
//!
//! The calls fail by a small library (`tests/data/faults.c`), compiled here, that is loaded before the C library.

use std::path::{Path, PathBuf};
use std::process::Command;

use pip_accel_tests::{Output, TestEnv, WheelBuilder};

use crate::support::{env, lock_of};

/// What a call may fail with, in turn: `EIO`, `ENOSPC`, `EMFILE`, `EINTR`.
const ERRORS: [i32; 4] = [5, 28, 24, 4];

/// Every so many calls one fails; [`THOROUGH`] makes each fail with each error.
const STRIDE: usize = 5;

/// Set for `make torture`.
const THOROUGH: &str = "PIP_ACCEL_TEST_THOROUGH";

/// Calls beyond those that an undisturbed run makes: a failure may lead to more.
const MORE_CALLS: usize = 20;

/// The compiled library, or why there is none.
fn library(env: &TestEnv) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/faults.c");
    let library = env.base().join("faults.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    match compiler.output() {
        Ok(output) if output.status.success() => Ok(library),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("no C compiler: {error}")),
    }
}

/// An operation under test.
struct Walk<'a> {
    env: &'a TestEnv,
    library: PathBuf,
    /// The state before the operation, put back before each run.
    before: PathBuf,
    arguments: &'a [&'a str],
}

impl<'a> Walk<'a> {
    /// Keeps the present state as that before the operation; `None` when calls can't be made to fail here.
    fn new(env: &'a TestEnv, arguments: &'a [&'a str]) -> Option<Self> {
        let library = match library(env) {
            Ok(library) => library,
            Err(reason) => {
                pip_accel_tests::skip(&format!("faults.c can't be compiled: {reason}"));
                return None;
            }
        };
        let walk = Self { env, library, before: env.base().join("before"), arguments };
        walk.shell("mkdir \"$before\"; cp -a \"$store\" \"$before/store\"; cp -a \"$project\" \"$before/project\"");
        Some(walk)
    }

    fn shell(&self, script: &str) {
        let mut shell = Command::new("bash");
        shell.args(["-euc", script]).env("before", &self.before);
        shell.env("store", self.env.store()).env("project", self.env.project());
        let output = shell.output().expect("bash runs");
        assert!(output.status.success(), "{script}: {output:?}");
    }

    fn restore(&self) {
        self.shell(
            "chmod -R u+w \"$store\" 2>/dev/null || true\n\
             rm -rf \"$store\" \"$project\"\ncp -a \"$before/store\" \"$store\"\ncp -a \"$before/project\" \"$project\"",
        );
    }

    /// Runs the operation with the `at`-th call failing; gives how many calls it made, too.
    fn run(&self, at: usize, error: i32) -> (Output, usize) {
        let report = self.env.base().join("faults.txt");
        let mut command = self.env.command(self.arguments);
        let places = format!("{}:{}", self.env.store().display(), self.env.project().display());
        command.env("LD_PRELOAD", &self.library).env("FAULTS_UNDER", places).env("FAULTS_REPORT", &report);
        command.env("FAULTS_AT", at.to_string()).env("FAULTS_ERRNO", error.to_string());
        let output = self.env.finish(command);
        let text = std::fs::read_to_string(&report).expect("the library reports");
        let calls = text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number of calls");
        (output, calls)
    }

    /// Lets one call after the other fail and calls `check` with the state that this leaves, then once more after the
    /// operation was repeated.
    fn each_failure(&self, check: impl Fn(&TestEnv, When)) {
        let (output, calls) = self.run(0, 0);
        output.success();
        assert!(calls > 20, "only {calls} calls were seen: are they intercepted?");
        check(self.env, When::Repeated);
        let thorough = pip_accel_tests::host::variable(THOROUGH).is_some();
        let mut failures = 0;
        for at in (1..calls + MORE_CALLS).step_by(if thorough { 1 } else { STRIDE }) {
            let errors = if thorough { &ERRORS[..] } else { std::slice::from_ref(&ERRORS[at % ERRORS.len()]) };
            for error in errors {
                self.restore();
                let (output, _) = self.run(at, *error);
                let context = format!("call {at} failed with {error}");
                assert!(!output.stderr.contains("panicked"), "{context}\n{output:?}");
                if output.code != 0 {
                    failures += 1;
                    assert!(output.stderr.contains("error: "), "{context}: no word about it\n{output:?}");
                }
                let verified = self.env.run(["verify"]);
                assert_eq!(verified.code, 0, "{context}: the store is damaged\n{verified:?}\n{output:?}");
                check(self.env, if output.code == 0 { When::Repeated } else { When::Failed });
                let again = self.env.run(self.arguments);
                assert_eq!(again.code, 0, "{context}: it does not succeed when repeated\n{again:?}\n{output:?}");
                check(self.env, When::Repeated);
                self.env.verify_clean();
            }
        }
        assert!(failures > 0, "no failure made the operation fail: the faults reach nothing");
    }
}

/// What the state is to be judged as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// The operation has failed.
    Failed,
    /// It has succeeded, at once or when repeated.
    Repeated,
}

/// A4, A5, A12: any call of a run that fetches, publishes, and swaps an environment.
#[test]
fn realize_survives_each_failing_call() {
    let env = env();
    let wheel = |version: &str| {
        WheelBuilder::simple("swap", version).file("swap/part.py", format!("VALUE = '{version}'\n")).build()
    };
    env.lock(&[&wheel("1.0")]);
    env.realize(&[]).success();
    env.lock(&[&wheel("2.0"), &WheelBuilder::simple("other", "1.0").build()]);
    let Some(walk) = Walk::new(&env, &["realize", "requirements.lock"]) else { return };
    walk.each_failure(|env, when| {
        let versions = env.evaluate("import swap, swap.part", "swap.__version__, swap.part.VALUE");
        match when {
            When::Failed => assert!(["1.0 1.0", "2.0 2.0"].contains(&versions.as_str()), "{versions}"),
            When::Repeated => assert_eq!(versions, "2.0 2.0"),
        }
    });
}

/// B2, A12: any call of a collection: what an environment needs stays, the dead are gone in the end.
#[test]
fn gc_survives_each_failing_call() {
    let env = env();
    let (kept, dead) = (WheelBuilder::simple("kept", "1.0").build(), WheelBuilder::simple("dead", "1.0").build());
    env.write("dead.lock", lock_of(&env, &[&dead]).text());
    env.run(["realize", "dead.lock", "--venv", "doomed"]).success();
    env.lock(&[&kept]);
    env.realize(&[]).success();
    std::fs::remove_dir_all(env.project().join("doomed")).expect("it is there");
    let Some(walk) = Walk::new(&env, &["gc", "--min-age", "0"]) else { return };
    walk.each_failure(|env, when| {
        env.python_code("import kept").success();
        let is_there = |name: &str| env.object_names().iter().any(|object| object.contains(name));
        assert!(is_there("-kept-1.0"));
        if when == When::Repeated {
            assert!(!is_there("-dead-1.0"), "{:?}", env.object_names());
        }
    });
}
