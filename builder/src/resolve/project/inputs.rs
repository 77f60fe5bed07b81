//! What a user asks for → requirements as the resolver is given them.
//!
//! The resolver never sees the files themselves: it reads some things otherwise than pip, it would look for further
//! configuration beside them, and variables in them would be replaced from its own environment, which holds the passwords
//! of indexes. So each file is read here, by the reader of locks, and written anew, one requirement a line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::lock_file::{LockItem, LockOption, LockRequirement, RequirementTarget, parse};
use pip_accel_schema::name::PackageName;
use pip_accel_schema::requirement::excerpt;

use super::error::InputError;
use super::location::{PlaceError, Rewritten, option_line, relative};
use super::pyproject::ProjectFile;
use crate::lock::{
    Environment, INCLUDE_DEPTH_MAX, INCLUDED_FILES_MAX, IncludeProblem, Location, LockError, LockOptions, SourceUrl,
    Span, decode, expand_variables, read_bytes,
};
use crate::python::marker::Marker;
use crate::python::version::Specifiers;

/// What comments call the requirements of the command line.
const COMMAND_LINE: &str = "command line";

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of requirements.
    Requirements(PathBuf),
    /// A file of constraints.
    Constraints(PathBuf),
    /// Requirements without a file, a line each, as they would stand in one: words of the command line, or what a script
    /// says that it needs.
    Lines {
        /// The lines.
        text: String,
        /// The script that says them; `None` for the command line.
        script: Option<String>,
        /// What the backends of all of them are told.
        config_settings: ConfigSettings,
    },
    /// A project: its folder, or its `pyproject.toml`, `setup.py` or `setup.cfg`.
    Project {
        /// The folder or file.
        path: PathBuf,
        /// Extras that are wanted of it.
        extras: Vec<String>,
        /// Whether all its extras are.
        all_extras: bool,
    },
    /// A dependency group (PEP 735) of a `pyproject.toml`.
    Group {
        /// The file, or the folder that it is in.
        path: PathBuf,
        /// The group.
        name: String,
    },
}

/// Where relative paths of an input begin, and where its variables come from.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The working directory: local files and folders that requirements name are relative to it, as in pip, or to the
    /// file that names them.
    pub folder: &'a Path,
    /// The folder to which file names in comments are relative: that of the lock, so that they are the same on
    /// every machine.
    pub base: &'a Path,
    /// Variables such as `${TOKEN}`.
    pub environment: &'a Environment<'a>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Surroundings").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// One file of requirements or constraints as the resolver is given it.
#[derive(Debug, Clone)]
pub(super) struct InputFile {
    /// What comments call it.
    pub(super) label: String,
    pub(super) is_constraints: bool,
    /// One requirement each.
    pub(super) lines: Vec<String>,
}

/// Everything that was asked for, read and ready to be resolved.
#[derive(Debug, Clone, Default)]
pub struct ProjectInputs {
    /// Where files come from and which kinds, as the files say.
    pub options: LockOptions,
    /// Whether a file says `--pre`.
    pub prereleases: bool,
    /// Variables that are named but not set; their text stayed as it is.
    pub unset_variables: BTreeSet<String>,
    pub(super) files: Vec<InputFile>,
    pub(super) projects: Vec<ProjectFile>,
    /// Option lines for the lock, without credentials.
    pub(super) option_lines: Vec<String>,
    /// Files and folders of this machine that are named, without links in their paths.
    pub(super) visible: BTreeSet<PathBuf>,
    /// Folders that were asked for by `-e`.
    pub(super) editables: BTreeSet<PathBuf>,
    /// Repositories that were, with the revision as it was given.
    pub(super) editable_repositories: BTreeSet<String>,
    /// URLs of requirements that hold credentials.
    pub(super) secrets: Vec<SourceUrl>,
    /// What stands before `@` in URLs where it is made of variables, by the URL without it.
    pub(super) variables: BTreeMap<String, String>,
    /// Hashes that the files themselves demand.
    pub(super) hashes: BTreeMap<PackageName, BTreeSet<Sha256Digest>>,
    /// What backends are told, by the name or place of the requirement.
    pub(super) config_settings: BTreeMap<String, ConfigSettings>,
    pub(super) read_files: usize,
}

