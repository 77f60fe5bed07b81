//! What the trace of a build's file accesses says: paths that were asked for and are not there.
//!
//! A build asks for thousands of paths in vain: the folders of a search path, programs that might be there. A missed path
//! is evidence by itself only if it is exactly that of a packaged header, library, `.pc` file or program, and then it
//! counts only where the log says nothing; elsewhere it confirms what the log says ([`Missed`]).

use std::collections::HashSet;

use super::evidence::{Evidence, Kind};
use super::index::SystemIndex;
use crate::sandbox::MissedPath;

/// The weight of a missed path that exactly one kind of package would fill: less than a message that ends a build.
const TRACE_WEIGHT: u8 = 70;

/// Most of them that are looked at: what a build asks for last is nearest to its end.
const LATE_MAX: usize = 16;

/// Most missed paths that are looked up.
const PATHS_MAX: usize = 50_000;

/// Endings of headers.
const HEADER_ENDINGS: &[&str] = &[".h", ".hh", ".hpp", ".hxx", ".H"];

/// Programs that are asked for by who can do without: version control, other compilers, what describes the machine.
const OPTIONAL_PROGRAMS: &[&str] = &[
    "git",
    "hg",
    "svn",
    "bzr",
    "fossil",
    "lsb_release",
    "ldconfig",
    "ccache",
    "sccache",
    "distcc",
    "gawk",
    "nawk",
    "mawk",
    "file",
    "clang",
    "clang++",
    "icc",
    "icpc",
    "icx",
    "nvcc",
    "dlltool",
    "mt",
    "sysctl",
    "csrutil",
    "sw_vers",
    "oslevel",
    "hostinfo",
    "rpm",
    "rpmbuild",
    "ld.lld",
    "lld",
    "ld.mold",
    "mold",
    "ninja",
    "ninja-build",
    "pkgconf",
    "pip",
    "pip3",
    "time",
    "sudo",
    "locale",
    "lscpu",
    "nvidia-smi",
    "gdb",
    "valgrind",
    "ifort",
    "ifx",
    "pgcc",
    "tcc",
    "egrep",
];

/// Headers that compilers' own headers ask for and do without (`__has_include`).
const OPTIONAL_HEADERS: &[&str] = &["tbb/", "sys/sdt.h", "valgrind/", "sanitizer/", "stdc-predef.h", "crypt.h"];

/// The paths that were asked for in vain, to confirm what a log says.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// Whole paths as the index has them: below `usr`, without a leading `/`.
    paths: HashSet<String>,
    /// Their last components.
    names: HashSet<String>,
}

impl Missed {
    pub(super) fn new(missed: &[MissedPath]) -> Self {
        let mut all = Self::default();
        for path in missed.iter().rev().take(PATHS_MAX).filter_map(in_index) {
            if let Some((_, name)) = path.rsplit_once('/') {
                all.names.insert(name.to_owned());
            }
            all.paths.insert(path);
        }
        all
    }

    /// Whether exactly this path was asked for.
    pub(super) fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Whether what `evidence` names was asked for, in whatever folder.
    pub(super) fn confirms(&self, evidence: &Evidence) -> bool {
        let leaf = evidence.name.rsplit('/').next().unwrap_or_default();
        match evidence.kind {
            Kind::Header | Kind::Program => self.names.contains(leaf),
            Kind::PkgConfig => self.names.contains(&format!("{leaf}.pc")),
            Kind::Library => self.names.contains(&format!("lib{leaf}.so")),
            Kind::File => self.has(evidence.name.trim_start_matches('/')),
            _ => false,
        }
    }
}

/// The path as the index has it; `None` if no package can have it.
pub(super) fn in_index(missed: &MissedPath) -> Option<String> {
    // No package has a file whose name is not UTF-8.
    let path = missed.path.to_str()?.trim_start_matches('/');
    match path.split_once('/')? {
        ("bin" | "sbin" | "lib" | "lib64", _) => Some(format!("usr/{path}")),
        _ => Some(path.to_owned()),
    }
}

