//! One HTTP request: which client, which credentials, where redirects lead, and what an answer's status means.
//!
//! Redirects are followed here and not by the HTTP library, because each hop chooses anew whether certificates are
//! checked, whether a proxy is used and which credentials are sent: those of one origin never reach another.

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Response, StatusCode};
use rustls::AlertDescription;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use url::Url;

use super::credentials::Credentials;
use super::http_clients::{Clients, SetupError, read_netrc};
use super::retry::{BackOff, jitter, parse_retry_after};
use super::safe_url::{SafeUrl, may_share_credentials, strip_credentials};
use super::settings::{IndexSettings, RETRIES_MAX};

/// Most redirects of one request; browsers stop at 20, and no index needs more than three.
pub const REDIRECTS_MAX: usize = 10;

/// How long a request may fail without a word: what people wait before they wonder.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Gets what a request waits for, as a sentence fragment without credentials.
pub(super) type OnRetry = Box<dyn Fn(String) + Send + Sync>;

/// Why a request did not give what was asked for. No variant shows credentials.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Settings that cannot work.
    #[error("cannot make requests")]
    Setup(#[from] SetupError),
    /// 401, 403 or 407.
    #[error("`{url}` refuses access (status {status}); are the credentials right?")]
    Unauthorized {
        /// What was asked for.
        url: SafeUrl,
        /// The status.
        status: u16,
    },
    /// 404 or 410.
    #[error("`{url}` does not exist")]
    NotFound {
        /// What was asked for.
        url: SafeUrl,
    },
    /// Another status that a second attempt would not change.
    #[error("`{url}` answered with status {status}")]
    Status {
        /// What was asked for.
        url: SafeUrl,
        /// The status.
        status: u16,
    },
    /// A status that says "not now": 408, 425, 429, 5xx. Transient.
    #[error("`{url}` is not able to answer now (status {status})")]
    Busy {
        /// What was asked for.
        url: SafeUrl,
        /// The status.
        status: u16,
        /// When to come again, if the server said so.
        retry_after: Option<Duration>,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of `{url}` is not trusted")]
    Certificate {
        /// What was asked for.
        url: SafeUrl,
        /// Why.
        source: reqwest::Error,
    },
    /// The server wants to know who asks, and does not accept what it was shown.
    #[error("`{url}` asks for a client certificate that it accepts")]
    ClientCertificate {
        /// What was asked for.
        url: SafeUrl,
        /// What it says of the one that it got, or that it got none.
        source: reqwest::Error,
    },
    /// No connection, a timeout, or a connection that broke. Transient.
    #[error("cannot get `{url}`")]
    Network {
        /// What was asked for.
        url: SafeUrl,
        /// What the HTTP library says.
        source: reqwest::Error,
    },
    /// The body ended early. Transient.
    #[error("`{url}` ended after {received} of {expected} bytes")]
    Incomplete {
        /// What was asked for.
        url: SafeUrl,
        /// Bytes that came.
        received: u64,
        /// Bytes that were announced.
        expected: u64,
    },
    /// Too many redirects.
    #[error("`{url}` redirects more than {REDIRECTS_MAX} times")]
    Redirects {
        /// Where it began.
        url: SafeUrl,
    },
    /// A redirect without a target, or to something that is not HTTP.
    #[error("`{url}` redirects to a place that is no HTTP URL")]
    RedirectTarget {
        /// Who redirects.
        url: SafeUrl,
    },
    /// A URL that is neither HTTP nor a file.
    #[error("`{url}` has a scheme that is not supported")]
    Scheme {
        /// The URL.
        url: SafeUrl,
    },
    /// The body is larger than allowed.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: SafeUrl,
        /// The limit.
        limit: u64,
    },
    /// All attempts failed in a way that might have passed.
    #[error("gave up after {attempts} attempt{}", if *attempts == 1 { "" } else { "s" })]
    Exhausted {
        /// How many there were.
        attempts: u32,
        /// The last failure.
        source: Box<RequestError>,
    },
}

impl RequestError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Network { .. } | Self::Incomplete { .. })
    }

    /// The host of a transient failure, with its port if it has an unusual one.
    fn host(&self) -> Option<String> {
        let (Self::Busy { url, .. } | Self::Network { url, .. } | Self::Incomplete { url, .. }) = self else {
            return None;
        };
        let (host, port) = (url.expose().host_str()?, url.expose().port());
        Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }

    /// The innermost reason, in few words.
    fn cause(&self) -> String {
        match self {
            Self::Busy { status, .. } => format!("status {status}"),
            Self::Network { source, .. } if source.is_timeout() => "no answer".to_owned(),
            _ => {
                let mut cause: &dyn Error = self;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                cause.to_string()
            }
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn network(url: &SafeUrl, source: reqwest::Error) -> Self {
        let problem = certificate_problem(&source);
        // The library's own text would show the URL with its query.
        let (url, source) = (url.clone(), source.without_url());
        match problem {
            Some(Whose::Server) => Self::Certificate { url, source },
            Some(Whose::Client) => Self::ClientCertificate { url, source },
            None => Self::Network { url, source },
        }
    }
}

/// What is asked for, once.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestHeaders {
    pub(super) accept: Option<&'static str>,
    /// `Accept-Encoding`: what the caller can decode.
    pub(super) encoding: &'static str,
    /// Past caches that may hold a broken copy.
    pub(super) fresh: bool,
    pub(super) more: Vec<(HeaderName, HeaderValue)>,
}