impl ProjectInputs {
    /// Reads all that `places` name.
    ///
    /// # Errors
    /// The first thing that can't be read, with its line.
    pub fn read(places: &[Place], surroundings: Surroundings<'_>) -> Result<Self, InputError> {
        let config_settings = ConfigSettings::new();
        let mut reader = Reader { surroundings, inputs: Self::default(), open: Vec::new(), config_settings };
        for place in places {
            match place {
                Place::Requirements(path) => reader.file(path, false, None)?,
                Place::Constraints(path) => reader.file(path, true, None)?,
                Place::Lines { text, script, config_settings } => {
                    let label = script.as_deref().unwrap_or(COMMAND_LINE);
                    let file: Arc<Path> = Arc::from(surroundings.folder.join(label));
                    reader.config_settings.clone_from(config_settings);
                    let read = reader.text(text, &file, (label.to_owned(), false));
                    reader.config_settings.clear();
                    read.map_err(|error| error.of_lines(text, script.as_deref()))?;
                }
                Place::Project { path, extras, all_extras } => reader.project(path, extras, *all_extras)?,
                Place::Group { path, name } => reader.group(path, name)?,
            }
        }
        Ok(reader.inputs)
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.projects.is_empty() && self.files.iter().all(|file| file.is_constraints || file.lines.is_empty())
    }

    /// What URL a direct reference is written with in a lock: without credentials, but with the variables that the input
    /// names in their place.
    pub(super) fn shown_url(&self, url: &str) -> String {
        let bare = super::location::without_user_info(url);
        let known = self.variables.iter().find(|(known, _)| {
            let known = known.split('#').next().unwrap_or(known);
            bare.starts_with(known)
        });
        match (known, bare.split_once("://")) {
            (Some((_, user_info)), Some((scheme, rest))) => format!("{scheme}://{user_info}@{rest}"),
            _ => bare,
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) surroundings: Surroundings<'a>,
    pub(super) inputs: ProjectInputs,
    /// The files that are being read, the outermost first, links resolved.
    open: Vec<PathBuf>,
    /// What the backends of all requirements that are being read are told.
    config_settings: ConfigSettings,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, is_constraints: bool, from: Option<&Span>) -> Result<(), InputError> {
        let text = read_bytes(path).and_then(|bytes| decode(path, bytes));
        let text = text.map_err(|error| match (error, from) {
            (LockError::Read { path, source }, Some(span)) => InputError::Include {
                span: span.clone(),
                reason: IncludeProblem::Unreadable { path: path.display().to_string(), reason: source.to_string() },
            },
            (error, _) => InputError::of_file(error),
        })?;
        let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(span) = from {
            let include = |reason| InputError::Include { span: span.clone(), reason };
            if self.open.contains(&canonical) {
                return Err(include(IncludeProblem::Cycle(path.display().to_string())));
            }
            if self.open.len() >= INCLUDE_DEPTH_MAX || self.inputs.read_files >= INCLUDED_FILES_MAX {
                return Err(include(IncludeProblem::TooMany));
            }
        }
        self.inputs.read_files += 1;
        self.open.push(canonical);
        let label = relative(path, self.surroundings.base);
        self.text(&text, &Arc::from(path), (label, is_constraints))?;
        self.open.pop();
        Ok(())
    }

