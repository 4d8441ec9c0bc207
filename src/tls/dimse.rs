//! TLS for the DIMSE listener: the handshake, and whose certificate the peer showed (PS3.15 B.12).

use std::sync::Arc;

use async_trait::async_trait;
use qianli_dimse::secure::{Handshake, Secured};
use qianli_model::peer::Certificate;
use sha2::{Digest, Sha256};
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
        let certificate =
            connection.peer_certificates().and_then(|chain| chain.first()).and_then(|der| {
                let subject = Facts::read(der).ok()?.subject;
                let sha256 = Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect();
                Some(Certificate { subject, sha256 })
            });
        Ok(Secured { stream: Box::new(stream), certificate })
    }
}
