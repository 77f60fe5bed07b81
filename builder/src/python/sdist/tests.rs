//! Sdists of every kind, good and evil.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::python::testing::{RawEntry, RawTarEntry, gzip, raw_tar, raw_zip};
use crate::system_packages::External;

const FILE_NAME: &str = "demo-1.0.tar.gz";
const PKG_INFO: &str = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n";

/// `demo-1.0` as `xz -9` packs it: the library that unpacks it can't pack.
const XZ_DEMO: &str = "\
    /Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4Cf/AKFdADIZSf7XHHVnnZfQi/2kpf9A24aGw7wfLzDraJV1Fgx0VLAOMkNwnFdUXWrN\
    HSvncGpH1lIxbsFOjsTbJs751+GdkQ/kHpI4YdfXjzvYN6/CukOB3ZO2Eu0Q96cLaVVT5bnESPohw2u9tcjywmwTcxR2U5fLU2HX\
    FHRuc+r3/u8CZii/XPiBeYR79Ws0KGiEn+4AfJ843z6L8Hj1VEKakQAAAAAAAJH12my7wC7nAAG9AYBQAABNZYTZscRn+wIAAAAA\
    BFla\
    ";

/// A folder with the archive beside the folder that it is unpacked to.
struct Unpacked {
    folder: tempfile::TempDir,
    result: Result<UnpackedSdist, SdistError>,
}

impl Unpacked {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("source").join(name)
    }
}

fn unpack_bytes(archive: &[u8], file_name: &str, limits: &ArchiveLimits) -> Unpacked {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("archive");
    fs::write(&path, archive).expect("written");
    let destination = folder.path().join("source");
    fs::create_dir(&destination).expect("made");
    let result = unpack_sdist_within(&path, file_name, &destination, limits);
    Unpacked { folder, result }
}

fn unpack_tar(entries: &[RawTarEntry]) -> Unpacked {
    unpack_bytes(&gzip(&raw_tar(entries)), FILE_NAME, &ArchiveLimits::default())
}

/// A good sdist with more entries.
fn demo(more: &[RawTarEntry]) -> Vec<RawTarEntry> {
    let mut entries = vec![
        RawTarEntry::new(b'5', "demo-1.0/", ""),
        RawTarEntry::file("demo-1.0/setup.py", "import setuptools\n"),
        RawTarEntry::file("demo-1.0/PKG-INFO", PKG_INFO),
    ];
    entries.extend_from_slice(more);
    entries
}

