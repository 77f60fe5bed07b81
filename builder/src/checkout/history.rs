//! What of a repository goes along with a tree: as much of `.git` as tools need that take a version from it.
//!
//! The commit with its tree, all commits before it (not their trees) and the tags on them, so that `git describe`,
//! `git log`, `git status`, `git ls-files` and `git archive` answer as in a clone; nothing of branches, remotes and times.
//! Packed without compression and by one thread, so that the bytes follow from the content.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pip_accel_schema::manifest::EntryPath;

use super::archive::Packer;
use super::error::CheckoutError;
use super::git::Git;
use super::git_url::Commit;
use super::repository::{Ref, Repository};
use super::survey::scratch;
use crate::python::sdist::read_regular;
use crate::session::Session;

/// Most commits with the one that is built; a longer history is left out. The longest of Python projects have 130,000.
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
    let mut commits = lines(&["rev-list", &limit, commit.as_str()])?;
    let is_cut = commits.len() >= COMMITS_MAX;
    if is_cut {
        commits = vec![commit.to_string()];
    }
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
    if is_cut {
        text("shallow", &format!("{commit}\n"))?;
    }
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
            let content = read_regular(&root.join(file), SEARCHED_BYTES_MAX).ok().flatten();
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
        let scratch = scratch(session).ok()?;
        // The stranger's configuration stays where it is: only the names of commits are taken over.
        let copy = super::git::init(&git, &scratch.path().join("refs")).ok()?;
        copy_refs(&folder, &copy).ok()?;
        let objects = folder.join("objects").canonicalize().ok()?;
        borrow_objects(&copy, &objects).ok()?;
        let repository = Repository { git: git.clone(), path: copy };
        let head = repository.git.ask(&repository.path, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], b"");
        let commit = String::from_utf8(head.ok()?).ok()?.trim().parse().ok()?;
        let tags = repository.tags().ok()?;
        let history = Self { objects, commit, tags };
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
        let io_error = |source| CheckoutError::Io { path: scratch.to_owned(), source };
        borrow_objects(&path, &self.objects).map_err(io_error)?;
        let repository = Repository { git: git.clone(), path };
        // A tree that unfolds without end is refused before an index is made of it.
        repository.tree(&self.commit)?;
        let folder = scratch.join("history");
        fs::create_dir(&folder).map_err(io_error)?;
        pack(&repository, (&self.commit, &self.tags), &folder, packer)
    }
}

/// Lets the repository `path` read the objects of another one.
fn borrow_objects(path: &Path, objects: &Path) -> io::Result<()> {
    fs::create_dir_all(path.join("objects/info"))?;
    fs::write(path.join("objects/info/alternates"), format!("{}\n", objects.display()))
}

/// Longest file of refs: each has some 60 bytes.
const REFS_BYTES_MAX: u64 = 64 << 20;

/// Most refs that are not packed.
const REFS_MAX: usize = 100_000;

/// Copies `HEAD` and all refs of the repository `from`; no link is followed.
fn copy_refs(from: &Path, to: &Path) -> io::Result<()> {
    let mut waiting = vec![PathBuf::from("HEAD"), PathBuf::from("packed-refs"), PathBuf::from("refs")];
    let mut count = 0;
    while let Some(relative) = waiting.pop() {
        count += 1;
        let place = from.join(&relative);
        let Ok(metadata) = place.symlink_metadata() else { continue };
        if count > REFS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if metadata.is_dir() {
            fs::create_dir_all(to.join(&relative))?;
            for entry in fs::read_dir(&place)? {
                waiting.push(relative.join(entry?.file_name()));
            }
        } else if metadata.is_file() {
            let content = read_regular(&place, REFS_BYTES_MAX)?.unwrap_or_default();
            fs::write(to.join(&relative), content)?;
        }
    }
    Ok(())
}
