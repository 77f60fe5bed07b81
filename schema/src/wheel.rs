//! Wheel file names and compatibility tags (PEP 425, 513, 599, 600, 656; abi3 and free-threaded rules).
//!
//! Written here and not taken from a crate because the tags of CPython 2.7, 3.6 and 3.7 (`cp27mu`, `cp36m`)
//! are needed as well; the tests compare with the `packaging` project for each interpreter on the machine.

use std::collections::HashMap;
use std::str::FromStr;

use crate::interpreter::{Implementation, Interpreter, Libc};
use crate::name::{PackageName, PackageVersion, ParseNameError};

/// Most expanded tags of one wheel name that are looked at; real names have fewer than ten.
pub const WHEEL_TAGS_MAX: usize = 512;

/// The parts of `{name}-{version}(-{build})?-{python}-{abi}-{platform}.whl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelFileName {
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// The optional build tag; the higher is preferred (number first, then the rest).
    pub build: Option<(u64, String)>,
    /// Python tags, `.`-separated: `py2.py3`.
    pub python: String,
    /// ABI tags.
    pub abi: String,
    /// Platform tags.
    pub platform: String,
}

/// Why a file name is not a wheel's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseWheelFileNameError {
    /// Wrong suffix or number of parts.
    #[error("`{0}` is not a wheel's file name (`name-version-python-abi-platform.whl`)")]
    Shape(String),
    /// A part breaks its own rules.
    #[error("`{file_name}` is not a wheel's file name")]
    Part {
        /// The refused name.
        file_name: String,
        /// What is wrong with it.
        source: ParseNameError,
    },
}

impl FromStr for WheelFileName {
    type Err = ParseWheelFileNameError;

    fn from_str(file_name: &str) -> Result<Self, Self::Err> {
        let shape = || ParseWheelFileNameError::Shape(file_name.chars().take(200).collect());
        let part = |source| ParseWheelFileNameError::Part { file_name: file_name.chars().take(200).collect(), source };
        let stem = file_name.strip_suffix(".whl").ok_or_else(shape)?;
        let parts: Vec<&str> = stem.split('-').collect();
        let (name, version, build, tags) = match parts.as_slice() {
            [name, version, tags @ ..] if tags.len() == 3 => (name, version, None, tags),
            [name, version, build, tags @ ..] if tags.len() == 3 => (name, version, Some(build), tags),
            _ => return Err(shape()),
        };
        if tags
            .iter()
            .any(|tag| tag.is_empty() || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b)))
        {
            return Err(shape());
        }
        let build = match build {
            None => None,
            Some(text) => {
                let digits = text.bytes().take_while(u8::is_ascii_digit).count();
                let number = text[..digits].parse().map_err(|_| shape())?;
                Some((number, text[digits..].to_owned()))
            }
        };
        Ok(Self {
            name: name.parse().map_err(part)?,
            version: version.replace('_', "-").parse().map_err(part)?,
            build,
            python: tags[0].to_owned(),
            abi: tags[1].to_owned(),
            platform: tags[2].to_owned(),
        })
    }
}

impl WheelFileName {
    /// `python-abi-platform` as in the file name.
    #[must_use]
    pub fn tags_text(&self) -> String {
        format!("{}-{}-{}", self.python, self.abi, self.platform)
    }
}

/// The tags an interpreter accepts, best first.
#[derive(Debug, Clone)]
pub struct TagSet {
    ordered: Vec<String>,
    ranks: HashMap<String, usize>,
}

impl TagSet {
    /// The tags of `interpreter` on a host with its libc.
    #[must_use]
    pub fn for_interpreter(interpreter: &Interpreter) -> Self {
        let platforms = platforms(interpreter);
        let mut ordered = Vec::with_capacity(2048);
        match interpreter.implementation {
            Implementation::CPython => cpython_tags(interpreter, &platforms, &mut ordered),
            Implementation::PyPy => pypy_tags(interpreter, &platforms, &mut ordered),
        }
        compatible_tags(interpreter, &platforms, &mut ordered);
        let mut ranks = HashMap::with_capacity(ordered.len());
        for (rank, tag) in ordered.iter().enumerate() {
            ranks.entry(tag.clone()).or_insert(rank);
        }
        Self { ordered, ranks }
    }

    /// The tags, best first: `cp311-cp311-manylinux_2_36_x86_64`.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.ordered
    }

    /// The best rank among the tags of `wheel` (0 is best), or `None` if it does not fit.
    #[must_use]
    pub fn rank(&self, wheel: &WheelFileName) -> Option<usize> {
        let mut best: Option<usize> = None;
        let mut looked_at = 0;
        for python in wheel.python.split('.') {
            for abi in wheel.abi.split('.') {
                for platform in wheel.platform.split('.') {
                    looked_at += 1;
                    if looked_at > WHEEL_TAGS_MAX {
                        return best;
                    }
                    if let Some(rank) = self.ranks.get(&format!("{python}-{abi}-{platform}")) {
                        best = Some(best.map_or(*rank, |best| best.min(*rank)));
                    }
                }
            }
        }
        best
    }
}

/// Architectures for which `manylinux1` and `manylinux2010` were defined.
const OLD_MANYLINUX_MACHINES: [&str; 2] = ["x86_64", "i686"];