fn refusal(entries: &[RawTarEntry]) -> ArchiveRefusal {
    let unpacked = unpack_tar(entries);
    let outside: Vec<_> = fs::read_dir(unpacked.folder.path()).expect("readable").flatten().collect();
    assert_eq!(outside.len(), 2, "nothing is written beside the destination");
    match unpacked.result {
        Err(SdistError::Refused { source, .. }) => source,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn modes_times_and_links_are_kept_as_far_as_they_are_harmless() {
    let mut script = RawTarEntry::file("demo-1.0/configure", "#!/bin/sh\n");
    script.mode = 0o6777;
    let mut old = RawTarEntry::file("demo-1.0/old", "");
    old.mtime = 0;
    old.mode = 0;
    let mut folder = RawTarEntry::new(b'5', "demo-1.0/sub/", "");
    folder.mode = 0o000;
    let unpacked = unpack_tar(&demo(&[
        script,
        old,
        folder,
        RawTarEntry::link(b'2', "demo-1.0/sub/link", "../setup.py"),
        RawTarEntry::link(b'1', "demo-1.0/sub/hard", "./demo-1.0/setup.py"),
    ]));
    let sdist = unpacked.result.as_ref().expect("a good sdist");
    assert_eq!(sdist.root, unpacked.path("demo-1.0"));
    assert_eq!(sdist.file_count, 6);
    assert_eq!(sdist.metadata.as_ref().expect("PKG-INFO").version.as_str(), "1.0");
    let stat = |name: &str| fs::symlink_metadata(unpacked.path(name)).expect("it is there");
    let mode = |name: &str| stat(name).permissions().mode() & 0o7777;
    assert_eq!((mode("demo-1.0/configure"), mode("demo-1.0/old"), mode("demo-1.0/sub")), (0o755, 0o644, 0o755));
    assert_eq!((stat("demo-1.0/configure").mtime(), stat("demo-1.0/old").mtime()), (1_600_000_000, MTIME_MIN));
    assert_eq!(stat("demo-1.0/sub").mtime(), 1_600_000_000);
    assert_eq!(stat("demo-1.0/setup.py").ino(), stat("demo-1.0/sub/hard").ino());
    assert_eq!(fs::read_to_string(unpacked.path("demo-1.0/sub/link")).expect("read"), "import setuptools\n");
}

#[test]
fn every_compression_is_read_whatever_the_name() {
    let tar = raw_tar(&demo(&[]));
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&tar).expect("memory");
    let xz = data_encoding::BASE64.decode(XZ_DEMO.as_bytes()).expect("base64");
    let zip = raw_zip(&[
        RawEntry::new("demo-1.0/", "").mode(0o040_755),
        RawEntry::new("demo-1.0/setup.py", "").deflated(),
        RawEntry::new("demo-1.0/run", "").mode(0o100_755),
        RawEntry::new("demo-1.0/PKG-INFO", PKG_INFO),
    ]);
    let archives = [
        ("demo-1.0.tar.gz", gzip(&tar)),
        ("demo-1.0.tar.bz2", bzip2.finish().expect("memory")),
        ("demo-1.0.zip", zip),
        ("demo-1.0.tar.xz", xz),
    ];
    for (file_name, archive) in archives {
        let unpacked = unpack_bytes(&archive, file_name, &ArchiveLimits::default());
        let sdist = unpacked.result.as_ref().unwrap_or_else(|error| panic!("{file_name}: {error:?}"));
        assert_eq!(sdist.root, unpacked.path("demo-1.0"), "{file_name}");
        assert_eq!(sdist.build_system.backend, LEGACY_BACKEND);
    }
    for bytes in [&b""[..], b"plain text", &tar] {
        let unpacked = unpack_bytes(bytes, FILE_NAME, &ArchiveLimits::default());
        assert!(matches!(unpacked.result, Err(SdistError::Format { .. })));
    }
}

#[test]
fn long_names_of_both_formats_are_read() {
    let long = format!("demo-1.0/{}/x.py", "d".repeat(120));
    let gnu = [RawTarEntry::new(b'L', "././@LongLink", format!("{long}\0")), RawTarEntry::file("cut", "gnu")];
    let unpacked = unpack_tar(&demo(&gnu));
    unpacked.result.as_ref().expect("a good sdist");
    assert_eq!(fs::read_to_string(unpacked.path(&long)).expect("read"), "gnu");

    let field = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        format!("{length}{rest}")
    };
    let name = "demo-1.0/ä/ö.py";
    let header = field("path", name) + &field("mtime", "1500000000.25") + &field("comment", "x");
    let pax = [
        RawTarEntry::new(b'g', "pax_global_header", field("comment", "a commit")),
        RawTarEntry::new(b'x', "PaxHeaders/x", header),
        RawTarEntry::file("cut", "pax"),
    ];
    let unpacked = unpack_tar(&demo(&pax));
    unpacked.result.as_ref().expect("a good sdist");
    assert_eq!(fs::read_to_string(unpacked.path(name)).expect("read"), "pax");
    assert_eq!(fs::metadata(unpacked.path(name)).expect("there").mtime(), 1_500_000_000);

    for (kind, content) in [
        (b'x', field("path", "../evil")),
        (b'x', field("path", "/evil")),
        (b'g', field("path", "demo-1.0/all")),
        (b'x', field("GNU.sparse.name", "x")),
        (b'x', field("size", "9999")),
        (b'x', field("size", "x")),
        (b'x', "no length".to_owned()),
        (b'L', "../evil".to_owned()),
    ] {
        let entries = demo(&[RawTarEntry::new(kind, "header", &content), RawTarEntry::file("demo-1.0/x", "x")]);
        refusal(&entries);
    }
}

