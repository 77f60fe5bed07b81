//! What the objects of a bundle have to be besides whole: nothing that importing a wheel would refuse may come in by
//! this door, and nothing that leads an environment's links or scripts out of it.

use std::collections::HashMap;

use pip_accel_schema::bundle::BundleManifest;
use pip_accel_schema::link_plan::{DATA_FOLDER, HEADERS_FOLDER, LinkEntry, LinkPlan, SCRIPTS_FOLDER, SITE_FOLDER};
use pip_accel_schema::manifest::{EntryKind, EntryPath, ObjectRecord};
use pip_accel_store::BundleFault;

use super::facts::BundleFacts;
use crate::python::archive::{CaseRule, NameTable, entry_name};
use crate::python::entry_points::{SCRIPTS_MAX, check_script_name, is_dotted_name};

/// Checks names, link plans and remembered answers.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn meaning(manifest: &BundleManifest) -> Result<(), BundleFault> {
    manifest.objects.iter().try_for_each(names)?;
    for object in &manifest.objects {
        if let Some(plan) = &object.link_plan {
            LinksOf::new(object).check(plan)?;
        }
    }
    BundleFacts::of_value(&manifest.facts).map(drop)
}

fn names(object: &ObjectRecord) -> Result<(), BundleFault> {
    let mut table = NameTable::new(CaseRule::Refuse);
    for entry in object.manifest.entries() {
        let added = entry_name(entry.path.as_str().as_bytes()).and_then(|path| match entry.kind {
            EntryKind::Directory => table.add_directory(&path),
            EntryKind::File { .. } | EntryKind::Symlink { .. } => table.add_file(&path),
        });
        added.map_err(|error| BundleFault::new(&object.path, format!("has a tree that is refused: {error}")))?;
    }
    Ok(())
}

/// The tree of an object, for its link plan.
struct LinksOf<'a> {
    object: &'a ObjectRecord,
    entries: HashMap<&'a str, bool>,
}

impl<'a> LinksOf<'a> {
    fn new(object: &'a ObjectRecord) -> Self {
        let is_folder = |kind: &EntryKind| *kind == EntryKind::Directory;
        let entries = object.manifest.entries().iter();
        let entries = entries.map(|entry| (entry.path.as_str(), is_folder(&entry.kind))).collect();
        Self { object, entries }
    }

    fn fault(&self, reason: String) -> BundleFault {
        BundleFault::new(&self.object.path, format!("has a link plan with {reason}"))
    }

    fn check(&self, plan: &LinkPlan) -> Result<(), BundleFault> {
        self.folders(SITE_FOLDER, &plan.site_directories)?;
        self.folders(DATA_FOLDER, &plan.data_directories)?;
        self.links(SITE_FOLDER, &plan.site_links)?;
        self.links(DATA_FOLDER, &plan.data_links)?;
        self.links(HEADERS_FOLDER, &plan.header_links)?;
        self.scripts(plan)?;
        let dist_info = format!("{SITE_FOLDER}/{}", plan.dist_info);
        let is_there = self.entries.get(dist_info.as_str()) == Some(&true);
        if !is_there || plan.dist_info.contains('/') || !plan.dist_info.ends_with(".dist-info") {
            return Err(self.fault(format!("the metadata folder `{}`", plan.dist_info.escape_debug())));
        }
        Ok(())
    }

    fn folders(&self, top: &str, folders: &[EntryPath]) -> Result<(), BundleFault> {
        match folders.iter().find(|path| self.entries.get(format!("{top}/{path}").as_str()) != Some(&true)) {
            Some(path) => Err(self.fault(format!("the folder `{top}/{path}`, which it does not have"))),
            None => Ok(()),
        }
    }

    fn links(&self, top: &str, links: &[LinkEntry]) -> Result<(), BundleFault> {
        let is_there =
            |link: &LinkEntry| self.entries.get(format!("{top}/{}", link.path).as_str()) == Some(&link.is_directory);
        match links.iter().find(|link| !is_there(link)) {
            Some(link) => Err(self.fault(format!("a link to `{top}/{}`, which it does not have", link.path))),
            None => Ok(()),
        }
    }

    fn scripts(&self, plan: &LinkPlan) -> Result<(), BundleFault> {
        if plan.entry_points.len() > SCRIPTS_MAX || plan.data_scripts.len() > SCRIPTS_MAX {
            return Err(self.fault(format!("over {SCRIPTS_MAX} scripts")));
        }
        for point in &plan.entry_points {
            check_script_name(&point.name).map_err(|error| self.fault(error.to_string()))?;
            if !is_dotted_name(&point.module) || !is_dotted_name(&point.attribute) {
                return Err(self.fault(format!("the script `{}` of no function", point.name.escape_debug())));
            }
        }
        for script in &plan.data_scripts {
            check_script_name(&script.name).map_err(|error| self.fault(error.to_string()))?;
            if self.entries.get(format!("{SCRIPTS_FOLDER}/{}", script.name).as_str()) != Some(&false) {
                return Err(self.fault(format!("the script `{}`, which it does not have", script.name.escape_debug())));
            }
        }
        Ok(())
    }
}