    fn text(
        &mut self,
        text: &str,
        file: &Arc<Path>,
        (label, is_constraints): (String, bool),
    ) -> Result<(), InputError> {
        let items = parse(text).map_err(|error| InputError::Syntax {
            span: Span { file: Arc::clone(file), line: error.line },
            reason: error.reason,
        })?;
        let position = self.inputs.files.len();
        self.inputs.files.push(InputFile { label, is_constraints, lines: Vec::new() });
        for item in items {
            let span = |line| Span { file: Arc::clone(file), line };
            match item {
                LockItem::Requirement(requirement) => {
                    let span = span(requirement.line);
                    let line = self.requirement(&requirement, &span)?;
                    self.note_settings(&requirement, &line, is_constraints);
                    self.inputs.files[position].lines.push(line);
                }
                // What an input locks of builds is not what it asks for.
                LockItem::Build(_) => {}
                LockItem::Option(line, LockOption::Include(name)) => {
                    // As in pip: what constraints include by `-r` are requirements.
                    self.include(&name, &span(line), false)?;
                }
                LockItem::Option(line, LockOption::Constraint(name)) => self.include(&name, &span(line), true)?,
                LockItem::Option(line, option) => self.option(option, &span(line))?,
            }
        }
        Ok(())
    }

    fn include(&mut self, name: &str, span: &Span, is_constraints: bool) -> Result<(), InputError> {
        let name = expand_variables(name, self.surroundings.environment, &mut |_| {});
        match Location::parse(&name, folder_of(span)) {
            Location::Path(path) => self.file(&path, is_constraints, Some(span)),
            _ => Err(InputError::Remote { span: span.clone(), url: excerpt(&name) }),
        }
    }

    fn option(&mut self, option: LockOption, span: &Span) -> Result<(), InputError> {
        if let LockOption::Ignored(name) = &option {
            match name.as_str() {
                "--pre" => self.inputs.prereleases = true,
                "--all-releases" | "--only-final" | "--uploaded-prior-to" => {
                    return Err(InputError::Option { span: span.clone(), option: name.clone() });
                }
                _ => {}
            }
        }
        let ProjectInputs { options, unset_variables, option_lines, .. } = &mut self.inputs;
        let mut expand = |text: &str| {
            expand_variables(text, self.surroundings.environment, &mut |name| {
                unset_variables.insert(name.to_owned());
            })
        };
        if let Some(line) = option_line(&option, folder_of(span), self.surroundings.base, &mut expand)
            && !option_lines.contains(&line)
        {
            option_lines.push(line);
        }
        options.add(option, folder_of(span), &mut expand);
        Ok(())
    }

    /// Notes what the backend of `requirement`, which the resolver gets as `line`, is told.
    fn note_settings(&mut self, requirement: &LockRequirement, line: &str, is_constraints: bool) {
        let own = &requirement.config_settings;
        let settings = if own.is_empty() { &self.config_settings } else { own };
        if settings.is_empty() || is_constraints {
            return;
        }
        let key = match &requirement.target {
            RequirementTarget::Pin { name, .. }
            | RequirementTarget::Unpinned { name, .. }
            | RequirementTarget::Direct { name: Some(name), .. } => name.to_string(),
            RequirementTarget::Direct { name: None, .. } | RequirementTarget::Editable { .. } => {
                line.split([' ', '[', '#']).next().unwrap_or(line).to_owned()
            }
        };
        self.inputs.config_settings.insert(key, settings.clone());
    }

    /// A requirement of a file as one line for the resolver.
    fn requirement(&mut self, requirement: &LockRequirement, span: &Span) -> Result<String, InputError> {
        let extras = match requirement.extras.as_slice() {
            [] => String::new(),
            extras => format!("[{}]", extras.join(",")),
        };
        let syntax = |reason: String| InputError::Syntax { span: span.clone(), reason };
        let mut line = match &requirement.target {
            RequirementTarget::Pin { name, version } => {
                if !requirement.hashes.is_empty() {
                    self.inputs.hashes.entry(name.clone()).or_default().extend(&requirement.hashes);
                }
                format!("{name}{extras}=={version}")
            }
            RequirementTarget::Unpinned { name, specifier } => {
                let _checked: Specifiers = specifier.parse().map_err(|error| syntax(format!("{error}")))?;
                let specifier: String = specifier.split_whitespace().collect();
                format!("{name}{extras}{specifier}")
            }
            RequirementTarget::Direct { name, location } => {
                let place = self.location(location, Some(span))?;
                match name {
                    Some(name) => format!("{name}{extras} @ {place}"),
                    None => format!("{place}{extras}"),
                }
            }
            RequirementTarget::Editable { location } => return self.editable(location, span),
        };
        if let Some(marker) = &requirement.marker {
            let marker = Marker::parse(marker).map_err(|error| syntax(error.to_string()))?;
            line.push_str(" ; ");
            line.push_str(&one_line(marker.as_str()));
        }
        Ok(line)
    }

