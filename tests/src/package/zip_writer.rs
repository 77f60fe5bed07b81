//! A zip writer without any rules: it writes the members it is given, lies included, which no library agrees to do.

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// 1980-01-01 in the DOS format.
const DOS_DATE: u16 = 33;
/// General purpose flag: the name is UTF-8.
const FLAG_UTF8: u16 = 0x0800;
/// General purpose flag: the member is encrypted.
const FLAG_ENCRYPTED: u16 = 0x0001;
/// Members longer than this are deflated.
const STORED_BYTES_MAX: usize = 64;

/// One member of a zip archive.
#[derive(Debug, Clone)]
pub struct ZipMember {
    /// Name as written into the archive, whatever it holds.
    pub name: String,
    /// Content; the target for a symbolic link.
    pub content: Vec<u8>,
    /// Unix mode with file type: `0o100_644`, `0o120_777` for a link.
    pub mode: u32,
    /// Whether the encrypted flag is set (the content is not).
    pub is_encrypted: bool,
    /// A lie about the unpacked size, in bytes.
    pub declared_size: Option<u32>,
}

impl ZipMember {
    /// A regular file.
    #[must_use]
    pub fn file(name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), content: content.into(), mode: 0o100_644, is_encrypted: false, declared_size: None }
    }
}

/// The archive of these members in this order; the same members give the same bytes.
///
/// # Panics
/// When the archive would need zip64: these are tiny packages.
#[must_use]
pub fn zip_archive(members: &[ZipMember]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for member in members {
        let offset = u32_of(archive.len());
        let header = member_header(member);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&header.fields);
        archive.extend_from_slice(member.name.as_bytes());
        archive.extend_from_slice(&header.body);

        directory.extend_from_slice(b"PK\x01\x02");
        // Version made by: 2.0 on Unix, which is what gives the external attributes their meaning.
        directory.extend_from_slice(&[20, 3]);
        directory.extend_from_slice(&header.fields);
        // No comment, first disk, no internal attributes.
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&(member.mode << 16).to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(member.name.as_bytes());
    }
    let directory_offset = u32_of(archive.len());
    let count = u16::try_from(members.len()).expect("tiny packages");
    archive.extend_from_slice(&directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&count.to_le_bytes());
    archive.extend_from_slice(&count.to_le_bytes());
    archive.extend_from_slice(&u32_of(directory.len()).to_le_bytes());
    archive.extend_from_slice(&directory_offset.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}

struct Header {
    /// The fields that local and central header share, from "version needed" to "extra length".
    fields: Vec<u8>,
    body: Vec<u8>,
}

fn member_header(member: &ZipMember) -> Header {
    let mut crc = Crc::new();
    crc.update(&member.content);
    let (method, body) = if member.content.len() > STORED_BYTES_MAX {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&member.content).expect("writing into memory works");
        (8u16, encoder.finish().expect("writing into memory works"))
    } else {
        (0u16, member.content.clone())
    };
    let flags = FLAG_UTF8 | if member.is_encrypted { FLAG_ENCRYPTED } else { 0 };
    let size = member.declared_size.unwrap_or_else(|| u32_of(member.content.len()));
    let mut fields = Vec::with_capacity(26);
    for field in [20, flags, method, 0, DOS_DATE] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    for field in [crc.sum(), u32_of(body.len()), size] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    let name_length = u16::try_from(member.name.len()).expect("tiny names");
    fields.extend_from_slice(&name_length.to_le_bytes());
    fields.extend_from_slice(&[0, 0]);
    Header { fields, body }
}

fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("tiny packages")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_library_reads_what_it_writes() {
        let mut link = ZipMember::file("l", "a/b.txt");
        link.mode = 0o120_777;
        let long = "x".repeat(5000);
        let bytes = zip_archive(&[ZipMember::file("a/b.txt", long.as_str()), link]);
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let mut text = String::new();
        archive.by_name("a/b.txt").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, long);
        assert!(archive.by_name("l").unwrap().is_symlink());
    }
}
