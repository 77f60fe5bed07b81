//! What an environment held before: enough to make it again from the store.

use serde::{Deserialize, Serialize};

use crate::digest::ValueDigest;
use crate::environment::{EnvironmentManifest, EnvironmentPackage, LinkMode};

/// Format of [`Generations`]; a reader refuses a newer one.
pub const GENERATIONS_FORMAT: u32 = 1;

/// File name of the earlier generations in the environment's root. No package may bring a file of that name.
pub const GENERATIONS_FILE: &str = "pip-accel-generations.json";

/// One package of an earlier generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationPackage {
    /// The package. Private copies are not kept, so it never is detached.
    #[serde(flatten)]
    pub package: EnvironmentPackage,
    /// The text of its `direct_url.json` (PEP 610), if it came from no index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_url: Option<String>,
}

/// An environment as it was before another one took its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; no two generations of an environment have one.
    pub number: u32,
    /// When it was made, in seconds since 1970.
    pub made_at: i64,
    /// When another one took its place, in seconds since 1970.
    pub replaced_at: i64,
    /// Digest of the request that made it.
    pub request: ValueDigest,
    /// The base interpreter.
    pub python: String,
    /// The interpreter's version, `3.11.7`.
    pub python_version: String,
    /// How its files got there.
    pub link_mode: LinkMode,
    /// Its packages, sorted by name.
    pub packages: Vec<GenerationPackage>,
}

/// The generations of an environment, kept as `pip-accel-generations.json` in its root from the first time that it is
/// replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// [`GENERATIONS_FORMAT`].
    pub format: u32,
    /// The number of the environment that stands there now.
    pub current: u32,
    /// When that was made, in seconds since 1970.
    pub current_made_at: i64,
    /// The earlier ones, in the order in which they were replaced: the last is the one before the present.
    pub kept: Vec<Generation>,
}

impl Generations {
    /// Those of an environment that was never replaced.
    #[must_use]
    pub const fn first(made_at: i64) -> Self {
        Self { format: GENERATIONS_FORMAT, current: 1, current_made_at: made_at, kept: Vec::new() }
    }

    /// The generation `number`, if it is kept.
    #[must_use]
    pub fn find(&self, number: u32) -> Option<&Generation> {
        self.kept.iter().find(|generation| generation.number == number)
    }

    /// What they become when the environment of `manifest` is replaced at `now`: by the kept generation `back_to`, or else
    /// by a new one. `direct_url` gives the text of a package's `direct_url.json`. At most `limit` are kept, the last replaced.
    #[must_use]
    pub fn replaced(
        mut self,
        manifest: &EnvironmentManifest,
        direct_url: impl Fn(&EnvironmentPackage) -> Option<String>,
        (now, limit): (i64, usize),
        back_to: Option<u32>,
    ) -> Self {
        let newest = self.kept.iter().map(|generation| generation.number).chain([self.current]).max().unwrap_or(0);
        let package = |package: &EnvironmentPackage| GenerationPackage {
            package: EnvironmentPackage { detached: false, ..package.clone() },
            direct_url: direct_url(package),
        };
        self.kept.push(Generation {
            number: self.current,
            made_at: self.current_made_at,
            replaced_at: now,
            request: manifest.request,
            python: manifest.python.clone(),
            python_version: manifest.python_version.clone(),
            link_mode: manifest.link_mode,
            packages: manifest.packages.iter().map(package).collect(),
        });
        let back = back_to.and_then(|number| self.kept.iter().position(|generation| generation.number == number));
        (self.current, self.current_made_at) = match back.map(|position| self.kept.remove(position)) {
            Some(generation) => (generation.number, generation.made_at),
            None => (newest.saturating_add(1), now),
        };
        let surplus = self.kept.len().saturating_sub(limit);
        self.kept.drain(..surplus);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(seed: u8) -> EnvironmentManifest {
        EnvironmentManifest {
            format: 2,
            request: ValueDigest::from_bytes([seed; 32]),
            place: String::new(),
            store: "/store".to_owned(),
            python: "/usr/bin/python3".to_owned(),
            python_version: "3.11.7".to_owned(),
            link_mode: LinkMode::Symlink,
            packages: Vec::new(),
            clashes: Vec::new(),
            entries: Vec::new(),
            taken_over: false,
        }
    }

    fn numbers(generations: &Generations) -> (u32, Vec<u32>) {
        (generations.current, generations.kept.iter().map(|generation| generation.number).collect())
    }

    #[test]
    fn new_ones_count_up_and_the_oldest_go() {
        let mut generations = Generations::first(5);
        for now in 10..16_u8 {
            generations = generations.replaced(&manifest(now), |_| None, (now.into(), 3), None);
        }
        assert_eq!(numbers(&generations), (7, vec![4, 5, 6]));
        assert_eq!((generations.current_made_at, generations.kept[2].replaced_at), (15, 15));
        assert_eq!(numbers(&generations.replaced(&manifest(9), |_| None, (20, 0), None)), (8, vec![]));
    }

    /// E14: going back twice returns, and numbers stay with what they mean.
    #[test]
    fn going_back_twice_returns() {
        let mut generations = Generations::first(5);
        for now in 10..12_u8 {
            generations = generations.replaced(&manifest(now), |_| None, (now.into(), 5), None);
        }
        assert_eq!(numbers(&generations), (3, vec![1, 2]));
        let back = generations.replaced(&manifest(12), |_| None, (12, 5), Some(2));
        assert_eq!(numbers(&back), (2, vec![1, 3]));
        assert_eq!(back.current_made_at, 10, "it is as old as it was");
        let returned = back.replaced(&manifest(11), |_| None, (13, 5), Some(3));
        assert_eq!(numbers(&returned), (3, vec![1, 2]));
        assert_eq!(returned.find(2).map(|generation| generation.request), Some(ValueDigest::from_bytes([11; 32])));
        let newer = returned.replaced(&manifest(12), |_| None, (14, 5), None);
        assert_eq!(numbers(&newer), (4, vec![1, 2, 3]));
    }
}
