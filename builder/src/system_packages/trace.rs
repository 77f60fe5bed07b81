//! What the trace of a build's file accesses says: paths that were asked for and are not there.

use super::evidence::{Evidence, Kind};
use super::index::SystemIndex;
use crate::sandbox::MissedPath;

/// The weight of a missed path that exactly one kind of package would fill: less than a message that ends a build.
const TRACE_WEIGHT: u8 = 70;

/// Most of them that are kept.
const EVIDENCE_MAX: usize = 200;

/// Most missed paths that are looked up.
const PATHS_MAX: usize = 50_000;

/// Missed paths that Debian has files for, the last ones first: what a build asks for last is nearest to its end.
pub(super) fn evidence(missed: &[MissedPath], index: &SystemIndex) -> Vec<Evidence> {
    let mut all: Vec<Evidence> = Vec::new();
    for missed in missed.iter().rev().take(PATHS_MAX) {
        if all.len() >= EVIDENCE_MAX {
            break;
        }
        // No package has a file whose name is not UTF-8.
        let Some(path) = missed.path.to_str().map(|path| path.trim_start_matches('/')) else { continue };
        let merged = match path.split_once('/') {
            Some(("bin" | "sbin" | "lib" | "lib64", _)) => format!("usr/{path}"),
            _ => path.to_owned(),
        };
        let Some(entry) = index.at(&merged) else { continue };
        if all.iter().any(|evidence| evidence.name == format!("/{}", entry.path)) {
            continue;
        }
        all.push(Evidence {
            kind: Kind::File,
            name: format!("/{}", entry.path),
            line: 0,
            text: format!("looked for {} {} times", missed.path.display(), missed.count),
            weight: TRACE_WEIGHT,
            is_program: false,
            reason: None,
        });
    }
    all
}
