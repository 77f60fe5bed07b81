//! What a build's result needs of its layers when it runs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use pip_accel_schema::manifest::EntryKind;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Object, Store, StoreError};

use crate::python::elf::read_dynamic;

/// Beginnings of the names of the C library's parts. They belong to the loader of the machine and can't be taken from elsewhere.
const C_LIBRARY: [&str; 12] = [
    "ld-linux",
    "libc.so.",
    "libm.so.",
    "libmvec.so.",
    "libdl.so.",
    "libpthread.so.",
    "librt.so.",
    "libutil.so.",
    "libresolv.so.",
    "libanl.so.",
    "libthread_db.so.",
    "libBrokenLocale.so.",
];

/// Most libraries that one file may need, directly and in turn; large ones need some 200.
const LIBRARIES_MAX: usize = 4096;

/// A library of a layer.
#[derive(Debug, Clone)]
struct Library {
    layer: ObjectId,
    /// The folder, absolute: what goes into a path.
    folder: PathBuf,
    needed: Vec<String>,
}

/// What one file needs of the layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needed {
    /// Layers whose libraries it loads.
    pub(super) layers: BTreeSet<ObjectId>,
    /// The folders of these libraries, in the order in which they are needed.
    pub(super) folders: Vec<PathBuf>,
}

/// The libraries that the layers of a build have, by the name that programs know them by.
#[derive(Debug)]
pub(super) struct Libraries {
    by_name: BTreeMap<String, PathBuf>,
    layer_of: HashMap<PathBuf, ObjectId>,
    read: HashMap<String, Option<Library>>,
}

impl Libraries {
    /// Reads the lists of the layers; of two libraries of one name the one that lies higher counts, as it does for the loader.
    pub(super) fn of(store: &Store, layers: &[Object]) -> Result<Self, StoreError> {
        let mut found: BTreeMap<String, (usize, usize, PathBuf)> = BTreeMap::new();
        let mut layer_of = HashMap::new();
        for (number, layer) in layers.iter().enumerate() {
            for entry in store.read_manifest(layer)?.entries() {
                let name = entry.path.file_name();
                let is_library = entry.path.as_str().starts_with("usr/lib") && name.contains(".so");
                if !is_library || matches!(entry.kind, EntryKind::Directory) {
                    continue;
                }
                let path = layer.path.join(entry.path.as_str());
                // A link may lead to what is in another layer or on the machine: nothing to load from here.
                if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
                    continue;
                }
                let place = (entry.path.as_str().matches('/').count(), number, path.clone());
                layer_of.insert(path, layer.id);
                match found.get(name) {
                    Some(known) if *known <= place => {}
                    _ => drop(found.insert(name.to_owned(), place)),
                }
            }
        }
        let by_name = found.into_iter().map(|(name, (_, _, path))| (name, path)).collect();
        Ok(Self { by_name, layer_of, read: HashMap::new() })
    }

    /// What a file with these `DT_NEEDED` takes from the layers; `own` are the names of libraries that come with it.
    pub(super) fn needed(&mut self, needed: &[String], own: &HashSet<String>) -> Needed {
        let mut all = Needed::default();
        let mut waiting: Vec<String> = needed.iter().rev().cloned().collect();
        let mut seen: HashSet<String> = HashSet::new();
        while let Some(name) = waiting.pop() {
            let is_c_library = C_LIBRARY.iter().any(|beginning| name.starts_with(beginning));
            if is_c_library || own.contains(&name) || seen.len() >= LIBRARIES_MAX || !seen.insert(name.clone()) {
                continue;
            }
            let Some(library) = self.library(&name) else { continue };
            all.layers.insert(library.layer);
            if !all.folders.contains(&library.folder) {
                all.folders.push(library.folder.clone());
            }
            waiting.extend(library.needed.iter().rev().cloned());
        }
        all
    }

    fn library(&mut self, name: &str) -> Option<&Library> {
        if !self.read.contains_key(name) {
            let library = self.by_name.get(name).and_then(|path| {
                let info = File::open(path).ok().and_then(|mut file| read_dynamic(&mut file).ok().flatten())?;
                let folder = path.parent()?.to_owned();
                Some(Library { layer: *self.layer_of.get(path)?, folder, needed: info.needed })
            });
            self.read.insert(name.to_owned(), library);
        }
        self.read.get(name)?.as_ref()
    }
}
