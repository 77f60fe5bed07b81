//! Where each file of a wheel goes, decided before anything is written.

use std::collections::{BTreeSet, HashMap, HashSet};

use pip_accel_schema::link_plan::{DATA_FOLDER, HEADERS_FOLDER, SCRIPTS_FOLDER, SITE_FOLDER};
use pip_accel_schema::manifest::EntryPath;
use pip_accel_schema::name::PackageName;
use pip_accel_schema::wheel::WheelFileName;

use super::record::{RecordError, RecordLine};
use super::{UnpackOptions, WheelFault, WheelWarning};
use crate::python::archive::NameTable;
use crate::python::entry_points::check_script_name;
use crate::python::metadata::same_version;
use crate::python::zip_file::{ZipMember, ZipReader};

/// Names that a message lists at most.
const LISTED_MAX: usize = 10;

/// A file of the wheel and its place in the tree.
#[derive(Debug)]
pub(super) struct PlannedFile {
    pub(super) member: ZipMember,
    /// `None` for a file that is checked, but left out.
    pub(super) destination: Option<EntryPath>,
}

impl PlannedFile {
    /// Whether it goes to `bin/`.
    pub(super) fn is_script(&self) -> bool {
        self.destination.as_ref().is_some_and(|path| folder_of(path.as_str()).0 == SCRIPTS_FOLDER)
    }
}

/// All files of a wheel.
#[derive(Debug)]
pub(super) struct Layout {
    /// The `.dist-info` folder.
    pub(super) dist_info: String,
    /// The files, in the order of the archive.
    pub(super) files: Vec<PlannedFile>,
}

impl Layout {
    /// Finds the place of every member; folders of their own are not kept, as in pip.
    pub(super) fn new(
        members: Vec<ZipMember>,
        file_name: &WheelFileName,
        options: &UnpackOptions,
        warnings: &mut Vec<WheelWarning>,
    ) -> Result<Self, WheelFault> {
        // The archive's own names first: a file below a file must not hide behind two folders of `.data`.
        let mut archive_names = NameTable::new(options.case_rule);
        for member in &members {
            if member.is_directory {
                archive_names.add_directory(&member.path)?;
            } else {
                archive_names.add_file(&member.path)?;
            }
        }
        let mut files = Vec::with_capacity(members.len());
        let mut foreign = BTreeSet::new();
        for member in members.into_iter().filter(|member| !member.is_directory) {
            let destination = destination(&member.path, file_name, &mut foreign)?;
            files.push(PlannedFile { member, destination: Some(destination) });
        }
        warnings.extend(foreign.into_iter().take(LISTED_MAX).map(|folder| WheelWarning::ForeignData { folder }));
        let dist_info = find_dist_info(&files, file_name)?;
        leave_out_bytecode(&mut files, warnings);
        let mut names = NameTable::new(options.case_rule);
        for file in &files {
            if let Some(destination) = &file.destination {
                names.add_file(destination)?;
            }
        }
        Ok(Self { dist_info, files })
    }

    /// The content of a file of the `.dist-info` folder, of at most `limit` bytes.
    pub(super) fn read_dist_info(&self, reader: &mut ZipReader, file: &str, limit: u64) -> Result<Vec<u8>, WheelFault> {
        let path = format!("{}/{file}", self.dist_info);
        let member = self.files.iter().map(|file| &file.member).find(|member| member.path.as_str() == path);
        let member = member.ok_or(WheelFault::Missing { file: path })?;
        Ok(reader.read_whole(member, limit)?)
    }

    /// Compares the names with those of `RECORD`.
    pub(super) fn compare_with_record(
        &self,
        record: &HashMap<String, RecordLine>,
        refuse_unlisted: bool,
        warnings: &mut Vec<WheelWarning>,
    ) -> Result<(), RecordError> {
        let own = ["RECORD", "RECORD.jws", "RECORD.p7s"].map(|file| format!("{}/{file}", self.dist_info));
        let present: HashSet<&str> = self.files.iter().map(|file| file.member.path.as_str()).collect();
        let others = || present.iter().copied().filter(|path| !own.iter().any(|own| own == path));

        let unlisted = Names::of(others().filter(|path| !record.contains_key(*path)));
        if let Some((first, count)) = unlisted.0 {
            if refuse_unlisted {
                return Err(RecordError::Unlisted { path: first });
            }
            warnings.push(WheelWarning::Unlisted { first, count });
        }
        let undigested = others().filter(|path| record.get(*path).is_some_and(|line| line.digest.is_none()));
        if let Some((first, count)) = Names::of(undigested).0 {
            warnings.push(WheelWarning::Undigested { first, count });
        }
        let missing = || record.keys().map(String::as_str).filter(|path| !present.contains(path));
        // The lines of signatures that were taken out again mean nothing.
        let needed = missing().filter(|path| !is_bytecode(path) && !own.iter().any(|own| own == path));
        if let Some((path, _)) = Names::of(needed).0 {
            return Err(RecordError::Missing { path });
        }
        if let Some((first, count)) = Names::of(missing().filter(|path| is_bytecode(path))).0 {
            warnings.push(WheelWarning::MissingBytecode { first, count });
        }
        Ok(())
    }
}

/// The first name in alphabetical order, and how many there are.
struct Names(Option<(String, usize)>);

impl Names {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.fold(None, |found: Option<(String, usize)>, name| match found {
            None => Some((name.to_owned(), 1)),
            Some((first, count)) if name < first.as_str() => Some((name.to_owned(), count + 1)),
            Some((first, count)) => Some((first, count + 1)),
        }))
    }
}

fn is_bytecode(path: &str) -> bool {
    path.ends_with(".pyc") || path.ends_with(".pyo")
}

