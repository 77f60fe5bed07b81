//! Into the folders of an interpreter, or any others: files are copied there as every installer does, for want of a
//! virtualenv that could be swapped in as a whole. `contents` says which files a package has, `journal` lets all be as
//! it was when something fails, and `folder` is pip's `--target`.

mod contents;
mod folder;
mod journal;
mod write;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::InstallError;
use crate::python::interpreter::{Script, run_script};

pub use folder::{FolderReport, install_into_folder};
pub(super) use write::parts;
pub use write::{SchemeReport, SchemeRequest, install_into_scheme};

/// Which folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemeKind {
    /// The interpreter's own.
    Default,
    /// The user's own.
    User,
    /// Those of another prefix.
    Prefix(PathBuf),
}

/// Where the parts of a wheel go; all absolute.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Scheme {
    /// Modules that are the same on every machine.
    pub purelib: PathBuf,
    /// Modules that are not.
    pub platlib: PathBuf,
    /// Programs.
    pub scripts: PathBuf,
    /// The folder of the folders of headers.
    pub headers: PathBuf,
    /// Everything else.
    pub data: PathBuf,
    /// The interpreter, as scripts name it.
    pub executable: PathBuf,
    /// Folders that the interpreter searches for modules.
    pub searched: Vec<PathBuf>,
    /// The user's own folder of modules.
    pub user_site: PathBuf,
    /// Whether it is searched.
    pub has_user_site: bool,
    /// Whether the interpreter is a virtualenv's.
    pub is_virtual: bool,
    /// The note of the system's package manager that it looks after this interpreter (PEP 668), if there is one.
    pub managed: Option<PathBuf>,
}

const SCRIPT: &str = include_str!("../scheme.py");

impl Scheme {
    /// Asks `python`, and puts all below `root` if there is one. Costs a start of Python.
    ///
    /// # Errors
    /// It gives no answer.
    pub fn query(python: &Path, kind: &SchemeKind, root: Option<&Path>) -> Result<Self, InstallError> {
        let (word, value) = match kind {
            SchemeKind::Default => ("default", ""),
            SchemeKind::User => ("user", ""),
            SchemeKind::Prefix(path) => ("prefix", path.to_str().unwrap_or_default()),
        };
        let script = Script { options: &[], text: SCRIPT, arguments: &[word, value] };
        let answer =
            run_script(python, script).map_err(|source| InstallError::Scheme { path: python.to_owned(), source })?;
        let mut scheme: Self = serde_json::from_str(&answer)
            .map_err(|source| InstallError::SchemeAnswer { path: python.to_owned(), source })?;
        if let Some(root) = root {
            for path in
                [&mut scheme.purelib, &mut scheme.platlib, &mut scheme.scripts, &mut scheme.headers, &mut scheme.data]
            {
                *path = root.join(path.strip_prefix("/").unwrap_or(path));
            }
        }
        Ok(scheme)
    }

    /// Whether modules can be put where they go.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        [&self.purelib, &self.platlib].iter().all(|folder| {
            let existing = folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
            nix::unistd::eaccess(existing, nix::unistd::AccessFlags::W_OK).is_ok()
        })
    }

    /// The folders of modules, each once.
    #[must_use]
    pub fn libraries(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.purelib.clone()];
        if self.platlib != self.purelib {
            folders.push(self.platlib.clone());
        }
        folders
    }
}
