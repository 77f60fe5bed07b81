//! Wheels of every kind, good and evil.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::link_plan::DataScript;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::store_path::{ObjectId, StorePath};
use pip_accel_store::NewObject;

use super::*;
use crate::python::bytecode::{BytecodeOptions, BytecodePool, COMPILE_FILE_TIMEOUT};
use crate::python::testing::{RawEntry, demo_wheel, raw_zip, record_line, store};

const FILE_NAME: &str = "demo-1.0-py3-none-any.whl";

/// Unpacks an archive with `entries`; returns what it holds as text, and the folder that keeps it.
fn unpack_entries(
    entries: &[RawEntry],
    options: &UnpackOptions,
) -> Result<(UnpackedWheel, BTreeMap<String, String>), WheelFault> {
    unpack_bytes(&raw_zip(entries), options)
}

fn unpack_bytes(
    archive: &[u8],
    options: &UnpackOptions,
) -> Result<(UnpackedWheel, BTreeMap<String, String>), WheelFault> {
    let (folder, store) = store();
    let tree = store.new_tree().expect("a tree");
    let path: PathBuf = folder.path().join("some.whl");
    std::fs::write(&path, archive).expect("written");
    let file_name = FILE_NAME.parse().expect("a wheel name");
    let wheel = unpack_wheel(&path, &file_name, &tree, options).map_err(|error| *error.fault)?;
    let read = |file: &TreeFile| {
        let content = std::fs::read(tree.path().join(file.path.as_str())).expect("the file is there");
        (file.path.to_string(), String::from_utf8_lossy(&content).into_owned())
    };
    let content = wheel.files.iter().map(read).collect();
    Ok((wheel, content))
}

fn fault(entries: &[RawEntry]) -> WheelFault {
    unpack_entries(entries, &UnpackOptions::default()).map(|(wheel, _)| wheel).expect_err("the wheel is refused")
}

fn refusal(entries: &[RawEntry]) -> ArchiveRefusal {
    match fault(entries) {
        WheelFault::Zip(ZipReadError::Refused(refusal)) | WheelFault::Refused(refusal) => refusal,
        other => panic!("another fault: {other:?}"),
    }
}

/// All five kinds of `.data`, in several spellings of the wheel's name.
#[test]
fn files_go_to_the_five_places() {
    let wheel = demo_wheel(&[
        ("demo/__init__.py", "x = 1\n"),
        ("demo-1.0.data/purelib/pure.py", "p"),
        ("demo-1.0.data/platlib/demo/plat.py", "q"),
        ("demo-1.0.data/scripts/run", "#!python\nprint()\n"),
        ("demo-1.0.data/scripts/tool.sh", "#!/bin/sh\n"),
        ("demo-1.0.data/headers/demo/demo.h", "int x;"),
        ("demo-1.0.data/data/share/demo/a.txt", "t"),
    ]);
    let (wheel, content) = unpack_entries(&wheel, &UnpackOptions::default()).expect("a good wheel");
    let paths: Vec<&str> = content.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "data/share/demo/a.txt",
            "headers/demo/demo.h",
            "scripts/run",
            "scripts/tool.sh",
            "site/demo-1.0.dist-info/METADATA",
            "site/demo-1.0.dist-info/RECORD",
            "site/demo-1.0.dist-info/WHEEL",
            "site/demo/__init__.py",
            "site/demo/plat.py",
            "site/pure.py",
        ]
    );
    assert_eq!(content["site/demo/__init__.py"], "x = 1\n");
    assert_eq!(wheel.warnings, []);
    assert_eq!(wheel.dist_info, "demo-1.0.dist-info");
    assert_eq!(wheel.bytes, content.values().map(|text| text.len() as u64).sum::<u64>());
    let executable: Vec<&str> =
        wheel.files.iter().filter(|file| file.executable).map(|file| file.path.as_str()).collect();
    assert_eq!(executable, ["scripts/run", "scripts/tool.sh"]);
}

