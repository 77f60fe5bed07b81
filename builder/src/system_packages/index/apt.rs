//! Debian's lists through apt itself, in a private state directory: the machine's own sources, proxies, keys and
//! signatures count, and no privilege is needed.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What apt is told in its private configuration, besides the folders. Without the `#clear`s the hooks of images
/// would run, which tidy up after root. The targets are those of `apt-file`; the second is where Ubuntu has them.
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
Acquire::IndexTargets {
  deb::Contents-deb {
    MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)";
    ShortDescription "Contents-$(ARCHITECTURE)";
    Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Contents (deb)";
    flatMetaKey "Contents-$(ARCHITECTURE)";
    flatDescription "$(RELEASE) Contents (deb)";
    PDiffs "true";
    KeepCompressed "true";
    DefaultEnabled "true";
    Identifier "Contents-deb";
  };
  deb::Contents-deb-legacy {
    MetaKey "Contents-$(ARCHITECTURE)";
    ShortDescription "Contents-$(ARCHITECTURE)";
    Description "$(RELEASE) $(ARCHITECTURE) Contents (deb)";
    PDiffs "true";
    KeepCompressed "true";
    Fallback-Of "Contents-deb";
    DefaultEnabled "true";
    Identifier "Contents-deb";
  };
};
"#;

/// The program that prints apt's files, however they are compressed.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

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

/// The lists that apt fetched.
#[derive(Debug, Default)]
pub struct AptFiles {
    /// Lists of files.
    pub contents: Vec<PathBuf>,
    /// Lists of binary packages.
    pub packages: Vec<PathBuf>,
    /// Lists of source packages.
    pub sources: Vec<PathBuf>,
    /// What apt says went wrong: some lists are old or not there; empty if nothing did.
    pub complaint: String,
}

/// Apt with a state of its own below a directory.
#[derive(Debug)]
pub(super) struct PrivateApt {
    configuration: PathBuf,
}

impl PrivateApt {
    /// Prepares apt's state below `directory`, which is empty.
    pub(super) fn prepare(directory: &Path) -> Result<Self, AptError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| AptError::File { path, source }
        };
        for folder in ["lists/partial", "cache/archives/partial", "sources"] {
            let folder = directory.join(folder);
            fs::create_dir_all(&folder).map_err(file(&folder))?;
        }
        let shown = directory.to_string_lossy().replace('"', "");
        let text = format!(
            "Dir::State \"{shown}\";\nDir::State::lists \"{shown}/lists\";\nDir::Cache \"{shown}/cache\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{shown}/sources\";\n{CONFIGURATION}"
        );
        for (number, path) in machine_sources()?.into_iter().enumerate() {
            let Ok(words) = fs::read_to_string(&path) else { continue };
            let is_paragraphs = path.extension().is_some_and(|ending| ending == "sources");
            let (words, ending) =
                if is_paragraphs { (with_sources(&words), "sources") } else { (with_source_lines(&words), "list") };
            let copy = directory.join("sources").join(format!("{number}.{ending}"));
            fs::write(&copy, words).map_err(file(&copy))?;
        }
        let configuration = directory.join("apt.conf");
        fs::write(&configuration, text).map_err(file(&configuration))?;
        Ok(Self { configuration })
    }

    /// Fetches the lists and says where they are.
    pub(super) fn update(&self) -> Result<AptFiles, AptError> {
        let output = self.command("apt-get").args(["update", "-q"]).output();
        let output = output.map_err(|source| AptError::Start { program: "apt-get", source })?;
        // One source that can't be reached is no reason to have nothing: what there is decides.
        let words = last_words(&output.stderr);
        let mut files = self.files()?;
        if files.contents.is_empty() {
            return Err(AptError::NoContents { words });
        }
        // Of lists that can't be had, apt only warns.
        let is_complaint =
            |line: &str| line.starts_with("E:") || line.starts_with("Err:") || line.contains("Failed to fetch");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() || text.lines().any(is_complaint) {
            files.complaint = words;
        }
        Ok(files)
    }

    fn files(&self) -> Result<AptFiles, AptError> {
        let mut command = self.command("apt-get");
        command.args(["indextargets", "--format", "$(IDENTIFIER)\t$(FILENAME)"]);
        let text = text_of(command, "apt-get")?;
        let mut files = AptFiles::default();
        for (kind, path) in text.lines().filter_map(|line| line.split_once('\t')) {
            let path = PathBuf::from(path);
            match kind {
                _ if !path.is_file() => {}
                "Contents-deb" => files.contents.push(path),
                "Packages" => files.packages.push(path),
                "Sources" => files.sources.push(path),
                _ => {}
            }
        }
        Ok(files)
    }

    /// Reads one of the files, decompressed.
    pub(super) fn read(
        &self,
        path: &Path,
        work: &mut dyn FnMut(&mut dyn BufRead) -> io::Result<()>,
    ) -> Result<(), AptError> {
        let failed = |source| AptError::File { path: path.to_owned(), source };
        let mut command = self.command(APT_HELPER);
        let mut child = command.arg("cat-file").arg(path).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = child.as_mut().map_err(|error| AptError::Start {
            program: APT_HELPER,
            source: io::Error::new(error.kind(), error.to_string()),
        })?;
        let read = match child.stdout.take() {
            Some(stdout) => work(&mut BufReader::with_capacity(1 << 20, stdout)),
            None => Ok(()),
        };
        if read.is_err() {
            drop(child.kill());
        }
        let status = child.wait().map_err(failed)?;
        read.map_err(failed)?;
        if status.success() {
            Ok(())
        } else {
            Err(AptError::Failed { program: APT_HELPER, words: format!("on {}", path.display()) })
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Its words are read by this program: they must be the untranslated ones.
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    }
}

