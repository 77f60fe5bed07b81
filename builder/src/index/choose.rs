//! Which of a project's files to take: pure.
//!
//! A file must be of the pinned version, have a hash that the lock allows, fit the interpreter and be of a kind
//! that is wanted. Among those the wheel with the best tag wins, then the higher build tag, then a local file, then the earlier index; an sdist is taken when
//! no wheel fits. Files whose index announces no hash count only when no file with a good hash fits: they are checked when they are downloaded.

use std::cmp::Reverse;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::interpreter::PythonVersion;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::wheel::{TagSet, WheelFileName};
use uv_pep440::{Version, VersionSpecifiers};

use super::file_name::{DistributionFile, PinnedVersion, VersionMatch};
use super::page::PublishedFile;

/// Most names that an error lists; the rest is counted.
pub const NAMES_LISTED_MAX: usize = 8;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct ChoiceRequest<'a> {
    /// The project.
    pub name: &'a PackageName,
    /// The pinned version.
    pub version: &'a PackageVersion,
    /// The hashes of the lock; empty allows any file.
    pub hashes: &'a [Sha256Digest],
    /// The tags of the interpreter.
    pub tags: &'a TagSet,
    /// `false` under `--no-binary`.
    pub allow_wheel: bool,
    /// `false` under `--only-binary`.
    pub allow_sdist: bool,
    /// The interpreter's version, for `Requires-Python`.
    pub python_version: PythonVersion,
}

/// The kind of the chosen file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChosenKind {
    /// A wheel that fits.
    Wheel(WheelFileName),
    /// An sdist, to be built.
    Sdist,
}

/// The file to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The file. Its `yanked` says whether, and why, a warning is due.
    pub file: PublishedFile,
    /// What it is.
    pub kind: ChosenKind,
    /// Further files in their order, worth a try if `file` announced no hash and turns out to have a wrong one.
    pub fallbacks: Vec<PublishedFile>,
}

/// Names for an error message, at most [`NAMES_LISTED_MAX`] of them spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameList {
    /// All names, in the order of the index.
    pub names: Vec<String>,
}

impl std::fmt::Display for NameList {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, name) in self.names.iter().take(NAMES_LISTED_MAX).enumerate() {
            write!(formatter, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        match self.names.len().saturating_sub(NAMES_LISTED_MAX) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// Why no file can be taken. When files fail for several reasons, the one that got furthest speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No place has any file of the project.
    #[error("no index has files of `{name}`")]
    NoFiles {
        /// The project.
        name: PackageName,
    },
    /// The project has files, but none of this version.
    #[error("no index has version {version} of `{name}` (it has {available})")]
    NoVersion {
        /// The project.
        name: PackageName,
        /// The pinned version.
        version: PackageVersion,
        /// The versions there are, newest first.
        available: NameList,
    },
    /// All files of the version have other hashes.
    #[error("no file of `{name}` {version} has a hash of the lock (there is {files})")]
    HashNotInLock {
        /// The project.
        name: PackageName,
        /// The pinned version.
        version: PackageVersion,
        /// The files of the version.
        files: NameList,
    },
    /// The release does not want this interpreter.
    #[error("`{name}` {version} requires Python {requires}, this is Python {python}")]
    RequiresPython {
        /// The project.
        name: PackageName,
        /// The pinned version.
        version: PackageVersion,
        /// `Requires-Python` as written.
        requires: String,
        /// The interpreter's version.
        python: PythonVersion,
    },
    /// There are only wheels for other interpreters or platforms.
    #[error("`{name}` {version} has only wheels for other platforms or interpreters: {wheels}")]
    OtherPlatforms {
        /// The project.
        name: PackageName,
        /// The pinned version.
        version: PackageVersion,
        /// The wheels.
        wheels: NameList,
    },
    /// There would be an sdist.
    #[error("`{name}` {version} has no wheel for this platform, and its sdist {sdists} is excluded by --only-binary")]
    SdistExcluded {
        /// The project.
        name: PackageName,
        /// The pinned version.
        version: PackageVersion,
        /// The sdists.
        sdists: NameList,
    },
    /// There would be a wheel.
    #[error(
        "`{name}` {version} has no sdist with a hash of the lock, and its wheels {wheels} are excluded by --no-binary"
    )]
    WheelExcluded {
        /// The project.
        name: PackageName,
        /// The pinned version.
        version: PackageVersion,
        /// The wheels.
        wheels: NameList,
    },
}

/// Why one file of the right version is not taken; later is further.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rejection {
    Hash,
    RequiresPython(String),
    Tags,
    WheelExcluded,
    SdistExcluded,
}

struct Candidate<'a> {
    file: &'a PublishedFile,
    distribution: DistributionFile<'a>,
    /// The tag's rank for wheels; sdists come last.
    rank: usize,
}

