//! What a test's store and project were, to be put back before each of many runs of one operation.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cleanup::remove_tree;
use crate::environment::TestEnv;

/// A copy of a test's store and project directory.
#[derive(Debug)]
pub struct SavedState<'a> {
    env: &'a TestEnv,
    folder: PathBuf,
}

impl<'a> SavedState<'a> {
    /// Copies the present state; nothing may be at work in it.
    ///
    /// # Panics
    /// When it can't be copied.
    #[must_use]
    pub fn save(env: &'a TestEnv) -> Self {
        let folder = env.base().join("saved");
        remove_tree(&folder);
        std::fs::create_dir(&folder).expect("the scratch directory is writable");
        let saved = Self { env, folder };
        for (place, copy) in saved.places() {
            copy_tree(&place, &copy);
        }
        saved
    }

    /// Puts it back; what was added since is gone.
    ///
    /// # Panics
    /// When it can't be copied.
    pub fn restore(&self) {
        for (place, copy) in self.places() {
            remove_tree(&place);
            copy_tree(&copy, &place);
        }
    }

    fn places(&self) -> [(PathBuf, PathBuf); 2] {
        [(self.env.store(), self.folder.join("store")), (self.env.project(), self.folder.join("project"))]
    }
}

/// Modes, times, links and hard links stay; what is not there stays so.
fn copy_tree(from: &Path, to: &Path) {
    if from.exists() {
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("there is a `cp`");
        assert!(status.success(), "`{}` can't be copied", from.display());
    }
}