/// D1: names that leave the tree.
#[test]
fn names_that_leave_the_tree_are_refused() {
    for name in ["../evil", "/evil", "demo-1.0/../../evil", "a\\..\\evil", "demo-1.0//x", "a\nb", "C:evil"] {
        refusal(&demo(&[RawTarEntry::file(name, "x")]));
        refusal(&demo(&[RawTarEntry::new(b'5', name, "")]));
        refusal(&demo(&[RawTarEntry::link(b'2', name, "x")]));
        refusal(&demo(&[RawTarEntry::link(b'1', "demo-1.0/x", name)]));
    }
    refusal(&demo(&[RawTarEntry::file(b"\xff", "x")]));
    refusal(&demo(&[RawTarEntry::file("./.", "x")]));
}

/// D1 and D2: links that leave the tree, files below links, links to what is not there yet.
#[test]
fn links_that_leave_the_tree_are_refused() {
    for target in ["/etc/passwd", "../../evil", "..", "a/../../..", ""] {
        refusal(&demo(&[RawTarEntry::link(b'2', "x", target)]));
    }
    for last in [
        RawTarEntry::file("demo-1.0/link/evil", "x"),
        RawTarEntry::file("demo-1.0/link", "x"),
        RawTarEntry::new(b'5', "demo-1.0/link", ""),
        RawTarEntry::link(b'2', "demo-1.0/link", "other"),
        RawTarEntry::link(b'1', "demo-1.0/hard", "demo-1.0/link"),
    ] {
        refusal(&demo(&[RawTarEntry::link(b'2', "demo-1.0/link", "."), last]));
    }
    refusal(&demo(&[
        RawTarEntry::link(b'1', "demo-1.0/hard", "demo-1.0/later"),
        RawTarEntry::file("demo-1.0/later", ""),
    ]));
    refusal(&demo(&[RawTarEntry::link(b'1', "demo-1.0/hard", "demo-1.0")]));
}

/// D1: what is neither file, folder nor link; and duplicates, which are harmless only when they are equal.
#[test]
fn special_files_and_contradicting_duplicates_are_refused() {
    for kind in [b'3', b'4', b'6', b'S', b'V', b'Z'] {
        refusal(&demo(&[RawTarEntry::new(kind, "demo-1.0/x", "")]));
    }
    let twice = |first: &str, second: &str| {
        demo(&[RawTarEntry::file("demo-1.0/x", first), RawTarEntry::file("demo-1.0/x", second)])
    };
    unpack_tar(&twice("same", "same")).result.expect("equal duplicates are harmless");
    for (first, second) in [("a", "b"), ("a", "ab"), ("ab", "a"), ("", "a")] {
        assert!(matches!(refusal(&twice(first, second)), ArchiveRefusal::Duplicate { .. }));
    }
    refusal(&demo(&[RawTarEntry::file("demo-1.0/x", ""), RawTarEntry::file("demo-1.0/x/y", "")]));
    unpack_tar(&demo(&[RawTarEntry::file("demo-1.0/a", "1"), RawTarEntry::file("demo-1.0/A", "2")]))
        .result
        .expect("sources may differ by case");
}

/// D1: bombs, by each limit.
#[test]
fn bombs_are_refused_by_each_limit() {
    let entries = demo(&[RawTarEntry::file("demo-1.0/zeros", vec![0; 4 << 20])]);
    let archive = gzip(&raw_tar(&entries));
    let limits = ArchiveLimits::default();
    let unpack = |limits: ArchiveLimits| match unpack_bytes(&archive, FILE_NAME, &limits).result {
        Ok(_) => None,
        Err(SdistError::Refused { source, .. }) => Some(source),
        Err(other) => panic!("another error: {other:?}"),
    };
    assert_eq!(unpack(limits), None);
    assert_eq!(unpack(ArchiveLimits { entries: 3, ..limits }), Some(ArchiveRefusal::TooManyEntries { limit: 3 }));
    assert_eq!(
        unpack(ArchiveLimits { file_bytes: 1000, ..limits }),
        Some(ArchiveRefusal::FileTooLarge { name: "demo-1.0/zeros".to_owned(), limit: 1000 })
    );
    assert_eq!(
        unpack(ArchiveLimits { total_bytes: 1 << 20, ..limits }),
        Some(ArchiveRefusal::TooLarge { limit: 1 << 20 })
    );
    let tight = ArchiveLimits { ratio: 50, ratio_free_bytes: 1 << 10, ..limits };
    assert_eq!(unpack(tight), Some(ArchiveRefusal::Ratio { limit: 50 }));

    // A long name of a megabyte must not pass through memory.
    let name = RawTarEntry::new(b'L', "././@LongLink", vec![b'a'; 1 << 20]);
    assert!(matches!(refusal(&demo(&[name, RawTarEntry::file("x", "")])), ArchiveRefusal::Header { .. }));
    let zeros = raw_zip(&[RawEntry::new("demo-1.0/zeros", vec![0; 1 << 20]).deflated()]);
    let unpacked = unpack_bytes(&zeros, "demo-1.0.zip", &tight);
    assert!(matches!(unpacked.result, Err(SdistError::Zip { source: ZipReadError::Refused(_), .. })));
}

