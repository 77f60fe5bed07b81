//! From link plans to one tree: pure, and independent of the order of the packages.
//!
//! Every plan asks for real folders and for links. Where two packages want the same folder, it becomes real and
//! what they have in it is merged one level deeper, and so on down. Where two want the same file, equal bytes are
//! no matter, and of different ones the package wins whose name sorts first: the same for every order, so that
//! taking that package away brings the hidden file back. A folder wins over a file. What the environment itself
//! needs wins over everything.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use pip_accel_schema::environment::{Clash, PackageLink};
use pip_accel_schema::link_plan::{
    DATA_FOLDER, EntryPoint, HEADERS_FOLDER, LinkEntry, LinkPlan, SCRIPTS_FOLDER, SITE_FOLDER,
};
use pip_accel_schema::name::PackageName;

use super::error::EnvironmentError;
use super::private::without_bytecode;
use super::request::Refused;

/// Folder of bytecode. Below a real folder it is always real: Python writes into it.
const BYTECODE_FOLDER: &str = "__pycache__";

/// An empty file in folders that several packages share by links alone.
///
/// `pip uninstall` takes a whole folder away when it finds no *file* in it that another package owns, and does not
/// count links to folders as files.
pub(super) const GUARD_FILE: &str = ".pip-accel-shared";

/// Files of a `.dist-info` that say how something was installed: they are written, never taken from a wheel.
/// The signatures (`.jws`, `.p7s`) are those of the wheel's `RECORD`.
const INSTALLER_FILES: [&str; 6] = ["RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s"];

/// The questions that merging asks about objects. A source is a path relative to an object: `site/numpy`.
pub(super) trait Objects {
    /// What a folder of an object holds, in any order: names and whether each is a real folder.
    fn list(&self, package: usize, source: &str) -> Result<Vec<(String, bool)>, EnvironmentError>;
    /// Whether two files have the same bytes.
    fn same(&self, left: (usize, &str), right: (usize, &str)) -> Result<bool, EnvironmentError>;
}

/// A package for merging. The position in the slice, which is sorted by name, stands for it from here on.
#[derive(Debug, Clone, Copy)]
pub(super) struct MergeInput<'a> {
    pub(super) name: &'a PackageName,
    pub(super) plan: &'a LinkPlan,
    pub(super) link: PackageLink,
    pub(super) detached: bool,
    pub(super) requested: bool,
    pub(super) direct_url: Option<&'a str>,
}

/// A file or link of the environment's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Own<'a> {
    /// A file with this content.
    File { content: Cow<'a, [u8]>, executable: bool },
    /// A symbolic link with this text.
    Link(String),
    /// A copy of a file outside the store (the interpreter of Python 2.7).
    CopyOf(String),
    /// `RECORD` of a package.
    Record(usize),
}

/// What stands at one path of the environment that is no real folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaf<'a> {
    /// Something of an object.
    Object { package: usize, source: String, is_directory: bool },
    /// A generated script.
    EntryPoint { package: usize, entry: &'a EntryPoint },
    /// A file of `.data/scripts` whose first line is rewritten.
    PythonScript { package: usize, source: String },
    /// The environment's own, on account of a package or of none.
    Own { package: Option<usize>, own: Own<'a> },
}

impl Leaf<'_> {
    /// The package whose `RECORD` lists it.
    pub(super) fn package(&self) -> Option<usize> {
        match self {
            Self::Object { package, .. } | Self::EntryPoint { package, .. } | Self::PythonScript { package, .. } => {
                Some(*package)
            }
            Self::Own { package, .. } => *package,
        }
    }

    fn is_directory(&self) -> bool {
        matches!(self, Self::Object { is_directory: true, .. })
    }
}

/// The children of a real folder.
pub(super) type Children<'a> = BTreeMap<Cow<'a, str>, Node<'a>>;

/// One path of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node<'a> {
    /// A real folder.
    Directory(Children<'a>),
    /// Anything else.
    Leaf(Leaf<'a>),
}

/// The merged tree and what did not get into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LinkTree<'a> {
    pub(super) root: Children<'a>,
    pub(super) clashes: Vec<Clash>,
    pub(super) refused: Vec<Refused>,
}

/// Where things go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    /// `lib/python3.11/site-packages`.
    pub(super) site_packages: &'a str,
    /// `include/site/python3.11`.
    pub(super) headers: &'a str,
    /// Whether every folder is real and only files are leaves (modes hardlink, reflink, copy).
    pub(super) real_folders: bool,
}

