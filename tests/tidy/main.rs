//! The rules of the repository, as tests: what a reviewer would otherwise have to remember.

mod original;
mod source;

use std::collections::BTreeMap;
use std::process::Command;

use source::{code_only, files, functions, root};

/// Longest file, in lines without its inline tests.
const FILE_LINES_MAX: usize = 500;
/// Longest function, in lines from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// The crates from left to right; each may use those to its left only.
const CRATES: [&str; 5] =
    ["pip-accel-schema", "pip-accel-store", "pip-accel-builder", "pip-accel-cli", "pip-accel-tests"];

fn fail_if_any(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n{}", violations.join("\n"));
}

fn cargo_metadata(arguments: &[&str]) -> serde_json::Value {
    let cargo = pip_accel_tests::host::variable("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs the tests");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Direct dependencies of each crate of the workspace: name and kind (`normal`, `dev`, `build`).
fn dependencies() -> BTreeMap<String, Vec<(String, String)>> {
    let metadata = cargo_metadata(&["--no-deps"]);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("normal").to_owned();
    let packages = metadata["packages"].as_array().expect("documented");
    let of = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().expect("documented");
        (text(&package["name"]), dependencies.iter().map(|d| (text(&d["name"]), text(&d["kind"]))).collect())
    };
    packages.iter().map(of).collect()
}

#[test]
fn crates_use_only_crates_to_their_left() {
    let dependencies = dependencies();
    let mut violations = Vec::new();
    for (position, name) in CRATES.iter().enumerate() {
        for (dependency, _) in &dependencies[*name] {
            if CRATES.iter().position(|other| other == dependency).is_some_and(|other| other >= position) {
                violations.push(format!("{name} uses {dependency}"));
            }
        }
    }
    assert_eq!(dependencies.len(), CRATES.len(), "a crate of the workspace is not in the list of this test");
    fail_if_any("an arrow of the architecture is turned around", &violations);
}

#[test]
fn crates_keep_to_their_trade() {
    // schema: an allow-list, because "pure" is a promise about everything that is not listed.
    const PURE: [&str; 7] = ["blake3", "data-encoding", "memchr", "serde", "serde_json", "thiserror", "toml"];
    let banned: [(&str, &[&str]); 3] = [
        ("pip-accel-store", &["tokio", "reqwest", "clap", "indicatif", "uv-pep440", "uv-pep508", "uv-normalize"]),
        ("pip-accel-builder", &["rusqlite", "clap", "indicatif"]),
        ("pip-accel-cli", &["rusqlite", "reqwest", "tar", "zip"]),
    ];
    let dependencies = dependencies();
    let mut violations = Vec::new();
    for (name, kind) in &dependencies["pip-accel-schema"] {
        if kind == "normal" && !PURE.contains(&name.as_str()) {
            violations.push(format!("schema uses {name}"));
        }
    }
    for (name, banned) in banned {
        for (dependency, kind) in &dependencies[name] {
            if kind == "normal" && banned.contains(&dependency.as_str()) {
                violations.push(format!("{name} uses {dependency}"));
            }
        }
    }
    fail_if_any("a crate reaches beyond its trade", &violations);
}

#[test]
fn no_crate_brings_in_a_whole_package_manager() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("it is tracked");
    for name in ["uv-client", "uv-distribution-types", "uv-resolver", "openssl-sys"] {
        assert!(!lock.contains(&format!("name = \"{name}\"")), "{name} is in the tree");
    }
}

/// The same rule as in `deny.toml`, for machines without cargo-deny: each dependency has a licence that is not of the GPL family.
#[test]
fn no_dependency_is_copyleft() {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc belongs to cargo");
    let rustc = String::from_utf8(rustc.stdout).expect("rustc writes text");
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc tells its host");
    let metadata = cargo_metadata(&["--filter-platform", host, "--locked"]);
    let mut violations = Vec::new();
    for package in metadata["packages"].as_array().expect("documented") {
        let licence = package["license"].as_str().unwrap_or_default();
        let is_fine = licence
            .split([' ', '/', '(', ')'])
            .filter(|word| !word.is_empty())
            .any(|word| !["OR", "AND", "WITH", "LLVM-exception"].contains(&word) && !word.contains("GPL"));
        if !is_fine && package["license_file"].is_null() {
            violations.push(format!("{} {}: `{licence}`", package["name"], package["version"]));
        }
    }
    fail_if_any("licences", &violations);
}

#[test]
fn files_and_functions_are_short() {
    let mut violations = Vec::new();
    for file in files().iter().filter(|file| file.is_rust()) {
        let lines = file.net_text().lines().count();
        if lines > FILE_LINES_MAX {
            violations.push(format!("{}: {lines} lines (at most {FILE_LINES_MAX})", file.path));
        }
        for (name, line, lines) in functions(&code_only(&file.text)) {
            if lines > FUNCTION_LINES_MAX {
                violations
                    .push(format!("{}:{line}: `{name}` has {lines} lines (at most {FUNCTION_LINES_MAX})", file.path));
            }
        }
    }
    fail_if_any("too long", &violations);
}

