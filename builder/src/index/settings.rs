//! Where to look for files and how to talk to those places.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::safe_url::SafeUrl;

/// Default of [`IndexSettings::timeout`]: what pip waits.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// Default of [`IndexSettings::retries`]: what pip tries.
pub const RETRIES_DEFAULT: u32 = 5;

/// Most retries of one request, whatever the settings say; with the longest delay it is ten minutes of waiting.
pub const RETRIES_MAX: u32 = 60;

/// Default of [`IndexSettings::retry_delay`].
pub const RETRY_DELAY_DEFAULT: Duration = Duration::from_millis(250);

/// Default of [`IndexSettings::concurrency`]: enough to fill a line with small files, few enough for any server.
pub const CONCURRENCY_DEFAULT: usize = 24;

/// A place of `--find-links`.
#[derive(Clone, PartialEq, Eq)]
pub enum FindLinks {
    /// A directory of files, or an HTML page.
    Path(PathBuf),
    /// A `file:` URL of either, or an HTML page to be fetched.
    Url(Url),
}

impl fmt::Debug for FindLinks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => formatter.debug_tuple("Path").field(path).finish(),
            Self::Url(url) => formatter.debug_tuple("Url").field(&SafeUrl::from(url.clone())).finish(),
        }
    }
}

/// Everything an [`IndexClient`](super::IndexClient) needs to know; its `Debug` shows no credentials.
#[derive(Clone)]
pub struct IndexSettings {
    /// The index (`…/simple/`), asked first; `None` for `--no-index`.
    pub index_url: Option<Url>,
    /// Further indexes in their order.
    pub extra_index_urls: Vec<Url>,
    /// Directories and pages in their order.
    pub find_links: Vec<FindLinks>,
    /// Hosts (`host` or `host:port`) whose certificates are not checked.
    pub trusted_hosts: Vec<String>,
    /// PEM file of certification authorities trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the user's own certificate and its key, for servers that ask for one.
    pub client_cert: Option<PathBuf>,
    /// Proxy for every request; otherwise the usual environment variables count. Loopback is never proxied.
    pub proxy: Option<String>,
    /// The netrc file; a missing one is an empty one.
    pub netrc: Option<PathBuf>,
    /// The `keyring` program, asked for the password of a known user name.
    pub keyring: Option<PathBuf>,
    /// Longest wait for a connection, and for the next bytes of an answer.
    pub timeout: Duration,
    /// How often a request is repeated after a transient error, at most [`RETRIES_MAX`].
    pub retries: u32,
    /// Wait before the first repetition; doubles with each further one.
    pub retry_delay: Duration,
    /// Most requests under way at once, at least 1.
    pub concurrency: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for IndexSettings {
    /// No index at all, and the numbers of this module.
    fn default() -> Self {
        Self {
            index_url: None,
            extra_index_urls: Vec::new(),
            find_links: Vec::new(),
            trusted_hosts: Vec::new(),
            ca_file: None,
            client_cert: None,
            proxy: None,
            netrc: None,
            keyring: None,
            timeout: TIMEOUT_DEFAULT,
            retries: RETRIES_DEFAULT,
            retry_delay: RETRY_DELAY_DEFAULT,
            concurrency: CONCURRENCY_DEFAULT,
            user_agent: concat!("pip-accel/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl fmt::Debug for IndexSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: Vec<_> = self.extra_index_urls.iter().cloned().map(SafeUrl::from).collect();
        formatter
            .debug_struct("IndexSettings")
            .field("index_url", &self.index_url.clone().map(SafeUrl::from))
            .field("extra_index_urls", &extra)
            .field("find_links", &self.find_links)
            .field("trusted_hosts", &self.trusted_hosts)
            .field("ca_file", &self.ca_file)
            .field("client_cert", &self.client_cert)
            .field("proxy", &self.proxy.as_ref().map(|_| "****"))
            .field("netrc", &self.netrc)
            .field("keyring", &self.keyring)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("retry_delay", &self.retry_delay)
            .field("concurrency", &self.concurrency)
            .field("user_agent", &self.user_agent)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let secret = |path: &str| Url::parse(&format!("https://user:s3cret@h.example/{path}")).expect("a URL");
        let settings = IndexSettings {
            index_url: Some(secret("a")),
            extra_index_urls: vec![secret("b")],
            find_links: vec![FindLinks::Url(secret("c"))],
            proxy: Some("http://user:s3cret@proxy.example:3128".to_owned()),
            ..IndexSettings::default()
        };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("user:"), "{shown}");
    }
}
