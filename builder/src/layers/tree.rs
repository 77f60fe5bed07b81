//! The tree of a layer: what of a package is kept, and where.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};

use pip_accel_schema::manifest::EntryPath;
use pip_accel_store::{StoreError, TreeWriter};

use super::alternatives::Alternative;
use super::rpath::inherit_paths;
use crate::python::archive::{ArchiveRefusal, CaseRule, NameTable, printable};
use crate::python::sdist::Fault;
use crate::python::sdist::tar_archive::{FileHeader, TarTree};

/// Folders at the top that are links into `/usr` where it is merged.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Folders at the top that no build looks into.
const LEFT_OUT_TOPS: [&str; 12] =
    ["boot", "dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "var"];

/// Folders for people, which take more room than all that is built with.
const LEFT_OUT: [&str; 7] = [
    "usr/share/doc/",
    "usr/share/doc-base/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/lintian/",
    "usr/share/bug/",
];

/// Largest file that is read as a library; the largest of Debian has some 130 MB.
const LIBRARY_BYTES_MAX: u64 = 512 << 20;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 128 << 10;

/// A layer that is being written.
#[derive(Debug)]
pub(super) struct LayerTree<'a> {
    tree: &'a TreeWriter,
    names: NameTable,
    /// Symbolic links by their place, as the package has them; made last.
    links: BTreeMap<EntryPath, String>,
    executable: HashSet<EntryPath>,
}

impl<'a> LayerTree<'a> {
    pub(super) fn new(tree: &'a TreeWriter) -> Self {
        // What is installed on this very file system by dpkg may differ by case only, and does.
        let names = NameTable::new(CaseRule::Allow);
        Self { tree, names, links: BTreeMap::new(), executable: HashSet::new() }
    }

    /// Makes the links, and those `alternatives` whose paths this layer has and whose place is free.
    pub(super) fn finish(mut self, alternatives: &[Alternative]) -> Result<(), StoreError> {
        for Alternative { link, path } in alternatives {
            let place = EntryPath::parse(link.trim_start_matches('/')).ok().as_ref().and_then(place_of);
            let target = EntryPath::parse(path.trim_start_matches('/')).ok().as_ref().and_then(place_of);
            if let (Some(place), Some(target)) = (place, target)
                && self.names.has_file(target.as_str())
                && self.names.add_file(&place).is_ok()
            {
                self.links.insert(place, format!("/{target}"));
            }
        }
        for (path, target) in &self.links {
            self.tree.create_symlink(path, &relative(path, target))?;
        }
        Ok(())
    }

    /// Writes a library so that it finds its own libraries where those that load it do. The length of the original.
    fn library(&self, path: &EntryPath, content: &mut dyn Read, executable: bool) -> Result<u64, Fault> {
        let mut bytes = Vec::new();
        content.take(LIBRARY_BYTES_MAX).read_to_end(&mut bytes).map_err(Fault::Read)?;
        inherit_paths(&mut bytes);
        self.tree.write_file(path, executable, &bytes).map_err(|error| written(path, error))?;
        Ok(bytes.len() as u64)
    }

    fn copy(&self, path: &EntryPath, content: &mut dyn Read, executable: bool) -> Result<u64, Fault> {
        let failed = |error: StoreError| written(path, error);
        let mut file = self.tree.create_file(path).map_err(failed)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let full = |error| Fault::Write(self.tree.path().join(path.as_str()), error);
                    file.write_all(&buffer[..count]).map_err(full)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
        let length = file.len();
        file.finish(executable).map_err(failed)?;
        Ok(length)
    }
}

fn written(path: &EntryPath, error: StoreError) -> Fault {
    Fault::Write(path.as_str().into(), io::Error::other(error))
}

/// Where an entry of a package lies in a layer; `None` for one that is left out, such as a link in place of `/lib` itself.
fn place_of_entry(path: &EntryPath) -> Option<EntryPath> {
    path.parent().and_then(|_| place_of(path))
}

fn place_of(path: &EntryPath) -> Option<EntryPath> {
    let text = path.as_str();
    let top = text.split('/').next().unwrap_or(text);
    if MERGED.contains(&top) {
        return EntryPath::parse(&format!("usr/{text}")).ok();
    }
    matches!(top, "usr" | "etc").then(|| path.clone())
}

