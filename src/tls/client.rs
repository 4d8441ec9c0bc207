//! TLS towards other nodes, for the commands that call them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use qianli_model::address::is_loopback;
use qianli_model::destination::Destination;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsFiles, authorities, identity, provider};

/// How a peer is called over TLS.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClientTls {
    /// Call over TLS (PS3.15 B.12); peers that ask for our certificate see the one of the settings.
    #[arg(long)]
    tls: bool,
    /// Authorities from which the peer's certificate must come, PEM; without it, those that this
    /// machine trusts.
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// Take any certificate; for tests on this machine, only towards loopback.
    #[arg(long, requires = "tls", conflicts_with = "tls_ca")]
    tls_insecure: bool,
}

impl ClientTls {
    /// How a registered destination is called.
    pub fn of(destination: &Destination) -> Self {
        let authorities = destination.tls.as_ref().map(|tls| tls.authorities.as_str());
        Self {
            tls: destination.tls.is_some(),
            tls_ca: authorities.filter(|path| !path.is_empty()).map(PathBuf::from),
            tls_insecure: false,
        }
    }

    /// Whether TLS is wanted.
    pub fn is_wanted(&self) -> bool {
        self.tls
    }

    /// Does the handshake over a connection to `peer`, which was asked for as `host`. `own` is shown
    /// to peers that ask for a certificate.
    ///
    /// # Errors
    ///
    /// A file cannot be used, or the peer is not who it should be.
    pub async fn wrap(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        host: &str,
        own: Option<&TlsFiles>,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        if self.tls_insecure && !is_loopback(peer.ip()) {
            bail!(
                "--tls-insecure takes any certificate and is for loopback only; give the \
                 authority of {host} with --tls-ca"
            );
        }
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .with_context(|| format!("{host:?} is no name that a certificate can have"))?;
        let connector = TlsConnector::from(Arc::new(self.config(own)?));
        connector.connect(name, stream).await.with_context(|| format!("TLS with {host} ({peer})"))
    }

    fn config(&self, own: Option<&TlsFiles>) -> anyhow::Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .context("choose TLS versions")?;
        let builder = match self.tls_insecure {
            true => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider())))
            }
            false => builder.with_root_certificates(self.roots()?),
        };
        Ok(match own {
            Some(files) => {
                let (certified, _) = identity(&files.cert, &files.key)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        })
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        match &self.tls_ca {
            Some(path) => authorities(path),
            None => {
                let mut roots = RootCertStore::empty();
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    bail!(
                        "this machine trusts no authorities; give the file with the peer's by --tls-ca"
                    );
                }
                Ok(roots)
            }
        }
    }
}

/// Takes any certificate, if only its owner holds the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
