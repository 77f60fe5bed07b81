//! What is asked for, and what came of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cancel::CancelToken;
use nix::errno::Errno;
use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::environment::{Clash, EnvironmentManifest, LinkMode, PackageLink};
use pip_accel_schema::generation::Generations;
use pip_accel_schema::interpreter::{Implementation, PythonVersion};
use pip_accel_schema::link_plan::LinkPlan;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::ObjectId;
use serde::Serialize;

/// One activation script as the interpreter's `venv` module carries it, placeholders and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationTemplate {
    /// `activate`, `activate.csh`, `activate.fish`, `Activate.ps1`; the ending says which shell it is for.
    pub file_name: String,
    /// Its text.
    pub text: String,
}

/// What an environment needs to know of its base interpreter.
#[derive(Debug, Clone)]
pub struct EnvironmentPython {
    /// The base interpreter, absolute; never one that lies in a virtualenv itself.
    pub executable: PathBuf,
    /// CPython or PyPy.
    pub implementation: Implementation,
    /// The language version.
    pub version: PythonVersion,
    /// The version with its release level, `3.14.0rc1`.
    pub full_version: String,
    /// `site-packages` of a virtualenv, relative to its root: `lib/python3.11/site-packages`.
    pub site_packages: String,
    /// The scripts of its `venv` module; none for Python 2.7, which gets a script for sh alone.
    pub activation_templates: Vec<ActivationTemplate>,
}

/// One object that becomes part of the environment.
#[derive(Debug, Clone, Copy)]
pub struct PackageTree<'a> {
    /// The project.
    pub name: &'a PackageName,
    /// The version.
    pub version: &'a PackageVersion,
    /// The object.
    pub object: ObjectId,
    /// The object's real directory; it is read, never written.
    pub directory: &'a Path,
    /// What links begin with: `directory`, or where the object will be seen from inside a sandbox.
    pub link_prefix: &'a Path,
    /// How the object is linked.
    pub plan: &'a LinkPlan,
    /// How its files get there, besides the environment's mode.
    pub link: PackageLink,
    /// Whether the environment gets a private copy of it, or keeps the one that it has: for people to edit.
    pub detached: bool,
    /// Whether the user named the project (PEP 376's `REQUESTED`).
    pub requested: bool,
    /// The text of `direct_url.json` (PEP 610), for a project that came from no index.
    pub direct_url: Option<&'a str>,
}

/// What may be taken away from the destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replace {
    /// Only an environment of this program, or an empty directory.
    #[default]
    Ours,
    /// Also a virtualenv that another program made (it has a `pyvenv.cfg`).
    Virtualenv,
}

/// An environment to be made.
#[derive(Debug, Clone)]
pub struct EnvironmentRequest<'a> {
    /// Where; absolute. A symbolic link to a directory is followed: the directory it leads to is replaced.
    pub destination: &'a Path,
    /// The base interpreter.
    pub python: &'a EnvironmentPython,
    /// What it holds, in any order; each project once.
    pub packages: &'a [PackageTree<'a>],
    /// How files get there.
    pub link_mode: LinkMode,
    /// Name for the prompt of shells; the destination's last component when absent.
    pub prompt: Option<String>,
    /// Digest of what was asked for; it is kept in the manifest.
    pub request_digest: ValueDigest,
    /// The store's root directory; it is kept in the manifest.
    pub store_root: &'a Path,
    /// Whether entries that nobody here made move into the new environment.
    pub keep_foreign: bool,
    /// Takes over the virtualenv that stands there: its interpreter links, `pyvenv.cfg` and activation scripts stay as they
    /// are, and so does everything that others installed, but for the files of this set (paths relative to the root):
    /// those of distributions that the new packages replace. Goes with `keep_foreign`; `None`: these are made anew.
    pub take_over: Option<&'a BTreeSet<String>>,
    /// What the environment lists of the generations before it; `None`: nothing.
    pub generations: Option<&'a Generations>,
    /// What may be replaced.
    pub replace: Replace,
    /// The environment's directory as its scripts name it, absolute, where that is not the destination: a build
    /// environment is made in one place and seen in another, inside the sandbox.
    pub scripts_prefix: Option<&'a Path>,
    /// A directory of the store for links that environments share (created when absent, its parent must exist).
    /// Only its speed depends on it, and only where it is on the destination's file system. It gets one directory for
    /// each object, whose name begins with the object's id; each may be deleted at any time, best with its object.
    pub link_farm: Option<&'a Path>,
    /// Looked at between the steps until the swap; without it nothing stops the work.
    pub cancel: Option<&'a CancelToken>,
}

/// A file of a package that gave way to a file which the environment itself needs (`bin/python`, `pyvenv.cfg` …).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The path, relative to the environment's root.
    pub path: String,
    /// The package whose file is not there.
    pub package: PackageName,
}

/// Why a file was copied though its mode is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyReason {
    /// The environment and the store are on different file systems.
    OtherFileSystem,
    /// The file system has no such links, or this process may not make them.
    NotPossible,
    /// The file system allows no further link to that file.
    TooManyLinks,
}

impl CopyReason {
    pub(super) fn of(error: Errno) -> Self {
        match error {
            Errno::EXDEV => Self::OtherFileSystem,
            Errno::EMLINK => Self::TooManyLinks,
            _ => Self::NotPossible,
        }
    }
}

/// How files really got there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FileCounts {
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Files that share blocks with the store's.
    pub reflinks: u64,
    /// Copies.
    pub copies: u64,
    /// Those of the copies that should have been hard links or reflinks.
    pub fallbacks: u64,
    /// Why the first of these was copied.
    pub fallback_reason: Option<CopyReason>,
}

/// A finished environment.
#[derive(Debug)]
pub struct Realized {
    /// Its manifest, as written.
    pub manifest: EnvironmentManifest,
    /// Paths that several packages ship with different content, sorted.
    pub clashes: Vec<Clash>,
    /// Files of packages that gave way to the environment's own, sorted.
    pub refused: Vec<Refused>,
    /// What was in the old environment and nobody here made, sorted; kept or gone as the request said.
    pub foreign: Vec<String>,
    /// Those of `foreign` that could not be kept because the new environment has something else there.
    pub foreign_lost: Vec<String>,
    /// Whether an older environment was replaced.
    pub replaced: bool,
    /// The old environment, when it could not be removed completely.
    pub leftover: Option<PathBuf>,
    /// How files got there.
    pub files: FileCounts,
}
