//! Our own files of rules.
//!
//! ```toml
//! [projects]
//! lxml = ["libxml2-dev", "libxslt1-dev"]
//! [header]            # also: library, pkgconfig, program, cmake, file
//! "mysql.h" = "default-libmysqlclient-dev"
//! [[rule]]
//! match = 'please install the (?P<name>\w+) library'
//! packages = ["libfoo-dev"]
//! ```

use std::collections::BTreeMap;

use regex::RegexBuilder;
use serde::Deserialize;
use toml::Spanned;

use super::super::evidence::Kind;
use super::{OwnRules, Rule, Wrong, package, project};

/// Largest compiled pattern, in bytes: far more than a sentence takes, and too little to hurt.
const PATTERN_BYTES_MAX: usize = 1 << 20;

type Names = BTreeMap<String, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    projects: BTreeMap<String, Spanned<Vec<String>>>,
    #[serde(default)]
    header: Names,
    #[serde(default)]
    library: Names,
    #[serde(default)]
    pkgconfig: Names,
    #[serde(default)]
    program: Names,
    #[serde(default)]
    cmake: Names,
    #[serde(default)]
    file: Names,
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(rename = "match")]
    pattern: Spanned<String>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    reason: Option<String>,
}

pub(super) fn take(rules: &mut OwnRules, text: &str) -> Result<(), Wrong> {
    let line = |offset: usize| text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
    let file: File = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        (line(offset), error.message().lines().next().unwrap_or("it is no TOML").to_owned())
    })?;
    for (name, packages) in file.projects {
        let wrong = |reason| (line(packages.span().start), reason);
        let name = project(&name).map_err(wrong)?;
        let packages: Result<_, _> = packages.get_ref().iter().map(|name| package(name)).collect();
        rules.projects.insert(name, packages.map_err(wrong)?);
    }
    for (kind, names) in [
        (Kind::Header, file.header),
        (Kind::Library, file.library),
        (Kind::PkgConfig, file.pkgconfig),
        (Kind::Program, file.program),
        (Kind::Cmake, file.cmake),
        (Kind::File, file.file),
    ] {
        for (name, value) in names {
            let package = package(value.get_ref()).map_err(|reason| (line(value.span().start), reason))?;
            rules.names.insert((kind, name), package);
        }
    }
    for raw in file.rule {
        let start = raw.span().start;
        rules.rules.push(rule(raw.into_inner(), &|offset| line(offset.unwrap_or(start)))?);
    }
    Ok(())
}

fn rule(raw: RawRule, line: &dyn Fn(Option<usize>) -> usize) -> Result<Rule, Wrong> {
    let wrong = |reason: String| (line(None), reason);
    let packages: Result<Vec<String>, String> = raw.packages.iter().map(|name| package(name)).collect();
    let packages = packages.map_err(wrong)?;
    let reason = match (raw.reason, packages.first()) {
        (Some(reason), _) => reason,
        (None, Some(_)) => format!("{} is what your own rules name", packages.join(" ")),
        (None, None) => return Err(wrong("a rule has either `packages` or a `reason` why there are none".to_owned())),
    };
    let pattern = RegexBuilder::new(raw.pattern.get_ref()).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        let last = error.to_string().lines().last().unwrap_or_default().to_owned();
        (line(Some(raw.pattern.span().start)), format!("the pattern can't be used: {last}"))
    })?;
    Ok(Rule { pattern, packages, reason })
}
