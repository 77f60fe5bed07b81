//! pip's installation report, version 1: what is installed, from which files, with all metadata.

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::link_plan::SITE_FOLDER;
use pip_accel_schema::manifest::Provenance;
use serde_json::{Map, Value, json};

use super::change::ChangedPackage;
use super::error::InstallError;
use super::scheme::parts;
use crate::python::metadata::METADATA_BYTES_MAX;
use crate::realize::link::Part;
use crate::session::Session;
use std::io::Read;
use std::sync::Arc;

/// Fields of which there may be several, by their names in the report.
const LISTS: [&str; 15] = [
    "classifier",
    "dynamic",
    "license_file",
    "obsoletes",
    "obsoletes_dist",
    "platform",
    "project_url",
    "provides",
    "provides_dist",
    "provides_extra",
    "requires",
    "requires_dist",
    "requires_external",
    "supported_platform",
    "import_name",
];

/// The report of `packages`. What the store lacks of them is fetched or built: only then is it known.
///
/// # Errors
/// A package can't be had.
pub fn report(session: &Arc<Session>, packages: &[ChangedPackage], version: &str) -> Result<Value, InstallError> {
    let parts = parts(session, packages)?;
    let install: Vec<Value> =
        parts.iter().zip(packages).map(|(part, package)| entry(session, part, package)).collect::<Result<_, _>>()?;
    Ok(json!({
        "version": "1",
        "pip_version": version,
        "install": install,
        "environment": session.python.interpreter.markers,
    }))
}

fn entry(session: &Session, part: &Part, package: &ChangedPackage) -> Result<Value, InstallError> {
    let object = &part.tree.object;
    let sha256 = match &object.provenance {
        Provenance::Source { sha256, .. } | Provenance::Wheel { sha256, .. } => *sha256,
        Provenance::Build { recipe, .. } => recipe.source,
    };
    let direct: Option<Value> = part.direct_url.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let is_direct = direct.is_some();
    let download = match direct {
        Some(direct) => direct,
        None => json!({
            "url": place(session, &sha256)?,
            "archive_info": { "hash": format!("sha256={sha256}"), "hashes": { "sha256": sha256.to_string() } },
        }),
    };
    let plan = object.link_plan.as_deref();
    let file = plan.map(|plan| object.path.join(SITE_FOLDER).join(&plan.dist_info).join("METADATA"));
    let mut text = Vec::new();
    if let Some(file) = file {
        let opened = std::fs::File::open(&file).map_err(InstallError::io("read", &file))?;
        opened.take(METADATA_BYTES_MAX).read_to_end(&mut text).map_err(InstallError::io("read", &file))?;
    }
    let selection = package.planned.selection.as_ref();
    Ok(json!({
        "download_info": download,
        "is_direct": is_direct,
        "is_yanked": selection.is_some_and(|selection| selection.yanked.is_some()),
        "requested": part.requested,
        "metadata": metadata(&text),
    }))
}

/// Where the file is now: in the store. Its address in an index is not kept.
fn place(session: &Session, sha256: &Sha256Digest) -> Result<String, InstallError> {
    let Some(source) = session.lease.take_source(sha256)? else { return Ok(String::new()) };
    let Provenance::Source { file_name, .. } = &source.provenance else { return Ok(String::new()) };
    let url = url::Url::from_file_path(source.path.join(file_name));
    Ok(url.map(|url| url.to_string()).unwrap_or_default())
}

/// Core metadata as JSON (PEP 566): names in small letters with `_`, the long description with the others.
fn metadata(text: &[u8]) -> Value {
    let mut map = Map::new();
    let Ok((headers, body)) = mailparse::parse_headers(text) else { return Value::Object(map) };
    for header in headers {
        let name = header.get_key_ref().to_ascii_lowercase().replace('-', "_");
        let value = String::from_utf8_lossy(header.get_value_raw()).trim().to_owned();
        if LISTS.contains(&name.as_str()) {
            if let Value::Array(list) = map.entry(name).or_insert_with(|| json!([])) {
                list.push(Value::String(value));
            }
        } else if name == "keywords" {
            let words: Vec<&str> = value.split(',').map(str::trim).collect();
            map.insert(name, json!(words));
        } else {
            map.insert(name, Value::String(value));
        }
    }
    let body = String::from_utf8_lossy(text.get(body..).unwrap_or_default());
    if !body.trim().is_empty() && !map.contains_key("description") {
        map.insert("description".to_owned(), Value::String(body.trim_start_matches(['\r', '\n']).to_owned()));
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_become_json() {
        let text = "Metadata-Version: 2.1\nName: A.b\nVersion: 1\nRequires-Dist: x\nRequires-Dist: y\nKeywords: p, q\n\nText\n";
        let expected = json!({
            "metadata_version": "2.1", "name": "A.b", "version": "1", "requires_dist": ["x", "y"],
            "keywords": ["p", "q"], "description": "Text\n",
        });
        assert_eq!(metadata(text.as_bytes()), expected);
    }
}