/// What is wanted at one path, before it is decided.
#[derive(Default)]
struct Slot<'a> {
    /// The folder must be real, on account of the first package that said so.
    real_for: Option<usize>,
    /// The folder must be real on account of the environment.
    real_for_environment: bool,
    own: Option<(Option<usize>, Own<'a>)>,
    candidates: Vec<Leaf<'a>>,
    children: BTreeMap<Cow<'a, str>, Slot<'a>>,
}

impl<'a> Slot<'a> {
    /// The slot at `path` below this one; the folders on the way are real, this one included.
    fn at(&mut self, path: &'a str, owner: Option<usize>) -> &mut Self {
        let mut slot = self;
        for component in path.split('/') {
            slot.demand(owner);
            slot = slot.children.entry(Cow::Borrowed(component)).or_default();
        }
        slot
    }

    fn demand(&mut self, owner: Option<usize>) {
        match owner {
            None => self.real_for_environment = true,
            Some(owner) => self.real_for = Some(self.real_for.map_or(owner, |first| first.min(owner))),
        }
    }

    fn is_real(&self) -> bool {
        self.real_for_environment || self.real_for.is_some() || !self.children.is_empty()
    }
}

/// Collects what everyone wants; [`merge`](Self::merge) decides.
pub(super) struct Merger<'a> {
    places: Places<'a>,
    packages: &'a [MergeInput<'a>],
    root: Slot<'a>,
}

impl<'a> Merger<'a> {
    /// Starts with `packages`, which must be sorted by name with each name once.
    pub(super) fn new(places: Places<'a>, packages: &'a [MergeInput<'a>]) -> Self {
        Self { places, packages, root: Slot::default() }
    }

    /// Adds a real folder of the environment's own.
    pub(super) fn own_directory(&mut self, path: &'a str) {
        self.root.at(path, None).demand(None);
    }

    /// Adds a file or link of the environment's own.
    pub(super) fn own(&mut self, path: &'a str, own: Own<'a>) {
        self.root.at(path, None).own = Some((None, own));
    }

    /// Decides every path.
    pub(super) fn merge(mut self, objects: &dyn Objects) -> Result<LinkTree<'a>, EnvironmentError> {
        for index in 0..self.packages.len() {
            self.add_package(index);
        }
        let mut resolver = Resolver {
            places: self.places,
            packages: self.packages,
            objects,
            path: String::new(),
            clashes: Vec::new(),
            refused: Vec::new(),
        };
        let (root, _) = resolver.children(self.root)?;
        resolver.clashes.sort_by(|left, right| left.path.cmp(&right.path));
        resolver.refused.sort();
        resolver.refused.dedup();
        Ok(LinkTree { root, clashes: resolver.clashes, refused: resolver.refused })
    }

    fn add_package(&mut self, index: usize) {
        let MergeInput { name, plan, requested, direct_url, detached, .. } = self.packages[index];
        let owner = Some(index);
        let object = |folder: &str, path: &str, is_directory| Leaf::Object {
            package: index,
            source: format!("{folder}/{path}"),
            is_directory,
        };
        let dist_info = plan.dist_info.as_str();
        let site = self.root.at(self.places.site_packages, None);
        if detached {
            for (path, is_directory) in private_entries(plan) {
                site.at(path, owner).candidates.push(object(SITE_FOLDER, path, is_directory));
            }
        }
        for directory in plan.site_directories.iter().filter(|_| !detached) {
            site.at(directory.as_str(), owner).demand(owner);
        }
        let in_dist_info = |link: &&LinkEntry| link.path.as_str().split('/').next() == Some(dist_info);
        for link in plan.site_links.iter().filter(|link| !detached || in_dist_info(link)) {
            let path = link.path.as_str();
            let in_dist_info = path.strip_prefix(dist_info).and_then(|rest| rest.strip_prefix('/'));
            if !in_dist_info.is_some_and(|file| INSTALLER_FILES.contains(&file)) {
                site.at(path, owner).candidates.push(object(SITE_FOLDER, path, link.is_directory));
            }
        }
        let info = site.at(dist_info, owner);
        info.demand(owner);
        let text = |text: &'a str| Own::File { content: Cow::Borrowed(text.as_bytes()), executable: false };
        info.at("RECORD", owner).own = Some((owner, Own::Record(index)));
        info.at("INSTALLER", owner).own = Some((owner, text("pip-accel\n")));
        if requested {
            info.at("REQUESTED", owner).own = Some((owner, text("")));
        }
        if let Some(direct_url) = direct_url {
            info.at("direct_url.json", owner).own = Some((owner, text(direct_url)));
        }
        for directory in &plan.data_directories {
            data_slot(&mut self.root, directory.as_str(), owner).demand(owner);
        }
        for link in &plan.data_links {
            let leaf = object(DATA_FOLDER, link.path.as_str(), link.is_directory);
            data_slot(&mut self.root, link.path.as_str(), owner).candidates.push(leaf);
        }
        if !plan.header_links.is_empty() {
            let headers = self.root.at(self.places.headers, owner).at(name.as_str(), owner);
            for link in &plan.header_links {
                let leaf = object(HEADERS_FOLDER, link.path.as_str(), link.is_directory);
                headers.at(link.path.as_str(), owner).candidates.push(leaf);
            }
        }
        let bin = self.root.at("bin", None);
        for script in &plan.data_scripts {
            let source = format!("{SCRIPTS_FOLDER}/{}", script.name);
            bin.at(&script.name, owner).candidates.push(match script.python {
                true => Leaf::PythonScript { package: index, source },
                false => Leaf::Object { package: index, source, is_directory: false },
            });
        }
        for entry in &plan.entry_points {
            bin.at(&entry.name, owner).candidates.push(Leaf::EntryPoint { package: index, entry });
        }
    }
}