/// Chooses among `files`, which may hold files of other versions and of kinds unknown here.
///
/// # Errors
/// [`ChoiceError`] says why nothing fits.
pub fn choose(files: &[PublishedFile], request: &ChoiceRequest<'_>) -> Result<Choice, ChoiceError> {
    let pinned = PinnedVersion::new(request.version);
    let python = Version::new([
        u64::from(request.python_version.major),
        u64::from(request.python_version.minor),
        u64::from(request.python_version.micro),
    ]);
    let mut of_version = Vec::new();
    let mut versions = Vec::new();
    for file in files {
        let Some(distribution) = DistributionFile::parse(&file.file_name) else { continue };
        let Some(version) = distribution.version_for(request.name) else { continue };
        match pinned.compare(version) {
            VersionMatch::Equal => of_version.push((file, distribution)),
            // Another build of the version: only when the lock says so by its hash.
            VersionMatch::LocalBuild if file.sha256.is_some_and(|hash| request.hashes.contains(&hash)) => {
                of_version.push((file, distribution));
            }
            VersionMatch::LocalBuild | VersionMatch::Other => versions.push(version.to_owned()),
        }
    }
    if of_version.is_empty() {
        return Err(nothing_of_version(request, versions));
    }
    let mut candidates = Vec::new();
    let mut rejected = Vec::new();
    for (file, distribution) in of_version {
        match examine(file, &distribution, request, &python) {
            Ok(rank) => candidates.push(Candidate { file, distribution, rank }),
            Err(rejection) => rejected.push((rejection, file)),
        }
    }
    pick(candidates, request).ok_or_else(|| explain(request, rejected))
}

/// The rank of a file that may be taken.
fn examine(
    file: &PublishedFile,
    distribution: &DistributionFile<'_>,
    request: &ChoiceRequest<'_>,
    python: &Version,
) -> Result<usize, Rejection> {
    if !request.hashes.is_empty() && file.sha256.is_some_and(|hash| !request.hashes.contains(&hash)) {
        return Err(Rejection::Hash);
    }
    if let Some(requires) = &file.requires_python {
        // Old releases have texts that are no specifiers; like pip, those exclude nobody.
        if requires.parse::<VersionSpecifiers>().is_ok_and(|specifiers| !specifiers.contains(python)) {
            return Err(Rejection::RequiresPython(requires.clone()));
        }
    }
    match distribution {
        DistributionFile::Wheel(wheel) => {
            let rank = request.tags.rank(wheel).ok_or(Rejection::Tags)?;
            if request.allow_wheel { Ok(rank) } else { Err(Rejection::WheelExcluded) }
        }
        DistributionFile::Sdist { suffix_rank, .. } if request.allow_sdist => Ok(*suffix_rank),
        DistributionFile::Sdist { .. } => Err(Rejection::SdistExcluded),
    }
}

fn pick(mut candidates: Vec<Candidate<'_>>, request: &ChoiceRequest<'_>) -> Option<Choice> {
    let is_verified = |candidate: &Candidate<'_>| candidate.file.sha256.is_some();
    if !request.hashes.is_empty() && candidates.iter().any(is_verified) {
        candidates.retain(is_verified);
    }
    // The sort is stable: equals stay in the order of their indexes.
    candidates.sort_by_cached_key(|candidate| {
        let (is_sdist, build) = match &candidate.distribution {
            DistributionFile::Wheel(wheel) => (false, wheel.build.clone()),
            DistributionFile::Sdist { .. } => (true, None),
        };
        (is_sdist, candidate.rank, Reverse(build), !candidate.file.url.is_file())
    });
    let mut candidates = candidates.into_iter();
    let best = candidates.next()?;
    let fallbacks = match best.file.sha256 {
        None if !request.hashes.is_empty() => candidates.map(|candidate| candidate.file.clone()).collect(),
        _ => Vec::new(),
    };
    let kind = match best.distribution {
        DistributionFile::Wheel(wheel) => ChosenKind::Wheel(wheel),
        DistributionFile::Sdist { .. } => ChosenKind::Sdist,
    };
    Some(Choice { file: best.file.clone(), kind, fallbacks })
}

fn nothing_of_version(request: &ChoiceRequest<'_>, versions: Vec<String>) -> ChoiceError {
    let name = request.name.clone();
    if versions.is_empty() {
        return ChoiceError::NoFiles { name };
    }
    let mut sorted: Vec<(Option<Version>, String)> =
        versions.into_iter().map(|text| (text.parse().ok(), text)).collect();
    sorted.sort_unstable_by(|left, right| right.cmp(left));
    sorted.dedup();
    let names = sorted.into_iter().map(|(_, text)| text).collect();
    ChoiceError::NoVersion { name, version: request.version.clone(), available: NameList { names } }
}

