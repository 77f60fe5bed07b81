//! Finds interpreters: by version, name or path; in the active virtualenv, on PATH, below pyenv.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pip_accel_schema::interpreter::Implementation;
use serde::{Deserialize, Serialize};

use super::base::base_executable;
use super::run::{Script, run_script};

/// Folders that are searched although they are not on PATH: a service's PATH may hold neither.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/local/bin", "/usr/bin"];

/// Most interpreters that [`list`] gives.
const FOUND_MAX: usize = 200;

/// Where to search. The process's environment is the caller's to read.
#[derive(Debug, Clone, Default)]
pub struct SearchPath {
    /// `PATH`.
    pub path_env: Option<OsString>,
    /// `PYENV_ROOT`, else `~/.pyenv`.
    pub pyenv_root: Option<PathBuf>,
    /// `PYENV_VERSION`: overrides `.python-version` and pyenv's global choice.
    pub pyenv_version: Option<String>,
    /// `VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// The working directory: relative paths and `.python-version` start here.
    pub cwd: PathBuf,
}

/// One interpreter on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The executable: absolute, links resolved, never that of a virtualenv.
    pub path: PathBuf,
    /// CPython or PyPy.
    pub implementation: Implementation,
    /// Its version, as far as it is known: `3.12.1`.
    pub version: String,
    /// Whether it has no global interpreter lock.
    pub free_threaded: bool,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threaded = if self.free_threaded { "t" } else { "" };
        write!(formatter, "{} {}{threaded} ({})", self.implementation.as_str(), self.version, self.path.display())
    }
}

/// Why no interpreter was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// None fits.
    #[error("there is no Python interpreter `{wanted}`{}; {remedy}", describe(found))]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: Vec<Found>,
        /// What to do.
        remedy: String,
    },
    /// A path that holds none.
    #[error("{} is neither an interpreter nor a folder with `bin/python`", path.display())]
    NotAnInterpreter {
        /// The path.
        path: PathBuf,
    },
}

fn describe(found: &[Found]) -> String {
    if found.is_empty() {
        return " (none was found at all)".to_owned();
    }
    let texts: Vec<String> = found.iter().map(Found::to_string).collect();
    format!("; found were {}", texts.join(", "))
}

/// What is asked for by version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    implementation: Option<Implementation>,
    version: Vec<u8>,
    free_threaded: bool,
}

impl Wanted {
    /// Reads `3`, `3.12.1`, `3.13t`, `cpython3.11`, `pypy@3.9`, `pypy-3.9`, `cp311`.
    fn parse(text: &str) -> Option<Self> {
        const NAMES: [(&str, Option<Implementation>); 6] = [
            ("cpython", Some(Implementation::CPython)),
            ("python", None),
            ("pypy", Some(Implementation::PyPy)),
            ("cp", Some(Implementation::CPython)),
            ("pp", Some(Implementation::PyPy)),
            ("py", None),
        ];
        let lower = text.to_ascii_lowercase();
        let named =
            NAMES.iter().find_map(|(name, implementation)| Some((*name, *implementation, lower.strip_prefix(name)?)));
        let (name, implementation, rest) = named.unwrap_or(("", None, &lower));
        let rest = rest.strip_prefix(['@', '-']).unwrap_or(rest);
        let (rest, free_threaded) = rest.strip_suffix('t').map_or((rest, false), |rest| (rest, true));
        let version = if rest.is_empty() {
            (!name.is_empty() && !free_threaded).then(Vec::new)?
        } else if name.len() == 2 && rest.len() > 1 && rest.bytes().all(|byte| byte.is_ascii_digit()) {
            vec![rest[..1].parse().ok()?, rest[1..].parse().ok()?]
        } else {
            rest.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u8>>>()?
        };
        (version.len() <= 3).then_some(Self { implementation, version, free_threaded })
    }

