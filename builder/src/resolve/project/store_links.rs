//! The wheels and sdists that the store keeps, as a page of links for the resolver.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pip_accel_schema::manifest::Provenance;

use super::error::ProjectError;
use crate::realize::engine::store_error;
use crate::resolve::uv;
use crate::session::Session;

/// A folder of links into the store.
pub(super) struct StoreLinks {
    /// The folder, to be named as a place of files.
    pub(super) folder: PathBuf,
    /// What the links lead to.
    pub(super) visible: BTreeSet<PathBuf>,
}

impl StoreLinks {
    /// Links to every source of the store and of its lower stores below `folder`.
    pub(super) fn make(session: &Session, folder: &Path) -> Result<Self, ProjectError> {
        let sources = session.store.sources().map_err(store_error(&uv::pin()))?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ProjectError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let mut visible = BTreeSet::new();
        for object in sources {
            let Provenance::Source { file_name, .. } = &object.provenance else { continue };
            let Some(objects) = object.path.parent() else { continue };
            let link = folder.join(file_name);
            match std::os::unix::fs::symlink(object.path.join(file_name), &link) {
                Ok(()) => drop(visible.insert(objects.to_owned())),
                // Another file of that name: which of them is meant, a hash decides when it is fetched.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(at(&link)(source)),
            }
        }
        Ok(Self { folder: folder.to_owned(), visible })
    }
}
