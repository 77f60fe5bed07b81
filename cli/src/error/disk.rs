//! What to say when the disk is full.

use std::error::Error;
use std::io;
use std::sync::Arc;

use pip_accel_builder::realize::error::{DiskNeed, ObtainError};

use super::{Failure, sentence};
use crate::exit_code::Exit;
use crate::ui::{bytes, counted};

const SPACE: &str = "free some space, for instance with `pip-accel gc`, and repeat the command";

/// Whether a full disk, or a used-up quota, is behind the error.
pub(super) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // A shared error is a type of its own; what is inside an I/O error is not its source.
        let shared = error.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
        if let Some(error) = error.downcast_ref::<io::Error>().or(shared) {
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if full || error.get_ref().is_some_and(|inner| is_full(inner)) {
                return true;
            }
        }
        next = error.source();
    }
    false
}

pub(super) fn full(error: &(dyn Error + 'static)) -> Failure {
    Failure::new(Exit::Error, sentence(error)).hint(SPACE)
}

/// The same for all packages of a run that found no room.
pub(super) fn full_for(failures: &[&ObtainError], disk: &DiskNeed) -> Failure {
    let packages = counted(failures.len(), "package");
    let reason = failures.first().map(|first| innermost(*first)).unwrap_or_default();
    let free = disk.free_bytes.map(|free| format!("; {} are free", bytes(free))).unwrap_or_default();
    let needed = match disk.downloads_bytes {
        0 => String::new(),
        needed => format!("; the downloads alone need {}, and what is unpacked comes on top", bytes(needed)),
    };
    let store = disk.store.display();
    Failure::new(Exit::Error, format!("the store `{store}` has no space left for {packages} ({reason}){free}{needed}"))
        .hint(SPACE)
}

/// What the operating system said.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
