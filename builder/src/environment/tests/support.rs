//! Objects made by hand, interpreters and programs found at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::environment::{LinkMode, PackageLink};
use pip_accel_schema::interpreter::{Implementation, PythonVersion};
use pip_accel_schema::link_plan::{DataScript, EntryPoint, LinkEntry, LinkPlan};
use pip_accel_schema::manifest::EntryPath;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::ObjectId;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::super::*;

pub(super) fn path(text: &str) -> EntryPath {
    EntryPath::parse(text).expect("a path")
}

/// An object in a temporary store.
pub(super) struct Object {
    pub(super) name: PackageName,
    pub(super) version: PackageVersion,
    pub(super) id: ObjectId,
    pub(super) directory: PathBuf,
    pub(super) plan: LinkPlan,
}

impl Object {
    pub(super) fn tree(&self) -> PackageTree<'_> {
        PackageTree {
            name: &self.name,
            version: &self.version,
            object: self.id,
            directory: &self.directory,
            link_prefix: &self.directory,
            plan: &self.plan,
            link: PackageLink::Dirs,
            detached: false,
            requested: false,
            direct_url: None,
        }
    }
}

/// A wheel's content before it becomes an object or a wheel file.
#[derive(Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// By path in the object: `site/x.py`.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Folders of `site` that are real.
    pub(super) real: Vec<String>,
    /// `name = module:attribute`.
    pub(super) scripts: Vec<(String, String, String)>,
    pub(super) requires: Vec<String>,
}

impl Package {
    pub(super) fn new(name: &str, version: &str) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        Self { name, version, files: BTreeMap::new(), real: vec![], scripts: vec![], requires: vec![] }
    }

    pub(super) fn file(mut self, path: &str, content: &str) -> Self {
        self.files.insert(path.to_owned(), content.as_bytes().to_vec());
        self
    }

    pub(super) fn real(mut self, folder: &str) -> Self {
        self.real.push(folder.to_owned());
        self
    }

    pub(super) fn script(mut self, name: &str, module: &str, attribute: &str) -> Self {
        self.scripts.push((name.to_owned(), module.to_owned(), attribute.to_owned()));
        self
    }

    pub(super) fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    pub(super) fn dist_info(&self) -> String {
        format!("{}-{}.dist-info", self.name.replace('-', "_"), self.version)
    }

    fn all_files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files.clone();
        let info = self.dist_info();
        let mut metadata = format!("Metadata-Version: 2.1\nName: {}\nVersion: {}\n", self.name, self.version);
        for requirement in &self.requires {
            metadata.push_str(&format!("Requires-Dist: {requirement}\n"));
        }
        let wheel = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py2.py3-none-any\n";
        files.insert(format!("site/{info}/METADATA"), metadata.into_bytes());
        files.insert(format!("site/{info}/WHEEL"), wheel.into());
        files.insert(format!("site/{info}/licenses/LICENSE"), b"free".to_vec());
        if !self.scripts.is_empty() {
            let mut text = "[console_scripts]\n".to_owned();
            for (name, module, attribute) in &self.scripts {
                text.push_str(&format!("{name} = {module}:{attribute}\n"));
            }
            files.insert(format!("site/{info}/entry_points.txt"), text.into_bytes());
        }
        let mut record = String::new();
        for (path, content) in &files {
            let hash = data_hash(content);
            record.push_str(&format!("{},sha256={hash},{}\n", self.wheel_path(path), content.len()));
        }
        record.push_str(&format!("{info}/RECORD,,\n"));
        files.insert(format!("site/{info}/RECORD"), record.into_bytes());
        files
    }

    fn wheel_path(&self, path: &str) -> String {
        match path.strip_prefix("site/") {
            Some(rest) => rest.to_owned(),
            None => format!("{}.data/{path}", self.dist_info().trim_end_matches(".dist-info")),
        }
    }

    /// Writes the object below `store`, as the store does: files 0444, folders 0555, an old modification time.
    pub(super) fn object(&self, store: &Path) -> Object {
        let name: PackageName = self.name.parse().expect("a name");
        let version: PackageVersion = self.version.parse().expect("a version");
        let files = self.all_files();
        let content: Vec<u8> = files.iter().flat_map(|(path, content)| [path.as_bytes(), content].concat()).collect();
        let sha256 = Sha256Digest::from_bytes(Sha256::digest(&content).into());
        let id = ObjectId::of_wheel(&sha256, "none");
        let directory = store.join("store").join(format!("{id}-{name}-{version}"));
        let mut plan = LinkPlan { dist_info: self.dist_info(), ..LinkPlan::default() };
        let mut links: BTreeSet<(String, bool)> = BTreeSet::new();
        let mut real: BTreeSet<String> = self.real.iter().cloned().collect();
        real.insert(self.dist_info());
        for (file, content) in &files {
            let target = directory.join(file);
            fs::create_dir_all(target.parent().expect("a parent")).expect("creates");
            fs::write(&target, content).expect("writes");
            let (folder, inner) = file.split_once('/').expect("a folder");
            match folder {
                "site" => {
                    let mut end = inner.find('/').unwrap_or(inner.len());
                    while real.contains(&inner[..end]) {
                        end = inner[end + 1..].find('/').map_or(inner.len(), |next| end + 1 + next);
                    }
                    links.insert((inner[..end].to_owned(), end < inner.len()));
                }
                "data" => plan.data_links.push(LinkEntry { path: path(inner), is_directory: false }),
                "headers" => plan.header_links.push(LinkEntry { path: path(inner), is_directory: false }),
                _ => {
                    let python = content.starts_with(b"#!python");
                    plan.data_scripts.push(DataScript { name: inner.to_owned(), python });
                }
            }
            let mode = if folder == "scripts" { 0o555 } else { 0o444 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).expect("sets the mode");
        }
        plan.site_directories = real.iter().map(|one| path(one)).collect();
        plan.site_links =
            links.into_iter().map(|(link, is_directory)| LinkEntry { path: path(&link), is_directory }).collect();
        for (name, module, attribute) in &self.scripts {
            let (name, module, attribute) = (name.clone(), module.clone(), attribute.clone());
            plan.entry_points.push(EntryPoint { name, module, attribute });
        }
        Object { name, version, id, directory, plan }
    }

    /// Writes a wheel file into `folder`, with Python's own zip module.
    pub(super) fn wheel(&self, folder: &Path, python: &Path) -> PathBuf {
        let unpacked = TempDir::new().expect("a directory");
        for (file, content) in self.all_files() {
            let target = unpacked.path().join(self.wheel_path(&file));
            fs::create_dir_all(target.parent().expect("a parent")).expect("creates");
            fs::write(&target, content).expect("writes");
            fs::set_permissions(target, fs::Permissions::from_mode(0o755)).expect("sets the mode");
        }
        let wheel = folder.join(format!("{}-{}-py2.py3-none-any.whl", self.name.replace('-', "_"), self.version));
        let program = "import os, sys, zipfile\n\
                       os.chdir(sys.argv[2])\n\
                       with zipfile.ZipFile(sys.argv[1], 'w') as z:\n    \
                           [z.write(os.path.join(d, f)) for d, _, fs in os.walk('.') for f in fs]\n";
        run(Command::new(python).args(["-c", program]).arg(&wheel).arg(unpacked.path()));
        wheel
    }
}

