//! Plans of packages as they are published.

use super::*;
use crate::python::wheel::PathSet;

fn file(path: &str) -> TreeFile {
    let file_trait = match path {
        _ if path.contains(".so") => FileTrait::Elf,
        _ => FileTrait::None,
    };
    TreeFile {
        path: EntryPath::parse(path).expect("a path"),
        size: 1,
        executable: false,
        file_trait,
        foreign: PathSet::default(),
    }
}

/// The plan for `paths` below `site/`; `inits` are those that declare a namespace, `elf` has search paths.
fn plan(paths: &[&str], inits: &[&str], elf: &[(&str, &str)]) -> LinkPlan {
    let files: Vec<TreeFile> = paths
        .iter()
        .map(|path| {
            let mut file = file(&format!("site/{path}"));
            if inits.contains(path) {
                file.file_trait = FileTrait::NamespaceInit;
            }
            file
        })
        .collect();
    let search_paths = elf
        .iter()
        .map(|(path, folders)| {
            let path = EntryPath::parse(&format!("site/{path}")).expect("a path");
            (path, folders.split(':').map(str::to_owned).collect())
        })
        .collect();
    let plan = compute(&LinkFacts {
        files: &files,
        dist_info: "x-1.dist-info",
        entry_points: &[],
        declared_namespaces: &[],
        search_paths: &search_paths,
    });
    plan.expect("good paths")
}

/// Real folders, then links; folders that are linked end in `/`.
fn listed(plan: &LinkPlan) -> (Vec<&str>, Vec<String>) {
    let links = plan.site_links.iter();
    (
        plan.site_directories.iter().map(EntryPath::as_str).collect(),
        links.map(|link| format!("{}{}", link.path, if link.is_directory { "/" } else { "" })).collect(),
    )
}

#[test]
fn regular_packages_and_data_are_links() {
    let plan = plan(
        &[
            "numpy/__init__.py",
            "numpy/core/a.so",
            "numpy.libs/libblas.so",
            "six.py",
            "docs/readme.txt",
            "x-1.dist-info/METADATA",
        ],
        &[],
        &[("numpy/core/a.so", "$ORIGIN/../../numpy.libs"), ("numpy.libs/libblas.so", "$ORIGIN")],
    );
    let (real, links) = listed(&plan);
    assert_eq!(real, ["x-1.dist-info"]);
    assert_eq!(links, ["docs/", "numpy/", "numpy.libs/", "six.py", "x-1.dist-info/METADATA"]);
}

#[test]
fn metadata_is_real_without_what_each_environment_writes() {
    let plan = plan(
        &["x-1.dist-info/RECORD", "x-1.dist-info/INSTALLER", "x-1.dist-info/licenses/LICENSE", "x.egg-info/PKG-INFO"],
        &[],
        &[],
    );
    let (real, links) = listed(&plan);
    assert_eq!(real, ["x-1.dist-info", "x.egg-info"]);
    assert_eq!(links, ["x-1.dist-info/licenses/", "x.egg-info/PKG-INFO"]);
}

#[test]
fn namespace_packages_are_real_down_to_regular_ones() {
    let plan = plan(
        &[
            "google/cloud/storage/__init__.py",
            "google/cloud/storage/deep/x.py",
            "google/cloud/version.py",
            "google/cloud/__pycache__/version.cpython-311.pyc",
            "google/rpc/status.proto",
            "google/ext/__init__.cpython-311-x86_64-linux-gnu.so",
            "six.py",
            "__pycache__/six.cpython-311.pyc",
        ],
        &[],
        &[],
    );
    let (real, links) = listed(&plan);
    assert_eq!(real, ["__pycache__", "google", "google/cloud", "google/cloud/__pycache__"]);
    assert_eq!(
        links,
        [
            "__pycache__/six.cpython-311.pyc",
            "google/cloud/__pycache__/version.cpython-311.pyc",
            "google/cloud/storage/",
            "google/cloud/version.py",
            "google/ext/",
            "google/rpc/",
            "six.py",
        ]
    );
}

#[test]
fn old_namespace_packages_are_real() {
    let plan = plan(
        &["zope/__init__.py", "zope/interface/__init__.py", "zope/interface/tests/data.txt"],
        &["zope/__init__.py"],
        &[],
    );
    assert_eq!(listed(&plan).0, ["zope"]);
    assert_eq!(listed(&plan).1, ["zope/__init__.py", "zope/interface/"]);

    let files = [file("site/paste/__init__.py"), file("site/paste/deploy/__init__.py")];
    let plan = compute(&LinkFacts {
        files: &files,
        dist_info: "x-1.dist-info",
        entry_points: &[],
        declared_namespaces: &["paste".to_owned(), "absent.name".to_owned()],
        search_paths: &BTreeMap::new(),
    })
    .expect("good paths");
    assert_eq!(listed(&plan).0, ["paste"]);
}

