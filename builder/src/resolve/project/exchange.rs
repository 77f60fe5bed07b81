//! What the resolver is given: files in a folder of the sandbox, and the words of its command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::ProjectError;
use super::{ProjectInputs, ProjectRequest, Upgrade};

/// Names of the exchange and what comments call them instead.
#[derive(Debug, Default)]
pub(super) struct Labels(Vec<(String, String)>);

impl Labels {
    /// A reason as the resolver wrote it, with the names that the user knows.
    pub(super) fn translate(&self, via: &str) -> String {
        for (known, label) in &self.0 {
            for prefix in ["-r ", "-c "] {
                if via.strip_prefix(prefix) == Some(known) {
                    return format!("{prefix}{label}");
                }
            }
            let inside = via.strip_suffix(')').and_then(|via| via.split_once(" ("));
            if let Some((name, place)) = inside {
                if place == known {
                    return format!("{name} ({label})");
                }
                if let Some(group) = place.strip_prefix(known.as_str()).and_then(|rest| rest.strip_prefix(':')) {
                    return format!("{name} ({label}:{group})");
                }
            }
        }
        via.to_owned()
    }
}

/// Writes the files below `host`, which is `inside` in the sandbox; the words that name them, and the file of the answer,
/// come back.
pub(super) fn write(
    request: &ProjectRequest,
    (host, inside): (&Path, &Path),
    answer: &str,
) -> Result<(Vec<OsString>, Labels), ProjectError> {
    let mut exchange = Exchange { host, answer, words: Vec::new(), labels: Labels::default() };
    exchange.inputs(&request.inputs)?;
    exchange.words.extend(["--output-file".into(), inside.join(answer).into()]);
    exchange.preferences(request)?;
    exchange.choices(request);
    Ok((exchange.words, exchange.labels))
}

struct Exchange<'a> {
    host: &'a Path,
    /// The resolver's answer, and before that the versions that it should prefer.
    answer: &'a str,
    words: Vec<OsString>,
    labels: Labels,
}

impl Exchange<'_> {
    fn file(&self, name: &str, text: &str) -> Result<(), ProjectError> {
        let path = self.host.join(name);
        let write = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&path, text)
        };
        write().map_err(|source| ProjectError::Io { path: path.clone(), source })
    }

    fn inputs(&mut self, inputs: &ProjectInputs) -> Result<(), ProjectError> {
        let mut has_source = false;
        for (position, file) in inputs.files.iter().enumerate() {
            if file.lines.is_empty() {
                continue;
            }
            let name = if file.is_constraints { format!("c{position}.txt") } else { format!("r{position}.in") };
            let mut text = file.lines.join("\n");
            text.push('\n');
            self.file(&name, &text)?;
            if file.is_constraints {
                self.words.push("--constraints".into());
            }
            has_source |= !file.is_constraints;
            self.words.push(name.clone().into());
            self.labels.0.push((name, file.label.clone()));
        }
        for (position, project) in inputs.projects.iter().enumerate() {
            let written = format!("p{position}/pyproject.toml");
            if let Some(document) = &project.document {
                self.file(&written, document)?;
                self.labels.0.push((written.clone(), project.label.clone()));
            }
            if project.is_wanted {
                let name = if project.is_dynamic {
                    let path = project.path.to_string_lossy().into_owned();
                    self.labels.0.push((path.clone(), project.label.clone()));
                    path
                } else {
                    written.clone()
                };
                self.words.push(name.into());
                has_source = true;
                if project.all_extras {
                    self.words.push("--all-extras".into());
                }
                for extra in &project.extras {
                    self.words.extend(["--extra".into(), extra.into()]);
                }
            }
            for group in &project.groups {
                self.words.extend(["--group".into(), format!("{written}:{group}").into()]);
            }
        }
        // Nothing is asked for: the answer is empty, and the resolver wants to be asked something.
        if !has_source && inputs.projects.iter().all(|project| project.groups.is_empty()) {
            self.file("nothing.in", "")?;
            self.words.push("nothing.in".into());
        }
        Ok(())
    }

    /// The versions chosen before stand in the file of the answer.
    fn preferences(&mut self, request: &ProjectRequest) -> Result<(), ProjectError> {
        let mut text = String::new();
        for preference in &request.preferences {
            if request.upgrade.concerns(&preference.name) {
                continue;
            }
            text.push_str(&format!("{}=={}", preference.name, preference.version));
            for hash in &preference.hashes {
                text.push_str(&format!(" \\\n    --hash=sha256:{hash}"));
            }
            text.push('\n');
        }
        if text.is_empty() { Ok(()) } else { self.file(self.answer, &text) }
    }

    fn choices(&mut self, request: &ProjectRequest) {
        let mut flag = |is_set: bool, word: &str| self.words.extend(is_set.then(|| word.into()));
        flag(request.universal, "--universal");
        flag(request.universal, "--no-strip-markers");
        flag(request.no_deps, "--no-deps");
        flag(request.prereleases || request.inputs.prereleases, "--prerelease=allow");
        match &request.upgrade {
            Upgrade::Nothing => {}
            // The answer of an index that was kept may be older than the release that is wanted.
            Upgrade::All => self.words.push("--refresh".into()),
            Upgrade::Packages(names) => {
                for name in names {
                    self.words.push(format!("--refresh-package={name}").into());
                }
            }
        }
        if let Some(day) = &request.exclude_newer {
            self.words.push(format!("--exclude-newer={}", day.as_str()).into());
        }
    }
}

