//! The name of a project as its files say it, without running any of them.

use std::path::Path;

use pip_accel_schema::name::PackageName;

use crate::python::ini::parse_ini;
use crate::python::metadata::{CoreMetadata, METADATA_BYTES_MAX};
use crate::python::sdist::{PYPROJECT_BYTES_MAX, read_regular};

/// The name that `pyproject.toml`, `setup.cfg` or `PKG-INFO` of the project at `root` says; `None` if only its build
/// can tell.
#[must_use]
pub fn static_name(root: &Path) -> Option<PackageName> {
    of_pyproject(root).or_else(|| of_setup_cfg(root)).or_else(|| of_pkg_info(root))
}

fn text(root: &Path, file: &str, limit: u64) -> Option<String> {
    String::from_utf8(read_regular(&root.join(file), limit).ok()??).ok()
}

fn of_pyproject(root: &Path) -> Option<PackageName> {
    let text = text(root, "pyproject.toml", PYPROJECT_BYTES_MAX)?;
    let table: toml::Table = toml::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    let at = |keys: &[&str]| {
        let (first, rest) = keys.split_first()?;
        let value = rest.iter().try_fold(table.get(*first)?, |value, key| value.get(*key))?;
        value.as_str()?.parse().ok()
    };
    at(&["project", "name"]).or_else(|| at(&["tool", "poetry", "name"]))
}

fn of_setup_cfg(root: &Path) -> Option<PackageName> {
    let text = text(root, "setup.cfg", PYPROJECT_BYTES_MAX)?;
    parse_ini(&text).ok()?.get("metadata")?.get("name")?.parse().ok()
}

/// A checkout that is an unpacked sdist has it.
fn of_pkg_info(root: &Path) -> Option<PackageName> {
    let content = read_regular(&root.join("PKG-INFO"), METADATA_BYTES_MAX).ok()??;
    CoreMetadata::parse("PKG-INFO", &content).ok().map(|metadata| metadata.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_tell_the_name() {
        let name = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().expect("a folder");
            for (file, text) in files {
                std::fs::write(folder.path().join(file), text).expect("written");
            }
            static_name(folder.path()).map(|name| name.to_string())
        };
        assert_eq!(name(&[("pyproject.toml", "[project]\nname = 'My.Demo'\n")]).as_deref(), Some("my-demo"));
        assert_eq!(name(&[("pyproject.toml", "[tool.poetry]\nname = 'x'\n")]).as_deref(), Some("x"));
        let both = [("pyproject.toml", "[build-system]\nrequires = []\n"), ("setup.cfg", "[metadata]\nname = y\n")];
        assert_eq!(name(&both).as_deref(), Some("y"));
        assert_eq!(name(&[("PKG-INFO", "Name: z\nVersion: 1\n")]).as_deref(), Some("z"));
        assert_eq!(name(&[("setup.py", "setup(name='x')")]), None);
        assert_eq!(name(&[("pyproject.toml", "[project\n"), ("setup.cfg", "[metadata\n")]), None);
    }
}