/// Debian's word for this machine.
pub(super) fn architecture() -> Result<String, AptError> {
    let mut command = Command::new("dpkg");
    command.arg("--print-architecture").stdin(Stdio::null());
    Ok(text_of(command, "dpkg")?.trim().to_owned())
}

/// The files that say where the machine's packages come from.
pub(crate) fn machine_sources() -> Result<Vec<PathBuf>, AptError> {
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

/// The text of a `.sources` file, asking for the lists of sources as well.
fn with_sources(text: &str) -> String {
    let mut changed = String::new();
    for line in text.lines() {
        let is_types = line.split_once(':').is_some_and(|(field, _)| field.eq_ignore_ascii_case("Types"));
        changed.push_str(if is_types { "Types: deb deb-src" } else { line });
        changed.push('\n');
    }
    changed
}

/// The text of a `.list` file, with a line for the sources after each line for the packages.
fn with_source_lines(text: &str) -> String {
    let mut changed = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("deb-src")) {
        changed.push_str(line);
        changed.push('\n');
        if let Some(rest) = line.trim_start().strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])) {
            changed.push_str(&format!("deb-src{rest}\n"));
        }
    }
    changed
}

pub(crate) fn text_of(mut command: Command, program: &'static str) -> Result<String, AptError> {
    let output = command.output().map_err(|source| AptError::Start { program, source })?;
    if !output.status.success() {
        return Err(AptError::Failed { program, words: last_words(&output.stderr) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // What explains the end is marked; around it are counts and digests.
    let errors: Vec<&str> = lines.iter().filter(|line| line.starts_with("E: ")).copied().collect();
    let lines = if errors.is_empty() { lines } else { errors };
    let from = lines.len().saturating_sub(WORDS_LINES_MAX);
    if lines.is_empty() { "it says nothing".to_owned() } else { lines[from..].join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_sources_are_asked_for() {
        assert_eq!(with_sources("Types: deb\nURIs: u\nSigned-By: k\n"), "Types: deb deb-src\nURIs: u\nSigned-By: k\n");
        let lines = "# deb x\ndeb [signed-by=k] u s main\ndeb-src u s main\n";
        assert_eq!(with_source_lines(lines), "# deb x\ndeb [signed-by=k] u s main\ndeb-src [signed-by=k] u s main\n");
    }
}