/// Folders never copied for a backend: they are environments and caches, and the largest of a project.
const NOT_COPIED: [&str; 7] = [".venv", "venv", ".tox", ".nox", "node_modules", "__pycache__", ".mypy_cache"];

/// Most bytes that are copied of one project; its sources have a few MB.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// Copies the project `from`, whose backend may want to write beside its sources, without `store`, should that be in it.
pub(super) fn copy_project(from: &Path, to: &Path, store: &Path) -> Result<(), ProjectError> {
    let mut left = COPY_BYTES_MAX;
    let mut waiting = vec![(from.to_owned(), to.to_owned())];
    while let Some((source, target)) = waiting.pop() {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ProjectError::Io { path, source }
        };
        std::fs::create_dir_all(&target).map_err(at(&target))?;
        for entry in std::fs::read_dir(&source).map_err(at(&source))? {
            let entry = entry.map_err(at(&source))?;
            let name = entry.file_name();
            if NOT_COPIED.iter().any(|skipped| name == *skipped) || entry.path() == store {
                continue;
            }
            let (path, copy): (PathBuf, PathBuf) = (entry.path(), target.join(&name));
            let kind = entry.file_type().map_err(at(&path))?;
            if kind.is_dir() {
                waiting.push((path, copy));
            } else if kind.is_symlink() {
                let link = std::fs::read_link(&path).map_err(at(&path))?;
                std::os::unix::fs::symlink(link, &copy).map_err(at(&copy))?;
            } else if kind.is_file() {
                let size = entry.metadata().map_err(at(&path))?.len();
                left = left
                    .checked_sub(size)
                    .ok_or_else(|| ProjectError::TooLarge { path: from.to_owned(), limit: COPY_BYTES_MAX })?;
                std::fs::copy(&path, &copy).map_err(at(&path))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_get_the_names_that_the_user_knows() {
        let pair = |known: &str, label: &str| (known.to_owned(), label.to_owned());
        let labels = Labels(vec![
            pair("r0.in", "requirements.in"),
            pair("c1.txt", "../c.txt"),
            pair("p0/pyproject.toml", "pyproject.toml"),
        ]);
        for (via, expected) in [
            ("-r r0.in", "-r requirements.in"),
            ("-c c1.txt", "-c ../c.txt"),
            ("demo (p0/pyproject.toml)", "demo (pyproject.toml)"),
            ("demo (p0/pyproject.toml:dev)", "demo (pyproject.toml:dev)"),
            ("flask", "flask"),
        ] {
            assert_eq!(labels.translate(via), expected);
        }
    }
}
