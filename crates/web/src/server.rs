//! Runs a router on a listener until told to stop, and gives up on clients that do not ask.

mod places;
mod stall;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use qianli_model::PerAddress;
use qianli_model::address::is_loopback;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use self::places::{Admission, Places};
use self::stall::Stalling;
pub use self::tls::CurrentTls;
use crate::error::HttpError;
use crate::forwarded::{OverTls, TrustedProxies, is_proxied};
use crate::headers;

/// Renders the process's metrics in the text format of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Connections at once; more wait unaccepted.
pub(crate) const CONNECTIONS: usize = 2_048;

/// Time for a client that is turned away to hear of it.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Time for the headers of a request.
pub(crate) const HEADER_TIME: Duration = Duration::from_secs(30);

/// Most bytes that are read of an HTTP/1 connection at once, or gathered for it. Longer request heads
/// are refused.
const CONNECTION_BUFFER: usize = 128 << 10;

/// A browser that pauses a download takes nothing for a while.
pub(crate) const STALL: Duration = Duration::from_secs(120);

/// What clients may take of the server without asking for anything.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at once; more wait unaccepted.
    connections: usize,
    /// Connections at once from one address; more are turned away with 429.
    per_address: PerAddress,
    /// Time for the headers of a request, counted from the moment when one may come. A connection
    /// without requests is closed after it, and so is one whose HTTP/2 pings go unanswered for it.
    headers: Duration,
    /// A client that takes not one byte of its answer for this long is cut.
    stall: Duration,
}

impl Limits {
    fn new(per_address: PerAddress) -> Self {
        Self { connections: CONNECTIONS, per_address, headers: HEADER_TIME, stall: STALL }
    }
}

/// How connections are taken.
#[derive(Clone)]
pub struct Door {
    /// Connections at once from one address; proxies that are trusted bring in others and are not
    /// counted.
    pub per_address: PerAddress,
    /// TLS, when it is spoken here. Who speaks plain HTTP then is told so.
    pub tls: Option<CurrentTls>,
    /// Proxies that are trusted.
    pub trusted: TrustedProxies,
}

/// Serves `router` and `/metrics` on `listener`. After `shutdown` no connection is accepted, and it
/// returns once the answers under way are complete.
///
/// # Errors
///
/// None at present: a listener that fails for a while is tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: RenderMetrics,
    door: Door,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // They name AE titles and say how much is going on: for this machine's own agents, and not for
    // everybody whom a proxy on this machine lets through.
    let render = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap| {
        let local = is_loopback(peer.ip()) && !is_proxied(&headers);
        let text = local.then(|| metrics());
        async move {
            let text = text.ok_or_else(|| HttpError::forbidden("only from this machine"))?;
            Ok::<_, HttpError>(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text))
        }
    };
    let metrics = get(render).layer(map_response(async |mut response: Response| {
        headers::complete(&mut response, false);
        response
    }));
    let router = router.route("/metrics", metrics);
    let limits = Limits::new(door.per_address);
    run(listener, router, door, limits, shutdown).await;
    Ok(())
}

