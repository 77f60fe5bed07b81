//! Files → items: reads a lock and what it includes, expands variables.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::lock_file::{
    BuildLock, LOCK_FILE_BYTES_MAX, LockItem, LockOption, LockRequirement, RequirementTarget, parse,
};
use pip_accel_schema::requirement::excerpt;

use super::encoding::decode;
use super::error::{IncludeProblem, LockError, Span};
use super::location::Location;
use super::options::LockOptions;

/// Deepest nesting of `-r` and `-c`; pip has no limit but real ones have three levels.
pub const INCLUDE_DEPTH_MAX: usize = 20;

/// Most files that one lock includes, each counted as often as it is included.
pub const INCLUDED_FILES_MAX: usize = 500;

/// Where variables come from: the name → its value.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A requirement and where it stands; variables are expanded.
#[derive(Debug)]
pub struct RawRequirement {
    /// What it says.
    pub requirement: LockRequirement,
    /// Where.
    pub span: Span,
}

/// Everything that the files of a lock hold, before any of it has to be pinned or hashed.
#[derive(Debug, Default)]
pub struct RawLock {
    /// Requirements, in the order of the files.
    pub requirements: Vec<RawRequirement>,
    /// What stands in constraints, likewise.
    pub constraints: Vec<RawRequirement>,
    /// `#: build` blocks.
    pub builds: Vec<(BuildLock, Span)>,
    /// Option lines of all files.
    pub options: LockOptions,
    /// Every file that was read, the first one first, each as often as it is included.
    pub files: Vec<PathBuf>,
    /// Variables that are named but not set; their text stayed as it is.
    pub unset_variables: BTreeSet<String>,
    /// Digests of the files' bytes, in the order of `files`; and whether a variable is named anywhere.
    pub(super) contents: Vec<ValueDigest>,
    pub(super) names_variables: bool,
}

/// Reads a file of requirements, with all that it includes, for what its lines say: nothing has to be locked.
///
/// # Errors
/// A file can't be read, or a line of it.
pub fn read_lines(path: &Path, environment: &Environment<'_>) -> Result<RawLock, LockError> {
    read_lock(path, read_bytes(path)?, environment)
}

/// Reads a lock with all that it includes.
pub(super) fn read_lock(path: &Path, bytes: Vec<u8>, environment: &Environment<'_>) -> Result<RawLock, LockError> {
    let mut reader = Reader { environment, lock: RawLock::default(), open: Vec::new(), first: Some(bytes) };
    reader.read_file(path, false, None)?;
    Ok(reader.lock)
}

/// Reads `text` as the lock at `path`, without variables.
pub(super) fn read_text(path: &Path, text: &str) -> Result<RawLock, LockError> {
    let mut reader =
        Reader { environment: &|_| None, lock: RawLock::default(), open: vec![path.to_owned()], first: None };
    reader.lock.contents.push(content_digest(text.as_bytes()));
    reader.read_items(path, text, false)?;
    Ok(reader.lock)
}

struct Reader<'a> {
    environment: &'a Environment<'a>,
    lock: RawLock,
    /// The files that are being read, the outermost first, links resolved.
    open: Vec<PathBuf>,
    /// The bytes of the lock itself, until they are read: a pipe can be read only once.
    first: Option<Vec<u8>>,
}

