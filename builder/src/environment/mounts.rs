//! What is mounted at an environment or inside it: nothing of that may be moved, and least of all emptied.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The mounts of this process, one a line; the fifth field is where.
const MOUNTS_FILE: &str = "/proc/self/mountinfo";

/// Position of the place in a line.
const PLACE_FIELD: usize = 4;

/// The outermost mount at `path` or below it, a path without links. Where the list can't be read there is none that
/// is known of; removing stops at a mount by itself.
pub(super) fn outermost(path: &Path) -> Option<PathBuf> {
    let mounts = std::fs::read(MOUNTS_FILE).unwrap_or_default();
    let places = mounts.split(|byte| *byte == b'\n').filter_map(place);
    places.filter(|place| place.starts_with(path)).min_by_key(|place| place.as_os_str().len())
}

fn place(line: &[u8]) -> Option<PathBuf> {
    let text = line.split(|byte| *byte == b' ').nth(PLACE_FIELD)?;
    Some(PathBuf::from(OsStr::from_bytes(&unescaped(text))))
}

/// The kernel writes white space and backslashes as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, more @ ..] = rest {
        let digits =
            more.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        let code = digits.map(|digits| digits.iter().fold(0_u32, |code, digit| code * 8 + u32::from(digit - b'0')));
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[3..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_with_white_space_are_read() {
        let line = br"36 35 98:0 /mnt1 /my\040place\134/\012x rw,noatime - ext3 /dev/root rw";
        assert_eq!(place(line), Some(PathBuf::from("/my place\\/\nx")));
        assert_eq!(unescaped(br"\04\9999"), br"\04\9999");
        assert_eq!(place(b"36 35"), None);
    }
}
