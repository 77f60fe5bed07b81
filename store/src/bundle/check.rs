//! What a manifest has to be, as far as it can be told without the contents. It may have been made by anybody.

use std::collections::{HashMap, HashSet};

use pip_accel_schema::bundle::{BUNDLE_INDEX_FOLDER, BundleManifest};
use pip_accel_schema::digest::FileDigest;
use pip_accel_schema::manifest::{EntryKind, EntryPath, OBJECT_RECORD_FORMAT, ObjectRecord, Provenance};
use pip_accel_schema::store_path::{ObjectId, StorePath};

use super::{BUNDLE_BYTES_MAX, BUNDLE_OBJECTS_MAX, BundleError, BundleFault};
use crate::tree::{check_link, check_name};

/// Checks a manifest.
///
/// # Errors
/// When an id is not that of what its object is made from, an object comes before one that it refers to or twice, an
/// entry could leave its tree or has no folder above it, two entries of one content differ in size, or a limit is
/// exceeded.
pub(super) fn structure(manifest: &BundleManifest) -> Result<(), BundleError> {
    let counts = [manifest.objects.len(), manifest.base.len(), manifest.roots.len(), manifest.pages.len()];
    if counts.iter().any(|count| *count > BUNDLE_OBJECTS_MAX) {
        return Err(BundleError::TooLarge { what: "more objects", limit: BUNDLE_OBJECTS_MAX as u64 });
    }
    let mut known = HashSet::new();
    for text in &manifest.base {
        let path: StorePath = text.parse().map_err(|error| fault(text, error))?;
        if !known.insert(*path.id()) {
            return Err(BundleFault::new(text, "is in the list twice").into());
        }
    }
    for object in &manifest.objects {
        let id = identity(object)?;
        if let Some(missing) = object.references.iter().find(|reference| !known.contains(reference)) {
            return Err(BundleFault::new(&object.path, format!("refers to {missing}, which is not before it")).into());
        }
        if !known.insert(id) {
            return Err(BundleFault::new(&object.path, "is in the list twice").into());
        }
        tree(object)?;
    }
    if let Some(missing) = manifest.roots.iter().find(|root| !known.contains(root)) {
        return Err(BundleFault::new(&missing.to_string(), "is to be kept, but is not there").into());
    }
    let mut pages = HashSet::new();
    for page in &manifest.pages {
        let is_below = page.path.as_str().split_once('/').is_some_and(|(top, _)| top == BUNDLE_INDEX_FOLDER);
        if !is_below || !pages.insert(&page.path) {
            return Err(BundleFault::new(page.path.as_str(), "is no page of an index, or is there twice").into());
        }
    }
    published_files(manifest)?;
    sizes(manifest)
}

/// One content has one SHA-256: only the first that is claimed will be compared with the bytes.
fn published_files(manifest: &BundleManifest) -> Result<(), BundleFault> {
    let mut known = HashMap::new();
    for object in &manifest.objects {
        let Provenance::Source { sha256, .. } = &object.provenance else { continue };
        let Some(EntryKind::File { digest, .. }) = object.manifest.entries().first().map(|entry| &entry.kind) else {
            continue;
        };
        if *known.entry(*digest).or_insert(*sha256) != *sha256 {
            return Err(BundleFault::new(&object.path, "has another SHA-256 than its equal elsewhere"));
        }
    }
    Ok(())
}

fn fault(what: &str, error: impl ToString) -> BundleFault {
    BundleFault::new(what, format!("is no directory name of an object: {}", error.to_string()))
}

/// The id of an object, computed from what it is made of.
fn identity(object: &ObjectRecord) -> Result<ObjectId, BundleFault> {
    let wrong = |reason: &str| Err(BundleFault::new(&object.path, reason));
    if object.format > OBJECT_RECORD_FORMAT {
        return wrong("has a record of a newer format");
    }
    let path: StorePath = object.path.parse().map_err(|error| fault(&object.path, error))?;
    let (id, is_plain) = match &object.provenance {
        Provenance::Source { file_name, sha256 } => (ObjectId::of_source(file_name, sha256), true),
        Provenance::Wheel { sha256, bytecode_tag, .. } => (ObjectId::of_wheel(sha256, bytecode_tag), false),
        Provenance::Build { recipe, system_inputs, bytecode_tag, .. } => {
            (ObjectId::of_build(&recipe.id(), system_inputs, bytecode_tag), false)
        }
        Provenance::Layer { sha256, .. } => (ObjectId::of_layer(sha256), true),
    };
    if *path.id() != id || !object.lists_its_system_inputs() {
        return wrong("is not the id of what it says it is made from");
    }
    let label = StorePath::new(id, &object.name, &object.version, None).label().to_owned();
    let is_labelled =
        path.label() == label || path.label().strip_prefix(&label).is_some_and(|rest| rest.starts_with('-'));
    if !is_labelled {
        return wrong("is not called after its project and version");
    }
    if object.manifest.content_digest() != object.content_digest {
        return wrong("has a manifest that is not the one of its content digest");
    }
    if is_plain != object.link_plan.is_none() {
        return wrong("has a link plan that it should not have, or lacks one");
    }
    let is_sorted = object.references.windows(2).all(|pair| pair[0] < pair[1]);
    if !is_sorted || object.references.contains(&id) {
        return wrong("has references out of order");
    }
    Ok(id)
}

/// Names, links and folders of an object's tree.
fn tree(object: &ObjectRecord) -> Result<(), BundleFault> {
    let entries = object.manifest.entries();
    let folders: HashSet<&str> =
        entries.iter().filter(|entry| entry.kind == EntryKind::Directory).map(|entry| entry.path.as_str()).collect();
    for entry in entries {
        let wrong = |reason: String| Err(BundleFault::new(&format!("{}/{}", object.path, entry.path), reason));
        if entry.path.parent().is_some_and(|parent| !folders.contains(parent)) {
            return wrong("is below something that is not a folder of the tree".to_owned());
        }
        if let Err(error) = check_name(&entry.path) {
            return wrong(format!("can't be in a tree: {error}"));
        }
        if let EntryKind::Symlink { target } = &entry.kind
            && let Err(error) = check_link(&entry.path, target)
        {
            return wrong(format!("can't be in a tree: {error}"));
        }
    }
    let Provenance::Source { file_name, .. } = &object.provenance else { return Ok(()) };
    let is_its_file = |path: &EntryPath| path.as_str() == file_name && path.parent().is_none();
    match entries {
        [only] if is_its_file(&only.path) && matches!(only.kind, EntryKind::File { executable: false, .. }) => Ok(()),
        _ => Err(BundleFault::new(&object.path, "is a published file, and holds something else")),
    }
}

/// One content has one size, and all of them together a limit.
fn sizes(manifest: &BundleManifest) -> Result<(), BundleError> {
    let mut known: HashMap<FileDigest, u64> = HashMap::new();
    let mut total = 0_u64;
    let mut add = |size: u64| {
        total = total.saturating_add(size);
        if total > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge { what: "more bytes of contents", limit: BUNDLE_BYTES_MAX });
        }
        Ok(())
    };
    for page in &manifest.pages {
        add(page.size)?;
    }
    for object in &manifest.objects {
        for entry in object.manifest.entries() {
            let EntryKind::File { digest, size, .. } = &entry.kind else { continue };
            match known.insert(*digest, *size) {
                None => add(*size)?,
                Some(other) if other == *size => {}
                Some(_) => {
                    let what = format!("{}/{}", object.path, entry.path);
                    return Err(BundleFault::new(&what, "has another size than its equal elsewhere").into());
                }
            }
        }
    }
    Ok(())
}
