//! From the files of a wheel to the plan by which environments link it.
//!
//! A folder is linked as a whole where it can be. It has to be a real folder, with links inside, when
//! other packages or installers write into it (namespace packages, `__pycache__` of a real folder, metadata), or when
//! a library in it looks for others by a path that leaves the link: the loader resolves `$ORIGIN/..` physically.
//! Where a module looks for its project's files in `RECORD`, all folders are real, since that lists what stands in real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;

use pip_accel_schema::link_plan::{
    DATA_FOLDER, DataScript, EntryPoint, HEADERS_FOLDER, LinkEntry, LinkPlan, SCRIPTS_FOLDER, SITE_FOLDER,
};
use pip_accel_schema::manifest::{EntryPath, ParseEntryPathError};

use super::elf::read_dynamic;
use super::entry_points::is_identifier;
use super::wheel::{FileTrait, TreeFile};

/// Bytes of an `__init__.py` in which the declaration of a namespace package is looked for.
/// Such files hold little else; a match in a large package would only cost speed.
const NAMESPACE_INIT_BYTES_MAX: usize = 16 << 10;

/// Files of the metadata folder that each environment writes for itself.
pub const ENVIRONMENT_OWN_METADATA: [&str; 6] =
    ["RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"];

/// All that the plan of a wheel depends on.
#[derive(Debug, Clone)]
pub struct LinkFacts<'a> {
    /// The files of the tree, bytecode included, in any order.
    pub files: &'a [TreeFile],
    /// The `.dist-info` folder below `site/`.
    pub dist_info: &'a str,
    /// Scripts to be generated.
    pub entry_points: &'a [EntryPoint],
    /// Dotted names of `namespace_packages.txt`.
    pub declared_namespaces: &'a [String],
    /// For ELF files (paths as in `files`), the folders in which they look for libraries: `$ORIGIN/../lib`.
    pub search_paths: &'a BTreeMap<EntryPath, Vec<String>>,
}

/// Whether an `__init__.py` makes its folder a namespace package in one of the two old ways.
#[must_use]
pub fn declares_namespace(content: &[u8]) -> bool {
    let content = &content[..content.len().min(NAMESPACE_INIT_BYTES_MAX)];
    let has = |word: &[u8]| content.windows(word.len()).any(|window| window == word);
    (has(b"extend_path") && has(b"pkgutil")) || (has(b"declare_namespace") && has(b"pkg_resources"))
}

/// Reads where the ELF files among `files` look for their libraries; only those that look somewhere are listed.
///
/// # Errors
/// When a file of the tree at `root` can't be read: its path and the reason.
pub fn read_search_paths(
    root: &Path,
    files: &[TreeFile],
) -> Result<BTreeMap<EntryPath, Vec<String>>, (EntryPath, io::Error)> {
    let mut search_paths = BTreeMap::new();
    for file in files.iter().filter(|file| file.file_trait == FileTrait::Elf) {
        let read = File::open(root.join(file.path.as_str())).and_then(|mut content| read_dynamic(&mut content));
        match read {
            Ok(Some(info)) if !info.search_paths.is_empty() => {
                search_paths.insert(file.path.clone(), info.search_paths);
            }
            Ok(_) => {}
            Err(error) => return Err((file.path.clone(), error)),
        }
    }
    Ok(search_paths)
}

/// The plan for a tree.
///
/// # Errors
/// When a path of the plan breaks the rules for paths, which a checked tree does not have.
pub fn compute(facts: &LinkFacts<'_>) -> Result<LinkPlan, ParseEntryPathError> {
    let site = site_tree(facts.files);
    let mut real = BTreeSet::new();
    let declared: BTreeSet<String> = facts.declared_namespaces.iter().map(|name| name.replace('.', "/")).collect();
    mark_namespaces(&site, "", &declared, &mut real);
    mark_escaping_libraries(&site, facts.search_paths, &mut real);
    if facts.files.iter().any(|file| file.file_trait == FileTrait::AsksForFiles) {
        mark_all(&site, "", &mut real);
    }

    let mut plan = LinkPlan {
        dist_info: facts.dist_info.to_owned(),
        entry_points: facts.entry_points.to_vec(),
        ..LinkPlan::default()
    };
    let own: BTreeSet<String> =
        ENVIRONMENT_OWN_METADATA.iter().map(|file| format!("{}/{file}", facts.dist_info)).collect();
    emit_site(&site, "", &real, &own, &mut plan)?;
    emit_other_folders(facts.files, &mut plan)?;
    plan.site_directories.sort();
    plan.site_links.sort();
    Ok(plan)
}