    /// Names of programs that may fit, the most telling first.
    fn program_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let suffix = if self.free_threaded { "t" } else { "" };
        let stem = if self.implementation == Some(Implementation::PyPy) { "pypy" } else { "python" };
        if let [major, minor, ..] = self.version.as_slice() {
            names.push(format!("{stem}{major}.{minor}{suffix}"));
        }
        match self.version.first() {
            Some(major) => names.push(format!("{stem}{major}{suffix}")),
            None => names.push(format!("{stem}3")),
        }
        names.push(stem.to_owned());
        names
    }

    fn fits(&self, found: &Found) -> bool {
        let version: Vec<u8> = found.version.split('.').map_while(|part| part.parse().ok()).collect();
        self.implementation.is_none_or(|implementation| implementation == found.implementation)
            && version.starts_with(&self.version)
            && self.free_threaded == found.free_threaded
    }
}

/// Finds the interpreter for `spec`: a version, a name, a path of an executable, a virtualenv or a prefix.
/// Without `spec`: that of the active virtualenv, else `python3`, else `python`.
///
/// The result is the base interpreter, absolute, links resolved.
///
/// # Errors
/// None fits; the error lists what was found.
pub fn find(spec: Option<&str>, search: &SearchPath) -> Result<PathBuf, FindError> {
    let found = match spec.map(str::trim) {
        None | Some("") => find_default(search),
        Some(spec) if spec.contains('/') || spec == "." || spec == ".." => {
            return find_at(&search.cwd.join(spec), search);
        }
        Some(spec) => {
            let named = usable_program(spec, search);
            named.or_else(|| Wanted::parse(spec).and_then(|wanted| find_wanted(&wanted, search))).or_else(|| {
                let folder = search.cwd.join(spec);
                folder.is_dir().then(|| find_at(&folder, search).ok()).flatten()
            })
        }
    };
    found.ok_or_else(|| {
        let wanted = spec.unwrap_or("python3").trim().to_owned();
        FindError::NotFound { remedy: remedy(&wanted), found: list(search), wanted }
    })
}

/// All interpreters, each once: the active virtualenv's, those on PATH, pyenv's, the system's.
/// Each is started once to ask for its version.
#[must_use]
pub fn list(search: &SearchPath) -> Vec<Found> {
    let mut candidates: Vec<PathBuf> = virtual_env_python(search).into_iter().collect();
    for folder in folders(search) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let is_python = |name: &str| {
            let rest = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
            rest.is_some_and(|rest| {
                rest.is_empty() || Wanted::parse(rest).is_some_and(|wanted| wanted.version.len() < 3)
            })
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| is_python(name)).collect();
        names.sort();
        candidates.extend(names.iter().filter_map(|name| program_in(&folder, name, search)));
    }
    candidates.extend(pyenv_pythons(search));
    let mut found: Vec<Found> = Vec::new();
    for candidate in candidates {
        let Ok(path) = base_executable(&candidate) else { continue };
        if found.iter().any(|known| known.path == path) || found.len() >= FOUND_MAX {
            continue;
        }
        found.extend(ask(&path));
    }
    found
}

fn remedy(wanted: &str) -> String {
    let install = match Wanted::parse(wanted) {
        Some(Wanted { implementation: Some(Implementation::PyPy), .. }) => {
            "install it (`apt install pypy3`)".to_owned()
        }
        Some(Wanted { version, .. }) if !version.is_empty() => {
            let parts: Vec<String> = version.iter().map(u8::to_string).collect();
            let minor = parts[..parts.len().min(2)].join(".");
            format!("install it (`apt install python{minor}` or `pyenv install {}`)", parts.join("."))
        }
        _ => "install it (`apt install python3`)".to_owned(),
    };
    format!("{install} or give the path of one with --python")
}

fn find_default(search: &SearchPath) -> Option<PathBuf> {
    let active = virtual_env_python(search).and_then(|path| base_executable(&path).ok());
    let named = || ["python3", "python"].iter().find_map(|name| usable_program(name, search));
    active.or_else(named).or_else(|| find_wanted(&Wanted { version: vec![3], ..Wanted::default() }, search))
}

