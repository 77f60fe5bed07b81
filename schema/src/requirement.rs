//! The text of one requirement (PEP 508), taken apart: name, extras, specifier or URL, marker.
//!
//! Specifiers and markers stay text here: what they mean is the builder's business.

use std::str::FromStr;

use crate::name::{PACKAGE_NAME_BYTES_MAX, PackageName, PackageVersion};

/// Longest requirement read, in bytes: a hostile `pyproject.toml` may hold anything.
pub const REQUIREMENT_BYTES_MAX: usize = 64 << 10;

/// Comparison operators of PEP 440, the longer before their beginnings.
const OPERATORS: [&str; 8] = ["===", "~=", "==", "!=", "<=", ">=", "<", ">"];

/// Which versions or file a requirement speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// The bare name.
    Any,
    /// The specifier as written, without parentheses: `>=1,<2`.
    Specifier(String),
    /// What follows `@`, fragment included.
    Url(String),
}

/// A requirement in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequirementParts {
    /// The project.
    pub name: PackageName,
    /// Extras as written, sorted, each once.
    pub extras: Vec<String>,
    /// Versions or URL.
    pub reference: Reference,
    /// Text of the marker after `;`, trimmed, not empty.
    pub marker: Option<String>,
}

/// Why a text is not a requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a requirement: {reason}")]
pub struct ParseRequirementError {
    /// The text, shortened, without credentials.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ParseRequirementError {
    pub(crate) fn new(text: &str, reason: impl Into<String>) -> Self {
        Self { text: excerpt(text), reason: reason.into() }
    }
}

impl FromStr for RequirementParts {
    type Err = ParseRequirementError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: String| ParseRequirementError::new(text, reason);
        if text.len() > REQUIREMENT_BYTES_MAX {
            return Err(error(format!("it is longer than {REQUIREMENT_BYTES_MAX} bytes")));
        }
        let rest = text.trim();
        let (name, rest) = rest.split_at(name_length(rest));
        let name: PackageName = name.parse().map_err(|_| {
            error("a name begins and ends with a letter or digit and holds only these, `-`, `_` and `.`".to_owned())
        })?;
        let (extras, rest) = split_extras(rest.trim_start()).map_err(error)?;
        let rest = rest.trim_start();
        let (reference, marker) = if let Some(rest) = rest.strip_prefix('@') {
            let (url, marker) = split_url(rest).map_err(error)?;
            (Reference::Url(url.to_owned()), marker)
        } else if let Some(rest) = rest.strip_prefix('(') {
            let (inside, rest) = rest.split_once(')').ok_or_else(|| error("the `(` is never closed".to_owned()))?;
            let marker = match rest.trim_start().strip_prefix(';') {
                Some(marker) => Some(marker),
                None if rest.trim().is_empty() => None,
                None => return Err(error(format!("`{}` follows the `)`", excerpt(rest.trim())))),
            };
            (specifier(inside).map_err(error)?, marker)
        } else {
            let (inside, marker) = rest.split_once(';').map_or((rest, None), |(inside, marker)| (inside, Some(marker)));
            (specifier(inside).map_err(error)?, marker)
        };
        Ok(Self { name, extras, reference, marker: non_empty(marker) })
    }
}

impl RequirementParts {
    /// The one version that the specifier allows: `==1.0` or `===1.0`, not `==1.*`, not two clauses.
    #[must_use]
    pub fn pinned_version(&self) -> Option<PackageVersion> {
        let Reference::Specifier(specifier) = &self.reference else { return None };
        let mut clauses = specifier.split(',').map(str::trim).filter(|clause| !clause.is_empty());
        let (clause, None) = (clauses.next()?, clauses.next()) else { return None };
        let version = clause.strip_prefix("===").or_else(|| clause.strip_prefix("=="))?.trim();
        version.parse().ok()
    }
}

/// A text for an error message: at most 120 characters, credentials of URLs as `****`.
#[must_use]
pub fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 120;
    let text = without_credentials(text);
    if text.chars().count() <= CHARACTERS_MAX {
        return text;
    }
    let mut short: String = text.chars().take(CHARACTERS_MAX).collect();
    short.push('…');
    short
}

