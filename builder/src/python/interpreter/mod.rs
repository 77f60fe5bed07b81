//! Interpreters: what one is ([`query`]), remembered ([`query_remembered`]), found ([`find`]), supported.

mod base;
mod cache;
mod discovery;
mod libc;
mod run;
mod shown;
mod support;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::interpreter::{Implementation, Interpreter, MarkerVariables, PythonVersion};
use serde::{Deserialize, Serialize};

pub(in crate::python) use cache::stamp_key;
pub use cache::{INTERPRETER_NAMESPACE, Memo, MemoGet, MemoPut, query_remembered};
pub use discovery::{FindError, Found, SearchPath, find, list};
pub use run::{SCRIPT_OUTPUT_BYTES_MAX, SCRIPT_TIME_MAX, ScriptError};
pub(crate) use run::{Script, run_script};
pub use support::{Unsupported, supports_environments};

/// Why an interpreter can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// There is no such file.
    #[error("there is no interpreter at {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Why it can't be opened.
        source: io::Error,
    },
    /// A virtualenv whose base interpreter was removed.
    #[error("the virtualenv of {} was made from {}, which is gone; make it anew", executable.display(), base.display())]
    BaseGone {
        /// The virtualenv's `python`.
        executable: PathBuf,
        /// The folder or file it names as its base.
        base: PathBuf,
    },
    /// It did not answer.
    #[error("the interpreter {} can't be asked", path.display())]
    Script {
        /// The interpreter.
        path: PathBuf,
        /// What happened.
        source: ScriptError,
    },
    /// It answered something else: no Python, or one whose paths are not UTF-8.
    #[error("{} does not answer as a Python interpreter", path.display())]
    Answer {
        /// The interpreter.
        path: PathBuf,
        /// What can't be read.
        source: serde_json::Error,
    },
    /// Its C library is neither glibc nor musl, or says no version.
    #[error("the C library of {} is neither glibc nor musl, or can't be told", path.display())]
    Libc {
        /// The interpreter.
        path: PathBuf,
    },
    /// It is not supported.
    #[error("the interpreter {} can't be used", path.display())]
    Unsupported {
        /// The interpreter.
        path: PathBuf,
        /// Why.
        source: Unsupported,
    },
}

/// One file of the interpreter's `venv/scripts`, placeholders such as `__VENV_DIR__` not replaced.
///
/// Interpreters quote differently: up to 2024 the templates hold `"__VENV_DIR__"` with quotes of their own, newer ones
/// the bare placeholder, to be replaced by a quoted text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationTemplate {
    /// `activate`, `activate.fish` …
    pub file_name: String,
    /// Its text.
    pub text: String,
}

/// A Python on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonInstallation {
    /// The base interpreter: absolute, links resolved, never that of a virtualenv.
    pub executable: PathBuf,
    /// Its `sys.base_prefix`.
    pub prefix: PathBuf,
    /// The folders of its library and headers, and its shared library; may not exist.
    own_paths: Vec<PathBuf>,
    /// `sys.base_prefix` and `sys.base_exec_prefix`.
    prefixes: Vec<PathBuf>,
    /// What it is, without paths.
    pub interpreter: Interpreter,
    /// Templates of the activation scripts: its own, or ours if it has none (Python 2.7).
    pub activation_templates: Vec<ActivationTemplate>,
    /// The wheel of pip that `ensurepip` (or Debian for it) carries.
    pub ensurepip_wheel: Option<PathBuf>,
    /// Whether it is Debian's own, with `dist-packages` and without `ensurepip` unless installed.
    pub is_debian: bool,
}

/// What `query.py` prints.
#[derive(Debug, Deserialize)]
struct Answer {
    implementation: String,
    version: [u8; 3],
    full_version: String,
    implementation_version: [u8; 3],
    soabi: Option<String>,
    abi_flags: String,
    platform: String,
    pointer_bits: u8,
    glibc: Option<String>,
    bytecode: [String; 2],
    markers: MarkerVariables,
    compile_settings: std::collections::BTreeMap<String, String>,
    site_packages: String,
    executable: PathBuf,
    prefix: PathBuf,
    exec_prefix: PathBuf,
    paths: Vec<PathBuf>,
    activation_templates: Vec<ActivationTemplate>,
    pip_wheel: Option<PathBuf>,
    is_debian: bool,
}

/// Without the user's packages and `.pth` files, which may run anything; `-I` is not known to Python 2.7.
const QUERY_OPTIONS: [&str; 3] = ["-E", "-s", "-S"];

