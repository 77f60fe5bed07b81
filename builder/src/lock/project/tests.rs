//! Locks of projects that lie: whatever the text, an answer comes, and it comes soon.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use crate::lock::{Choice, LoadedLock, LockError};
use crate::python::testing::marker_variables;

const PYLOCK: &str = r#"lock-version = "1.0"
environments = ["sys_platform == 'linux'", "python_version >= '3'"]
requires-python = ">=3.8"
extras = ["fast"]
dependency-groups = ["test"]
default-groups = ["main"]
created-by = "x"
[[packages]]
name = "a"
version = "1.0"
marker = "'main' in dependency_groups or 'fast' in extras"
requires-python = ">=3.6"
index = "https://index.example/simple"
sdist = { url = "https://index.example/a-1.0.tar.gz", upload-time = 2024-01-01T00:00:00Z, size = 3, hashes = { sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" } }
wheels = [{ name = "a-1.0-py3-none-any.whl", url = "https://index.example/a", hashes = { sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", md5 = "0" } }]
[[packages]]
name = "b"
vcs = { type = "git", url = "https://index.example/b.git", commit-id = "abc", subdirectory = "x" }
[[packages]]
name = "c"
directory = { path = ".", editable = true }
[[packages]]
name = "d"
archive = { path = "d-1.zip", size = 1, hashes = { sha512 = "00" } }
"#;

const UV: &str = r#"version = 1
revision = 3
requires-python = ">=3.8, <4"
resolution-markers = ["python_full_version >= '3.12'", "python_full_version < '3.12'"]
supported-markers = ["sys_platform == 'linux'"]
conflicts = [[{ package = "p", extra = "x" }, { package = "p", extra = "y" }]]
[manifest]
members = ["p", "q"]
[[package]]
name = "a"
version = "1.0"
source = { registry = "https://index.example/simple" }
dependencies = [{ name = "b", version = "2", source = { git = "https://index.example/b?rev=x#abc" }, marker = "extra == 'extra-1-p-x'", extra = ["e"] }, { name = "a" }]
sdist = { url = "https://index.example/a-1.0.tar.gz", hash = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", size = 1, upload-time = "2024-01-01T00:00:00Z" }
wheels = [{ url = "https://index.example/a-1.0-py3-none-any.whl", hash = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" }]
[package.optional-dependencies]
e = [{ name = "p", extra = ["x"] }]
[[package]]
name = "b"
version = "2"
source = { git = "https://index.example/b?rev=x#abc" }
[[package]]
name = "p"
version = "0"
source = { virtual = "." }
dependencies = [{ name = "a", extra = ["e"] }]
[package.optional-dependencies]
x = [{ name = "a" }]
[package.dev-dependencies]
dev = [{ name = "q" }]
[[package]]
name = "q"
source = { editable = "q" }
"#;

const POETRY: &str = r#"[[package]]
name = "a"
version = "1.0"
optional = true
groups = ["main", "dev"]
markers = {main = "extra == \"x\"", dev = "python_version >= \"3\""}
files = [{file = "a-1.0-py3-none-any.whl", hash = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}]
[package.dependencies]
b = [{version = "^1.0", markers = "os_name == 'x'"}, {version = ">=1 <2 || ~3", python = "<3", optional = true, extras = ["e"]}]
[package.extras]
e = ["b (>=1)"]
[package.source]
type = "legacy"
url = "https://index.example/simple"
reference = "x"
[extras]
x = ["a"]
[metadata]
lock-version = "2.1"
python-versions = "^3.8 || ~2.7"
"#;

const PIPFILE: &str = r#"{
    "_meta": {"hash": {"sha256": "0"}, "pipfile-spec": 6, "requires": {"python_version": "3.8"}, "sources": [{"name": "x", "url": "https://${A}@index.example/simple"}]},
    "default": {
        "a": {
            "hashes": ["sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"], "markers": "python_version >= '3'", "extras": ["x"], "version": "==1.0"
        },
        "b": {"git": "https://index.example/b", "ref": "abc"},
        "c": {"path": ".", "editable": true},
        "d": {"file": "https://index.example/d-1.zip"}
    },
    "develop": {}
}
"#;

const SAMPLES: [(&str, &str); 4] =
    [("pylock.toml", PYLOCK), ("uv.lock", UV), ("poetry.lock", POETRY), ("Pipfile.lock", PIPFILE)];

/// Everything that is done with a lock, for each choice.
fn read(file_name: &str, bytes: &[u8]) -> Result<LoadedLock, LockError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(file_name);
    std::fs::write(&path, bytes).expect("a file");
    load(&path)
}

fn load(path: &Path) -> Result<LoadedLock, LockError> {
    let choice = Choice { all_extras: true, ..Choice::default() };
    let lock = super::super::load(path, &choice, &|_| None)?;
    drop(lock.select(&marker_variables("3.11")).map_err(|error| error.to_string()));
    Ok(lock)
}

#[test]
fn the_samples_are_locks() {
    for (name, text) in SAMPLES {
        let lock = read(name, text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(lock.requirements.iter().any(|locked| locked.to_string() == "a==1.0"), "{name}");
    }
}

/// A lock may ask for more than it has room for; each question is answered once.
#[test]
fn rings_and_ladders_of_dependencies_end() {
    let mut text = "version = 1\n[[package]]\nname = 'p'\nversion = '0'\nsource = {virtual = '.'}\ndependencies = [{name = 'l0'}]\n"
        .to_owned();
    for step in 0..2000 {
        let next = (step + 1) % 2000;
        write!(
            text,
            "[[package]]\nname = 'l{step}'\nversion = '1'\nsource = {{registry = 'https://index.example'}}\n\
             dependencies = [{{name = 'l{next}', extra = ['e']}}, {{name = 'l{next}'}}, {{name = 'l{next}', extra = ['f']}}]\n\
             [package.optional-dependencies]\ne = [{{name = 'l{next}', extra = ['e', 'f']}}]\nf = [{{name = 'l{next}'}}]\n"
        )
        .expect("a text");
    }
    let lock = read("uv.lock", text.as_bytes()).expect("a lock");
    let refused = lock.select(&marker_variables("3.11")).expect_err("no file has a hash");
    assert!(matches!(refused, LockError::Refused { problems } if problems.len() == 2000));
}

#[test]
fn too_many_versions_of_one_project_are_refused() {
    let mut text = "version = 1\n".to_owned();
    for version in 0..100 {
        write!(
            text,
            "[[package]]\nname = 'a'\nversion = '{version}'\nsource = {{registry = 'https://index.example'}}\n"
        )
        .expect("a text");
    }
    let refused = read("uv.lock", text.as_bytes()).expect_err("a refusal").to_string();
    assert!(refused.contains("`a` is locked in more than 64 versions"), "{refused}");
}

#[test]
fn deep_nesting_is_an_error() {
    for (name, text) in [
        ("pylock.toml", format!("lock-version = '1.0'\npackages = {}", "[".repeat(200_000))),
        ("pylock.toml", format!("lock-version = '1.0'\nx{} = 1\n", ".x".repeat(200_000))),
        ("uv.lock", format!("version = 1\nx = {}\n", "{a = ".repeat(200_000))),
        ("Pipfile.lock", "[".repeat(200_000)),
        ("Pipfile.lock", format!("{{\"default\": {}", "{\"a\": ".repeat(200_000))),
    ] {
        assert!(read(name, text.as_bytes()).is_err(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Locks with bytes left out, repeated, exchanged: never a panic.
    #[test]
    fn no_damaged_lock_makes_it_panic(
        sample in 0..SAMPLES.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize, 0..4_u8, any::<u8>()), 1..6),
    ) {
        let (name, text) = SAMPLES[sample];
        let mut bytes = text.as_bytes().to_vec();
        for (place, length, kind, byte) in edits {
            let start = place.index(bytes.len().max(1)).min(bytes.len());
            let end = (start + length).min(bytes.len());
            match kind {
                0 => drop(bytes.drain(start..end)),
                1 => {
                    let part = bytes[start..end].to_vec();
                    bytes.splice(start..start, part);
                }
                2 => bytes.insert(start, byte),
                _ => bytes.splice(start..end, *b"\"\"").for_each(drop),
            }
        }
        drop(read(name, &bytes).map_err(|error| error.to_string()));
    }
}
