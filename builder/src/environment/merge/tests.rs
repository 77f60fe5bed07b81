//! Merging on objects in memory.

use std::collections::BTreeMap;

use pip_accel_schema::link_plan::LinkEntry;
use pip_accel_schema::manifest::EntryPath;

use super::*;

/// Files of each package by source path, with their content.
struct Memory(Vec<BTreeMap<&'static str, &'static str>>);

impl Objects for Memory {
    fn list(&self, package: usize, source: &str) -> Result<Vec<(String, bool)>, EnvironmentError> {
        let mut children = BTreeMap::new();
        for path in self.0[package].keys() {
            if let Some(rest) = path.strip_prefix(source).and_then(|rest| rest.strip_prefix('/')) {
                let (name, is_directory) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
                children.insert(name.to_owned(), is_directory);
            }
        }
        Ok(children.into_iter().rev().collect())
    }

    fn same(&self, left: (usize, &str), right: (usize, &str)) -> Result<bool, EnvironmentError> {
        Ok(self.0[left.0].get(left.1) == self.0[right.0].get(right.1))
    }
}

struct Package {
    name: PackageName,
    plan: LinkPlan,
    files: BTreeMap<&'static str, &'static str>,
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text).expect("a path")
}

/// A package whose plan links every top-level entry of its files; `real` folders are opened.
fn package(name: &str, real: &[&str], files: &[(&'static str, &'static str)]) -> Package {
    let mut plan = LinkPlan { dist_info: format!("{name}-1.dist-info"), ..LinkPlan::default() };
    plan.site_directories = real.iter().map(|one| path(one)).collect();
    for (file, _) in files {
        if let Some(script) = file.strip_prefix("data/") {
            plan.data_links.push(LinkEntry { path: path(script), is_directory: false });
            continue;
        }
        let Some(inner) = file.strip_prefix("site/") else { continue };
        let mut end = inner.find('/').unwrap_or(inner.len());
        while real.contains(&&inner[..end]) {
            end = inner[end + 1..].find('/').map_or(inner.len(), |next| end + 1 + next);
        }
        let link = LinkEntry { path: path(&inner[..end]), is_directory: end < inner.len() };
        if !plan.site_links.contains(&link) {
            plan.site_links.push(link);
        }
    }
    Package { name: name.parse().expect("a name"), plan, files: files.iter().copied().collect() }
}

/// Every leaf as `path <- package:source` and what was reported.
fn merged(packages: &[&Package], real_folders: bool) -> (Vec<String>, Vec<String>) {
    let mut sorted: Vec<&Package> = packages.to_vec();
    sorted.sort_by(|left, right| left.name.cmp(&right.name));
    let inputs: Vec<MergeInput<'_>> = sorted
        .iter()
        .map(|one| MergeInput {
            name: &one.name,
            plan: &one.plan,
            link: PackageLink::Dirs,
            detached: false,
            requested: false,
            direct_url: None,
        })
        .collect();
    let places = Places { site_packages: "site-packages", headers: "include", real_folders };
    let mut merger = Merger::new(places, &inputs);
    merger.own("bin/python", Own::Link("/usr/bin/python".to_owned()));
    merger.own("lib64", Own::Link("lib".to_owned()));
    let memory = Memory(sorted.iter().map(|one| one.files.clone()).collect());
    let tree = merger.merge(&memory).expect("merges");
    let mut leaves = Vec::new();
    print(&tree.root, "", &sorted, &mut leaves);
    let clash = |clash: &Clash| format!("{}: {} hides {:?}", clash.path, clash.kept, names(&clash.hidden));
    let refused = |one: &Refused| format!("{}: refused {}", one.path, one.package);
    (leaves, tree.clashes.iter().map(clash).chain(tree.refused.iter().map(refused)).collect())
}

fn names(names: &[PackageName]) -> Vec<&str> {
    names.iter().map(PackageName::as_str).collect()
}

fn print(children: &Children<'_>, above: &str, packages: &[&Package], out: &mut Vec<String>) {
    for (name, node) in children {
        let path = format!("{above}{name}");
        match node {
            Node::Directory(children) => {
                out.push(format!("{path}/"));
                print(children, &format!("{path}/"), packages, out);
            }
            Node::Leaf(Leaf::Object { package, source, .. }) => {
                out.push(format!("{path} <- {}:{source}", packages[*package].name));
            }
            Node::Leaf(Leaf::EntryPoint { package, .. } | Leaf::PythonScript { package, .. }) => {
                out.push(format!("{path} <- {}", packages[*package].name));
            }
            Node::Leaf(Leaf::Own { .. }) => out.push(format!("{path} own")),
        }
    }
}

/// The lines that are about neither `.dist-info` nor the environment's own files.
fn interesting(lines: &[String]) -> Vec<&str> {
    let boring = |line: &&str| line.contains(".dist-info") || line.starts_with("bin") || line.starts_with("lib64");
    lines.iter().map(String::as_str).filter(|line| !boring(line)).collect()
}

