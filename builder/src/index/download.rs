//! Getting one file: streamed into a sink, hashed on the way, resumed where a connection broke.

use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::Sha256Digest;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::client::IndexClient;
use super::page::PublishedFile;
use super::retry::BackOff;
use super::safe_url::SafeUrl;
use super::transport::{Answer, RequestError, RequestHeaders, Transport};

/// Largest file downloaded, in bytes: twice the largest wheel known to us (4 GB, CUDA libraries).
pub const DOWNLOAD_BYTES_MAX: u64 = 8 << 30;

/// How often a whole file with a wrong hash is asked for again: a cache on the way may hold a broken copy.
pub const HASH_RETRIES_MAX: u32 = 1;

/// New bytes that count as progress, so that failures before them are forgotten; a server that gives less with each
/// connection would keep a download alive for ever.
pub const PROGRESS_BYTES_MIN: u64 = 64 << 10;

/// Bytes read at once from a local file.
const LOCAL_READ_BYTES: usize = 1 << 20;

/// Where the bytes of a download go.
pub trait DownloadSink: Send {
    /// The download begins, or begins again; `total` is its size in bytes, if known.
    fn start(&mut self, total: Option<u64>);

    /// The next bytes.
    ///
    /// # Errors
    /// Any error ends the download as [`DownloadError::Sink`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// What was written so far is worthless: forget it.
    ///
    /// # Errors
    /// As for [`DownloadSink::write`].
    fn restart(&mut self) -> io::Result<()>;

    /// An attempt failed after `received` good bytes and another one follows; for those who show progress.
    fn retrying(&mut self, received: u64) {
        let _nobody_asked = received;
    }
}

/// Why a file could not be got. No variant shows credentials.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The bytes, or what the index announces, are not what the lock allows.
    #[error("`{url}` has the SHA-256 {got}, which is not what was expected ({})", list(.expected))]
    HashMismatch {
        /// The file.
        url: SafeUrl,
        /// The hashes that would do.
        expected: Vec<Sha256Digest>,
        /// The hash it has.
        got: Sha256Digest,
    },
    /// The file does not exist.
    #[error("`{url}` does not exist")]
    NotFound {
        /// The file.
        url: SafeUrl,
    },
    /// The server wants other credentials.
    #[error("`{url}` refuses access (status {status}); are the credentials right?")]
    Unauthorized {
        /// The file.
        url: SafeUrl,
        /// 401, 403 or 407.
        status: u16,
    },
    /// Every attempt failed in a way that might have passed.
    #[error("cannot get `{url}` after {attempts} attempt{}", if *attempts == 1 { "" } else { "s" })]
    Transient {
        /// The file.
        url: SafeUrl,
        /// How many attempts there were.
        attempts: u32,
        /// The last failure.
        source: RequestError,
    },
    /// The request failed for good.
    #[error("cannot get `{url}`")]
    Request {
        /// The file.
        url: SafeUrl,
        /// Why.
        source: RequestError,
    },
    /// The file is larger than it may be, or than its index says.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        url: SafeUrl,
        /// The limit in bytes.
        limit: u64,
    },
    /// A local file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The sink failed: a full disk, for one.
    #[error("cannot store `{url}`")]
    Sink {
        /// The file.
        url: SafeUrl,
        /// What the sink says.
        source: io::Error,
    },
}

fn list(digests: &[Sha256Digest]) -> String {
    digests.iter().map(Sha256Digest::to_hex).collect::<Vec<_>>().join(", ")
}

impl IndexClient {
    /// Streams `file` into `sink` and gives back its SHA-256, which is one of `expected` and what the index announced.
    ///
    /// An empty `expected` allows any hash (the announced one still counts). When this fails, what the sink got is
    /// worthless. Local files and `file:` URLs go the same way. Transient failures are repeated as the settings say,
    /// beginning where the connection broke.
    ///
    /// # Errors
    /// [`DownloadError`]; in particular a hash mismatch before anything is downloaded if the announced hash is not expected.
    pub async fn download(
        &self,
        file: &PublishedFile,
        expected: &[Sha256Digest],
        sink: &mut dyn DownloadSink,
    ) -> Result<Sha256Digest, DownloadError> {
        if let Some(got) = file.sha256
            && !expected.is_empty()
            && !expected.contains(&got)
        {
            return Err(DownloadError::HashMismatch { url: file.url.clone(), expected: expected.to_vec(), got });
        }
        let mut download = Download::new(file, expected, sink);
        if file.url.is_file() {
            let _permit = self.transport.permit().await;
            download.copy_local().await
        } else {
            download.run(&self.transport).await
        }
    }
}

