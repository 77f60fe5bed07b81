//! What a running process uses of lower stores.

use std::collections::HashSet;
use std::fs::{File, OpenOptions as FileOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pip_accel_schema::store_path::ObjectId;
use rusqlite::Connection;

use super::{LowerStore, record};
use crate::checkpoint::checkpoint;
use crate::db::Failure;
use crate::db::object::Found;
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::object::Object;
use crate::store::Store;

/// The claim on one lower store: a file with a line for each object, flocked as long as the process lives.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    file: File,
    ids: HashSet<ObjectId>,
}

impl Claim {
    fn start(users: &std::path::Path) -> Result<Self, StoreError> {
        let path = users.join(record::lease_name(&fs_ops::unique_name("p")));
        let mut options = FileOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(&path).on("create", &path)?;
        // Nobody deletes it before it is locked: the gate is held.
        file.lock().on("lock", &path)?;
        checkpoint("lower-claim-begun");
        Ok(Self { path, file, ids: HashSet::new() })
    }

    fn add<'a>(&mut self, ids: impl Iterator<Item = &'a ObjectId>) -> Result<(), StoreError> {
        let new: Vec<ObjectId> = ids.filter(|id| !self.ids.contains(id)).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        let text: String = new.iter().map(|id| format!("{id}\n")).collect();
        self.file.write_all(text.as_bytes()).on("write", &self.path)?;
        self.ids.extend(new);
        Ok(())
    }
}

/// The claims of one lease, by the position of the lower store.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<Vec<Option<Claim>>>);

impl Drop for Claims {
    fn drop(&mut self) {
        let claims = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for claim in claims.drain(..).flatten() {
            drop(std::fs::remove_file(&claim.path));
            drop(claim.file.unlock());
        }
    }
}

impl Claims {
    /// Looks up in the lower store at `position` and claims what is found, while its collector waits.
    pub(crate) fn look_up(
        &self,
        (position, lower): (usize, &LowerStore),
        action: &'static str,
        look_up: impl FnOnce(&Store, &Connection) -> Result<Vec<Option<Found>>, Failure>,
    ) -> Result<Vec<Option<Object>>, StoreError> {
        let _gate = lower.enter()?;
        let found = lower.look_up(action, look_up)?;
        checkpoint("lower-taken");
        let Some(users) = lower.users.as_deref().filter(|_| found.iter().any(Option::is_some)) else {
            return Ok(found);
        };
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.len() <= position {
            claims.resize_with(position + 1, || None);
        }
        let claim = match &mut claims[position] {
            Some(claim) => claim,
            empty => empty.insert(Claim::start(users)?),
        };
        claim.add(found.iter().flatten().map(|object| &object.id))?;
        checkpoint("lower-claimed");
        Ok(found)
    }
}
