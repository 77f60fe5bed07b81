//! What several modules of this binary share: the program's path and the two identities it runs under.

use pip_accel_tests::{BuiltFile, LockWriter, TestEnv};

/// The program, built together with these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_pip-accel-under-test");

/// The documented exit codes.
pub(crate) mod exit {
    /// An error of the environment, the index or the store.
    pub(crate) const ERROR: i32 = 1;
    /// The command line is wrong.
    pub(crate) const USAGE: i32 = 2;
    /// Unpinned, unhashed, or no file that matches.
    pub(crate) const LOCK_REFUSED: i32 = 3;
    /// A build failed.
    pub(crate) const BUILD_FAILED: i32 = 4;
    /// A package of the system is missing and was not granted.
    pub(crate) const PACKAGE_MISSING: i32 = 5;
    /// Offline and not in the store.
    pub(crate) const OFFLINE: i32 = 6;
    /// `verify` found something.
    pub(crate) const STORE_DAMAGED: i32 = 8;
    /// No sandbox is possible.
    pub(crate) const NO_SANDBOX: i32 = 9;
    /// `^C` or SIGTERM.
    pub(crate) const INTERRUPTED: i32 = 130;
}

/// A world of its own, as whoever runs the tests.
pub(crate) fn env() -> TestEnv {
    TestEnv::new(BINARY)
}

/// The same, with this in all its paths.
pub(crate) fn env_in(directory: &str) -> TestEnv {
    TestEnv::in_directory(BINARY, directory)
}

/// The same, unprivileged; `None` when that can't be had here.
pub(crate) fn user_env() -> Option<TestEnv> {
    TestEnv::as_user(BINARY)
}

/// Runs a test as whoever runs the tests and, when that is root, as an unprivileged user too.
pub(crate) fn as_root_and_user(test: impl Fn(TestEnv)) {
    if pip_accel_tests::host::is_root() {
        test(env());
    }
    if let Some(env) = user_env() {
        test(env);
    }
}

/// A lock of these files, which are put where it finds them.
pub(crate) fn lock_of(env: &TestEnv, files: &[&BuiltFile]) -> LockWriter {
    files.iter().fold(LockWriter::offline(), |lock, file| {
        env.add(file);
        lock.pin(file)
    })
}
