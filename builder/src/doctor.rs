//! What a run depends on besides the store: sandbox, compilers, interpreters, index.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::index::{IndexClient, IndexSettings};
use crate::python::interpreter::{SearchPath, list};
use crate::sandbox::{HostFacts, HostQuery};

/// The state of one thing.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub state: String,
    /// What to do, when it is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// A thing that is as it should be.
    #[must_use]
    pub fn good(subject: &str, state: String) -> Self {
        Self { subject: subject.to_owned(), state, remedy: None }
    }

    /// A thing that is not.
    #[must_use]
    pub fn bad(subject: &str, state: String, remedy: &str) -> Self {
        Self { subject: subject.to_owned(), state, remedy: Some(remedy.to_owned()) }
    }
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Checkup<'a> {
    /// Where programs are.
    pub search: &'a SearchPath,
    /// `PATH`.
    pub path: &'a OsStr,
    /// The index, unless the network is not to be used.
    pub index: Option<&'a IndexSettings>,
}

/// Looks at everything.
///
/// # Errors
/// When no asynchronous runtime can be started.
pub fn check(checkup: &Checkup<'_>) -> std::io::Result<Vec<Check>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut checks = runtime.block_on(sandbox(checkup.path));
    checks.push(compiler(checkup.path, "C compiler", "cc", "apt-get install build-essential"));
    checks.push(compiler(checkup.path, "C++ compiler", "c++", "apt-get install build-essential"));
    checks.extend(interpreters(checkup.search));
    if let Some(settings) = checkup.index {
        checks.push(runtime.block_on(index(settings)));
    }
    Ok(checks)
}

async fn sandbox(path: &OsStr) -> Vec<Check> {
    let facts = match HostFacts::probe(&HostQuery { search_path: path }).await {
        Ok(facts) => facts,
        Err(error) => return vec![Check::bad("sandbox", error.to_string(), &error.remedy())],
    };
    // Builds go on without it: nothing to mend.
    let trace = match facts.probe_trace().await {
        Ok(()) => "works".to_owned(),
        Err(refused) => format!("builds are not traced: {refused}"),
    };
    let sandbox = format!("bubblewrap {} works", facts.bwrap_version);
    vec![Check::good("sandbox", sandbox), Check::good("file trace", trace)]
}

fn compiler(path: &OsStr, subject: &str, program: &str, remedy: &str) -> Check {
    let found = std::env::split_paths(path).map(|directory| directory.join(program)).find(|path| path.is_file());
    match found.and_then(|path| first_line(&path)) {
        Some(line) => Check::good(subject, line),
        None => Check::bad(subject, format!("no `{program}` works"), remedy),
    }
}

fn first_line(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().filter(|_| output.status.success()).map(str::to_owned)
}

fn interpreters(search: &SearchPath) -> Vec<Check> {
    let found = list(search);
    if found.is_empty() {
        return vec![Check::bad("interpreter", "none was found".to_owned(), "apt-get install python3")];
    }
    found.iter().map(|found| Check::good("interpreter", found.to_string())).collect()
}

/// The project every index has, because pip itself comes from there.
const KNOWN_PROJECT: &str = "pip";

async fn index(settings: &IndexSettings) -> Check {
    let Some(name) = KNOWN_PROJECT.parse().ok() else { return Check::good("index", "not checked".to_owned()) };
    let client = match IndexClient::new(settings.clone()) {
        Ok(client) => client,
        Err(error) => return Check::bad("index", error.to_string(), "check the settings: pip-accel config show"),
    };
    match client.project_files(&name).await {
        Ok(files) => Check::good("index", format!("answers ({} files of `{KNOWN_PROJECT}`)", files.len())),
        Err(error) => Check::bad("index", error.to_string(), "check the network and `pip-accel config show`"),
    }
}
