//! The `pip-accel` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    pip_accel_cli::main_impl()
}