const QUERY_SCRIPT: &str = include_str!("query.py");

/// Asks the interpreter at `path` (or the base of the virtualenv it belongs to) what it is. Costs a start of Python.
///
/// # Errors
/// There is none, it does not answer, or it is not supported.
pub fn query(path: &Path) -> Result<PythonInstallation, InterpreterError> {
    let executable = base::base_executable(path)?;
    let script = Script { options: &QUERY_OPTIONS, text: QUERY_SCRIPT, arguments: &[] };
    let answer = run_script(&executable, script)
        .map_err(|source| InterpreterError::Script { path: executable.clone(), source })?;
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|source| InterpreterError::Answer { path: executable.clone(), source })?;
    installation(executable, answer)
}

fn installation(executable: PathBuf, answer: Answer) -> Result<PythonInstallation, InterpreterError> {
    let unsupported = |path: &Path, source| InterpreterError::Unsupported { path: path.to_owned(), source };
    let implementation = match answer.implementation.as_str() {
        "cpython" => Implementation::CPython,
        "pypy" => Implementation::PyPy,
        other => {
            let source = Unsupported::Implementation { implementation: other.to_owned() };
            return Err(unsupported(&executable, source));
        }
    };
    // A wrapper script leads to the program that really runs.
    let executable = std::fs::canonicalize(&answer.executable).unwrap_or(executable);
    let libc = answer.glibc.as_deref().and_then(libc::parse_glibc).or_else(|| libc::musl_of(&executable));
    let libc = libc.ok_or_else(|| InterpreterError::Libc { path: executable.clone() })?;
    let machine = machine(&answer.platform, answer.pointer_bits);
    let [cache_tag, magic] = &answer.bytecode;
    let interpreter = Interpreter {
        implementation,
        version: version(answer.version),
        full_version: answer.full_version,
        implementation_version: version(answer.implementation_version),
        soabi: answer.soabi,
        abi_flags: answer.abi_flags,
        platform: format!("linux_{machine}"),
        machine,
        libc,
        bytecode_tag: format!("{cache_tag}-{magic}"),
        unchecked_hash_bytecode: answer.version >= [3, 7, 0],
        markers: answer.markers,
        compile_settings: without_prefix(answer.compile_settings, &answer.prefix),
        site_packages: answer.site_packages,
    };
    supports_environments(&interpreter).map_err(|source| unsupported(&executable, source))?;
    Ok(PythonInstallation {
        executable,
        prefixes: vec![answer.prefix.clone(), answer.exec_prefix],
        own_paths: answer.paths,
        prefix: answer.prefix,
        interpreter,
        activation_templates: or_own_templates(answer.activation_templates),
        ensurepip_wheel: answer.pip_wheel,
        is_debian: answer.is_debian,
    })
}

const fn version([major, minor, micro]: [u8; 3]) -> PythonVersion {
    PythonVersion { major, minor, micro }
}

/// The machine of the process, as wheel tags name it: a 32-bit process may run on a 64-bit kernel.
fn machine(platform: &str, pointer_bits: u8) -> String {
    let machine = platform.strip_prefix("linux-").unwrap_or(platform).replace(['-', '.'], "_");
    match (machine.as_str(), pointer_bits) {
        ("x86_64", 32) => "i686".to_owned(),
        ("aarch64", 32) => "armv8l".to_owned(),
        _ => machine,
    }
}

/// Writes the interpreter's own prefix as `{prefix}`: two copies of one build have the same settings.
fn without_prefix(
    settings: std::collections::BTreeMap<String, String>,
    prefix: &Path,
) -> std::collections::BTreeMap<String, String> {
    let Some(prefix) = prefix.to_str().filter(|prefix| !matches!(*prefix, "" | "/" | "/usr")) else { return settings };
    let replace = |(key, value): (String, String)| (key, value.replace(prefix, "{prefix}"));
    settings.into_iter().map(replace).collect()
}

/// The interpreter's templates for POSIX shells, or ours.
fn or_own_templates(templates: Vec<ActivationTemplate>) -> Vec<ActivationTemplate> {
    if templates.iter().any(|template| template.file_name == "activate") {
        return templates;
    }
    [
        ("activate", include_str!("activate/activate")),
        ("activate.csh", include_str!("activate/activate.csh")),
        ("activate.fish", include_str!("activate/activate.fish")),
    ]
    .map(|(file_name, text)| ActivationTemplate { file_name: file_name.to_owned(), text: text.to_owned() })
    .to_vec()
}
