//! URLs and paths of an input, as the resolver and as the lock get them.

use std::path::{Component, Path, PathBuf};

use pip_accel_schema::lock_file::{FormatSelection, LockOption};
use pip_accel_schema::requirement::excerpt;
use url::Url;

use crate::lock::{Location, without_fragment};

/// Why a place can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceError {
    /// It is of this machine and not there: `no file …`.
    #[error("there is {0}")]
    Missing(String),
    /// Anything else.
    #[error("{0}")]
    Wrong(String),
}

/// A place that a requirement names, as the resolver gets it.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// A URL without white space and variables.
    pub(super) url: String,
    /// What of this machine it needs to see.
    pub(super) path: Option<PathBuf>,
    /// The URL without its credentials, if it has any.
    pub(super) bare: Option<String>,
}

impl Rewritten {
    /// Relative paths are looked for in each of `folders` in turn.
    pub(super) fn of(location: &str, folders: &[&Path]) -> Result<Self, PlaceError> {
        let wrong = |reason: &str| Err(PlaceError::Wrong(format!("`{}` {reason}", excerpt(location))));
        if location.contains(|part: char| part.is_control()) {
            return wrong("has a control character");
        }
        let first = folders.first().copied().unwrap_or(Path::new("/"));
        match Location::parse(location, first) {
            Location::Path(_) => local(location, folders),
            Location::Url(_) => Ok(Self::remote(location)),
            Location::VersionControl => version_control(location),
            Location::Other => wrong("is neither http(s) nor a local file"),
        }
    }

    fn remote(location: &str) -> Self {
        let bare = user_info(location).map(|_| without_user_info(location));
        Self { url: without_variables(location), path: None, bare }
    }
}

fn version_control(location: &str) -> Result<Rewritten, PlaceError> {
    if !location.starts_with("git+") {
        let reason = format!("`{}` is under a version control other than git", excerpt(location));
        return Err(PlaceError::Wrong(reason));
    }
    let mut rewritten = Rewritten::remote(location);
    if location.starts_with("git+ssh://") && !user_info(location).is_some_and(|word| word.contains(':')) {
        // `git@` is nobody's secret.
        rewritten.bare = None;
    }
    if let Some(rest) = location.strip_prefix("git+file://") {
        let path = rest.split(['#', '?']).next().unwrap_or(rest);
        let whole = PathBuf::from(path);
        let before_revision = path.rsplit_once('@').map(|(before, _)| PathBuf::from(before));
        let found = [Some(whole), before_revision].into_iter().flatten().find(|path| path.is_dir());
        let found = found.and_then(|path| path.canonicalize().ok());
        rewritten.path = Some(found.ok_or_else(|| PlaceError::Missing(format!("no repository `{}`", excerpt(path))))?);
    }
    Ok(rewritten)
}

fn local(location: &str, folders: &[&Path]) -> Result<Rewritten, PlaceError> {
    let mut looked_for = None;
    for folder in folders {
        let Location::Path(path) = Location::parse(location, folder) else { continue };
        if let Ok(path) = path.canonicalize() {
            let is_project = ["pyproject.toml", "setup.py"].iter().any(|name| path.join(name).is_file());
            if path.is_dir() && !is_project && !location.contains("subdirectory=") {
                let text = excerpt(without_fragment(location));
                return Err(PlaceError::Wrong(format!("`{text}` has neither `pyproject.toml` nor `setup.py`")));
            }
            let no_path = |()| PlaceError::Wrong(format!("`{}` is no path", excerpt(location)));
            let url = Url::from_file_path(&path).map_err(no_path)?;
            return Ok(Rewritten { url: url.to_string(), path: Some(path), bare: None });
        }
        looked_for.get_or_insert(path);
    }
    let looked_for = looked_for.map_or_else(String::new, |path| format!(" (looked for at {})", path.display()));
    Err(PlaceError::Missing(format!("no file `{}`{looked_for}", excerpt(without_fragment(location)))))
}

/// The resolver would replace `${NAME}` from its own environment.
fn without_variables(url: &str) -> String {
    url.replace("${", "%24%7B").split_whitespace().collect()
}

/// What stands between `://` and `@`.
pub(super) fn user_info(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    authority.rsplit_once('@').map(|(user_info, _)| user_info)
}

/// The URL without what may be secret in its authority; the user of `git+ssh` stays.
pub(super) fn without_user_info(url: &str) -> String {
    let (Some(found), Some((scheme, rest))) = (user_info(url), url.split_once("://")) else { return url.to_owned() };
    let after = &rest[found.len() + 1..];
    if scheme.ends_with("ssh") {
        let user = found.split(':').next().unwrap_or(found);
        return format!("{scheme}://{user}@{after}");
    }
    format!("{scheme}://{after}")
}

