//! A package index on the loopback interface that can do everything wrong that real ones do.
//!
//! It serves a flat directory of wheels and sdists: `/simple/<project>/` as PEP 691 or PEP 503, `/files/<name>`
//! with ranges and validators, `/links/` as a page of all files for `--find-links`. Pages are made for each request,
//! so files may be added while it runs. It also answers as a proxy (absolute request targets). It stops, and all its
//! threads have ended, when the value is dropped.

mod answer;
mod fault;
mod http2;
mod page;
mod request;
mod state;
mod tls;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use pip_accel_schema::digest::Sha256Digest;
use rustls::ServerConfig;
use url::Url;

pub use fault::{ALWAYS, Fault};
pub use page::{PageMode, sha256_of};
pub use request::Request;
pub use tls::{authority_file, client_certificate_file};

use answer::{Answer, instead_of_content, project_page};
use page::{Extra, Listed};
use state::{State, UnderWay};

/// The running index.
#[derive(Debug)]
pub struct IndexServer {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    state: Mutex<State>,
    /// Woken when the server stops.
    stopped: Condvar,
}

impl IndexServer {
    /// Serves the files of `directory` over HTTP, with [`PageMode::Negotiated`] pages.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, None)
    }

    /// The same over TLS; clients must trust [`authority_file`].
    #[must_use]
    pub fn start_tls(directory: &Path) -> Self {
        Self::start_with(directory, Some(tls::server_config(tls::HTTP1)))
    }

    /// The same for clients that show [`client_certificate_file`].
    #[must_use]
    pub fn start_mutual_tls(directory: &Path) -> Self {
        Self::start_with(directory, Some(tls::mutual_config()))
    }

    /// The same for clients that speak HTTP/2 and nothing else. Of the faults, statuses and redirects work.
    #[must_use]
    pub fn start_http2(directory: &Path) -> Self {
        Self::start_with(directory, Some(tls::server_config(tls::HTTP2)))
    }

    fn start_with(directory: &Path, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            address,
            tls,
            state: Mutex::new(State::new()),
            stopped: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accepting.accept_all(&listener));
        Self { shared, acceptor: Some(acceptor) }
    }

    /// Which pages it gives.
    #[must_use]
    pub fn with_mode(self, mode: PageMode) -> Self {
        self.shared.state().mode = mode;
        self
    }

    /// Adds a fault for a path such as `/files/x.whl` or `/simple/x/`. Of several, the events are used up in
    /// their order, one a request; the traits (slow, no ranges …) always count.
    #[must_use]
    pub fn with_fault(self, path: &str, fault: Fault) -> Self {
        self.add_fault(path, fault);
        self
    }

    /// As [`IndexServer::with_fault`], while it runs.
    pub fn add_fault(&self, path: &str, fault: Fault) {
        self.shared.state().faults.push((path.to_owned(), fault));
    }

    /// Every path that begins with `prefix` needs this login.
    #[must_use]
    pub fn with_basic_auth(self, prefix: &str, user: &str, password: &str) -> Self {
        let value = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        self.shared.state().logins.push((prefix.to_owned(), format!("Basic {value}")));
        self
    }

    /// Marks a file as yanked, with a reason that may be empty.
    #[must_use]
    pub fn with_yanked(self, file_name: &str, reason: &str) -> Self {
        self.extra(file_name, |extra| extra.yanked = Some(reason.to_owned()))
    }

    /// Gives a file a `Requires-Python`.
    #[must_use]
    pub fn with_requires_python(self, file_name: &str, specifier: &str) -> Self {
        self.extra(file_name, |extra| extra.requires_python = Some(specifier.to_owned()))
    }

    /// Gives a file an upload time (RFC 3339; JSON pages only).
    #[must_use]
    pub fn with_upload_time(self, file_name: &str, time: &str) -> Self {
        self.extra(file_name, |extra| extra.upload_time = Some(time.to_owned()))
    }

    /// Announces another hash than the file has.
    #[must_use]
    pub fn with_announced_sha256(self, file_name: &str, sha256: Sha256Digest) -> Self {
        self.extra(file_name, |extra| extra.sha256 = Some(sha256))
    }

    /// Pages link to files below `base` (with its final `/`) instead of this server's `/files/`.
    #[must_use]
    pub fn with_files_base(self, base: &str) -> Self {
        self.shared.state().files_base = Some(base.to_owned());
        self
    }

    /// Answers to HTTP/2 requests below `prefix` are held back until `streams` of one connection wait for theirs.
    #[must_use]
    pub fn with_gate(self, prefix: &str, streams: usize) -> Self {
        self.shared.state().gate = Some((prefix.to_owned(), streams));
        self
    }

    /// Pages are sent with `Content-Encoding: gzip` to clients that accept it.
    #[must_use]
    pub fn with_gzip_pages(self) -> Self {
        self.shared.state().gzip_pages = true;
        self
    }

    fn extra(self, file_name: &str, change: impl FnOnce(&mut Extra)) -> Self {
        change(self.shared.state().extras.entry(file_name.to_owned()).or_default());
        self
    }

    /// `http://127.0.0.1:port/` plus `path` (without leading `/`).
    #[must_use]
    pub fn url(&self, path: &str) -> Url {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        let text = format!("{scheme}://{}/{path}", self.shared.address);
        text.parse().expect("an address and a path make a URL")
    }

    /// The index: `…/simple/`.
    #[must_use]
    pub fn index_url(&self) -> Url {
        self.url("simple/")
    }

    /// The same with a login.
    #[must_use]
    pub fn index_url_with_login(&self, user: &str, password: Option<&str>) -> Url {
        let mut url = self.index_url();
        url.set_username(user).expect("an http URL takes a user");
        url.set_password(password).expect("an http URL takes a password");
        url
    }

    /// The page of all files: `…/links/`.
    #[must_use]
    pub fn find_links_url(&self) -> Url {
        self.url("links/")
    }

    /// Where a file lies.
    #[must_use]
    pub fn file_url(&self, file_name: &str) -> Url {
        self.url(&format!("files/{}", request::percent_encode(file_name)))
    }

    /// Port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.address.port()
    }

    /// All requests so far, in their order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// How often `path` was asked for.
    #[must_use]
    pub fn request_count(&self, path: &str) -> usize {
        self.shared.state().requests.iter().filter(|request| request.path == path).count()
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.shared.state().connections_total
    }

    /// Most requests that were being answered at the same time.
    #[must_use]
    pub fn concurrency_peak(&self) -> usize {
        self.shared.state().under_way_peak
    }

    /// Bytes of bodies that were sent, in all.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.shared.state().body_bytes
    }

    /// Most streams that one HTTP/2 connection had open at the same time.
    #[must_use]
    pub fn streams_peak(&self) -> usize {
        self.shared.state().streams_peak
    }

    /// The protocols that TLS clients offered (`h2`, `http/1.1`).
    #[must_use]
    pub fn offered_protocols(&self) -> Vec<String> {
        self.shared.state().offered_protocols.clone()
    }
}