#[test]
fn every_scenario_is_shown_by_the_whole_program() {
    const SCENARIOS: &str = "A1 A2 A3 A4 A5 A7 A8 A9 A11 A12 A13 A14 A15 A16 A17 A18 A19 \
        B1 B2 B3 B4 B6 B7 B8 B9 B10 B11 B12 B13 B14 B15 B16 B17 C1 C2 C3 C4 C5 C7 C8 C11 C12 C13 C16 \
        D1 D2 D3 D4 D5 D7 D11 D13 E1 E2 E4 E6 E8 E9 E12 E14 E15";
    let mut shown = Vec::new();
    for file in files().iter().filter(|file| file.is_rust() && file.path.starts_with("tests/integration/")) {
        let comments = file.text.lines().filter_map(|line| line.trim_start().strip_prefix("/// "));
        let numbers = comments.filter_map(|comment| comment.split_once(':')).map(|(numbers, _)| numbers);
        shown.extend(numbers.flat_map(|numbers| numbers.split(", ")).map(str::to_owned));
    }
    let violations: Vec<String> =
        SCENARIOS.split(' ').filter(|scenario| !shown.iter().any(|one| one == scenario)).map(str::to_owned).collect();
    fail_if_any("scenarios that no doc comment of an integration test begins with", &violations);
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let violations: Vec<String> = files()
        .iter()
        .filter(|file| file.is_rust() && !file.text.starts_with("//!"))
        .map(|file| format!("{} has no `//!` header", file.path))
        .collect();
    fail_if_any("undocumented", &violations);
}

#[test]
fn exceptions_give_their_reason_and_nothing_unwraps() {
    let mut violations = Vec::new();
    let allow = ["#[", "allow("].concat();
    for file in files().iter().filter(|file| file.is_rust()) {
        let code = code_only(&file.text);
        if code.contains(&allow) || code.contains(&allow.replace("#[", "#![")) {
            violations.push(format!("{}: an `allow` attribute; use `expect` with a reason", file.path));
        }
        let net = code_only(file.net_text());
        if !file.is_test_code() && net.contains(".unwrap()") {
            violations.push(format!("{}: unwrap outside tests", file.path));
        }
    }
    fail_if_any("lints", &violations);
}

#[test]
fn tests_wait_for_conditions() {
    let sleep = ["sleep", "("].concat();
    let violations: Vec<String> = files()
        .iter()
        .filter(|file| file.is_rust() && code_only(file.test_text()).contains(&sleep))
        .map(|file| format!("{}: a test sleeps; wait for the condition itself", file.path))
        .collect();
    fail_if_any("sleeping tests", &violations);
}

/// The index is what the user's pip says it is; a host name in the code would be a second opinion.
#[test]
fn no_registry_is_named() {
    let hosts: [&[&str]; 7] = [
        &["pypi", ".org"],
        &["python", "hosted.org"],
        &["pypi.python", ".org"],
        &["crates", ".io"],
        &["deb.", "debian.org"],
        &["security.", "debian.org"],
        &["archive.", "ubuntu.com"],
    ];
    let mut violations = Vec::new();
    for file in files().iter().filter(|file| file.path != "Cargo.lock") {
        for host in hosts.iter().map(|parts| parts.concat()) {
            if file.text.contains(&host) {
                violations.push(format!("{} names {host}", file.path));
            }
        }
    }
    fail_if_any("registry hosts", &violations);
}

/// A variable of the tests that the installed program knew could take its guards away.
#[test]
fn the_installed_program_knows_no_variable_of_the_tests() {
    let name = ["PIP_ACCEL", "TEST_"].join("_");
    let is_shipped =
        |path: &str| ["schema/", "store/", "builder/", "cli/"].iter().any(|folder| path.starts_with(folder));
    let found = files()
        .into_iter()
        .filter(|file| is_shipped(&file.path) && !file.path.contains("/tests/") && file.text.contains(&name));
    fail_if_any("variables of the tests", &found.map(|file| file.path.clone()).collect::<Vec<_>>());
}

#[test]
fn no_path_of_one_machine() {
    let prefixes: [&[&str]; 5] =
        [&["/wo", "rk/main"], &["/wo", "rk/shared"], &["/var/", "tmp/wt"], &["/var/", "tmp/target"], &["/ro", "ot/."]];
    let mut violations = Vec::new();
    for file in files() {
        for prefix in prefixes.iter().map(|parts| parts.concat()) {
            if file.text.contains(&prefix) {
                violations.push(format!("{} mentions {prefix}", file.path));
            }
        }
    }
    fail_if_any("machine paths", &violations);
}

#[test]
fn the_changelog_has_a_place_for_the_next_entry() {
    let text = std::fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md is tracked");
    assert!(text.contains("## [Unreleased]"), "CHANGELOG.md lacks `## [Unreleased]`");
}

/// The example lock must really show what it claims to show.
#[test]
fn the_example_locks_are_what_the_documents_say() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("it is tracked");
    let pins = |text: &str| text.lines().filter(|line| line.contains("==") && !line.starts_with([' ', '#'])).count();
    let demo = read("docs/demo/requirements.lock");
    assert!(pins(&demo) >= 25, "the example lock has {} pins", pins(&demo));
    assert!(demo.lines().filter(|line| line.starts_with("--no-binary ")).count() >= 4);
    assert!(demo.contains("\nnumpy=="));
    assert_eq!(pins(&read("docs/bench/requirements-100.lock")), 100);
}
