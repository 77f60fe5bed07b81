//! `-e git+…`: a clone with a work tree, for people to work in. What is there already is never changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::error::CheckoutError;
use super::git::{Git, ask};
use super::git_url::GitCommit;
use super::repository::{Repository, TreeEntryKind};
use crate::lock::{LockedRequirement, LockedTarget};
use crate::realize::error::RealizeError;
use crate::session::Session;

/// Clones what the editables of `requirements` name, unless it is there.
///
/// # Errors
/// [`RealizeError::Checkout`] for the first that can't be had, or is at another commit.
pub(crate) fn clone_editables(session: &Session, requirements: &[LockedRequirement]) -> Result<(), RealizeError> {
    for requirement in requirements {
        let LockedTarget::Editable(editable) = &requirement.target else { continue };
        let Some(commit) = &editable.git else { continue };
        let failed = |source| match source {
            CheckoutError::Cancelled => RealizeError::Interrupted,
            source => RealizeError::Checkout { place: requirement.to_string(), source: Arc::new(source) },
        };
        let git = Git::of(session).map_err(failed)?;
        if is_there(&git, &editable.path, commit).map_err(failed)? {
            continue;
        }
        if session.options.offline && !commit.repository.is_file() {
            return Err(failed(CheckoutError::Offline));
        }
        crate::realize::run(session, clone(session, &git, &editable.path, commit))?.map_err(failed)?;
    }
    Ok(())
}

fn is_there(git: &Git, path: &Path, commit: &GitCommit) -> Result<bool, CheckoutError> {
    let folder = path.join(".git");
    if !folder.is_dir() {
        return match path.symlink_metadata() {
            Ok(_) => Err(CheckoutError::Occupied { path: path.to_owned() }),
            Err(_) => Ok(false),
        };
    }
    let head = git.ask(&folder, &["rev-parse", "--verify", "HEAD"], b"")?;
    let found = String::from_utf8_lossy(&head).trim().to_owned();
    if found == commit.commit.as_str() {
        return Ok(true);
    }
    let wanted = commit.commit.to_string();
    Err(CheckoutError::OtherCommit { path: path.to_owned(), found, wanted })
}

async fn clone(session: &Session, git: &Git, path: &Path, commit: &GitCommit) -> Result<(), CheckoutError> {
    let io_error = |source| CheckoutError::Io { path: path.to_owned(), source };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(io_error)?;
    let beside = Beside(parent.join(format!(".{name}.pip-accel-{}", std::process::id())));
    let folder = beside.0.join(".git");
    let place = (&commit.repository, folder.as_path());
    let repository = Repository::fetch(git, place, &commit.commit, &session.cancel).await?;
    let modules = repository.tree(&commit.commit)?;
    if let Some(entry) = modules.iter().find(|entry| entry.kind == TreeEntryKind::Submodule) {
        let reason = "is left out of an editable; clone it yourself with `--recurse-submodules` and name `-e ./PATH`";
        return Err(CheckoutError::Submodule { path: entry.path.to_string(), reason: reason.to_owned() });
    }
    git.ask(&folder, &["config", "core.bare", "false"], b"")?;
    let mut checkout = git.command(&folder, ["checkout", "--quiet", "--detach", commit.commit.as_str()]);
    checkout.current_dir(&beside.0).env("GIT_WORK_TREE", &beside.0);
    ask(checkout, b"")?;
    fs::rename(&beside.0, path).map_err(io_error)
}

/// A clone that is not finished; removed unless it was moved away.
struct Beside(std::path::PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
