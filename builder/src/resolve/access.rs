//! The places of a session as another program gets them, and what of them must never be shown.
//!
//! The index client looks up netrc and the keyring program for each request; a resolver in a sandbox has neither. It
//! gets what they say in the URLs of the indexes and pages, through its environment.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use pip_accel_schema::requirement::without_credentials;
use url::Url;

use crate::index::{FindLinks, IndexSettings};
use crate::lock::SourceUrl;
use crate::realize::engine::Engine;
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;

/// What stands for a secret.
const HIDDEN: &str = "****";

/// Where the resolver may look, and with which credentials. No `Debug`: it holds them.
pub(super) struct Access {
    /// The session's places, with the credentials of netrc and keyring in their URLs.
    pub(super) index: IndexSettings,
    /// Proxies and certificates of the user's environment.
    pub(super) variables: Vec<(String, String)>,
    /// Every text that must not be shown, the longest first.
    secrets: Vec<String>,
}

impl Access {
    /// What the session's index client would use.
    pub(super) async fn of(engine: &Engine, pin: &Pin) -> Result<Self, ObtainError> {
        let settings = engine.client(pin).await?.settings_with_credentials().await;
        let index = settings.map_err(|source| ObtainError::Index { pin: pin.to_string(), source: Arc::new(source) })?;
        Ok(Self::new(index, engine.session.options.resolver_variables.clone()))
    }

    /// The places of this machine, and nothing secret: for runs that have no network.
    pub(super) fn without_network(index: IndexSettings) -> Self {
        let mut access = Self::new(IndexSettings { proxy: None, ..index }, Vec::new());
        access.index.index_url = access.index.index_url.filter(|url| url.scheme() == "file");
        access
    }

    /// Takes the credentials of `urls`, which requirements name, for secret too.
    pub(super) fn hide(&mut self, urls: &[SourceUrl]) {
        for url in urls {
            // What is no URL is hidden whole.
            match Url::parse(url.expose()) {
                Ok(url) => self.secrets.extend(secrets_of_url(&url)),
                Err(_) => self.secrets.push(url.expose().to_owned()),
            }
        }
        self.order_secrets();
    }

    fn order_secrets(&mut self) {
        self.secrets.retain(|secret| !secret.is_empty());
        self.secrets.sort_by(|left, right| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        self.secrets.dedup();
    }

    fn new(index: IndexSettings, variables: Vec<(String, String)>) -> Self {
        let pages = index.find_links.iter().filter_map(|place| match place {
            FindLinks::Url(url) => Some(url),
            FindLinks::Path(_) => None,
        });
        let urls = index.index_url.iter().chain(&index.extra_index_urls).chain(pages);
        let mut secrets: Vec<String> = urls.flat_map(secrets_of_url).collect();
        let is_proxy = |name: &str| name.to_ascii_lowercase().ends_with("_proxy");
        let proxies = variables.iter().filter(|(name, _)| is_proxy(name)).map(|(_, value)| value);
        secrets.extend(proxies.chain(&index.proxy).flat_map(|proxy| secrets_of_proxy(proxy)));
        let mut access = Self { index, variables, secrets };
        access.order_secrets();
        access
    }

    /// Whether anything of it is a secret, a key among them: then nothing that an index publishes may run beside it.
    pub(super) const fn holds_credentials(&self) -> bool {
        !self.secrets.is_empty() || self.index.client_cert.is_some()
    }

    /// `text` as it may be shown.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.as_str(), HIDDEN);
        }
        without_credentials(&clean)
    }
}

/// A password in each spelling, or the token that stands for a user name, and a query, which may be a signature.
fn secrets_of_url(url: &Url) -> Vec<String> {
    let mut secrets: Vec<String> = url.query().map(str::to_owned).into_iter().collect();
    let word = match url.password() {
        Some(password) if !password.is_empty() => password,
        _ => url.username(),
    };
    secrets.extend(spellings(word));
    secrets
}

/// The setting may be a URL or `user:password@host:port`.
fn secrets_of_proxy(proxy: &str) -> Vec<String> {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let Some((user_info, _)) = rest.rsplit_once('@') else { return Vec::new() };
    let word = user_info.split_once(':').map_or(user_info, |(_, password)| password);
    spellings(word).collect()
}

fn spellings(word: &str) -> impl Iterator<Item = String> {
    [word.to_owned(), percent_decode_str(word).decode_utf8_lossy().into_owned()].into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(index: &str, proxy: Option<&str>, variables: &[(&str, &str)]) -> Access {
        let index = IndexSettings {
            index_url: Some(Url::parse(index).expect("a URL")),
            proxy: proxy.map(str::to_owned),
            ..IndexSettings::default()
        };
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Access::new(index, variables.iter().map(text).collect())
    }

    #[test]
    fn every_kind_of_secret_is_found_and_hidden() {
        let plain = access("https://h.example/simple/", Some("proxy.example:3128"), &[("NO_PROXY", "h.example")]);
        assert!(!plain.holds_credentials());
        let none: &[(&str, &str)] = &[];
        for access in [
            access("https://user:s3%20cret@h.example/simple/", None, none),
            access("https://s3%20cret@h.example/simple/", None, none),
            access("https://h.example/simple/?s3%20cret", None, none),
            access("https://h.example/simple/", Some("user:s3%20cret@proxy.example:3128"), none),
            access("https://h.example/simple/", None, &[("HTTPS_PROXY", "http://user:s3%20cret@proxy.example")]),
        ] {
            assert!(access.holds_credentials());
            let shown = access.redact("a s3%20cret b https://user:s3%20cret@h.example/x");
            assert!(!shown.contains("s3%20cret"), "{shown}");
            assert!(shown.starts_with("a **** b https://") && shown.ends_with("@h.example/x"), "{shown}");
        }
        let mut keyed = access("https://h.example/simple/", None, none);
        keyed.index.client_cert = Some("client.pem".into());
        assert!(keyed.holds_credentials());
        let decoded = access("https://user:s3%20cret@h.example/simple/", None, none);
        assert_eq!(decoded.redact("a s3 cret"), "a ****");
        assert_eq!(plain.redact("https://u:p@other.example/"), "https://****@other.example/");
    }
}