fn permutations<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    if items.len() < 2 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for position in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(position);
        all.extend(permutations(&rest).into_iter().map(|mut tail| {
            tail.insert(0, first);
            tail
        }));
    }
    all
}

#[test]
fn a_folder_of_one_package_is_one_link() {
    let numpy =
        package("numpy", &[], &[("site/numpy/__init__.py", ""), ("site/numpy/core/a.py", ""), ("site/n.py", "")]);
    let (leaves, reports) = merged(&[&numpy], false);
    assert_eq!(
        interesting(&leaves),
        ["site-packages/", "site-packages/n.py <- numpy:site/n.py", "site-packages/numpy <- numpy:site/numpy"]
    );
    assert!(reports.is_empty());
}

#[test]
fn shared_folders_are_merged_level_by_level_and_guarded() {
    let left = package("left", &[], &[("site/shared/a/x.py", "1"), ("site/shared/deep/l/y.py", "2")]);
    let right = package("right", &[], &[("site/shared/b/x.py", "1"), ("site/shared/deep/r/y.py", "2")]);
    let (leaves, reports) = merged(&[&left, &right], false);
    assert_eq!(
        interesting(&leaves),
        [
            "site-packages/",
            "site-packages/shared/",
            "site-packages/shared/.pip-accel-shared own",
            "site-packages/shared/a <- left:site/shared/a",
            "site-packages/shared/b <- right:site/shared/b",
            "site-packages/shared/deep/",
            "site-packages/shared/deep/.pip-accel-shared own",
            "site-packages/shared/deep/l <- left:site/shared/deep/l",
            "site-packages/shared/deep/r <- right:site/shared/deep/r",
        ]
    );
    assert!(reports.is_empty());
}

/// E16: all orders give the same tree and the same reports; removing a package brings the hidden file back.
#[test]
fn clashes_do_not_depend_on_the_order() {
    let files = |own: &'static str| [("site/cv/__init__.py", own), ("site/cv/equal.py", "="), ("site/data.txt", own)];
    let a = package("a", &[], &files("a"));
    let b = package("b", &[], &files("b"));
    let c = package("c", &["cv"], &files("c"));
    let d = package("d", &[], &[("site/cv", "a file where others have a folder"), ("site/data.txt", "a")]);
    let all = [&a, &b, &c, &d];
    let expected = merged(&all, false);
    for order in permutations(&all) {
        assert_eq!(merged(&order, false), expected);
        assert_eq!(merged(&order, true).1, expected.1);
    }
    assert_eq!(
        expected.1,
        [
            r#"site-packages/cv: a hides ["d"]"#,
            r#"site-packages/cv/__init__.py: a hides ["b", "c"]"#,
            r#"site-packages/data.txt: a hides ["b", "c"]"#,
        ]
    );
    let (without_a, _) = merged(&[&d, &c, &b], false);
    assert!(without_a.contains(&"site-packages/cv/__init__.py <- b:site/cv/__init__.py".to_owned()));
    let (only_d, reports) = merged(&[&d], false);
    assert!(only_d.contains(&"site-packages/cv <- d:site/cv".to_owned()));
    assert!(reports.is_empty());
}

#[test]
fn the_environments_own_files_win() {
    let evil = package(
        "evil",
        &[],
        &[
            ("data/bin/python", "x"),
            ("data/lib64/extra.txt", "x"),
            ("data/bin", "x"),
            ("site/evil-1.dist-info/RECORD", "x"),
            ("site/evil-1.dist-info/METADATA", "x"),
        ],
    );
    let (leaves, reports) = merged(&[&evil], false);
    assert!(leaves.contains(&"bin/python own".to_owned()), "{leaves:?}");
    assert!(leaves.contains(&"lib/extra.txt <- evil:data/lib64/extra.txt".to_owned()), "{leaves:?}");
    assert!(leaves.contains(&"site-packages/evil-1.dist-info/RECORD own".to_owned()), "{leaves:?}");
    assert_eq!(reports, ["bin: refused evil", "bin/python: refused evil"]);
}

#[test]
fn bytecode_folders_below_real_folders_are_real() {
    let six = package("six", &[], &[("site/six.py", ""), ("site/__pycache__/six.pyc", "")]);
    let (leaves, _) = merged(&[&six], false);
    let expected = "site-packages/__pycache__/six.pyc <- six:site/__pycache__/six.pyc".to_owned();
    assert!(leaves.contains(&expected), "{leaves:?}");
}

#[test]
fn a_link_below_a_linked_folder_of_another_package_opens_it() {
    let a = package("a", &[], &[("site/ns/a/x.py", ""), ("site/ns/c.py", "")]);
    let b = package("b", &["ns", "ns/a"], &[("site/ns/a/y.py", "")]);
    let (leaves, _) = merged(&[&a, &b], false);
    assert!(leaves.contains(&"site-packages/ns/a/x.py <- a:site/ns/a/x.py".to_owned()), "{leaves:?}");
    assert!(leaves.contains(&"site-packages/ns/a/y.py <- b:site/ns/a/y.py".to_owned()), "{leaves:?}");
}
