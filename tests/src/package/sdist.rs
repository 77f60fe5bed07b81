//! [`SdistBuilder`]: sdists in all archive formats, with a backend of their own that needs no build requirement.

use std::io::Write as _;

use flate2::Compression;
use serde_json::json;

use super::zip_writer::{ZipMember, zip_archive};
use super::{BuiltFile, MEMBER_MTIME, escaped};

/// The backend that in-tree sdists carry.
const TINY_BACKEND: &str = include_str!("tiny_backend.py");

/// The archive format, which also decides the file name's suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdistFormat {
    /// `.tar.gz`
    TarGz,
    /// `.zip`
    Zip,
    /// `.tar.bz2`
    TarBz2,
    /// `.tar.xz`
    TarXz,
}

impl SdistFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TarGz, Self::Zip, Self::TarBz2, Self::TarXz];

    fn suffix(self) -> &'static str {
        match self {
            Self::TarGz => ".tar.gz",
            Self::Zip => ".zip",
            Self::TarBz2 => ".tar.bz2",
            Self::TarXz => ".tar.xz",
        }
    }
}

/// Who builds the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdistBackend {
    /// The backend in the sdist itself (`backend-path`); needs no build requirement.
    InTree,
    /// `setup.py` only, no `pyproject.toml`: the legacy backend; needs setuptools.
    SetupPy,
    /// `pyproject.toml` with `setuptools.build_meta`; needs setuptools.
    Setuptools,
}

/// A member that no honest sdist has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvilMember {
    /// A file with exactly this name, the top folder not added: `../evil`, `/tmp/evil`.
    Named(String),
    /// A symbolic link from a name below the top folder to any target.
    Symlink(String, String),
    /// A hard link from a name below the top folder to any target.
    HardLink(String, String),
    /// A character device (`/dev/null`'s numbers) below the top folder.
    Device(String),
    /// A setuid program below the top folder.
    Setuid(String),
    /// A file of this many zero bytes.
    Bomb(usize),
}

/// Builds an sdist. Files below `src/` end up in the wheel.
#[derive(Debug, Clone)]
pub struct SdistBuilder {
    name: String,
    version: String,
    claimed: (String, String),
    told: (String, String),
    format: SdistFormat,
    backend: SdistBackend,
    requires: Vec<String>,
    dynamic_requires: Vec<String>,
    extensions: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    evil: Vec<EvilMember>,
}

