//! Writing `DT_RPATH` into an ELF file that is already linked.
//!
//! `DT_RPATH`, not `DT_RUNPATH`: only the former also holds for the libraries that a library needs in turn. At link time it can't
//! be known yet, and no variable reaches every linker.
//!
//! The file's table of strings is copied to a new page at its end, with the path behind it, and so is the table of program
//! headers, with one more entry that loads this page. Nothing that is there moves: `DT_STRTAB` points to the copy, and the new
//! entry of the dynamic section takes one of the empty places that GNU's linkers leave, that of a `DT_RUNPATH`, or of a
//! `DT_RELACOUNT`, which only says how many entries can be relocated fast.

/// Types of program headers.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_PHDR: u32 = 6;

/// Tags of the dynamic section.
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_RELACOUNT: u64 = 0x6fff_fff9;
const DT_RELCOUNT: u64 = 0x6fff_fffa;

/// Bytes of the structures of 64-bit files.
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;
const DYNAMIC_ENTRY: usize = 16;

/// Least alignment of what is loaded: the largest page of the machines that we build on (arm64).
const PAGE: u64 = 0x1_0000;

/// Largest table of strings; the largest known has some 60 MB.
const STRINGS_BYTES_MAX: u64 = 512 << 20;

/// Bytes that a file may grow so that its new page lies at the same distance in the file and in memory, as kernels before 5.18 want it of
/// programs. What a file with more uninitialised data loses is these kernels.
const GAP_BYTES_MAX: u64 = 16 << 20;

/// Why a file can't get a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RpathError {
    /// Neither of x86-64 nor arm64 in their usual form: 64 bits, the low byte first.
    #[error("is of another kind than 64-bit ELF with the low byte first")]
    Kind,
    /// Its headers contradict each other or its length.
    #[error("has headers that make no sense")]
    Damaged,
    /// The dynamic section has no place left.
    #[error("was linked without room for another entry in its dynamic section")]
    NoRoom,
}

/// A program header.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Where its entry is in the file.
    at: usize,
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
}

/// The bytes of an ELF file with bounds at each look.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], RpathError> {
        let end = at.checked_add(N).ok_or(RpathError::Damaged)?;
        self.0.get(at..end).and_then(|bytes| bytes.try_into().ok()).ok_or(RpathError::Damaged)
    }

    fn u16(&self, at: usize) -> Result<u16, RpathError> {
        Ok(u16::from_le_bytes(self.array(at)?))
    }

    fn u32(&self, at: usize) -> Result<u32, RpathError> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    fn u64(&self, at: usize) -> Result<u64, RpathError> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }
}

fn position(number: u64) -> Result<usize, RpathError> {
    usize::try_from(number).map_err(|_| RpathError::Damaged)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Result<(), RpathError> {
    let end = at.checked_add(value.len()).ok_or(RpathError::Damaged)?;
    bytes.get_mut(at..end).ok_or(RpathError::Damaged)?.copy_from_slice(value);
    Ok(())
}

fn aligned(number: u64, to: u64) -> Result<u64, RpathError> {
    number.checked_next_multiple_of(to).ok_or(RpathError::Damaged)
}

/// What is known of the dynamic section.
#[derive(Debug, Default)]
struct Dynamic {
    strings: u64,
    /// Where the entry of the table's place is.
    strings_at: usize,
    strings_size: u64,
    strings_size_at: usize,
    /// An entry that names folders already: where it is and where its text begins.
    path: Option<(usize, u64)>,
    /// A place for a new entry.
    free: Option<usize>,
}

/// The file with `folders` (separated by colons) at the end of its `DT_RPATH`, after what it names itself; a `DT_RUNPATH` becomes one.
///
/// # Errors
/// When the file is not of a kind that is known, or has no room.
pub fn with_rpath(file: &[u8], folders: &str) -> Result<Vec<u8>, RpathError> {
    let bytes = Bytes(file);
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return Err(RpathError::Kind);
    }
    let segments = segments(&bytes)?;
    let dynamic = dynamic(&bytes, &segments)?;
    let table = strings(&bytes, &segments, &dynamic)?;
    let entry = dynamic.path.map(|(at, _)| at).or(dynamic.free).ok_or(RpathError::NoRoom)?;
    let own = match dynamic.path {
        Some((_, start)) => text_at(table, start)?,
        None => &[],
    };

    let (offset, address) = new_page(file.len() as u64, &segments)?;
    let headers_size = (segments.len() + 1) * PROGRAM_HEADER;
    let text_start = table.len() as u64;
    let mut strings = table.to_vec();
    strings.extend(own);
    if !own.is_empty() {
        strings.push(b':');
    }
    strings.extend(folders.bytes().filter(|byte| *byte != 0));
    strings.push(0);
    let page = Page { offset, address, size: (headers_size + strings.len()) as u64 };
    let strings_address = address.checked_add(headers_size as u64).ok_or(RpathError::Damaged)?;

    let mut out = file.to_vec();
    put(&mut out, entry, &DT_RPATH.to_le_bytes())?;
    put(&mut out, entry + 8, &text_start.to_le_bytes())?;
    put(&mut out, dynamic.strings_at, &strings_address.to_le_bytes())?;
    put(&mut out, dynamic.strings_size_at, &(strings.len() as u64).to_le_bytes())?;
    move_section(&mut out, &bytes, &dynamic, (strings_address, offset + headers_size as u64, strings.len() as u64))?;
    put(&mut out, 32, &offset.to_le_bytes())?;
    let count = u16::try_from(segments.len() + 1).map_err(|_| RpathError::Damaged)?;
    put(&mut out, 56, &count.to_le_bytes())?;
    // A copied entry may be the dynamic section's own; it was not changed.
    let headers = program_headers(&bytes, &segments, &page)?;
    out.resize(position(offset)?, 0);
    out.extend(headers);
    out.extend(strings);
    Ok(out)
}

