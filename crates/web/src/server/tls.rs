//! The first byte of a connection on a TLS listener, and what a client hears that speaks plain HTTP
//! there.

use std::io;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{ACCEPT, CONNECTION, HOST, LOCATION};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;

use crate::caller::is_host;

/// Gives the TLS settings of this moment: they change when certificates are renewed. They offer
/// `h2` and `http/1.1` by ALPN.
pub type CurrentTls = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// First byte of every TLS connection: a handshake record (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// Whether the client begins TLS. Takes nothing from what it sent.
pub(super) async fn begins(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match socket.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [HANDSHAKE]),
    }
}

/// What a plain request is told. People who typed the address without `https://` are sent there; a
/// program is not, since it would go on sending its secrets in plain text first.
pub(super) async fn plain(request: Request) -> Response {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let browses = *request.method() == Method::GET
        && text(ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    if browses && let Some(host) = text(HOST).filter(|host| is_host(host)) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let headers = [(LOCATION, format!("https://{host}{path}")), (CONNECTION, "close".into())];
        return (StatusCode::PERMANENT_REDIRECT, headers).into_response();
    }
    let message = "this port speaks HTTPS: write https:// instead of http://\n";
    (StatusCode::BAD_REQUEST, [(CONNECTION, "close")], message).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use qianli_model::PerAddress;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::super::{Door, Limits, run};
    use super::*;
    use crate::forwarded::{OverTls, TrustedProxies};

    const HEADERS: Duration = Duration::from_millis(300);
    /// Longer than anything here takes when it works.
    const EVER: Duration = Duration::from_secs(20);

    /// A server over TLS with room for `connections`, and a client that trusts it.
    async fn start(connections: usize) -> (std::net::SocketAddr, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("settings");
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("an authority");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let router = Router::new().route(
            "/",
            get(async |request: Request| {
                request.extensions().get::<OverTls>().map_or("plain", |_| "inside TLS")
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let per_address = PerAddress { remote: 0, loopback: connections };
        let server = Arc::new(server);
        let tls: CurrentTls = Arc::new(move || Arc::clone(&server));
        let door = Door { per_address, tls: Some(tls), trusted: TrustedProxies::default() };
        let limits = Limits { connections, per_address, headers: HEADERS, stall: HEADERS };
        tokio::spawn(run(listener, router, door, limits, std::future::pending()));
        (address, TlsConnector::from(Arc::new(client)))
    }

    /// Asks over TLS and gives what comes back.
    async fn ask(address: std::net::SocketAddr, connector: &TlsConnector) -> io::Result<String> {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = connector.connect(name, socket).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    async fn plainly(address: std::net::SocketAddr, accept: &str) -> String {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET /a?b HTTP/1.1\r\nHost: h:1\r\nAccept: {accept}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("a request");
        let mut text = String::new();
        timeout(EVER, socket.read_to_string(&mut text)).await.expect("an end").expect("text");
        text
    }

    #[tokio::test]
    async fn handlers_know_that_tls_is_spoken() {
        let (address, connector) = start(10).await;
        assert!(ask(address, &connector).await.expect("an answer").ends_with("inside TLS"));
    }

    #[tokio::test]
    async fn plain_requests_are_told_where_to_go() {
        let (address, _) = start(10).await;
        let told = plainly(address, "*/*").await;
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("https://"), "{told}");
        let sent = plainly(address, "text/html").await;
        assert!(sent.starts_with("HTTP/1.1 308 "), "{sent}");
        assert!(sent.contains("location: https://h:1/a?b\r\n"), "{sent}");
    }

    #[tokio::test]
    async fn handshakes_that_do_not_end_give_their_place_back() {
        let (address, connector) = start(1).await;
        // Nothing, the start of a record, a record that is none.
        for sent in [&b""[..], &[HANDSHAKE], &[HANDSHAKE, 3, 1, 0, 5, 1, 0, 0, 1, 0]] {
            let mut lost = TcpStream::connect(address).await.expect("a connection");
            lost.write_all(sent).await.expect("bytes are taken");
            let next = timeout(EVER, ask(address, &connector)).await.expect("a turn");
            // The only place may still be held when the next connection is counted.
            if !next.is_ok_and(|text| text.ends_with("inside TLS")) {
                let again = timeout(EVER, ask(address, &connector)).await.expect("a turn");
                assert!(again.expect("an answer").ends_with("inside TLS"), "{sent:?}");
            }
        }
    }
}
