//! What users say themselves: which packages a project needs, which package has a thing, and rules over logs.
//!
//! Two kinds of files: TOML of our own, and the `deps/*.ini` of the original pip-accel. Later files win.

mod ini_file;
mod toml_file;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::candidates::Candidate;
use super::decide::Finding;
use super::evidence::Kind;
use super::installed::Installed;
use super::statements::Statements;

/// Largest file that is read; thousands of mappings fit.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a file of rules can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnRulesError {
    /// It can't be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("`{path}` is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its name says neither TOML nor INI.
    #[error("`{path}` ends in neither `.toml` nor `.ini`")]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// One rule over the lines of a log.
#[derive(Debug, Clone)]
struct Rule {
    pattern: Regex,
    packages: Vec<String>,
    reason: String,
}

/// All that users say.
#[derive(Debug, Clone, Default)]
pub struct OwnRules {
    projects: BTreeMap<String, Vec<String>>,
    names: BTreeMap<(Kind, String), String>,
    rules: Vec<Rule>,
}

impl OwnRules {
    /// Reads files, and folders of files in the order of their names. In a folder only `.toml` and `.ini` files count.
    ///
    /// # Errors
    /// See [`OwnRulesError`].
    pub fn read(places: &[PathBuf]) -> Result<Self, OwnRulesError> {
        let mut rules = Self::default();
        for place in places {
            let failed = |source| OwnRulesError::Io { path: place.clone(), source };
            if !place.is_dir() {
                rules.take(place)?;
                continue;
            }
            let entries = std::fs::read_dir(place).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let mut files: Vec<PathBuf> = entries.map_err(failed)?.iter().map(std::fs::DirEntry::path).collect();
            files.retain(|path| ending(path).is_some());
            files.sort();
            for file in &files {
                rules.take(file)?;
            }
        }
        Ok(rules)
    }