/// The first folder of a path and the rest, which is empty for a name alone.
fn folder_of(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

fn destination(
    path: &EntryPath,
    file_name: &WheelFileName,
    foreign: &mut BTreeSet<String>,
) -> Result<EntryPath, WheelFault> {
    let (top, rest) = folder_of(path.as_str());
    if let (Some(stem), false) = (top.strip_suffix(".data"), rest.is_empty()) {
        if names_wheel(stem, file_name) {
            return data_destination(path, rest);
        }
        foreign.insert(top.to_owned());
    }
    Ok(EntryPath::parse(&format!("{SITE_FOLDER}/{path}"))?)
}

fn data_destination(path: &EntryPath, rest: &str) -> Result<EntryPath, WheelFault> {
    let (scheme, inside) = folder_of(rest);
    let unknown = || WheelFault::Scheme { path: path.to_string() };
    let folder = match scheme {
        "purelib" | "platlib" => SITE_FOLDER,
        "scripts" => SCRIPTS_FOLDER,
        "headers" => HEADERS_FOLDER,
        "data" => DATA_FOLDER,
        _ => return Err(unknown()),
    };
    if inside.is_empty() {
        return Err(unknown());
    }
    if folder == SCRIPTS_FOLDER {
        check_script_name(inside)?;
    }
    Ok(EntryPath::parse(&format!("{folder}/{inside}"))?)
}

/// Whether `stem`, the name of a folder without its suffix, is `name-version` of this wheel.
fn names_wheel(stem: &str, file_name: &WheelFileName) -> bool {
    stem.match_indices('-').any(|(index, _)| {
        let (name, version) = (&stem[..index], &stem[index + 1..]);
        // Folders write `-` of a version as `_`.
        let same = |version: &str| same_version(version, file_name.version.as_str());
        name.parse::<PackageName>().is_ok_and(|name| name == file_name.name)
            && (same(version) || same(&version.replace('_', "-")))
    })
}

/// The one `.dist-info` folder in `site-packages`, which must be this wheel's.
fn find_dist_info(files: &[PlannedFile], file_name: &WheelFileName) -> Result<String, WheelFault> {
    let mut folders = BTreeSet::new();
    for path in files.iter().filter_map(|file| file.destination.as_ref()) {
        let (SITE_FOLDER, inside) = folder_of(path.as_str()) else { continue };
        let (top, rest) = folder_of(inside);
        if !rest.is_empty() && top.to_ascii_lowercase().ends_with(".dist-info") {
            folders.insert(top.to_owned());
        }
    }
    if folders.len() != 1 {
        return Err(WheelFault::DistInfo { folders: folders.into_iter().take(LISTED_MAX).collect() });
    }
    let folder = folders.pop_first().unwrap_or_default();
    match folder.strip_suffix(".dist-info") {
        Some(stem) if names_wheel(stem, file_name) => Ok(folder),
        _ => Err(WheelFault::Identity {
            expected: format!("{} {}", file_name.name, file_name.version),
            place: "its folder".to_owned(),
            found: folder,
        }),
    }
}

/// Bytecode whose source is in the wheel is made anew: what was shipped fits one interpreter and one time stamp.
fn leave_out_bytecode(files: &mut [PlannedFile], warnings: &mut Vec<WheelWarning>) {
    let sources: HashSet<String> = {
        let paths = files.iter().filter_map(|file| file.destination.as_ref());
        paths.filter(|path| path.as_str().ends_with(".py")).map(ToString::to_string).collect()
    };
    let mut left_out = Vec::new();
    for file in files {
        let source = file.destination.as_ref().and_then(|path| source_of(path.as_str()));
        if source.is_some_and(|source| sources.contains(&source)) {
            left_out.push(file.member.path.to_string());
            file.destination = None;
        }
    }
    if let Some((first, count)) = Names::of(left_out.iter().map(String::as_str)).0 {
        warnings.push(WheelWarning::ShippedBytecode { first, count });
    }
}

/// The source that the bytecode `path` was made from: `a/b.py` for `a/__pycache__/b.cpython-311.opt-1.pyc` and `a/b.pyc`.
fn source_of(path: &str) -> Option<String> {
    if !is_bytecode(path) {
        return None;
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (folder, stem) = match folder.strip_suffix("__pycache__") {
        Some(parent) if parent.is_empty() || parent.ends_with('/') => {
            (parent.trim_end_matches('/'), name.split('.').next().unwrap_or_default())
        }
        _ => (folder, name.rsplit_once('.').map_or(name, |(stem, _)| stem)),
    };
    Some(if folder.is_empty() { format!("{stem}.py") } else { format!("{folder}/{stem}.py") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytecode_is_traced_to_its_source() {
        for (path, source) in [
            ("site/a/__pycache__/b.cpython-311.opt-1.pyc", Some("site/a/b.py")),
            ("site/__pycache__/six.cpython-27.pyc", Some("site/six.py")),
            ("site/a/b.pyc", Some("site/a/b.py")),
            ("site/a/b.pyo", Some("site/a/b.py")),
            ("site/a/b.py", None),
        ] {
            assert_eq!(source_of(path).as_deref(), source);
        }
    }

    #[test]
    fn folders_name_their_wheel_in_several_spellings() {
        let wheel: WheelFileName = "Zope.Interface-1.0_1-py3-none-any.whl".parse().expect("a wheel name");
        for good in
            ["zope.interface-1.0.post1", "zope_interface-1.0_1", "zope-interface-1.0-1", "Zope.Interface-1.0.0-1"]
        {
            assert!(names_wheel(good, &wheel), "{good}");
        }
        for bad in ["zope.interface", "zope.interface-1.0", "other-1.0_1", "", "-", "zope.interface-"] {
            assert!(!names_wheel(bad, &wheel), "{bad}");
        }
    }
}
