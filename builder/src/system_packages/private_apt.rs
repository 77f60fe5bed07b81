//! Apt with a state of its own: the machine's sources, proxies, keys and signatures count, its lists and locks are left alone,
//! and no privilege is needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;

/// What apt is told besides the folders. Without the `#clear`s the hooks of images would run, which tidy up after root.
const CONFIGURATION: &str = r#"
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke-Stats;
#clear DPkg::Post-Invoke;
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-large::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
"#;

/// Longest part of apt's own words that is repeated, in lines.
const WORDS_LINES_MAX: usize = 3;

/// Why apt gave no lists.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// It is not there, or can't be started.
    #[error("can't run {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("{program} failed: {words}")]
    Failed {
        /// The program.
        program: &'static str,
        /// The last of its own words.
        words: String,
    },
    /// No source of the machine has a list of files.
    #[error("apt's sources have no Contents lists: {words}")]
    NoContents {
        /// The last of apt's own words.
        words: String,
    },
    /// A file of the private state can't be written or read.
    #[error("can't use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One of the machine's files that say where packages come from.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// `sources` (paragraphs of fields) or `list` (lines).
    pub(crate) ending: &'static str,
    /// What it says.
    pub(crate) text: String,
}

/// What an update did.
#[derive(Debug)]
pub(crate) struct Updated {
    /// Whether apt says so itself: it does too when it only warns of lists that could not be had.
    pub(crate) is_success: bool,
    /// What apt says on standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Apt with its state in a directory, which may be there from an earlier time. One process at a time.
#[derive(Debug)]
pub(crate) struct PrivateApt {
    directory: PathBuf,
    configuration: PathBuf,
    sources: ValueDigest,
}

impl PrivateApt {
    /// Prepares apt's state below `directory`. `lists` is configuration text that says which lists are wanted; `change` may say
    /// more of the sources than the machine does.
    pub(crate) fn prepare(
        directory: &Path,
        lists: &str,
        change: &dyn Fn(SourceFile) -> SourceFile,
    ) -> Result<Self, AptError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| AptError::File { path, source }
        };
        let sources = directory.join("sources");
        // A source that the machine no longer has must not count.
        if sources.exists() {
            fs::remove_dir_all(&sources).map_err(file(&sources))?;
        }
        for folder in ["lists/partial", "cache/archives/partial", "sources"] {
            let folder = directory.join(folder);
            fs::create_dir_all(&folder).map_err(file(&folder))?;
        }
        let shown = directory.to_string_lossy().replace('"', "");
        let text = format!(
            "Dir::State \"{shown}\";\nDir::State::lists \"{shown}/lists\";\nDir::Cache \"{shown}/cache\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{shown}/sources\";\n{CONFIGURATION}{lists}"
        );
        let mut encoder = Encoder::for_domain("pip-accel/apt-sources/1");
        encoder.text(&text);
        for (number, path) in machine_sources()?.into_iter().enumerate() {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let ending = if path.extension().is_some_and(|ending| ending == "sources") { "sources" } else { "list" };
            let changed = change(SourceFile { ending, text });
            encoder.text(&changed.text);
            let copy = sources.join(format!("{number}.{}", changed.ending));
            fs::write(&copy, changed.text).map_err(file(&copy))?;
        }
        let configuration = directory.join("apt.conf");
        fs::write(&configuration, text).map_err(file(&configuration))?;
        let sources = ValueDigest::from_bytes(encoder.finish());
        Ok(Self { directory: directory.to_owned(), configuration, sources })
    }

    /// Where its state is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The digest of all that decides which lists there are.
    pub(crate) fn sources(&self) -> &ValueDigest {
        &self.sources
    }

    /// Fetches the lists. One source that can't be reached is no reason to have nothing: what there is decides.
    pub(crate) fn update(&self) -> Result<Updated, AptError> {
        let output = self.command("apt-get").args(["update", "-q"]).output();
        let output = output.map_err(|source| AptError::Start { program: "apt-get", source })?;
        Ok(Updated { is_success: output.status.success(), stderr: output.stderr })
    }

    /// One of apt's programs on this state.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Its words are read by this program: they must be the untranslated ones.
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    }
}

/// The files that say where the machine's packages come from.
fn machine_sources() -> Result<Vec<PathBuf>, AptError> {
    let mut command = Command::new("apt-config");
    command.args(["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]);
    let text = text_of(command, "apt-config")?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(PathBuf::from(line.trim_matches('\'')))
    };
    let mut paths: Vec<PathBuf> = value("LIST").into_iter().filter(|path| path.is_file()).collect();
    let parts = value("PARTS").and_then(|parts| fs::read_dir(parts).ok()).into_iter().flatten().flatten();
    let is_source = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "list" || ending == "sources");
    let mut parts: Vec<PathBuf> = parts.map(|entry| entry.path()).filter(is_source).collect();
    parts.sort();
    paths.extend(parts);
    Ok(paths)
}

/// What a program of apt's prints.
pub(crate) fn text_of(mut command: Command, program: &'static str) -> Result<String, AptError> {
    let output = command.output().map_err(|source| AptError::Start { program, source })?;
    if !output.status.success() {
        return Err(AptError::Failed { program, words: last_words(&output.stderr) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last of apt's own words in what it says on standard error.
pub(crate) fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // What explains the end is marked; around it are counts and digests.
    let errors: Vec<&str> = lines.iter().filter(|line| line.starts_with("E: ")).copied().collect();
    let lines = if errors.is_empty() { lines } else { errors };
    let from = lines.len().saturating_sub(WORDS_LINES_MAX);
    if lines.is_empty() { "it says nothing".to_owned() } else { lines[from..].join("; ") }
}
