//! What an index says about a project: PEP 691 JSON and PEP 503 HTML turned into one list of files.
//!
//! Pure: bytes in, values out. Entries that make no sense (names with `/`, URLs that do not parse) are left out,
//! because one strange upload must not hide a project; a page that is not an index page at all is an error.

use std::collections::BTreeMap;
use std::io::{self, Read};

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};
use pip_accel_schema::digest::Sha256Digest;
use serde::Deserialize;
use url::Url;

use super::safe_url::{SafeUrl, strip_credentials};

/// Largest page read, in bytes after inflating; the largest projects of the public index have about 20 MB.
pub const INDEX_PAGE_BYTES_MAX: u64 = 64 << 20;

/// Longest file name accepted, in bytes: what a file system takes.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// What is asked for, best first (PEP 691); pip sends the same.
pub(super) const ACCEPT_PAGE: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01";

/// Where a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOrigin {
    /// On a project's page of an index.
    Index,
    /// In a place of `--find-links`.
    FindLinks,
    /// Named by the lock itself (`name @ url`, a path).
    Direct,
}

/// One file as its index publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFile {
    /// The file's name: no directory, at most [`FILE_NAME_BYTES_MAX`] bytes.
    pub file_name: String,
    /// Where it lies, without fragment.
    pub url: SafeUrl,
    /// Its SHA-256, if the index says so.
    pub sha256: Option<Sha256Digest>,
    /// Its size in bytes, if the index says so.
    pub size: Option<u64>,
    /// `Requires-Python` of the release as written.
    pub requires_python: Option<String>,
    /// The reason why it was yanked (PEP 592), which may be empty; `None` if it was not.
    pub yanked: Option<String>,
    /// When it was uploaded, as written (RFC 3339).
    pub upload_time: Option<String>,
    /// Where it was found.
    pub origin: FileOrigin,
}

impl PublishedFile {
    /// The file at `url`, as a lock names it directly; a `#sha256=…` fragment is its hash.
    ///
    /// `None` if the path of the URL does not end in a file name.
    #[must_use]
    pub fn direct(url: Url) -> Option<Self> {
        let file_name = SafeUrl::from(url.clone()).last_segment()?;
        let file = Self::from_link(file_name, url)?;
        Some(Self { origin: FileOrigin::Direct, ..file })
    }

    /// A link with nothing known but its fragment; `None` if the name is not one of a file.
    pub(super) fn from_link(file_name: String, mut url: Url) -> Option<Self> {
        if !is_file_name(&file_name) {
            return None;
        }
        let sha256 = url.fragment().and_then(sha256_of_fragment);
        url.set_fragment(None);
        Some(Self {
            file_name,
            url: SafeUrl::from(url),
            sha256,
            size: None,
            requires_python: None,
            yanked: None,
            upload_time: None,
            origin: FileOrigin::Index,
        })
    }
}

/// Why a page is not an index page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Neither JSON of PEP 691 nor HTML.
    #[error("the content type `{0}` is not one of a package index")]
    ContentType(String),
    /// JSON that is not what PEP 691 says.
    #[error("the page is not JSON as PEP 691 defines it")]
    Json(#[source] serde_json::Error),
    /// A format that is newer than this program.
    #[error("the index speaks version `{0}` of the index API, which is not known here")]
    ApiVersion(String),
    /// Bytes that are not HTML.
    #[error("the page is not HTML")]
    NotHtml,
    /// The gzip stream is broken.
    #[error("the page cannot be inflated")]
    Inflate(#[source] io::Error),
    /// More than [`INDEX_PAGE_BYTES_MAX`].
    #[error("the page is larger than {INDEX_PAGE_BYTES_MAX} bytes")]
    TooLarge,
}

/// Reads a page of the given `Content-Type`; `url` is what its relative links refer to.
pub(super) fn parse_page(url: &Url, content_type: &str, bytes: &[u8]) -> Result<Vec<PublishedFile>, PageError> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/vnd.pypi.simple.v1+json" | "application/vnd.pypi.simple.latest+json" => parse_json(url, bytes),
        "text/html"
        | "application/xhtml+xml"
        | "application/vnd.pypi.simple.v1+html"
        | "application/vnd.pypi.simple.latest+html" => parse_html(url, bytes),
        _ => Err(PageError::ContentType(media_type.chars().take(100).collect())),
    }
}

