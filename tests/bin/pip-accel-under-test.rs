//! The program under test, built by this package so that cargo always builds it before the tests and hands them its path.
//! It is the installed program with a clock that tests can set.

#[expect(clippy::disallowed_methods, reason = "the installed program must not have this variable")]
fn main() -> std::process::ExitCode {
    let now = std::env::var("PIP_ACCEL_TEST_NOW").ok().and_then(|text| text.parse().ok());
    pip_accel_cli::main_at(now)
}
