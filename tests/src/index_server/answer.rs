//! What the loopback index sends.

use std::time::Duration;

use super::fault::Fault;
use super::page::{self, Listed, PageMode};
use super::request::Request;

/// What is sent.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Bytes of the body after which the connection breaks.
    pub(super) drop_after: Option<usize>,
    /// Bytes of the body after which nothing more comes.
    pub(super) stall_after: Option<usize>,
    pub(super) slow: Option<(usize, Duration)>,
    pub(super) has_length: bool,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status, headers, body, drop_after: None, stall_after: None, slow: None, has_length: true }
    }

    pub(super) fn plain(status: u16) -> Self {
        Self::new(status, "text/plain", format!("status {status}\n").into_bytes())
    }
}

/// The answer of a fault that replaces the content.
pub(super) fn instead_of_content(fault: &Fault) -> Option<Answer> {
    match fault {
        Fault::Status { status, retry_after, .. } => {
            let mut answer = Answer::plain(*status);
            answer.headers.extend(retry_after.clone().map(|value| ("Retry-After", value)));
            Some(answer)
        }
        Fault::Content { content_type, body, .. } => Some(Answer::new(200, content_type, body.clone())),
        Fault::Redirect { to } => {
            let mut answer = Answer::plain(302);
            answer.headers.push(("Location", to.clone()));
            Some(answer)
        }
        _ => None,
    }
}

/// The page of one project, in the format that `mode` says; files lie below `base`.
pub(super) fn project_page(mode: PageMode, base: &str, request: &Request, project: &str, files: &[Listed]) -> Answer {
    const JSON: &str = "application/vnd.pypi.simple.v1+json";
    let asks_for_json = request.header("accept").is_some_and(|accept| accept.contains(JSON));
    match mode {
        PageMode::Negotiated if asks_for_json => Answer::new(200, JSON, page::json_page(project, base, files, true)),
        PageMode::Json => Answer::new(200, JSON, page::json_page(project, base, files, true)),
        PageMode::JsonWithoutHashes => Answer::new(200, JSON, page::json_page(project, base, files, false)),
        PageMode::HtmlWithoutHashes => Answer::new(200, "text/html", page::html_page(project, base, files, false)),
        PageMode::Negotiated | PageMode::Html => {
            Answer::new(200, "text/html; charset=utf-8", page::html_page(project, base, files, true))
        }
    }
}