/// The error for files that were all rejected; `rejected` is not empty.
fn explain(request: &ChoiceRequest<'_>, rejected: Vec<(Rejection, &PublishedFile)>) -> ChoiceError {
    let (name, version) = (request.name.clone(), request.version.clone());
    let furthest = rejected.iter().map(|(rejection, _)| rejection.clone()).max().unwrap_or(Rejection::Hash);
    let names = rejected
        .into_iter()
        .filter(|(rejection, _)| *rejection == furthest)
        .map(|(_, file)| file.file_name.clone())
        .collect();
    let names = NameList { names };
    match furthest {
        Rejection::Hash => ChoiceError::HashNotInLock { name, version, files: names },
        Rejection::RequiresPython(requires) => {
            ChoiceError::RequiresPython { name, version, requires, python: request.python_version }
        }
        Rejection::Tags => ChoiceError::OtherPlatforms { name, version, wheels: names },
        Rejection::WheelExcluded => ChoiceError::WheelExcluded { name, version, wheels: names },
        Rejection::SdistExcluded => ChoiceError::SdistExcluded { name, version, sdists: names },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pip_accel_schema::interpreter::{Implementation, Interpreter, Libc, MarkerVariables};
    use url::Url;

    use super::*;
    use crate::index::FileOrigin;

    const PYTHON: PythonVersion = PythonVersion { major: 3, minor: 11, micro: 2 };
    const X64: &str = "a-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
    const ABI3: &str = "a-1.0-cp38-abi3-manylinux_2_17_x86_64.whl";
    const MUSL: &str = "a-1.0-cp311-cp311-musllinux_1_1_x86_64.whl";
    const ANY: &str = "a-1.0-py3-none-any.whl";
    const SDIST: &str = "a-1.0.tar.gz";

    fn tags() -> TagSet {
        let text = String::new;
        TagSet::for_interpreter(&Interpreter {
            implementation: Implementation::CPython,
            version: PYTHON,
            full_version: "3.11.2".to_owned(),
            implementation_version: PYTHON,
            soabi: Some("cpython-311-x86_64-linux-gnu".to_owned()),
            abi_flags: text(),
            platform: "linux_x86_64".to_owned(),
            machine: "x86_64".to_owned(),
            libc: Libc::Glibc { major: 2, minor: 36 },
            bytecode_tag: text(),
            unchecked_hash_bytecode: true,
            markers: MarkerVariables {
                os_name: text(),
                sys_platform: text(),
                platform_machine: text(),
                platform_python_implementation: text(),
                platform_release: text(),
                platform_system: text(),
                platform_version: text(),
                python_version: text(),
                python_full_version: text(),
                implementation_name: text(),
                implementation_version: text(),
            },
            compile_settings: BTreeMap::new(),
            site_packages: text(),
        })
    }

    const fn hash(byte: u8) -> Sha256Digest {
        Sha256Digest::from_bytes([byte; 32])
    }

    fn file(file_name: &str, sha256: Option<u8>) -> PublishedFile {
        PublishedFile {
            file_name: file_name.to_owned(),
            url: Url::parse(&format!("https://files.example/{file_name}")).expect("a URL").into(),
            sha256: sha256.map(hash),
            size: None,
            requires_python: None,
            yanked: None,
            upload_time: None,
            origin: FileOrigin::Index,
        }
    }

    struct Wish {
        version: &'static str,
        hashes: Vec<Sha256Digest>,
        allow_wheel: bool,
        allow_sdist: bool,
    }

    const ANYTHING: Wish = Wish { version: "1.0", hashes: Vec::new(), allow_wheel: true, allow_sdist: true };

    impl Wish {
        fn ask(&self, files: &[PublishedFile]) -> Result<Choice, ChoiceError> {
            let request = ChoiceRequest {
                name: &"a".parse().expect("a name"),
                version: &self.version.parse().expect("a version"),
                hashes: &self.hashes,
                tags: &tags(),
                allow_wheel: self.allow_wheel,
                allow_sdist: self.allow_sdist,
                python_version: PYTHON,
            };
            choose(files, &request)
        }

        fn name(&self, files: &[PublishedFile]) -> String {
            self.ask(files).expect("a choice").file.file_name
        }
    }

    #[test]
    fn the_best_tag_wins_then_the_build_tag_and_an_sdist_is_last() {
        let build = "a-1.0-2-py3-none-any.whl";
        let order = [X64, ABI3, build, ANY, SDIST, "a-1.0.zip"];
        let mut files: Vec<_> = order.iter().rev().map(|name| file(name, Some(1))).collect();
        files.extend([file(MUSL, Some(1)), file("a-1.0.exe", Some(1)), file("a-2.0-py3-none-any.whl", Some(1))]);
        for expected in order {
            assert_eq!(ANYTHING.name(&files), expected);
            files.retain(|file| file.file_name != expected);
        }
        assert!(
            matches!(ANYTHING.ask(&files), Err(ChoiceError::OtherPlatforms { wheels, .. }) if wheels.names == [MUSL])
        );
    }

    #[test]
    fn equal_versions_are_equal_and_local_builds_need_a_hash() {
        assert_eq!(Wish { version: "1.0.0", ..ANYTHING }.name(&[file(SDIST, None)]), SDIST);
        let local = [file("a-1.0+cpu-py3-none-any.whl", Some(7))];
        assert!(matches!(ANYTHING.ask(&local), Err(ChoiceError::NoVersion { .. })));
        assert!(Wish { hashes: vec![hash(7)], ..ANYTHING }.ask(&local).is_ok());
    }

    #[test]
    fn the_lock_decides_by_hash() {
        let files = [file(X64, Some(1)), file(ANY, Some(2)), file(SDIST, None)];
        let wish = |bytes: &[u8]| Wish { hashes: bytes.iter().copied().map(hash).collect(), ..ANYTHING };
        assert_eq!(wish(&[2]).name(&files), ANY);
        assert_eq!(wish(&[1, 2]).name(&files), X64);
        // Nothing announces a good hash: what announces none may still have it.
        assert_eq!(wish(&[3]).name(&files), SDIST);
        let error = wish(&[3]).ask(&files[..2]).expect_err("no hash fits");
        assert_eq!(error.to_string(), format!("no file of `a` 1.0 has a hash of the lock (there is `{X64}`, `{ANY}`)"));
    }

    #[test]
    fn files_without_hash_have_fallbacks() {
        let files = [file(SDIST, None), file(ANY, None), file(X64, None)];
        let choice = Wish { hashes: vec![hash(1)], ..ANYTHING }.ask(&files).expect("a choice");
        let fallbacks: Vec<_> = choice.fallbacks.iter().map(|file| file.file_name.as_str()).collect();
        assert_eq!((choice.file.file_name.as_str(), fallbacks), (X64, vec![ANY, SDIST]));
        assert!(ANYTHING.ask(&files).expect("a choice").fallbacks.is_empty());
    }

    #[test]
    fn yanked_files_are_taken_with_their_reason() {
        let yanked = PublishedFile { yanked: Some("broken".to_owned()), ..file(ANY, Some(1)) };
        assert_eq!(ANYTHING.ask(&[yanked]).expect("a choice").file.yanked.as_deref(), Some("broken"));
    }

    #[test]
    fn local_files_come_before_equal_remote_ones() {
        let local = PublishedFile { url: Url::parse("file:///w/a").expect("a URL").into(), ..file(ANY, Some(1)) };
        assert!(ANYTHING.ask(&[file(ANY, Some(1)), local]).expect("a choice").file.url.is_file());
    }

    #[test]
    fn each_refusal_says_why() {
        let no_sdist = Wish { allow_sdist: false, ..ANYTHING };
        let no_wheel = Wish { allow_wheel: false, ..ANYTHING };
        let old = PublishedFile { requires_python: Some("<3.8".to_owned()), ..file(ANY, None) };
        let odd = PublishedFile { requires_python: Some(">=3.6.*".to_owned()), ..file(ANY, None) };
        let other = file("a-0.9-py3-none-any.whl", None);
        let newer = file("a-1.10-py3-none-any.whl", None);
        let message = |answer: Result<Choice, ChoiceError>| answer.expect_err("a refusal").to_string();
        assert_eq!(message(ANYTHING.ask(&[])), "no index has files of `a`");
        assert_eq!(message(ANYTHING.ask(&[other, newer])), "no index has version 1.0 of `a` (it has `1.10`, `0.9`)");
        assert_eq!(message(ANYTHING.ask(&[old])), "`a` 1.0 requires Python <3.8, this is Python 3.11.2");
        assert!(ANYTHING.ask(&[odd]).is_ok());
        assert!(message(no_sdist.ask(&[file(MUSL, None), file(SDIST, None)])).contains("--only-binary"));
        assert!(message(no_wheel.ask(&[file(ANY, None)])).contains("--no-binary"));
        assert_eq!(no_wheel.name(&[file(ANY, None), file(SDIST, None)]), SDIST);
        assert_eq!(no_sdist.name(&[file(ANY, None), file(SDIST, None)]), ANY);
        let many = NameList { names: (0..10).map(|number| number.to_string()).collect() };
        assert!(many.to_string().ends_with("`7` and 2 more"), "{many}");
    }
}
