//! One requirement with its meaning: what `build-system.requires` and `Requires-Dist` hold.

use std::fmt;
use std::str::FromStr;

use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::name::PackageName;
use pip_accel_schema::requirement::{ParseRequirementError, Reference, RequirementParts};

pub use super::marker::{MARKER_BYTES_MAX, MARKER_NESTING_MAX, Marker, MarkerError};
pub use super::version::{SPECIFIERS_BYTES_MAX, Specifiers, Version, VersionError, is_same, satisfies_pin};

/// Why a text is not a requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// Its shape.
    #[error(transparent)]
    Shape(#[from] ParseRequirementError),
    /// Its specifier.
    #[error("the requirement `{requirement}` can't be read")]
    Version {
        /// The project it names.
        requirement: PackageName,
        /// What is wrong.
        source: VersionError,
    },
    /// Its marker.
    #[error("the marker of the requirement `{requirement}` can't be read")]
    Marker {
        /// The project it names.
        requirement: PackageName,
        /// What is wrong.
        source: MarkerError,
    },
}

/// `name[extras]>=1 ; marker` or `name @ url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The project.
    pub name: PackageName,
    /// Extras as written, sorted.
    pub extras: Vec<String>,
    /// Versions it allows; any for a URL.
    pub specifiers: Specifiers,
    /// The URL after `@`.
    pub url: Option<String>,
    /// When it applies.
    pub marker: Option<Marker>,
}

impl Requirement {
    /// Whether it applies to an interpreter, with these extras of the project that requires it.
    #[must_use]
    pub fn applies(&self, variables: &MarkerVariables, extras: &[String]) -> bool {
        self.marker.as_ref().is_none_or(|marker| marker.eval(variables, extras))
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: RequirementParts = text.parse()?;
        let (specifiers, url) = match parts.reference {
            Reference::Any => (Specifiers::any(), None),
            Reference::Specifier(specifier) => (
                specifier
                    .parse()
                    .map_err(|source| RequirementError::Version { requirement: parts.name.clone(), source })?,
                None,
            ),
            Reference::Url(url) => (Specifiers::any(), Some(url)),
        };
        let marker = parts
            .marker
            .as_deref()
            .map(Marker::parse)
            .transpose()
            .map_err(|source| RequirementError::Marker { requirement: parts.name.clone(), source })?;
        Ok(Self { name: parts.name, extras: parts.extras, specifiers, url, marker })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(formatter)?;
        if !self.extras.is_empty() {
            write!(formatter, "[{}]", self.extras.join(","))?;
        }
        match &self.url {
            Some(url) => write!(formatter, " @ {url}")?,
            None => self.specifiers.fmt(formatter)?,
        }
        match &self.marker {
            Some(marker) => write!(formatter, " ; {marker}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_requirements_parse_and_print() {
        for (text, printed) in [
            ("setuptools", "setuptools"),
            ("Cython >=0.29 , <4", "cython>=0.29,<4"),
            ("numpy==1.21.*; python_version<'3.9'", "numpy==1.21.* ; python_version<'3.9'"),
            ("a[y,x] @ https://h/a.whl ; os_name=='x'", "a[x,y] @ https://h/a.whl ; os_name=='x'"),
            ("oldest-supported-numpy (>=0.1)", "oldest-supported-numpy>=0.1"),
        ] {
            let requirement: Requirement = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(requirement.to_string(), printed);
            let again: Requirement = printed.parse().expect(printed);
            assert_eq!(again, requirement);
        }
    }

    #[test]
    fn unreadable_parts_are_named() {
        for (text, expected) in [
            ("a b", "`a b` is not a requirement: `b` does not begin with `==` or another comparison"),
            ("a>=x", "the requirement `a` can't be read"),
            ("a; x", "the marker of the requirement `a` can't be read"),
        ] {
            assert_eq!(text.parse::<Requirement>().expect_err(text).to_string(), expected);
        }
    }
}
