//! TLS for the loopback index, with certificates that only the tests trust.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// The file of the authority that signed the server's certificate.
#[must_use]
pub fn authority_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/tls/ca.pem")
}

/// A certificate and its key, which [`IndexServer::start_mutual_tls`](super::IndexServer::start_mutual_tls) accepts.
#[must_use]
pub fn client_certificate_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/tls/client.pem")
}

/// HTTP/1.1 as TLS names it.
pub(super) const HTTP1: &[u8] = b"http/1.1";
/// HTTP/2 as TLS names it.
pub(super) const HTTP2: &[u8] = b"h2";

/// Whether the server speaks HTTP/2 alone.
pub(super) fn is_http2(config: &ServerConfig) -> bool {
    config.alpn_protocols == [HTTP2]
}

/// The server's side: a certificate for `localhost`, `127.0.0.1` and `index.invalid`, and one protocol alone.
pub(super) fn server_config(protocol: &[u8]) -> Arc<ServerConfig> {
    configured(protocol, ServerConfig::builder().with_no_client_auth())
}

/// The same for clients that show a certificate of the tests' other authority, over HTTP/1.1.
pub(super) fn mutual_config() -> Arc<ServerConfig> {
    let mut authorities = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(include_bytes!("../../data/tls/client-ca.pem"));
    authorities.add(authority.expect("the checked-in certificate parses")).expect("it is one of an authority");
    let verifier = WebPkiClientVerifier::builder(Arc::new(authorities)).build().expect("there is an authority");
    configured(HTTP1, ServerConfig::builder().with_client_cert_verifier(verifier))
}

fn configured(protocol: &[u8], builder: ConfigBuilder<ServerConfig, WantsServerCert>) -> Arc<ServerConfig> {
    let certificates = CertificateDer::pem_slice_iter(include_bytes!("../../data/tls/server.pem"))
        .collect::<Result<Vec<_>, _>>()
        .expect("the checked-in certificate parses");
    let key =
        PrivateKeyDer::from_pem_slice(include_bytes!("../../data/tls/server.key")).expect("the checked-in key parses");
    let mut config =
        builder.with_single_cert(certificates, key).expect("the checked-in key belongs to the certificate");
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// Shakes hands; also says which protocols the client offered (`h2`, `http/1.1`).
pub(super) fn accept(
    mut stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> io::Result<(StreamOwned<ServerConnection, TcpStream>, Vec<String>)> {
    let failed = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        if acceptor.read_tls(&mut stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(accepted) = acceptor.accept().map_err(|(error, _alert)| failed(error))? {
            break accepted;
        }
    };
    let offered = accepted
        .client_hello()
        .alpn()
        .map(|protocols| protocols.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        .unwrap_or_default();
    let mut connection = accepted.into_connection(Arc::clone(config)).map_err(|(error, _alert)| failed(error))?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut stream) {
            // What the client still sends must be read, or the reset takes the alert away that says why.
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink())?;
            return Err(error);
        }
    }
    Ok((StreamOwned::new(connection, stream), offered))
}