/// Inflates a body that came with `Content-Encoding: gzip`.
pub(super) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, PageError> {
    let mut inflated = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(INDEX_PAGE_BYTES_MAX + 1);
    reader.read_to_end(&mut inflated).map_err(PageError::Inflate)?;
    if inflated.len() as u64 > INDEX_PAGE_BYTES_MAX { Err(PageError::TooLarge) } else { Ok(inflated) }
}

#[derive(Deserialize)]
struct JsonPage {
    meta: JsonMeta,
    files: Vec<JsonFile>,
}

#[derive(Deserialize)]
struct JsonMeta {
    #[serde(rename = "api-version")]
    api_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JsonFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    requires_python: Option<String>,
    #[serde(default)]
    yanked: Option<Yanked>,
    size: Option<u64>,
    upload_time: Option<String>,
}

/// PEP 691: a boolean, or the reason.
#[derive(Deserialize)]
#[serde(untagged)]
enum Yanked {
    Flag(bool),
    Reason(String),
}

fn parse_json(base: &Url, bytes: &[u8]) -> Result<Vec<PublishedFile>, PageError> {
    let page: JsonPage = serde_json::from_slice(bytes).map_err(PageError::Json)?;
    if page.meta.api_version.split('.').next() != Some("1") {
        return Err(PageError::ApiVersion(page.meta.api_version.chars().take(20).collect()));
    }
    let base = strip_credentials(base.clone());
    Ok(page.files.into_iter().filter_map(|file| file.into_published(&base)).collect())
}

impl JsonFile {
    fn into_published(self, base: &Url) -> Option<PublishedFile> {
        let link = resolve(base, base, &self.url)?;
        let mut file = PublishedFile::from_link(self.filename, link)?;
        let announced = self.hashes.iter().find(|(algorithm, _)| algorithm.eq_ignore_ascii_case("sha256"));
        if let Some((_, digest)) = announced {
            file.sha256 = digest.parse().ok();
        }
        file.size = self.size;
        file.requires_python = self.requires_python.filter(|text| !text.trim().is_empty());
        file.upload_time = self.upload_time;
        file.yanked = match self.yanked {
            None | Some(Yanked::Flag(false)) => None,
            Some(Yanked::Flag(true)) => Some(String::new()),
            Some(Yanked::Reason(reason)) => Some(reason),
        };
        Some(file)
    }
}

/// Reads an HTML page of PEP 503; also used for the pages of `--find-links`.
pub(super) fn parse_html(url: &Url, bytes: &[u8]) -> Result<Vec<PublishedFile>, PageError> {
    let text = String::from_utf8_lossy(bytes);
    let page_url = strip_credentials(url.clone());
    let mut base_link = None;
    let mut anchors = Vec::new();
    for tag in start_tags(&text) {
        let link = attribute(&tag, "href").map(|link| link.trim().to_owned());
        match (tag.name.as_slice(), link) {
            (b"base", Some(link)) => drop(base_link.get_or_insert(link)),
            (b"a", Some(link)) => anchors.push((tag, link)),
            _ => {}
        }
    }
    // The tokenizer finds tags in anything, so ask whether there ever was a page.
    if anchors.is_empty() && !looks_like_html(&text) {
        return Err(PageError::NotHtml);
    }
    let base = base_link.and_then(|link| page_url.join(&link).ok()).map_or_else(|| page_url.clone(), strip_credentials);
    let file = |(tag, link): (StartTag<()>, String)| {
        let link = resolve(&page_url, &base, &link)?;
        let file_name = SafeUrl::from(link.clone()).last_segment()?;
        let mut file = PublishedFile::from_link(file_name, link)?;
        file.requires_python = attribute(&tag, "data-requires-python").filter(|text| !text.trim().is_empty());
        file.yanked = attribute(&tag, "data-yanked");
        Some(file)
    };
    Ok(anchors.into_iter().filter_map(file).collect())
}

