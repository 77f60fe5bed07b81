//! The index as bytes.
//!
//! ```text
//! "pip-accel system index 1\n"
//! 5 × u64, little-endian: lengths of what follows
//! origin     JSON: IndexOrigin
//! packages   a line each, sorted by name: name, section class, count, depends, provides; separated by tabs
//! sets       a line each: offsets of package lines, decimal, separated by blanks
//! python     a line each, sorted by name: module, packages separated by blanks
//! paths      an fst map: reversed path → offset of a line in `sets`
//! BLAKE3 of all that comes before, 32 bytes
//! ```
//!
//! Nothing has to be parsed before the first question: what refers to something else does so by its offset.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{IndexError, IndexOrigin};

const MAGIC: &[u8] = b"pip-accel system index 1\n";
const SECTIONS: usize = 5;
const DIGEST_BYTES: usize = 32;

/// How a package's section counts: `libdevel`, `devel`, or anything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectionClass {
    /// Neither of the two.
    #[default]
    Other,
    /// `devel`.
    Development,
    /// `libdevel`.
    LibraryDevelopment,
}

impl SectionClass {
    const fn letter(self) -> &'static str {
        match self {
            Self::Other => "-",
            Self::Development => "d",
            Self::LibraryDevelopment => "l",
        }
    }

    pub(super) fn from_letter(letter: &str) -> Self {
        match letter {
            "l" => Self::LibraryDevelopment,
            "d" => Self::Development,
            _ => Self::Other,
        }
    }
}

/// What is known of one package.
#[derive(Debug, Default)]
pub(super) struct PackageRow {
    pub(super) class: SectionClass,
    /// How many source packages need it to be built.
    pub(super) count: u32,
    pub(super) depends: Vec<String>,
    pub(super) provides: Vec<String>,
}

impl PackageRow {
    pub(super) fn section(&mut self, section: &str) {
        let section = section.rsplit('/').next().unwrap_or_default();
        match section {
            "libdevel" => self.class = SectionClass::LibraryDevelopment,
            "devel" => self.class = self.class.max(SectionClass::Development),
            _ => {}
        }
    }
}

/// All but the paths.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) packages: BTreeMap<String, PackageRow>,
    /// Names, sorted and joined by blanks, by the set's number.
    pub(super) sets: Vec<Box<str>>,
    pub(super) python: BTreeMap<String, BTreeSet<String>>,
}

/// The sections of an index, apart.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) origin: IndexOrigin,
    pub(super) packages: String,
    pub(super) sets: String,
    pub(super) python: String,
    pub(super) paths: fst::Map<Vec<u8>>,
}

/// Writes `tables` and `paths` (sorted, without repetition).
pub(super) fn write(origin: &IndexOrigin, tables: &Tables, paths: &[(Box<[u8]>, u32)]) -> Result<Vec<u8>, fst::Error> {
    let mut packages = String::new();
    let mut offsets: HashMap<&str, usize> = HashMap::new();
    for (name, row) in &tables.packages {
        offsets.insert(name, packages.len());
        let (depends, provides) = (row.depends.join(" "), row.provides.join(" "));
        packages.push_str(&format!("{name}\t{}\t{}\t{depends}\t{provides}\n", row.class.letter(), row.count));
    }
    let mut sets = String::new();
    let mut set_offsets = Vec::with_capacity(tables.sets.len());
    for names in &tables.sets {
        set_offsets.push(sets.len() as u64);
        let numbers: Vec<String> =
            names.split(' ').filter_map(|name| offsets.get(name)).map(ToString::to_string).collect();
        sets.push_str(&numbers.join(" "));
        sets.push('\n');
    }
    let mut python = String::new();
    for (module, names) in &tables.python {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        python.push_str(&format!("{module}\t{}\n", names.join(" ")));
    }
    let mut map = fst::MapBuilder::memory();
    for (path, set) in paths {
        map.insert(path, set_offsets.get(*set as usize).copied().unwrap_or(u64::MAX))?;
    }
    let map = map.into_inner()?;
    let origin = serde_json::to_vec(origin).unwrap_or_default();
    let sections: [&[u8]; SECTIONS] = [&origin, packages.as_bytes(), sets.as_bytes(), python.as_bytes(), &map];
    let mut bytes = MAGIC.to_vec();
    for section in sections {
        bytes.extend((section.len() as u64).to_le_bytes());
    }
    for section in sections {
        bytes.extend_from_slice(section);
    }
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    Ok(bytes)
}

/// Takes an index apart.
pub(super) fn read(bytes: &[u8]) -> Result<Sections, IndexError> {
    if !bytes.starts_with(MAGIC) {
        return Err(IndexError::OtherFormat);
    }
    let content = bytes.len().checked_sub(DIGEST_BYTES).and_then(|end| bytes.split_at_checked(end));
    let (content, digest) = content.ok_or(IndexError::Damaged)?;
    if blake3::hash(content).as_bytes() != digest {
        return Err(IndexError::Damaged);
    }
    let mut rest = &content[MAGIC.len()..];
    let mut lengths = [0_usize; SECTIONS];
    for length in &mut lengths {
        let (number, after) = rest.split_first_chunk::<8>().ok_or(IndexError::Damaged)?;
        *length = usize::try_from(u64::from_le_bytes(*number)).map_err(|_| IndexError::Damaged)?;
        rest = after;
    }
    let mut parts = [&rest[..0]; SECTIONS];
    for (part, length) in parts.iter_mut().zip(lengths) {
        (*part, rest) = rest.split_at_checked(length).ok_or(IndexError::Damaged)?;
    }
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).map_err(|_| IndexError::Damaged);
    Ok(Sections {
        origin: serde_json::from_slice(parts[0]).map_err(|_| IndexError::Damaged)?,
        packages: text(parts[1])?,
        sets: text(parts[2])?,
        python: text(parts[3])?,
        paths: fst::Map::new(parts[4].to_vec()).map_err(IndexError::Map)?,
    })
}
