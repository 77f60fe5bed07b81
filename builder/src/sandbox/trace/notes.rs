//! What is noted of the calls: paths that were read, and paths that were looked for and are not there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::calls::Use;
use super::root::{Found, Root};
use super::{FileTrace, MissedPath};

/// Most different paths that are noted. The largest real builds ask for some 20,000 outside their own folder; a hostile one
/// can ask for any number.
const PATHS_MAX: usize = 100_000;
/// Most bytes of all noted paths together.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is known of a path.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// It is there, and was only asked about.
    There,
    /// It is there and was read, or is nothing that is noted.
    Done,
    /// It is not there; its place among the missed ones.
    Missed(usize),
}

/// Notes of one run.
#[derive(Debug)]
pub(super) struct Notes {
    /// Folders whose files are not noted: the build's own, its declared inputs, the kernel's.
    own: Vec<PathBuf>,
    known: HashMap<Vec<u8>, Known>,
    text_bytes: usize,
    read: BTreeSet<PathBuf>,
    names: HashSet<OsString>,
    missed: Vec<Missed>,
    calls: u64,
    complete: bool,
}

#[derive(Debug)]
struct Missed {
    path: PathBuf,
    count: u32,
    last: u64,
}

impl Notes {
    /// No notes yet.
    pub(super) fn new(own: Vec<PathBuf>) -> Self {
        let (known, read, names, missed) = Default::default();
        Self { own, known, text_bytes: 0, read, names, missed, calls: 0, complete: true }
    }

    /// That the trace has a gap: something could not be read, or was too much.
    pub(super) fn gap(&mut self) {
        self.complete = false;
    }

    /// Whether more can be noted.
    pub(super) fn has_room(&self) -> bool {
        self.known.len() < PATHS_MAX && self.text_bytes < TEXT_BYTES_MAX
    }

    /// Notes a call that names the absolute `path`, not yet resolved.
    pub(super) fn take(&mut self, root: &Root, purpose: Use, path: Vec<u8>) {
        self.calls += 1;
        let plain = Path::new(OsStr::from_bytes(&path));
        if self.is_own(plain) && !plain.components().any(|part| part == Component::ParentDir) {
            // Changes all the time, so it is not remembered; but a link there may lead to a file of the system.
            if purpose != Use::LookUp
                && let Found::File(file) = root.find(plain)
            {
                self.take_name(plain);
                self.take_file(file);
            }
            return;
        }
        match (self.known.get(&path), purpose) {
            (Some(Known::Done), _) | (Some(Known::There), Use::LookUp) => return,
            (Some(Known::Missed(position)), _) => {
                if let Some(missed) = self.missed.get_mut(*position) {
                    missed.count = missed.count.saturating_add(1);
                    missed.last = self.calls;
                }
                return;
            }
            (Some(Known::There), _) | (None, _) => {}
        }
        let known = self.look(root, purpose, plain);
        self.text_bytes += path.len();
        self.known.insert(path, known);
    }

    fn look(&mut self, root: &Root, purpose: Use, path: &Path) -> Known {
        match root.find(path) {
            Found::File(_) if purpose == Use::LookUp => {
                self.take_name(path);
                Known::There
            }
            Found::Other if purpose == Use::LookUp => Known::There,
            Found::File(file) => {
                self.take_name(path);
                self.take_file(file);
                Known::Done
            }
            Found::Nothing(path) if !self.is_own(&path) => {
                self.text_bytes += path.as_os_str().len();
                self.missed.push(Missed { path, count: 1, last: self.calls });
                Known::Missed(self.missed.len() - 1)
            }
            Found::Other | Found::Nothing(_) | Found::Unknown => Known::Done,
        }
    }

    /// Notes the name of a file that is there. Beyond the limit more counts as missed than was.
    fn take_name(&mut self, path: &Path) {
        if let Some(name) = path.file_name()
            && self.names.len() < PATHS_MAX
            && self.text_bytes < TEXT_BYTES_MAX
            && !self.names.contains(name)
        {
            self.text_bytes += name.len();
            self.names.insert(name.to_owned());
        }
    }

    fn take_file(&mut self, file: PathBuf) {
        if self.is_own(&file) || self.read.contains(&file) {
            return;
        }
        if self.read.len() >= PATHS_MAX || self.text_bytes >= TEXT_BYTES_MAX {
            self.gap();
            return;
        }
        self.text_bytes += file.as_os_str().len();
        self.read.insert(file);
    }

