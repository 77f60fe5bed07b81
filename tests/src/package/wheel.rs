//! [`WheelBuilder`]: wheels with a correct RECORD, and the knobs that make them evil.

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};

use super::zip_writer::{ZipMember, zip_archive};
use super::{BuiltFile, escaped};

/// One thing that is wrong with a wheel. Members that are added appear in RECORD with their right hash, so that
/// only the named fault is there to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evil {
    /// RECORD has another hash for this member.
    WrongHash(String),
    /// RECORD has no line for this member.
    MissingRecordLine(String),
    /// RECORD lists a file that the archive lacks.
    ExtraRecordLine(String),
    /// There is no RECORD at all.
    NoRecord,
    /// A member with this name, for example `../evil.py` or `/tmp/evil.py`.
    MemberNamed(String),
    /// A symbolic link from the first name to the second.
    Symlink(String, String),
    /// This member is there twice, the second time with other content.
    Duplicate(String),
    /// A second member whose name differs from this one's in letter case only.
    CaseCollision(String),
    /// A member of this many zero bytes.
    Bomb(usize),
    /// This member says it is one byte long.
    LyingSize(String),
    /// This member has the encrypted flag.
    Encrypted(String),
    /// The metadata give another name.
    MetadataName(String),
    /// The metadata give another version.
    MetadataVersion(String),
}

/// Builds a wheel. The default is a pure one (`py3-none-any`) without any file but its metadata.
#[derive(Debug, Clone)]
pub struct WheelBuilder {
    name: String,
    version: String,
    tag: String,
    members: Vec<ZipMember>,
    entry_points: Vec<(String, String)>,
    metadata: Vec<String>,
    evil: Vec<Evil>,
}