#[test]
fn importing_makes_the_plan() {
    let (folder, store) = store();
    let tree = store.new_tree().expect("a tree");
    let archive = folder.path().join(FILE_NAME);
    let entries = demo_wheel(&[
        ("demo/__init__.py", ""),
        ("demo-1.0.data/scripts/run", "#!pythonw\n"),
        ("demo-1.0.data/scripts/tool", "#!/bin/sh\n"),
        ("demo-1.0.data/data/share/demo/a.txt", ""),
        ("demo-1.0.data/headers/demo.h", ""),
        ("demo-1.0.dist-info/entry_points.txt", "[console_scripts]\ndemo = demo:main\n"),
    ]);
    std::fs::write(&archive, raw_zip(&entries)).expect("written");
    let imported = import_wheel(&archive, &FILE_NAME.parse().expect("a wheel name"), &tree, &ImportOptions::default());
    let plan = imported.expect("a good wheel").link_plan;
    assert_eq!(plan.dist_info, "demo-1.0.dist-info");
    assert_eq!(plan.entry_points[0].attribute, "main");
    let script = |name: &str, python| DataScript { name: name.to_owned(), python };
    assert_eq!(plan.data_scripts, [script("run", true), script("tool", false)]);
    let paths = |links: &[pip_accel_schema::link_plan::LinkEntry]| -> Vec<String> {
        links.iter().map(|link| link.path.to_string()).collect()
    };
    assert_eq!(paths(&plan.data_links), ["share/demo/a.txt"]);
    assert_eq!(paths(&plan.header_links), ["demo.h"]);
    assert_eq!(
        paths(&plan.site_links),
        ["demo", "demo-1.0.dist-info/METADATA", "demo-1.0.dist-info/WHEEL", "demo-1.0.dist-info/entry_points.txt"]
    );
}

/// The whole way of a wheel into the store: the tree is taken as it is, bytecode included, twice the same.
#[test]
fn imported_wheels_can_be_published() {
    let (folder, store) = store();
    let archive = folder.path().join(FILE_NAME);
    let entries =
        demo_wheel(&[("demo/__init__.py", "x = {'a', 'b'}\n"), ("demo/broken.py", "def (\n"), ("top.py", "")]);
    std::fs::write(&archive, raw_zip(&entries)).expect("written");
    let file_name: WheelFileName = FILE_NAME.parse().expect("a wheel name");
    let python = crate::python::testing::pythons().into_iter().find(|python| python.major == 3).expect("a Python 3");
    let options = BytecodeOptions { workers: 2, file_timeout: COMPILE_FILE_TIMEOUT, bytecode_tag: None };
    let pool = BytecodePool::with_options(&python.path, options);
    let options = ImportOptions { bytecode: Some(&pool), ..ImportOptions::default() };
    let lease = store.lease().expect("a lease");
    let mut digests = Vec::new();
    for tag in ["one", "two"] {
        let tree = store.new_tree().expect("a tree");
        let imported = import_wheel(&archive, &file_name, &tree, &options).expect("a good wheel");
        assert_eq!((imported.compiled_count, imported.uncompiled_count, imported.file_count), (2, 1, 8));
        let site_links: Vec<_> = imported.link_plan.site_links.iter().map(|link| link.path.as_str()).collect();
        assert!(site_links[0].starts_with("__pycache__/top."), "{site_links:?}");
        assert_eq!(imported.link_plan.site_directories[0].as_str(), "__pycache__");
        let sha256 = Sha256Digest::from_bytes([7; 32]);
        let (name, version) = (file_name.name.clone(), file_name.version.clone());
        let object = NewObject {
            tree,
            path: StorePath::new(ObjectId::of_wheel(&sha256, tag), &name, &version, None),
            name,
            version,
            provenance: Provenance::Wheel { file_name: FILE_NAME.to_owned(), sha256, bytecode_tag: tag.to_owned() },
            references: Vec::new(),
            link_plan: Some(imported.link_plan),
        };
        let published = lease.publish(vec![object]).expect("published");
        assert!(published[0].path.join("site/demo/__init__.py").is_file());
        digests.push(published[0].content_digest);
    }
    assert_eq!(digests[0], digests[1]);
}

