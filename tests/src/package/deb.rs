//! [`DebBuilder`]: Debian packages, and [`AptRepository`]: a source of them for the machine's own apt.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use sha2::{Digest as _, Sha256};

use super::MEMBER_MTIME;
use crate::tree_digest::hex;

/// How the archives in a package are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebCompression {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
}

impl DebCompression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Gzip, Self::Xz, Self::Zstd];

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).expect("memory");
                encoder.finish().expect("memory")
            }
            Self::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(1);
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).expect("options");
                encoder.write_all(bytes).expect("memory");
                encoder.finish().expect("memory")
            }
            Self::Zstd => zstd::encode_all(bytes, 1).expect("memory"),
        }
    }
}

/// One entry of a package.
#[derive(Debug, Clone)]
enum Member {
    File(Vec<u8>, u32),
    Symlink(String),
    HardLink(String),
    Device,
}

/// Builds a Debian package.
#[derive(Debug, Clone)]
pub struct DebBuilder {
    name: String,
    version: String,
    depends: String,
    postinst: Option<String>,
    members: Vec<(String, Member)>,
    compression: DebCompression,
    cut_off: Option<usize>,
}

impl DebBuilder {
    /// A package with nothing in it.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            depends: String::new(),
            postinst: None,
            members: Vec::new(),
            compression: DebCompression::Xz,
            cut_off: None,
        }
    }

    /// Sets what it depends on.
    #[must_use]
    pub fn depends(mut self, relations: &str) -> Self {
        self.depends = relations.to_owned();
        self
    }

    /// Sets the script that dpkg would run after installing it.
    #[must_use]
    pub fn postinst(mut self, script: &str) -> Self {
        self.postinst = Some(script.to_owned());
        self
    }

    /// Sets how it is packed.
    #[must_use]
    pub fn compression(mut self, compression: DebCompression) -> Self {
        self.compression = compression;
        self
    }

    /// Leaves only so many bytes of the file.
    #[must_use]
    pub fn cut_off(mut self, bytes: usize) -> Self {
        self.cut_off = Some(bytes);
        self
    }

    /// Adds a file; the name is written as it is, without a leading `./`.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_of_mode(name, content, 0o644)
    }

    /// Adds a file with this mode.
    #[must_use]
    pub fn file_of_mode(mut self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        self.members.push((name.to_owned(), Member::File(content.as_ref().to_vec(), mode)));
        self
    }

    /// Adds a symbolic link to anything.
    #[must_use]
    pub fn symlink(mut self, name: &str, target: &str) -> Self {
        self.members.push((name.to_owned(), Member::Symlink(target.to_owned())));
        self
    }

    /// Adds a hard link to anything.
    #[must_use]
    pub fn hard_link(mut self, name: &str, target: &str) -> Self {
        self.members.push((name.to_owned(), Member::HardLink(target.to_owned())));
        self
    }

    /// Adds a character device (`/dev/null`'s numbers).
    #[must_use]
    pub fn device(mut self, name: &str) -> Self {
        self.members.push((name.to_owned(), Member::Device));
        self
    }

    /// The package file.
    ///
    /// # Panics
    /// When a name is longer than a tar header holds.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let script = self
            .postinst
            .iter()
            .map(|script| ("./postinst".to_owned(), Member::File(script.as_bytes().to_vec(), 0o755)));
        let control = ("./control".to_owned(), Member::File(self.control().into_bytes(), 0o644));
        let control = tar_of(&[control].into_iter().chain(script).collect::<Vec<_>>());
        let suffix = self.compression.suffix();
        let mut archive = b"!<arch>\n".to_vec();
        for (name, content) in [
            ("debian-binary".to_owned(), b"2.0\n".to_vec()),
            (format!("control.tar{suffix}"), self.compression.pack(&control)),
            (format!("data.tar{suffix}"), self.compression.pack(&tar_of(&self.members))),
        ] {
            archive
                .extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).bytes());
            archive.extend(&content);
            archive.extend((content.len() % 2 == 1).then_some(b'\n'));
        }
        archive.truncate(self.cut_off.unwrap_or(archive.len()));
        archive
    }

    fn control(&self) -> String {
        let depends = if self.depends.is_empty() { String::new() } else { format!("Depends: {}\n", self.depends) };
        format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: Nobody <nobody@example.invalid>\n{depends}\
             Description: made by a test\n",
            self.name, self.version
        )
    }
}

fn tar_of(members: &[(String, Member)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, member) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(MEMBER_MTIME);
        // As bytes: the library refuses names that no honest archive has.
        let place = &mut header.as_old_mut().name;
        place[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        let (kind, content): (_, &[u8]) = match member {
            Member::File(content, mode) => {
                header.set_mode(*mode);
                (tar::EntryType::Regular, content)
            }
            Member::Symlink(_) => (tar::EntryType::Symlink, &[]),
            Member::HardLink(_) => (tar::EntryType::Link, &[]),
            Member::Device => (tar::EntryType::Char, &[]),
        };
        if let Member::Symlink(target) | Member::HardLink(target) = member {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).expect("memory");
    }
    builder.into_inner().expect("memory")
}

/// A folder that apt takes packages from.
#[derive(Debug)]
pub struct AptRepository {
    folder: PathBuf,
    packages: String,
}

impl AptRepository {
    /// A repository in `folder`, which is made, with nothing in it.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("parts")).expect("the folder is the test's");
        let repository = Self { folder: folder.to_owned(), packages: String::new() };
        let shown = folder.display();
        fs::write(folder.join("sources.list"), format!("deb [trusted=yes] file:{shown} ./\n")).expect("writable");
        let configuration =
            format!("Dir::Etc::sourcelist \"{shown}/sources.list\";\nDir::Etc::sourceparts \"{shown}/parts\";\n");
        fs::write(repository.configuration(), configuration).expect("writable");
        repository.write();
        repository
    }

    /// What `APT_CONFIG` has to name so that this is all that the machine's apt knows.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("apt.conf")
    }

    /// Adds a package; its file may be changed afterwards, unlike the list.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn add(&mut self, package: &DebBuilder) -> PathBuf {
        let bytes = package.build();
        let file_name = format!("{}_{}_all.deb", package.name, package.version.replace(':', "%3a"));
        let path = self.folder.join(&file_name);
        fs::write(&path, &bytes).expect("the folder is the test's");
        let digest = hex(&Sha256::digest(&bytes));
        let entry = format!("Filename: ./{file_name}\nSize: {}\nSHA256: {digest}\n\n", bytes.len());
        self.packages.push_str(&(package.control() + &entry));
        self.write();
        path
    }

    fn write(&self) {
        fs::write(self.folder.join("Packages"), &self.packages).expect("the folder is the test's");
    }
}
