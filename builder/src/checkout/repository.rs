//! Getting a commit of a repository, and reading it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use pip_accel_schema::manifest::EntryPath;

use super::error::CheckoutError;
use super::git::{Git, init};
use super::git_url::{Commit, GitReference};
use crate::cancel::CancelToken;
use crate::index::SafeUrl;

/// A bare repository of this run.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) git: Git,
    pub(super) path: PathBuf,
}

/// One entry of a tree.
#[derive(Debug)]
pub(super) struct TreeEntry {
    pub(super) path: EntryPath,
    pub(super) kind: TreeEntryKind,
    /// The object's name.
    pub(super) object: String,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeEntryKind {
    Folder,
    File { executable: bool },
    Link,
    Submodule,
}

/// A ref of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ref {
    /// `refs/tags/v1`.
    pub(super) name: String,
    /// The object that it names.
    pub(super) object: String,
    /// What a tag object is about.
    pub(super) peeled: Option<String>,
}

/// The refs of the repository at `url`, sorted by name; `HEAD` is one of them.
pub(super) async fn remote_refs(
    git: &Git,
    (url, scratch): (&SafeUrl, &Path),
    cancel: &CancelToken,
) -> Result<Vec<Ref>, CheckoutError> {
    let (git, plain) = git.with_credentials_of(url);
    let answer = git.transfer(scratch, &["ls-remote", "--", plain.as_str()], Vec::new(), cancel).await?;
    Ok(parse_refs(&String::from_utf8_lossy(&answer)))
}

/// The lines of `git ls-remote` and `git show-ref --dereference`.
pub(super) fn parse_refs(text: &str) -> Vec<Ref> {
    let mut refs: Vec<Ref> = Vec::new();
    let mut peeled = HashMap::new();
    for line in text.lines() {
        let Some((object, name)) = line.split_once(['\t', ' ']) else { continue };
        if object.parse::<Commit>().is_err() || name.contains(char::is_control) || name.contains(' ') {
            continue;
        }
        match name.strip_suffix("^{}") {
            Some(name) => drop(peeled.insert(name.to_owned(), object.to_owned())),
            None => refs.push(Ref { name: name.to_owned(), object: object.to_owned(), peeled: None }),
        }
    }
    for entry in &mut refs {
        entry.peeled = peeled.remove(&entry.name);
    }
    refs.sort();
    refs
}

/// The commit that a reference means among `refs`, as `git checkout` after a clone would take it.
pub(super) fn resolve(reference: &GitReference, refs: &[Ref]) -> Result<Commit, CheckoutError> {
    let revision = reference.revision.as_deref().unwrap_or("HEAD");
    let named = |name: &str| refs.iter().find(|entry| entry.name == name);
    let names = [format!("refs/heads/{revision}"), format!("refs/tags/{revision}"), revision.to_owned()];
    let found = names.iter().find_map(|name| named(name));
    let object = found.map(|entry| entry.peeled.as_ref().unwrap_or(&entry.object));
    object.and_then(|object| object.parse().ok()).ok_or_else(|| CheckoutError::Revision {
        repository: reference.repository.to_string(),
        revision: revision.to_owned(),
    })
}

