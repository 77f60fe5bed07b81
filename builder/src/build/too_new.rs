//! Builds that fail because today's build requirements no longer have what an old sdist expects of them.
//!
//! Pure: the last lines of a log in, a named reason out. A rule speaks of one line, and only of what an older release of
//! a *build requirement* had; what the interpreter itself lost (`distutils`, `imp`) no older release brings back.

use std::fmt;

/// What is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooNew {
    /// `pkg_resources`, which setuptools had until 2026.
    PkgResources,
    /// The keyword `use_2to3` of setuptools.
    Use2to3,
    /// Another module of setuptools: `setuptools.command.test`.
    SetuptoolsModule,
    /// A name of setuptools: `Feature`.
    SetuptoolsName,
    /// Keys of `setup.cfg` in an old spelling: `description-file`.
    SetuptoolsKey,
    /// An argument of its functions: `dry_run`.
    SetuptoolsArgument,
    /// Files among the sources of an extension that older releases left to Cython: `.pxd`.
    SetuptoolsSources,
    /// Sources that Cython 3 refuses.
    Cython3,
    /// An inner name of Cython's `build_ext`.
    CythonBuildExt,
    /// `numpy.distutils`.
    NumpyDistutils,
    /// A module of wheel: `wheel.bdist_wheel`.
    WheelModule,
    /// The rules of old CMake releases, which CMake 4 does not follow.
    CMakePolicy,
}

/// The rules: each text of a line means the reason if all of its parts are in that line.
const RULES: [(TooNew, &[&str]); 21] = [
    (TooNew::PkgResources, &["No module named 'pkg_resources'"]),
    (TooNew::PkgResources, &["No module named pkg_resources"]),
    (TooNew::Use2to3, &["use_2to3 is invalid"]),
    (TooNew::SetuptoolsModule, &["No module named 'setuptools."]),
    (TooNew::SetuptoolsName, &["cannot import name", " from 'setuptools"]),
    (TooNew::SetuptoolsName, &["module 'setuptools", "has no attribute"]),
    (TooNew::SetuptoolsKey, &["Invalid dash-separated key"]),
    (TooNew::SetuptoolsKey, &["Invalid uppercase key"]),
    (TooNew::SetuptoolsArgument, &["got an unexpected keyword argument 'dry_run'"]),
    (TooNew::SetuptoolsSources, &["error: unknown file type '.pxd'"]),
    (TooNew::Cython3, &["Error compiling Cython file"]),
    (TooNew::Cython3, &["Cython.Compiler.Errors.CompileError"]),
    (TooNew::CythonBuildExt, &["AttributeError", "cython_sources"]),
    (TooNew::CythonBuildExt, &["cannot import name", " from 'Cython"]),
    (TooNew::CythonBuildExt, &["No module named 'Cython."]),
    (TooNew::NumpyDistutils, &["No module named 'numpy.distutils"]),
    (TooNew::WheelModule, &["No module named 'wheel."]),
    (TooNew::CMakePolicy, &["Compatibility with CMake <", "has been removed"]),
    // Python 2 names without quotes and places.
    (TooNew::SetuptoolsModule, &["ImportError: No module named setuptools."]),
    (TooNew::CythonBuildExt, &["ImportError: No module named Cython."]),
    (TooNew::SetuptoolsName, &["ImportError: cannot import name Feature"]),
];

impl fmt::Display for TooNew {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PkgResources => "it needs `pkg_resources`, which setuptools has no more",
            Self::Use2to3 => "it needs `use_2to3`, which setuptools has no more",
            Self::SetuptoolsModule => "it needs a module that setuptools has no more",
            Self::SetuptoolsName => "it needs a name that setuptools has no more",
            Self::SetuptoolsKey => "it spells keys of `setup.cfg` in a way that setuptools takes no more",
            Self::SetuptoolsArgument => "it passes an argument that setuptools takes no more",
            Self::SetuptoolsSources => "it lists sources that setuptools takes no more",
            Self::Cython3 => "its sources are refused by this Cython",
            Self::CythonBuildExt => "it needs a name or module that Cython has no more",
            Self::NumpyDistutils => "it needs `numpy.distutils`, which numpy has no more",
            Self::WheelModule => "it needs a module that wheel has no more",
            Self::CMakePolicy => "it is written for a CMake that the one of today does not follow",
        })
    }
}

