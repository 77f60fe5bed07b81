//! Editables: the backend works on a copy that it sees at the checkout's own path, so that the wheel names that path and
//! nothing is written into the checkout but extension modules, which are imported from there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_store::Scratch;

use super::place::BuildPlace;
use crate::checkout::{CheckoutError, Editable, copy_of};
use crate::python::sdist::{UnpackedSdist, read_build_system};
use crate::realize::engine::{Engine, joined};
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::session::SandboxChoice;

/// Folders that a sandbox has itself, so that nothing can be shown there.
const TAKEN: [&str; 5] = ["/etc", "/proc", "/dev", "/build", "/pip-accel"];

/// Most folders that are searched for extension modules.
const DEPTH_MAX: usize = 64;

/// A copy of the checkout for a build in the sandbox; without one the checkout itself, as the user wishes.
pub(super) async fn unpack(engine: &Arc<Engine>, pin: &Pin, scratch: &Scratch) -> Result<UnpackedSdist, ObtainError> {
    let text = pin.to_string();
    let (pin_text, engine) = (text.clone(), Arc::clone(engine));
    let Some(editable) = pin.editable().cloned() else { return Err(ObtainError::Worker { pin: text }) };
    let scratch = scratch.path().to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let failed = |source| ObtainError::Checkout { pin: pin_text.clone(), source: Arc::new(source) };
        if engine.session.options.sandbox == SandboxChoice::None {
            let build_system =
                read_build_system(&editable.path).map_err(|error| failed(no_project(&editable, &error)))?;
            let root = editable.path;
            return Ok(UnpackedSdist { root, build_system, metadata: None, file_count: 0, bytes: 0 });
        }
        if let Some(taken) = TAKEN.iter().find(|taken| editable.path.starts_with(taken)) {
            let reason = format!("a sandbox has a `{taken}` of its own");
            return Err(failed(CheckoutError::EditablePlace { path: editable.path, reason }));
        }
        copy_of(&engine.session, &editable.path, &scratch).map_err(failed)
    });
    joined(work, &text).await
}

fn no_project(editable: &Editable, error: &dyn std::error::Error) -> CheckoutError {
    CheckoutError::Io { path: editable.path.clone(), source: io::Error::other(error.to_string()) }
}

/// Takes extension modules that the backend built in the copy to where they are imported from.
pub(super) fn bring_back(place: &BuildPlace<'_>, editable: &Editable) -> Result<(), ObtainError> {
    let copy = &place.sdist.root;
    if *copy == editable.path {
        return Ok(());
    }
    let mut modules = Vec::new();
    find_modules(copy, Path::new(""), 0, &mut modules);
    for module in modules {
        let (from, to) = (copy.join(&module), editable.path.join(&module));
        take(&from, &to, &editable.path).map_err(place.io_error(&to))?;
    }
    Ok(())
}

/// Regular files named like extension modules, by their paths below `root`; no link is followed.
fn find_modules(root: &Path, relative: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(root.join(relative)) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = relative.join(entry.file_name());
        // What lies in `build` belongs to the build.
        let is_build = relative.as_os_str().is_empty() && entry.file_name() == "build";
        if kind.is_dir() && depth < DEPTH_MAX && !is_build {
            find_modules(root, &path, depth + 1, found);
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "so") {
            found.push(path);
        }
    }
}

/// Copies a new or changed module; its folder has to be a real one of the checkout.
fn take(from: &Path, to: &Path, checkout: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(checkout);
    let is_inside = folder.canonicalize().is_ok_and(|real| real == folder);
    let content = fs::read(from)?;
    if !is_inside || fs::read(to).is_ok_and(|known| known == content) {
        return Ok(());
    }
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.pip-accel"));
    // A new file in any case: what lies there under that name may be a link.
    super::place::remove_if_there(&beside)?;
    File::create_new(&beside)?.write_all(&content)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
    fs::rename(&beside, to)
}
