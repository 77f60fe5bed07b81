//! `--target`: packages into one folder, which pip treats by its top-level entries. What is there stays, unless it is an
//! upgrade; then each entry gives way as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::change::ChangedPackage;
use super::super::error::InstallError;
use super::contents::{NewFile, Places, contents};
use super::journal::Journal;
use super::write::{SchemeReport, make_parents, parts, write_all};
use crate::session::Session;

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct FolderReport {
    /// As in other folders.
    pub written: SchemeReport,
    /// Top-level entries that stayed as they are, with what is in them.
    pub kept: Vec<String>,
}

/// Installs `packages` into `folder`, absolute, for the interpreter `python`.
///
/// # Errors
/// See [`InstallError`]; everything is put back as it was.
pub fn install_into_folder(
    session: &Arc<Session>,
    (folder, python): (&Path, &Path),
    packages: &[ChangedPackage],
    (is_upgrade, without_bytecode): (bool, bool),
) -> Result<FolderReport, InstallError> {
    let parts = parts(session, packages)?;
    let mut report = FolderReport { written: SchemeReport::of(&parts), kept: Vec::new() };
    let places = Places {
        purelib: folder.to_owned(),
        platlib: folder.to_owned(),
        scripts: folder.join("bin"),
        headers: folder.join("include/python"),
        data: folder.to_owned(),
        python: python.to_owned(),
        without_bytecode,
    };
    let mut files: Vec<NewFile> = Vec::new();
    for part in &parts {
        files.extend(contents(part, &places)?);
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.path.clone()));
    let tops: BTreeSet<PathBuf> = files.iter().filter_map(|file| top(&file.path, folder)).collect();
    let there: Vec<PathBuf> = tops.into_iter().filter(|path| path.symlink_metadata().is_ok()).collect();
    let mut moved = Vec::new();
    for path in there {
        // pip never follows a link out of the folder.
        if is_upgrade && !path.is_symlink() {
            moved.push(path);
        } else {
            report.kept.push(path.to_string_lossy().into_owned());
        }
    }
    files.retain(|file| {
        top(&file.path, folder).is_none_or(|path| !report.kept.iter().any(|kept| Path::new(kept) == path))
    });
    // New entries are taken back as a whole.
    let created: BTreeSet<PathBuf> = files.iter().filter_map(|file| top(&file.path, folder)).collect();
    let journal = Journal::begin(folder, moved, created.into_iter().collect())?;
    make_parents(&files)?;
    write_all(session, &files)?;
    journal.finish();
    Ok(report)
}

/// The top-level entry of `folder` that a path is in.
fn top(path: &Path, folder: &Path) -> Option<PathBuf> {
    let first = path.strip_prefix(folder).ok()?.components().next()?;
    Some(folder.join(first))
}