#[test]
fn packages_that_look_for_their_files_have_real_folders() {
    let mut files = [file("site/tool/__init__.py"), file("site/tool/data/bin/tool")];
    files[0].file_trait = FileTrait::AsksForFiles;
    let plan = compute(&LinkFacts {
        files: &files,
        dist_info: "x-1.dist-info",
        entry_points: &[],
        declared_namespaces: &[],
        search_paths: &BTreeMap::new(),
    })
    .expect("good paths");
    assert_eq!(listed(&plan).0, ["tool", "tool/data", "tool/data/bin"]);
    assert_eq!(listed(&plan).1, ["tool/__init__.py", "tool/data/bin/tool"]);
}

#[test]
fn namespace_declarations_are_recognised() {
    for good in [
        "__path__ = __import__('pkgutil').extend_path(__path__, __name__)",
        "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)",
        "__import__('pkg_resources').declare_namespace(__name__)",
    ] {
        assert!(declares_namespace(good.as_bytes()), "{good}");
    }
    for bad in ["", "import pkgutil", "def extend_path(): pass", "import pkg_resources"] {
        assert!(!declares_namespace(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn folders_above_libraries_that_look_elsewhere_are_real() {
    let plan = plan(
        &["PySide6/__init__.py", "PySide6/QtCore.abi3.so", "PySide6/Qt/lib/libQt6Core.so.6", "PySide6/doc/a.py"],
        &[],
        &[
            ("PySide6/QtCore.abi3.so", "$ORIGIN/../shiboken6:$ORIGIN/Qt/lib"),
            ("PySide6/Qt/lib/libQt6Core.so.6", "$ORIGIN"),
        ],
    );
    let (real, links) = listed(&plan);
    assert_eq!(real, ["PySide6"]);
    assert_eq!(links, ["PySide6/Qt/", "PySide6/QtCore.abi3.so", "PySide6/__init__.py", "PySide6/doc/"]);
}

#[test]
fn search_paths_are_judged_by_the_link_that_they_leave() {
    let real = |folders: &str| {
        let paths = ["nvidia/cublas/__init__.py", "nvidia/cublas/lib/libcublas.so.12", "nvidia/cublas/other/a.txt"];
        let plan = plan(&paths, &[], &[("nvidia/cublas/lib/libcublas.so.12", folders)]);
        plan.site_directories.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for inside in [
        "$ORIGIN",
        "$ORIGIN/",
        "$ORIGIN/../lib",
        "$ORIGIN/../absent",
        "/usr/lib",
        "../elsewhere",
        "$ORIGINAL/../../..",
        "${ORIGIN}/../../cublas/other",
        "$LIB/../../../x",
    ] {
        assert_eq!(real(inside), ["nvidia"], "{inside}");
    }
    for outside in
        ["$ORIGIN/../../cuda_runtime/lib", "${ORIGIN}/../../../torch/lib", "$ORIGIN:$ORIGIN/../../../../../../lib"]
    {
        assert_eq!(real(outside), ["nvidia", "nvidia/cublas", "nvidia/cublas/lib"], "{outside}");
    }
}

#[test]
fn a_folder_that_becomes_real_makes_the_links_inside_it_smaller() {
    // b/x.so stays inside `a` until a/y.so makes `a` real; then `../c` leaves the link `a/b`, and `c` is not there.
    let plan = plan(
        &["a/__init__.py", "a/y.so", "a/b/x.so"],
        &[],
        &[("a/y.so", "$ORIGIN/../elsewhere"), ("a/b/x.so", "$ORIGIN/../c")],
    );
    assert_eq!(listed(&plan).0, ["a", "a/b"]);
}

proptest::proptest! {
    /// Every file is reached by exactly one link, and every folder above a link is real.
    #[test]
    fn plans_cover_every_file_once(
        names in proptest::collection::btree_set("[ab_1.]{1,2}(/[ab_1.]{1,2}){0,3}(/__init__.py)?", 1..12),
        search in "(\\$ORIGIN)?(/\\.\\.|/a|/b){0,5}",
    ) {
        let paths: Vec<&String> = names
            .iter()
            .filter(|name| EntryPath::parse(name).is_ok())
            .filter(|name| !names.iter().any(|other| other.starts_with(&format!("{name}/"))))
            .collect();
        let files: Vec<TreeFile> = paths.iter().map(|path| file(&format!("site/{path}"))).collect();
        let search_paths =
            files.iter().map(|file| (file.path.clone(), vec![search.clone()])).collect::<BTreeMap<_, _>>();
        let plan = compute(&LinkFacts {
            files: &files,
            dist_info: "x-1.dist-info",
            entry_points: &[],
            declared_namespaces: &[],
            search_paths: &search_paths,
        }).expect("good paths");
        let real: BTreeSet<&str> = plan.site_directories.iter().map(EntryPath::as_str).collect();
        for path in paths {
            let covering = plan.site_links.iter().filter(|link| {
                link.path.as_str() == path || (link.is_directory && path.starts_with(&format!("{}/", link.path)))
            });
            proptest::prop_assert_eq!(covering.count(), 1, "{}", path);
        }
        for link in &plan.site_links {
            proptest::prop_assert!(!real.contains(link.path.as_str()));
            proptest::prop_assert!(link.path.parent().is_none_or(|parent| real.contains(parent)));
        }
        for folder in &plan.site_directories {
            proptest::prop_assert!(folder.parent().is_none_or(|parent| real.contains(parent)));
        }
    }
}
