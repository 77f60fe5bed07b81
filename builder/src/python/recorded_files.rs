//! Packages that look for their own files in the list of what was installed (`RECORD`), as CMake's wheel does:
//!
//! ```python
//! from importlib.metadata import distribution
//! for script in distribution("cmake").files: ...
//! ```
//!
//! Behind links to folders the list has only the links, so such a package needs real folders. Pure.

use std::borrow::Cow;

use memchr::memmem;

/// Longest argument that is read, in bytes: a name, quoted.
const ARGUMENT_BYTES_MAX: usize = 120;

/// Whether the module with this source asks for the files of `project` (any spelling of its name). Only what names it, or
/// says `__name__` or `__package__`, counts: many look at the files of other packages, and do without.
#[must_use]
pub fn asks_for_files(source: &[u8], project: &str) -> bool {
    let has = |word: &[u8]| memmem::find(source, word).is_some();
    if !(has(b"importlib.metadata") || has(b"importlib_metadata") || has(b"importlib import metadata")) {
        return false;
    }
    let of_distribution = || has_attribute(source, b".files") && calls(source, b"distribution(", project, |_| true);
    // `importlib.resources` has a function of this name, too.
    let imports_it = || source.split(|byte| *byte == b'\n').any(imports_files);
    let of_function = || calls(source, b"files(", project, |before| before.ends_with(b"metadata.") || imports_it());
    of_distribution() || of_function()
}

/// Whether `call` is made for `project` somewhere, where `fits` says of what stands before it that it is the one meant.
fn calls(source: &[u8], call: &[u8], project: &str, fits: impl Fn(&[u8]) -> bool) -> bool {
    memmem::find_iter(source, call).any(|start| {
        let rest = &source[start + call.len()..];
        let argument = rest[..rest.len().min(ARGUMENT_BYTES_MAX)].trim_ascii_start();
        names(argument, project) && fits(&source[..start])
    })
}

/// Whether an argument list begins with the name of `project`, quoted, or with that of the module itself.
fn names(argument: &[u8], project: &str) -> bool {
    let Some(quote) = argument.first().filter(|byte| b"'\"".contains(byte)) else {
        return [&b"__package__"[..], b"__name__"].iter().any(|own| argument.starts_with(own));
    };
    let name = argument[1..].split(|byte| byte == quote).next().unwrap_or_default();
    normal(name) == normal(project.as_bytes())
}

/// A name as the index compares it.
fn normal(name: &[u8]) -> Vec<u8> {
    let mut normal: Vec<u8> = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'-' | b'_' | b'.' if normal.last() == Some(&b'-') => {}
            b'-' | b'_' | b'.' => normal.push(b'-'),
            byte => normal.push(byte.to_ascii_lowercase()),
        }
    }
    normal
}

/// Whether `name` (`.files`) is read of something: no call, no longer name.
fn has_attribute(source: &[u8], name: &[u8]) -> bool {
    memmem::find_iter(source, name).any(|start| {
        let after = source.get(start + name.len());
        after.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"_(".contains(byte))
    })
}

/// `from importlib.metadata import files`, among others.
fn imports_files(line: &[u8]) -> bool {
    let line: Cow<'_, str> = String::from_utf8_lossy(line);
    let Some((module, imported)) = line.split_once(" import ") else { return false };
    module.trim_end().ends_with("metadata")
        && imported.split([',', '(', ')', ' ', '#']).any(|name| name.trim() == "files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_ask_for_their_own_files() {
        for source in [
            "from importlib.metadata import distribution\nx = distribution(\"cmake\").files\n",
            "import importlib_metadata as m\nd = m.distribution( 'CMake' )\nfor f in d.files or []: pass",
            "from importlib import metadata\nmetadata.files('cmake')",
            "from importlib.metadata import files, version\nfiles('cmake')",
            "import importlib.metadata\nimportlib.metadata.distribution(__package__).files",
        ] {
            assert!(asks_for_files(source.as_bytes(), "cmake"), "{source}");
        }
        assert!(asks_for_files(b"import importlib.metadata as m\nm.distribution('a_b.C').files", "A-b-c"));
    }

    #[test]
    fn modules_that_do_not() {
        for source in [
            "",
            "from importlib.metadata import version\nversion('cmake')",
            "from importlib.metadata import distribution\ndistribution('cmake').version",
            "from importlib.metadata import distribution\ndistribution('cmake').files_of(1)",
            "from importlib.metadata import distribution\ndistribution('other').files",
            "from importlib.metadata import distributions\nfor d in distributions(): d.files",
            "from importlib.metadata import version\nfrom importlib.resources import files\nfiles('cmake')",
            "distribution('cmake').files",
            "import importlib.metadata\nx.files\nimportlib.metadata.distribution(",
            "import importlib.metadata\nx.files\nimportlib.metadata.distribution('cmake",
        ] {
            assert_eq!(asks_for_files(source.as_bytes(), "cmake"), source.ends_with("'cmake"), "{source}");
        }
    }
}
