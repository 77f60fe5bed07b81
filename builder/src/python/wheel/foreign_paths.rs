//! Looking for paths of the build in what it made: `/build/src`, the store, the user's home.
//!
//! Such a path means nothing on another machine, and on this one it is gone when the build is over. Files are looked at
//! while they are unpacked, piece by piece, so that this costs no second reading.

use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

/// Most paths of one search; each is a bit of [`PathSet`].
pub const FOREIGN_PATHS_MAX: usize = 16;

/// Shortest path that is looked for, in bytes: `/` or `/a` is in every file.
const PATH_BYTES_MIN: usize = 3;

/// The paths that a wheel should not hold.
#[derive(Debug, Clone, Default)]
pub struct ForeignPaths {
    finders: Vec<Finder<'static>>,
    bytes_max: usize,
}

/// Which of the paths of a [`ForeignPaths`] were found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathSet(u16);

impl PathSet {
    /// Whether none was.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl ForeignPaths {
    /// Looks for the first [`FOREIGN_PATHS_MAX`] of `paths`, each once; relative and very short ones are left out.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for path in paths {
            let text = path.into_os_string().into_encoded_bytes();
            let text = text.strip_suffix(b"/").unwrap_or(&text).to_vec();
            if text.len() >= PATH_BYTES_MIN && text.starts_with(b"/") && !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts.truncate(FOREIGN_PATHS_MAX);
        let bytes_max = texts.iter().map(Vec::len).max().unwrap_or(0);
        Self { finders: texts.iter().map(|text| Finder::new(text).into_owned()).collect(), bytes_max }
    }

    /// The paths of `set`, in the order in which they were given.
    #[must_use]
    pub fn paths(&self, set: PathSet) -> Vec<&Path> {
        use std::os::unix::ffi::OsStrExt as _;
        let finders = self.finders.iter().enumerate().filter(|(index, _)| set.0 & (1 << index) != 0);
        finders.map(|(_, finder)| Path::new(std::ffi::OsStr::from_bytes(finder.needle()))).collect()
    }

    /// Begins with a file.
    #[must_use]
    pub const fn search(&self) -> Search<'_> {
        Search { paths: self, tail: Vec::new(), has_more_before: false, found: PathSet(0) }
    }

    /// Looks through `window`; at its ends a path counts only where the file ends too.
    fn look(&self, window: &[u8], (is_start, is_end): (bool, bool), found: &mut PathSet) {
        let known = *found;
        for (index, finder) in self.finders.iter().enumerate().filter(|(index, _)| known.0 & (1 << index) == 0) {
            let stands_alone = |start: usize| {
                let end = start + finder.needle().len();
                let before = if start == 0 { is_start } else { may_come_before(window[start - 1]) };
                let after = if end == window.len() { is_end } else { !continues_name(window[end]) };
                before && after
            };
            if finder.find_iter(window).any(stands_alone) {
                found.0 |= 1 << index;
            }
        }
    }
}

/// A byte with which the last part of a path goes on: `/build/src` is not in `/build/srcs`.
const fn continues_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | 0x80..)
}

/// Whether a path can begin after `byte`: after a name, a variable or a pattern it is the end of another one.
const fn may_come_before(byte: u8) -> bool {
    !continues_name(byte) && !matches!(byte, b'}' | b')' | b'*' | b'~')
}

/// The search through one file.
#[derive(Debug)]
pub struct Search<'a> {
    paths: &'a ForeignPaths,
    /// The last bytes before the next piece: the longest path and one more on its left.
    tail: Vec<u8>,
    /// Whether the file has bytes before `tail`.
    has_more_before: bool,
    found: PathSet,
}

impl Search<'_> {
    /// Takes the next piece of the file, of any length.
    pub fn update(&mut self, piece: &[u8]) {
        if self.paths.finders.is_empty() || piece.is_empty() {
            return;
        }
        let keep = self.paths.bytes_max + 1;
        let is_start = !self.has_more_before;
        if self.tail.is_empty() {
            self.paths.look(piece, (is_start, false), &mut self.found);
        } else {
            let seam = [&self.tail, &piece[..piece.len().min(keep)]].concat();
            self.paths.look(&seam, (is_start, false), &mut self.found);
            self.paths.look(piece, (false, false), &mut self.found);
        }
        if piece.len() >= keep {
            self.has_more_before |= piece.len() > keep || !self.tail.is_empty();
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - keep..]);
        } else {
            self.tail.extend_from_slice(piece);
            let surplus = self.tail.len().saturating_sub(keep);
            self.has_more_before |= surplus > 0;
            self.tail.drain(..surplus);
        }
    }

    /// Ends the file and says what is in it.
    #[must_use]
    pub fn finish(mut self) -> PathSet {
        self.paths.look(&self.tail, (!self.has_more_before, true), &mut self.found);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths() -> ForeignPaths {
        ForeignPaths::new(["/build/src", "/home/me/", "/pip-accel", "/x", "relative"].map(PathBuf::from))
    }

    fn found(text: &[u8], piece: usize) -> Vec<String> {
        let paths = paths();
        let mut search = paths.search();
        for piece in text.chunks(piece) {
            search.update(piece);
        }
        paths.paths(search.finish()).into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn paths_are_found_where_they_stand_alone() {
        for (text, expected) in [
            ("/build/src", &["/build/src"][..]),
            ("a /build/src/x.c", &["/build/src"]),
            ("\0/build/src\0/home/me/.cache\0", &["/build/src", "/home/me"]),
            ("file:///pip-accel/env/bin/python", &["/pip-accel"]),
            ("/build/srcs /build/src-2 /build/src.c", &[]),
            ("my/build/src ../build/src ${root}/build/src $(root)/build/src */build/src", &[]),
            ("/build/srcs and /build/src", &["/build/src"]),
            ("/home/men", &[]),
            ("", &[]),
        ] {
            for piece in [1, 2, 3, 7, 10, 11, 12, 13, 64] {
                assert_eq!(found(text.as_bytes(), piece), expected, "{text:?} in pieces of {piece}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn pieces_do_not_matter(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("/build/src"), Just("/build"), Just("/src"), Just("/home/me"), Just("x"), Just("/"), Just(" "),
                    Just("\0"), Just("/pip-accel"), Just("-"),
                ],
                0..20,
            ),
            piece in 1_usize..30,
        ) {
            let text = parts.concat();
            prop_assert_eq!(found(text.as_bytes(), piece), found(text.as_bytes(), usize::MAX));
        }
    }
}
