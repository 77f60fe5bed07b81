//! The dynamic section of ELF files: where the loader will look for their libraries.
//!
//! Only the headers, the dynamic section and a few strings are read, whatever the size of the file,
//! and nothing in it is believed: offsets and lengths are clamped, text is cut off.

use std::io::{self, Read, Seek, SeekFrom};

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRTAB, DT_VERNEED};
use goblin::elf::header;
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD, ProgramHeader};

/// Most program headers that are read; linkers write about ten.
const PROGRAM_HEADERS_MAX: u16 = 256;

/// Most bytes of the dynamic section that are read: 4,096 entries, where linkers write about forty.
const DYNAMIC_BYTES_MAX: u64 = 64 << 10;

/// Longest string that is read, in bytes: a search path of PATH_MAX.
const STRING_BYTES_MAX: u64 = 4 << 10;

/// Most strings that are read from one file; large libraries need about a hundred others.
const STRINGS_MAX: usize = 1024;

/// Most bytes of the table of needed versions that are read: 4,096 versions, where large libraries have a hundred.
const VERSIONS_BYTES_MAX: u64 = 64 << 10;

/// Longest name of a version, in bytes.
const VERSION_BYTES_MAX: u64 = 128;

/// The first bytes of every ELF file.
pub const ELF_MAGIC: &[u8; 4] = header::ELFMAG;

/// What the loader reads of an ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DynamicInfo {
    /// `DT_NEEDED`: names of libraries.
    pub needed: Vec<String>,
    /// The folders of `DT_RPATH` and `DT_RUNPATH`, in order, as written: `$ORIGIN/../lib`.
    pub search_paths: Vec<String>,
    /// Versions of symbols that it needs of its libraries: `GLIBC_2.34`.
    pub versions: Vec<String>,
}

/// The dynamic section of `file`, or `None` when it has none that makes sense or is no ELF file.
///
/// # Errors
/// Only those of reading `file`: damaged and hostile files give `None` or less than they hold.
pub fn read_dynamic(file: &mut (impl Read + Seek)) -> io::Result<Option<DynamicInfo>> {
    let Some((context, header)) = read_header(file)? else { return Ok(None) };
    let count = header.e_phnum.min(PROGRAM_HEADERS_MAX);
    let size = ProgramHeader::size(context) as u64;
    let bytes = read_range(file, header.e_phoff, size * u64::from(count))?;
    let count = bytes.len() / ProgramHeader::size(context);
    let Ok(segments) = ProgramHeader::parse(&bytes, 0, count, context) else { return Ok(None) };
    let Some(dynamic) = segments.iter().find(|segment| segment.p_type == PT_DYNAMIC) else { return Ok(None) };
    let bytes = read_range(file, dynamic.p_offset, dynamic.p_filesz.min(DYNAMIC_BYTES_MAX))?;
    let entries = dynamic_entries(&bytes, context);

    let table =
        entries.iter().find(|(tag, _)| *tag == DT_STRTAB).and_then(|(_, address)| offset_of(&segments, *address));
    let Some(table) = table else { return Ok(Some(DynamicInfo::default())) };
    let mut info = DynamicInfo::default();
    let strings = entries.iter().filter(|(tag, _)| [DT_NEEDED, DT_RPATH, DT_RUNPATH].contains(tag));
    for (tag, offset) in strings.take(STRINGS_MAX) {
        let Some(start) = table.checked_add(*offset) else { continue };
        let bytes = read_range(file, start, STRING_BYTES_MAX)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let Ok(text) = std::str::from_utf8(text) else { continue };
        if *tag == DT_NEEDED {
            info.needed.push(text.to_owned());
        } else {
            info.search_paths.extend(text.split(':').filter(|path| !path.is_empty()).map(str::to_owned));
        }
    }
    let versions = entries.iter().find(|(tag, _)| *tag == DT_VERNEED).and_then(|(_, at)| offset_of(&segments, *at));
    if let Some(start) = versions {
        let bytes = read_range(file, start, VERSIONS_BYTES_MAX)?;
        for name in version_names(&bytes, context) {
            let Some(start) = table.checked_add(name) else { continue };
            let bytes = read_range(file, start, VERSION_BYTES_MAX)?;
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            info.versions.extend(std::str::from_utf8(text).ok().map(str::to_owned));
        }
    }
    Ok(Some(info))
}

fn read_header(file: &mut (impl Read + Seek)) -> io::Result<Option<(Ctx, header::Header)>> {
    let bytes = read_range(file, 0, header::header64::SIZEOF_EHDR as u64)?;
    if !bytes.starts_with(ELF_MAGIC) || bytes.len() < header::header32::SIZEOF_EHDR {
        return Ok(None);
    }
    let container = match bytes[header::EI_CLASS] {
        header::ELFCLASS64 => Container::Big,
        header::ELFCLASS32 => Container::Little,
        _ => return Ok(None),
    };
    let endian = match bytes[header::EI_DATA] {
        header::ELFDATA2LSB => Endian::Little,
        header::ELFDATA2MSB => Endian::Big,
        _ => return Ok(None),
    };
    let parsed = goblin::elf::Elf::parse_header(&bytes).ok();
    Ok(parsed.map(|header| (Ctx::new(container, endian), header)))
}