/// D1: names that leave the tree, in every spelling.
#[test]
fn names_that_leave_the_tree_are_refused() {
    for name in [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "a\\..\\evil",
        "./evil",
        "a//evil",
        "a/./evil",
        "a\0evil",
        "C:evil",
        "a\nevil",
        "demo-1.0.data/purelib/../../evil",
        "demo-1.0.data/data/../evil",
        "demo-1.0.data/scripts/../evil",
    ] {
        let mut entries = demo_wheel(&[]);
        entries.push(RawEntry::new(name, "x"));
        assert!(matches!(refusal(&entries), ArchiveRefusal::Name(_) | ArchiveRefusal::Characters { .. }), "{name:?}");
    }
    let mut entries = demo_wheel(&[]);
    entries.push(RawEntry::new(b"\xff\xfe.py", "x"));
    assert!(matches!(refusal(&entries), ArchiveRefusal::Characters { .. }));
}

/// D1: links, devices, pipes.
#[test]
fn links_and_devices_are_refused() {
    for mode in [0o120_777, 0o020_666, 0o060_666, 0o010_644, 0o140_755, 0o040_755] {
        let mut entries = demo_wheel(&[]);
        entries.push(RawEntry::new("demo/link", "/etc/passwd").mode(mode));
        assert!(matches!(refusal(&entries), ArchiveRefusal::SpecialFile { .. }), "{mode:o}");
    }
    let mut entries = demo_wheel(&[]);
    entries.push(RawEntry::new("demo/folder/", "content").mode(0o040_755));
    assert!(matches!(refusal(&entries), ArchiveRefusal::SpecialFile { .. }));
}

/// D1: duplicates, a file below a file, names that differ by case or Unicode form only, in whatever order.
#[test]
fn names_that_meet_are_refused() {
    for names in [
        ["demo/a.py", "demo/A.py"],
        ["Demo/x.py", "demo/y.py"],
        ["demo/a", "demo/a/b"],
        ["demo/a/b", "demo/a"],
        ["demo/caf\u{e9}.py", "demo/cafe\u{301}.py"],
        ["demo-1.0.data/purelib/x.py", "x.py"],
        ["demo-1.0.data/purelib/x.py", "demo-1.0.data/platlib/X.py"],
    ] {
        let entries = demo_wheel(&names.map(|name| (name, "")));
        let refused = matches!(
            refusal(&entries),
            ArchiveRefusal::Collision { .. } | ArchiveRefusal::BelowFile { .. } | ArchiveRefusal::Duplicate { .. }
        );
        assert!(refused, "{names:?}");
    }
    let mut entries = demo_wheel(&[("demo/a.py", "")]);
    entries.push(RawEntry::new("demo/a.py", "other"));
    assert!(matches!(refusal(&entries), ArchiveRefusal::Header { .. }));
    let options = UnpackOptions { case_rule: CaseRule::Allow, ..UnpackOptions::default() };
    unpack_entries(&demo_wheel(&[("demo/a.py", ""), ("demo/A.py", "")]), &options).expect("allowed here");
}

/// D1: two readers must not see two archives.
#[test]
fn headers_that_contradict_each_other_are_refused() {
    let mut entries = demo_wheel(&[("demo/a.py", "x")]);
    entries[0].local_name = Some(b"demo/b.py".to_vec());
    assert!(matches!(fault(&entries), WheelFault::Zip(ZipReadError::Format(_))));
    let mut archive = b"MZ self-extracting".to_vec();
    archive.extend(raw_zip(&demo_wheel(&[])));
    assert!(unpack_bytes(&archive, &UnpackOptions::default()).is_err());
    let mut entries = demo_wheel(&[("demo/a.py", "x")]);
    entries[0].flags |= 1;
    assert!(matches!(refusal(&entries), ArchiveRefusal::Encrypted { .. }));
    for method in [1, 9, 12, 14, 93, 95, 99] {
        let mut entries = demo_wheel(&[("demo/a.py", "x")]);
        entries[0].method = method;
        assert!(matches!(refusal(&entries), ArchiveRefusal::Method { .. }), "{method}");
    }
    let mut archive = raw_zip(&demo_wheel(&[("demo/a.py", "x")]));
    archive.truncate(archive.len() - 30);
    assert!(matches!(
        unpack_bytes(&archive, &UnpackOptions::default()),
        Err(WheelFault::Zip(ZipReadError::Format(_) | ZipReadError::Io(_)))
    ));
}