/// Turns the `DT_RUNPATH` of a library, if it has one, into a `DT_RPATH`, in place: with the former it would look for its own
/// libraries nowhere else, whatever those that load it say. Anything else stays as it is.
pub(super) fn inherit_paths(file: &mut [u8]) {
    let bytes = Bytes(file);
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return;
    }
    let found = segments(&bytes).and_then(|segments| dynamic(&bytes, &segments));
    if let Ok(Dynamic { path: Some((at, _)), .. }) = found {
        let put = put(file, at, &DT_RPATH.to_le_bytes());
        debug_assert!(put.is_ok(), "it was read there");
    }
}

/// What is added at the end of a file.
#[derive(Debug, Clone, Copy)]
struct Page {
    offset: u64,
    address: u64,
    size: u64,
}

fn segments(bytes: &Bytes<'_>) -> Result<Vec<Segment>, RpathError> {
    let (start, size, count) = (position(bytes.u64(32)?)?, bytes.u16(54)?, bytes.u16(56)?);
    if usize::from(size) != PROGRAM_HEADER || bytes.0.len() < HEADER {
        return Err(RpathError::Damaged);
    }
    let mut segments = Vec::with_capacity(usize::from(count));
    for number in 0..usize::from(count) {
        let at = start.checked_add(number * PROGRAM_HEADER).ok_or(RpathError::Damaged)?;
        segments.push(Segment {
            at,
            kind: bytes.u32(at)?,
            offset: bytes.u64(at + 8)?,
            address: bytes.u64(at + 16)?,
            file_size: bytes.u64(at + 32)?,
            memory_size: bytes.u64(at + 40)?,
        });
    }
    Ok(segments)
}

fn dynamic(bytes: &Bytes<'_>, segments: &[Segment]) -> Result<Dynamic, RpathError> {
    let segment = segments.iter().find(|segment| segment.kind == PT_DYNAMIC).ok_or(RpathError::Damaged)?;
    let mut found = Dynamic::default();
    let mut count_entry = None;
    let mut at = position(segment.offset)?;
    let end = segment.offset.checked_add(segment.file_size).ok_or(RpathError::Damaged).and_then(position)?;
    loop {
        let next = at.checked_add(DYNAMIC_ENTRY).filter(|next| *next <= end).ok_or(RpathError::Damaged)?;
        let (tag, value) = (bytes.u64(at)?, bytes.u64(at + 8)?);
        match tag {
            DT_NULL => {
                // The last empty entry is the end; one before it is free.
                let another = next.checked_add(DYNAMIC_ENTRY).is_some_and(|after| after <= end);
                let is_empty = another && bytes.u64(next)? == DT_NULL;
                found.free = if is_empty { Some(at) } else { count_entry };
                break;
            }
            DT_STRTAB => (found.strings, found.strings_at) = (value, at + 8),
            DT_STRSZ => (found.strings_size, found.strings_size_at) = (value, at + 8),
            DT_RUNPATH => found.path = Some((at, value)),
            DT_RPATH if found.path.is_none() => found.path = Some((at, value)),
            DT_RELACOUNT | DT_RELCOUNT => count_entry = Some(at),
            _ => {}
        }
        at = next;
    }
    Ok(found)
}

fn strings<'a>(bytes: &Bytes<'a>, segments: &[Segment], dynamic: &Dynamic) -> Result<&'a [u8], RpathError> {
    let inside = |segment: &&Segment| {
        segment.kind == PT_LOAD
            && dynamic.strings.checked_sub(segment.address).is_some_and(|inside| inside < segment.file_size)
    };
    let segment = segments.iter().find(inside).ok_or(RpathError::Damaged)?;
    let is_whole = dynamic.strings_at != 0 && dynamic.strings_size_at != 0;
    if !is_whole || dynamic.strings_size > STRINGS_BYTES_MAX {
        return Err(RpathError::Damaged);
    }
    let start = segment.offset.checked_add(dynamic.strings - segment.address).ok_or(RpathError::Damaged)?;
    let end = start.checked_add(dynamic.strings_size).ok_or(RpathError::Damaged)?;
    bytes.0.get(position(start)?..position(end)?).ok_or(RpathError::Damaged)
}