/// A folder of the tree: names of what is in it.
#[derive(Debug, Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    files: BTreeMap<&'a str, FileTrait>,
    /// Whether Python could import something of it or of a folder below, or the loader load it.
    holds_code: bool,
}

fn inside<'a>(path: &'a EntryPath, folder: &str) -> Option<&'a str> {
    path.as_str().strip_prefix(folder)?.strip_prefix('/')
}

fn site_tree(files: &[TreeFile]) -> Folder<'_> {
    let mut site = Folder::default();
    for file in files {
        let Some(path) = inside(&file.path, SITE_FOLDER) else { continue };
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let holds_code = is_code(name) || file.file_trait == FileTrait::Elf;
        let mut current = &mut site;
        current.holds_code |= holds_code;
        for component in folder.split('/').filter(|component| !component.is_empty()) {
            current = current.folders.entry(component).or_default();
            current.holds_code |= holds_code;
        }
        current.files.insert(name, file.file_trait);
    }
    site
}

/// Modules in source, as bytecode or as extension (`a.so`, `a.cpython-311-x86_64-linux-gnu.so`, `a.so.1`).
fn is_code(name: &str) -> bool {
    [".py", ".pyc", ".pyi", ".so", ".pyd"].iter().any(|suffix| name.ends_with(suffix)) || name.contains(".so.")
}

impl Folder<'_> {
    /// Whether it is a package with an `__init__` that does not declare a namespace.
    fn is_regular_package(&self) -> bool {
        self.files.iter().any(|(name, file_trait)| {
            let suffix = name.strip_prefix("__init__.");
            let is_init = suffix.is_some_and(|suffix| {
                matches!(suffix, "py" | "pyc" | "pyd" | "so") || suffix.ends_with(".so") || suffix.ends_with(".pyd")
            });
            is_init && *file_trait != FileTrait::NamespaceInit
        })
    }

    /// What stands at `path`, which is relative to this folder and may be empty.
    fn contains(&self, path: &[&str]) -> bool {
        match path {
            [] => true,
            [name] => self.folders.contains_key(name) || self.files.contains_key(name),
            [name, rest @ ..] => self.folders.get(name).is_some_and(|folder| folder.contains(rest)),
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Marks what is real below `folder`, which is real itself.
fn mark_namespaces(folder: &Folder<'_>, path: &str, declared: &BTreeSet<String>, real: &mut BTreeSet<String>) {
    for (name, child) in &folder.folders {
        let child_path = join(path, name);
        let is_metadata = path.is_empty() && (name.ends_with(".dist-info") || name.ends_with(".egg-info"));
        if is_metadata || *name == "__pycache__" {
            // Folders inside (licences) belong to this package alone.
            real.insert(child_path);
        } else if is_identifier(name)
            && child.holds_code
            && (declared.contains(&child_path) || !child.is_regular_package())
        {
            mark_namespaces(child, &child_path, declared, real);
            real.insert(child_path);
        }
    }
}

/// Marks every folder.
fn mark_all(folder: &Folder<'_>, path: &str, real: &mut BTreeSet<String>) {
    for (name, child) in &folder.folders {
        let child_path = join(path, name);
        mark_all(child, &child_path, real);
        real.insert(child_path);
    }
}

/// Marks the folders above libraries that look outside the link that would cover them, for something that
/// the object itself does not have.
fn mark_escaping_libraries(
    site: &Folder<'_>,
    search_paths: &BTreeMap<EntryPath, Vec<String>>,
    real: &mut BTreeSet<String>,
) {
    // A folder that becomes real makes the links inside it smaller, so that more paths leave them.
    loop {
        let before = real.len();
        for (path, folders) in search_paths {
            let Some((parent, _)) = inside(path, SITE_FOLDER).and_then(|path| path.rsplit_once('/')) else { continue };
            let Some(link) = covering_link(parent, real) else { continue };
            if folders.iter().any(|folder| leaves_link(folder, parent, link, site)) {
                let parents = parent.match_indices('/').map(|(end, _)| &parent[..end]);
                real.extend(parents.chain([parent]).map(str::to_owned));
            }
        }
        if real.len() == before {
            return;
        }
    }
}

/// The folder above `path` (or `path` itself) that would be a link, or `None` if all are real.
fn covering_link<'a>(path: &'a str, real: &BTreeSet<String>) -> Option<&'a str> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.map(|end| &path[..end]).find(|folder| !real.contains(*folder))
}

