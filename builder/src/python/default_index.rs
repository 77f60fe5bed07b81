//! The index that pip uses when nobody names one. No address of an index is written into this program:
//! the interpreter's own pip is asked, else the wheel of pip that `ensurepip` or Debian carries for it.

use std::ffi::OsStr;
use std::path::PathBuf;

use url::Url;

use super::interpreter::{Memo, PythonInstallation, Script, ScriptError, run_script, stamp_key};

/// Namespace of the remembered addresses.
pub const DEFAULT_INDEX_NAMESPACE: &str = "default-index/1";

/// Longest address believed, in bytes.
const INDEX_URL_BYTES_MAX: usize = 2048;

const SCRIPT: &str = include_str!("default_index.py");

/// Why the default index is not known.
#[derive(Debug, thiserror::Error)]
pub enum DefaultIndexError {
    /// Neither the interpreter nor the machine has a pip.
    #[error(
        "there is no pip to ask for the default index of {}; \
         install one (`apt install python3-pip-whl`) or name an index with --index-url", executable.display()
    )]
    NoPip {
        /// The interpreter.
        executable: PathBuf,
    },
    /// The interpreter gave no answer.
    #[error("the pip of {} can't be asked for its default index", executable.display())]
    Script {
        /// The interpreter.
        executable: PathBuf,
        /// What happened.
        source: ScriptError,
    },
    /// The answer is no address.
    #[error("the pip of {} says that its default index is `{answer}`", executable.display())]
    Answer {
        /// The interpreter.
        executable: PathBuf,
        /// The answer, shortened.
        answer: String,
    },
}

/// Asks pip for its default index: an `http` or `https` URL without credentials. Costs a start of Python.
///
/// # Errors
/// There is no pip, or it gives no address.
pub fn query_default_index(installation: &PythonInstallation) -> Result<String, DefaultIndexError> {
    let executable = || installation.executable.clone();
    // Packages beside the interpreter are wanted here, the user's and the environment's are not.
    let options: &[&str] = if installation.interpreter.version.major == 2 { &["-E", "-s"] } else { &["-I"] };
    let wheel = installation.ensurepip_wheel.as_deref().map(|path| path.as_os_str());
    let arguments: Vec<&str> = wheel.and_then(OsStr::to_str).into_iter().collect();
    let answer = run_script(&installation.executable, Script { options, text: SCRIPT, arguments: &arguments })
        .map_err(|source| DefaultIndexError::Script { executable: executable(), source })?;
    let wrong = |answer: &str| DefaultIndexError::Answer {
        executable: executable(),
        answer: answer.chars().take(200).collect(),
    };
    let url: Option<String> = serde_json::from_str(&answer).map_err(|_| wrong(&answer))?;
    let url = url.ok_or_else(|| DefaultIndexError::NoPip { executable: executable() })?;
    if is_index(&url) { Ok(url) } else { Err(wrong(&url)) }
}

/// [`query_default_index`], remembered as the interpreter is.
///
/// # Errors
/// As [`query_default_index`]; errors are not remembered.
pub fn default_index(installation: &PythonInstallation, memo: Memo<'_>) -> Result<String, DefaultIndexError> {
    let Ok(key) = stamp_key(&installation.executable) else { return query_default_index(installation) };
    let known = (memo.get)(DEFAULT_INDEX_NAMESPACE, &key).and_then(|value| String::from_utf8(value).ok());
    if let Some(known) = known.filter(|known| is_index(known)) {
        return Ok(known);
    }
    let url = query_default_index(installation)?;
    (memo.put)(DEFAULT_INDEX_NAMESPACE, &key, url.as_bytes());
    Ok(url)
}

fn is_index(url: &str) -> bool {
    let parsed = Url::parse(url).ok().filter(|_| url.len() <= INDEX_URL_BYTES_MAX);
    parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty())
}
