//! Runs a router on a listener until told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

/// Renders the process's metrics in the text format of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves `router` and `/metrics` on `listener`. After `shutdown` no connection is accepted, and it
/// returns once the answers under way are complete.
///
/// # Errors
///
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: RenderMetrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let render = move || {
        let text = metrics();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    let service =
        router.route("/metrics", get(render)).into_make_service_with_connect_info::<SocketAddr>();
    // Small answers must not wait for the client's acknowledgement of the one before.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await
}