/// Whether nothing but `${NAME}` and `:` is in the text.
pub(super) fn is_made_of_variables(text: &str) -> bool {
    let is_variable = |part: &str| {
        let name = part.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        name.is_some_and(|name| !name.is_empty() && !name.contains(['$', '{', '}']))
    };
    !text.is_empty() && text.split(':').all(is_variable)
}

/// A URL of an index or page as a lock may hold it: credentials only as variables, and no query, which may be one.
fn shown_place(text: &str) -> String {
    let keeps_user = user_info(text).is_none_or(is_made_of_variables);
    let shown = if keeps_user { text.to_owned() } else { without_user_info(text) };
    shown.split('?').next().unwrap_or_default().to_owned()
}

/// The option as a line of the lock; nothing for what has no place there.
pub(super) fn option_line(
    option: &LockOption,
    folder: &Path,
    base: &Path,
    expand: &mut dyn FnMut(&str) -> String,
) -> Option<String> {
    Some(match option {
        LockOption::IndexUrl(url) => format!("--index-url {}", shown_place(url)),
        LockOption::ExtraIndexUrl(url) => format!("--extra-index-url {}", shown_place(url)),
        LockOption::NoIndex => "--no-index".to_owned(),
        LockOption::FindLinks(links) => match Location::parse(&expand(links), folder) {
            Location::Path(path) => format!("--find-links {}", quoted(&relative(&path, base))),
            _ => format!("--find-links {}", shown_place(links)),
        },
        LockOption::TrustedHost(host) => format!("--trusted-host {host}"),
        LockOption::NoBinary(selection) => format!("--no-binary {}", selected(selection)),
        LockOption::OnlyBinary(selection) => format!("--only-binary {}", selected(selection)),
        LockOption::Include(_) | LockOption::Constraint(_) | LockOption::Ignored(_) => return None,
    })
}

fn selected(selection: &FormatSelection) -> String {
    match selection {
        FormatSelection::All => ":all:".to_owned(),
        FormatSelection::None => ":none:".to_owned(),
        FormatSelection::Packages(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

fn quoted(path: &str) -> String {
    if path.contains(char::is_whitespace) { format!("\"{path}\"") } else { path.to_owned() }
}

/// `path` as seen from the folder `base`: `requirements.in`, `../base.in`, and `.` for the folder itself.
pub(super) fn relative(path: &Path, base: &Path) -> String {
    let path = plain(path);
    let base = plain(base);
    let common = path.components().zip(base.components()).take_while(|(left, right)| left == right).count();
    let up = base.components().skip(common).map(|_| Component::ParentDir);
    let shown: PathBuf = up.chain(path.components().skip(common)).collect();
    if shown.as_os_str().is_empty() { ".".to_owned() } else { shown.to_string_lossy().into_owned() }
}

/// Without `.` and `..`, and without links where the path exists.
fn plain(path: &Path) -> PathBuf {
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        && let Ok(parent) = parent.canonicalize()
    {
        // A link to a file is called by its own name.
        return parent.join(name);
    }
    path.canonicalize().unwrap_or_else(|_| {
        path.components().fold(PathBuf::new(), |mut plain, part| {
            match part {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                part => plain.push(part),
            }
            plain
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_told_from_variables() {
        for (text, shown) in [
            ("https://u:p@h.example/simple/", "https://h.example/simple/"),
            ("https://${USER}:${TOKEN}@h.example/simple/", "https://${USER}:${TOKEN}@h.example/simple/"),
            ("https://u:${TOKEN}@h.example/simple/", "https://h.example/simple/"),
            ("https://h.example/simple/?sig=1", "https://h.example/simple/"),
            ("https://h.example/a@b/", "https://h.example/a@b/"),
        ] {
            assert_eq!(shown_place(text), shown);
        }
        assert_eq!(without_user_info("git+ssh://git:pw@h.example/r"), "git+ssh://git@h.example/r");
    }

    #[test]
    fn paths_are_seen_from_the_lock() {
        for (path, base, shown) in [
            ("/nowhere/a/requirements.in", "/nowhere/a", "requirements.in"),
            ("/nowhere/base.in", "/nowhere/a", "../base.in"),
            ("/nowhere/a", "/nowhere/a", "."),
            ("/nowhere/a/./b/../c.in", "/nowhere/a", "c.in"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(base)), shown, "{path}");
        }
    }

    #[test]
    fn no_variable_and_no_space_reaches_the_resolver() {
        let rewritten = Rewritten::of("https://h.example/${UV_DEFAULT_INDEX}/x.whl", &[Path::new("/")]).expect("a URL");
        assert_eq!(rewritten.url, "https://h.example/%24%7BUV_DEFAULT_INDEX}/x.whl");
        for text in ["hg+https://h.example/r", "ftp://h.example/x.whl", "./nowhere-at-all", "https://h/\u{7}"] {
            assert!(Rewritten::of(text, &[Path::new("/nowhere")]).is_err(), "{text}");
        }
    }
}