/// What a path would be if it were there; `None` for what builds do without, or what says nothing by its path.
pub(super) fn thing(path: &str) -> Option<(Kind, String)> {
    let (folder, leaf) = path.rsplit_once('/')?;
    if let Some(below) = path.strip_prefix("usr/include/") {
        let name = match below.split_once('/') {
            Some((first, rest)) if first.contains("-linux-gnu") => rest,
            _ => below,
        };
        let is_header = HEADER_ENDINGS.iter().any(|ending| leaf.ends_with(ending));
        let is_optional = OPTIONAL_HEADERS.iter().any(|optional| name.starts_with(optional));
        return (is_header && !is_optional).then(|| (Kind::Header, name.to_owned()));
    }
    if folder == "usr/bin" || folder == "usr/sbin" {
        let is_optional = OPTIONAL_PROGRAMS.contains(&leaf)
            || ["python", "pypy", "x86_64-", "aarch64-"].iter().any(|beginning| leaf.starts_with(beginning));
        return (!is_optional).then(|| (Kind::Program, leaf.to_owned()));
    }
    if folder.ends_with("/pkgconfig") {
        return Some((Kind::PkgConfig, leaf.strip_suffix(".pc")?.to_owned()));
    }
    let library = leaf.strip_prefix("lib")?.strip_suffix(".so")?;
    folder.starts_with("usr/lib").then(|| (Kind::Library, library.to_owned()))
}

/// Whether any of the paths can be evidence by itself, as far as that can be told without an index.
pub(super) fn asks_index(missed: &[MissedPath]) -> bool {
    missed.iter().rev().take(PATHS_MAX).filter_map(in_index).any(|path| thing(&path).is_some())
}

/// Missed paths that Debian has files for, the last ones first.
pub(super) fn evidence(missed: &[MissedPath], index: &SystemIndex) -> Vec<Evidence> {
    let mut all: Vec<Evidence> = Vec::new();
    for missed in missed.iter().rev().take(PATHS_MAX) {
        if all.len() >= LATE_MAX {
            break;
        }
        let Some(path) = in_index(missed) else { continue };
        let Some((kind, name)) = thing(&path) else { continue };
        if index.at(&path).is_none() || all.iter().any(|known| known.kind == kind && known.name == name) {
            continue;
        }
        let times = if missed.count == 1 { "once".to_owned() } else { format!("{} times", missed.count) };
        all.push(Evidence {
            kind,
            name,
            line: 0,
            text: format!("the build looked for {} {times}, and it is nowhere", missed.path.display()),
            weight: TRACE_WEIGHT,
            is_program: false,
            reason: None,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_things() {
        for (path, wanted) in [
            ("usr/include/x86_64-linux-gnu/curl/curl.h", Some((Kind::Header, "curl/curl.h"))),
            ("usr/include/libxml2/libxml/parser.h", Some((Kind::Header, "libxml2/libxml/parser.h"))),
            ("usr/lib/x86_64-linux-gnu/pkgconfig/libffi.pc", Some((Kind::PkgConfig, "libffi"))),
            ("usr/bin/swig", Some((Kind::Program, "swig"))),
            ("usr/lib/x86_64-linux-gnu/libffi.so", Some((Kind::Library, "ffi"))),
            ("usr/lib/x86_64-linux-gnu/libffi.so.8", None),
            ("usr/include/tbb/tbb.h", None),
            ("usr/include/tbb", None),
            ("usr/bin/git", None),
            ("usr/bin/python3.12", None),
            ("usr/share/x/libx.so", None),
            ("x", None),
        ] {
            assert_eq!(thing(path), wanted.map(|(kind, name)| (kind, name.to_owned())), "{path}");
        }
        let missed = |path: &str| MissedPath { path: path.into(), count: 1 };
        assert!(asks_index(&[missed("/bin/swig")]) && !asks_index(&[missed("/usr/local/bin/swig"), missed("/x")]));
        let all = Missed::new(&[missed("/lib/x86_64-linux-gnu/libffi.so")]);
        assert!(all.has("usr/lib/x86_64-linux-gnu/libffi.so"));
    }
}
