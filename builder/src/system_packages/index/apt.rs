//! Debian's lists of files, packages and sources, by [apt in a state of its own](PrivateApt).

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::system_packages::private_apt::{AptError, PrivateApt, SourceFile, last_words, text_of};

/// The lists of files that are wanted. The targets are those of `apt-file`; the second is where Ubuntu has them.
const CONTENTS: &str = r#"
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

/// Apt with the lists of files.
#[derive(Debug)]
pub(super) struct ContentsApt(PrivateApt);

impl ContentsApt {
    /// Prepares apt's state below `directory`.
    pub(super) fn prepare(directory: &Path) -> Result<Self, AptError> {
        let with_sources = |file: SourceFile| {
            let text = if file.ending == "sources" { with_sources(&file.text) } else { with_source_lines(&file.text) };
            SourceFile { text, ..file }
        };
        PrivateApt::prepare(directory, CONTENTS, &with_sources).map(Self)
    }

    /// Fetches the lists and says where they are.
    pub(super) fn update(&self) -> Result<AptFiles, AptError> {
        let updated = self.0.update()?;
        let words = last_words(&updated.stderr);
        let mut files = self.files()?;
        if files.contents.is_empty() {
            return Err(AptError::NoContents { words });
        }
        // Of lists that can't be had, apt only warns.
        let is_complaint =
            |line: &str| line.starts_with("E:") || line.starts_with("Err:") || line.contains("Failed to fetch");
        if !updated.is_success || String::from_utf8_lossy(&updated.stderr).lines().any(is_complaint) {
            files.complaint = words;
        }
        Ok(files)
    }

    fn files(&self) -> Result<AptFiles, AptError> {
        let mut command = self.0.command("apt-get");
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
        let mut command = self.0.command(APT_HELPER);
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
}

/// Debian's word for this machine.
pub(super) fn architecture() -> Result<String, AptError> {
    let mut command = Command::new("dpkg");
    command.arg("--print-architecture").stdin(Stdio::null());
    Ok(text_of(command, "dpkg")?.trim().to_owned())
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