impl Reader<'_> {
    fn read_file(&mut self, path: &Path, as_constraints: bool, from: Option<&Span>) -> Result<(), LockError> {
        let text = self.first.take().map_or_else(|| read_bytes(path), Ok).and_then(|bytes| {
            self.lock.contents.push(content_digest(&bytes));
            decode(path, bytes)
        });
        let text = text.map_err(|error| match (error, from) {
            (LockError::Read { path, source }, Some(span)) => {
                let reason =
                    IncludeProblem::Unreadable { path: path.display().to_string(), reason: source.to_string() };
                LockError::Include { span: span.clone(), reason }
            }
            (error, _) => error,
        })?;
        let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(span) = from {
            let include = |reason| LockError::Include { span: span.clone(), reason };
            if self.open.contains(&canonical) {
                return Err(include(IncludeProblem::Cycle(path.display().to_string())));
            }
            if self.open.len() >= INCLUDE_DEPTH_MAX || self.lock.files.len() >= INCLUDED_FILES_MAX {
                return Err(include(IncludeProblem::TooMany));
            }
        }
        // More than are expanded, never less.
        self.lock.names_variables |= text.contains("${");
        self.open.push(canonical);
        self.read_items(path, &text, as_constraints)?;
        self.open.pop();
        Ok(())
    }

    fn read_items(&mut self, path: &Path, text: &str, as_constraints: bool) -> Result<(), LockError> {
        self.lock.files.push(path.to_owned());
        let file: Arc<Path> = Arc::from(path);
        let items = parse(text).map_err(|error| {
            let span = Span { file: Arc::clone(&file), line: error.line };
            LockError::Syntax { span, reason: error.reason }
        })?;
        for item in items {
            self.add_item(item, &file, as_constraints)?;
        }
        Ok(())
    }

    fn add_item(&mut self, item: LockItem, file: &Arc<Path>, as_constraints: bool) -> Result<(), LockError> {
        let span = |line| Span { file: Arc::clone(file), line };
        match item {
            LockItem::Requirement(mut requirement) => {
                let span = span(requirement.line);
                if let RequirementTarget::Direct { location, .. } | RequirementTarget::Editable { location } =
                    &mut requirement.target
                {
                    *location = self.expand(location);
                }
                let list = if as_constraints { &mut self.lock.constraints } else { &mut self.lock.requirements };
                list.push(RawRequirement { requirement, span });
            }
            LockItem::Build(build) => {
                let span = span(build.line);
                self.lock.builds.push((build, span));
            }
            LockItem::Option(line, LockOption::Include(name)) => {
                // As in pip: what constraints include by `-r` are requirements.
                self.include(&self.expand_later(&name), &span(line), false)?;
            }
            LockItem::Option(line, LockOption::Constraint(name)) => {
                self.include(&self.expand_later(&name), &span(line), true)?;
            }
            LockItem::Option(_, option) => {
                let folder = file.parent().unwrap_or(Path::new(""));
                let Self { lock: RawLock { options, unset_variables, .. }, environment, .. } = self;
                options.add(option, folder, &mut |text| {
                    expand_variables(text, *environment, &mut |name| {
                        unset_variables.insert(name.to_owned());
                    })
                });
            }
        }
        Ok(())
    }

    fn include(&mut self, name: &str, span: &Span, as_constraints: bool) -> Result<(), LockError> {
        let folder = span.file.parent().unwrap_or(Path::new(""));
        let remote = || LockError::Include { span: span.clone(), reason: IncludeProblem::Remote(excerpt(name)) };
        let path = match Location::parse(name, folder) {
            Location::Path(path) => path,
            _ => return Err(remote()),
        };
        self.read_file(&path, as_constraints, Some(span))
    }

    fn expand(&mut self, text: &str) -> String {
        expand_variables(text, self.environment, &mut |name| {
            self.lock.unset_variables.insert(name.to_owned());
        })
    }

    /// For names of files, whose absence says enough.
    fn expand_later(&self, text: &str) -> String {
        expand_variables(text, self.environment, &mut |_| {})
    }
}

/// Replaces `${NAME}` as pip does: only names of `A-Z`, `0-9` and `_`; unset or empty ones stay as they are.
pub(crate) fn expand_variables(text: &str, environment: &Environment<'_>, on_unset: &mut dyn FnMut(&str)) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        expanded.push_str(before);
        let is_part = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let name = after[2..].split('}').next().unwrap_or_default();
        let is_variable = !name.is_empty() && name.bytes().all(is_part) && after.len() > name.len() + 2;
        if !is_variable {
            expanded.push_str("${");
            rest = &after[2..];
            continue;
        }
        match environment(name).filter(|value| !value.is_empty()) {
            Some(value) => expanded.push_str(&value),
            None => {
                on_unset(name);
                expanded.push_str(&after[..name.len() + 3]);
            }
        }
        rest = &after[name.len() + 3..];
    }
    expanded.push_str(rest);
    expanded
}

/// The digest of the bytes of a file of a lock.
pub(super) fn content_digest(bytes: &[u8]) -> ValueDigest {
    let mut encoder = Encoder::for_domain("pip-accel/lock-content/1");
    encoder.bytes(bytes);
    ValueDigest::from_bytes(encoder.finish())
}

pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, LockError> {
    let read_error = |source| LockError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(read_error)?;
    file.take(LOCK_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > LOCK_FILE_BYTES_MAX {
        return Err(LockError::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_in_pip() {
        let environment = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "B_2" => Some("${A}".to_owned()),
            "EMPTY" => Some(String::new()),
            "lower" => Some("x".to_owned()),
            _ => None,
        };
        for (text, expanded, unset) in [
            ("x${A}y${A}", "x1y1", ""),
            ("${B_2}", "${A}", ""),
            ("${lower} $A ${ A} ${} ${A", "${lower} $A ${ A} ${} ${A", ""),
            ("${EMPTY}${NO}", "${EMPTY}${NO}", "EMPTY NO"),
            ("${${A}}", "${1}", ""),
            ("é${A}é", "é1é", ""),
        ] {
            let mut missing = Vec::new();
            let result = expand_variables(text, &environment, &mut |name| missing.push(name.to_owned()));
            assert_eq!((result.as_str(), missing.join(" ").as_str()), (expanded, unset), "{text}");
        }
    }
}