/// The top-level entries of a detached package's `site` but its metadata, and whether each is a folder: nobody else
/// writes there, and whatever people add to a private folder is theirs.
fn private_entries(plan: &LinkPlan) -> impl Iterator<Item = (&str, bool)> {
    let folders = plan.site_directories.iter().map(|folder| (folder.as_str(), true));
    let links = plan.site_links.iter().map(|link| (link.path.as_str(), link.is_directory));
    let mut entries: BTreeMap<&str, bool> = BTreeMap::new();
    for (path, is_directory) in folders.chain(links) {
        match path.split_once('/') {
            Some((top, _)) => entries.insert(top, true),
            None => entries.insert(path, is_directory),
        };
    }
    entries.remove(plan.dist_info.as_str());
    let owned = entries.keys().map(|name| ((*name).to_owned(), false)).collect();
    let kept: BTreeSet<String> = without_bytecode(owned).into_iter().map(|(name, _)| name).collect();
    entries.into_iter().filter(move |(name, _)| kept.contains(*name))
}

/// The slot of a path of `data`. `lib64` of an environment is a link to `lib`: what goes there goes to `lib`.
fn data_slot<'s, 'a>(root: &'s mut Slot<'a>, path: &'a str, owner: Option<usize>) -> &'s mut Slot<'a> {
    match path.strip_prefix("lib64") {
        Some("") => root.at("lib", owner),
        Some(rest) if rest.starts_with('/') => root.at("lib", owner).at(&rest[1..], owner),
        _ => root.at(path, owner),
    }
}

/// What the guard of a folder depends on.
#[derive(Debug, Clone, Copy, Default)]
struct Below {
    package: Option<usize>,
    several_packages: bool,
    directory_link: bool,
}

impl Below {
    fn of(leaf: &Leaf<'_>) -> Self {
        Self { package: leaf.package(), several_packages: false, directory_link: leaf.is_directory() }
    }

    fn add(&mut self, other: Self) {
        let differ = matches!((self.package, other.package), (Some(left), Some(right)) if left != right);
        self.several_packages |= other.several_packages || differ;
        self.directory_link |= other.directory_link;
        self.package = self.package.or(other.package);
    }
}

struct Resolver<'a, 'o> {
    places: Places<'a>,
    packages: &'a [MergeInput<'a>],
    objects: &'o dyn Objects,
    /// The path of the slot that is being decided.
    path: String,
    clashes: Vec<Clash>,
    refused: Vec<Refused>,
}

