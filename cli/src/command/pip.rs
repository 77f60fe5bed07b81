//! Every command of pip that is not ours: the target's own pip, in the place of this process.
//!
//! An environment without pip is served by the wheel of pip that its interpreter's `ensurepip`, or Debian for it, carries.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pip_accel_builder::python::interpreter::query;

use super::Context;
use super::target::Target;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Becomes pip; comes back only when that is not possible.
pub(crate) fn run(context: &Context<'_>, python: Option<&OsStr>, words: &[OsString]) -> Failure {
    match command(context, python) {
        Ok(mut command) => {
            let error = command.args(words).exec();
            let program = command.get_program().to_string_lossy().into_owned();
            Failure::new(Exit::Error, format!("`{program}` can't be started: {error}"))
                .hint("name another interpreter: --python PATH; pip-accel doctor lists them")
        }
        Err(failure) => failure,
    }
}

fn command(context: &Context<'_>, python: Option<&OsStr>) -> Result<Command, Failure> {
    let named = python.map(|python| python.to_string_lossy().into_owned());
    let named = match named {
        Some(named) => Some(named),
        None => context.settings()?.text("python").map(str::to_owned),
    };
    let target = Target::find(context, named.as_deref())?;
    let mut command = Command::new(&target.python);
    if has_pip(&target) {
        command.args(["-m", "pip"]);
    } else {
        command.arg(bundled(&target.python)?);
    }
    Ok(command)
}

/// Whether the target has a pip of its own. A virtualenv is only looked at; another interpreter has to be asked.
fn has_pip(target: &Target) -> bool {
    let in_virtualenv = target.site_packages().is_some_and(|folder| folder.join("pip/__main__.py").is_file());
    if in_virtualenv || target.virtualenv.is_some() && !sees_system(target) {
        return in_virtualenv;
    }
    let mut asked = Command::new(&target.python);
    asked.args(["-c", "import pip"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// Whether a virtualenv shows the packages of its base.
fn sees_system(target: &Target) -> bool {
    let file = target.virtualenv.as_ref().map(|root| root.join("pyvenv.cfg"));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .any(|(key, value)| key.trim() == "include-system-site-packages" && value.trim().eq_ignore_ascii_case("true"))
}

/// The folder in pip's wheel that runs it: a zip file is a directory of modules to Python.
fn bundled(python: &Path) -> Result<PathBuf, Failure> {
    let wheel = query(python)?.ensurepip_wheel.ok_or_else(|| {
        Failure::new(Exit::Error, format!("`{}` has no pip, and its interpreter carries none", python.display()))
            .hint("install pip into it: pip-accel install pip; or on Debian: sudo apt-get install python3-pip-whl")
    })?;
    Ok(wheel.join("pip"))
}
