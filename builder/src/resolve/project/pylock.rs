//! `pylock.toml` (PEP 751): the resolver writes it, this module makes it fit to be kept: without credentials and
//! absolute paths, the same whatever made it, one file a line, and with the locked builds, for which the format has no
//! place of its own, in `[tool.pip-accel]`.

use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};
use url::Url;

use super::answer::ResolvedTarget;
use super::error::ProjectError;
use super::inputs::InputFile;
use super::location::{relative, without_user_info};
use super::solve::answer_of;
use super::{LockedBuilds, ProjectInputs, ProjectRequest, Resolution, Upgrade};
use crate::realize::error::RealizeError;
use crate::realize::run;
use crate::session::Session;

/// Keys of a package in the order in which the specification has them; others follow.
const PACKAGE_KEYS: [&str; 11] = [
    "name",
    "version",
    "marker",
    "requires-python",
    "dependencies",
    "vcs",
    "directory",
    "archive",
    "index",
    "sdist",
    "wheels",
];

/// The text of a `pylock.toml` in the folder `base` for `resolution`, which was made for `request`.
///
/// # Errors
/// As [`super::resolve_project`].
pub fn pylock(
    session: &Arc<Session>,
    request: &ProjectRequest,
    (resolution, builds): (&Resolution, &LockedBuilds),
    base: &Path,
) -> Result<String, ProjectError> {
    let mut request = request.clone();
    // The same solution once more: nothing but what was chosen is allowed.
    request.inputs.files.push(InputFile { label: String::new(), is_constraints: true, lines: pins(resolution) });
    request.preferences.clear();
    request.upgrade = Upgrade::Nothing;
    let text = run(session, answer_of(session, &request, "pylock.toml"))??;
    if session.cancel.is_interrupted() {
        return Err(ProjectError::Run(RealizeError::Interrupted));
    }
    let table: Table = text.parse().map_err(|error: toml::de::Error| ProjectError::Pylock(Box::new(error)))?;
    Ok(written(table, builds, (&request.inputs, base)))
}

fn pins(resolution: &Resolution) -> Vec<String> {
    let pin = |pin: &super::ResolvedPin| match (&pin.name, &pin.target) {
        (Some(name), ResolvedTarget::Release(version)) => {
            let marker = pin.marker.as_ref().map(|marker| format!(" ; {marker}")).unwrap_or_default();
            Some(format!("{name}=={version}{marker}"))
        }
        _ => None,
    };
    resolution.pins.iter().filter_map(pin).collect()
}

