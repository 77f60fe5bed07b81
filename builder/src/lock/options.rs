//! Options of a lock and, in the same form, of the command line and of pip's configuration.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use pip_accel_schema::lock_file::{FormatSelection, LockOption};
use pip_accel_schema::name::PackageName;
use pip_accel_schema::requirement::without_credentials;

use super::location::Location;

/// A URL that may hold credentials: printed and logged without them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceUrl(String);

impl SourceUrl {
    /// Wraps the text of a URL, variables already expanded.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The URL with its credentials, for the request only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&without_credentials(&self.0))
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SourceUrl({self})")
    }
}

/// One `--find-links`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindLinks {
    /// A page with links.
    Url(SourceUrl),
    /// A folder of files, or a local page with links.
    Path(PathBuf),
}

/// Which kinds of files of a project may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedFormats {
    /// Wheels.
    pub wheels: bool,
    /// Sdists.
    pub sdists: bool,
}

/// `--no-binary` and `--only-binary`, taken one after the other as pip does: a later word about a project replaces
/// an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormatControl {
    no_binary: Selected,
    only_binary: Selected,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Selected {
    all: bool,
    packages: BTreeSet<PackageName>,
}

impl Selected {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn apply(&mut self, selection: &FormatSelection, other: &mut Self) {
        match selection {
            FormatSelection::All => {
                other.clear();
                *self = Self { all: true, packages: BTreeSet::new() };
            }
            FormatSelection::None => self.clear(),
            FormatSelection::Packages(names) => {
                for name in names {
                    other.packages.remove(name);
                    self.packages.insert(name.clone());
                }
            }
        }
    }

    fn texts(&self) -> Vec<&str> {
        let all = self.all.then_some(":all:");
        all.into_iter().chain(self.packages.iter().map(PackageName::as_str)).collect()
    }
}

impl FormatControl {
    /// Takes a `--no-binary`.
    pub fn apply_no_binary(&mut self, selection: &FormatSelection) {
        self.no_binary.apply(selection, &mut self.only_binary);
    }

    /// Takes an `--only-binary`.
    pub fn apply_only_binary(&mut self, selection: &FormatSelection) {
        self.only_binary.apply(selection, &mut self.no_binary);
    }

    /// What may be used for a project. What is said of the project itself beats `:all:`.
    #[must_use]
    pub fn allowed(&self, name: &PackageName) -> AllowedFormats {
        if self.only_binary.packages.contains(name) {
            AllowedFormats { wheels: true, sdists: false }
        } else if self.no_binary.packages.contains(name) {
            AllowedFormats { wheels: false, sdists: true }
        } else if self.only_binary.all {
            AllowedFormats { wheels: true, sdists: false }
        } else {
            AllowedFormats { wheels: !self.no_binary.all, sdists: true }
        }
    }

    /// Both selections, `--no-binary` first, as sorted texts; `:all:` comes before the projects.
    #[must_use]
    pub fn texts(&self) -> [Vec<&str>; 2] {
        [self.no_binary.texts(), self.only_binary.texts()]
    }
}

/// What the option lines of a lock say, in the order of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockOptions {
    /// The last `--index-url`.
    pub index_url: Option<SourceUrl>,
    /// Each `--extra-index-url`.
    pub extra_index_urls: Vec<SourceUrl>,
    /// Whether no index is asked; `index_url` and `extra_index_urls` are empty then.
    pub no_index: bool,
    /// Each `--find-links`; relative paths are resolved beside the file that names them.
    pub find_links: Vec<FindLinks>,
    /// `--no-binary` and `--only-binary`.
    pub formats: FormatControl,
    /// Each `--trusted-host`: `host` or `host:port`.
    pub trusted_hosts: Vec<String>,
}

impl LockOptions {
    /// Takes an option of a file in `folder`; `expand` replaces variables.
    pub(crate) fn add(&mut self, option: LockOption, folder: &Path, expand: &mut dyn FnMut(&str) -> String) {
        match option {
            LockOption::IndexUrl(url) => {
                let url = SourceUrl::new(expand(&url));
                self.index_url = (!self.no_index).then_some(url);
            }
            LockOption::ExtraIndexUrl(url) => {
                let url = SourceUrl::new(expand(&url));
                if !self.no_index {
                    self.extra_index_urls.push(url);
                }
            }
            LockOption::NoIndex => {
                self.no_index = true;
                self.index_url = None;
                self.extra_index_urls.clear();
            }
            LockOption::FindLinks(links) => {
                let links = expand(&links);
                self.find_links.push(match Location::parse(&links, folder) {
                    Location::Path(path) => FindLinks::Path(path),
                    _ => FindLinks::Url(SourceUrl::new(links)),
                });
            }
            LockOption::TrustedHost(host) => self.trusted_hosts.push(expand(&host)),
            LockOption::NoBinary(selection) => self.formats.apply_no_binary(&selection),
            LockOption::OnlyBinary(selection) => self.formats.apply_only_binary(&selection),
            LockOption::Include(_) | LockOption::Constraint(_) | LockOption::Ignored(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(names: &[&str]) -> FormatSelection {
        FormatSelection::Packages(names.iter().map(|name| name.parse().expect("a name")).collect())
    }

    #[test]
    fn the_last_word_about_a_project_counts() {
        let allowed = |control: &FormatControl, name: &str| {
            let AllowedFormats { wheels, sdists } = control.allowed(&name.parse().expect("a name"));
            (wheels, sdists)
        };
        let mut control = FormatControl::default();
        assert_eq!(allowed(&control, "a"), (true, true));
        control.apply_no_binary(&FormatSelection::All);
        control.apply_only_binary(&packages(&["a"]));
        assert_eq!(allowed(&control, "a"), (true, false));
        assert_eq!(allowed(&control, "b"), (false, true));
        control.apply_no_binary(&packages(&["a"]));
        assert_eq!(allowed(&control, "a"), (false, true));
        control.apply_only_binary(&FormatSelection::All);
        assert_eq!(allowed(&control, "a"), (true, false));
        control.apply_only_binary(&FormatSelection::None);
        assert_eq!(allowed(&control, "a"), (true, true));
    }

    #[test]
    fn credentials_are_never_printed() {
        let url = SourceUrl::new("https://user:secret@host/simple".to_owned());
        assert_eq!(url.to_string(), "https://****@host/simple");
        assert!(!format!("{url:?}").contains("secret"));
    }
}
