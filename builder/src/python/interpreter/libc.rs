//! The C library of an interpreter, and what changes under it without its file changing.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use goblin::elf::Elf;
use pip_accel_schema::interpreter::{Libc, MarkerVariables};

/// How much of an executable is read for the path of its loader: all of it lies in the first page of any real one.
const ELF_HEAD_BYTES_MAX: u64 = 64 << 10;

/// Loaders of the platforms that are supported. Their stamps stand for the version of the C library.
pub(super) const LOADERS: [&str; 6] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-linux.so.2",
    "/lib/ld-linux-armhf.so.3",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// `glibc 2.36` → the version.
pub(super) fn parse_glibc(text: &str) -> Option<Libc> {
    let mut parts = text.strip_prefix("glibc ")?.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some(Libc::Glibc { major, minor })
}

/// The musl that `executable` is linked to: its loader says the version when it is run.
pub(super) fn musl_of(executable: &Path) -> Option<Libc> {
    let mut head = Vec::new();
    File::open(executable).ok()?.take(ELF_HEAD_BYTES_MAX).read_to_end(&mut head).ok()?;
    let loader = loader_of(&head).filter(|loader| loader.contains("musl"))?;
    let output = Command::new(loader).stdin(Stdio::null()).output().ok()?;
    parse_musl(&String::from_utf8_lossy(&output.stderr))
}

/// The program interpreter (PT_INTERP) named in the first bytes of an ELF file.
fn loader_of(head: &[u8]) -> Option<String> {
    let header = Elf::parse_header(head).ok()?;
    let mut elf = Elf::lazy_parse(header).ok()?;
    let context = goblin::container::Ctx::new(
        if header.e_ident[goblin::elf::header::EI_CLASS] == goblin::elf::header::ELFCLASS64 {
            goblin::container::Container::Big
        } else {
            goblin::container::Container::Little
        },
        header.endianness().ok()?,
    );
    let offset = usize::try_from(header.e_phoff).ok()?;
    elf.program_headers = goblin::elf::ProgramHeader::parse(head, offset, header.e_phnum.into(), context).ok()?;
    let segment = elf.program_headers.iter().find(|header| header.p_type == goblin::elf::program_header::PT_INTERP)?;
    let start = usize::try_from(segment.p_offset).ok()?;
    let bytes = head.get(start..start.checked_add(usize::try_from(segment.p_filesz).ok()?)?)?;
    let text = bytes.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok().filter(|path| path.starts_with('/'))
}

/// The two lines that musl's loader prints: `musl libc (x86_64)`, `Version 1.2.3`.
fn parse_musl(text: &str) -> Option<Libc> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().filter(|line| line.starts_with("musl"))?;
    let mut parts = lines.next()?.strip_prefix("Version ")?.split('.');
    Some(Libc::Musl { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
}

/// Sets the variables that change with the kernel: a remembered answer may be older than the last boot.
pub(super) fn refresh_kernel(markers: &mut MarkerVariables) {
    let Ok(kernel) = nix::sys::utsname::uname() else { return };
    if let (Some(release), Some(version)) = (kernel.release().to_str(), kernel.version().to_str()) {
        release.clone_into(&mut markers.platform_release);
        version.clone_into(&mut markers.platform_version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_libraries_say() {
        assert_eq!(parse_glibc("glibc 2.36"), Some(Libc::Glibc { major: 2, minor: 36 }));
        assert_eq!(parse_glibc("glibc 2.36.9000"), Some(Libc::Glibc { major: 2, minor: 36 }));
        assert_eq!(parse_glibc("NPTL 2.36"), None);
        let musl = "musl libc (x86_64)\nVersion 1.2.3\nDynamic Program Loader\n";
        assert_eq!(parse_musl(musl), Some(Libc::Musl { major: 1, minor: 2 }));
        assert_eq!(parse_musl("error\nVersion 1.2"), None);
    }

    #[test]
    fn loaders_are_found_in_real_executables_only() {
        let mut head = Vec::new();
        let shell = File::open("/bin/sh").expect("a shell");
        shell.take(ELF_HEAD_BYTES_MAX).read_to_end(&mut head).expect("its bytes");
        assert!(loader_of(&head).is_some_and(|loader| loader.contains("ld-")));
        for bad in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &head[..70]] {
            assert_eq!(loader_of(bad), None);
        }
        assert_eq!(musl_of(Path::new("/does/not/exist")), None);
    }
}
