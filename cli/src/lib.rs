//! The command line of pip-accel: flags in, words out.
//!
//! Every command has four steps: settings, open, one call of a library, render.

pub mod args;
mod command;
mod error;
pub mod exit_code;
mod graph;
mod host;
mod settings;
mod ui;

use std::cell::RefCell;
use std::process::ExitCode;

use clap::Parser;
use pip_accel_builder::sandbox::{SUPERVISE, supervise};

use crate::args::Cli;
use crate::command::Context;
use crate::exit_code::Exit;
use crate::host::Host;
use crate::settings::Settings;
use crate::ui::Ui;

/// Runs the program on the process's own arguments and surroundings.
#[must_use]
pub fn main_impl() -> ExitCode {
    main_at(None)
}

/// The same with a clock that stands at `now` (seconds since 1970): for tests, which can't wait for an object to be old.
/// The installed program has no such switch, since it would take away the time that `gc` spares young objects.
#[must_use]
pub fn main_at(now: Option<i64>) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == SUPERVISE) {
        // A build without a sandbox started this; it is none of the commands.
        return supervise(arguments).into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let host = match Host::read(now) {
        Ok(host) => host,
        Err(error) => {
            let ui = Ui { quiet: 0, verbose: 0, json: false, terminal: false, color: false };
            ui.error(&format!("the working directory can't be read: {error}; change to one that exists"));
            return Exit::Error.into();
        }
    };
    if host.is_root {
        // Root's builds run as another user, who must be able to read what is made for them.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    }
    // Settings that can't be read are the failure of the commands that need them.
    let settings = Settings::read(&host, cli.global.config.as_deref()).ok();
    let ui = Ui::new(&cli.global, &host, settings.as_ref().map_or(0, Settings::verbosity));
    start_tracing(ui.verbose);
    let context = Context { ui, host, global: &cli.global, settings, told: RefCell::default() };
    match command::run(&context, &cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.show(&ui);
            failure.exit.into()
        }
    }
}

fn start_tracing(verbose: u8) {
    if verbose >= 2 {
        let level = if verbose == 2 { "pip_accel=debug" } else { "pip_accel=trace,info" };
        let filter = format!(
            "{level},pip_accel_store={l},pip_accel_builder={l}",
            l = if verbose == 2 { "debug" } else { "trace" }
        );
        drop(
            tracing_subscriber::fmt()
                .with_writer(std::io::stderr)
                .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
                .try_init(),
        );
    }
}
