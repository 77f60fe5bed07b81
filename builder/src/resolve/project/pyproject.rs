//! Projects: what their `pyproject.toml` says of requirements, written anew for the resolver; where only a backend can
//! say it, the resolver is pointed at the project itself.

use std::path::{Path, PathBuf};

use pip_accel_schema::name::PackageName;
use pip_accel_schema::requirement::{Reference, RequirementParts};
use toml::{Table, Value};

use super::error::InputError;
use super::inputs::Reader;
use super::location::relative;
use crate::lock::read_bytes;

/// A project as the resolver is given it.
#[derive(Debug, Clone)]
pub(super) struct ProjectFile {
    /// `pyproject.toml`, `setup.py` or `setup.cfg`.
    pub(super) path: PathBuf,
    /// What comments call it.
    pub(super) label: String,
    /// What is wanted of it.
    pub(super) extras: Vec<String>,
    pub(super) all_extras: bool,
    /// Whether the project's own requirements are wanted, not only groups.
    pub(super) is_wanted: bool,
    pub(super) groups: Vec<String>,
    /// What of `pyproject.toml` is about requirements.
    pub(super) document: Option<String>,
    /// Whether only its backend knows what it requires.
    pub(super) is_dynamic: bool,
}

impl Reader<'_> {
    pub(super) fn project(&mut self, path: &Path, extras: &[String], all_extras: bool) -> Result<(), InputError> {
        let file = project_file(path)?;
        let position = self.known(&file)?;
        let project = &self.inputs.projects[position];
        let is_static = project.is_wanted_static();
        if is_static {
            for extra in extras {
                project.check_extra(extra)?;
            }
        }
        let project = &mut self.inputs.projects[position];
        project.is_wanted = true;
        project.all_extras |= all_extras;
        project.extras.extend(extras.iter().cloned());
        if !is_static {
            let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
            self.inputs.visible.insert(folder.canonicalize().unwrap_or(folder));
        }
        Ok(())
    }

    pub(super) fn group(&mut self, path: &Path, name: &str) -> Result<(), InputError> {
        let file = if path.is_dir() { path.join("pyproject.toml") } else { path.to_owned() };
        let position = self.known(&file)?;
        let project = &mut self.inputs.projects[position];
        project.check_group(name)?;
        project.groups.push(name.to_owned());
        Ok(())
    }

    /// The place of `file` among the projects; it is read when it is new.
    fn known(&mut self, file: &Path) -> Result<usize, InputError> {
        if let Some(position) = self.inputs.projects.iter().position(|project| project.path == file) {
            return Ok(position);
        }
        let mut project = ProjectFile {
            path: file.to_owned(),
            label: relative(file, self.surroundings.base),
            extras: Vec::new(),
            all_extras: false,
            is_wanted: false,
            groups: Vec::new(),
            document: None,
            is_dynamic: true,
        };
        if file.file_name().is_some_and(|name| name == "pyproject.toml") {
            let table = read_table(file)?;
            project.is_dynamic = is_dynamic(&table);
            let document = self.rewritten(file, &table)?;
            project.document = Some(toml::to_string(&document).expect("a table of texts can be written"));
        } else if !file.is_file() {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(InputError::Read { path: file.to_owned(), source });
        }
        self.inputs.read_files += 1;
        self.inputs.projects.push(project);
        Ok(self.inputs.projects.len() - 1)
    }

    /// Name, requirements, extras and groups, each requirement with its places as the sandbox shows them.
    fn rewritten(&mut self, file: &Path, table: &Table) -> Result<Table, InputError> {
        let bad = |reason: String| InputError::Pyproject { path: file.to_owned(), reason };
        let mut document = Table::new();
        if let Some(project) = table.get("project") {
            let project = project.as_table().ok_or_else(|| bad("`project` is no table".to_owned()))?;
            let name =
                project.get("name").and_then(Value::as_str).ok_or_else(|| bad("`project` has no name".to_owned()))?;
            let name: PackageName = name.parse().map_err(|error| bad(format!("{error}")))?;
            let mut written = Table::new();
            written.insert("name".to_owned(), Value::String(name.to_string()));
            written.insert("version".to_owned(), Value::String("0".to_owned()));
            if let Some(list) = project.get("dependencies") {
                let list = self.requirements(file, list, "project.dependencies")?;
                written.insert("dependencies".to_owned(), list);
            }
            if let Some(extras) = project.get("optional-dependencies") {
                let what = "project.optional-dependencies";
                let extras = self.lists(file, extras, what)?;
                written.insert("optional-dependencies".to_owned(), extras);
            }
            document.insert("project".to_owned(), Value::Table(written));
        }
        if let Some(groups) = table.get("dependency-groups") {
            let groups = self.lists(file, groups, "dependency-groups")?;
            document.insert("dependency-groups".to_owned(), groups);
        }
        Ok(document)
    }

    fn lists(&mut self, file: &Path, value: &Value, what: &str) -> Result<Value, InputError> {
        let table = value
            .as_table()
            .ok_or_else(|| InputError::Pyproject { path: file.to_owned(), reason: format!("`{what}` is no table") })?;
        let mut lists = Table::new();
        for (name, list) in table {
            let list = self.requirements(file, list, &format!("{what}.{name}"))?;
            lists.insert(name.clone(), list);
        }
        Ok(Value::Table(lists))
    }

    fn requirements(&mut self, file: &Path, value: &Value, what: &str) -> Result<Value, InputError> {
        let bad = |reason: String| InputError::Pyproject { path: file.to_owned(), reason };
        let list = value.as_array().ok_or_else(|| bad(format!("`{what}` is no list")))?;
        let mut written = Vec::with_capacity(list.len());
        for item in list {
            match item {
                Value::String(text) => {
                    let parts: RequirementParts = text.parse().map_err(|error| bad(format!("`{what}`: {error}")))?;
                    written.push(Value::String(self.one_requirement(file, text, &parts)?));
                }
                // Of a group only; what it includes is the resolver's to find.
                Value::Table(table) if table.contains_key("include-group") && what.starts_with("dependency-groups") => {
                    written.push(item.clone());
                }
                _ => return Err(bad(format!("`{what}` holds something that is no requirement"))),
            }
        }
        Ok(Value::Array(written))
    }

    fn one_requirement(&mut self, file: &Path, text: &str, parts: &RequirementParts) -> Result<String, InputError> {
        let Reference::Url(url) = &parts.reference else { return Ok(text.to_owned()) };
        // Relative to the project, as its backend would take it.
        let folder = file.parent().unwrap_or(Path::new("/"));
        let url = match url.strip_prefix("file:").filter(|rest| !rest.starts_with('/')) {
            Some(path) => format!("file://{}", folder.join(path).display()),
            None => url.clone(),
        };
        let place = self.location(&url, None)?;
        let extras = if parts.extras.is_empty() { String::new() } else { format!("[{}]", parts.extras.join(",")) };
        let marker = parts.marker.as_ref().map(|marker| format!(" ; {marker}")).unwrap_or_default();
        Ok(format!("{}{extras} @ {place}{marker}", parts.name))
    }
}

