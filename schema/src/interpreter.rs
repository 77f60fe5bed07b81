//! What an interpreter is, wherever it lies: implementation, version, ABI, platform, libc, compile settings.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::ValueDigest;
use crate::encode::Encoder;

/// Which Python this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Implementation {
    /// The reference implementation.
    CPython,
    /// PyPy.
    PyPy,
}

impl Implementation {
    /// `cpython` or `pypy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CPython => "cpython",
            Self::PyPy => "pypy",
        }
    }
}

/// Major, minor and micro version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PythonVersion {
    /// 3 of 3.11.7.
    pub major: u8,
    /// 11 of 3.11.7.
    pub minor: u8,
    /// 7 of 3.11.7.
    pub micro: u8,
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// The C library that extension modules link to, with the version of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Libc {
    /// GNU libc.
    Glibc {
        /// 2 of 2.36.
        major: u16,
        /// 36 of 2.36.
        minor: u16,
    },
    /// musl.
    Musl {
        /// 1 of 1.2.
        major: u16,
        /// 2 of 1.2.
        minor: u16,
    },
}

/// The variables of PEP 508 markers for one interpreter, by their names in the standard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of PEP 508")]
pub struct MarkerVariables {
    pub os_name: String,
    pub sys_platform: String,
    pub platform_machine: String,
    pub platform_python_implementation: String,
    pub platform_release: String,
    pub platform_system: String,
    pub platform_version: String,
    pub python_version: String,
    pub python_full_version: String,
    pub implementation_name: String,
    pub implementation_version: String,
}

/// Everything about an interpreter that a build or a choice of wheel may depend on. No path is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// CPython or PyPy.
    pub implementation: Implementation,
    /// The language version.
    pub version: PythonVersion,
    /// The full version with its release level, `3.14.0rc1`; for PyPy the language version too.
    pub full_version: String,
    /// Version of the implementation itself (PyPy's own, `7.3.11`); equal to `version` for CPython.
    pub implementation_version: PythonVersion,
    /// `SOABI` of the interpreter's sysconfig, `cpython-311-x86_64-linux-gnu`; absent for Python 2.7 on some hosts.
    pub soabi: Option<String>,
    /// ABI flags: `m`, `d`, `t`, `mu`.
    pub abi_flags: String,
    /// `sysconfig.get_platform()` with `-` and `.` as `_`: `linux_x86_64`.
    pub platform: String,
    /// The machine of a process of this interpreter: `x86_64`, `i686`, `aarch64`, `armv7l`.
    pub machine: String,
    /// The C library.
    pub libc: Libc,
    /// Names the bytecode: cache tag and magic number, `cpython-311-a70d0d0a`.
    pub bytecode_tag: String,
    /// Whether unchecked-hash bytecode (PEP 552) is understood: 3.7 and later.
    pub unchecked_hash_bytecode: bool,
    /// Marker variables.
    pub markers: MarkerVariables,
    /// Compile settings of its sysconfig (`CC`, `CFLAGS`, `OPT` …) with its own prefix written as `{prefix}`.
    pub compile_settings: BTreeMap<String, String>,
    /// `site-packages` of a virtualenv, relative to its root: `lib/python3.11/site-packages`.
    pub site_packages: String,
}

impl Interpreter {
    /// The digest that recipes hold: two interpreters with the same identity build the same things.
    #[must_use]
    pub fn identity(&self) -> ValueDigest {
        let mut encoder = Encoder::for_domain("pip-accel/interpreter/1");
        encoder.text(self.implementation.as_str()).text(&self.full_version);
        encoder.text(&self.implementation_version.to_string());
        encoder.optional_text(self.soabi.as_deref()).text(&self.abi_flags);
        encoder.text(&self.platform).text(&self.machine);
        match self.libc {
            Libc::Glibc { major, minor } => encoder.text("glibc").number(major.into()).number(minor.into()),
            Libc::Musl { major, minor } => encoder.text("musl").number(major.into()).number(minor.into()),
        };
        encoder.text(&self.bytecode_tag).number(self.compile_settings.len() as u64);
        for (key, value) in &self.compile_settings {
            encoder.text(key).text(value);
        }
        ValueDigest::from_bytes(encoder.finish())
    }

    /// The interpreter for a reader: `cpython-3.11.7-linux_x86_64`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}-{}{}-{}", self.implementation.as_str(), self.full_version, self.abi_flags, self.platform)
    }

    /// Whether this is a build without the global interpreter lock (PEP 703).
    #[must_use]
    pub fn is_free_threaded(&self) -> bool {
        self.abi_flags.contains('t')
    }
}
