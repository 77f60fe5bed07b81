//! The program under test, built by this package so that cargo always builds it before the tests and hands them its path.

fn main() -> std::process::ExitCode {
    pip_accel_cli::main_impl()
}