impl ProjectFile {
    fn is_wanted_static(&self) -> bool {
        !self.is_dynamic
    }

    fn table(&self) -> Option<Table> {
        self.document.as_deref().and_then(|document| document.parse().ok())
    }

    fn check_extra(&self, extra: &str) -> Result<(), InputError> {
        let table = self.table();
        let extras = table.as_ref().and_then(|table| table.get("project")?.get("optional-dependencies")?.as_table());
        let known: Vec<&str> = extras.map(|extras| extras.keys().map(String::as_str).collect()).unwrap_or_default();
        if known.iter().any(|known| is_same(known, extra)) {
            return Ok(());
        }
        Err(InputError::NoExtra { path: self.path.clone(), extra: extra.to_owned(), known: listed(&known) })
    }

    fn check_group(&self, group: &str) -> Result<(), InputError> {
        let table = self.table();
        let groups = table.as_ref().and_then(|table| table.get("dependency-groups")?.as_table());
        let known: Vec<&str> = groups.map(|groups| groups.keys().map(String::as_str).collect()).unwrap_or_default();
        if known.iter().any(|known| is_same(known, group)) {
            return Ok(());
        }
        Err(InputError::NoGroup { path: self.path.clone(), group: group.to_owned(), known: listed(&known) })
    }
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

fn is_same(left: &str, right: &str) -> bool {
    match (left.parse::<PackageName>(), right.parse::<PackageName>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

/// The file by which the project at `path` is known to the resolver.
fn project_file(path: &Path) -> Result<PathBuf, InputError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let names = ["pyproject.toml", "setup.py", "setup.cfg"];
    let found = names.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| InputError::NoProject(path.to_owned()))
}

fn read_table(file: &Path) -> Result<Table, InputError> {
    let bytes = read_bytes(file).map_err(InputError::of_file)?;
    let bad = |reason: String| InputError::Pyproject { path: file.to_owned(), reason };
    let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8".to_owned()))?;
    text.trim_start_matches('\u{feff}').parse().map_err(|error: toml::de::Error| bad(error.message().to_owned()))
}

/// Whether `[project]` leaves it to the backend to say what is required; without that table there is a backend of older
/// times.
fn is_dynamic(table: &Table) -> bool {
    let Some(project) = table.get("project").and_then(Value::as_table) else { return true };
    let dynamic = project.get("dynamic").and_then(Value::as_array);
    dynamic.is_some_and(|dynamic| {
        dynamic.iter().any(|field| matches!(field.as_str(), Some("dependencies" | "optional-dependencies")))
    })
}
