//! The pages of the loopback index, made from the files of its directory.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::name::PackageName;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::request::percent_encode;

/// Which pages the index gives, whatever is asked for (except [`PageMode::Negotiated`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageMode {
    /// JSON or HTML, as the `Accept` header says.
    Negotiated,
    /// PEP 691.
    Json,
    /// PEP 503.
    Html,
    /// PEP 691 with empty `hashes`.
    JsonWithoutHashes,
    /// PEP 503 without fragments.
    HtmlWithoutHashes,
}

/// What a page says about a file beyond its name and hash.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    pub(super) yanked: Option<String>,
    pub(super) requires_python: Option<String>,
    pub(super) upload_time: Option<String>,
    /// Announced instead of the real one.
    pub(super) sha256: Option<Sha256Digest>,
}

/// A file of the directory as a page lists it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) sha256: Sha256Digest,
    pub(super) extra: Extra,
}

/// Hashes by file name, kept as long as size and modification time stay.
pub(super) type HashCache = HashMap<String, (u64, Option<SystemTime>, Sha256Digest)>;

/// The files of `directory` (of one project, or all), sorted by name.
pub(super) fn list(directory: &Path, project: Option<&PackageName>, hashes: &mut HashCache) -> Vec<Listed> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the index's directory is readable").flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_wanted = project.is_none_or(|project| project_of(&name).as_ref() == Some(project));
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if !is_wanted || !metadata.is_file() {
            continue;
        }
        let key = (metadata.len(), metadata.modified().ok());
        let sha256 = match hashes.get(&name) {
            Some((size, modified, sha256)) if (*size, *modified) == key => *sha256,
            _ => {
                let Ok(content) = std::fs::read(entry.path()) else { continue };
                let sha256 = sha256_of(&content);
                hashes.insert(name.clone(), (key.0, key.1, sha256));
                sha256
            }
        };
        files.push(Listed { name, size: metadata.len(), sha256, extra: Extra::default() });
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    files
}

/// SHA-256 of `content`.
#[must_use]
pub fn sha256_of(content: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(content).into())
}

/// The project that a file name belongs to: a wheel's first part, an sdist's name without its last part.
pub(super) fn project_of(file_name: &str) -> Option<PackageName> {
    if file_name.ends_with(".whl") {
        return file_name.split('-').next()?.parse().ok();
    }
    let suffixes = [".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip"];
    let stem = suffixes.iter().find_map(|suffix| file_name.strip_suffix(suffix))?;
    stem.rsplit_once('-')?.0.parse().ok()
}

/// The PEP 691 page of a project; links are `base` plus the file's name.
pub(super) fn json_page(project: &str, base: &str, files: &[Listed], with_hashes: bool) -> Vec<u8> {
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            let sha256 = file.extra.sha256.unwrap_or(file.sha256).to_hex();
            let mut value = json!({
                "filename": file.name,
                "url": format!("{base}{}", percent_encode(&file.name)),
                "hashes": if with_hashes { json!({ "sha256": sha256 }) } else { json!({}) },
                "size": file.size,
                "yanked": file.extra.yanked.clone().map_or(Value::Bool(false), Value::String),
            });
            if let Some(text) = &file.extra.requires_python {
                value["requires-python"] = json!(text);
            }
            if let Some(text) = &file.extra.upload_time {
                value["upload-time"] = json!(text);
            }
            value
        })
        .collect();
    json!({ "meta": { "api-version": "1.1" }, "name": project, "files": files }).to_string().into_bytes()
}

/// The PEP 503 page of the same files.
pub(super) fn html_page(project: &str, base: &str, files: &[Listed], with_hashes: bool) -> Vec<u8> {
    let mut page = format!("<!DOCTYPE html>\n<html><head><title>{project}</title></head><body>\n");
    for file in files {
        let fragment = if with_hashes {
            format!("#sha256={}", file.extra.sha256.unwrap_or(file.sha256).to_hex())
        } else {
            String::new()
        };
        let _infallible = write!(page, "<a href=\"{base}{}{fragment}\"", percent_encode(&file.name));
        if let Some(text) = &file.extra.requires_python {
            let _infallible = write!(page, " data-requires-python=\"{}\"", escape(text));
        }
        if let Some(text) = &file.extra.yanked {
            let _infallible = write!(page, " data-yanked=\"{}\"", escape(text));
        }
        let _infallible = writeln!(page, ">{}</a><br>", escape(&file.name));
    }
    page.push_str("</body></html>\n");
    page.into_bytes()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
