//! An authority of the test's own, which makes certificates, and a client that looks at the server's.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub pem: String,
}

/// Files of a certificate.
pub struct Identity {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Its certificate as a file.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        fs::write(&path, &self.pem).expect("write the authority");
        path
    }

    /// Makes a certificate for this machine, good for servers and clients, over whatever was in the
    /// files before.
    pub fn issue(&self, name: &str, folder: &Path) -> Identity {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        let mut parameters = CertificateParams::new(names).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        let identity = Identity { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        fs::create_dir_all(folder).expect("make the folder");
        fs::write(&identity.cert, cert.pem()).expect("write the certificate");
        fs::write(&identity.key, key.serialize_pem()).expect("write the key");
        identity
    }

    /// The certificate that a server shows to a client that trusts this authority, and the protocol
    /// that they agree on.
    pub fn look(&self, server: SocketAddr) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).ok()?).ok()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").ok()?;
        let connection = ClientConnection::new(Arc::new(config), name).ok()?;
        let socket = TcpStream::connect(server).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.flush().ok()?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        let certificate = stream.conn.peer_certificates()?.first()?.to_vec();
        let protocol = stream.conn.alpn_protocol().unwrap_or_default().to_vec();
        Some((certificate, protocol))
    }
}
