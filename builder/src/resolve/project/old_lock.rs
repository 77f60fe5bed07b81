//! What an earlier lock says that the next one should keep.

use std::path::Path;
use std::sync::Arc;

use pip_accel_schema::lock_file::{LockItem, LockSyntaxError, RequirementTarget, parse};

use super::Preference;
use crate::lock::{LockedBuild, Span, lock_builds};

/// An earlier lock.
#[derive(Debug, Clone, Default)]
pub struct OldLock {
    /// The releases that it pins.
    pub preferences: Vec<Preference>,
    /// Its locked builds.
    pub builds: Vec<LockedBuild>,
}

impl OldLock {
    /// Reads the text of the lock at `path`. Lines that are no pins have nothing to keep.
    ///
    /// # Errors
    /// When it is no requirements file.
    pub fn read(path: &Path, text: &str) -> Result<Self, LockSyntaxError> {
        let file: Arc<Path> = Arc::from(path);
        let mut old = Self::default();
        let mut builds = Vec::new();
        for item in parse(text)? {
            match item {
                LockItem::Requirement(requirement) => {
                    if let RequirementTarget::Pin { name, version } = requirement.target {
                        old.preferences.push(Preference { name, version, hashes: requirement.hashes });
                    }
                }
                LockItem::Build(build) => {
                    let span = Span { file: Arc::clone(&file), line: build.line };
                    builds.push((build, span));
                }
                LockItem::Option(..) => {}
            }
        }
        // A build that is locked badly is locked anew.
        let mut problems = Vec::new();
        let builds = lock_builds(builds, &mut problems);
        if problems.is_empty() {
            old.builds = builds;
        }
        Ok(old)
    }
}