/// `text` with what stands between `://` and `@` in each URL written as `****`.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let authority = after.find(|c: char| c.is_whitespace() || "/?#'\"".contains(c)).unwrap_or(after.len());
        rest = match after[..authority].rfind('@') {
            Some(at) => {
                clean.push_str("****");
                &after[at..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// Whether the text begins with `scheme://` or `file:`.
#[must_use]
pub fn has_scheme(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    is_scheme && (rest.starts_with("//") || scheme.eq_ignore_ascii_case("file"))
}

/// Splits `url ; marker` at white space, or at a `;` that ends the URL.
pub(crate) fn split_url(text: &str) -> Result<(&str, Option<&str>), String> {
    let text = text.trim();
    let (url, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    let (url, marker) = match (url.strip_suffix(';'), rest.strip_prefix(';')) {
        (Some(url), _) => (url, Some(rest)),
        (None, Some(marker)) => (url, Some(marker)),
        (None, None) if rest.is_empty() => (url, None),
        (None, None) => return Err(format!("`{}` follows the URL", excerpt(rest))),
    };
    if url.is_empty() { Err("there is no URL".to_owned()) } else { Ok((url, marker)) }
}

pub(crate) fn non_empty(marker: Option<&str>) -> Option<String> {
    marker.map(str::trim).filter(|marker| !marker.is_empty()).map(str::to_owned)
}

/// Splits `[a, b] rest` into sorted extras and the rest.
pub(crate) fn split_extras(text: &str) -> Result<(Vec<String>, &str), String> {
    let Some(inside) = text.strip_prefix('[') else { return Ok((Vec::new(), text)) };
    let Some((inside, rest)) = inside.split_once(']') else { return Err("the `[` is never closed".to_owned()) };
    let mut extras = Vec::new();
    for extra in inside.split(',').map(str::trim) {
        if extra.is_empty() && inside.trim().is_empty() {
            continue;
        }
        if extra.parse::<PackageName>().is_err() {
            return Err(format!("`{}` is not the name of an extra", excerpt(extra)));
        }
        extras.push(extra.to_owned());
    }
    extras.sort();
    extras.dedup();
    Ok((extras, rest))
}

fn name_length(text: &str) -> usize {
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    text.bytes().take(PACKAGE_NAME_BYTES_MAX + 1).take_while(in_name).count()
}

fn specifier(text: &str) -> Result<Reference, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Reference::Any);
    }
    let clauses = text.strip_suffix(',').unwrap_or(text);
    for clause in clauses.split(',').map(str::trim) {
        let Some(operator) = OPERATORS.iter().find(|operator| clause.starts_with(**operator)) else {
            return Err(format!("`{}` does not begin with `==` or another comparison", excerpt(clause)));
        };
        let version = clause[operator.len()..].trim();
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b".+!-_*".contains(&byte);
        if version.is_empty() || !version.bytes().all(is_safe) {
            return Err(format!("`{}` is not a version", excerpt(version)));
        }
    }
    Ok(Reference::Specifier(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> RequirementParts {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn requirements_come_apart() {
        let full = parts("Foo.Bar [b, a,b] (==1.0) ; python_version < '3;4'");
        assert_eq!(full.name.as_str(), "foo-bar");
        assert_eq!(full.extras, ["a", "b"]);
        assert_eq!(full.reference, Reference::Specifier("==1.0".to_owned()));
        assert_eq!(full.marker.as_deref(), Some("python_version < '3;4'"));
        assert_eq!(parts("a").reference, Reference::Any);
        assert_eq!(parts("a[]").extras, Vec::<String>::new());
        assert_eq!(parts("a ;").marker, None);
        assert_eq!(parts("a>=1,<2,").reference, Reference::Specifier(">=1,<2,".to_owned()));
        for text in ["a@https://h/x#sha256=1;os_name=='x'", "a @ https://h/x#sha256=1;os_name=='x'"] {
            assert_eq!(parts(text).reference, Reference::Url("https://h/x#sha256=1;os_name=='x'".to_owned()));
        }
        for text in ["a @ https://h/x ; m", "a @ https://h/x; m", "a@https://h/x ;m"] {
            assert_eq!(parts(text).reference, Reference::Url("https://h/x".to_owned()), "{text}");
            assert_eq!(parts(text).marker.as_deref(), Some("m"), "{text}");
        }
    }

    #[test]
    fn only_one_exact_clause_is_a_pin() {
        for (text, version) in [
            ("a==1.0", Some("1.0")),
            ("a == 1.0 ,", Some("1.0")),
            ("a===2004d", Some("2004d")),
            ("a (==1!1.0+cu118)", Some("1!1.0+cu118")),
            ("a==1.*", None),
            ("a==1.0,>=0.9", None),
            ("a>=1", None),
            ("a", None),
            ("a @ https://h/x", None),
        ] {
            assert_eq!(parts(text).pinned_version().as_ref().map(PackageVersion::as_str), version, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "-a",
            "a-",
            "a b",
            "a=1",
            "a==",
            "a==1 2",
            "a[",
            "a[b c]",
            "a[b,]",
            "a[,b]",
            "a (==1",
            "a (==1) x",
            "a @",
            "a @ https://h/x y",
            "a==1,,<2",
            "é",
            "a==1/2",
            "a,",
            &"a".repeat(129),
        ] {
            assert!(bad.parse::<RequirementParts>().is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_are_not_repeated() {
        let text = "a @ https://user:p@ss@host/x and http://t@h?q and https://host/@x";
        assert_eq!(without_credentials(text), "a @ https://****@host/x and http://****@h?q and https://host/@x");
        assert_eq!(excerpt(&"é".repeat(130)).chars().count(), 121);
    }
}