fn data_hash(content: &[u8]) -> String {
    data_encoding_base64(&Sha256::digest(content))
}

/// Base 64 with the alphabet for URLs, no padding.
fn data_encoding_base64(bytes: &[u8]) -> String {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..=chunk.len() {
            text.push(char::from(SYMBOLS[(bits >> (18 - 6 * position)) as usize & 63]));
        }
    }
    text
}

/// Runs a command that must succeed and returns its standard output.
#[track_caller]
pub(super) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub(super) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).env_remove("PYTHONPATH").env_remove("PYTHONHOME").env_remove("VIRTUAL_ENV");
    command.env("PIP_CONFIG_FILE", "/dev/null").env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INDEX", "1");
    command.env("UV_NO_CONFIG", "1").env("UV_OFFLINE", "1").env("LC_ALL", "C.UTF-8").env("PYTHONIOENCODING", "utf-8");
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A program on PATH, or where the variable says.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests find the programs of the machine")]
    let (given, search) = (std::env::var_os("PIP_ACCEL_TEST_UV"), std::env::var_os("PATH"));
    if let Some(given) = given.filter(|_| name == "uv") {
        return Some(given.into());
    }
    let found = std::env::split_paths(search.as_deref().unwrap_or(OsStr::new(""))).map(|folder| folder.join(name));
    let starts = |path: &PathBuf| {
        path.is_file() && Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    found.into_iter().find(starts)
}

/// What the interpreter `name` says of itself; `None` when there is none.
pub(super) fn interpreter(name: &str) -> Option<EnvironmentPython> {
    const PROGRAM: &str = "from __future__ import print_function\n\
        import glob, os, platform, sys\n\
        print(os.path.realpath(sys.executable))\n\
        print(platform.python_implementation())\n\
        print('%d.%d.%d' % sys.version_info[:3])\n\
        print(platform.python_version())\n\
        name = 'pypy' if hasattr(sys, 'pypy_version_info') else 'python'\n\
        print('lib/%s%d.%d/site-packages' % ((name,) + sys.version_info[:2]))\n\
        try:\n    import venv\nexcept ImportError:\n    sys.exit()\n\
        [print(f) for f in glob.glob(os.path.dirname(venv.__file__) + '/scripts/[cp]o*/*')]\n";
    let executable = program(name)?;
    let text = run(Command::new(executable).args(["-c", PROGRAM]));
    let mut lines = text.lines();
    let mut next = || lines.next().expect("a line").to_owned();
    let executable = PathBuf::from(next());
    let implementation = if next() == "PyPy" { Implementation::PyPy } else { Implementation::CPython };
    let numbers: Vec<u8> = next().split('.').map(|number| number.parse().expect("a number")).collect();
    let version = PythonVersion { major: numbers[0], minor: numbers[1], micro: numbers[2] };
    let (full_version, site_packages) = (next(), next());
    let template = |path: &str| ActivationTemplate {
        file_name: Path::new(path).file_name().and_then(OsStr::to_str).expect("a name").to_owned(),
        text: fs::read_to_string(path).expect("a template"),
    };
    let activation_templates = lines.map(template).collect();
    Some(EnvironmentPython { executable, implementation, version, full_version, site_packages, activation_templates })
}

