//! From a commit to its archive: the tree with its submodules, and the small repository beside it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::EntryPath;

use super::archive::Packer;
use super::error::CheckoutError;
use super::git::Git;
use super::git_url::GitCommit;
use super::history;
use super::repository::{Repository, TreeEntry, TreeEntryKind};
use super::submodule::{self, SUBMODULE_DEPTH_MAX, SUBMODULES_MAX};
use crate::cancel::CancelToken;
use crate::index::SafeUrl;
use crate::python::sdist::check_link_target;

/// Most files and folders of a commit, submodules included: what an archive may have.
pub const COMMIT_FILES_MAX: u64 = crate::python::archive::ARCHIVE_ENTRIES_MAX / 2;

/// Most bytes of a commit's files. A tree may name one large file a hundred thousand times.
pub const COMMIT_BYTES_MAX: u64 = 8 << 30;

/// Longest target of a link; the kernel's own limit.
const LINK_BYTES_MAX: u64 = 4096;

/// A commit with the repositories that its files come from.
#[derive(Debug)]
pub(super) struct FetchedCommit {
    commit: GitCommit,
    repositories: Vec<Repository>,
    /// Sorted; each with the repository that has it.
    entries: Vec<(usize, TreeEntry)>,
    scratch: PathBuf,
}

/// A repository whose tree is still to be read.
struct Waiting {
    url: SafeUrl,
    commit: super::git_url::Commit,
    prefix: Option<EntryPath>,
    depth: usize,
}

impl FetchedCommit {
    /// Fetches a commit and its submodules into `scratch`, an empty folder.
    pub(super) async fn fetch(
        git: &Git,
        commit: &GitCommit,
        scratch: &Path,
        cancel: &CancelToken,
    ) -> Result<Self, CheckoutError> {
        let mut fetched =
            Self { commit: commit.clone(), repositories: Vec::new(), entries: Vec::new(), scratch: scratch.to_owned() };
        let (url, top) = (commit.repository.clone(), commit.commit.clone());
        let mut waiting = vec![Waiting { url, commit: top, prefix: None, depth: 0 }];
        while let Some(next) = waiting.pop() {
            if fetched.repositories.len() > SUBMODULES_MAX || next.depth > SUBMODULE_DEPTH_MAX {
                return Err(CheckoutError::Submodules);
            }
            let path = scratch.join(format!("repository{}", fetched.repositories.len()));
            let repository = Repository::fetch(git, (&next.url, &path), &next.commit, cancel).await?;
            waiting.extend(fetched.take(repository, &next)?);
        }
        fetched.entries.sort_by(|(_, one), (_, other)| one.path.as_str().cmp(other.path.as_str()));
        fetched.check_subdirectory()?;
        Ok(fetched)
    }

    /// Adds the tree of a repository; gives its submodules.
    fn take(&mut self, repository: Repository, from: &Waiting) -> Result<Vec<Waiting>, CheckoutError> {
        let number = self.repositories.len();
        let mut submodules = Vec::new();
        let mut listed = None;
        for mut entry in repository.tree(&from.commit)? {
            if entry.kind == TreeEntryKind::Submodule {
                let list = match &listed {
                    Some(list) => list,
                    None => listed.insert(submodule::listed(&repository, &from.commit)?),
                };
                let url = list.iter().find(|(path, _)| *path == entry.path.as_str()).map(|(_, url)| url.as_str());
                submodules.push(from.submodule(&entry, url)?);
            }
            entry.path = from.place(&entry.path)?;
            self.entries.push((number, entry));
        }
        if self.entries.len() as u64 > COMMIT_FILES_MAX {
            return Err(CheckoutError::TooLargeCommit);
        }
        self.repositories.push(repository);
        Ok(submodules)
    }