/// Architectures for which `manylinux2014` was defined.
const MANYLINUX2014_MACHINES: [&str; 7] = ["x86_64", "i686", "aarch64", "armv7l", "ppc64", "ppc64le", "s390x"];

fn platforms(interpreter: &Interpreter) -> Vec<String> {
    let mut platforms = Vec::new();
    // A 32-bit ARM process may run code of the older revision of the architecture too.
    let machines: Vec<&str> = match interpreter.machine.as_str() {
        "armv8l" => vec!["armv8l", "armv7l"],
        machine => vec![machine],
    };
    for machine in &machines {
        match interpreter.libc {
            Libc::Glibc { major: 2, minor } => {
                let oldest = if OLD_MANYLINUX_MACHINES.contains(machine) { 5 } else { 17 };
                for minor in (oldest..=minor).rev() {
                    platforms.push(format!("manylinux_2_{minor}_{machine}"));
                    match minor {
                        17 if MANYLINUX2014_MACHINES.contains(machine) => {
                            platforms.push(format!("manylinux2014_{machine}"));
                        }
                        12 => platforms.push(format!("manylinux2010_{machine}")),
                        5 => platforms.push(format!("manylinux1_{machine}")),
                        _ => {}
                    }
                }
            }
            Libc::Glibc { .. } => {}
            Libc::Musl { major, minor } => {
                platforms.extend((0..=minor).rev().map(|minor| format!("musllinux_{major}_{minor}_{machine}")));
            }
        }
    }
    platforms.extend(machines.iter().map(|machine| format!("linux_{machine}")));
    platforms
}

fn version_digits(interpreter: &Interpreter) -> String {
    format!("{}{}", interpreter.version.major, interpreter.version.minor)
}

fn cpython_tags(interpreter: &Interpreter, platforms: &[String], ordered: &mut Vec<String>) {
    let digits = version_digits(interpreter);
    let python = format!("cp{digits}");
    let mut abis = vec![format!("cp{digits}{}", interpreter.abi_flags)];
    // Debug builds since 3.8 load ordinary extension modules too.
    if interpreter.abi_flags.contains('d') && interpreter.version.minor >= 8 && interpreter.version.major == 3 {
        abis.push(format!("cp{digits}{}", interpreter.abi_flags.replace('d', "")));
    }
    let stable_abi =
        interpreter.version.major == 3 && interpreter.version.minor >= 2 && !interpreter.is_free_threaded();
    for abi in &abis {
        ordered.extend(platforms.iter().map(|platform| format!("{python}-{abi}-{platform}")));
    }
    if stable_abi {
        ordered.extend(platforms.iter().map(|platform| format!("{python}-abi3-{platform}")));
    }
    ordered.extend(platforms.iter().map(|platform| format!("{python}-none-{platform}")));
    if stable_abi {
        for minor in (2..interpreter.version.minor).rev() {
            ordered.extend(platforms.iter().map(|platform| format!("cp3{minor}-abi3-{platform}")));
        }
    }
}

fn pypy_tags(interpreter: &Interpreter, platforms: &[String], ordered: &mut Vec<String>) {
    let python = format!("pp{}", version_digits(interpreter));
    // SOABI is `pypy39-pp73` or `pypy39-pp73-x86_64-linux-gnu`; the ABI tag is its first two parts.
    let abi = interpreter.soabi.as_deref().map(|soabi| soabi.split('-').take(2).collect::<Vec<_>>().join("_"));
    if let Some(abi) = abi {
        ordered.extend(platforms.iter().map(|platform| format!("{python}-{abi}-{platform}")));
    }
    ordered.extend(platforms.iter().map(|platform| format!("{python}-none-{platform}")));
}

fn compatible_tags(interpreter: &Interpreter, platforms: &[String], ordered: &mut Vec<String>) {
    let major = interpreter.version.major;
    let mut pythons = vec![format!("py{}", version_digits(interpreter)), format!("py{major}")];
    pythons.extend((0..interpreter.version.minor).rev().map(|minor| format!("py{major}{minor}")));
    for python in &pythons {
        ordered.extend(platforms.iter().map(|platform| format!("{python}-none-{platform}")));
    }
    let own = match interpreter.implementation {
        Implementation::CPython => format!("cp{}", version_digits(interpreter)),
        // PyPy's own pure wheels are tagged by the major version only.
        Implementation::PyPy => format!("pp{major}"),
    };
    ordered.push(format!("{own}-none-any"));
    ordered.extend(pythons.iter().map(|python| format!("{python}-none-any")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_parse_into_their_parts() {
        let wheel: WheelFileName = "zope.interface-7.1_1-1abc-cp311-cp311-manylinux_2_5_x86_64.manylinux1_x86_64.whl"
            .parse()
            .expect("a wheel name");
        assert_eq!(wheel.name.as_str(), "zope-interface");
        assert_eq!(wheel.version.as_str(), "7.1-1");
        assert_eq!(wheel.build, Some((1, "abc".to_owned())));
        assert_eq!(wheel.tags_text(), "cp311-cp311-manylinux_2_5_x86_64.manylinux1_x86_64");
        for bad in
            ["a-1.whl", "a-1-py3-none-any.zip", "a-1-x-py3-none-any.whl", "-1-py3-none-any.whl", "a-1-py3--any.whl"]
        {
            assert!(bad.parse::<WheelFileName>().is_err(), "{bad}");
        }
    }
}