/// Every interpreter of the machine: those on PATH and those of a version manager whose shims are there.
pub(super) fn interpreters() -> Vec<EnvironmentPython> {
    let mut found: Vec<PathBuf> =
        ["python2.7", "python3", "pypy3", "/usr/bin/python3"].iter().map(PathBuf::from).collect();
    found.extend((6..20).map(|minor| PathBuf::from(format!("python3.{minor}"))));
    if let Some(versions) = program("python3").and_then(|shim| Some(shim.parent()?.parent()?.join("versions")))
        && let Ok(entries) = fs::read_dir(versions)
    {
        found.extend(entries.flatten().map(|entry| entry.path().join("bin/python")));
    }
    let mut interpreters: Vec<EnvironmentPython> =
        found.iter().filter_map(|path| interpreter(path.to_str().expect("UTF-8"))).collect();
    interpreters.sort_by(|left, right| left.executable.cmp(&right.executable));
    interpreters.dedup_by(|left, right| left.executable == right.executable);
    interpreters
}

/// Any Python 3 of the machine.
pub(super) fn python3() -> EnvironmentPython {
    interpreter("python3").expect("the tests need a python3 on PATH")
}

/// A store and a place for environments, readable for everyone, removed at the end.
pub(super) struct World {
    pub(super) directory: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("sets the mode");
        Self { directory }
    }

    pub(super) fn store(&self) -> PathBuf {
        self.directory.path().join("store root")
    }

    pub(super) fn destination(&self) -> PathBuf {
        self.directory.path().join("env")
    }

    pub(super) fn realize(&self, python: &EnvironmentPython, objects: &[&Object]) -> Realized {
        self.realize_mode(python, objects, LinkMode::Symlink)
    }

    pub(super) fn realize_mode(&self, python: &EnvironmentPython, objects: &[&Object], mode: LinkMode) -> Realized {
        let trees: Vec<PackageTree<'_>> = objects.iter().map(|object| object.tree()).collect();
        let (destination, store) = (self.destination(), self.store());
        let request = EnvironmentRequest { link_mode: mode, ..request(&destination, python, &trees, &store) };
        realize_environment(&request).expect("realizes")
    }

    /// Everything about the objects that must not change, and nothing that reading changes.
    pub(super) fn fingerprint(&self) -> Vec<String> {
        let mut lines = Vec::new();
        fingerprint(&self.store(), &mut lines);
        lines
    }
}

pub(super) fn request<'a>(
    destination: &'a Path,
    python: &'a EnvironmentPython,
    packages: &'a [PackageTree<'a>],
    store_root: &'a Path,
) -> EnvironmentRequest<'a> {
    EnvironmentRequest {
        generations: None,
        destination,
        python,
        packages,
        link_mode: LinkMode::Symlink,
        prompt: None,
        request_digest: ValueDigest::from_bytes([1; 32]),
        store_root,
        keep_foreign: false,
        take_over: None,
        replace: Replace::Ours,
        scripts_prefix: None,
        link_farm: None,
        cancel: None,
    }
}

fn fingerprint(path: &Path, lines: &mut Vec<String>) {
    let status = path.symlink_metadata().expect("is there");
    let content = if status.is_file() { data_hash(&fs::read(path).expect("reads")) } else { String::new() };
    lines.push(format!(
        "{} {:o} {} {} {} {content}",
        path.display(),
        status.mode(),
        status.uid(),
        status.mtime(),
        status.mtime_nsec()
    ));
    if status.is_dir() {
        let mut children: Vec<PathBuf> =
            fs::read_dir(path).expect("reads").map(|entry| entry.expect("an entry").path()).collect();
        children.sort();
        children.iter().for_each(|child| fingerprint(child, lines));
    }
}

/// The names in a folder, sorted.
pub(super) fn names(path: &Path) -> Vec<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string().expect("UTF-8");
    let mut names: Vec<String> = fs::read_dir(path).expect("reads").map(name).collect();
    names.sort();
    names
}