impl WheelBuilder {
    /// A wheel of `name` and `version`.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            tag: "py3-none-any".to_owned(),
            members: Vec::new(),
            entry_points: Vec::new(),
            metadata: Vec::new(),
            evil: Vec::new(),
        }
    }

    /// A wheel with one package of its own name: `name/__init__.py` that holds `__version__`.
    #[must_use]
    pub fn simple(name: &str, version: &str) -> Self {
        let module = escaped(name);
        Self::new(name, version).file(&format!("{module}/__init__.py"), format!("__version__ = {version:?}\n"))
    }

    /// Adds a file at a path relative to site-packages.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.members.push(ZipMember::file(path, content.as_ref()));
        self
    }

    /// Adds an executable file.
    #[must_use]
    pub fn executable(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.members.push(ZipMember { mode: 0o100_755, ..ZipMember::file(path, content.as_ref()) });
        self
    }

    /// Adds a `console_scripts` entry point: `name = target`.
    #[must_use]
    pub fn entry_point(self, name: &str, target: &str) -> Self {
        self.entry_point_in("console_scripts", name, target)
    }

    /// Adds an entry point of any group.
    #[must_use]
    pub fn entry_point_in(mut self, group: &str, name: &str, target: &str) -> Self {
        self.entry_points.push((group.to_owned(), format!("{name} = {target}")));
        self
    }

    /// Adds a script of `*.data/scripts`; a first line `#!python` is to be rewritten by the installer.
    #[must_use]
    pub fn data_script(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.data_file("scripts", name, content)
    }

    /// Adds a file of `*.data/<kind>`: `purelib`, `platlib`, `headers`, `scripts` or `data`.
    #[must_use]
    pub fn data_file(mut self, kind: &str, path: &str, content: impl AsRef<[u8]>) -> Self {
        let name = format!("{}-{}.data/{kind}/{path}", escaped(&self.name), self.version);
        let mode = if kind == "scripts" { 0o100_755 } else { 0o100_644 };
        self.members.push(ZipMember { mode, ..ZipMember::file(name, content.as_ref()) });
        self
    }

    /// Sets the tag: `cp311-cp311-linux_x86_64`.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// Adds a `Requires-Dist`.
    #[must_use]
    pub fn requires(self, requirement: &str) -> Self {
        self.metadata(&format!("Requires-Dist: {requirement}"))
    }

    /// Adds a `Provides-Extra`.
    #[must_use]
    pub fn extra(self, name: &str) -> Self {
        self.metadata(&format!("Provides-Extra: {name}"))
    }

    /// Adds any line of METADATA.
    #[must_use]
    pub fn metadata(mut self, line: &str) -> Self {
        self.metadata.push(line.to_owned());
        self
    }

    /// Makes it evil; may be called more than once.
    #[must_use]
    pub fn evil(mut self, evil: Evil) -> Self {
        self.evil.push(evil);
        self
    }

    /// Builds it.
    #[must_use]
    pub fn build(&self) -> BuiltFile {
        let info = format!("{}-{}.dist-info", escaped(&self.name), self.version);
        let mut members = self.members.clone();
        members.push(ZipMember::file(format!("{info}/METADATA"), self.metadata_text()));
        members.push(ZipMember::file(format!("{info}/WHEEL"), self.wheel_text()));
        if !self.entry_points.is_empty() {
            members.push(ZipMember::file(format!("{info}/entry_points.txt"), self.entry_points_text()));
        }
        self.add_evil_members(&mut members);
        if !self.evil.contains(&Evil::NoRecord) {
            let record = self.record_text(&members, &info);
            members.push(ZipMember::file(format!("{info}/RECORD"), record));
        }
        BuiltFile {
            name: self.name.clone(),
            version: self.version.clone(),
            file_name: format!("{}-{}-{}.whl", escaped(&self.name), self.version, self.tag),
            bytes: zip_archive(&members),
        }
    }

    fn metadata_text(&self) -> String {
        let (mut name, mut version) = (self.name.as_str(), self.version.as_str());
        for evil in &self.evil {
            match evil {
                Evil::MetadataName(other) => name = other,
                Evil::MetadataVersion(other) => version = other,
                _ => {}
            }
        }
        let mut text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        for line in &self.metadata {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn wheel_text(&self) -> String {
        let is_pure = self.tag.ends_with("-none-any");
        let mut text = format!("Wheel-Version: 1.0\nGenerator: pip-accel-tests\nRoot-Is-Purelib: {is_pure}\n");
        let mut parts = self.tag.split('-');
        let (python, abi, platform) = (parts.next(), parts.next(), parts.next());
        for python in python.unwrap_or_default().split('.') {
            for abi in abi.unwrap_or_default().split('.') {
                for platform in platform.unwrap_or_default().split('.') {
                    text.push_str(&format!("Tag: {python}-{abi}-{platform}\n"));
                }
            }
        }
        text
    }

    fn entry_points_text(&self) -> String {
        let mut groups: Vec<&str> = self.entry_points.iter().map(|(group, _)| group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut text = String::new();
        for group in groups {
            text.push_str(&format!("[{group}]\n"));
            for (_, line) in self.entry_points.iter().filter(|(other, _)| other == group) {
                text.push_str(&format!("{line}\n"));
            }
        }
        text
    }

    fn add_evil_members(&self, members: &mut Vec<ZipMember>) {
        for evil in &self.evil {
            match evil {
                Evil::MemberNamed(name) => members.push(ZipMember::file(name, "evil\n")),
                Evil::Symlink(name, target) => {
                    members.push(ZipMember { mode: 0o120_777, ..ZipMember::file(name, target.as_bytes()) });
                }
                Evil::Duplicate(name) => members.push(ZipMember::file(name, "the second one\n")),
                Evil::CaseCollision(name) => members.push(ZipMember::file(name.to_uppercase(), "the other case\n")),
                Evil::Bomb(bytes) => members.push(ZipMember::file("bomb.bin", vec![0; *bytes])),
                Evil::LyingSize(name) => change(members, name, |member| member.declared_size = Some(1)),
                Evil::Encrypted(name) => change(members, name, |member| member.is_encrypted = true),
                _ => {}
            }
        }
    }

    fn record_text(&self, members: &[ZipMember], info: &str) -> String {
        let mut text = String::new();
        for member in members {
            if self.evil.contains(&Evil::MissingRecordLine(member.name.clone())) {
                continue;
            }
            let is_wrong = self.evil.contains(&Evil::WrongHash(member.name.clone()));
            let digest = if is_wrong { Sha256::digest(b"other") } else { Sha256::digest(&member.content) };
            let name = if member.name.contains(',') { format!("\"{}\"", member.name) } else { member.name.clone() };
            text.push_str(&format!("{name},sha256={},{}\n", BASE64URL_NOPAD.encode(&digest), member.content.len()));
        }
        for evil in &self.evil {
            if let Evil::ExtraRecordLine(name) = evil {
                text.push_str(&format!("{name},sha256={},5\n", BASE64URL_NOPAD.encode(&Sha256::digest(b"ghost"))));
            }
        }
        text + &format!("{info}/RECORD,,\n")
    }
}

fn change(members: &mut [ZipMember], name: &str, edit: impl FnOnce(&mut ZipMember)) {
    let member = members.iter_mut().find(|member| member.name == name);
    edit(member.unwrap_or_else(|| panic!("the wheel has no member `{name}` to spoil")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    /// The interpreter's own pip must accept the wheel and find its RECORD right.
    #[test]
    fn builds_the_same_bytes_twice_and_a_valid_archive() {
        let builder =
            WheelBuilder::simple("My.Project", "1.0").entry_point("tool", "my_project:main").requires("other>=1");
        let file = builder.build();
        assert_eq!(file, builder.build());
        assert_eq!(file.file_name, "my_project-1.0-py3-none-any.whl");
        let scratch = crate::cleanup::Scratch::new();
        let path = file.write_to(scratch.path());
        let script = "import sys, zipfile, hashlib, base64, csv\n\
            z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None\n\
            rows = list(csv.reader(z.read('my_project-1.0.dist-info/RECORD').decode().splitlines()))\n\
            assert sorted(r[0] for r in rows) == sorted(z.namelist()), rows\n\
            for name, digest, size in rows:\n\
            \x20   data = z.read(name)\n\
            \x20   want = 'sha256=' + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')\n\
            \x20   assert not digest or (digest, int(size)) == (want, len(data)), name\n";
        let output =
            std::process::Command::new(host::default_python()).args(["-c", script]).arg(path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
