//! What the tests of this folder share: archives written byte by byte, a store to unpack into, interpreters.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_store::{Access, Clock, Durability, OpenOptions, Protect, Store};
use sha2::{Digest, Sha256};

/// One entry of a zip archive; every field may lie.
#[derive(Debug, Clone)]
pub(crate) struct RawEntry {
    pub(crate) name: Vec<u8>,
    /// The name in the local header, if it differs.
    pub(crate) local_name: Option<Vec<u8>>,
    pub(crate) content: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) mode: u32,
    /// The unpacked length that both headers declare.
    pub(crate) size: u32,
    crc: u32,
}

impl RawEntry {
    pub(crate) fn new(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        let mut crc = flate2::Crc::new();
        crc.update(&content);
        Self {
            name: name.as_ref().to_vec(),
            local_name: None,
            size: u32::try_from(content.len()).expect("a small file"),
            content,
            method: 0,
            flags: 0x800,
            mode: 0o100_644,
            crc: crc.sum(),
        }
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Compresses the content.
    pub(crate) fn deflated(mut self) -> Self {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &self.content).expect("memory");
        self.content = encoder.finish().expect("memory");
        self.method = 8;
        self
    }

    fn header(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [20, self.flags, self.method, 0, 0x21] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [self.crc, u32::try_from(self.content.len()).expect("a small file"), self.size] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(u16::try_from(name.len()).expect("a short name").to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }
}

/// The bytes of a zip archive with `entries`.
pub(crate) fn raw_zip(entries: &[RawEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let start = u32::try_from(bytes.len()).expect("a small archive");
        let local_name = entry.local_name.as_ref().unwrap_or(&entry.name);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(entry.header(local_name));
        bytes.extend(local_name);
        bytes.extend(&entry.content);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(entry.header(&entry.name));
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(start.to_le_bytes());
        directory.extend(&entry.name);
    }
    let start = u32::try_from(bytes.len()).expect("a small archive");
    let count = u16::try_from(entries.len()).expect("few entries").to_le_bytes();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count);
    bytes.extend(count);
    bytes.extend(u32::try_from(directory.len()).expect("a small archive").to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// The line of `RECORD` for a file.
pub(crate) fn record_line(name: &str, content: &[u8]) -> String {
    let digest = BASE64URL_NOPAD.encode(&Sha256::digest(content));
    format!("{name},sha256={digest},{}\n", content.len())
}

/// The wheel `demo-1.0` with `files`, its metadata and a `RECORD` that is right.
pub(crate) fn demo_wheel(files: &[(&str, &str)]) -> Vec<RawEntry> {
    let mut files: Vec<(&str, &str)> = files.to_vec();
    for (name, content) in [
        ("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"),
        ("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
    ] {
        if files.iter().all(|(other, _)| *other != name) {
            files.push((name, content));
        }
    }
    let mut record = String::new();
    for (name, content) in &files {
        record.push_str(&record_line(name, content.as_bytes()));
    }
    write!(record, "demo-1.0.dist-info/RECORD,,\r\n").expect("memory");
    let mut entries: Vec<RawEntry> = files.iter().map(|(name, content)| RawEntry::new(name, content)).collect();
    entries.push(RawEntry::new("demo-1.0.dist-info/RECORD", record));
    entries
}

/// A throw-away store.
pub(crate) fn store() -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("store");
    let options = OpenOptions {
        root,
        access: Access::ReadWrite,
        durability: Durability::None,
        protect: Protect::None,
        clock: Clock::Fixed(1_700_000_000),
    };
    (folder, Arc::new(Store::open(options).expect("a store")))
}

/// An interpreter of this machine.
#[derive(Debug)]
pub(crate) struct FoundPython {
    pub(crate) path: PathBuf,
    /// `cpython 3.11`.
    pub(crate) label: String,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// The interpreters of this machine, one of each kind: on the path by their usual names, and those of a pyenv
/// that manages `python3`. Tests say which they use, and skip what is absent.
pub(crate) fn pythons() -> Vec<FoundPython> {
    let mut candidates: Vec<PathBuf> = ["python3", "python2.7", "python2", "pypy3", "pypy"].map(PathBuf::from).into();
    candidates.extend((6..=15).map(|minor| PathBuf::from(format!("python3.{minor}"))));
    // The interpreters beside the one that answers to `python3`: `<versions>/<version>/bin/python`.
    let prefix = output(Path::new("python3"), "import sys; print(sys.base_prefix)");
    if let Some(versions) = prefix.as_deref().and_then(|prefix| Path::new(prefix).parent()) {
        for version in std::fs::read_dir(versions).into_iter().flatten().flatten() {
            candidates.push(version.path().join("bin/python"));
        }
    }
    let mut found: Vec<FoundPython> = Vec::new();
    for candidate in candidates {
        let query = "import sys, platform; print('%s|%s|%d|%d' % (sys.executable, \
                     platform.python_implementation().lower(), sys.version_info[0], sys.version_info[1]))";
        let Some(answer) = output(&candidate, query) else { continue };
        let fields: Vec<&str> = answer.split('|').collect();
        let [path, implementation, major, minor] = fields.as_slice() else { continue };
        let label = format!("{implementation} {major}.{minor}");
        if found.iter().all(|other| other.label != label) {
            let (major, minor) = (major.parse().expect("a number"), minor.parse().expect("a number"));
            found.push(FoundPython { path: PathBuf::from(path), label, major, minor });
        }
    }
    assert!(!found.is_empty(), "a Python is needed to test the compilers");
    found
}

/// What `code` prints under `python`, without the last line end; `None` if it fails.
pub(crate) fn output(python: &Path, code: &str) -> Option<String> {
    let output = Command::new(python).args(["-c", code]).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// One entry of a tar archive; every field may lie.
#[derive(Debug, Clone)]
pub(crate) struct RawTarEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) mtime: u64,
    /// The length in the header.
    pub(crate) size: u64,
}

impl RawTarEntry {
    pub(crate) fn new(kind: u8, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        Self {
            name: name.as_ref().to_vec(),
            kind,
            link: Vec::new(),
            size: content.len() as u64,
            content,
            mode: 0o644,
            mtime: 1_600_000_000,
        }
    }

    pub(crate) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::new(b'0', name, content)
    }

    pub(crate) fn link(kind: u8, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::new(kind, name, "") }
    }