/// An answer with a good status, its body not read yet.
pub(super) struct Answer<'a> {
    pub(super) response: Response,
    /// Where the redirects ended, without credentials.
    pub(super) url: Url,
    /// Bounds the requests under way; given back when the body was read or dropped.
    _permit: SemaphorePermit<'a>,
}

/// The HTTP clients of one [`IndexClient`](super::IndexClient), made when first needed.
pub(super) struct Transport {
    settings: IndexSettings,
    clients: Clients,
    credentials: OnceCell<Credentials>,
    permits: Semaphore,
    on_retry: Option<OnRetry>,
    told: Mutex<HashSet<(String, u32)>>,
}

impl Transport {
    /// Touches nothing: files are read and clients made by the first request.
    pub(super) fn new(settings: IndexSettings) -> Self {
        let permits = Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        let clients = Clients::new(settings.clone());
        Self { settings, clients, credentials: OnceCell::new(), permits, on_retry: None, told: Mutex::default() }
    }

    /// Has somebody told what is waited for.
    pub(super) fn set_on_retry(&mut self, tell: OnRetry) {
        self.on_retry = Some(tell);
    }

    /// What it was made from.
    pub(super) const fn settings(&self) -> &IndexSettings {
        &self.settings
    }

    /// The failures so far of a request that is about to begin.
    pub(super) fn back_off(&self) -> BackOff {
        BackOff::new(self.settings.retry_delay, self.settings.retries.min(RETRIES_MAX))
    }