/// Whether `search_path`, seen from the folder `parent`, leaves the folder `link` for something not in the object.
fn leaves_link(search_path: &str, parent: &str, link: &str, site: &Folder<'_>) -> bool {
    let relative = search_path.strip_prefix("$ORIGIN").or_else(|| search_path.strip_prefix("${ORIGIN}"));
    // A name that goes on (`$ORIGINAL`) is no variable that the loader knows.
    let Some(relative) = relative.filter(|rest| rest.is_empty() || rest.starts_with('/')) else { return false };
    let mut target: Vec<&str> = parent.split('/').collect();
    for component in relative.split('/') {
        match component {
            "" | "." => {}
            ".." if target.pop().is_none() => return true,
            ".." => {}
            name => target.push(name),
        }
    }
    let inside_link = link.split('/').enumerate().all(|(index, name)| target.get(index) == Some(&name));
    !inside_link && !site.contains(&target)
}

fn emit_site(
    folder: &Folder<'_>,
    path: &str,
    real: &BTreeSet<String>,
    left_out: &BTreeSet<String>,
    plan: &mut LinkPlan,
) -> Result<(), ParseEntryPathError> {
    for (name, child) in &folder.folders {
        let child_path = join(path, name);
        let entry = EntryPath::parse(&child_path)?;
        if real.contains(&child_path) {
            plan.site_directories.push(entry);
            emit_site(child, &child_path, real, left_out, plan)?;
        } else {
            plan.site_links.push(LinkEntry { path: entry, is_directory: true });
        }
    }
    for name in folder.files.keys() {
        let file_path = join(path, name);
        if !left_out.contains(&file_path) {
            plan.site_links.push(LinkEntry { path: EntryPath::parse(&file_path)?, is_directory: false });
        }
    }
    Ok(())
}

/// Data, headers and scripts: other packages have files in the same folders, so each file is a link.
fn emit_other_folders(files: &[TreeFile], plan: &mut LinkPlan) -> Result<(), ParseEntryPathError> {
    let mut data_directories = BTreeSet::new();
    for file in files {
        let link = |path| Ok(LinkEntry { path: EntryPath::parse(path)?, is_directory: false });
        if let Some(path) = inside(&file.path, DATA_FOLDER) {
            data_directories.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
            plan.data_links.push(link(path)?);
        } else if let Some(path) = inside(&file.path, HEADERS_FOLDER) {
            plan.header_links.push(link(path)?);
        } else if let Some(name) = inside(&file.path, SCRIPTS_FOLDER) {
            let python = file.file_trait == FileTrait::PythonScript;
            plan.data_scripts.push(DataScript { name: name.to_owned(), python });
        }
    }
    plan.data_directories = data_directories.into_iter().map(EntryPath::parse).collect::<Result<_, _>>()?;
    plan.data_links.sort();
    plan.header_links.sort();
    plan.data_scripts.sort();
    Ok(())
}

#[cfg(test)]
#[path = "link_plan_tests.rs"]
mod tests;