fn find_at(path: &Path, search: &SearchPath) -> Result<PathBuf, FindError> {
    let error = || FindError::NotAnInterpreter { path: path.to_owned() };
    if path.is_dir() {
        let folders = [path.join("bin"), path.to_owned()];
        let names = ["python3", "python", "pypy3", "pypy"];
        let mut candidates = folders.iter().flat_map(|folder| names.iter().map(move |name| (folder, *name)));
        let program = candidates.find_map(|(folder, name)| program_in(folder, name, search));
        return program.and_then(|program| base_executable(&program).ok()).ok_or_else(error);
    }
    let (folder, name) = path.parent().zip(path.file_name().and_then(|name| name.to_str())).ok_or_else(error)?;
    // The error about a virtualenv without base is better told by `query`, which meets it again.
    let program = program_in(folder, name, search).ok_or_else(error)?;
    Ok(base_executable(&program).unwrap_or(program))
}

fn find_wanted(wanted: &Wanted, search: &SearchPath) -> Option<PathBuf> {
    if wanted.implementation.is_none() {
        // A bare version means CPython; PyPy does for want of it.
        let of = |implementation| Wanted { implementation: Some(implementation), ..wanted.clone() };
        return find_wanted(&of(Implementation::CPython), search)
            .or_else(|| find_wanted(&of(Implementation::PyPy), search));
    }
    let names = wanted.program_names();
    let mut in_folders = folders(search).into_iter().flat_map(|folder| {
        let programs: Vec<PathBuf> = names.iter().filter_map(|name| program_in(&folder, name, search)).collect();
        programs
    });
    let fitting = |program: PathBuf| {
        let path = base_executable(&program).ok()?;
        let by_name = identify(&path).filter(|found| found.version.split('.').count() >= wanted.version.len());
        let found = by_name.or_else(|| ask(&path))?;
        wanted.fits(&found).then_some(path)
    };
    in_folders.find_map(fitting).or_else(|| pyenv_pythons(search).into_iter().find_map(fitting))
}

fn usable_program(name: &str, search: &SearchPath) -> Option<PathBuf> {
    folders(search)
        .iter()
        .filter_map(|folder| program_in(folder, name, search))
        .find_map(|path| base_executable(&path).ok())
}

fn virtual_env_python(search: &SearchPath) -> Option<PathBuf> {
    let root = search.virtual_env.as_ref()?;
    ["python3", "python"].iter().map(|name| root.join("bin").join(name)).find(|path| is_executable(path))
}

/// The folders of PATH, then the system's, each once.
fn folders(search: &SearchPath) -> Vec<PathBuf> {
    let path = search.path_env.clone().unwrap_or_default();
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from)) {
        if folder.is_absolute() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// The program `name` in `folder`; a shim of pyenv leads to the program that it would start.
fn program_in(folder: &Path, name: &str, search: &SearchPath) -> Option<PathBuf> {
    let path = folder.join(name);
    if !is_executable(&path) {
        return None;
    }
    if is_pyenv_shim(&path) { pyenv_program(folder, name, search) } else { Some(path) }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn is_pyenv_shim(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(1024).read_to_end(&mut head));
    let contains = |needle: &[u8]| head.windows(needle.len()).any(|window| window == needle);
    read.is_ok() && head.starts_with(b"#!") && contains(b"pyenv")
}

/// What the shim `name` stands for. Shims are not run: one for a version that is not enabled fails.
fn pyenv_program(shims: &Path, name: &str, search: &SearchPath) -> Option<PathBuf> {
    let root = search.pyenv_root.as_deref().or_else(|| shims.parent())?;
    let selected = search.pyenv_version.clone().filter(|version| !version.is_empty());
    let selected = selected.or_else(|| {
        let local = search.cwd.ancestors().map(|folder| folder.join(".python-version")).find(|path| path.is_file());
        fs::read_to_string(local.unwrap_or_else(|| root.join("version"))).ok()
    })?;
    let versions = selected.split([':', '\n', ' ']).map(str::trim).filter(|version| !version.is_empty());
    let mut programs = versions.filter_map(|version| Some(pyenv_version_folder(root, version)?.join("bin").join(name)));
    programs.find(|path| is_executable(path))
}

/// The folder of a version that pyenv was told to use; `3.11` means the newest 3.11.
fn pyenv_version_folder(root: &Path, version: &str) -> Option<PathBuf> {
    let versions = root.join("versions");
    if version.contains('/') || version.starts_with('.') {
        return None;
    }
    let exact = versions.join(version);
    if exact.is_dir() {
        return Some(exact);
    }
    let prefix = format!("{}.", version.strip_prefix("python-").unwrap_or(version));
    pyenv_versions(root).into_iter().find(|name| name.starts_with(&prefix)).map(|name| versions.join(name))
}

/// Names below `versions`, the newest first, pre-releases after releases.
fn pyenv_versions(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join("versions")) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by_key(|name| {
        let numbers: Vec<u32> = name.split('.').map_while(|part| part.parse().ok()).collect();
        std::cmp::Reverse((numbers, name.clone()))
    });
    names
}