    fn is_own(&self, path: &Path) -> bool {
        self.own.iter().any(|folder| path.starts_with(folder))
    }

    /// The result. Several spellings of one missed path are one.
    pub(super) fn finish(mut self) -> FileTrace {
        self.missed.sort_by_key(|missed| std::cmp::Reverse(missed.last));
        let mut places: HashMap<PathBuf, usize> = HashMap::new();
        let mut missed: Vec<MissedPath> = Vec::new();
        for one in self.missed {
            let place = *places.entry(one.path).or_insert_with_key(|path| {
                missed.push(MissedPath { path: path.clone(), count: 0 });
                missed.len() - 1
            });
            missed[place].count = missed[place].count.saturating_add(one.count);
        }
        missed.reverse();
        FileTrace { read: self.read, missed, names: self.names, complete: self.complete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(own: &[&str], calls: &[(Use, &str)]) -> FileTrace {
        let folder = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir_all(folder.path().join("usr/include/sub")).expect("folder");
        std::fs::create_dir(folder.path().join("build")).expect("folder");
        std::fs::write(folder.path().join("usr/include/a.h"), "").expect("file");
        std::os::unix::fs::symlink("usr/include", folder.path().join("inc")).expect("link");
        std::os::unix::fs::symlink("/usr/include/a.h", folder.path().join("build/a.h")).expect("link");
        let root = Root::at(folder.path()).expect("root");
        let mut notes = Notes::new(own.iter().map(PathBuf::from).collect());
        calls.iter().for_each(|(purpose, path)| notes.take(&root, *purpose, path.as_bytes().to_vec()));
        let mut trace = notes.finish();
        // Found files have the path that this process sees; in a sandbox that is the one inside.
        let strip = |path: &PathBuf| Path::new("/").join(path.strip_prefix(folder.path()).expect("below the root"));
        trace.read = trace.read.iter().map(strip).collect();
        trace.missed.iter_mut().for_each(|missed| missed.path = strip(&missed.path));
        trace
    }

    #[test]
    fn read_files_have_one_name_and_questions_are_no_reading() {
        let trace = taken(
            &["/build"],
            &[
                (Use::LookUp, "/usr/include/a.h"),
                (Use::Open, "/usr/include"),
                (Use::Open, "/../usr/include/sub/../a.h"),
                (Use::Open, "/inc//a.h"),
            ],
        );
        assert_eq!(trace.read, BTreeSet::from([PathBuf::from("/usr/include/a.h")]));
        assert_eq!(taken(&["/build"], &[(Use::LookUp, "/usr/include/a.h")]).read, BTreeSet::new());
        let asked = taken(&["/build"], &[(Use::LookUp, "/usr/include/a.h"), (Use::Open, "/build/a.h")]);
        assert!(asked.names.contains(OsStr::new("a.h")));
        let linked = taken(&["/build"], &[(Use::Open, "/build/a.h"), (Use::Open, "/build/none")]);
        assert_eq!((linked.read.len(), linked.missed.len()), (1, 0));
        assert!(trace.complete && trace.missed.is_empty());
    }

    #[test]
    fn missed_paths_are_counted_and_ordered_by_their_last_time() {
        let calls = [
            (Use::LookUp, "/usr/include/none.h"),
            (Use::Open, "/usr/local/include/none.h"),
            (Use::Open, "/usr/include/sub/../none.h"),
            (Use::Open, "/usr/include/a.h/none.h"),
            (Use::Open, "/build/none.h"),
        ];
        let found: Vec<(String, u32)> = taken(&["/build"], &calls)
            .missed
            .into_iter()
            .map(|missed| (missed.path.display().to_string(), missed.count))
            .collect();
        let expected = [("/usr/local/include/none.h", 1), ("/usr/include/none.h", 2), ("/usr/include/a.h/none.h", 1)];
        assert_eq!(found, expected.map(|(path, count)| (path.to_owned(), count)));
    }

    #[test]
    fn a_flood_ends_at_the_limit() {
        let root = Root::at(Path::new("/")).expect("root");
        let mut notes = Notes::new(Vec::new());
        let long = "x".repeat(200);
        let mut taken = 0;
        while notes.has_room() {
            notes.take(&root, Use::Open, format!("/none-{taken}/{long}").into_bytes());
            taken += 1;
        }
        assert!(taken <= PATHS_MAX && taken * 200 >= TEXT_BYTES_MAX / 3, "{taken}");
    }
}
