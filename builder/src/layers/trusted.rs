//! What root runs in a sandbox before it is root no more: no layer may have another in its place.
//!
//! As root, `setpriv` (and `env`) start below the layers while they still have root's host id. A package whose list is signed is not
//! therefore harmless: the machine's owner did not install it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use pip_accel_store::{Object, Store, StoreError};

use crate::python::elf::read_dynamic;

/// The programs ([`crate::sandbox::bwrap`]).
const PROGRAMS: [&str; 2] = ["/usr/bin/setpriv", "/usr/bin/env"];

/// The names of files that root runs or loads: the programs, their libraries, and theirs.
fn names() -> BTreeSet<String> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = [format!("/usr/lib/{triplet}"), format!("/lib/{triplet}"), "/usr/lib64".into(), "/usr/lib".into()];
    let mut names = BTreeSet::new();
    let mut waiting: Vec<_> = PROGRAMS.iter().map(|program| Path::new(program).to_owned()).collect();
    while let Some(path) = waiting.pop() {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !names.insert(name.to_owned()) {
            continue;
        }
        let info = File::open(&path).ok().and_then(|mut file| read_dynamic(&mut file).ok().flatten());
        for library in info.unwrap_or_default().needed {
            let found = folders.iter().map(|folder| Path::new(folder).join(&library)).find(|path| path.exists());
            waiting.extend(found);
        }
    }
    names
}

/// The layers that have a file of such a name, wherever it lies: the loader has many places of its own.
pub(crate) fn shadowing(store: &Store, layers: &[Object]) -> Result<Vec<Object>, StoreError> {
    let names = names();
    let mut found = Vec::new();
    for layer in layers {
        let is_trusted = |name: &str| names.contains(name) || name.starts_with("ld-linux");
        if store.read_manifest(layer)?.entries().iter().any(|entry| is_trusted(entry.path.file_name())) {
            found.push(layer.clone());
        }
    }
    Ok(found)
}