/// The reason by which `lines`, the last of a failed build's log, say that its requirements are too new for it; the
/// last line that says so decides.
pub(super) fn too_new<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Option<TooNew> {
    let reason_of = |line: &str| RULES.iter().find(|(_, parts)| parts.iter().all(|part| line.contains(part)));
    lines.rev().find_map(reason_of).map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_line_of_a_real_log() {
        let cases = [
            (TooNew::PkgResources, "ModuleNotFoundError: No module named 'pkg_resources'"),
            (TooNew::PkgResources, "ImportError: No module named pkg_resources"),
            (TooNew::Use2to3, "error in suds setup command: use_2to3 is invalid."),
            (TooNew::SetuptoolsModule, "ModuleNotFoundError: No module named 'setuptools.command.test'"),
            (TooNew::SetuptoolsName, "ImportError: cannot import name 'Feature' from 'setuptools' (/x/__init__.py)"),
            (TooNew::SetuptoolsName, "AttributeError: module 'setuptools.dist' has no attribute 'check_specifier'"),
            (
                TooNew::SetuptoolsKey,
                "setuptools.errors.InvalidConfigError: Invalid dash-separated key 'description-file' in 'metadata'",
            ),
            (
                TooNew::SetuptoolsKey,
                "setuptools.errors.InvalidConfigError: Invalid uppercase key 'Name' in 'metadata' (setup.cfg)",
            ),
            (TooNew::SetuptoolsArgument, "TypeError: Popen.__init__() got an unexpected keyword argument 'dry_run'"),
            (TooNew::SetuptoolsSources, "error: unknown file type '.pxd' (from 'chid.pxd')"),
            (TooNew::Cython3, "Error compiling Cython file:"),
            (TooNew::Cython3, "Cython.Compiler.Errors.CompileError: src/x.pyx"),
            (TooNew::CythonBuildExt, "AttributeError: cython_sources"),
            (TooNew::CythonBuildExt, "ImportError: cannot import name 'Utils' from 'Cython' (/x/__init__.py)"),
            (TooNew::CythonBuildExt, "ModuleNotFoundError: No module named 'Cython.Distutils.old_build_ext'"),
            (TooNew::NumpyDistutils, "ModuleNotFoundError: No module named 'numpy.distutils'"),
            (TooNew::WheelModule, "ModuleNotFoundError: No module named 'wheel.bdist_wheel'"),
            (TooNew::CMakePolicy, "  Compatibility with CMake < 3.5 has been removed from CMake."),
            (TooNew::SetuptoolsModule, "ImportError: No module named setuptools.command.x"),
            (TooNew::CythonBuildExt, "ImportError: No module named Cython.Distutils.old_build_ext"),
            (TooNew::SetuptoolsName, "ImportError: cannot import name Feature"),
        ];
        assert_eq!(cases.len(), RULES.len());
        for ((expected, line), (rule, parts)) in cases.iter().zip(RULES) {
            assert_eq!((too_new([*line].into_iter()), rule), (Some(*expected), *expected), "{line}");
            assert!(parts.iter().all(|part| line.contains(part)), "{line} is not of the rule {parts:?}");
        }
    }

    #[test]
    fn what_no_older_requirement_cures_is_left_alone() {
        for line in [
            "ModuleNotFoundError: No module named 'setuptools'",
            "ModuleNotFoundError: No module named 'Cython'",
            "ModuleNotFoundError: No module named 'distutils'",
            "ModuleNotFoundError: No module named 'imp'",
            "ModuleNotFoundError: No module named 'numpy'",
            "fatal error: libxml/xmlversion.h: No such file or directory",
            "error: command '/usr/bin/gcc' failed with exit code 1",
            "SetuptoolsDeprecationWarning: setup.py install is deprecated.",
            "",
        ] {
            assert_eq!(too_new([line].into_iter()), None, "{line}");
        }
        assert_eq!(too_new([].into_iter()), None);
    }

    #[test]
    fn the_last_line_that_says_so_decides() {
        let lines = ["No module named 'pkg_resources'", "error: use_2to3 is invalid.", "error: it failed"];
        assert_eq!(too_new(lines.into_iter()), Some(TooNew::Use2to3));
    }
}
