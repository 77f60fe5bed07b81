//! What is asked of a lock: extras and groups.

use std::collections::BTreeSet;
use std::path::Path;

use pip_accel_schema::name::PackageName;
use pip_accel_schema::project_lock::{LockFormat, ProjectLock};
use pip_accel_schema::requirement::excerpt;

use crate::lock::LockError;

/// Most names that an error lists.
const NAMES_SHOWN_MAX: usize = 12;

/// Extras and groups that are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Extras, as typed.
    pub extras: Vec<String>,
    /// All extras that the lock has.
    pub all_extras: bool,
    /// Groups besides the default ones, as typed.
    pub groups: Vec<String>,
    /// No group but those that are named.
    pub no_default_groups: bool,
    /// The group `dev` is not wanted.
    pub no_dev: bool,
    /// The project that the lock belongs to is not wanted, only what it requires.
    pub no_project: bool,
}

/// Extras and groups that count, in their normal form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) extras: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) project: bool,
}

fn normal(name: &str) -> String {
    name.parse::<PackageName>().map_or_else(|_| name.to_owned(), |name| name.as_str().to_owned())
}

impl Choice {
    /// Texts that tell two choices apart, for a digest.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let flags = [self.all_extras, self.no_default_groups, self.no_dev, self.no_project];
        let names = |kind: &str, names: &[String]| {
            let names: BTreeSet<String> = names.iter().map(|name| format!("{kind} {}", normal(name))).collect();
            names.into_iter().collect::<Vec<_>>()
        };
        let mut texts = names("extra", &self.extras);
        texts.extend(names("group", &self.groups));
        texts.push(format!("{flags:?}"));
        texts
    }

    /// The choice as the end of a root's name; empty for the usual one.
    pub(super) fn label(&self) -> String {
        let mut words: Vec<String> = self.texts();
        words.pop();
        for (is_set, word) in [
            (self.all_extras, "all extras"),
            (self.no_default_groups, "no default groups"),
            (self.no_dev, "no dev"),
            (self.no_project, "no project"),
        ] {
            words.extend(is_set.then(|| word.to_owned()));
        }
        if words.is_empty() { String::new() } else { format!(" with {}", words.join(", ")) }
    }

    /// A requirements file has neither extras nor groups to choose from: sentences about what of the choice means nothing
    /// there.
    pub(in crate::lock) fn refuse_any(&self, path: &Path) -> Result<Vec<String>, LockError> {
        let (kind, name) = match (self.extras.first(), self.groups.first()) {
            (Some(extra), _) => ("extra", extra),
            (None, Some(group)) => ("group", group),
            (None, None) => {
                let said = [
                    (self.all_extras, "--all-extras"),
                    (self.no_default_groups, "--no-default-groups"),
                    (self.no_dev, "--no-dev"),
                    (self.no_project, "--no-project"),
                ];
                let sentence =
                    |option| format!("{option} changes nothing: a requirements file has neither extras nor groups");
                return Ok(said
                    .into_iter()
                    .filter(|(is_said, _)| *is_said)
                    .map(|(_, option)| sentence(option))
                    .collect());
            }
        };
        let available = "a requirements file has neither extras nor groups".to_owned();
        Err(LockError::NoSuch { path: path.to_owned(), kind, name: excerpt(name), available })
    }

    /// Sentences about what of the choice means nothing in `lock`.
    pub(super) fn without_meaning(&self, lock: &ProjectLock, path: &Path) -> Vec<String> {
        let has_dev = ["dev", "develop"].iter().any(|group| lock.groups.contains(*group));
        let said = [
            (self.all_extras && lock.extras.is_empty(), "--all-extras", "no extras"),
            (self.no_default_groups && lock.groups.is_empty(), "--no-default-groups", "no groups"),
            (self.no_dev && !has_dev, "--no-dev", "no group `dev`"),
        ];
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let sentence = |option, what| format!("{option} changes nothing: {} has {what}", excerpt(&file_name));
        said.into_iter().filter(|(is_so, ..)| *is_so).map(|(_, option, what)| sentence(option, what)).collect()
    }

    /// What counts in `lock`.
    pub(super) fn in_lock(&self, lock: &ProjectLock, format: LockFormat, path: &Path) -> Result<Chosen, LockError> {
        let mut extras = BTreeSet::new();
        if self.all_extras {
            extras.extend(lock.extras.iter().cloned());
        }
        for extra in &self.extras {
            extras.insert(one_of("extra", extra, &normal(extra), &lock.extras, path)?);
        }
        let mut groups = BTreeSet::new();
        if !self.no_default_groups {
            groups.extend(lock.default_groups.iter().cloned());
        }
        if self.no_dev {
            groups.remove("dev");
        }
        for group in &self.groups {
            let name = match normal(group) {
                name if name == "dev" && format == LockFormat::Pipfile => "develop".to_owned(),
                name => name,
            };
            groups.insert(one_of("group", group, &name, &lock.groups, path)?);
        }
        Ok(Chosen {
            extras: extras.into_iter().collect(),
            groups: groups.into_iter().collect(),
            project: !self.no_project,
        })
    }
}

fn one_of(
    kind: &'static str,
    typed: &str,
    name: &str,
    known: &BTreeSet<String>,
    path: &Path,
) -> Result<String, LockError> {
    if known.contains(name) {
        return Ok(name.to_owned());
    }
    let names: Vec<String> = known.iter().take(NAMES_SHOWN_MAX).map(|name| format!("`{}`", excerpt(name))).collect();
    let more = known.len().saturating_sub(NAMES_SHOWN_MAX);
    let available = match (names.is_empty(), more) {
        (true, _) => "it has none".to_owned(),
        (false, 0) => format!("it has {}", names.join(", ")),
        (false, more) => format!("it has {} and {more} more", names.join(", ")),
    };
    Err(LockError::NoSuch { path: path.to_owned(), kind, name: excerpt(typed), available })
}