/// D1: bombs, by each limit, and by a length that lies.
#[test]
fn bombs_are_refused_by_each_limit() {
    let zeros = "\0".repeat(1 << 20);
    let mut entries = demo_wheel(&[("demo/zeros", &zeros)]);
    entries[0] = entries[0].clone().deflated();
    let unpack = |limits: ArchiveLimits| {
        let options = UnpackOptions { limits, ..UnpackOptions::default() };
        match unpack_entries(&entries, &options) {
            Ok(_) => None,
            Err(WheelFault::Zip(ZipReadError::Refused(refusal))) => Some(refusal),
            Err(other) => panic!("another fault: {other:?}"),
        }
    };
    let limits = ArchiveLimits::default();
    assert_eq!(unpack(limits), None);
    assert_eq!(unpack(ArchiveLimits { entries: 3, ..limits }), Some(ArchiveRefusal::TooManyEntries { limit: 3 }));
    assert!(matches!(
        unpack(ArchiveLimits { file_bytes: 1000, ..limits }),
        Some(ArchiveRefusal::FileTooLarge { limit: 1000, .. })
    ));
    assert_eq!(unpack(ArchiveLimits { total_bytes: 1000, ..limits }), Some(ArchiveRefusal::TooLarge { limit: 1000 }));
    let tight = ArchiveLimits { ratio_free_bytes: 1 << 10, ratio: 100, ..limits };
    assert_eq!(unpack(tight), Some(ArchiveRefusal::Ratio { limit: 100 }));

    entries[0].size = 1000;
    assert!(unpack_entries(&entries, &UnpackOptions::default()).is_err(), "more bytes than declared");
    entries[0].size = 2 << 20;
    assert!(unpack_entries(&entries, &UnpackOptions::default()).is_err(), "fewer bytes than declared");
}

#[test]
fn content_that_contradicts_the_record_is_refused() {
    let replace = |entries: &mut Vec<RawEntry>, content: &str| {
        let last = entries.last_mut().expect("RECORD is the last");
        *last = RawEntry::new(last.name.clone(), content);
    };
    let record_of = |entries: &[RawEntry]| {
        String::from_utf8(entries.last().expect("RECORD is the last").content.clone()).expect("text")
    };
    let entries = demo_wheel(&[("demo/a.py", "a")]);
    let record = record_of(&entries);
    let line = record_line("demo/a.py", b"a");

    let mut changed = entries.clone();
    replace(&mut changed, &record.replace(&line, &record_line("demo/a.py", b"b")));
    assert!(matches!(fault(&changed), WheelFault::Record(RecordError::Mismatch { .. })));
    replace(&mut changed, &record.replace(&line, &line.replace(",1\n", ",2\n")));
    assert!(matches!(fault(&changed), WheelFault::Record(RecordError::Mismatch { .. })));
    replace(&mut changed, &format!("{record}demo/b.py,,\n"));
    assert!(matches!(fault(&changed), WheelFault::Record(RecordError::Missing { .. })));
    replace(&mut changed, &record.replace("sha256=", "md5="));
    assert!(matches!(fault(&changed), WheelFault::Record(RecordError::Algorithm { .. })));

    replace(&mut changed, &record.replace(&line, ""));
    let (wheel, _) = unpack_entries(&changed, &UnpackOptions::default()).expect("odd, but published");
    assert_eq!(wheel.warnings, [WheelWarning::Unlisted { first: "demo/a.py".to_owned(), count: 1 }]);
    let strict = UnpackOptions { refuse_unlisted: true, ..UnpackOptions::default() };
    assert!(matches!(unpack_entries(&changed, &strict), Err(WheelFault::Record(RecordError::Unlisted { .. }))));

    replace(&mut changed, &record.replace(&line, "demo\\a.py,,\ndemo/__pycache__/a.cpython-39.pyc,,\n"));
    let (wheel, _) = unpack_entries(&changed, &UnpackOptions::default()).expect("odd, but published");
    assert_eq!(wheel.warnings.len(), 2);
    let without: Vec<RawEntry> = entries.iter().take(entries.len() - 1).cloned().collect();
    assert!(matches!(fault(&without), WheelFault::Missing { .. }));
}

