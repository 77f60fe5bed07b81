//! `git+https://host/repo.git@rev#subdirectory=dir`: what a requirement says about a repository.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use pip_accel_schema::requirement::has_scheme;
use url::Url;

use crate::index::SafeUrl;

/// Transports that are used. `ext::` and the like run programs.
pub const GIT_TRANSPORTS: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// Hexadecimal digits of a full commit.
pub const COMMIT_DIGITS: usize = 40;

/// The full name of a commit: 40 hexadecimal digits, lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(String);

impl Commit {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text is not the full name of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a commit is named by {COMMIT_DIGITS} hexadecimal digits")]
pub struct ParseCommitError;

impl FromStr for Commit {
    type Err = ParseCommitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_full = text.len() == COMMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_full { Ok(Self(text.to_ascii_lowercase())) } else { Err(ParseCommitError) }
    }
}

/// A repository, what is wanted of it, and where the project is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitReference {
    /// Where the repository is, without `git+`, revision and fragment; shown without credentials.
    pub repository: SafeUrl,
    /// A commit, branch or tag; `None` is what the repository has as `HEAD`.
    pub revision: Option<String>,
    /// The project's folder in the tree, relative, without `..`; `None` is the top.
    pub subdirectory: Option<String>,
}

/// Why a text is no usable reference to a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseGitReferenceError {
    /// Another transport.
    #[error("`git+{0}` is no transport that is used; these are https, http, ssh, git and file")]
    Transport(String),
    /// Not a URL, or the short form `git@host:path`.
    #[error("it is no URL; write `git+ssh://git@host/path` for `git@host:path`")]
    Url,
    /// A host, user or path that the git program could take for an option, or no path at all.
    #[error("its host, user or path can't be one")]
    Place,
    /// A revision that can't be a name of git.
    #[error("`{0}` can't be a revision")]
    Revision(String),
    /// `subdirectory=` with a path that leaves the tree.
    #[error("`subdirectory={0}` is no folder of the repository")]
    Subdirectory(String),
}

impl GitReference {
    /// Reads `git+…`; what is not about git is `None`.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn parse(text: &str) -> Result<Option<Self>, ParseGitReferenceError> {
        let Some((scheme, rest)) = text.split_once(':') else { return Ok(None) };
        let Some((kind, transport)) = scheme.split_once('+') else { return Ok(None) };
        if !kind.eq_ignore_ascii_case("git") {
            return Ok(None);
        }
        let transport = transport.to_ascii_lowercase();
        if transport.contains('@') || !has_scheme(&format!("{transport}:{rest}")) {
            return Err(ParseGitReferenceError::Url);
        }
        if !GIT_TRANSPORTS.contains(&transport.as_str()) {
            return Err(ParseGitReferenceError::Transport(transport));
        }
        let mut url = Url::parse(&format!("{transport}:{rest}")).map_err(|_| ParseGitReferenceError::Url)?;
        let subdirectory = subdirectory(url.fragment().unwrap_or_default())?;
        url.set_fragment(None);
        let revision = split_revision(&mut url)?;
        check_place(&url)?;
        Ok(Some(Self { repository: SafeUrl::from(url), revision, subdirectory }))
    }

    /// The commit, if the reference names one in full.
    #[must_use]
    pub fn commit(&self) -> Option<GitCommit> {
        let commit = self.revision.as_ref()?.parse().ok()?;
        Some(self.at(commit))
    }

    /// The reference with what its revision was found to mean.
    #[must_use]
    pub fn at(&self, commit: Commit) -> GitCommit {
        let requested = self.revision.clone();
        GitCommit { repository: self.repository.clone(), commit, requested, subdirectory: self.subdirectory.clone() }
    }
}

fn subdirectory(fragment: &str) -> Result<Option<String>, ParseGitReferenceError> {
    let Some(text) = fragment.split('&').find_map(|part| part.strip_prefix("subdirectory=")) else { return Ok(None) };
    let bad = || ParseGitReferenceError::Subdirectory(text.to_owned());
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| bad())?;
    let parts: Vec<&str> = decoded.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if decoded.starts_with('/') || parts.iter().any(|part| *part == ".." || part.contains(['\0', '\\'])) {
        return Err(bad());
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// Takes `@rev` off the path.
fn split_revision(url: &mut Url) -> Result<Option<String>, ParseGitReferenceError> {
    let path = url.path().to_owned();
    let Some((place, revision)) = path.rsplit_once('@') else { return Ok(None) };
    url.set_path(place);
    let bad = || ParseGitReferenceError::Revision(revision.chars().take(80).collect());
    let decoded = percent_decode_str(revision).decode_utf8().map_err(|_| bad())?;
    // What `git check-ref-format` forbids, and what could be an option or an expression.
    let is_odd = |character: char| character.is_control() || " ~^:?*[\\".contains(character);
    if decoded.is_empty() || decoded.starts_with('-') || decoded.contains(is_odd) || decoded.contains("..") {
        return Err(bad());
    }
    Ok(Some(decoded.into_owned()))
}

/// Nothing that the git program or ssh could take for an option.
pub(super) fn check_place(url: &Url) -> Result<(), ParseGitReferenceError> {
    let starts_badly = |text: &str| percent_decode_str(text).next() == Some(b'-');
    let is_bad_host = match url.host_str() {
        Some(host) => starts_badly(host) || host.is_empty(),
        None => url.scheme() != "file",
    };
    let path = url.path();
    let has_control = percent_decode_str(url.as_str()).any(|byte| byte.is_ascii_control());
    if is_bad_host || starts_badly(url.username()) || has_control || path.trim_matches('/').is_empty() {
        return Err(ParseGitReferenceError::Place);
    }
    Ok(())
}

/// One commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCommit {
    /// Where the repository is; shown without credentials.
    pub repository: SafeUrl,
    /// The commit.
    pub commit: Commit,
    /// What the requirement says instead of it, for `direct_url.json`: a branch, a tag, the commit itself.
    pub requested: Option<String>,
    /// The project's folder in its tree; `None` is the top.
    pub subdirectory: Option<String>,
}

