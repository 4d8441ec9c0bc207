//! TLS for the DIMSE listener: the handshake, and whose certificate the peer showed (PS3.15 B.12).

use std::sync::Arc;

use async_trait::async_trait;
use qianli_dimse::secure::{Handshake, Secured};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Tls;
use super::certificate::Facts;

/// Does the handshakes of a listener.
pub struct DimseTls(pub Arc<Tls>);

#[async_trait]
impl Handshake for DimseTls {
    async fn shake(&self, stream: TcpStream) -> Result<Secured, String> {
        let acceptor = TlsAcceptor::from(self.0.current());
        let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
        let (_, connection) = stream.get_ref();
        let certificate = connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|certificate| Facts::read(certificate).ok())
            .map(|facts| facts.subject);
        Ok(Secured { stream: Box::new(stream), certificate })
    }
}