fn pyenv_pythons(search: &SearchPath) -> Vec<PathBuf> {
    let Some(root) = &search.pyenv_root else { return Vec::new() };
    let python = |name: String| {
        let folder = root.join("versions").join(name).join("bin");
        ["python3", "python", "pypy3"].iter().map(|name| folder.join(name)).find(|path| is_executable(path))
    };
    pyenv_versions(root).into_iter().filter_map(python).collect()
}

/// What the path of a base interpreter says: `bin/python3.11`, below `versions/3.11.7` the full version.
fn identify(path: &Path) -> Option<Found> {
    let name = path.file_name()?.to_str()?;
    let implementation = if name.starts_with("pypy") { Implementation::PyPy } else { Implementation::CPython };
    let wanted = Wanted::parse(name).filter(|wanted| wanted.version.len() == 2 && !name.starts_with("cp"))?;
    let minor = wanted.version.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    let folder = path.parent()?.parent()?;
    let full = folder.file_name()?.to_str().filter(|full| {
        folder.parent().is_some_and(|parent| parent.ends_with("versions"))
            && full
                .strip_prefix(&minor)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|micro| micro.parse::<u8>().is_ok())
    });
    let version = full.unwrap_or(&minor).to_owned();
    Some(Found { path: path.to_owned(), implementation, version, free_threaded: wanted.free_threaded })
}

/// Asks an interpreter for its version.
fn ask(path: &Path) -> Option<Found> {
    const TEXT: &str = "import sys\n\
        sys.stdout.write('pypy' if '__pypy__' in sys.builtin_module_names else 'cpython')\n\
        sys.stdout.write(' %d.%d.%d ' % sys.version_info[:3])\n\
        sys.stdout.write('t' if 't' in getattr(sys, 'abiflags', '') else '-')\n";
    let answer = run_script(path, Script { options: &["-E", "-s", "-S"], text: TEXT, arguments: &[] }).ok()?;
    let mut words = answer.split_whitespace();
    let implementation = match words.next()? {
        "cpython" => Implementation::CPython,
        "pypy" => Implementation::PyPy,
        _ => return None,
    };
    let version = words.next()?.to_owned();
    Some(Found { path: path.to_owned(), implementation, version, free_threaded: words.next()? == "t" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_names_are_read() {
        let wanted = |implementation, version: &[u8], free_threaded| {
            Some(Wanted { implementation, version: version.to_vec(), free_threaded })
        };
        for (text, expected) in [
            ("3", wanted(None, &[3], false)),
            ("3.12", wanted(None, &[3, 12], false)),
            ("3.12.1", wanted(None, &[3, 12, 1], false)),
            ("3.13t", wanted(None, &[3, 13], true)),
            ("python3.12", wanted(None, &[3, 12], false)),
            ("cpython3.11", wanted(Some(Implementation::CPython), &[3, 11], false)),
            ("CPython@3.11", wanted(Some(Implementation::CPython), &[3, 11], false)),
            ("pypy", wanted(Some(Implementation::PyPy), &[], false)),
            ("pypy@3.9", wanted(Some(Implementation::PyPy), &[3, 9], false)),
            ("pypy-3.9", wanted(Some(Implementation::PyPy), &[3, 9], false)),
            ("cp311", wanted(Some(Implementation::CPython), &[3, 11], false)),
            ("t", None),
            ("3.12.1.1", None),
            ("3.x", None),
            ("999", None),
            ("", None),
            ("ruby", None),
        ] {
            assert_eq!(Wanted::parse(text), expected, "{text}");
        }
    }
}
