//! The same answers over HTTP/2, for clients that ask for several files through one connection.

use std::cell::Cell;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use h2::RecvStream;
use h2::server::SendResponse;
use rustls::ServerConfig;
use tokio::sync::Barrier;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::answer::Answer;
use super::request::{Request, path_of};

/// How long the gate waits for streams that a wrong client never opens.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the streams of one connection share.
struct Connection {
    shared: Arc<Shared>,
    streams: Cell<usize>,
    gate: Option<(String, Barrier)>,
}

/// Answers the requests of one connection until the client or the server ends it.
pub(super) fn serve(shared: &Arc<Shared>, stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gate = shared.state().gate.clone().map(|(prefix, streams)| (prefix, Barrier::new(streams)));
    let connection = Rc::new(Connection { shared: Arc::clone(shared), streams: Cell::new(0), gate });
    LocalSet::new().block_on(&runtime, async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
        let mut accepted = h2::server::handshake(stream).await.map_err(io::Error::other)?;
        while let Some(request) = accepted.accept().await {
            let (request, respond) = request.map_err(io::Error::other)?;
            tokio::task::spawn_local(Rc::clone(&connection).answer(request, respond));
        }
        Ok(())
    })
}

impl Connection {
    async fn answer(self: Rc<Self>, request: http::Request<RecvStream>, mut respond: SendResponse<bytes::Bytes>) {
        let request = request_of(&request);
        self.streams.set(self.streams.get() + 1);
        {
            let mut state = self.shared.state();
            state.streams_peak = state.streams_peak.max(self.streams.get());
            state.requests.push(request.clone());
        }
        if let Some((_, barrier)) = self.gate.as_ref().filter(|(prefix, _)| request.path.starts_with(prefix)) {
            // Whoever waited in vain is answered all the same; the test sees it in the number of streams.
            drop(tokio::time::timeout(PATIENCE, barrier.wait()).await);
        }
        let answer = self.shared.answer(&request);
        // A client that has gone is what it wants to be.
        drop(send(&self.shared, &mut respond, answer));
        self.streams.set(self.streams.get() - 1);
    }
}

fn send(shared: &Shared, respond: &mut SendResponse<bytes::Bytes>, answer: Answer) -> Result<(), h2::Error> {
    let mut head = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        head = head.header(*name, value);
    }
    let head = head.header("content-length", answer.body.len()).body(()).expect("the answers are well-formed");
    let mut body = respond.send_response(head, false)?;
    shared.state().body_bytes += answer.body.len() as u64;
    body.send_data(answer.body.into(), true)
}

fn request_of(request: &http::Request<RecvStream>) -> Request {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Request { method: request.method().to_string(), path: path_of(&target), target, headers: headers.collect() }
}