/// The text of a link at `path` to `target`, which is relative to the link's folder or absolute in a system: one that stays in
/// the layer, whatever it was.
fn relative(path: &EntryPath, target: &str) -> String {
    let folder: Vec<&str> = path.parent().map(|parent| parent.split('/').collect()).unwrap_or_default();
    let mut wanted: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.clone() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            // Above the top is the top, as the kernel has it.
            ".." => drop(wanted.pop()),
            part => wanted.push(part),
        }
    }
    if wanted.first().is_some_and(|top| MERGED.contains(top)) {
        wanted.insert(0, "usr");
    }
    let common = folder.iter().zip(&wanted).take_while(|(left, right)| left == right).count();
    let up = std::iter::repeat_n("..", folder.len() - common);
    let text = up.chain(wanted[common..].iter().copied()).collect::<Vec<_>>().join("/");
    if text.is_empty() { ".".to_owned() } else { text }
}

impl TarTree for LayerTree<'_> {
    fn leaves_out(&self, name: &[u8]) -> bool {
        // Names that no tree can have are of units of systemd, which nobody builds with.
        let Ok(text) = std::str::from_utf8(name) else { return true };
        let top = text.split('/').next().unwrap_or(text);
        let is_licence = text.starts_with("usr/share/doc/") && text.ends_with("/copyright");
        let is_for_people = LEFT_OUT.iter().any(|folder| text.starts_with(folder) && !is_licence);
        LEFT_OUT_TOPS.contains(&top) || is_for_people || text.contains('\\')
    }

    fn add_directory(&mut self, path: &EntryPath, _: i64) -> Result<(), Fault> {
        let Some(place) = place_of(path) else { return Ok(()) };
        self.names.add_directory(&place)?;
        self.tree.create_directory(&place).map_err(|error| written(&place, error))
    }

    fn add_file(&mut self, path: &EntryPath, header: FileHeader, content: &mut dyn Read) -> Result<(), Fault> {
        let Some(place) = place_of_entry(path) else { return Ok(()) };
        self.names.add_file(&place)?;
        let is_library = place.file_name().contains(".so") && header.size <= LIBRARY_BYTES_MAX;
        let length = if is_library {
            self.library(&place, content, header.executable)?
        } else {
            self.copy(&place, content, header.executable)?
        };
        if length != header.size {
            return Err(ArchiveRefusal::Length { name: path.to_string(), declared: header.size }.into());
        }
        if header.executable {
            self.executable.insert(place);
        }
        Ok(())
    }

    fn add_symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), Fault> {
        let Some(place) = place_of_entry(path) else { return Ok(()) };
        let refused = |reason| ArchiveRefusal::Link { name: path.to_string(), target: printable(target), reason };
        let text = std::str::from_utf8(target).map_err(|_| refused("is not UTF-8"))?;
        if text.is_empty() || text.len() > 4095 || text.contains('\0') {
            return Err(refused("is no path").into());
        }
        self.names.add_file(&place)?;
        self.links.insert(place, text.to_owned());
        Ok(())
    }

    fn add_hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), Fault> {
        let (Some(place), Some(source)) = (place_of_entry(path), place_of_entry(target)) else { return Ok(()) };
        if self.links.contains_key(&source) || !self.names.has_file(source.as_str()) {
            let (name, target) = (path.to_string(), target.to_string());
            return Err(ArchiveRefusal::Link { name, target, reason: "is no earlier file of the archive" }.into());
        }
        self.names.add_file(&place)?;
        let from = self.tree.path().join(source.as_str());
        let mut content = File::open(&from).map_err(|error| Fault::Write(from.clone(), error))?;
        let executable = self.executable.contains(&source);
        self.copy(&place, &mut content, executable)?;
        if executable {
            self.executable.insert(place);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text).expect("a path")
    }

    #[test]
    fn links_stay_in_the_layer() {
        for (link, target, text) in [
            ("usr/lib/libx.so", "libx.so.1", "libx.so.1"),
            ("usr/lib/x/libz.so", "/lib/x/libz.so.1", "libz.so.1"),
            ("usr/bin/tool", "/etc/alternatives/tool", "../../etc/alternatives/tool"),
            ("usr/bin/tool", "../../../../../../etc/shadow", "../../etc/shadow"),
            ("usr/include/x", ".", "."),
            ("usr/share/x", "/var/lib/x", "../../var/lib/x"),
            ("usr/lib/a", "b/../c", "c"),
        ] {
            assert_eq!(relative(&path(link), target), text, "{link} -> {target}");
        }
    }

    #[test]
    fn places_are_those_of_a_merged_system() {
        assert_eq!(place_of(&path("lib/x/libz.so.1")), Some(path("usr/lib/x/libz.so.1")));
        assert_eq!(place_of(&path("usr/include/a.h")), Some(path("usr/include/a.h")));
        assert_eq!(place_of(&path("somewhere/a")), None);
    }
}
