//! What of a repository goes along with a tree: as much of `.git` as tools need that take a version from it.
//!
//! The commit with its tree, all commits before it (not their trees) and the tags on them, so that `git describe`,
//! `git log`, `git status`, `git ls-files` and `git archive` answer as in a clone; nothing of branches, remotes and times.
//! Packed without compression and by one thread, so that the bytes follow from the content.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use pip_accel_schema::manifest::EntryPath;

use super::archive::Packer;
use super::error::CheckoutError;
use super::git::Git;
use super::git_url::Commit;
use super::repository::{Ref, Repository};
use crate::session::Session;

/// Most commits before the one that is built. The longest histories of Python projects have 130,000.
const COMMITS_MAX: usize = 500_000;

/// The configuration of the small repository.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n";

/// Packs the small repository of `commit` as `.git`; `scratch` is an empty folder.
pub(super) fn pack<W: Write>(
    repository: &Repository,
    (commit, tags): (&Commit, &[Ref]),
    scratch: &Path,
    packer: &mut Packer<W>,
) -> Result<(), CheckoutError> {
    let io_error = |source| CheckoutError::Io { path: scratch.to_owned(), source };
    let lines = |arguments: &[&str]| -> Result<Vec<String>, CheckoutError> {
        let answer = repository.git.ask(&repository.path, arguments, b"")?;
        Ok(String::from_utf8_lossy(&answer).lines().map(str::to_owned).collect())
    };
    let limit = format!("--max-count={COMMITS_MAX}");
    let commits = lines(&["rev-list", &limit, commit.as_str()])?;
    let known: HashSet<&str> = commits.iter().map(String::as_str).collect();
    let tags: Vec<&Ref> =
        tags.iter().filter(|tag| known.contains(tag.peeled.as_ref().unwrap_or(&tag.object).as_str())).collect();
    let tree = format!("{commit}^{{tree}}");
    let mut objects: BTreeSet<String> =
        lines(&["rev-list", "--objects", "--no-object-names", &tree])?.into_iter().collect();
    objects.extend(tags.iter().map(|tag| tag.object.clone()));
    objects.extend(commits.iter().cloned());

    let base = scratch.join("pack");
    let input = objects.into_iter().map(|object| object + "\n").collect::<String>();
    let options = ["pack-objects", "-q", "--window=0", "--compression=0", "--no-reuse-delta", "--no-reuse-object"];
    let mut command = repository.git.command(&repository.path, options);
    command.arg(&base);
    super::git::ask(command, input.as_bytes())?;
    let index = scratch.join("index");
    let mut command = repository.git.command(&repository.path, ["read-tree", commit.as_str()]);
    command.env("GIT_INDEX_FILE", &index);
    super::git::ask(command, b"")?;

    let mut text = |name: &str, text: &str| {
        packer.file(&format!(".git/{name}"), (false, text.len() as u64), text.as_bytes()).map_err(io_error)
    };
    text("HEAD", &format!("{commit}\n"))?;
    text("config", CONFIG)?;
    text("packed-refs", &packed_refs(&tags))?;
    packer.directory(&constant(".git/refs")?).map_err(io_error)?;
    let mut add = |name: String, path: &Path| {
        let file = File::open(path)?;
        packer.file(&name, (false, file.metadata()?.len()), file)
    };
    add(".git/index".to_owned(), &index).map_err(io_error)?;
    let mut packs: Vec<PathBuf> =
        fs::read_dir(scratch).map_err(io_error)?.flatten().map(|entry| entry.path()).collect();
    packs.sort();
    for path in packs.iter().filter(|path| path.extension().is_some_and(|end| end == "pack" || end == "idx")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        add(format!(".git/objects/pack/{name}"), path).map_err(io_error)?;
    }
    Ok(())
}

fn constant(path: &str) -> Result<EntryPath, CheckoutError> {
    let entry = |error: pip_accel_schema::manifest::ParseEntryPathError| CheckoutError::Entry {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    EntryPath::parse(path).map_err(entry)
}

fn packed_refs(tags: &[&Ref]) -> String {
    let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
    for tag in tags {
        text.push_str(&format!("{} {}\n", tag.object, tag.name));
        if let Some(peeled) = &tag.peeled {
            text.push_str(&format!("^{peeled}\n"));
        }
    }
    text
}

/// Words by which a project says that it takes its version, or the list of its files, from version control.
const WORDS: [&str; 8] =
    ["scm", "vcs", "versioneer", "versioningit", "pbr", "dunamai", "dynamic-versioning", "setuptools-git"];

/// Longest file that is searched for them.
const SEARCHED_BYTES_MAX: u64 = 1 << 20;

/// The repository that a directory's project takes its version from.
#[derive(Debug, Clone)]
pub(super) struct History {
    objects: PathBuf,
    commit: Commit,
    tags: Vec<Ref>,
}

impl History {
    /// The repository of the project at `root`, if it wants one: `None` without one, or without a commit in it.
    pub(super) fn of_directory(session: &Session, root: &Path) -> Option<(Git, Self)> {
        let files = ["pyproject.toml", "setup.py", "setup.cfg"];
        let wants = files.iter().any(|file| {
            let content = crate::python::sdist::read_regular(&root.join(file), SEARCHED_BYTES_MAX).ok().flatten();
            let text = content.map(|content| String::from_utf8_lossy(&content).to_lowercase().replace('_', "-"));
            text.is_some_and(|text| WORDS.iter().any(|word| text.contains(word)))
        });
        // The project at the top of its repository only: elsewhere the tree of the commit is another one.
        let folder = root.join(".git");
        if !wants || !folder.is_dir() {
            return None;
        }
        // Without the program there is no version to be had from it either way.
        let git = Git::of(session).ok()?;
        let ask = |arguments: &[&str]| {
            let answer = git.ask(&folder, arguments, b"").ok()?;
            Some(String::from_utf8_lossy(&answer).into_owned())
        };
        let commit = ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?.trim().parse().ok()?;
        let format = "--format=%(objectname) %(refname)%(if)%(*objectname)%(then)%0a%(*objectname) %(refname)^{}%(end)";
        let tags = super::repository::parse_refs(&ask(&["for-each-ref", format, "refs/tags"])?);
        let history = Self { objects: folder.join("objects"), commit, tags };
        Some((git, history))
    }

    /// What of it may change while the files stay.
    pub(super) fn refs(&self) -> String {
        let tags: Vec<&Ref> = self.tags.iter().collect();
        format!("{}\n{}", self.commit, packed_refs(&tags))
    }

    /// Packs it; `scratch` is an empty folder.
    pub(super) fn pack<W: Write>(
        &self,
        git: &Git,
        scratch: &Path,
        packer: &mut Packer<W>,
    ) -> Result<(), CheckoutError> {
        let path = super::git::init(git, &scratch.join("repository"))?;
        let alternates = path.join("objects/info/alternates");
        let io_error = |source| CheckoutError::Io { path: alternates.clone(), source };
        fs::create_dir_all(path.join("objects/info")).map_err(io_error)?;
        fs::write(&alternates, format!("{}\n", self.objects.display())).map_err(io_error)?;
        let repository = Repository { git: git.clone(), path };
        let folder = scratch.join("history");
        fs::create_dir(&folder).map_err(io_error)?;
        pack(&repository, (&self.commit, &self.tags), &folder, packer)
    }
}