#[test]
fn damaged_archives_are_errors() {
    let archive = gzip(&raw_tar(&demo(&[RawTarEntry::file("demo-1.0/x", "x".repeat(3000))])));
    for length in [12, archive.len() / 2, archive.len() - 5] {
        let unpacked = unpack_bytes(&archive[..length], FILE_NAME, &ArchiveLimits::default());
        assert!(matches!(unpacked.result, Err(SdistError::Read { .. })), "{length}");
    }
    let mut cut = RawTarEntry::file("demo-1.0/x", "x");
    cut.size = 100_000;
    let unpacked = unpack_tar(&demo(&[cut]));
    assert!(unpacked.result.is_err());
    let unpacked = unpack_tar(&[]);
    assert!(matches!(unpacked.result, Err(SdistError::Refused { source: ArchiveRefusal::Header { .. }, .. })));
}

#[test]
fn sdists_that_lie_about_themselves_are_refused() {
    let with = |file_name: &str, info: &str| {
        let entries = [RawTarEntry::file("x/setup.py", ""), RawTarEntry::file("x/PKG-INFO", info)];
        unpack_bytes(&gzip(&raw_tar(&entries)), file_name, &ArchiveLimits::default()).result
    };
    let info = |name: &str, version: &str| format!("Name: {name}\nVersion: {version}\n");
    for (file_name, name, version) in [
        ("demo-1.0.tar.gz", "Demo", "1.0.0"),
        ("my-demo-1.0.tar.gz", "my_demo", "1.0"),
        ("my_demo-1.0-1.tgz", "my.demo", "1.0.post1"),
        ("demo-1.0-beta.zip", "demo", "1.0b0"),
        ("pytz-2004d.tar.bz2", "pytz", "2004d"),
        ("master.tar.gz", "demo", "1.0"),
    ] {
        with(file_name, &info(name, version)).unwrap_or_else(|error| panic!("{file_name}: {error:?}"));
    }
    for (name, version) in [("other", "1.0"), ("demo", "2.0"), ("demo-1.0", "0"), ("UNKNOWN", "0.0.0")] {
        let result = with("demo-1.0.tar.gz", &info(name, version));
        assert!(matches!(result, Err(SdistError::Identity { .. })), "{name} {version}");
    }
    assert!(matches!(with("demo-1.0.tar.gz", "nothing"), Err(SdistError::Metadata { .. })));
}

#[test]
fn the_root_is_found() {
    let root = |names: &[&str]| {
        let entries: Vec<RawTarEntry> = names.iter().map(|name| RawTarEntry::file(name, "")).collect();
        let unpacked = unpack_tar(&entries);
        let base = unpacked.path("");
        unpacked.result.map(|sdist| sdist.root.strip_prefix(&base).expect("inside").to_string_lossy().into_owned())
    };
    assert_eq!(root(&["./demo-1.0/setup.py"]).expect("good"), "demo-1.0");
    assert_eq!(root(&["Demo_1.0/setup.py"]).expect("good"), "Demo_1.0");
    assert_eq!(root(&["demo-4f5e/setup.py"]).expect("good"), "demo-4f5e");
    assert_eq!(root(&["setup.py", "demo/__init__.py"]).expect("flat"), "");
    assert_eq!(root(&["._demo-1.0", "docs/x", "demo-1.0/setup.py"]).expect("good"), "demo-1.0");
    assert!(matches!(root(&["demo-1.0/readme"]), Err(SdistError::BuildSystem { .. })));
    assert!(matches!(root(&["a/readme", "b/setup.py"]), Err(SdistError::BuildSystem { .. })));
}

