//! An HTTP proxy on the loopback interface that leads every request to one server, whatever host it names.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::index_server::Request;

/// The running proxy. It stops, and all its threads have ended, when the value is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    upstream: SocketAddr,
    /// What `Proxy-Authorization` has to be.
    login: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    requests: Vec<Request>,
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Leads everything to port `port` of the loopback device.
    #[must_use]
    pub fn start(port: u16) -> Self {
        Self::start_with(port, None)
    }

    /// The same, for clients with this login only.
    #[must_use]
    pub fn start_with_login(port: u16, user: &str, password: &str) -> Self {
        let login = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        Self::start_with(port, Some(format!("Basic {login}")))
    }

    fn start_with(port: u16, login: Option<String>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback interface has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let upstream = SocketAddr::from(([127, 0, 0, 1], port));
        let shared = Arc::new(Shared { address, upstream, login, state: Mutex::default() });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accepting.accept_all(&listener));
        Self { shared, acceptor: Some(acceptor) }
    }

    /// `http://127.0.0.1:port`, with `login` (`user:password@`) before the host.
    #[must_use]
    pub fn url(&self, login: &str) -> String {
        format!("http://{login}{}", self.shared.address)
    }

    /// The first request of each connection, in their order: `CONNECT host:port`, or `GET http://host/path`.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().is_stopping = true;
        // Wakes the acceptor; if nobody listens any more, it has ended already.
        drop(TcpStream::connect(self.shared.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _its_panic_was_printed = acceptor.join();
        }
        let (streams, threads) = {
            let mut state = self.shared.state();
            (std::mem::take(&mut state.streams), std::mem::take(&mut state.threads))
        };
        for stream in &streams {
            let _closed_already = stream.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _its_panic_was_printed = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let mut state = self.state();
            if state.is_stopping {
                return;
            }
            let Ok(upstream) = TcpStream::connect(self.upstream) else { continue };
            let handles = (stream.try_clone(), upstream.try_clone());
            let (Ok(client_handle), Ok(upstream_handle)) = handles else { continue };
            state.streams.extend([client_handle, upstream_handle]);
            let shared = Arc::clone(self);
            state.threads.push(std::thread::spawn(move || {
                // A client that goes away is no fault of the proxy.
                let _broken = shared.serve(stream, upstream);
            }));
        }
    }

    fn serve(&self, mut client: TcpStream, mut upstream: TcpStream) -> io::Result<()> {
        let Some(request) = Request::read(&mut client)? else { return Ok(()) };
        self.state().requests.push(request.clone());
        let refused = self.login.as_deref().is_some_and(|login| request.header("proxy-authorization") != Some(login));
        if refused {
            return client.write_all(b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        if request.method == "CONNECT" {
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        } else {
            let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
            for (name, value) in request.headers.iter().filter(|(name, _)| name != "proxy-authorization") {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            upstream.write_all(format!("{head}\r\n").as_bytes())?;
        }
        let (mut from_client, mut to_upstream) = (client.try_clone()?, upstream.try_clone()?);
        let forward = std::thread::spawn(move || copy(&mut from_client, &mut to_upstream));
        copy(&mut upstream, &mut client);
        let _its_panic_was_printed = forward.join();
        Ok(())
    }
}

/// Copies until either side ends, and then ends both.
fn copy(from: &mut TcpStream, to: &mut TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _closed_already = stream.shutdown(Shutdown::Both);
    }
}
