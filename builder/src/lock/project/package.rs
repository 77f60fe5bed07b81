//! A package of a project's lock → a locked requirement, or why it can't be one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::project_lock::{LockFormat, Origin, Place, ProjectFile, ProjectPackage};
use pip_accel_schema::requirement::{excerpt, has_scheme};

use crate::index::DistributionFile;
use crate::lock::check::git;
use crate::lock::location::{Location, describe_file};
use crate::lock::{
    EditableTarget, FilePlace, LockedFile, LockedRequirement, LockedTarget, ProblemKind, SourceUrl, Span,
};
use crate::python::version::satisfies_pin;

/// Where a lock stands and what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) folder: &'a Path,
    pub(super) format: LockFormat,
}

type Parts = (Option<PackageVersion>, LockedTarget, Vec<Sha256Digest>, Vec<LockedFile>);

/// The requirement that `package` is; `Ok(None)` if it is never installed.
pub(super) fn locked(
    package: &ProjectPackage,
    span: &Span,
    place: Surroundings<'_>,
) -> Result<Option<LockedRequirement>, ProblemKind> {
    let name = &package.name;
    let (version, target, hashes, files) = match &package.origin {
        Origin::Virtual => return Ok(None),
        Origin::Release { files, hashes } => release(package, (files, hashes), place)?,
        Origin::Archive { subdirectory: Some(folder), .. } => {
            let what = format!("a project in the folder `{}` of an archive", excerpt(folder));
            return Err(refusal(name, what, "build a wheel of it and lock that"));
        }
        Origin::Archive { file, subdirectory: None } => archive(package, file, place)?,
        Origin::VersionControl { kind, .. } if kind != "git" => {
            let what = format!("a commit of a repository of the kind `{}`", excerpt(kind));
            return Err(refusal(name, what, "build a wheel of that commit and lock that"));
        }
        Origin::VersionControl { place: listed, commit, subdirectory, .. } => {
            let commit = (commit.as_deref(), subdirectory.as_deref());
            let target = LockedTarget::Git(git(&git_url(listed, commit, place.folder))?);
            (package.version.clone(), target, Vec::new(), Vec::new())
        }
        Origin::Directory { path, editable, subdirectory } => {
            let target = directory(path, subdirectory.as_deref(), place.folder)?;
            let target = match editable {
                true => LockedTarget::Editable(EditableTarget { path: target, git: None }),
                false => LockedTarget::Directory(target),
            };
            // What the lock knows of its version may be of another day.
            (None, target, Vec::new(), Vec::new())
        }
    };
    if hashes.is_empty() && !target.is_checkout() {
        return Err(ProblemKind::NoUsableHash { name: name.clone(), format: place.format.usual_name() });
    }
    Ok(Some(LockedRequirement {
        config_settings: ConfigSettings::new(),
        name: Some(name.clone()),
        version,
        target,
        extras: package.extras.clone(),
        marker: None,
        hashes,
        files: Arc::new(files),
        span: span.clone(),
    }))
}

/// The commit as a requirement names it: `git+https://host/x.git@COMMIT#subdirectory=y`.
fn git_url(listed: &Place, (commit, subdirectory): (Option<&str>, Option<&str>), folder: &Path) -> String {
    let (Place::Url(text) | Place::Path(text)) = listed;
    let url = match text.split_once(':') {
        Some(_) if has_scheme(text) => text.strip_prefix("git+").unwrap_or(text).to_owned(),
        // `git@host:owner/x.git`, as ssh writes it.
        Some((host, path)) if !host.contains('/') && !path.starts_with('/') => format!("ssh://{host}/{path}"),
        _ => url::Url::from_file_path(absolute(folder, text)).map_or_else(|()| text.clone(), String::from),
    };
    let commit = commit.map_or_else(String::new, |commit| format!("@{commit}"));
    let folder = subdirectory.map_or_else(String::new, |folder| format!("#subdirectory={folder}"));
    format!("git+{url}{commit}{folder}")
}

/// A project's folder, which has to be one.
fn directory(path: &str, subdirectory: Option<&str>, folder: &Path) -> Result<PathBuf, ProblemKind> {
    let path = absolute(folder, path);
    let path = subdirectory.map_or_else(|| path.clone(), |subdirectory| path.join(subdirectory));
    // `.` at the end is the folder before it.
    let path: PathBuf = path.components().collect();
    let location = excerpt(&path.to_string_lossy());
    if !path.is_dir() {
        return Err(ProblemKind::NoFile { location, path });
    }
    if !["pyproject.toml", "setup.py"].iter().any(|file| path.join(file).is_file()) {
        return Err(ProblemKind::Folder { location });
    }
    Ok(path)
}

