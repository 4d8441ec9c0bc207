//! TLS of this node: certificates from PEM files, checked when they are read, and read again when the
//! files change. BCP 195: TLS 1.2 and 1.3 only, with the suites of the ring provider, which all have
//! forward secrecy and authenticated encryption.

pub mod certificate;
pub mod client;
pub mod dimse;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use self::certificate::Facts;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often the log says that a certificate expires soon.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A certificate that holds no longer than this expires soon.
pub const SOON: Duration = Duration::from_secs(21 * 24 * 3600);

/// Largest PEM file: a chain has a few kilobytes, a bundle of all public authorities 200.
const MOST_PEM: u64 = 4 << 20;

/// Where a listener's certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate of this node, then those between it and the root, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
    /// Authorities from which peers must have a certificate; `None` asks peers for none.
    pub client_ca: Option<PathBuf>,
}

/// What one file looked like, so that a change is seen.
type Stamp = Option<(u64, i64, i64, u64)>;

/// The TLS settings of one listener, always those of its files.
pub struct Tls {
    /// What the log calls the listener.
    name: &'static str,
    files: TlsFiles,
    alpn: &'static [&'static [u8]],
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    facts: Facts,
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |path: &PathBuf| {
            let data = fs::metadata(path).ok()?;
            Some((data.ino(), data.mtime(), data.mtime_nsec(), data.size()))
        };
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
            .map(stamp)
            .collect()
    }
}

impl Tls {
    /// Reads the files. `alpn` are the protocols inside TLS, the preferred first.
    ///
    /// # Errors
    ///
    /// They cannot be used; the text names the file and what is wrong with it.
    pub fn open(
        name: &'static str,
        files: TlsFiles,
        alpn: &'static [&'static [u8]],
    ) -> anyhow::Result<Arc<Self>> {
        let current = load(&files, alpn)?;
        tell(name, &current.facts);
        Ok(Arc::new(Self { name, files, alpn, current: RwLock::new(current) }))
    }

    /// The settings for the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Looks at the files until `stop`, and takes over what changed. What cannot be used changes
    /// nothing, and the log says why.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut loaded = self.files.stamps();
        let mut before = loaded.clone();
        let mut reminded = std::time::Instant::now();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let now = self.files.stamps();
            // Whoever renews writes several files: only what stays the same for a while is read.
            let settled = now == before;
            before.clone_from(&now);
            if settled && now != loaded {
                loaded = now;
                self.reload();
            }
            if reminded.elapsed() >= REMIND_EVERY {
                reminded = std::time::Instant::now();
                let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
                tell(self.name, &current.facts);
            }
        }
    }

    fn reload(&self) {
        match load(&self.files, self.alpn) {
            Ok(new) => {
                tracing::info!(
                    listener = self.name,
                    subject = new.facts.subject,
                    until = new.facts.until(),
                    "took over the changed certificate"
                );
                tell(self.name, &new.facts);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
            }
            Err(error) => tracing::error!(
                listener = self.name,
                error = format!("{error:#}"),
                "the certificate's files changed but cannot be used; the one before stays"
            ),
        }
    }
}

/// Says what is wrong with the dates of a certificate.
fn tell(listener: &'static str, facts: &Facts) {
    let (subject, until) = (&facts.subject, facts.until());
    match facts.trouble(SOON) {
        Some(trouble) if trouble.is_serious() => tracing::error!(
            listener,
            subject,
            until,
            "the certificate {trouble}: clients refuse it; renew it"
        ),
        Some(trouble) => {
            tracing::warn!(listener, subject, until, "the certificate {trouble}; renew it in time");
        }
        None => {}
    }
}

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn load(files: &TlsFiles, alpn: &[&[u8]]) -> anyhow::Result<Current> {
    let (certified, facts) = identity(&files.cert, &files.key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .context("choose TLS versions")?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .with_context(|| format!("use the authorities in {}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Current { config: Arc::new(config), facts })
}

/// Reads the files of a listener as [`Tls::open`] does, and says whose certificate it is.
///
/// # Errors
///
/// As [`Tls::open`].
pub fn inspect(files: &TlsFiles) -> anyhow::Result<Facts> {
    load(files, &[]).map(|current| current.facts)
}

/// Reads a chain and its key, which must belong together.
pub(crate) fn identity(cert: &Path, key: &Path) -> anyhow::Result<(CertifiedKey, Facts)> {
    let chain = certificates(cert)?;
    let Some(first) = chain.first() else { bail!("no certificate in {}", cert.display()) };
    let facts = Facts::read(first)
        .with_context(|| format!("read the first certificate in {}", cert.display()))?;
    let pem = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        anyhow::anyhow!(
            "there is no private key in {}: it must be PEM and not encrypted, such as \
             -----BEGIN PRIVATE KEY-----",
            key.display()
        )
    })?;
    let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| {
        let (key, cert) = (key.display(), cert.display());
        match error {
            rustls::Error::InconsistentKeys(_) => anyhow::anyhow!(
                "the private key in {key} does not belong to the first certificate in {cert}, which \
                 is that of {}; the first must be this node's own, the others follow",
                facts.subject
            ),
            other => anyhow::anyhow!("the private key in {key} cannot be used: {other}"),
        }
    })?;
    Ok((certified, facts))
}

/// Reads certificates of authorities.
pub(crate) fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .with_context(|| format!("a certificate in {} is no authority", path.display()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("read the PEM file {}", path.display()))?;
    if chain.is_empty() {
        bail!(
            "there is no certificate in {}: it must be PEM, such as -----BEGIN CERTIFICATE-----",
            path.display()
        );
    }
    Ok(chain)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let size = fs::metadata(path).with_context(|| format!("open {}", path.display()))?.len();
    if size > MOST_PEM {
        bail!("{} is no PEM file of certificates: it has {size} bytes", path.display());
    }
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests;