/// One download under way.
struct Download<'a> {
    file: &'a PublishedFile,
    expected: &'a [Sha256Digest],
    sink: &'a mut dyn DownloadSink,
    hasher: Sha256,
    /// Bytes in the sink.
    received: u64,
    /// Bytes received when the failures were last forgotten.
    high_water: u64,
    /// Size of the whole, as the server said.
    total: Option<u64>,
    /// `ETag` or `Last-Modified` of what was received so far.
    validator: Option<HeaderValue>,
    /// Whether caches shall be passed by.
    fresh: bool,
    limit: u64,
}

/// What one attempt may end with.
enum AttemptError {
    Request(RequestError),
    Sink(io::Error),
    TooLarge,
}

impl From<RequestError> for AttemptError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl<'a> Download<'a> {
    fn new(file: &'a PublishedFile, expected: &'a [Sha256Digest], sink: &'a mut dyn DownloadSink) -> Self {
        let limit = file.size.unwrap_or(DOWNLOAD_BYTES_MAX).min(DOWNLOAD_BYTES_MAX);
        Self {
            file,
            expected,
            sink,
            hasher: Sha256::new(),
            received: 0,
            high_water: 0,
            total: None,
            validator: None,
            fresh: false,
            limit,
        }
    }

    async fn run(&mut self, transport: &Transport) -> Result<Sha256Digest, DownloadError> {
        let mut hash_retries = 0;
        loop {
            self.receive_all(transport).await?;
            match self.check_hash() {
                Ok(got) => return Ok(got),
                Err(error) if hash_retries == HASH_RETRIES_MAX => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "wrong bytes; asking once more, past any cache");
                    hash_retries += 1;
                    self.fresh = true;
                    self.restart().map_err(|source| self.sink_error(source))?;
                }
            }
        }
    }

    /// Attempts until the whole body is in the sink.
    async fn receive_all(&mut self, transport: &Transport) -> Result<(), DownloadError> {
        let mut back_off = transport.back_off();
        loop {
            match self.attempt(transport).await {
                Ok(()) => return Ok(()),
                Err(AttemptError::Sink(source)) => return Err(self.sink_error(source)),
                Err(AttemptError::TooLarge) => {
                    return Err(DownloadError::TooLarge { url: self.file.url.clone(), limit: self.limit });
                }
                Err(AttemptError::Request(error)) => self.wait(transport, error, &mut back_off).await?,
            }
        }
    }

    async fn wait(
        &mut self,
        transport: &Transport,
        error: RequestError,
        back_off: &mut BackOff,
    ) -> Result<(), DownloadError> {
        if self.received >= self.high_water.saturating_add(PROGRESS_BYTES_MIN) {
            self.high_water = self.received;
            back_off.reset();
        }
        if error.is_transient() {
            self.sink.retrying(self.received);
        }
        transport.wait_or_give_up(error, back_off).await.map_err(|error| {
            let url = self.file.url.clone();
            match error {
                RequestError::NotFound { .. } => DownloadError::NotFound { url },
                RequestError::Unauthorized { status, .. } => DownloadError::Unauthorized { url, status },
                RequestError::Exhausted { attempts, source } => {
                    DownloadError::Transient { url, attempts, source: *source }
                }
                source => DownloadError::Request { url, source },
            }
        })
    }

    /// One request for what is still missing.
    async fn attempt(&mut self, transport: &Transport) -> Result<(), AttemptError> {
        let mut headers = RequestHeaders { encoding: "identity", fresh: self.fresh, ..RequestHeaders::default() };
        if self.received > 0 {
            let range = format!("bytes={}-", self.received);
            let range = HeaderValue::try_from(range).expect("digits are good in a header");
            headers.more.push((RANGE, range));
            headers.more.extend(self.validator.clone().map(|validator| (IF_RANGE, validator)));
        }
        let answer = match transport.send(&self.file.url, &headers).await {
            // Nothing is left beyond what we have: the file is another one now, or was complete all along.
            Err(RequestError::Status { status: 416, .. }) if self.received > 0 => {
                self.restart().map_err(AttemptError::Sink)?;
                return Err(self.incomplete(self.total.unwrap_or(0)));
            }
            answer => answer?,
        };
        self.begin(&answer)?;
        self.receive(answer).await
    }

    /// Decides from the head of an answer whether its body goes on where we are.
    fn begin(&mut self, answer: &Answer<'_>) -> Result<(), AttemptError> {
        let headers = answer.response.headers();
        if answer.response.status() == StatusCode::PARTIAL_CONTENT {
            let range = headers.get(CONTENT_RANGE).and_then(|value| parse_content_range(value.to_str().ok()?));
            let goes_on = range.is_some_and(|(first, total)| {
                first == self.received && (total.is_none() || self.total.is_none() || total == self.total)
            });
            if self.received > 0 && goes_on {
                return Ok(());
            }
            self.restart().map_err(AttemptError::Sink)?;
            return Err(self.incomplete(self.total.unwrap_or(0)));
        }
        if self.received > 0 {
            self.restart().map_err(AttemptError::Sink)?;
        }
        self.total = content_length(headers);
        self.validator = validator(headers);
        if self.total.is_some_and(|total| total > self.limit) {
            return Err(AttemptError::TooLarge);
        }
        self.sink.start(self.total.or(self.file.size));
        Ok(())
    }

    async fn receive(&mut self, mut answer: Answer<'_>) -> Result<(), AttemptError> {
        let failed = |source| RequestError::network(&self.file.url, source);
        while let Some(chunk) = answer.response.chunk().await.map_err(failed)? {
            self.take(&chunk)?;
        }
        match self.total.or(self.file.size) {
            Some(expected) if self.received < expected => Err(self.incomplete(expected)),
            _ => Ok(()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), AttemptError> {
        if self.received + bytes.len() as u64 > self.limit {
            return Err(AttemptError::TooLarge);
        }
        self.hasher.update(bytes);
        self.sink.write(bytes).map_err(AttemptError::Sink)?;
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.hasher = Sha256::new();
        self.received = 0;
        self.total = None;
        self.validator = None;
        self.sink.restart()
    }

    /// The hash of what was received, if it is a good one.
    fn check_hash(&self) -> Result<Sha256Digest, DownloadError> {
        let got = Sha256Digest::from_bytes(self.hasher.clone().finalize().into());
        let is_expected = self.expected.is_empty() || self.expected.contains(&got);
        match self.file.sha256 {
            Some(announced) if announced != got => Err(self.mismatch(vec![announced], got)),
            _ if !is_expected => Err(self.mismatch(self.expected.to_vec(), got)),
            _ => Ok(got),
        }
    }

    fn mismatch(&self, expected: Vec<Sha256Digest>, got: Sha256Digest) -> DownloadError {
        DownloadError::HashMismatch { url: self.file.url.clone(), expected, got }
    }

    fn incomplete(&self, expected: u64) -> AttemptError {
        let url = self.file.url.clone();
        AttemptError::Request(RequestError::Incomplete { url, received: self.received, expected })
    }

    fn sink_error(&self, source: io::Error) -> DownloadError {
        DownloadError::Sink { url: self.file.url.clone(), source }
    }

    /// The same for a file of this machine: one attempt.
    async fn copy_local(&mut self) -> Result<Sha256Digest, DownloadError> {
        let url = self.file.url.clone();
        let scheme =
            |()| DownloadError::Request { url: url.clone(), source: RequestError::Scheme { url: url.clone() } };
        let path = self.file.url.expose().to_file_path().map_err(scheme)?;
        let mut reader = tokio::fs::File::open(&path).await.map_err(|source| self.read_error(&path, source))?;
        reader.set_max_buf_size(LOCAL_READ_BYTES);
        let metadata = reader.metadata().await.map_err(|source| self.read_error(&path, source))?;
        self.sink.start(Some(metadata.len()));
        let mut buffer = vec![0; LOCAL_READ_BYTES];
        loop {
            let count = reader.read(&mut buffer).await.map_err(|source| self.read_error(&path, source))?;
            if count == 0 {
                return self.check_hash();
            }
            match self.take(&buffer[..count]) {
                Ok(()) => {}
                Err(AttemptError::Sink(source)) => return Err(self.sink_error(source)),
                Err(_too_large) => return Err(DownloadError::TooLarge { url, limit: self.limit }),
            }
        }
    }

    fn read_error(&self, path: &Path, source: io::Error) -> DownloadError {
        if source.kind() == io::ErrorKind::NotFound {
            DownloadError::NotFound { url: self.file.url.clone() }
        } else {
            DownloadError::Read { path: path.to_owned(), source }
        }
    }
}

/// First byte and total of `bytes 100-199/200`; the total may be `*`.
fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.trim().parse().ok()?, total))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A strong `ETag`, else `Last-Modified`: what `If-Range` takes. Without either the hash alone guards a resumed file.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(parse_content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(parse_content_range("bytes 0-1/*"), Some((0, None)));
        for bad in ["", "bytes */200", "bytes 1/2", "items 0-1/2", "bytes -1-2/3", "bytes 1-2/x"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