impl SdistBuilder {
    /// An in-tree `.tar.gz` of `name` and `version` with no file in it.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            claimed: (name.to_owned(), version.to_owned()),
            told: (name.to_owned(), version.to_owned()),
            format: SdistFormat::TarGz,
            backend: SdistBackend::InTree,
            requires: Vec::new(),
            dynamic_requires: Vec::new(),
            extensions: Vec::new(),
            files: Vec::new(),
            evil: Vec::new(),
        }
    }

    /// One whose wheel has one package of its own name that holds `__version__`.
    #[must_use]
    pub fn simple(name: &str, version: &str) -> Self {
        let module = escaped(name);
        Self::new(name, version).file(&format!("src/{module}/__init__.py"), format!("__version__ = {version:?}\n"))
    }

    /// Sets the archive format.
    #[must_use]
    pub fn format(mut self, format: SdistFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets the backend.
    #[must_use]
    pub fn backend(mut self, backend: SdistBackend) -> Self {
        self.backend = backend;
        self
    }

    /// Adds a file below the top folder; those below `src/` are installed.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Adds a C extension module: `pkg._speed` from this source.
    #[must_use]
    pub fn c_extension(mut self, module: &str, source: &str) -> Self {
        let path = format!("c/{}.c", module.replace('.', "_"));
        self.extensions.push((module.to_owned(), path.clone()));
        self.files.push((path, source.as_bytes().to_vec()));
        self
    }

    /// Adds the C extension module `<package>._answer` whose `answer()` gives 42.
    #[must_use]
    pub fn answer_extension(self) -> Self {
        let module = format!("{}._answer", escaped(&self.name));
        self.c_extension(&module, ANSWER_SOURCE)
    }

    /// Runs this Python code during the build, in the unpacked sdist: what a hostile package does.
    #[must_use]
    pub fn during_build(self, code: &str) -> Self {
        self.file("snippet.py", code)
    }

    /// Lies: the wheel that is built has this name and version.
    #[must_use]
    pub fn claims(mut self, name: &str, version: &str) -> Self {
        self.claimed = (name.to_owned(), version.to_owned());
        self
    }

    /// Lies: its own `PKG-INFO` has this name and version.
    #[must_use]
    pub fn tells(mut self, name: &str, version: &str) -> Self {
        self.told = (name.to_owned(), version.to_owned());
        self
    }

    /// Adds a line of `build-system.requires`.
    #[must_use]
    pub fn build_requires(mut self, requirement: &str) -> Self {
        self.requires.push(requirement.to_owned());
        self
    }

    /// Adds a requirement that only `get_requires_for_build_wheel` tells.
    #[must_use]
    pub fn dynamic_build_requires(mut self, requirement: &str) -> Self {
        self.dynamic_requires.push(requirement.to_owned());
        self
    }

    /// Adds a member that no honest sdist has.
    #[must_use]
    pub fn evil(mut self, member: EvilMember) -> Self {
        self.evil.push(member);
        self
    }

    /// Builds it.
    ///
    /// # Panics
    /// When a tar-only evil member is asked of a zip archive.
    #[must_use]
    pub fn build(&self) -> BuiltFile {
        let stem = format!("{}-{}", escaped(&self.name), self.version);
        let mut files = self.checkout();
        files.push(("PKG-INFO".to_owned(), self.pkg_info().into_bytes()));
        files.sort();
        let bytes = match self.format {
            SdistFormat::Zip => {
                assert!(self.evil.is_empty(), "evil members are for tar archives");
                let member =
                    |(path, content): &(String, Vec<u8>)| ZipMember::file(format!("{stem}/{path}"), content.as_slice());
                zip_archive(&files.iter().map(member).collect::<Vec<_>>())
            }
            SdistFormat::TarGz | SdistFormat::TarBz2 | SdistFormat::TarXz => {
                compress(self.format, &self.tar(&stem, &files))
            }
        };
        let file_name = format!("{stem}{}", self.format.suffix());
        BuiltFile { name: self.name.clone(), version: self.version.clone(), file_name, bytes }
    }

    /// The project's files as its repository has them: no archive, and no `PKG-INFO`.
    #[must_use]
    pub fn checkout(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = self.files.clone();
        files.extend(self.backend_files());
        files.sort();
        files
    }

    fn pkg_info(&self) -> String {
        let (name, version) = &self.told;
        format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    }

    fn backend_files(&self) -> Vec<(String, Vec<u8>)> {
        let text = |path: &str, content: String| (path.to_owned(), content.into_bytes());
        let (name, version) = &self.claimed;
        let requires = |defaults: &[&str]| {
            let all: Vec<&str> = defaults.iter().copied().chain(self.requires.iter().map(String::as_str)).collect();
            json!(all).to_string()
        };
        match self.backend {
            SdistBackend::InTree => {
                let spec = json!({
                    "name": name, "version": version,
                    "extensions": self.extensions, "dynamic_requires": self.dynamic_requires,
                });
                let project = format!(
                    "[build-system]\nrequires = {}\nbuild-backend = \"tiny_backend\"\nbackend-path = [\"_backend\"]\n",
                    requires(&[])
                );
                vec![
                    text("spec.json", spec.to_string()),
                    text("_backend/tiny_backend.py", TINY_BACKEND.to_owned()),
                    text("pyproject.toml", project),
                ]
            }
            SdistBackend::SetupPy => vec![text("setup.py", self.setup_py())],
            SdistBackend::Setuptools => {
                let project = format!(
                    "[build-system]\nrequires = {}\nbuild-backend = \"setuptools.build_meta\"\n",
                    requires(&["setuptools"])
                );
                vec![text("setup.py", self.setup_py()), text("pyproject.toml", project)]
            }
        }
    }

    fn setup_py(&self) -> String {
        let (name, version) = &self.claimed;
        let extensions: Vec<String> =
            self.extensions.iter().map(|(module, path)| format!("Extension({module:?}, [{path:?}])")).collect();
        format!(
            "import os, sys\nfrom setuptools import Extension, find_packages, setup\n\
             print('build-marker {name}')\nsys.stdout.flush()\n\
             if os.path.exists('snippet.py'):\n    exec(open('snippet.py').read())\n\
             setup(name={name:?}, version={version:?}, package_dir={{'': 'src'}}, packages=find_packages('src'),\n\
             \x20     ext_modules=[{}])\n",
            extensions.join(", ")
        )
    }

    fn tar(&self, stem: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            append(&mut builder, &format!("{stem}/{path}"), &header(tar::EntryType::Regular, 0o644), content);
        }
        for member in &self.evil {
            append_evil(&mut builder, stem, member);
        }
        builder.into_inner().expect("writing into memory works")
    }
}