#[test]
fn large_files_are_checked_while_they_are_written() {
    let large = "0123456789abcdef".repeat(1 << 17);
    let mut entries = demo_wheel(&[("demo/large.bin", &large)]);
    entries[0] = entries[0].clone().deflated();
    let (_, content) = unpack_entries(&entries, &UnpackOptions::default()).expect("a good wheel");
    assert_eq!(content["site/demo/large.bin"], large);
    let other = large.replacen('0', "1", 1);
    entries[0] = RawEntry::new("demo/large.bin", &other).deflated();
    assert!(matches!(fault(&entries), WheelFault::Record(RecordError::Mismatch { .. })));
}

#[test]
fn wheels_that_lie_about_themselves_are_refused() {
    let metadata = |text: &str| demo_wheel(&[("demo-1.0.dist-info/METADATA", text)]);
    for (name, version) in [("other", "1.0"), ("demo", "1.1")] {
        let entries = metadata(&format!("Name: {name}\nVersion: {version}\n"));
        assert!(matches!(fault(&entries), WheelFault::Identity { .. }), "{name} {version}");
    }
    let (wheel, _) = unpack_entries(&metadata("Name: DEMO\nVersion: 1.0.0\n"), &UnpackOptions::default())
        .expect("the same in another spelling");
    assert_eq!(wheel.metadata.version.as_str(), "1.0.0");
    assert!(matches!(fault(&metadata("Summary: none\n")), WheelFault::Metadata(_)));
    let entries = demo_wheel(&[("demo-1.0.dist-info/WHEEL", "Wheel-Version: 2.0\n")]);
    assert!(matches!(fault(&entries), WheelFault::Metadata(MetadataError::WheelVersion { .. })));
    let entries = demo_wheel(&[("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.7\n")]);
    let (wheel, _) = unpack_entries(&entries, &UnpackOptions::default()).expect("a newer minor format");
    assert_eq!(wheel.warnings, [WheelWarning::NewerFormat { minor: 7 }]);

    for other in ["other-1.0.dist-info/METADATA", "demo-1.0.data/purelib/x-1.dist-info/METADATA", "X.DIST-INFO/a"] {
        assert!(matches!(fault(&demo_wheel(&[(other, "")])), WheelFault::DistInfo { .. }), "{other}");
    }
    let vendored = demo_wheel(&[("demo/_vendor/other-1.0.dist-info/METADATA", "")]);
    unpack_entries(&vendored, &UnpackOptions::default()).expect("vendored metadata is content");
    assert!(matches!(fault(&[RawEntry::new("demo/a.py", "")]), WheelFault::DistInfo { .. }));
    let renamed: Vec<RawEntry> = demo_wheel(&[])
        .into_iter()
        .map(|mut entry| {
            entry.name = String::from_utf8_lossy(&entry.name).replace("demo-1.0", "demo-2.0").into_bytes();
            entry
        })
        .collect();
    assert!(matches!(fault(&renamed), WheelFault::Identity { .. }));
}

