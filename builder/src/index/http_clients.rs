//! The HTTP clients: which certificates they trust, and whether a proxy stands between.
//!
//! There is one for each way a host may be treated, made when the first request needs it: loading the system's
//! certificates takes milliseconds that a run without network must not pay.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use reqwest::{Client, ClientBuilder, NoProxy, Proxy};
use url::{Host, Url};

use super::netrc::{self, NETRC_BYTES_MAX, NetrcEntry};
use super::settings::IndexSettings;

/// Largest file of certification authorities read, in bytes; the system's own has 220 kB.
pub const CA_FILE_BYTES_MAX: u64 = 16 << 20;

/// Largest file of a client's certificate and key read, in bytes; with its whole chain it has some 10 kB.
pub const CLIENT_CERT_BYTES_MAX: u64 = 1 << 20;

/// Why no request could be made at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A configured file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file of certificates, or netrc.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A configured file is far too large to be what it should be.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge {
        /// The file of certificates, or netrc.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The CA file holds no certificate, or a broken one.
    #[error("`{path}` is not a PEM file of certificates")]
    CaFile {
        /// The CA file.
        path: PathBuf,
        /// What is wrong, if the parser said so.
        source: Option<reqwest::Error>,
    },
    /// The file of the client's certificate can't be read.
    #[error("cannot read the client certificate `{path}`")]
    ReadClientCert {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of the client's certificate lacks it or its key, or one of them is broken.
    #[error("`{path}` is not a PEM file of a client certificate and its key without a password")]
    ClientCert {
        /// The file.
        path: PathBuf,
        /// What is wrong, if the parser said so.
        source: Option<reqwest::Error>,
    },
    /// There is nothing to check a certificate with, as in a fresh container.
    #[error("this machine has no certification authorities: install its `ca-certificates` or name a CA file")]
    NoAuthorities {
        /// What the HTTP library says.
        source: reqwest::Error,
    },
    /// The proxy setting is not a URL.
    #[error("the proxy setting is not a URL that can be used")]
    Proxy {
        /// What is wrong with it.
        source: reqwest::Error,
    },
    /// The HTTP library refuses the settings.
    #[error("cannot set up the HTTP client")]
    Client {
        /// What it says.
        source: reqwest::Error,
    },
}

/// The clients made so far.
pub(super) struct Clients {
    settings: IndexSettings,
    made: Mutex<HashMap<ClientKind, Client>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ClientKind {
    /// Certificates are not checked.
    trusted: bool,
    /// `http:`, where no certificate is needed.
    plain: bool,
    /// No proxy.
    direct: bool,
}

impl Clients {
    /// Makes none yet.
    pub(super) fn new(settings: IndexSettings) -> Self {
        Self { settings, made: Mutex::default() }
    }

    /// The client for requests to `url`.
    pub(super) fn for_url(&self, url: &Url) -> Result<Client, SetupError> {
        let kind =
            ClientKind { trusted: self.is_trusted(url), plain: url.scheme() == "http", direct: is_loopback(url) };
        let mut clients = self.made.lock().expect("nobody panics with the lock held");
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = self.new_client(kind)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }

    fn is_trusted(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
        self.settings.trusted_hosts.iter().any(|trusted| {
            trusted.eq_ignore_ascii_case(host)
                || with_port.as_deref().is_some_and(|with_port| trusted.eq_ignore_ascii_case(with_port))
        })
    }

    fn new_client(&self, kind: ClientKind) -> Result<Client, SetupError> {
        self.builder(kind)?.build().or_else(|source| {
            // Without any authority the library makes no client. That it makes one which trusts nobody shows that
            // nothing else is wrong; it is good enough where no certificate has to be checked.
            match self.builder(kind)?.tls_certs_only([]).build() {
                Ok(client) if kind.plain => Ok(client),
                Ok(_) => Err(SetupError::NoAuthorities { source }),
                Err(_) => Err(SetupError::Client { source }),
            }
        })
    }

    fn builder(&self, kind: ClientKind) -> Result<ClientBuilder, SetupError> {
        let mut builder = Client::builder()
            .user_agent(self.settings.user_agent.clone())
            .redirect(reqwest::redirect::Policy::none())
            // Repeated here, where the caller's policy is known.
            .retry(reqwest::retry::never())
            .connect_timeout(self.settings.timeout)
            .read_timeout(self.settings.timeout)
            .pool_max_idle_per_host(self.settings.concurrency)
            .http2_adaptive_window(true)
            // Pages are inflated under a limit; files are hashed as they come over the wire.
            .gzip(false)
            .tls_danger_accept_invalid_certs(kind.trusted);
        if let Some(path) = &self.settings.ca_file {
            builder = builder.tls_certs_merge(read_authorities(path)?);
        }
        if let Some(path) = self.settings.client_cert.as_ref().filter(|_| !kind.plain) {
            builder = builder.identity(read_identity(path)?);
        }
        if kind.direct {
            builder = builder.no_proxy();
        } else if let Some(proxy) = &self.settings.proxy {
            let proxy = Proxy::all(proxy).map_err(|source| SetupError::Proxy { source: source.without_url() })?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_env()));
        }
        Ok(builder)
    }
}

/// The logins of the netrc file; a missing one has none.
pub(super) fn read_netrc(path: Option<&Path>) -> Result<Vec<NetrcEntry>, SetupError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    match read_limited(path, NETRC_BYTES_MAX) {
        Ok(bytes) => Ok(netrc::parse(&String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))),
        Err(SetupError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn read_authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, SetupError> {
    let bytes = read_limited(path, CA_FILE_BYTES_MAX)?;
    match reqwest::Certificate::from_pem_bundle(&bytes) {
        Ok(certificates) if certificates.is_empty() => Err(SetupError::CaFile { path: path.to_owned(), source: None }),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(SetupError::CaFile { path: path.to_owned(), source: Some(source) }),
    }
}

fn read_identity(path: &Path) -> Result<reqwest::Identity, SetupError> {
    let bytes =
        read_client_cert(path).map_err(|source| SetupError::ReadClientCert { path: path.to_owned(), source })?;
    reqwest::Identity::from_pem(&bytes)
        .map_err(|source| SetupError::ClientCert { path: path.to_owned(), source: Some(source) })
}

/// The user's certificate and key as they are in the file at `path`.
///
/// # Errors
/// The file can't be read, or is too large to be what it should be.
pub(crate) fn read_client_cert(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = super::local::read_at_most(path, CLIENT_CERT_BYTES_MAX)?;
    bytes.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, SetupError> {
    let bytes =
        super::local::read_at_most(path, limit).map_err(|source| SetupError::Read { path: path.to_owned(), source })?;
    bytes.ok_or_else(|| SetupError::TooLarge { path: path.to_owned(), limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_hosts_are_exact() {
        let settings = IndexSettings {
            trusted_hosts: vec!["a.example".to_owned(), "b.example:8443".to_owned()],
            ..IndexSettings::default()
        };
        let clients = Clients::new(settings);
        let trusted = |text: &str| clients.is_trusted(&Url::parse(text).expect("a URL"));
        assert!(trusted("https://A.example:99/") && trusted("https://b.example:8443/"));
        assert!(!trusted("https://b.example/") && !trusted("https://x.a.example/"));
    }
}
