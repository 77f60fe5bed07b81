//! Packages into the folders of a scheme, those that they replace moved out of the way.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::change::ChangedPackage;
use super::super::error::InstallError;
use super::super::installed::{InstalledPackage, InstalledSet};
use super::Scheme;
use super::contents::{Content, NewFile, Places, contents};
use super::journal::Journal;
use crate::environment::clone_file;
use crate::realize::engine::{Engine, How, Purpose};
use crate::realize::error::RealizeError;
use crate::realize::link::Part;
use crate::realize::{Interrupts, Plan, direct_url, obtain_all};
use crate::session::Session;

/// Where and how.
#[derive(Debug, Clone)]
pub struct SchemeRequest {
    /// The folders.
    pub scheme: Scheme,
    /// Whether what is there stays, with its metadata (`--ignore-installed`).
    pub keep_installed: bool,
    /// Whether bytecode is left out.
    pub without_bytecode: bool,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct SchemeReport {
    /// Packages installed.
    pub packages: usize,
    /// Trees that were in the store.
    pub from_store: usize,
    /// Trees whose wheel was unpacked now.
    pub fetched: usize,
    /// Trees that were built now.
    pub built: usize,
    /// Programs that were written, by their names.
    pub scripts: Vec<String>,
    /// Packages that stay beside the new ones: they are in folders that do not belong to the scheme.
    pub outside: Vec<String>,
}

impl SchemeReport {
    pub(super) fn of(parts: &[Part]) -> Self {
        let count = |how| parts.iter().filter(|part| part.tree.how == how).count();
        Self {
            packages: parts.len(),
            from_store: count(How::Store),
            fetched: count(How::Fetched),
            built: count(How::Built),
            ..Self::default()
        }
    }
}

/// Has all trees, fetched or built.
pub(in crate::install) fn parts(
    session: &Arc<Session>,
    packages: &[ChangedPackage],
) -> Result<Vec<Part>, InstallError> {
    let _interrupts = Interrupts::start(&session.cancel).map_err(RealizeError::Runtime)?;
    let plan = Plan { packages: packages.iter().map(|package| package.planned.clone()).collect() };
    session.report_gone();
    let engine = Engine::new(session, Vec::new(), Purpose::Build);
    let obtained = obtain_all(&engine, &plan)?;
    let part = |(tree, package): (_, &ChangedPackage)| Part {
        tree,
        direct_url: direct_url(&package.planned),
        requested: package.requested,
    };
    Ok(obtained.into_iter().zip(packages).map(part).collect())
}

/// Installs `packages`, replacing what is installed of them in these folders.
///
/// # Errors
/// See [`InstallError`]; everything is put back as it was.
pub fn install_into_scheme(
    session: &Arc<Session>,
    request: &SchemeRequest,
    (packages, installed): (&[ChangedPackage], &InstalledSet),
) -> Result<SchemeReport, InstallError> {
    let scheme = &request.scheme;
    let mut parts = parts(session, packages)?;
    let mut report = SchemeReport::of(&parts);
    let libraries = scheme.libraries();
    let mut moved: BTreeSet<PathBuf> = BTreeSet::new();
    for part in &mut parts {
        let Some(old) = installed.get(&part.tree.object.name).filter(|_| !request.keep_installed) else { continue };
        if libraries.contains(&old.folder) {
            part.requested |= old.requested;
            moved.extend(files_of(old)?);
        } else {
            report.outside.push(format!("{} {} in {}", old.name, old.version, old.folder.display()));
        }
    }
    let places = Places {
        purelib: scheme.purelib.clone(),
        platlib: scheme.platlib.clone(),
        scripts: scheme.scripts.clone(),
        headers: scheme.headers.clone(),
        data: scheme.data.clone(),
        python: scheme.executable.clone(),
        without_bytecode: request.without_bytecode,
    };
    let mut files: Vec<NewFile> = Vec::new();
    for part in &parts {
        files.extend(contents(part, &places)?);
    }
    // Two packages may ship one path; the later one wins, as with pip.
    let mut seen = BTreeSet::new();
    files.reverse();
    files.retain(|file| seen.insert(file.path.clone()));
    files.reverse();
    moved.extend(files.iter().map(|file| &file.path).filter(|path| path.symlink_metadata().is_ok()).cloned());
    let scripts = files.iter().filter(|file| file.path.parent() == Some(&scheme.scripts));
    report.scripts = scripts.filter_map(|file| Some(file.path.file_name()?.to_str()?.to_owned())).collect();
    let created = files.iter().map(|file| file.path.clone()).collect();
    let journal = Journal::begin(&scheme.purelib, moved.into_iter().collect(), created)?;
    write_all(session, &files)?;
    journal.finish();
    Ok(report)
}

/// The files of a distribution that gives way, bytecode included.
fn files_of(package: &InstalledPackage) -> Result<Vec<PathBuf>, InstallError> {
    let untracked = || InstallError::Untracked { name: package.name.clone(), version: package.version.clone() };
    let mut files: BTreeSet<PathBuf> = package.files().ok_or_else(untracked)?;
    let sources: Vec<PathBuf> =
        files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "py")).cloned().collect();
    for source in sources {
        let (Some(folder), Some(stem)) = (source.parent(), source.file_stem()) else { continue };
        let stem = format!("{}.", stem.to_string_lossy());
        let cached = std::fs::read_dir(folder.join("__pycache__")).into_iter().flatten().flatten();
        files.extend(
            cached.filter(|entry| entry.file_name().to_string_lossy().starts_with(&stem)).map(|one| one.path()),
        );
    }
    files.retain(|path| path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()));
    Ok(files.into_iter().collect())
}

/// Writes files whose folders are there.
pub(super) fn write_all(session: &Session, files: &[NewFile]) -> Result<(), InstallError> {
    for file in files {
        if session.cancel.is_cancelled() {
            return Err(RealizeError::Interrupted.into());
        }
        write(file).map_err(InstallError::io("write", &file.path))?;
    }
    Ok(())
}

fn write(file: &NewFile) -> std::io::Result<()> {
    let mode = if file.executable { 0o777 } else { 0o666 };
    let create = || File::options().write(true).create_new(true).mode(mode).open(&file.path);
    match &file.content {
        Content::Text(text) => create()?.write_all(text),
        Content::File(from) => {
            let metadata = from.symlink_metadata()?;
            if metadata.is_symlink() {
                return std::os::unix::fs::symlink(std::fs::read_link(from)?, &file.path);
            }
            let mut source = File::open(from)?;
            let mut target = create()?;
            if clone_file(&source, &target).is_err() {
                std::io::copy(&mut source, &mut target)?;
            }
            let wanted = if file.executable { 0o755 } else { 0o644 };
            if target.metadata()?.permissions().mode() & 0o777 & !wanted != 0 {
                target.set_permissions(std::fs::Permissions::from_mode(wanted))?;
            }
            Ok(())
        }
    }
}

/// Makes the folders above files.
pub(super) fn make_parents(files: &[NewFile]) -> Result<(), InstallError> {
    let parents: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.parent()).collect();
    for parent in parents {
        std::fs::create_dir_all(parent).map_err(InstallError::io("create the folder", parent))?;
    }
    Ok(())
}
