//! The interpreter that `install` and the commands of pip are for: named, else the active virtualenv, else `./.venv`,
//! else `python3`.

use std::path::{Path, PathBuf};

use pip_accel_builder::python::interpreter::find;

use super::Context;
use super::session::search_path;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Where a command works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The interpreter: the virtualenv's own, or one of the machine.
    pub(super) python: PathBuf,
    /// The virtualenv's directory, if it is one.
    pub(super) virtualenv: Option<PathBuf>,
}

impl Target {
    /// Finds it. `named` is what `--python` or a setting says: it wins whatever virtualenv is active.
    ///
    /// # Errors
    /// There is no such interpreter, or the active virtualenv is gone.
    pub(super) fn find(context: &Context<'_>, named: Option<&str>) -> Result<Self, Failure> {
        let host = &context.host;
        if let Some(named) = named {
            let path = host.absolute(Path::new(named));
            if let Some(target) = Self::virtualenv_at(&path) {
                return Ok(target);
            }
            if path.join("pyvenv.cfg").is_file() {
                return Err(without_interpreter(&path));
            }
            return Ok(Self { python: find(Some(named), &search_path(host))?, virtualenv: None });
        }
        if let Some(active) = host.variable("VIRTUAL_ENV") {
            let path = host.absolute(Path::new(&active));
            return Self::virtualenv_at(&path).ok_or_else(|| {
                let text = format!("VIRTUAL_ENV is `{active}`, and there is no virtualenv");
                Failure::new(Exit::Error, text).hint("deactivate it (`unset VIRTUAL_ENV`), or name one: --python DIR")
            });
        }
        if let Some(target) = Self::virtualenv_at(&host.absolute(Path::new(".venv"))) {
            return Ok(target);
        }
        let path = find(None, &search_path(host))?;
        // The first on PATH, as a shell finds it: that of a virtualenv whose `bin` is there without being active.
        let on_path = ["python3", "python"].iter().find_map(|name| host.program(name));
        let inside = on_path.as_deref().and_then(Self::virtualenv_at);
        Ok(inside.unwrap_or(Self { python: path, virtualenv: None }))
    }

    /// The virtualenv at `path`: its directory, or the interpreter in it.
    fn virtualenv_at(path: &Path) -> Option<Self> {
        let root = match path.is_dir() {
            true => path,
            false => path.parent()?.parent()?,
        };
        if !root.join("pyvenv.cfg").is_file() {
            return None;
        }
        let python = if path.is_dir() { program_of(root)? } else { path.to_owned() };
        Some(Self { python, virtualenv: Some(root.to_owned()) })
    }

    /// Where packages of a virtualenv are.
    pub(super) fn site_packages(&self) -> Option<PathBuf> {
        let library = self.virtualenv.as_ref()?.join("lib");
        let mut folders: Vec<PathBuf> = std::fs::read_dir(library).ok()?.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        folders.into_iter().map(|folder| folder.join("site-packages")).find(|folder| folder.is_dir())
    }
}

fn without_interpreter(path: &Path) -> Failure {
    Failure::new(Exit::Error, format!("the virtualenv `{}` has no interpreter", path.display()))
        .hint("make it anew: python3 -m venv DIR")
}

fn program_of(root: &Path) -> Option<PathBuf> {
    let names = ["python", "python3", "pypy3", "pypy"];
    names.iter().map(|name| root.join("bin").join(name)).find(|path| path.is_file())
}