fn written(mut table: Table, builds: &LockedBuilds, places: (&ProjectInputs, &Path)) -> String {
    let packages = match table.remove("packages") {
        Some(Value::Array(packages)) => packages,
        _ => Vec::new(),
    };
    table.insert("created-by".to_owned(), Value::String("pip-accel".to_owned()));
    let mut text = String::new();
    let first = ["lock-version", "created-by"];
    let others = table.keys().map(String::as_str).filter(|key| !first.contains(key) && *key != "tool");
    for key in first.into_iter().chain(others) {
        if let Some(value) = table.get(key) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    for package in packages {
        let Value::Table(mut package) = package else { continue };
        make_portable(&mut package, places);
        text.push_str("\n[[packages]]\n");
        let others = package.keys().map(String::as_str).filter(|key| !PACKAGE_KEYS.contains(key));
        for key in PACKAGE_KEYS.into_iter().chain(others) {
            if let Some(value) = package.get(key) {
                push(&mut text, key, value);
            }
        }
    }
    push_builds(&mut text, builds);
    text
}

/// A list of tables with one table a line, so that one more file is one more line.
fn push(text: &mut String, key: &str, value: &Value) {
    match value {
        Value::Array(items) if items.iter().any(Value::is_table) => {
            text.push_str(&format!("{key} = [\n"));
            for item in items {
                text.push_str(&format!("    {item},\n"));
            }
            text.push_str("]\n");
        }
        value => text.push_str(&format!("{key} = {value}\n")),
    }
}

fn push_builds(text: &mut String, builds: &LockedBuilds) {
    for build in &builds.builds {
        text.push_str("\n[[tool.pip-accel.builds]]\n");
        text.push_str(&format!("name = \"{}\"\nversion = \"{}\"\nrequirements = [\n", build.name, build.version));
        for requirement in &build.requirements {
            let hashes: Vec<String> = requirement.hashes.iter().map(|hash| format!("\"sha256:{hash}\"")).collect();
            text.push_str(&format!(
                "    {{ name = \"{}\", version = \"{}\", hashes = [{}] }},\n",
                requirement.name,
                requirement.version,
                hashes.join(", ")
            ));
        }
        text.push_str("]\n");
    }
}

/// URLs without credentials, and paths of this machine as the lock sees them.
fn make_portable(table: &mut Table, places: (&ProjectInputs, &Path)) {
    let (inputs, base) = places;
    for key in ["url", "index"] {
        let Some(Value::String(url)) = table.get(key) else { continue };
        let local = Url::parse(url).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        match local {
            Some(path) if key == "url" => {
                table.remove(key);
                table.insert("path".to_owned(), Value::String(relative(&path, base)));
            }
            // Of a folder of files.
            Some(_) => drop(table.remove(key)),
            None => {
                let shown = if key == "url" { inputs.shown_url(url) } else { without_user_info(url) };
                table.insert(key.to_owned(), Value::String(shown));
            }
        }
    }
    if let Some(Value::String(path)) = table.get("path") {
        let shown = if path.starts_with('/') { relative(Path::new(path), base) } else { path.clone() };
        table.insert("path".to_owned(), Value::String(shown));
    }
    for value in table.iter_mut().map(|(_, value)| value) {
        match value {
            Value::Table(inner) => make_portable(inner, places),
            Value::Array(items) => {
                for item in items {
                    if let Value::Table(inner) = item {
                        make_portable(inner, places);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What a `pylock.toml` pins, as the lines of a requirements file: enough to keep its versions and to tell two apart.
/// `None` for what is no `pylock.toml`.
#[must_use]
pub fn pylock_as_requirements(text: &str) -> Option<String> {
    let table: Table = text.parse().ok()?;
    table.get("lock-version")?;
    let mut lines = String::new();
    for package in table.get("packages").and_then(Value::as_array).into_iter().flatten() {
        let text_of = |key: &str| package.get(key).and_then(Value::as_str);
        let Some(name) = text_of("name") else { continue };
        let Some(version) = text_of("version").filter(|_| package.get("archive").is_none()) else {
            let place = ["archive", "directory", "vcs"].iter().find_map(|key| {
                let table = package.get(key)?;
                let url = table.get("url").or_else(|| table.get("path"))?.as_str()?;
                Some(format!("{url} {}", table.get("commit-id").and_then(Value::as_str).unwrap_or_default()))
            });
            let place = place.unwrap_or_default().trim().replace(char::is_whitespace, "@");
            if !place.is_empty() {
                lines.push_str(&format!("{name} @ {place}\n"));
            }
            continue;
        };
        lines.push_str(&format!("{name}=={version}"));
        if let Some(marker) = text_of("marker") {
            lines.push_str(&format!(" ; {marker}"));
        }
        let wheels = package.get("wheels").and_then(Value::as_array).into_iter().flatten();
        for file in wheels.chain(package.get("sdist")) {
            let hash = file.get("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str);
            lines.push_str(&hash.map(|hash| format!(" --hash=sha256:{hash}")).unwrap_or_default());
        }
        lines.push('\n');
    }
    let builds = table.get("tool").and_then(|tool| tool.get("pip-accel")?.get("builds")?.as_array());
    for build in builds.into_iter().flatten() {
        let text_of = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let (Some(name), Some(version)) = (text_of(build, "name"), text_of(build, "version")) else { continue };
        lines.push_str(&format!("#: build {name}=={version}\n"));
        for requirement in build.get("requirements").and_then(Value::as_array).into_iter().flatten() {
            let (Some(name), Some(version)) = (text_of(requirement, "name"), text_of(requirement, "version")) else {
                continue;
            };
            lines.push_str(&format!("#:   {name}=={version}"));
            for hash in requirement.get("hashes").and_then(Value::as_array).into_iter().flatten() {
                lines.push_str(&hash.as_str().map(|hash| format!(" --hash={hash}")).unwrap_or_default());
            }
            lines.push('\n');
        }
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{LockedBuildRequirement, UnlockedBuild};

    #[test]
    fn a_pylock_has_no_secret_and_no_absolute_path() {
        let digest = "ab".repeat(32);
        let text = format!(
            "lock-version = \"1.0\"\ncreated-by = \"uv\"\n[[packages]]\nname = \"a\"\nversion = \"1\"\n\
             index = \"https://u:p@h.example/simple\"\nwheels = [{{ url = \"https://u:p@h.example/a-1-py3-none-any.whl\", \
             hashes = {{ sha256 = \"{digest}\" }} }}, {{ url = \"file:///nowhere/files/a-1.whl\" }}]\n\
             [[packages]]\nname = \"b\"\ndirectory = {{ path = \"/nowhere/b\" }}\n"
        );
        let builds = LockedBuilds {
            builds: vec![UnlockedBuild {
                name: "a".parse().expect("a name"),
                version: "1".parse().expect("a version"),
                requirements: vec![LockedBuildRequirement {
                    name: "c".parse().expect("a name"),
                    version: "2".parse().expect("a version"),
                    hashes: vec![digest.parse().expect("a digest")],
                }],
            }],
            failed: Vec::new(),
        };
        let inputs = ProjectInputs::default();
        let made = written(text.parse().expect("TOML"), &builds, (&inputs, Path::new("/nowhere")));
        assert!(!made.contains("u:p") && !made.contains("/nowhere"), "{made}");
        assert!(made.contains("path = \"files/a-1.whl\"") && made.contains("path = \"b\""), "{made}");
        let again: Table = made.parse().expect("TOML");
        assert_eq!(again.get("created-by").and_then(Value::as_str), Some("pip-accel"));
        let lines = pylock_as_requirements(&made).expect("a pylock");
        let expected = format!("a==1 --hash=sha256:{digest}\nb @ b\n#: build a==1\n#:   c==2 --hash=sha256:{digest}\n");
        assert_eq!(lines, expected);
        assert_eq!(pylock_as_requirements("a==1\n"), None);
    }
}