    /// Waits for a free place among the requests under way.
    pub(super) async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("the semaphore is never closed")
    }

    /// One attempt, redirects followed. An answer that is neither 200 nor 206 is an error.
    pub(super) async fn send(&self, url: &SafeUrl, headers: &RequestHeaders) -> Result<Answer<'_>, RequestError> {
        let permit = self.permit().await;
        let credentials = self.credentials().await?;
        let mut target = url.expose().clone();
        for _hop in 0..=REDIRECTS_MAX {
            if !matches!(target.scheme(), "http" | "https") {
                return Err(RequestError::Scheme { url: target.into() });
            }
            let auth = credentials.for_url(&target).await;
            let plain = strip_credentials(target.clone());
            let mut request = self.clients.for_url(&plain)?.get(plain.clone()).headers(headers.to_map());
            if let Some(auth) = auth {
                request = request.basic_auth(auth.user, Some(auth.password));
            }
            let shown = SafeUrl::from(plain);
            let response = request.send().await.map_err(|source| RequestError::network(&shown, source))?;
            if response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED {
                target = redirect_target(&target, response.headers())
                    .ok_or_else(|| RequestError::RedirectTarget { url: shown })?;
                continue;
            }
            check_status(&shown, &response)?;
            return Ok(Answer { response, url: shown.expose().clone(), _permit: permit });
        }
        Err(RequestError::Redirects { url: url.clone() })
    }

    /// A whole small body, at most `limit` bytes after decoding; transient failures are repeated.
    pub(super) async fn get(&self, url: &SafeUrl, accept: &'static str, limit: u64) -> Result<Body, RequestError> {
        let headers = RequestHeaders { accept: Some(accept), encoding: "gzip", ..RequestHeaders::default() };
        let mut back_off = self.back_off();
        loop {
            let attempt = async { Body::read(self.send(url, &headers).await?, limit).await };
            match attempt.await {
                Ok(body) => return Ok(body),
                Err(error) => self.wait_or_give_up(error, &mut back_off).await?,
            }
        }
    }

    /// Sleeps before the next attempt, or gives back the error that ends the request. Whoever has waited for
    /// [`SILENCE_MAX`] is told for whom.
    pub(super) async fn wait_or_give_up(
        &self,
        error: RequestError,
        back_off: &mut BackOff,
    ) -> Result<(), RequestError> {
        if !error.is_transient() {
            return Err(error);
        }
        let Some(delay) = back_off.next_delay(error.retry_after(), jitter()) else {
            return Err(RequestError::Exhausted { attempts: back_off.attempts(), source: Box::new(error) });
        };
        tracing::debug!(%error, ?delay, "will try again");
        if back_off.began().elapsed() + delay >= SILENCE_MAX
            && let (Some(tell), Some(host)) = (&self.on_retry, error.host())
        {
            let (attempt, of) = (back_off.attempts(), back_off.attempts_max());
            // Many files of one place fail at once; one line for each of its attempts is enough.
            let is_new = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert((host.clone(), attempt));
            if is_new {
                tell(format!("{host}: attempt {attempt} of {of} ({})", error.cause()));
            }
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// `url` with the credentials that a request for it would carry.
    pub(super) async fn with_credentials(&self, url: &Url) -> Result<Url, SetupError> {
        let is_http = matches!(url.scheme(), "http" | "https");
        let Some(auth) = (if is_http { self.credentials().await?.for_url(url).await } else { None }) else {
            return Ok(url.clone());
        };
        let mut target = strip_credentials(url.clone());
        // Both setters fail only for URLs without a host, and HTTP URLs have one.
        let _has_a_host = target.set_username(&auth.user);
        let _has_a_host = target.set_password(Some(auth.password.as_str()).filter(|password| !password.is_empty()));
        Ok(target)
    }

    async fn credentials(&self) -> Result<&Credentials, SetupError> {
        self.credentials
            .get_or_try_init(|| async {
                Ok(Credentials::new(&self.settings, read_netrc(self.settings.netrc.as_deref())?))
            })
            .await
    }
}

impl RequestHeaders {
    fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        if let Some(accept) = self.accept {
            map.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static(self.encoding));
        if self.fresh {
            map.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        map.extend(self.more.iter().cloned());
        map
    }
}

/// A body as it came, with what is needed to read it.
#[derive(Debug)]
pub(super) struct Body {
    /// Where it came from in the end: what its relative links refer to.
    pub(super) url: Url,
    /// `Content-Type`, lower case, with its parameters.
    pub(super) content_type: String,
    /// Whether `bytes` still are gzip.
    pub(super) is_gzip: bool,
    pub(super) bytes: Vec<u8>,
}

impl Body {
    async fn read(mut answer: Answer<'_>, limit: u64) -> Result<Self, RequestError> {
        let url = SafeUrl::from(answer.url);
        let header = |name| {
            let value = answer.response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            value.unwrap_or_default().to_ascii_lowercase()
        };
        let content_type = header(reqwest::header::CONTENT_TYPE);
        let is_gzip = matches!(header(reqwest::header::CONTENT_ENCODING).as_str(), "gzip" | "x-gzip");
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.response.chunk().await.map_err(|source| RequestError::network(&url, source))? {
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                return Err(RequestError::TooLarge { url, limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Self { url: url.expose().clone(), content_type, is_gzip, bytes })
    }
}

fn check_status(url: &SafeUrl, response: &Response) -> Result<(), RequestError> {
    let url = url.clone();
    let status = response.status().as_u16();
    match status {
        200 | 206 => Ok(()),
        401 | 403 | 407 => Err(RequestError::Unauthorized { url, status }),
        404 | 410 => Err(RequestError::NotFound { url }),
        408 | 425 | 429 | 500..=599 => {
            let value = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = value.and_then(|value| parse_retry_after(value, SystemTime::now()));
            Err(RequestError::Busy { url, status, retry_after })
        }
        _ => Err(RequestError::Status { url, status }),
    }
}

/// Where a redirect leads. The credentials written into `from` are kept for its own origin only;
/// those that a server writes into `Location` are not used.
fn redirect_target(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = headers.get(LOCATION)?;
    let location = std::str::from_utf8(location.as_bytes()).ok()?;
    let mut target = strip_credentials(strip_credentials(from.clone()).join(location).ok()?);
    if !matches!(target.scheme(), "http" | "https") {
        return None;
    }
    if may_share_credentials(from, &target) {
        // Both are HTTP URLs with a host, which can carry credentials.
        target.set_username(from.username()).ok()?;
        target.set_password(from.password()).ok()?;
    }
    Some(target)
}

/// Who showed a certificate that the other side refused.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Server,
    Client,
}

/// The refused certificate in the chain of `error`, if there is one: no repetition will change that.
fn certificate_problem(error: &(dyn Error + 'static)) -> Option<Whose> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Some(Whose::Server),
                rustls::Error::AlertReceived(alert) if ALERTS_ABOUT_US.contains(alert) => Some(Whose::Client),
                _ => None,
            };
        }
        // An `io::Error` hides what it wraps from `source`.
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}

/// What a server says that got no certificate or that does not accept the one it got.
const ALERTS_ABOUT_US: [AlertDescription; 8] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(from: &str, to: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(to).expect("a header value"));
        redirect_target(&Url::parse(from).expect("a URL"), &headers).map(String::from)
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let from = "https://u:p@h.example/a/b";
        assert_eq!(redirect(from, "c").as_deref(), Some("https://u:p@h.example/a/c"));
        assert_eq!(redirect(from, "https://h.example:443/c").as_deref(), Some("https://u:p@h.example/c"));
        assert_eq!(
            redirect("http://u:p@h.example/a", "https://h.example/c").as_deref(),
            Some("https://u:p@h.example/c")
        );
        for other in ["https://h.example:8443/c", "http://h.example/c", "https://x.h.example/c"] {
            assert_eq!(redirect(from, other).as_deref(), Some(other));
        }
        assert_eq!(redirect(from, "//u:p@evil.example/c").as_deref(), Some("https://evil.example/c"));
        assert_eq!(redirect(from, "file:///etc/passwd"), None);
        assert_eq!(redirect(from, "https://"), None);
    }
}
