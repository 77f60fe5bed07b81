//! A wheel whose ELF files find the libraries of the layers, in place of the one that was built.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Store, StoreError};
use sha2::{Digest, Sha256};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::Layers;
use super::rpath::{RpathError, with_rpath};
use super::runtime::Libraries;
use crate::python::elf::{ELF_MAGIC, read_dynamic};

/// Largest ELF file that is changed. The largest that builds of sdists were seen to make have some 200 MB.
const ELF_BYTES_MAX: u64 = 1 << 30;

/// Most entries of a wheel that are looked at; what has more is refused when it is unpacked.
const ENTRIES_MAX: usize = 400_000;

/// Longest RECORD, in bytes: of that many entries.
const RECORD_BYTES_MAX: u64 = 256 << 20;

/// Why the libraries of a wheel can't be made to be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelocateError {
    /// The wheel is damaged, hostile, or too large.
    #[error("it made a wheel that can't be read")]
    Wheel(#[source] ZipError),
    /// One of its ELF files can't be changed.
    #[error("`{file}` needs libraries of unpacked packages and {reason}")]
    Elf {
        /// The file.
        file: String,
        /// Why not.
        reason: RpathError,
    },
    /// The new wheel can't be written.
    #[error("the wheel can't be written anew")]
    Write(#[source] io::Error),
    /// A layer can't be read.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

/// What came of a wheel.
#[derive(Debug, Default)]
pub(crate) struct Relocated {
    /// Layers that the result needs when it runs, sorted; without any there is no new wheel.
    pub(crate) layers: Vec<ObjectId>,
    /// Files that were changed.
    pub(crate) files: usize,
}

/// Writes the wheel `from` to `to` with a `DT_RPATH` in each ELF file that needs libraries of `layers`, and a RECORD that fits.
///
/// # Errors
/// See [`RelocateError`].
pub(crate) fn relocated(
    store: &Store,
    layers: &Layers,
    (from, to): (&Path, &Path),
) -> Result<Relocated, RelocateError> {
    let file = File::open(from).map_err(RelocateError::Write)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(RelocateError::Wheel)?;
    let mut libraries = Libraries::of(store, layers.objects()).map_err(RelocateError::Store)?;
    let (changed, used) = changed_files(&mut archive, &mut libraries)?;
    if changed.is_empty() {
        return Ok(Relocated::default());
    }
    let files = changed.len();
    write(&mut archive, to, changed)?;
    Ok(Relocated { layers: used.into_iter().collect(), files })
}

type Archive = ZipArchive<BufReader<File>>;

/// The new content of files, by their place in the archive, and the layers that they need.
type Changed = (BTreeMap<usize, Vec<u8>>, BTreeSet<ObjectId>);

/// The files that need layers.
fn changed_files(archive: &mut Archive, libraries: &mut Libraries) -> Result<Changed, RelocateError> {
    if archive.len() > ENTRIES_MAX {
        return Err(RelocateError::Wheel(ZipError::InvalidArchive("too many entries".into())));
    }
    let own: HashSet<String> =
        archive.file_names().flatten().filter_map(|name| name.rsplit('/').next().map(str::to_owned)).collect();
    let mut changed = BTreeMap::new();
    let mut used = BTreeSet::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(RelocateError::Wheel)?;
        let mut magic = [0; ELF_MAGIC.len()];
        if !entry.is_file() || entry.read_exact(&mut magic).is_err() || magic != *ELF_MAGIC {
            continue;
        }
        let name = entry.name().map_err(RelocateError::Wheel)?.into_owned();
        let mut content = magic.to_vec();
        let failed = |error: io::Error| RelocateError::Wheel(error.into());
        (&mut entry).take(ELF_BYTES_MAX).read_to_end(&mut content).map_err(failed)?;
        let info = read_dynamic(&mut Cursor::new(&content)).map_err(failed)?;
        let needed = libraries.needed(&info.unwrap_or_default().needed, &own);
        if needed.layers.is_empty() {
            continue;
        }
        let folders: Vec<String> = needed.folders.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
        let content =
            with_rpath(&content, &folders.join(":")).map_err(|reason| RelocateError::Elf { file: name, reason })?;
        changed.insert(index, content);
        used.extend(needed.layers);
    }
    Ok((changed, used))
}

fn write(archive: &mut Archive, to: &Path, mut changed: BTreeMap<usize, Vec<u8>>) -> Result<(), RelocateError> {
    let mut digests = BTreeMap::new();
    for (index, content) in &changed {
        let Some(Ok(name)) = archive.name_for_index(*index) else { continue };
        let name = name.into_owned();
        let digest = BASE64URL_NOPAD.encode(&Sha256::digest(content));
        digests.insert(name, format!("sha256={digest},{}", content.len()));
    }
    let file = File::create_new(to).map_err(RelocateError::Write)?;
    let mut writer = ZipWriter::new(BufWriter::new(file));
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(RelocateError::Wheel)?;
        let name = entry.name().map_err(RelocateError::Wheel)?.into_owned();
        let content = match changed.remove(&index) {
            Some(content) => content,
            None if is_record(&name) => {
                let mut text = String::new();
                let read = (&mut entry).take(RECORD_BYTES_MAX).read_to_string(&mut text);
                read.map_err(|error| RelocateError::Wheel(error.into()))?;
                record(&text, &digests).into_bytes()
            }
            None => {
                writer.raw_copy_file(entry).map_err(RelocateError::Wheel)?;
                continue;
            }
        };
        let mut options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        options = options.unix_permissions(entry.unix_mode().unwrap_or(0o644) & 0o777);
        if let Some(time) = entry.last_modified() {
            options = options.last_modified_time(time);
        }
        drop(entry);
        writer.start_file(name, options).map_err(RelocateError::Wheel)?;
        writer.write_all(&content).map_err(RelocateError::Write)?;
    }
    let file = writer.finish().map_err(RelocateError::Wheel)?;
    file.into_inner().map_err(|error| RelocateError::Write(error.into_error()))?;
    Ok(())
}

fn is_record(name: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, file)| folder.ends_with(".dist-info") && file == "RECORD")
}

/// The lines of a RECORD with other digests and sizes for some of the files.
fn record(text: &str, digests: &BTreeMap<String, String>) -> String {
    let mut lines = String::with_capacity(text.len());
    for line in text.lines() {
        // `path,algorithm=digest,size`; a path with a comma is quoted, and neither of the others has one.
        let path = line.rsplitn(3, ',').nth(2).unwrap_or_default();
        let bare = match path.strip_prefix('"').and_then(|path| path.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => path.to_owned(),
        };
        match digests.get(&bare) {
            Some(digest) => lines.push_str(&format!("{path},{digest}\n")),
            None => lines.push_str(&format!("{line}\n")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gets_the_new_digests() {
        let digests = BTreeMap::from([("a,b/_c.so".to_owned(), "sha256=new,7".to_owned())]);
        let text = "a/__init__.py,sha256=old,3\n\"a,b/_c.so\",sha256=old,5\na.dist-info/RECORD,,\n";
        let expected = "a/__init__.py,sha256=old,3\n\"a,b/_c.so\",sha256=new,7\na.dist-info/RECORD,,\n";
        assert_eq!(record(text, &digests), expected);
        assert!(is_record("a-1.dist-info/RECORD") && !is_record("a/a-1.dist-info/RECORD"));
    }
}