const ANSWER_SOURCE: &str = "#include <Python.h>\n\
    static PyObject *answer(PyObject *self, PyObject *args) { return PyLong_FromLong(42); }\n\
    static PyMethodDef methods[] = {{\"answer\", answer, METH_NOARGS, \"\"}, {NULL, NULL, 0, NULL}};\n\
    #if PY_MAJOR_VERSION < 3\n\
    PyMODINIT_FUNC init_answer(void) { Py_InitModule(\"_answer\", methods); }\n\
    #else\n\
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, \"_answer\", NULL, -1, methods};\n\
    PyMODINIT_FUNC PyInit__answer(void) { return PyModule_Create(&module); }\n\
    #endif\n";

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(MEMBER_MTIME);
    header
}

/// Writes the name as it is; `tar`'s own setters refuse `..` and absolute names.
fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, header: &tar::Header, content: &[u8]) {
    let mut header = header.clone();
    let field = &mut header.as_old_mut().name;
    assert!(name.len() < field.len(), "`{name}` is too long for a test's member name");
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content).expect("writing into memory works");
}

fn append_evil(builder: &mut tar::Builder<Vec<u8>>, stem: &str, member: &EvilMember) {
    let link = |kind, target: &str| {
        let mut header = header(kind, 0o777);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header
    };
    match member {
        EvilMember::Named(name) => append(builder, name, &header(tar::EntryType::Regular, 0o644), b"evil\n"),
        EvilMember::Symlink(name, target) => {
            append(builder, &format!("{stem}/{name}"), &link(tar::EntryType::Symlink, target), b"");
        }
        EvilMember::HardLink(name, target) => {
            append(builder, &format!("{stem}/{name}"), &link(tar::EntryType::Link, target), b"");
        }
        EvilMember::Device(name) => {
            let mut header = header(tar::EntryType::Char, 0o666);
            header.set_device_major(1).expect("a ustar header has it");
            header.set_device_minor(3).expect("a ustar header has it");
            append(builder, &format!("{stem}/{name}"), &header, b"");
        }
        EvilMember::Setuid(name) => {
            append(builder, &format!("{stem}/{name}"), &header(tar::EntryType::Regular, 0o4755), b"#!/bin/sh\n");
        }
        EvilMember::Bomb(bytes) => {
            append(builder, &format!("{stem}/bomb.bin"), &header(tar::EntryType::Regular, 0o644), &vec![0; *bytes]);
        }
    }
}

fn compress(format: SdistFormat, tar: &[u8]) -> Vec<u8> {
    const MEMORY: &str = "writing into memory works";
    match format {
        SdistFormat::TarGz => {
            let mut encoder = flate2::GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
            encoder.write_all(tar).expect(MEMORY);
            encoder.finish().expect(MEMORY)
        }
        SdistFormat::TarBz2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
            encoder.write_all(tar).expect(MEMORY);
            encoder.finish().expect(MEMORY)
        }
        SdistFormat::TarXz => {
            let options = lzma_rust2::XzOptions::with_preset(1);
            let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).expect("the preset is valid");
            encoder.write_all(tar).expect(MEMORY);
            encoder.finish().expect(MEMORY)
        }
        SdistFormat::Zip => tar.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::host;

    /// Unpacks with the standard library and calls the backend as a front end would.
    const BUILD: &str = "import os, shutil, sys\n\
        shutil.unpack_archive(sys.argv[1], sys.argv[2])\n\
        os.chdir(os.path.join(sys.argv[2], 'my_project-1.0'))\n\
        sys.path.insert(0, '_backend')\n\
        import tiny_backend\n\
        name = tiny_backend.build_wheel(sys.argv[2])\n\
        sys.path.insert(0, os.path.join(sys.argv[2], name)) if name.endswith('any.whl') else \\\n\
        shutil.unpack_archive(os.path.join(sys.argv[2], name), sys.path[0], 'zip')\n\
        import my_project\n\
        print('version', my_project.__version__)\n\
        if len(sys.argv) > 3:\n\
        \x20   from my_project import _answer\n\
        \x20   print('answer', _answer.answer())\n";

    fn build(file: &BuiltFile, extra: &[&str]) -> String {
        let scratch = crate::cleanup::Scratch::new();
        let path = file.write_to(scratch.path());
        let mut command = Command::new(host::default_python());
        let output = command.args(["-B", "-c", BUILD]).arg(path).arg(scratch.path()).args(extra).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn every_format_unpacks_and_builds() {
        for format in SdistFormat::ALL {
            let builder = SdistBuilder::simple("My-Project", "1.0").format(format);
            let file = builder.build();
            assert_eq!(file, builder.build(), "the bytes differ from run to run");
            assert!(build(&file, &[]).contains("version 1.0"), "{format:?}");
        }
    }

    #[test]
    fn the_in_tree_backend_compiles_c() {
        let file = SdistBuilder::simple("my-project", "1.0").answer_extension().build();
        assert!(build(&file, &["c"]).contains("answer 42"));
    }
}