/// D2: scripts that land outside `bin/`, or in its place.
#[test]
fn scripts_stay_in_their_folder() {
    for name in ["sub/x", "python3", "..x"] {
        let entries = demo_wheel(&[(&format!("demo-1.0.data/scripts/{name}"), "")]);
        assert!(matches!(fault(&entries), WheelFault::EntryPoints(EntryPointError::Name { .. })), "{name}");
    }
    let entries = demo_wheel(&[("demo-1.0.dist-info/entry_points.txt", "[console_scripts]\n../../evil = demo:main\n")]);
    assert!(matches!(fault(&entries), WheelFault::EntryPoints(EntryPointError::Name { .. })));
    for name in ["other/x", "x", "lib/x"] {
        let entries = demo_wheel(&[(&format!("demo-1.0.data/{name}"), "")]);
        assert!(matches!(fault(&entries), WheelFault::Scheme { .. }), "{name}");
    }
    let (wheel, content) =
        unpack_entries(&demo_wheel(&[("other-1.0.data/x", "")]), &UnpackOptions::default()).expect("odd");
    assert!(content.contains_key("site/other-1.0.data/x"));
    assert_eq!(wheel.warnings, [WheelWarning::ForeignData { folder: "other-1.0.data".to_owned() }]);
}

#[test]
fn shipped_bytecode_is_left_out() {
    let entries = demo_wheel(&[
        ("demo/a.py", ""),
        ("demo/__pycache__/a.cpython-311.pyc", "old"),
        ("demo/a.pyc", "older"),
        ("demo/only.pyc", "no source"),
    ]);
    let (wheel, content) = unpack_entries(&entries, &UnpackOptions::default()).expect("a good wheel");
    assert!(content.contains_key("site/demo/only.pyc"));
    assert!(!content.contains_key("site/demo/a.pyc"));
    let first = "demo/__pycache__/a.cpython-311.pyc".to_owned();
    assert_eq!(wheel.warnings, [WheelWarning::ShippedBytecode { first, count: 2 }]);
}

#[test]
fn traits_of_files_are_seen() {
    let entries = demo_wheel(&[
        ("demo/lib.so", "\x7fELF\x02\x01"),
        ("ns/__init__.py", "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"),
        ("demo-1.0.dist-info/namespace_packages.txt", "ns\nns.sub\n"),
    ]);
    let (wheel, _) = unpack_entries(&entries, &UnpackOptions::default()).expect("a good wheel");
    let trait_of = |path: &str| wheel.files.iter().find(|file| file.path.as_str() == path).map(|file| file.file_trait);
    assert_eq!(trait_of("site/demo/lib.so"), Some(FileTrait::Elf));
    assert_eq!(trait_of("site/ns/__init__.py"), Some(FileTrait::NamespaceInit));
    assert_eq!(wheel.declared_namespaces, ["ns", "ns.sub"]);
}

#[test]
fn errors_name_the_wheel_and_keep_their_source() {
    let (folder, store) = store();
    let tree = store.new_tree().expect("a tree");
    let path = folder.path().join("absent.whl");
    let error = unpack_wheel(&path, &FILE_NAME.parse().expect("a name"), &tree, &UnpackOptions::default())
        .expect_err("there is no such file");
    assert!(error.to_string().contains("absent.whl"));
    let mut chain = Vec::new();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        chain.push(cause.to_string());
        source = cause.source();
    }
    assert_eq!(chain.len(), 3, "{chain:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_wheels_never_panic(
        changes in proptest::collection::vec((proptest::num::usize::ANY, proptest::num::u8::ANY), 1..6),
    ) {
        let mut archive = raw_zip(&demo_wheel(&[
            ("demo/__init__.py", "x = 1\n"),
            ("demo-1.0.data/scripts/run", "#!python\n"),
            ("demo-1.0.dist-info/entry_points.txt", "[console_scripts]\ndemo = demo:main\n"),
        ]));
        for (index, byte) in changes {
            let index = index % archive.len();
            archive[index] = byte;
        }
        let _ = unpack_bytes(&archive, &UnpackOptions::default());
    }
}