async fn run(
    mut listener: TcpListener,
    router: Router,
    door: Door,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let mut shutdown = pin!(shutdown);
    let graceful = GracefulShutdown::new();
    let all = Arc::new(Semaphore::new(limits.connections));
    let places = Places::new(limits.per_address);
    let refusing = Router::new().fallback(too_many);
    loop {
        let next = async {
            let place = Arc::clone(&all).acquire_owned().await;
            let (socket, peer) = Listener::accept(&mut listener).await;
            (place, socket, peer)
        };
        let (place, socket, peer) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        // Small answers must not wait for the client's acknowledgement of the one before.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let admission = match door.trusted.contains(peer.ip()) {
            true => Admission::Serve(None),
            false => places.admit(peer.ip()),
        };
        let (router, own) = match admission {
            Admission::Serve(own) => (&router, Ok(own)),
            Admission::Refuse(own) => (&refusing, Err(own)),
            Admission::Close => continue,
        };
        let service =
            Connection { router: router.clone(), peer, tls: false, asked: Arc::default() };
        let watcher = graceful.watcher();
        let tls = door.tls.as_ref().map(|current| current());
        tokio::spawn(async move {
            let conversation = async {
                match tls {
                    Some(tls) => shake_hands(socket, tls.into(), service, limits, watcher).await,
                    None => converse(socket, service, limits, watcher).await,
                }
            };
            if own.is_ok() {
                conversation.await;
            } else {
                // Whether the client took its answer in this time changes nothing.
                let _ = tokio::time::timeout(REFUSAL_TIME, conversation).await;
            }
            drop((place, own));
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// What a connection beyond the limit of its address is told.
async fn too_many() -> impl axum::response::IntoResponse {
    let headers = [(CONNECTION, "close"), (RETRY_AFTER, "1")];
    (StatusCode::TOO_MANY_REQUESTS, headers, "too many connections from this address\n")
}

/// Goes on inside TLS; tells who speaks plain HTTP where to go. The handshake has as long as the
/// headers of a request, and holds the connection's places.
async fn shake_hands(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    mut service: Connection,
    limits: Limits,
    watcher: Watcher,
) {
    let first = tokio::time::timeout(limits.headers, tls::begins(&socket)).await;
    match first {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => {
            service.router = Router::new().fallback(tls::plain);
            return converse(socket, service, limits, watcher).await;
        }
        Ok(Err(_)) | Err(_) => return,
    }
    // Below TLS, so that a client that takes nothing is noticed while records wait to be sent, too.
    let handshake = acceptor.accept(Stalling::new(socket, limits.stall));
    match tokio::time::timeout(limits.headers, handshake).await {
        Ok(Ok(stream)) => {
            service.tls = true;
            talk(stream, service, limits, watcher).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, peer = %service.peer, "TLS handshake failed"),
        Err(_) => tracing::debug!(peer = %service.peer, "TLS handshake took too long"),
    }
}

/// Answers the requests of one connection until either side ends it.
async fn converse(socket: TcpStream, service: Connection, limits: Limits, watcher: Watcher) {
    talk(Stalling::new(socket, limits.stall), service, limits, watcher).await;
}

async fn talk<S>(stream: S, service: Connection, limits: Limits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::clone(&service.asked);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Who has nothing more to say may still listen. One that is gone is noticed on the first
        // write, or when the time for headers or for taking the answer is over.
        .half_close(true)
        .header_read_timeout(limits.headers)
        .max_buf_size(CONNECTION_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.headers)
        .keep_alive_timeout(limits.headers);
    // A WebSocket leaves this connection when it is upgraded, and has limits of its own.
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(watcher.watch(connection));
    // The timer of HTTP/1 starts when the version is known. A client that never says enough for
    // that, or speaks HTTP/2 and asks for nothing, is found out here.
    let result = match tokio::time::timeout(limits.headers, &mut connection).await {
        Ok(result) => result,
        Err(_) if !asked.load(Ordering::Relaxed) => return,
        Err(_) => connection.await,
    };
    if let Err(error) = result {
        tracing::trace!(%error, "connection failed");
    }
}

/// The router as one connection sees it: every request carries the client's address.
#[derive(Clone)]
struct Connection {
    router: Router,
    peer: SocketAddr,
    /// Inside TLS.
    tls: bool,
    /// A request has come.
    asked: Arc<AtomicBool>,
}

impl<B> Service<Request<B>> for Connection
where
    Router: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        if self.tls {
            request.extensions_mut().insert(OverTls);
        }
        self.router.call(request)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Time for headers in these tests.
    const HEADERS: Duration = Duration::from_millis(300);
    /// Longer than anything here takes when it works.
    const EVER: Duration = Duration::from_secs(20);

    struct Server {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        running: JoinHandle<()>,
    }

    impl Server {
        async fn start(connections: usize) -> Self {
            Self::start_with(connections, PerAddress { remote: 0, loopback: connections }).await
        }

        async fn start_with(connections: usize, per_address: PerAddress) -> Self {
            let router = Router::new()
                .route(
                    "/peer",
                    get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
                )
                .route(
                    "/slow",
                    get(async || {
                        sleep(3 * HEADERS).await;
                        "slow"
                    }),
                )
                .route(
                    "/endless",
                    get(async || {
                        let block = Bytes::from_static(&[0; 65_536]);
                        let steps = futures_util::stream::repeat(Ok::<_, Infallible>(block));
                        axum::body::Body::from_stream(steps)
                    }),
                )
                .route("/length", post(async |body: Bytes| body.len().to_string()));
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let (stop, stopped) = oneshot::channel();
            let limits = Limits { connections, per_address, headers: HEADERS, stall: HEADERS };
            let door = Door { per_address, tls: None, trusted: TrustedProxies::default() };
            let running = tokio::spawn(run(listener, router, door, limits, async {
                stopped.await.unwrap_or_default();
            }));
            Self { address, stop, running }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("a connection")
        }
    }

    /// All that the server sends before it closes.
    async fn rest(socket: &mut TcpStream) -> String {
        let mut text = Vec::new();
        // A connection that is reset has ended too.
        let _ = timeout(EVER, socket.read_to_end(&mut text)).await.expect("an end");
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn clients_that_do_not_ask_are_cut() {
        let server = Server::start(100).await;
        let start =
            ["", "P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTT"];
        for sent in start {
            let mut socket = server.connect().await;
            socket.write_all(sent.as_bytes()).await.expect("bytes are taken");
            rest(&mut socket).await;
        }
        // Headers that never end.
        let mut socket = server.connect().await;
        let cut = async {
            let mut line = "GET /peer HTTP/1.1\r\n";
            while socket.write_all(line.as_bytes()).await.is_ok() {
                line = "X: y\r\n";
                sleep(HEADERS / 10).await;
            }
        };
        timeout(EVER, cut).await.expect("the connection is cut");
        // And one that asked once and then sits there.
        let mut socket = server.connect().await;
        socket.write_all(b"GET /peer HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("a request");
        assert!(rest(&mut socket).await.ends_with("127.0.0.1"));
    }

    #[tokio::test]
    async fn slow_answers_and_slow_bodies_are_waited_for() {
        let server = Server::start(100).await;
        let mut socket = server.connect().await;
        let request = b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        socket.write_all(request).await.expect("a request");
        assert!(rest(&mut socket).await.ends_with("slow"));
        let mut socket = server.connect().await;
        let head = b"POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n";
        socket.write_all(head).await.expect("headers");
        for byte in b"012345" {
            sleep(HEADERS / 2).await;
            socket.write_all(&[*byte]).await.expect("a byte");
        }
        assert!(rest(&mut socket).await.ends_with('6'));
    }

    #[tokio::test]
    async fn clients_that_only_listen_are_answered() {
        let server = Server::start(1).await;
        for (request, end) in [
            ("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n", "slow"),
            ("POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", "2"),
            // Nothing asked, or not to the end: there is nothing to wait for.
            ("", ""),
            ("GET /slow HT", ""),
        ] {
            let mut socket = server.connect().await;
            socket.write_all(request.as_bytes()).await.expect("a request");
            socket.shutdown().await.expect("an end of writing");
            assert!(rest(&mut socket).await.ends_with(end), "{request}");
        }
    }

    #[tokio::test]
    async fn clients_that_leave_give_their_place_back() {
        let server = Server::start(1).await;
        for path in ["/slow", "/endless"] {
            let mut lost = server.connect().await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            lost.write_all(request.as_bytes()).await.expect("a request");
            sleep(HEADERS / 10).await;
            drop(lost);
            let mut next = server.connect().await;
            let request = b"GET /peer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            next.write_all(request).await.expect("a request");
            assert!(rest(&mut next).await.ends_with("127.0.0.1"), "{path}");
        }
    }

    #[tokio::test]
    async fn clients_that_take_nothing_are_cut() {
        let server = Server::start(1).await;
        let mut idle = server.connect().await;
        idle.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("a request");
        // The only place is free again once the first client is given up.
        let mut next = server.connect().await;
        let request = b"GET /peer HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        next.write_all(request).await.expect("a request");
        assert!(rest(&mut next).await.ends_with("127.0.0.1"));
        drop(idle);
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_their_turn() {
        let server = Server::start(1).await;
        let request = b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let mut first = server.connect().await;
        first.write_all(request).await.expect("a request");
        let mut second = server.connect().await;
        second.write_all(request).await.expect("a request");
        assert!(
            timeout(4 * HEADERS, rest(&mut second)).await.is_err(),
            "both were answered at once"
        );
        assert!(rest(&mut first).await.ends_with("slow"));
        assert!(rest(&mut second).await.ends_with("slow"));
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_of_an_address_are_told() {
        let server = Server::start_with(100, PerAddress { remote: 0, loopback: 1 }).await;
        let request = b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let mut first = server.connect().await;
        first.write_all(request).await.expect("a request");
        let mut second = server.connect().await;
        second.write_all(request).await.expect("a request");
        let told = rest(&mut second).await;
        assert!(told.starts_with("HTTP/1.1 429 ") && told.contains("too many"), "{told}");
        assert!(rest(&mut first).await.ends_with("slow"), "the first is served");
        let again = async {
            loop {
                let mut third = server.connect().await;
                third.write_all(request).await.expect("a request");
                if rest(&mut third).await.ends_with("slow") {
                    break;
                }
            }
        };
        timeout(EVER, again).await.expect("the place is given back");
    }

    #[tokio::test]
    async fn answers_under_way_are_complete_before_the_end() {
        let server = Server::start(100).await;
        let mut idle = server.connect().await;
        let mut busy = server.connect().await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("a request");
        sleep(HEADERS / 2).await;
        server.stop.send(()).expect("the server runs");
        assert!(rest(&mut busy).await.ends_with("slow"));
        assert_eq!(rest(&mut idle).await, "");
        timeout(EVER, server.running).await.expect("an end").expect("no panic");
        assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens");
    }
}