impl Drop for IndexServer {
    fn drop(&mut self) {
        self.shared.state().is_stopping = true;
        self.shared.stopped.notify_all();
        // Wakes the acceptor; if nobody listens any more, it has ended already.
        drop(TcpStream::connect(self.shared.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _its_panic_was_printed = acceptor.join();
        }
        let connections = std::mem::take(&mut self.shared.state().connections);
        for (stream, _) in &connections {
            let _closed_already = stream.shutdown(Shutdown::Both);
        }
        for (_, thread) in connections {
            let _its_panic_was_printed = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let mut state = self.state();
            if state.is_stopping {
                return;
            }
            let Ok(handle) = stream.try_clone() else { continue };
            let shared = Arc::clone(self);
            let thread = std::thread::spawn(move || {
                // A broken connection is what many tests are about.
                let _broken = shared.serve(stream);
            });
            state.connections_total += 1;
            state.connections.push((handle, thread));
        }
    }

    fn serve(self: &Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        let socket = stream.try_clone()?;
        let outcome = match &self.tls {
            None => self.serve_requests(&mut stream),
            Some(config) if tls::is_http2(config) => http2::serve(self, stream, config),
            Some(config) => {
                let (mut stream, offered) = tls::accept(stream, config)?;
                self.state().offered_protocols.extend(offered);
                self.serve_requests(&mut stream)
            }
        };
        let _closed_already = socket.shutdown(Shutdown::Both);
        outcome
    }

    fn serve_requests<S: Read + Write>(&self, stream: &mut S) -> io::Result<()> {
        while let Some(request) = Request::read(stream)? {
            {
                let mut state = self.state();
                state.under_way += 1;
                state.under_way_peak = state.under_way_peak.max(state.under_way);
                state.requests.push(request.clone());
            }
            let answer = self.answer(&request);
            if !self.send(stream, answer)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Answer {
        if self.state().refuses(request) {
            let mut answer = Answer::plain(401);
            answer.headers.push(("WWW-Authenticate", "Basic realm=\"index\"".to_owned()));
            return answer;
        }
        if request.method != "GET" {
            // After HEAD a body would be the beginning of the next answer.
            let mut answer = Answer::plain(405);
            answer.body.clear();
            return answer;
        }
        let faults = self.state().faults_for(&request.path);
        let instead = faults.iter().find_map(instead_of_content);
        let mut answer = instead.unwrap_or_else(|| self.content(request, &faults));
        for fault in &faults {
            match fault {
                Fault::DropAfter { bytes, .. } => answer.drop_after = usize::try_from(*bytes).ok(),
                Fault::Stall { bytes, .. } => answer.stall_after = usize::try_from(*bytes).ok(),
                Fault::Slow { chunk_bytes, pause } => answer.slow = Some((*chunk_bytes, *pause)),
                Fault::WrongBytes { .. } => answer.body.iter_mut().for_each(|byte| *byte = !*byte),
                Fault::Truncated { bytes, .. } => answer.body.truncate(usize::try_from(*bytes).unwrap_or(usize::MAX)),
                Fault::NoLength => answer.has_length = false,
                _ => {}
            }
        }
        answer
    }

    fn content(&self, request: &Request, faults: &[Fault]) -> Answer {
        if let Some(name) = request.path.strip_prefix("/files/") {
            return self.file(name, request, faults);
        }
        let mut state = self.state();
        if request.path == "/links/" {
            let files = self.listed(&mut state, None);
            let base = state.files_base.clone().unwrap_or_else(|| "/files/".to_owned());
            let with_hashes = state.mode != PageMode::HtmlWithoutHashes;
            return Answer::new(200, "text/html", page::html_page("links", &base, &files, with_hashes));
        }
        let project = request.path.strip_prefix("/simple/").and_then(|rest| rest.strip_suffix('/'));
        let Some(project) = project.and_then(|project| project.parse().ok()) else { return Answer::plain(404) };
        let files = self.listed(&mut state, Some(&project));
        if files.is_empty() {
            return Answer::plain(404);
        }
        let base = state.files_base.as_deref().unwrap_or("../../files/");
        let mut answer = project_page(state.mode, base, request, project.as_str(), &files);
        if state.gzip_pages && request.header("accept-encoding").is_some_and(|value| value.contains("gzip")) {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&answer.body).expect("memory can be written");
            answer.body = encoder.finish().expect("memory can be written");
            answer.headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        answer
    }

    fn listed(&self, state: &mut State, project: Option<&pip_accel_schema::name::PackageName>) -> Vec<Listed> {
        let mut files = page::list(&self.directory, project, &mut state.hashes);
        for file in &mut files {
            file.extra = state.extras.get(&file.name).cloned().unwrap_or_default();
        }
        files
    }

    fn file(&self, name: &str, request: &Request, faults: &[Fault]) -> Answer {
        let path = self.directory.join(name);
        let is_plain_name = !name.contains('/') && name != "..";
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
        let (true, Ok(modified), Ok(content)) = (is_plain_name, modified, std::fs::read(&path)) else {
            return Answer::plain(404);
        };
        let has = |wanted: fn(&Fault) -> bool| faults.iter().any(wanted);
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let tag = format!("\"{:x}-{:x}\"", content.len(), since.as_nanos());
        let total = content.len();
        let is_same = request.header("if-range").is_none_or(|validator| validator == tag);
        let start = request.range_start().filter(|_| is_same && !has(|fault| matches!(fault, Fault::IgnoreRange)));
        let mut answer = match start.map(|start| usize::try_from(start).unwrap_or(usize::MAX)) {
            None => Answer::new(200, "application/octet-stream", content),
            Some(start) if start >= total => Answer::plain(416),
            Some(start) => {
                let mut answer = Answer::new(206, "application/octet-stream", content[start..].to_vec());
                answer.headers.push(("Content-Range", format!("bytes {start}-{}/{total}", total - 1)));
                answer
            }
        };
        if !has(|fault| matches!(fault, Fault::NoValidator)) {
            answer.headers.push(("ETag", tag));
        }
        answer
    }

    /// Sends, and says whether the connection can go on.
    fn send(&self, stream: &mut dyn Write, answer: Answer) -> io::Result<bool> {
        let mut under_way = Some(UnderWay(self));
        let mut head = format!("HTTP/1.1 {} Loopback\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if answer.has_length {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
        } else {
            head.push_str("Connection: close\r\n\r\n");
        }
        stream.write_all(head.as_bytes())?;
        let end = answer.drop_after.or(answer.stall_after).unwrap_or(usize::MAX).min(answer.body.len());
        let (chunk_bytes, pause) = answer.slow.unwrap_or((1 << 20, Duration::ZERO));
        for (index, chunk) in answer.body[..end].chunks(chunk_bytes.max(1)).enumerate() {
            // The client may go on as soon as it has the last bytes, before this thread does.
            if (index + 1) * chunk_bytes >= end {
                under_way = None;
            }
            self.state().body_bytes += chunk.len() as u64;
            stream.write_all(chunk)?;
            stream.flush()?;
            if !pause.is_zero() && self.wait_for_stop(Some(pause)) {
                return Ok(false);
            }
        }
        drop(under_way);
        stream.flush()?;
        if answer.stall_after.is_some() {
            self.wait_for_stop(None);
        }
        Ok(answer.has_length && answer.drop_after.is_none() && answer.stall_after.is_none())
    }

    /// Waits until the server stops, or for `pause` at most; says whether it stops.
    fn wait_for_stop(&self, pause: Option<Duration>) -> bool {
        let state = self.state();
        let goes_on = |state: &mut State| !state.is_stopping;
        match pause {
            None => {
                drop(self.stopped.wait_while(state, goes_on));
                true
            }
            Some(pause) => {
                let waited = self.stopped.wait_timeout_while(state, pause, goes_on);
                waited.is_ok_and(|(state, _)| state.is_stopping)
            }
        }
    }
}
