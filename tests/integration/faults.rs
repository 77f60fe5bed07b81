//! Each file-system call of an operation fails once. Whatever then happens, nothing is lost and nothing half done stays:
//! the program ends well or says why, the environment is the old or the new one, the store is whole, and the operation
//! succeeds when it is repeated.
//!
//! The calls fail by a small library (`tests/data/faults.c`), compiled here, that is loaded before the C library.

use std::path::{Path, PathBuf};
use std::process::Command;

use pip_accel_tests::{Output, SavedState, TestEnv, host};

use crate::operations::{Operation, When, all};
use crate::support::exit;

/// What a call may fail with, in turn: `EIO`, `ENOSPC`, `EMFILE`, `EINTR`.
const ERRORS: [i32; 4] = [5, 28, 24, 4];

/// How many of an operation's calls fail, spread over all of them; [`THOROUGH`] makes each fail with each error.
const FAILURES: usize = 12;

/// Set for `make torture`.
const THOROUGH: &str = "PIP_ACCEL_TEST_THOROUGH";

/// Operations that leave what they can't do to the next time, and end well.
const LEAVES_THE_REST: [&str; 3] = ["gc", "gc of generations", "optimise"];

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
    operation: &'a Operation,
}

impl Walk<'_> {
    /// Runs the operation with the `at`-th call failing; gives how many calls it made, too.
    fn run(&self, at: usize, error: i32) -> (Output, usize) {
        let report = self.env.base().join("faults.txt");
        let mut command = self.env.command(self.operation.arguments);
        let places = format!("{}:{}", self.env.store().display(), self.env.project().display());
        command.env("LD_PRELOAD", &self.library).env("FAULTS_UNDER", places).env("FAULTS_REPORT", &report);
        command.env("FAULTS_AT", at.to_string()).env("FAULTS_ERRNO", error.to_string());
        let output = self.env.finish(command);
        let text = std::fs::read_to_string(&report).expect("the library reports");
        let calls = text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number of calls");
        (output, calls)
    }

    fn has_succeeded(&self, output: &Output) -> bool {
        [0, self.operation.code].contains(&output.code)
    }

    /// Lets one call fail and looks at the state that this leaves, then once more after the operation was repeated.
    /// Whether the operation failed.
    fn one_failure(&self, at: usize, error: i32) -> bool {
        let (output, _) = self.run(at, error);
        let context = format!("{}: call {at} failed with {error}", self.operation.name);
        assert!(!output.stderr.contains("panicked"), "{context}\n{output:?}");
        if output.code != 0 {
            assert!(output.stderr.contains("error: "), "{context}: no word about it\n{output:?}");
        }
        let is_incomplete = self.operation.name == "rebuild-db" && output.code == exit::STORE_DAMAGED;
        let is_done = output.code == 0 && !LEAVES_THE_REST.contains(&self.operation.name);
        // What can't be read when the database is made anew is left out and named; `check` would collect what it needs.
        if is_incomplete {
            self.env.run(["gc", "--min-age", "0"]).fails_with(exit::STORE_DAMAGED).says("verify --repair");
        } else {
            self.operation.look(self.env, &format!("{context}\n{output:?}"));
            (self.operation.check)(self.env, if is_done { When::Done } else { When::Ended });
        }
        if !is_done {
            let again = self.env.run(self.operation.arguments);
            assert!(self.has_succeeded(&again), "{context}: it does not succeed when repeated\n{again:?}\n{output:?}");
            (self.operation.check)(self.env, When::Done);
        }
        self.operation.look_in_the_end(self.env);
        output.code != 0
    }
}

/// Lets the calls of one operation fail, one in each run.
fn walk(operation: &Operation) {
    let Some(env) = (operation.prepare)() else {
        return host::skip(&format!("{} can't be had here", operation.name));
    };
    let library = match library(&env) {
        Ok(library) => library,
        Err(reason) => return host::skip(&format!("faults.c can't be compiled: {reason}")),
    };
    let walk = Walk { env: &env, library, operation };
    let saved = SavedState::save(&env);
    let (output, calls) = walk.run(0, 0);
    assert!(walk.has_succeeded(&output), "{output:?}");
    assert!(calls > 20, "only {calls} calls were seen: are they intercepted?");
    (operation.check)(&env, When::Done);
    let thorough = host::variable(THOROUGH).is_some();
    let all = calls + MORE_CALLS;
    let stride = if thorough { 1 } else { all.div_ceil(FAILURES) };
    let mut failures = 0;
    for at in (1..all).step_by(stride) {
        // Strides that the number of errors divides would always meet the same one.
        let one = [ERRORS[(at / stride) % ERRORS.len()]];
        for error in if thorough { &ERRORS[..] } else { &one[..] } {
            saved.restore();
            failures += usize::from(walk.one_failure(at, *error));
        }
    }
    assert!(failures > 0, "{}: no failure made it fail: the faults reach nothing", operation.name);
}

/// Lets the calls of those operations fail whose place in the list has this remainder.
fn walk_some(remainder: usize, of: usize) {
    for (position, operation) in all().iter().enumerate() {
        // The calls of builds come from several processes; these have tests of their own.
        if position % of == remainder && operation.name != "a first realize" {
            walk(operation);
        }
    }
}

/// A4, A5, A11, A12, B2: every operation that writes, with its calls failing.
#[test]
fn each_operation_survives_failing_calls_one() {
    walk_some(0, 4);
}

/// A12: the second quarter of them.
#[test]
fn each_operation_survives_failing_calls_two() {
    walk_some(1, 4);
}

/// A12: the third quarter of them.
#[test]
fn each_operation_survives_failing_calls_three() {
    walk_some(2, 4);
}

/// A12: the last quarter of them.
#[test]
fn each_operation_survives_failing_calls_four() {
    walk_some(3, 4);
}