fn text_at(table: &[u8], start: u64) -> Result<&[u8], RpathError> {
    let rest = table.get(position(start)?..).ok_or(RpathError::Damaged)?;
    rest.split(|byte| *byte == 0).next().ok_or(RpathError::Damaged)
}

/// Where the new page goes in the file and in memory.
fn new_page(length: u64, segments: &[Segment]) -> Result<(u64, u64), RpathError> {
    let loaded = segments.iter().filter(|segment| segment.kind == PT_LOAD);
    let first = loaded.clone().next().ok_or(RpathError::Damaged)?;
    let base = first.address.checked_sub(first.offset).ok_or(RpathError::Damaged)?;
    let mut end = 0;
    for segment in loaded {
        end = end.max(segment.address.checked_add(segment.memory_size).ok_or(RpathError::Damaged)?);
    }
    let (offset, address) = (aligned(length, PAGE)?, aligned(end, PAGE)?);
    let distance = address.checked_sub(base).map(|distance| distance.max(offset));
    match distance {
        Some(same) if same - offset <= GAP_BYTES_MAX && base % PAGE == 0 => {
            Ok((same, base.checked_add(same).ok_or(RpathError::Damaged)?))
        }
        _ => Ok((offset, address)),
    }
}

/// The program headers with one more, after the last that is loaded: they have to be in the order of their addresses.
fn program_headers(bytes: &Bytes<'_>, segments: &[Segment], page: &Page) -> Result<Vec<u8>, RpathError> {
    let last = segments.iter().rposition(|segment| segment.kind == PT_LOAD).ok_or(RpathError::Damaged)?;
    let mut headers = Vec::with_capacity((segments.len() + 1) * PROGRAM_HEADER);
    let size = ((segments.len() + 1) * PROGRAM_HEADER) as u64;
    for (number, segment) in segments.iter().enumerate() {
        let mut header: [u8; PROGRAM_HEADER] = bytes.array(segment.at)?;
        if segment.kind == PT_PHDR {
            for (at, value) in [(8, page.offset), (16, page.address), (24, page.address), (32, size), (40, size)] {
                put(&mut header, at, &value.to_le_bytes())?;
            }
        }
        headers.extend(header);
        if number == last {
            headers.extend(PT_LOAD.to_le_bytes());
            // Readable.
            headers.extend(4_u32.to_le_bytes());
            for value in [page.offset, page.address, page.address, page.size, page.size, PAGE] {
                headers.extend(value.to_le_bytes());
            }
        }
    }
    Ok(headers)
}

/// Lets the section of the strings, which only tools read, say where they are now: address, offset, size. A stripped file has none.
fn move_section(
    out: &mut [u8],
    bytes: &Bytes<'_>,
    dynamic: &Dynamic,
    (address, offset, size): (u64, u64, u64),
) -> Result<(), RpathError> {
    let (start, entry, count) = (position(bytes.u64(40)?)?, bytes.u16(58)?, bytes.u16(60)?);
    if usize::from(entry) != SECTION_HEADER {
        return Ok(());
    }
    for number in 0..usize::from(count) {
        let Some(at) = start.checked_add(number * SECTION_HEADER) else { break };
        let Ok(found) = bytes.u64(at + 16) else { break };
        // A table of strings (3) that is loaded there.
        if bytes.u32(at + 4)? == 3 && found == dynamic.strings {
            for (field, value) in [(16, address), (24, offset), (32, size)] {
                put(out, at + field, &value.to_le_bytes())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::elf::tests::library;

    /// Files that can't be changed are told from those that make no sense; real ones are changed in `tests/integration/layers.rs`.
    #[test]
    fn other_files_are_refused() {
        assert_eq!(with_rpath(b"#!/bin/sh\n", "/store"), Err(RpathError::Kind));
        let without_size_of_strings = library("$ORIGIN/../b", "libb.so.1");
        assert_eq!(with_rpath(&without_size_of_strings, "/store"), Err(RpathError::Damaged));
    }

    #[test]
    fn a_library_inherits_paths() {
        let mut file = library("$ORIGIN", "libb.so.1");
        let dynamic = 64 + 2 * 56;
        inherit_paths(&mut file);
        let tags: Vec<u64> = (0..3).map(|number| Bytes(&file).u64(dynamic + number * 16).unwrap()).collect();
        assert!(tags.contains(&DT_RPATH) && !tags.contains(&DT_RUNPATH), "{tags:?}");
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
            let _ = with_rpath(&bytes, "/store");
            inherit_paths(&mut bytes);
        }
    }
}
