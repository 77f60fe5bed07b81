//! `[build-system]` of `pyproject.toml` (PEP 517, PEP 518), with the defaults that pip uses.

use std::io;
use std::path::{Component, Path};

use serde::Deserialize;

use super::identity::read_regular;
use crate::system_packages::External;

/// Longest `pyproject.toml` that is read, in bytes; the longest known has about 200 KiB.
pub const PYPROJECT_BYTES_MAX: u64 = 8 << 20;

/// What projects get that name no backend.
pub const LEGACY_BACKEND: &str = "setuptools.build_meta:__legacy__";

/// What projects need that do not say.
pub const DEFAULT_BUILD_REQUIRES: [&str; 1] = ["setuptools>=40.8.0"];

/// How a project is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSystem {
    /// Requirements (PEP 508) that must be there before the backend is loaded.
    pub requires: Vec<String>,
    /// The backend object: `module:object` or `module`.
    pub backend: String,
    /// Folders, relative to the root, from which the backend is loaded; empty unless it is in the tree.
    pub backend_path: Vec<String>,
    /// What it says that it needs besides Python packages (PEP 725).
    pub external: External,
}

/// Why a project does not say how it is built.
#[derive(Debug, thiserror::Error)]
pub enum BuildSystemError {
    /// There is neither `pyproject.toml` nor `setup.py`.
    #[error("it has neither `pyproject.toml` nor `setup.py`")]
    Nothing,
    /// `pyproject.toml` can't be read, or is larger than any real one.
    #[error("`pyproject.toml` can't be read")]
    Read(#[source] io::Error),
    /// Not UTF-8.
    #[error("`pyproject.toml` is not UTF-8")]
    Encoding,
    /// Not TOML, or with values of other types.
    #[error("`pyproject.toml` has no usable `[build-system]`")]
    Syntax(#[source] Box<toml::de::Error>),
    /// `[build-system]` without `requires`.
    #[error("`[build-system]` of `pyproject.toml` has no `requires`")]
    Requires,
    /// The name of the backend is no name of a Python object.
    #[error("`build-backend` is `{0}`, which names no Python object")]
    Backend(String),
    /// `backend-path` without a backend, or outside the project.
    #[error("`backend-path` has `{0}`, which is no folder of the project")]
    BackendPath(String),
}

#[derive(Debug, Deserialize)]
struct PyProject {
    #[serde(rename = "build-system")]
    build_system: Option<Table>,
    // Whatever is wrong with it is no reason not to build.
    external: Option<toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    requires: Option<Vec<String>>,
    build_backend: Option<String>,
    backend_path: Option<Vec<String>>,
}

/// Reads how the project at `root` is built.
///
/// # Errors
/// When it does not say, or says what can't be.
pub fn read_build_system(root: &Path) -> Result<BuildSystem, BuildSystemError> {
    let content = read_regular(&root.join("pyproject.toml"), PYPROJECT_BYTES_MAX).map_err(BuildSystemError::Read)?;
    let mut external = External::default();
    let table = match content {
        None if root.join("setup.py").is_file() => None,
        None => return Err(BuildSystemError::Nothing),
        Some(content) => {
            let text = std::str::from_utf8(&content).map_err(|_| BuildSystemError::Encoding)?;
            let project: PyProject = toml::from_str(text.trim_start_matches('\u{feff}'))
                .map_err(|error| BuildSystemError::Syntax(Box::new(error)))?;
            external = External::of_value(project.external.as_ref());
            project.build_system
        }
    };
    let legacy = |requires, external| BuildSystem {
        requires,
        backend: LEGACY_BACKEND.to_owned(),
        backend_path: Vec::new(),
        external,
    };
    let Some(table) = table else {
        return Ok(legacy(DEFAULT_BUILD_REQUIRES.map(str::to_owned).to_vec(), external));
    };
    let requires = table.requires.ok_or(BuildSystemError::Requires)?;
    let backend_path = table.backend_path.unwrap_or_default();
    let Some(backend) = table.build_backend else {
        return match backend_path.into_iter().next() {
            None => Ok(legacy(requires, external)),
            Some(path) => Err(BuildSystemError::BackendPath(path)),
        };
    };
    check_backend(&backend)?;
    for path in &backend_path {
        check_backend_path(root, path)?;
    }
    Ok(BuildSystem { requires, backend, backend_path, external })
}

fn check_backend(backend: &str) -> Result<(), BuildSystemError> {
    let (module, object) = backend.split_once(':').unwrap_or((backend, "object"));
    let is_name = crate::python::entry_points::is_dotted_name;
    if is_name(module) && is_name(object) { Ok(()) } else { Err(BuildSystemError::Backend(backend.to_owned())) }
}

/// A folder below `root`, also after links are followed.
fn check_backend_path(root: &Path, path: &str) -> Result<(), BuildSystemError> {
    let error = || BuildSystemError::BackendPath(path.to_owned());
    let relative = Path::new(path);
    if path.is_empty() || path.contains('\0') || relative.components().any(|part| matches!(part, Component::RootDir)) {
        return Err(error());
    }
    let root = root.canonicalize().map_err(|_| error())?;
    let folder = root.join(relative).canonicalize().map_err(|_| error())?;
    if folder.starts_with(&root) && folder.is_dir() { Ok(()) } else { Err(error()) }
}