    fn editable(&mut self, location: &str, span: &Span) -> Result<String, InputError> {
        let (location, marker) = match location.split_once(" ;").or_else(|| location.split_once("; ")) {
            Some((location, marker)) => (location.trim(), Some(marker.trim())),
            None => (location.trim(), None),
        };
        let has_scheme = pip_accel_schema::requirement::has_scheme(location);
        let (path, extras) = match location.rfind('[') {
            Some(bracket) if location.ends_with(']') && !has_scheme => location.split_at(bracket),
            _ => (location, ""),
        };
        let is_extras = |part: char| part.is_ascii_alphanumeric() || "-_., []".contains(part);
        if !extras.chars().all(is_extras) {
            let reason = format!("`{}` is no list of extras", excerpt(extras));
            return Err(InputError::Syntax { span: span.clone(), reason });
        }
        let place = self.location(path, Some(span))?;
        let extras: String = extras.split_whitespace().collect();
        // The resolver would ask the backend to prepare an editable installation, which not all can; what is required is
        // the same without.
        let path = url::Url::parse(&place).ok().and_then(|url| url.to_file_path().ok());
        self.inputs.editables.extend(path);
        if place.starts_with("git+") {
            self.inputs.editable_repositories.insert(place.split('#').next().unwrap_or(&place).to_owned());
        }
        let mut line = format!("{place}{extras}");
        if let Some(marker) = marker.filter(|marker| !marker.is_empty()) {
            let syntax = |reason: String| InputError::Syntax { span: span.clone(), reason };
            let marker = Marker::parse(marker).map_err(|error| syntax(error.to_string()))?;
            line.push_str(" ; ");
            line.push_str(&one_line(marker.as_str()));
        }
        Ok(line)
    }

    /// The URL of a place, with what it means for the sandbox noted. Variables are replaced in the lines of a file only.
    pub(super) fn location(&mut self, location: &str, span: Option<&Span>) -> Result<String, InputError> {
        let Surroundings { folder, environment, .. } = self.surroundings;
        let unset = &mut self.inputs.unset_variables;
        let expanded = match span {
            None => location.to_owned(),
            Some(_) => expand_variables(location, environment, &mut |name| {
                unset.insert(name.to_owned());
            }),
        };
        let beside = span.map_or(folder, folder_of);
        let rewritten = Rewritten::of(&expanded, &[folder, beside]).map_err(|error| match (span, error) {
            (Some(span), PlaceError::Missing(missing)) => InputError::Missing { span: span.clone(), missing },
            (Some(span), PlaceError::Wrong(reason)) => InputError::Syntax { span: span.clone(), reason },
            (None, error) => InputError::Place { place: excerpt(&expanded), reason: error.to_string() },
        })?;
        self.inputs.visible.extend(rewritten.path);
        if let Some(bare) = &rewritten.bare {
            self.inputs.secrets.push(SourceUrl::new(expanded.clone()));
            let original = super::location::user_info(location);
            if let Some(original) = original.filter(|original| super::location::is_made_of_variables(original)) {
                self.inputs.variables.insert(bare.clone(), original.to_owned());
            }
        }
        Ok(rewritten.url)
    }
}

fn folder_of(span: &Span) -> &Path {
    span.file.parent().unwrap_or(Path::new(""))
}

/// A marker may be written over several lines; its parts may not.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