    /// The 512 bytes of its header, in the format of GNU tar or POSIX alike.
    fn header(&self) -> [u8; 512] {
        let mut header = [0; 512];
        let mut put = |start: usize, length: usize, bytes: &[u8]| {
            let length = bytes.len().min(length);
            header[start..start + length].copy_from_slice(&bytes[..length]);
        };
        put(0, 100, &self.name);
        put(100, 8, format!("{:07o}\0", self.mode).as_bytes());
        put(108, 8, b"0000000\0");
        put(116, 8, b"0000000\0");
        put(124, 12, format!("{:011o}\0", self.size).as_bytes());
        put(136, 12, format!("{:011o}\0", self.mtime).as_bytes());
        put(148, 8, b"        ");
        put(156, 1, &[self.kind]);
        put(157, 100, &self.link);
        put(257, 8, b"ustar\x0000");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }
}

/// The bytes of a tar archive.
pub(crate) fn raw_tar(entries: &[RawTarEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(entry.header());
        bytes.extend(&entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// `bytes` as gzip packs them.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// What markers see on Linux with CPython of this version (`3.11`).
pub(crate) fn marker_variables(python_version: &str) -> MarkerVariables {
    MarkerVariables {
        os_name: "posix".to_owned(),
        sys_platform: "linux".to_owned(),
        platform_machine: "x86_64".to_owned(),
        platform_python_implementation: "CPython".to_owned(),
        platform_release: "6.1".to_owned(),
        platform_system: "Linux".to_owned(),
        platform_version: "#1".to_owned(),
        python_version: python_version.to_owned(),
        python_full_version: format!("{python_version}.1"),
        implementation_name: "cpython".to_owned(),
        implementation_version: format!("{python_version}.1"),
    }
}