impl GitCommit {
    /// The URL for `direct_url.json`: without credentials, but with the user of ssh that every server has.
    #[must_use]
    pub fn public_url(&self) -> String {
        let whole = self.repository.expose();
        if whole.scheme() == "ssh" && whole.username() == "git" && whole.password().is_none() {
            return whole.to_string();
        }
        self.repository.without_credentials().to_string()
    }

    /// What it is known by: no credentials in it.
    #[must_use]
    pub fn identity(&self) -> String {
        let repository = self.repository.without_credentials();
        match &self.subdirectory {
            Some(folder) => format!("git+{repository}@{}#subdirectory={folder}", self.commit),
            None => format!("git+{repository}@{}", self.commit),
        }
    }
}

impl fmt::Display for GitCommit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "git+{}@{}", self.repository, self.commit)?;
        match &self.subdirectory {
            Some(folder) => write!(formatter, "#subdirectory={folder}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse(text: &str) -> Result<Option<GitReference>, ParseGitReferenceError> {
        GitReference::parse(text)
    }

    #[test]
    fn references_are_taken_apart() {
        for (text, repository, revision, subdirectory) in [
            ("git+https://h/r.git@v1#egg=x&subdirectory=a/b/", "https://h/r.git", Some("v1"), Some("a/b")),
            ("git+https://u:p@h/r", "https://u:p@h/r", None, None),
            ("git+ssh://git@h/o/r.git@feature/x", "ssh://git@h/o/r.git", Some("feature/x"), None),
            ("git+file:///srv/r", "file:///srv/r", None, None),
            ("GIT+HTTPS://h/r#egg=x", "https://h/r", None, None),
            ("git+https://h/r@a%2Bb", "https://h/r", Some("a+b"), None),
        ] {
            let reference = parse(text).expect(text).expect(text);
            assert_eq!(reference.repository.expose().as_str(), repository, "{text}");
            assert_eq!((reference.revision.as_deref(), reference.subdirectory.as_deref()), (revision, subdirectory));
        }
        for other in ["https://h/r", "hg+https://h/r", "./x", "name"] {
            assert_eq!(parse(other), Ok(None), "{other}");
        }
    }

    /// What the git program could take for an option, a command or a way out of the tree.
    #[test]
    fn hostile_references_are_refused() {
        for bad in [
            "git+ext::sh -c id",
            "git+ext://sh",
            "git+fd://7/x",
            "git+git@host:o/r",
            "git+ssh://-oProxyCommand=id/r",
            "git+ssh://-oProxyCommand=id@h/r",
            "git+ssh://%2Dx@h/r",
            "git+https://h/r@--upload-pack=id",
            "git+https://h/r@a..b",
            "git+https://h/r@a b",
            "git+https://h/r@HEAD~1",
            "git+https://h/r@",
            "git+https://h/r%0a@main",
            "git+https://h/",
            "git+file://",
            "git+https://h/r#subdirectory=../x",
            "git+https://h/r#subdirectory=/etc",
            "git+https://h/r#subdirectory=a/%2e%2e/b",
        ] {
            assert!(parse(bad).is_err(), "{bad}: {:?}", parse(bad));
        }
    }

    #[test]
    fn only_a_full_name_is_a_commit() {
        let named =
            |revision: &str| parse(&format!("git+https://h/r@{revision}")).expect("good").expect("git").commit();
        assert_eq!(named(&COMMIT.to_uppercase()).expect("a commit").commit.as_str(), COMMIT);
        for text in ["main", "0123456", &COMMIT[1..], "HEAD"] {
            assert_eq!(named(text), None, "{text}");
        }
        let text = format!("git+https://user:pw@h/r@{COMMIT}#subdirectory=a");
        let commit = parse(&text).expect("good").expect("git").commit().expect("full");
        assert_eq!(commit.identity(), format!("git+https://h/r@{COMMIT}#subdirectory=a"));
        assert!(!commit.to_string().contains("pw"));
    }
}