    fn take(&mut self, path: &Path) -> Result<(), OwnRulesError> {
        let failed = |source| OwnRulesError::Io { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(OwnRulesError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let taken = match ending(path) {
            Some(Ending::Toml) => toml_file::take(self, &text),
            Some(Ending::Ini) => ini_file::take(self, &text),
            None => return Err(OwnRulesError::Name { path: path.to_owned() }),
        };
        taken.map_err(|(line, reason)| OwnRulesError::Line { path: path.to_owned(), line, reason })
    }

    /// The packages that the project of this normalised name needs.
    pub(crate) fn packages_of(&self, project: &str) -> &[String] {
        self.projects.get(project).map_or(&[], Vec::as_slice)
    }

    /// The packages of things by kind and name.
    #[must_use]
    pub fn names(&self) -> &BTreeMap<(Kind, String), String> {
        &self.names
    }

    /// What the first rule says whose pattern is in `log`; of later files the rules come first. Packages that are
    /// installed are left out.
    #[must_use]
    pub fn finding(&self, log: &[u8], installed: &Installed) -> Option<Finding> {
        if self.rules.is_empty() {
            return None;
        }
        let statements = Statements::read(log).all;
        self.rules.iter().rev().find_map(|rule| {
            let (statement, found) = statements.iter().rev().find_map(|statement| {
                let captures = rule.pattern.captures(&statement.text)?;
                let found = captures.name("name").or_else(|| captures.get(0))?;
                Some((statement, found.as_str().to_owned()))
            })?;
            let packages: Vec<String> =
                rule.packages.iter().filter(|package| installed.name_of(package).is_none()).cloned().collect();
            let candidates =
                rule.packages.iter().map(|package| Candidate { package: package.clone(), score: 100 }).collect();
            Some(Finding {
                kind: if rule.packages.is_empty() { Kind::NotSystem } else { Kind::Custom },
                name: found,
                evidence: statement.text.clone(),
                line: statement.line,
                candidates,
                packages,
                reason: rule.reason.clone(),
            })
        })
    }
}

/// What a file is by its name.
enum Ending {
    Toml,
    Ini,
}

fn ending(path: &Path) -> Option<Ending> {
    match path.extension()?.to_str()? {
        "toml" => Some(Ending::Toml),
        "ini" => Some(Ending::Ini),
        _ => None,
    }
}

/// A line, counted from 1, and what is wrong in it.
type Wrong = (usize, String);

/// The name as a Debian package, without an architecture.
fn package(name: &str) -> Result<String, String> {
    let plain = name.split(':').next().unwrap_or(name);
    if super::install::is_package_name(plain) {
        Ok(plain.to_owned())
    } else {
        Err(format!("`{name}` is no name of a Debian package"))
    }
}

/// The normalised name of a Python project.
fn project(name: &str) -> Result<String, String> {
    let parsed = name.parse::<pip_accel_schema::name::PackageName>();
    parsed.map(|name| name.as_str().to_owned()).map_err(|_| format!("`{name}` is no name of a Python project"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<OwnRules, String> {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let shown = |error: OwnRulesError| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        OwnRules::read(&[path]).map_err(shown)
    }

    #[test]
    fn all_of_a_file_is_read() {
        let text = "[projects]\n\"Some.Project\" = [\"libfoo-dev\", \"libbar-dev:amd64\"]\n[header]\n\"foo/bar.h\" = \"libfoo-dev\"\n\
                    [[rule]]\nmatch = 'needs the (?P<name>\\w+) library'\npackages = [\"libfoo-dev\"]\n\
                    [[rule]]\nmatch = 'too old'\nreason = \"take a newer one\"\n";
        let rules = read("x.toml", text).unwrap();
        assert_eq!(rules.packages_of("some-project"), ["libfoo-dev", "libbar-dev"]);
        assert_eq!(rules.names()[&(Kind::Header, "foo/bar.h".to_owned())], "libfoo-dev");
        let finding = rules.finding(b"it needs the foo library\n", &Installed::unknown()).unwrap();
        assert_eq!((finding.name.as_str(), finding.packages), ("foo", vec!["libfoo-dev".to_owned()]));
        let negative = rules.finding(b"x\nit is too old\n", &Installed::unknown()).unwrap();
        assert_eq!((negative.kind, negative.reason.as_str(), negative.line), (Kind::NotSystem, "take a newer one", 2));
        assert!(rules.finding(b"fine\n", &Installed::unknown()).is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (name, text, says) in [
            ("x.toml", "[projects]\nlxml = [\"libxml2-dev\"\n", "x.toml:"),
            ("x.toml", "[projects]\nlxml = [\"-oX\"]\n", "x.toml:2: `-oX` is no name of a Debian package"),
            ("x.toml", "\n[projects]\n\"a b\" = [\"libfoo-dev\"]\n", "x.toml:3: `a b` is no name of a Python project"),
            ("x.toml", "[headers]\nx = \"libfoo-dev\"\n", "x.toml:1: unknown field `headers`"),
            ("x.toml", "[[rule]]\nmatch = '('\npackages = [\"libfoo-dev\"]\n", "x.toml:2: "),
            ("x.toml", "\n[[rule]]\nmatch = 'x'\n", "x.toml:2: a rule has either `packages` or a `reason`"),
            ("x.ini", "[dependencies]\nlxml libxml2-dev\n", "x.ini:2: "),
            ("x.ini", "[dependencies]\nlxml = libxml2-dev Bad\n", "x.ini:2: `Bad` is no name of a Debian package"),
            ("x.ini", "[packages]\n", "x.ini:1: "),
            ("x.txt", "", "`x.txt` ends in neither"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_originals_files_are_read() {
        let text = "; comment\n[commands]\nsupported = test -e /etc/debian_version\n\
                    list = dpkg -l | awk '/^ii/ {print $2}'\ninstall = apt-get install --yes\n\
                    [dependencies]\nLXML = libxml2-dev libxslt1-dev\n  zlib1g-dev\nPyYAML: libyaml-dev\n";
        let rules = read("debian.ini", text).unwrap();
        assert_eq!(rules.packages_of("lxml"), ["libxml2-dev", "libxslt1-dev", "zlib1g-dev"]);
        assert_eq!(rules.packages_of("pyyaml"), ["libyaml-dev"]);
        let other = text.replace("apt-get install --yes", "yum install -y");
        assert!(read("fedora.ini", &other).unwrap().packages_of("lxml").is_empty());
    }
}