impl Repository {
    /// Fetches `commit` with its tree, the history of commits and the tags into a new repository at `path`.
    pub(super) async fn fetch(
        git: &Git,
        (url, path): (&SafeUrl, &Path),
        commit: &Commit,
        cancel: &CancelToken,
    ) -> Result<Self, CheckoutError> {
        let (git, plain) = git.with_credentials_of(url);
        let repository = Self { path: init(&git, path)?, git };
        repository.git.ask(path, &["remote", "add", "origin", plain.as_str()], b"")?;
        let fetch = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "origin"];
        let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        repository.git.transfer(path, &[&fetch[..], &all[..]].concat(), Vec::new(), cancel).await?;
        if !repository.has(commit) {
            // Of a pull request, or of a branch that was rewritten: many servers still give it.
            let name = [commit.as_str()];
            let result = repository.git.transfer(path, &[&fetch[..], &name[..]].concat(), Vec::new(), cancel).await;
            if matches!(result, Err(CheckoutError::Cancelled | CheckoutError::Endless)) {
                result?;
            }
        }
        if !repository.has(commit) {
            return Err(CheckoutError::Revision { repository: url.to_string(), revision: commit.to_string() });
        }
        repository.fetch_files(commit, cancel).await?;
        Ok(repository)
    }

    fn has(&self, commit: &Commit) -> bool {
        self.git.ask(&self.path, &["cat-file", "-e", &format!("{commit}^{{commit}}")], b"").is_ok()
    }

    /// The files of one tree at once; of the rest of the history no file is needed.
    async fn fetch_files(&self, commit: &Commit, cancel: &CancelToken) -> Result<(), CheckoutError> {
        let tree = format!("{commit}^{{tree}}");
        let list = ["rev-list", "--objects", "--missing=print", "--no-object-names", &tree];
        let answer = self.git.ask(&self.path, &list, b"")?;
        let text = String::from_utf8_lossy(&answer);
        let missing: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix('?')).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let arguments = [
            "-c",
            "fetch.negotiationAlgorithm=noop",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--filter=blob:none",
            "--stdin",
            "origin",
        ];
        let input = format!("{}\n", missing.join("\n")).into_bytes();
        self.git.transfer(&self.path, &arguments, input, cancel).await.map(drop)
    }

    /// The tags of the repository.
    pub(super) fn tags(&self) -> Result<Vec<Ref>, CheckoutError> {
        let format = "--format=%(objectname) %(refname)%(if)%(*objectname)%(then)%0a%(*objectname) %(refname)^{}%(end)";
        let answer = self.git.ask(&self.path, &["for-each-ref", format, "refs/tags"], b"")?;
        Ok(parse_refs(&String::from_utf8_lossy(&answer)))
    }

    /// The tree of `commit`, all levels.
    pub(super) fn tree(&self, commit: &Commit) -> Result<Vec<TreeEntry>, CheckoutError> {
        let arguments = ["ls-tree", "-r", "-t", "-z", "--full-tree", commit.as_str()];
        let answer = self.git.ask(&self.path, &arguments, b"")?;
        answer.split(|byte| *byte == 0).filter(|line| !line.is_empty()).map(parse_entry).collect()
    }

    /// Starts reading objects.
    pub(super) fn objects(&self) -> Result<Objects, CheckoutError> {
        let mut command = self.git.command(&self.path, ["cat-file", "--batch"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(CheckoutError::NoGit)?;
        let no_answer = || CheckoutError::Answer { command: "cat-file" };
        let input = child.stdin.take().ok_or_else(no_answer)?;
        let output = BufReader::with_capacity(128 << 10, child.stdout.take().ok_or_else(no_answer)?);
        Ok(Objects { child, input: Some(input), output })
    }
}

fn parse_entry(line: &[u8]) -> Result<TreeEntry, CheckoutError> {
    let no_answer = || CheckoutError::Answer { command: "ls-tree" };
    let tab = line.iter().position(|byte| *byte == b'\t').ok_or_else(no_answer)?;
    let (facts, path) = (std::str::from_utf8(&line[..tab]).map_err(|_| no_answer())?, &line[tab + 1..]);
    let refused = |reason: &str| CheckoutError::Entry {
        path: String::from_utf8_lossy(path).escape_debug().to_string(),
        reason: reason.to_owned(),
    };
    let mut facts = facts.split(' ');
    let (Some(mode), Some(_), Some(object)) = (facts.next(), facts.next(), facts.next()) else {
        return Err(no_answer());
    };
    let kind = match mode {
        "040000" => TreeEntryKind::Folder,
        "100644" | "100664" => TreeEntryKind::File { executable: false },
        "100755" => TreeEntryKind::File { executable: true },
        "120000" => TreeEntryKind::Link,
        "160000" => TreeEntryKind::Submodule,
        _ => return Err(refused("is of an unknown kind")),
    };
    let text = std::str::from_utf8(path).map_err(|_| refused("has a name that is not UTF-8"))?;
    let path = EntryPath::parse(text).map_err(|error| refused(&format!("has a name that is refused: {error}")))?;
    // As git itself: such an entry would be taken for the repository's own.
    if path.as_str().split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
        return Err(refused("would replace the repository's own files"));
    }
    Ok(TreeEntry { path, kind, object: object.to_owned() })
}

/// Gives the content of objects, one after the other.
pub(super) struct Objects {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Objects {
    /// Calls `take` with the length and the content of a file or link.
    pub(super) fn read<T>(
        &mut self,
        object: &str,
        take: impl FnOnce(u64, &mut dyn Read) -> Result<T, CheckoutError>,
    ) -> Result<T, CheckoutError> {
        let no_answer = |_| CheckoutError::Answer { command: "cat-file" };
        if let Some(input) = &mut self.input {
            input.write_all(format!("{object}\n").as_bytes()).and_then(|()| input.flush()).map_err(no_answer)?;
        }
        let mut line = String::new();
        (&mut self.output).take(1000).read_line(&mut line).map_err(no_answer)?;
        let size = line.trim_end().strip_prefix(object).and_then(|rest| rest.strip_prefix(" blob "));
        let size: u64 = size.and_then(|size| size.parse().ok()).ok_or_else(|| no_answer(std::io::Error::other("")))?;
        let mut content = (&mut self.output).take(size);
        let taken = take(size, &mut content)?;
        std::io::copy(&mut content, &mut std::io::sink()).map_err(no_answer)?;
        self.output.read_exact(&mut [0]).map_err(no_answer)?;
        Ok(taken)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // Without input it ends.
        self.input = None;
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