/// The start tags of a page, as a browser's tokenizer sees them: none in scripts or comments, names in lower case.
fn start_tags(text: &str) -> impl Iterator<Item = StartTag<()>> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(text, emitter).filter_map(|token| match token {
        Ok(Token::StartTag(tag)) => Some(tag),
        Ok(_) => None,
        Err(never) => match never {},
    })
}

/// The value of an attribute, character references resolved; the first one counts where there are more.
fn attribute(tag: &StartTag<()>, name: &str) -> Option<String> {
    tag.attributes.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn looks_like_html(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["<!doctype html", "<html", "<body", "<head"].iter().any(|mark| lower.contains(mark))
}

/// The absolute URL of `link`. A page from the network must not point into this machine's files.
fn resolve(page: &Url, base: &Url, link: &str) -> Option<Url> {
    let url = base.join(link).ok()?;
    match url.scheme() {
        "http" | "https" => Some(url),
        "file" if page.scheme() == "file" => Some(url),
        _ => None,
    }
}

fn sha256_of_fragment(fragment: &str) -> Option<Sha256Digest> {
    fragment.split('&').find_map(|part| part.strip_prefix("sha256=")?.parse().ok())
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= FILE_NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.contains(|character: char| character == '/' || character == '\\' || character.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn base() -> Url {
        Url::parse("https://u:p@index.example/simple/a/").expect("a URL")
    }

    fn json(files: &str) -> Result<Vec<PublishedFile>, PageError> {
        let text = format!("{{\"meta\": {{\"api-version\": \"1.1\"}}, \"name\": \"a\", \"files\": [{files}]}}");
        parse_page(&base(), "application/vnd.pypi.simple.v1+json", text.as_bytes())
    }

    #[test]
    fn json_is_read_in_full() {
        let files = json(&format!(
            r#"{{"filename": "a-1-py3-none-any.whl", "url": "../../files/a-1-py3-none-any.whl#x", "hashes": {{"md5": "0",
                "sha256": "{HASH}"}}, "requires-python": ">=3.8", "yanked": "broken", "size": 7,
                "upload-time": "2024-01-01T00:00:00Z", "core-metadata": true}},
               {{"filename": "a-1.zip", "url": "https://files.example/a-1.zip", "hashes": {{}}, "yanked": true}},
               {{"filename": "a-2.zip", "url": "a-2.zip", "hashes": {{}}, "yanked": false, "requires-python": null}}"#
        ))
        .expect("a page");
        let [wheel, yanked, plain] = files.as_slice() else { panic!("three files, not {files:?}") };
        assert_eq!(wheel.url.expose().as_str(), "https://index.example/files/a-1-py3-none-any.whl");
        assert_eq!(wheel.sha256.map(|digest| digest.to_hex()).as_deref(), Some(HASH));
        assert_eq!((wheel.size, wheel.yanked.as_deref()), (Some(7), Some("broken")));
        assert_eq!(wheel.requires_python.as_deref(), Some(">=3.8"));
        assert_eq!(wheel.upload_time.as_deref(), Some("2024-01-01T00:00:00Z"));
        assert_eq!((yanked.yanked.as_deref(), yanked.sha256), (Some(""), None));
        assert_eq!((plain.yanked.as_deref(), plain.requires_python.as_deref()), (None, None));
    }

    #[test]
    fn strange_entries_are_left_out_and_strange_pages_refused() {
        let files = json(
            r#"{"filename": "../a-1.zip", "url": "a"}, {"filename": "a-1.zip", "url": "file:///etc/passwd"},
               {"filename": "a-1.zip", "url": "ftp://h/a-1.zip"}, {"filename": "a\u0000-1.zip", "url": "x"}"#,
        );
        assert_eq!(files.expect("a page"), []);
        let page = |content_type: &str, text: &str| parse_page(&base(), content_type, text.as_bytes());
        assert!(matches!(page("application/json", "{}"), Err(PageError::ContentType(_))));
        assert!(matches!(page("application/vnd.pypi.simple.v1+json", "[]"), Err(PageError::Json(_))));
        let newer = r#"{"meta": {"api-version": "2.0"}, "files": []}"#;
        assert!(matches!(page("application/vnd.pypi.simple.v1+json", newer), Err(PageError::ApiVersion(_))));
        assert!(matches!(page("text/html", "502 the origin is down \u{0}"), Err(PageError::NotHtml)));
        assert_eq!(page("text/html; charset=utf-8", "<!DOCTYPE html><html></html>").expect("empty"), []);
    }

    #[test]
    fn html_is_read_in_full() {
        let text = format!(
            "<!DOCTYPE html><html><head><base href=\"https://cdn.example/x/\"></head><body>\
             <a href=\"a-1.0%2Blocal-py3-none-any.whl#md5=0&amp;sha256={HASH}\" data-requires-python=\"&gt;=3.8\" data-yanked>t</a>\
             <a href=\"/y/a-1.zip?sig=1\" data-yanked=\"why\">a</a><a name=top>no link</a><a href=\"../\">up</a>\
             <a href=\"javascript:x\">no</a></body></html>"
        );
        let files = parse_page(&base(), "Text/HTML", text.as_bytes()).expect("a page");
        let [wheel, sdist, ..] = files.as_slice() else { panic!("two files, not {files:?}") };
        assert_eq!(wheel.file_name, "a-1.0+local-py3-none-any.whl");
        assert_eq!(wheel.url.expose().as_str(), "https://cdn.example/x/a-1.0%2Blocal-py3-none-any.whl");
        assert_eq!(wheel.sha256.map(|digest| digest.to_hex()).as_deref(), Some(HASH));
        assert_eq!((wheel.requires_python.as_deref(), wheel.yanked.as_deref()), (Some(">=3.8"), Some("")));
        assert_eq!((sdist.file_name.as_str(), sdist.yanked.as_deref()), ("a-1.zip", Some("why")));
        assert_eq!(sdist.url.expose().as_str(), "https://cdn.example/y/a-1.zip?sig=1");
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn html_is_read_as_browsers_do() {
        let text = "<title><a href='t-1.zip'></title><!-- <a href='c-1.zip'> --><script>'<a href=\"s-1.zip\">'</script>\
             <A HREF=\" a-1.zip \" href='other-1.zip' DATA-YANKED='a &lt; b'>a<a href=b-1.zip><base href='/x/'><base href='/y/'>\
             <template><a href=c-1.zip></template><a href='d-1.zip' data-requires-python=' '";
        let files = parse_html(&base(), text.as_bytes()).expect("a page");
        let urls: Vec<String> = files.iter().map(|file| file.url.expose().path().to_owned()).collect();
        assert_eq!(urls, ["/x/a-1.zip", "/x/b-1.zip", "/x/c-1.zip"], "the last tag has no end");
        assert_eq!(files[0].yanked.as_deref(), Some("a < b"));
        assert!(matches!(parse_html(&base(), b"1 < 2 <p>"), Err(PageError::NotHtml)));
    }

    #[test]
    fn relative_links_do_not_inherit_credentials() {
        let files = parse_html(&base(), b"<a href='a-1.zip'>a</a>").expect("a page");
        assert_eq!(files[0].url.expose().as_str(), "https://index.example/simple/a/a-1.zip");
    }

    #[test]
    fn direct_files_know_their_hash() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let file = PublishedFile::direct(url(&format!("https://h/a-1.zip?x#egg=a&sha256={HASH}"))).expect("a file");
        assert_eq!((file.file_name.as_str(), file.sha256.is_some()), ("a-1.zip", true));
        assert_eq!(file.url.expose().as_str(), "https://h/a-1.zip?x");
        assert!(PublishedFile::direct(url("https://h/")).is_none());
    }
}