/// The offsets of the names in the table of needed versions (`Elf64_Verneed` and `Elf64_Vernaux`, the same for 32 bits).
fn version_names(bytes: &[u8], context: Ctx) -> Vec<u64> {
    let number = |at: usize, width: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(width)?)?;
        let fold = |number: usize, byte: &u8| (number << 8) | usize::from(*byte);
        Some(if context.le.is_little() { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    };
    let mut names = Vec::new();
    let mut library = Some(0_usize);
    while let Some(at) = library {
        let (Some(count), Some(first), Some(next)) = (number(at + 2, 2), number(at + 8, 4), number(at + 12, 4)) else {
            break;
        };
        let mut version = at.checked_add(first);
        for _ in 0..count {
            let Some(at) = version else { break };
            let (Some(name), Some(next)) = (number(at.saturating_add(8), 4), number(at.saturating_add(12), 4)) else {
                break;
            };
            names.push(name as u64);
            if names.len() >= STRINGS_MAX {
                return names;
            }
            version = at.checked_add(next).filter(|_| next > 0);
        }
        // Only forwards, so that it ends.
        library = at.checked_add(next).filter(|_| next > 0);
    }
    names
}

/// Tags and values up to `DT_NULL`.
fn dynamic_entries(bytes: &[u8], context: Ctx) -> Vec<(u64, u64)> {
    let width = if context.is_big() { 8 } else { 4 };
    let number = |bytes: &[u8]| {
        let little = context.le.is_little();
        bytes.iter().enumerate().fold(0_u64, |number, (index, byte)| {
            let shift = if little { index } else { bytes.len() - 1 - index };
            number | (u64::from(*byte) << (8 * shift))
        })
    };
    let entries = bytes.chunks_exact(2 * width).map(|entry| (number(&entry[..width]), number(&entry[width..])));
    entries.take_while(|(tag, _)| *tag != DT_NULL).collect()
}

/// Where in the file the byte lies that is loaded at `address`.
fn offset_of(segments: &[ProgramHeader], address: u64) -> Option<u64> {
    let loaded = segments.iter().filter(|segment| segment.p_type == PT_LOAD);
    loaded.into_iter().find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr)?;
        (inside < segment.p_filesz).then(|| segment.p_offset.checked_add(inside)).flatten()
    })
}

/// Up to `length` bytes at `offset`; fewer at the end of the file.
fn read_range(file: &mut (impl Read + Seek), offset: u64, length: u64) -> io::Result<Vec<u8>> {
    // The kernel refuses offsets beyond a signed number with an error that would look like a failing disk.
    if i64::try_from(offset).is_err() {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use super::*;

    /// A 64-bit little-endian library with one `DT_RUNPATH` and one `DT_NEEDED`, as small as it can be.
    pub(crate) fn library(search_path: &str, needed: &str) -> Vec<u8> {
        let (headers, dynamic, strings) = (64_u64, 64 + 2 * 56, 64 + 2 * 56 + 4 * 16);
        let table = format!("\0{search_path}\0{needed}\0");
        let end = strings + table.len() as u64;
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for number in [3_u16, 62] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(1_u32.to_le_bytes());
        for number in [0, headers, 0_u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        for number in [64_u16, 56, 2, 64, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        // The file is loaded at 0x1000.
        for (kind, offset, size) in [(1_u32, 0_u64, end), (2, dynamic, 64)] {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(4_u32.to_le_bytes());
            for number in [offset, offset + 0x1000, offset, size, size, 8] {
                bytes.extend(number.to_le_bytes());
            }
        }
        for number in [5, strings + 0x1000, 29, 1, 1, 2 + search_path.len() as u64, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(table.as_bytes());
        bytes
    }

    #[test]
    fn search_paths_and_libraries_are_read() {
        let bytes = library("$ORIGIN/../b:$ORIGIN", "libb.so.1");
        let info = read_dynamic(&mut Cursor::new(bytes)).expect("readable").expect("an ELF file");
        assert_eq!(info.search_paths, ["$ORIGIN/../b", "$ORIGIN"]);
        assert_eq!(info.needed, ["libb.so.1"]);
    }

    #[test]
    fn other_files_have_none() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 100]] {
            assert_eq!(read_dynamic(&mut Cursor::new(bytes)).expect("readable"), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_never_panic(
            changes in proptest::collection::vec((0_usize..260, proptest::num::u8::ANY), 0..12),
            length in 0_usize..260,
        ) {
            let mut bytes = library("$ORIGIN/../b", "libb.so.1");
            for (index, byte) in changes {
                if let Some(target) = bytes.get_mut(index) {
                    *target = byte;
                }
            }
            bytes.truncate(length);
            let _ = read_dynamic(&mut Cursor::new(bytes)).expect("memory is readable");
        }

        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = read_dynamic(&mut Cursor::new(bytes.clone())).expect("memory is readable");
            for (index, byte) in ELF_MAGIC.iter().chain(&[2, 1]).enumerate() {
                if let Some(target) = bytes.get_mut(index) {
                    *target = *byte;
                }
            }
            let _ = read_dynamic(&mut Cursor::new(bytes)).expect("memory is readable");
        }
    }
}
