//! The package index of a bundle (PEP 503), for installers that know nothing of stores.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pip_accel_schema::bundle::{BUNDLE_INDEX_FOLDER, package_members};
use pip_accel_schema::manifest::{EntryKind, EntryPath, ObjectRecord, Provenance};
use pip_accel_store::BundlePageText;

/// What a path in a link may hold as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `simple/index.html`, and a page for each project that has a file; none without files. Sorted by path.
pub(super) fn index_pages(objects: &[ObjectRecord]) -> Vec<BundlePageText> {
    let members = package_members(objects);
    let mut projects: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for object in objects {
        let Provenance::Source { file_name, sha256 } = &object.provenance else { continue };
        let Some(EntryKind::File { digest, .. }) = object.manifest.entries().first().map(|entry| &entry.kind) else {
            continue;
        };
        let Some((member, _)) = members.get(digest) else { continue };
        let href = format!("../../{}#sha256={sha256}", utf8_percent_encode(member, PATH));
        projects.entry(object.name.as_str()).or_default().insert(file_name, href);
    }
    if projects.is_empty() {
        return Vec::new();
    }
    let links = projects.keys().map(|name| (*name, format!("{name}/")));
    let mut pages = vec![(format!("{BUNDLE_INDEX_FOLDER}/index.html"), page("Simple index", links))];
    for (name, files) in projects {
        let links = files.into_iter();
        pages.push((format!("{BUNDLE_INDEX_FOLDER}/{name}/index.html"), page(&format!("Links for {name}"), links)));
    }
    pages.sort();
    let parsed = |(path, text): (String, String)| EntryPath::parse(&path).ok().map(|path| (path, text));
    pages.into_iter().filter_map(parsed).collect()
}

fn page<'a>(title: &str, links: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut text = format!(
        "<!DOCTYPE html>\n<html>\n<head><meta charset=\"utf-8\"><meta name=\"pypi:repository-version\" content=\"1.0\">\
         <title>{title}</title></head>\n<body>\n"
    );
    for (name, href) in links {
        text.push_str(&format!("<a href=\"{}\">{}</a><br>\n", escaped(&href), escaped(name)));
    }
    text.push_str("</body>\n</html>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_html_or_urls_is_escaped() {
        let href = utf8_percent_encode("packages/a-1+b?#%.whl", PATH).to_string();
        assert_eq!(href, "packages/a-1%2Bb%3F%23%25.whl");
        assert_eq!(page("t", [("a<b", "x\"y".to_owned())].into_iter()).matches("x&quot;y\">a&lt;b</a>").count(), 1);
    }

    #[test]
    fn no_files_no_index() {
        assert_eq!(index_pages(&[]), []);
    }
}