    fn check_subdirectory(&self) -> Result<(), CheckoutError> {
        let Some(folder) = &self.commit.subdirectory else { return Ok(()) };
        let is_it = |entry: &TreeEntry| {
            matches!(entry.kind, TreeEntryKind::Folder | TreeEntryKind::Submodule) && entry.path.as_str() == folder
        };
        match self.entries.iter().any(|(_, entry)| is_it(entry)) {
            true => Ok(()),
            false => Err(CheckoutError::Subdirectory(folder.clone())),
        }
    }

    /// Writes the archive to `output` and gives its digest.
    pub(super) fn pack<W: Write>(&self, output: W) -> Result<(W, Sha256Digest), CheckoutError> {
        let io_error = |source| CheckoutError::Io { path: self.scratch.clone(), source };
        let mut packer = Packer::new(output, self.commit.subdirectory.as_deref()).map_err(io_error)?;
        let mut readers = self.repositories.iter().map(Repository::objects).collect::<Result<Vec<_>, _>>()?;
        let mut bytes = 0_u64;
        for (number, entry) in &self.entries {
            let path = &entry.path;
            match entry.kind {
                TreeEntryKind::Folder | TreeEntryKind::Submodule => packer.directory(path).map_err(io_error)?,
                TreeEntryKind::File { executable } => readers[*number].read(&entry.object, |size, content| {
                    bytes = bytes.saturating_add(size);
                    if bytes > COMMIT_BYTES_MAX {
                        return Err(CheckoutError::TooLargeCommit);
                    }
                    packer.file(path.as_str(), (executable, size), content).map_err(io_error)
                })?,
                TreeEntryKind::Link => {
                    let target =
                        readers[*number].read(&entry.object, |size, content| link_target(path, size, content))?;
                    packer.link(path, &target).map_err(io_error)?;
                }
            }
        }
        let scratch = self.scratch.join("history");
        fs::create_dir_all(&scratch).map_err(io_error)?;
        if let Some(repository) = self.repositories.first() {
            history::pack(repository, (&self.commit.commit, &repository.tags()?), &scratch, &mut packer)?;
        }
        packer.finish().map_err(io_error)
    }
}

impl Waiting {
    fn place(&self, path: &EntryPath) -> Result<EntryPath, CheckoutError> {
        match &self.prefix {
            None => Ok(path.clone()),
            Some(prefix) => EntryPath::parse(&format!("{prefix}/{path}"))
                .map_err(|error| refused(path, &format!("has a name that is refused: {error}"))),
        }
    }

    fn submodule(&self, entry: &TreeEntry, url: Option<&str>) -> Result<Self, CheckoutError> {
        let failed =
            |reason: &str| CheckoutError::Submodule { path: entry.path.to_string(), reason: reason.to_owned() };
        let url = url.ok_or_else(|| failed("has no URL in `.gitmodules`"))?;
        let commit = entry.object.parse().map_err(|_| failed("names no commit"))?;
        let url = submodule::resolve(&self.url, &entry.path, url)?;
        Ok(Self { url, commit, prefix: Some(self.place(&entry.path)?), depth: self.depth + 1 })
    }
}

fn refused(path: &EntryPath, reason: &str) -> CheckoutError {
    CheckoutError::Entry { path: path.to_string(), reason: reason.to_owned() }
}

/// The rule of sdists: a link can only lead inside the tree.
fn link_target(path: &EntryPath, size: u64, content: &mut dyn Read) -> Result<String, CheckoutError> {
    let mut bytes = Vec::new();
    let read = content.take(LINK_BYTES_MAX).read_to_end(&mut bytes);
    let whole = read.is_ok_and(|count| count as u64 == size);
    let target = String::from_utf8(bytes).ok().filter(|_| whole);
    let target = target.ok_or_else(|| refused(path, "is a link whose target can't be read"))?;
    match check_link_target(path, &target) {
        Ok(()) => Ok(target),
        Err(reason) => Err(refused(path, &format!("is a link to `{}`, which {reason}", target.escape_debug()))),
    }
}