impl<'a> Resolver<'a, '_> {
    fn children(&mut self, slot: Slot<'a>) -> Result<(Children<'a>, Below), EnvironmentError> {
        let mut children = Children::new();
        let mut below = Below::default();
        for (name, child) in slot.children {
            let length = self.path.len();
            if length > 0 {
                self.path.push('/');
            }
            self.path.push_str(&name);
            let decided = self.decide(child, &name);
            self.path.truncate(length);
            let (node, part) = decided?;
            children.insert(name, node);
            below.add(part);
        }
        Ok((children, below))
    }

    fn decide(&mut self, mut slot: Slot<'a>, name: &str) -> Result<(Node<'a>, Below), EnvironmentError> {
        if let Some((package, own)) = slot.own.take() {
            self.refuse_below(&slot, package);
            let leaf = Leaf::Own { package, own };
            let below = Below::of(&leaf);
            return Ok((Node::Leaf(leaf), below));
        }
        slot.candidates.sort_by_key(Leaf::package);
        let (mut directories, files): (Vec<_>, Vec<_>) = slot.candidates.drain(..).partition(Leaf::is_directory);
        let must_be_real = name == BYTECODE_FOLDER || self.wants_real_folders(&directories);
        if slot.is_real() || directories.len() > 1 || (must_be_real && !directories.is_empty()) {
            let owners = directories.iter().filter_map(Leaf::package).chain(slot.real_for);
            self.hide(owners.min().filter(|_| !slot.real_for_environment), &files);
            return self.open(slot, directories);
        }
        if let Some(directory) = directories.pop() {
            self.hide(directory.package(), &files);
            let below = Below::of(&directory);
            return Ok((Node::Leaf(directory), below));
        }
        let mut files = files.into_iter();
        let Some(kept) = files.next() else { return self.open(slot, directories) };
        let mut hidden = Vec::new();
        for file in files {
            if !self.same(&kept, &file)? {
                hidden.push(file);
            }
        }
        self.hide(kept.package(), &hidden);
        let below = Below::of(&kept);
        Ok((Node::Leaf(kept), below))
    }

    /// Whether a folder of these packages is not one leaf even when nobody else has it.
    fn wants_real_folders(&self, directories: &[Leaf<'a>]) -> bool {
        let mut packages = directories.iter().filter_map(Leaf::package).map(|package| &self.packages[package]);
        packages.any(|package| !package.detached && (self.places.real_folders || !package.link.is_default()))
    }

    /// Makes the folder real: what `directories` hold in the objects becomes candidates one level deeper.
    fn open(&mut self, mut slot: Slot<'a>, directories: Vec<Leaf<'a>>) -> Result<(Node<'a>, Below), EnvironmentError> {
        for directory in directories {
            let Leaf::Object { package, source, .. } = directory else { continue };
            let listed = self.objects.list(package, &source)?;
            let listed = if self.packages[package].detached { without_bytecode(listed) } else { listed };
            for (name, is_directory) in listed {
                let child = Leaf::Object { package, source: format!("{source}/{name}"), is_directory };
                slot.children.entry(Cow::Owned(name)).or_default().candidates.push(child);
            }
        }
        let (mut children, below) = self.children(slot)?;
        let in_site = self.path.strip_prefix(self.places.site_packages).is_some_and(|rest| rest.starts_with('/'));
        if in_site && below.several_packages && below.directory_link {
            let own = Own::File { content: Cow::Borrowed(b""), executable: false };
            children.insert(Cow::Borrowed(GUARD_FILE), Node::Leaf(Leaf::Own { package: None, own }));
        }
        Ok((Node::Directory(children), below))
    }

    fn same(&self, left: &Leaf<'a>, right: &Leaf<'a>) -> Result<bool, EnvironmentError> {
        match (left, right) {
            (
                Leaf::Object { package: left_package, source: left, .. },
                Leaf::Object { package: right_package, source: right, .. },
            )
            | (
                Leaf::PythonScript { package: left_package, source: left },
                Leaf::PythonScript { package: right_package, source: right },
            ) => self.objects.same((*left_package, left), (*right_package, right)),
            (Leaf::EntryPoint { entry: left, .. }, Leaf::EntryPoint { entry: right, .. }) => Ok(left == right),
            _ => Ok(false),
        }
    }

    /// Notes that `files` are hidden at the current path by `kept`, or by the environment itself.
    fn hide(&mut self, kept: Option<usize>, files: &[Leaf<'a>]) {
        let name = |package: usize| self.packages[package].name.clone();
        let mut hidden: Vec<usize> = files.iter().filter_map(Leaf::package).filter(|one| Some(*one) != kept).collect();
        hidden.sort_unstable();
        hidden.dedup();
        if hidden.is_empty() {
            return;
        }
        let hidden = hidden.into_iter().map(name).collect();
        match kept {
            Some(kept) => self.clashes.push(Clash { path: self.path.clone(), kept: name(kept), hidden }),
            None => {
                let refused = hidden.into_iter().map(|package| Refused { path: self.path.clone(), package });
                self.refused.extend(refused);
            }
        }
    }

    /// Notes that everything packages wanted at the current path or below it gave way to the environment's own.
    /// That `owner` itself has such a file is no news: every wheel has a `RECORD`.
    fn refuse_below(&mut self, slot: &Slot<'a>, owner: Option<usize>) {
        let mut slots = vec![slot];
        while let Some(slot) = slots.pop() {
            let others = slot.candidates.iter().filter(|leaf| owner.is_none() || leaf.package() != owner);
            let others: Vec<_> = others.cloned().collect();
            self.hide(None, &others);
            slots.extend(slot.children.values());
        }
    }
}

#[cfg(test)]
mod tests;