fn refusal(name: &PackageName, what: String, remedy: &'static str) -> ProblemKind {
    ProblemKind::Origin { name: name.clone(), what, remedy }
}

fn release(
    package: &ProjectPackage,
    (listed, more): (&[ProjectFile], &[Sha256Digest]),
    place: Surroundings<'_>,
) -> Result<Parts, ProblemKind> {
    let name = &package.name;
    let mut version = package.version.clone();
    let mut hashes = more.to_vec();
    let mut files = Vec::with_capacity(listed.len());
    for file in listed.iter().filter(|file| !file.file_name.is_empty()) {
        let identity = || ProblemKind::FileIdentity {
            name: name.clone(),
            version: package.version.clone(),
            file_name: excerpt(&file.file_name),
        };
        let Some(distribution) = DistributionFile::parse(&file.file_name) else {
            // Poetry lists eggs and installers too.
            if place.format == LockFormat::Poetry {
                continue;
            }
            return Err(identity());
        };
        let said: PackageVersion =
            distribution.version_for(name).and_then(|said| said.parse().ok()).ok_or_else(identity)?;
        let is_of_version = satisfies_pin(version.get_or_insert_with(|| said.clone()), &said);
        // Old poetry lists the files of all versions of a project together.
        if !is_of_version && place.format == LockFormat::Poetry {
            continue;
        }
        if !is_of_version {
            return Err(identity());
        }
        let Some(sha256) = file.sha256 else { continue };
        hashes.push(sha256);
        if let Some(listed_at) = &file.place {
            let (file_name, size, upload_time) = (file.file_name.clone(), file.size, file.upload_time.clone());
            files.push(LockedFile { file_name, place: file_place(listed_at, place)?, sha256, size, upload_time });
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    let version = version.ok_or_else(|| ProblemKind::NoVersion { name: name.clone() })?;
    Ok((Some(version.clone()), LockedTarget::Pin(version), hashes, files))
}

fn archive(package: &ProjectPackage, file: &ProjectFile, place: Surroundings<'_>) -> Result<Parts, ProblemKind> {
    let location = match &file.place {
        Some(Place::Url(text) | Place::Path(text)) => text,
        None => return Err(ProblemKind::FileName { location: excerpt(&file.file_name) }),
    };
    let Some((said, version)) = describe_file(&file.file_name) else {
        return Err(ProblemKind::FileName { location: excerpt(location) });
    };
    let other_name = said.is_some_and(|said| said != package.name);
    let other_version =
        matches!((&package.version, &version), (Some(pin), Some(version)) if !satisfies_pin(pin, version));
    // Archives of repositories are named after a branch or commit; only a wheel's name has to tell the truth.
    if file.file_name.ends_with(".whl") && (other_name || other_version) {
        return Err(ProblemKind::FileIdentity {
            name: package.name.clone(),
            version: package.version.clone(),
            file_name: excerpt(&file.file_name),
        });
    }
    let target = match file_place(file.place.as_ref().unwrap_or(&Place::Path(String::new())), place)? {
        FilePlace::Url(url) => LockedTarget::Url(url),
        FilePlace::Path(path) => LockedTarget::LocalFile(path),
    };
    Ok((package.version.clone().or(version), target, file.sha256.into_iter().collect(), Vec::new()))
}

fn file_place(listed: &Place, place: Surroundings<'_>) -> Result<FilePlace, ProblemKind> {
    match listed {
        Place::Path(path) if !has_scheme(path) => Ok(FilePlace::Path(absolute(place.folder, path))),
        Place::Path(text) | Place::Url(text) => match Location::parse(text, place.folder) {
            Location::Url(url) => Ok(FilePlace::Url(SourceUrl::new(url))),
            Location::Path(path) => Ok(FilePlace::Path(path)),
            Location::VersionControl => Err(ProblemKind::VersionControl { location: excerpt(text) }),
            Location::Other => Err(ProblemKind::Scheme { location: excerpt(text) }),
        },
    }
}

fn absolute(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}
