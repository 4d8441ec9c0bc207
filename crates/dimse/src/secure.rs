//! Secure transport as this crate sees it: a handshake that somebody else does, and the stream that
//! comes out of it. No TLS library, key or file is known here.

use async_trait::async_trait;
use qianli_model::peer::Certificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A two-way stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection after its handshake.
pub struct Secured {
    /// The bytes inside.
    pub stream: Box<dyn Stream>,
    /// The peer's certificate, if it showed one that was accepted.
    pub certificate: Option<Certificate>,
}

/// Does handshakes. The acceptor gives each as long as a peer has to ask for an association.
#[async_trait]
pub trait Handshake: Send + Sync + 'static {
    /// Secures a connection, or says why it cannot be.
    async fn shake(&self, stream: TcpStream) -> Result<Secured, String>;
}