#[test]
fn build_systems_follow_the_standards() {
    let read = |pyproject: Option<&str>, setup: bool| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("backend/inner")).expect("made");
        std::os::unix::fs::symlink("/", folder.path().join("out")).expect("made");
        if let Some(text) = pyproject {
            fs::write(folder.path().join("pyproject.toml"), text).expect("written");
        }
        if setup {
            fs::write(folder.path().join("setup.py"), "").expect("written");
        }
        read_build_system(folder.path())
    };
    let legacy = BuildSystem {
        requires: vec!["setuptools>=40.8.0".to_owned()],
        backend: LEGACY_BACKEND.to_owned(),
        backend_path: Vec::new(),
        external: External::default(),
    };
    assert!(matches!(read(None, false), Err(BuildSystemError::Nothing)));
    assert_eq!(read(None, true).expect("good"), legacy);
    assert_eq!(read(Some("[project]\nname = 'x'\n"), false).expect("good"), legacy);
    assert_eq!(read(Some("\u{feff}[build-system]\nrequires = ['a', 'b>1']\n"), true).expect("good").requires.len(), 2);
    let own = "[build-system]\nrequires = []\nbuild-backend = 'back.end:obj.x'\nbackend-path = ['backend', 'backend/inner', '.']\n";
    let own = read(Some(own), false).expect("good");
    assert_eq!((own.backend.as_str(), own.backend_path.len()), ("back.end:obj.x", 3));

    for bad in [
        "[build-system]\n",
        "[build-system]\nrequires = 'a'\n",
        "[build-system]\nrequires = [1]\n",
        "[build-system\n",
        "[build-system]\nrequires = []\nbuild-backend = 'a b'\n",
        "[build-system]\nrequires = []\nbuild-backend = 'a:b; import os'\n",
        "[build-system]\nrequires = []\nbackend-path = ['backend']\n",
    ] {
        assert!(read(Some(bad), true).is_err(), "{bad}");
    }
    for path in ["..", "/tmp", "absent", "backend/../..", "out", "out/tmp", "", "pyproject.toml"] {
        let text = format!("[build-system]\nrequires = []\nbuild-backend = 'a'\nbackend-path = ['{path}']\n");
        assert!(matches!(read(Some(&text), false), Err(BuildSystemError::BackendPath(_))), "{path}");
    }
    let mut large = "x = 1\n".repeat(1_500_000);
    large.push('\n');
    assert!(matches!(read(Some(&large), true), Err(BuildSystemError::Read(_))));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(
        content in proptest::collection::vec(proptest::num::u8::ANY, 0..3000),
        changes in proptest::collection::vec((0_usize..4000, proptest::num::u8::ANY), 1..10),
    ) {
        let _ = unpack_bytes(&gzip(&content), FILE_NAME, &ArchiveLimits::default());
        for magic in [&b"BZh9"[..], b"\xfd7zXZ\0", b"PK\x03\x04", b"\x1f\x8b\x08\0"] {
            let bytes = [magic, &content].concat();
            let _ = unpack_bytes(&bytes, FILE_NAME, &ArchiveLimits::default());
        }
        let mut tar = raw_tar(&demo(&[
            RawTarEntry::link(b'2', "demo-1.0/l", "setup.py"),
            RawTarEntry::new(b'x', "x", "18 path=demo-1.0/é\n"),
            RawTarEntry::file("x", "x"),
        ]));
        for (index, byte) in changes {
            if let Some(target) = tar.get_mut(index) {
                *target = byte;
            }
        }
        let unpacked = unpack_bytes(&gzip(&tar), FILE_NAME, &ArchiveLimits::default());
        let outside = fs::read_dir(unpacked.folder.path()).expect("readable").count();
        proptest::prop_assert_eq!(outside, 2);
    }
}
