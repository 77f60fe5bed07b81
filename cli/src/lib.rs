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
mod spoken;
mod ui;

use std::cell::RefCell;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use pip_accel_builder::sandbox::{SUPERVISE, supervise};

use crate::args::Cli;
use crate::command::Context;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::host::Host;
use crate::settings::Settings;
use crate::spoken::Spoken;
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
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == SUPERVISE) {
        // A build without a sandbox started this; it is none of the commands.
        return supervise(arguments.into_iter().skip(1)).into();
    }
    let spoken = Spoken::of(&arguments);
    let cli = match spoken {
        // As a command without its arguments, for what all commands have.
        Spoken::Pip { .. } | Spoken::Install(_) => Ok(Cli::bare()),
        Spoken::Nothing => {
            drop(Cli::command().print_help());
            return Exit::Done.into();
        }
        Spoken::InstallHelp => {
            Ui::plain().text(&args::install::help());
            return Exit::Done.into();
        }
        Spoken::Ours => Cli::try_parse(),
    };
    let mut cli = match cli {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let install = match spoken {
        Spoken::Install(ref words) => match command::install::read(words, &mut cli.global) {
            Ok(Some(words)) => Some(words),
            Ok(None) => return Exit::Done.into(),
            Err(failure) => return fail(&failure, &Ui::plain()),
        },
        _ => None,
    };
    let host = match Host::read(now) {
        Ok(host) => host,
        Err(error) => {
            Ui::plain().error(&format!("the working directory can't be read: {error}; change to one that exists"));
            return Exit::Error.into();
        }
    };
    if host.is_root && !matches!(spoken, Spoken::Pip { .. }) {
        // Root's builds run as another user, who must be able to read what is made for them.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    }
    // Settings that can't be read are the failure of the commands that need them.
    let settings = Settings::read(&host, cli.global.config.as_deref()).ok();
    let ui = Ui::new(&cli.global, &host, settings.as_ref().map_or(0, Settings::verbosity));
    start_tracing(ui.verbose);
    let context = Context { ui, host, global: &cli.global, settings, told: RefCell::default() };
    if let Spoken::Pip { python, words } = &spoken {
        return fail(&command::pip::run(&context, python.as_deref(), words), &ui);
    }
    let done = match &install {
        Some(words) => command::install::run(&context, words),
        None => command::run(&context, &cli.command),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure, &ui),
    }
}

fn fail(failure: &Failure, ui: &Ui) -> ExitCode {
    failure.show(ui);
    failure.exit.into()
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
