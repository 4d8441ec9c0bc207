//! Settings: defaults, then `qianli.toml`, then environment, then flags. Read once, checked before
//! any port is bound, plain values afterwards.
//!
//! One struct is both the flags of the command line and the keys of the file, so that neither can
//! have a key that the other lacks. What values can work is in `check`.

mod check;
mod decided;
mod environment;
mod hl7;
mod providers;
#[cfg(test)]
mod tests;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use qianli_model::PerAddress;
use qianli_model::charset::TextEncoding;
use qianli_model::peer::Network;
use qianli_model::query::Path as AttributePath;
use qianli_web::TrustedProxies;
use qianli_web::access::oidc::{Machines, Provider};
use serde::Deserialize;

use crate::audit::syslog::Destination;
use crate::tls::TlsFiles;

pub use environment::unknown_variables;
pub use hl7::{Hl7Listener, Hl7Settings};
pub use providers::{MachinesSettings, OidcSettings};
pub use units::{
    Address, DimseIdentity, Duplicates, LogFormat, Size, SopClasses, SourceCharset, Span,
    UnknownPeers,
};

/// Every key, all optional: a source says only what it sets.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of a single node: index, objects, spool [default: ./data].
    #[arg(long, env = "QIANLI_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Address of the pages and of DICOMweb; port 0 picks a free one [default: 127.0.0.1:8080].
    #[arg(long, env = "QIANLI_HTTP", value_name = "ADDR", global = true)]
    pub http: Option<Address>,
    /// Address of the DIMSE listener; port 0 picks a free one [default: 127.0.0.1:11112].
    #[arg(long, env = "QIANLI_DIMSE", value_name = "ADDR", global = true)]
    pub dimse: Option<Address>,
    /// Our AE title [default: QIANLI].
    #[arg(long, env = "QIANLI_AET", value_name = "TITLE", global = true)]
    pub aet: Option<String>,
    /// Index: sqlite:PATH or postgres://USER@HOST/NAME [default: sqlite:DATA/qianli.db].
    #[arg(
        long,
        env = "QIANLI_DATABASE",
        value_name = "URL",
        hide_env_values = true,
        global = true
    )]
    pub database: Option<String>,
    /// Objects: file:///DIR, s3://BUCKET/PREFIX, az://… or gs://… [default: file://DATA/objects].
    #[arg(long, env = "QIANLI_STORE", value_name = "URL", global = true)]
    pub store: Option<String>,
    /// Folder of the OHIF viewer, as `make viewer` fetches it.
    #[arg(long, env = "QIANLI_VIEWER", value_name = "DIR", global = true)]
    pub viewer: Option<PathBuf>,
    /// Load the samples when the archive is empty, make accounts to try, and say what to do next.
    /// Loopback addresses only.
    #[arg(long, env = "QIANLI_DEMO", num_args = 0..=1, default_missing_value = "true", global = true)]
    pub demo: Option<bool>,
    /// Folder of the samples [default: ./sample-dicom].
    #[arg(long, env = "QIANLI_DEMO_FOLDER", value_name = "DIR", global = true)]
    pub demo_folder: Option<PathBuf>,
    /// Serve without logins: whoever reaches this machine's loopback addresses, the only ones then,
    /// may do everything.
    #[arg(long, env = "QIANLI_NO_AUTH", num_args = 0..=1, default_missing_value = "true", global = true)]
    pub no_auth: Option<bool>,
    /// A login ends after this time at the latest [default: 12h].
    #[arg(long, env = "QIANLI_SESSION_LIFETIME", value_name = "TIME", global = true)]
    pub session_lifetime: Option<Span>,
    /// A login that is not used for this time ends [default: 2h].
    #[arg(long, env = "QIANLI_SESSION_IDLE", value_name = "TIME", global = true)]
    pub session_idle: Option<Span>,
    /// Let people log in with a password of this server; with false by an `[[oidc]]` of the settings
    /// file only [default: true].
    #[arg(long, env = "QIANLI_PASSWORD_LOGIN", num_args = 0..=1, default_missing_value = "true", global = true)]
    pub password_login: Option<bool>,
    /// Identity providers at which people log in; in the settings file only.
    #[arg(skip)]
    pub oidc: Option<Vec<OidcSettings>>,
    /// Identity providers whose tokens programs may show; in the settings file only.
    #[arg(skip)]
    pub machines: Option<Vec<MachinesSettings>>,
    /// Where orders come in by HL7 v2 over MLLP; in the settings file only.
    #[arg(skip)]
    pub hl7: Option<Vec<Hl7Settings>>,
    /// Certificate of this node for HTTPS, PEM with the whole chain; with it HTTP is spoken over TLS
    /// only. Read again when it changes.
    #[arg(long, env = "QIANLI_TLS_CERT", value_name = "FILE", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, env = "QIANLI_TLS_KEY", value_name = "FILE", global = true)]
    pub tls_key: Option<PathBuf>,
    /// Address of a second DIMSE listener, over TLS [default: none].
    #[arg(long, env = "QIANLI_DIMSE_TLS", value_name = "ADDR", global = true)]
    pub dimse_tls: Option<Address>,
    /// Certificate for DIMSE over TLS, when it is another than --tls-cert.
    #[arg(long, env = "QIANLI_DIMSE_TLS_CERT", value_name = "FILE", global = true)]
    pub dimse_tls_cert: Option<PathBuf>,
    /// Private key of that certificate.
    #[arg(long, env = "QIANLI_DIMSE_TLS_KEY", value_name = "FILE", global = true)]
    pub dimse_tls_key: Option<PathBuf>,
    /// Authorities, PEM, from which DIMSE peers must have a certificate; without it they need none.
    #[arg(long, env = "QIANLI_DIMSE_TLS_CLIENT_CA", value_name = "FILE", global = true)]
    pub dimse_tls_client_ca: Option<PathBuf>,
    /// Proxies whose Forwarded and X-Forwarded-* headers are believed: addresses and networks
    /// [default: none].
    #[arg(
        long,
        env = "QIANLI_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORK",
        global = true
    )]
    pub trusted_proxies: Option<Vec<String>>,
    /// HTTP requests per second from one address, of which five seconds' worth may come at once; 0
    /// for no limit, loopback is limited only when this is set [default: 1000].
    #[arg(
        long,
        env = "QIANLI_MAX_REQUESTS_PER_SECOND_PER_ADDRESS",
        value_name = "N",
        global = true
    )]
    pub max_requests_per_second_per_address: Option<u32>,
    /// URL under which people reach us, when a proxy stands in front.
    #[arg(long, env = "QIANLI_PUBLIC_URL", value_name = "URL", global = true)]
    pub public_url: Option<String>,
    /// Origins whose pages may call DICOMweb from a browser [default: none].
    #[arg(
        long,
        env = "QIANLI_CORS_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGIN",
        global = true
    )]
    pub cors_origins: Option<Vec<String>>,
    /// Reject associations that call another AE title than ours [default: true].
    #[arg(long, env = "QIANLI_CHECK_CALLED_AET", num_args = 0..=1, default_missing_value = "true", global = true)]
    pub check_called_aet: Option<bool>,
    /// AE titles that may call; empty means every one.
    #[arg(
        long,
        env = "QIANLI_CALLING_AETS",
        value_delimiter = ',',
        value_name = "TITLE",
        global = true
    )]
    pub calling_aets: Option<Vec<String>>,
    /// Whether DICOM peers may store that the register of peers (`qianli peer`) does not know
    /// [default: accept].
    #[arg(long, env = "QIANLI_UNKNOWN_PEERS", value_enum, value_name = "WHAT", global = true)]
    pub unknown_peers: Option<UnknownPeers>,
    /// What becomes of user identities that DICOM peers show [default: check].
    #[arg(long, env = "QIANLI_DIMSE_IDENTITY", value_enum, value_name = "WHAT", global = true)]
    pub dimse_identity: Option<DimseIdentity>,
    /// Associations at once [default: 256].
    #[arg(long, env = "QIANLI_MAX_ASSOCIATIONS", value_name = "N", global = true)]
    pub max_associations: Option<u32>,
    /// Associations at once from one calling address. Loopback, from where tunnels and proxies of
    /// this machine call, is limited only when this is set [default: 64].
    #[arg(long, env = "QIANLI_MAX_ASSOCIATIONS_PER_ADDRESS", value_name = "N", global = true)]
    pub max_associations_per_address: Option<u32>,
    /// HTTP connections at once from one address; loopback as above [default: 512].
    #[arg(long, env = "QIANLI_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N", global = true)]
    pub max_connections_per_address: Option<u32>,
    /// Longest P-DATA-TF PDU we take [default: 256KiB].
    #[arg(long, env = "QIANLI_MAX_PDU", value_name = "SIZE", global = true)]
    pub max_pdu: Option<Size>,
    /// Time for an association request to arrive and for a connection to close [default: 30s].
    #[arg(long, env = "QIANLI_ARTIM_TIMEOUT", value_name = "TIME", global = true)]
    pub artim_timeout: Option<Span>,
    /// An association without a byte for this long is aborted [default: 5m].
    #[arg(long, env = "QIANLI_IDLE_TIMEOUT", value_name = "TIME", global = true)]
    pub idle_timeout: Option<Span>,
    /// Time for stores under way to finish when we are told to stop [default: 30s].
    #[arg(long, env = "QIANLI_DRAIN_TIMEOUT", value_name = "TIME", global = true)]
    pub drain_timeout: Option<Span>,
    /// Other content under a known SOP Instance UID [default: keep-both].
    #[arg(long, env = "QIANLI_DUPLICATES", value_enum, global = true)]
    pub duplicates: Option<Duplicates>,
    /// Let clients of DICOMweb delete studies, series and instances [default: false].
    #[arg(long, env = "QIANLI_ALLOW_DELETE", num_args = 0..=1, default_missing_value = "true", global = true)]
    pub allow_delete: Option<bool>,
    /// How long what was deleted can be restored [default: 24h].
    #[arg(long, env = "QIANLI_DELETE_GRACE", value_name = "TIME", global = true)]
    pub delete_grace: Option<Span>,
    /// How long no more of a study must have come before it is complete and sent on by rules
    /// [default: 60s].
    #[arg(long, env = "QIANLI_SETTLE_AFTER", global = true, value_name = "TIME")]
    pub settle_after: Option<Span>,
    /// Networks beyond the public internet in which administrators of tenants may register DICOMweb destinations
    /// [default: none].
    #[arg(
        long,
        env = "QIANLI_PRIVATE_DESTINATIONS",
        value_delimiter = ',',
        value_name = "NETWORK",
        global = true
    )]
    pub private_destinations: Option<Vec<String>>,
    /// How long it is remembered of single objects that they were sent on [default: 90d].
    #[arg(long, env = "QIANLI_DELIVERY_RETENTION", value_name = "TIME", global = true)]
    pub delivery_retention: Option<Span>,
    /// How long orders are kept that did not change and of which no study is here [default: 365d].
    #[arg(long, env = "QIANLI_ORDER_RETENTION", value_name = "TIME", global = true)]
    pub order_retention: Option<Span>,
    /// How long a destination that rules ask for storage commitment gets for its first answer [default: 1h].
    #[arg(long, env = "QIANLI_COMMITMENT_WAIT", value_name = "TIME", global = true)]
    pub commitment_wait: Option<Span>,
    /// How long a finished workitem is kept [default: 30d].
    #[arg(long, env = "QIANLI_WORKITEM_RETENTION", value_name = "TIME", global = true)]
    pub workitem_retention: Option<Span>,
    /// Send the audit trail to a syslog server or a file: udp://HOST:514, tls://HOST:6514 or
    /// file:///PATH [default: nowhere].
    #[arg(long, env = "QIANLI_AUDIT_SYSLOG", value_name = "URL", global = true)]
    pub audit_syslog: Option<String>,
    /// SOP classes let in [default: all].
    #[arg(long, env = "QIANLI_SOP_CLASSES", value_enum, global = true)]
    pub sop_classes: Option<SopClasses>,
    /// What unlabelled text is that is not UTF-8: latin1, gbk, euc-kr, … [default: latin1].
    #[arg(long, env = "QIANLI_UNLABELLED_CHARSET", value_name = "ENCODING", global = true)]
    pub unlabelled_charset: Option<String>,
    /// Senders whose text is not what it is labelled, by AE title, IP address or * for all:
    /// CT1=gbk,192.0.2.7=euc-kr. UTF-8, GB18030 and multi-byte sets they declare are believed.
    #[arg(
        long,
        env = "QIANLI_SOURCE_CHARSETS",
        value_delimiter = ',',
        value_name = "SENDER=ENCODING",
        global = true
    )]
    pub source_charsets: Option<Vec<SourceCharset>>,
    /// Largest object [default: 64GiB].
    #[arg(long, env = "QIANLI_MAX_OBJECT", value_name = "SIZE", global = true)]
    pub max_object: Option<Size>,
    /// Memory for arriving objects, all together [default: 64MiB].
    #[arg(long, env = "QIANLI_SPOOL_MEMORY", value_name = "SIZE", global = true)]
    pub spool_memory: Option<Size>,
    /// Memory for frames that are decoded, encoded or rendered, all requests together, until their
    /// answers are written [default: 1GiB]. Requests wait for their turn; what takes more is refused.
    #[arg(long, env = "QIANLI_PIXEL_MEMORY", value_name = "SIZE", global = true)]
    pub pixel_memory: Option<Size>,
    /// Folder for arriving objects that do not fit in memory [default: DATA/spool].
    #[arg(long, env = "QIANLI_SPOOL", value_name = "DIR", global = true)]
    pub spool: Option<PathBuf>,
    /// Attributes that searches find by an index beyond the usual ones, by keyword, tag or path:
    /// StationName;0018,1030. Every process of an archive needs the same.
    #[arg(
        long,
        env = "QIANLI_INDEXED_ATTRIBUTES",
        value_delimiter = ';',
        value_name = "ATTRIBUTE",
        global = true
    )]
    pub indexed_attributes: Option<Vec<String>>,
    /// Connections to the index [default: 8].
    #[arg(long, env = "QIANLI_DATABASE_CONNECTIONS", value_name = "N", global = true)]
    pub database_connections: Option<u32>,
    /// What is logged: error, warn, info, debug, or a filter like `info,qianli_dimse=debug`
    /// [default: info].
    #[arg(long, env = "QIANLI_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// How log lines look [default: text].
    #[arg(long, env = "QIANLI_LOG_FORMAT", value_enum, global = true)]
    pub log_format: Option<LogFormat>,
}

/// The settings of a running process, all decided.
#[derive(Clone)]
pub struct Config {
    /// See [`Settings::data`].
    pub data: PathBuf,
    /// See [`Settings::http`].
    pub http: SocketAddr,
    /// See [`Settings::dimse`].
    pub dimse: SocketAddr,
    /// See [`Settings::aet`].
    pub aet: qianli_model::AeTitle,
    /// See [`Settings::database`]. May hold a password: never printed.
    pub database: String,
    /// See [`Settings::store`].
    pub store: String,
    /// See [`Settings::viewer`].
    pub viewer: Option<PathBuf>,
    /// See [`Settings::demo`].
    pub demo: bool,
    /// See [`Settings::demo_folder`].
    pub demo_folder: PathBuf,
    /// See [`Settings::no_auth`].
    pub no_auth: bool,
    /// See [`Settings::session_lifetime`].
    pub session_lifetime: Duration,
    /// See [`Settings::session_idle`].
    pub session_idle: Duration,
    /// See [`Settings::password_login`].
    pub password_login: bool,
    /// See [`Settings::oidc`].
    pub oidc: Vec<Provider>,
    /// See [`Settings::machines`].
    pub machines: Vec<Machines>,
    /// See [`Settings::hl7`].
    pub hl7: Vec<Hl7Listener>,
    /// See [`Settings::tls_cert`] and [`Settings::tls_key`].
    pub tls: Option<TlsFiles>,
    /// See [`Settings::dimse_tls`].
    pub dimse_tls: Option<SocketAddr>,
    /// Certificates of DIMSE over TLS, see [`Settings::dimse_tls_cert`].
    pub dimse_tls_files: Option<TlsFiles>,
    /// See [`Settings::trusted_proxies`].
    pub trusted_proxies: TrustedProxies,
    /// See [`Settings::max_requests_per_second_per_address`]; 0 for no limit.
    pub requests_per_second: PerAddress,
    /// See [`Settings::public_url`].
    pub public_url: Option<String>,
    /// See [`Settings::cors_origins`].
    pub cors_origins: Vec<String>,
    /// See [`Settings::check_called_aet`].
    pub check_called_aet: bool,
    /// See [`Settings::calling_aets`].
    pub calling_aets: Vec<qianli_model::AeTitle>,
    /// See [`Settings::unknown_peers`].
    pub unknown_peers: UnknownPeers,
    /// See [`Settings::dimse_identity`].
    pub dimse_identity: DimseIdentity,
    /// See [`Settings::max_associations`].
    pub max_associations: u32,
    /// See [`Settings::max_associations_per_address`].
    pub max_associations_per_address: PerAddress,
    /// See [`Settings::max_connections_per_address`].
    pub max_connections_per_address: PerAddress,
    /// See [`Settings::max_pdu`], bytes.
    pub max_pdu: u32,
    /// See [`Settings::artim_timeout`].
    pub artim_timeout: Duration,
    /// See [`Settings::idle_timeout`].
    pub idle_timeout: Duration,
    /// See [`Settings::drain_timeout`].
    pub drain_timeout: Duration,
    /// See [`Settings::duplicates`].
    pub duplicates: Duplicates,
    /// See [`Settings::allow_delete`].
    pub allow_delete: bool,
    /// See [`Settings::delete_grace`].
    pub delete_grace: Duration,
    /// See [`Settings::private_destinations`].
    pub private_destinations: Vec<Network>,
    /// See [`Settings::delivery_retention`].
    pub delivery_retention: Duration,
    /// See [`Settings::order_retention`].
    pub order_retention: Duration,
    /// See [`Settings::commitment_wait`].
    pub commitment_wait: Duration,
    /// See [`Settings::settle_after`].
    pub settle_after: Duration,
    /// See [`Settings::workitem_retention`].
    pub workitem_retention: Duration,
    /// See [`Settings::audit_syslog`].
    pub audit_syslog: Option<Destination>,
    /// See [`Settings::sop_classes`].
    pub sop_classes: SopClasses,
    /// See [`Settings::unlabelled_charset`].
    pub unlabelled_charset: TextEncoding,
    /// See [`Settings::source_charsets`].
    pub source_charsets: Vec<SourceCharset>,
    /// See [`Settings::max_object`], bytes.
    pub max_object: u64,
    /// See [`Settings::spool_memory`], bytes.
    pub spool_memory: u64,
    /// See [`Settings::pixel_memory`], bytes.
    pub pixel_memory: u64,
    /// See [`Settings::spool`].
    pub spool: PathBuf,
    /// See [`Settings::indexed_attributes`].
    pub indexed_attributes: Vec<AttributePath>,
    /// See [`Settings::database_connections`].
    pub database_connections: u32,
    /// See [`Settings::log`].
    pub log: String,
    /// See [`Settings::log_format`].
    pub log_format: LogFormat,
}

impl Settings {
    /// Reads a settings file. An unknown key is an error that names the key and the line.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not what [`Settings`] describes.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the settings file {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in the settings file {}", path.display()))
    }

    /// Decides every value: `self` (flags and environment) before `file` before the defaults.
    ///
    /// # Errors
    ///
    /// A value that cannot work, with what to write instead.
    pub fn decide(self, file: Self) -> anyhow::Result<Config> {
        let data = self.data.or(file.data).unwrap_or_else(|| "data".into());
        let absolute = std::path::absolute(&data).with_context(|| {
            format!("data = {data:?} cannot be used; write for example data = \"/var/lib/qianli\"")
        })?;
        let aet = self.aet.or(file.aet).unwrap_or_else(|| "QIANLI".into());
        let aet = aet.parse().with_context(|| {
            format!(
                "aet = {aet:?} cannot be used as our AE title; write for example aet = \"QIANLI\""
            )
        })?;
        let calling = self.calling_aets.or(file.calling_aets).unwrap_or_default();
        let calling_aets = calling
            .iter()
            .map(|title| {
                title.parse().with_context(|| {
                    format!(
                        "calling_aets: {title:?} cannot be an AE title; write for example \
                         calling_aets = [\"CT1\", \"MR1\"]"
                    )
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let unlabelled = self.unlabelled_charset.or(file.unlabelled_charset);
        let unlabelled = unlabelled.as_deref().unwrap_or("latin1");
        let unlabelled_charset = unlabelled
            .parse::<TextEncoding>()
            .with_context(|| format!("unlabelled_charset: {unlabelled:?}"))?;
        let max_pdu = self.max_pdu.or(file.max_pdu).unwrap_or(Size(256 << 10));
        check::between("max_pdu", max_pdu, Size(4 << 10), Size(16 << 20), "256KiB")?;
        let viewer = self.viewer.or(file.viewer);
        if let Some(folder) = &viewer
            && !folder.join("index.html").is_file()
        {
            bail!(
                "viewer = {folder:?}: there is no viewer in it (no index.html); run `make viewer` and \
                 write viewer = \"viewer\", or leave it out"
            );
        }
        let indexed = self.indexed_attributes.or(file.indexed_attributes).unwrap_or_default();
        let indexed_attributes = check::indexed_attributes(&indexed)?;
        let per_address = |set: Option<u32>, default: usize| match set {
            Some(n) => PerAddress { remote: n as usize, loopback: n as usize },
            None => PerAddress { remote: default, loopback: usize::MAX },
        };
        let second = |flag: Option<Span>, file: Option<Span>, default: u64| {
            flag.or(file).map_or(Duration::from_secs(default), |span| span.0)
        };
        let listen = |set: Option<Address>, port: u16| {
            set.map_or(SocketAddr::from(([127, 0, 0, 1], port)), |address| address.0)
        };
        let tls =
            check::tls_pair("tls", self.tls_cert.or(file.tls_cert), self.tls_key.or(file.tls_key))?;
        let dimse_pair = check::tls_pair(
            "dimse_tls",
            self.dimse_tls_cert.or(file.dimse_tls_cert),
            self.dimse_tls_key.or(file.dimse_tls_key),
        )?;
        let client_ca = self.dimse_tls_client_ca.or(file.dimse_tls_client_ca);
        let dimse_tls_files =
            dimse_pair.or_else(|| tls.clone()).map(|files| TlsFiles { client_ca, ..files });
        let dimse_tls = self.dimse_tls.or(file.dimse_tls).map(|address| address.0);
        if dimse_tls.is_some() && dimse_tls_files.is_none() {
            bail!(
                "dimse_tls needs a certificate: write tls_cert and tls_key, or dimse_tls_cert and \
                 dimse_tls_key, for example tls_cert = \"/etc/qianli/chain.pem\""
            );
        }
        let oidc = providers::people(self.oidc.or(file.oidc).unwrap_or_default())?;
        let machines =
            providers::machines(self.machines.or(file.machines).unwrap_or_default(), &oidc)?;
        let hl7 = hl7::listeners(self.hl7.or(file.hl7).unwrap_or_default(), tls.is_some())?;
        let proxies = self.trusted_proxies.or(file.trusted_proxies).unwrap_or_default();
        let trusted_proxies = check::trusted_proxies(&proxies)?;
        let config = Config {
            http: listen(self.http.or(file.http), 8080),
            dimse: listen(self.dimse.or(file.dimse), 11112),
            aet,
            database: self
                .database
                .or(file.database)
                .unwrap_or_else(|| format!("sqlite:{}", absolute.join("qianli.db").display())),
            store: self
                .store
                .or(file.store)
                .unwrap_or_else(|| format!("file://{}", absolute.join("objects").display())),
            viewer,
            demo: self.demo.or(file.demo).unwrap_or(false),
            demo_folder: self
                .demo_folder
                .or(file.demo_folder)
                .unwrap_or_else(|| "sample-dicom".into()),
            no_auth: self.no_auth.or(file.no_auth).unwrap_or(false),
            session_lifetime: second(self.session_lifetime, file.session_lifetime, 12 * 3600),
            session_idle: second(self.session_idle, file.session_idle, 2 * 3600),
            password_login: self.password_login.or(file.password_login).unwrap_or(true),
            oidc,
            machines,
            hl7,
            tls,
            dimse_tls,
            dimse_tls_files,
            trusted_proxies,
            requests_per_second: {
                let set = self
                    .max_requests_per_second_per_address
                    .or(file.max_requests_per_second_per_address);
                PerAddress {
                    remote: set.unwrap_or(1000) as usize,
                    loopback: set.unwrap_or(0) as usize,
                }
            },
            public_url: self.public_url.or(file.public_url),
            cors_origins: self.cors_origins.or(file.cors_origins).unwrap_or_default(),
            check_called_aet: self.check_called_aet.or(file.check_called_aet).unwrap_or(true),
            calling_aets,
            unknown_peers: self
                .unknown_peers
                .or(file.unknown_peers)
                .unwrap_or(UnknownPeers::Accept),
            dimse_identity: self
                .dimse_identity
                .or(file.dimse_identity)
                .unwrap_or(DimseIdentity::Check),
            max_associations: self.max_associations.or(file.max_associations).unwrap_or(256),
            max_associations_per_address: per_address(
                self.max_associations_per_address.or(file.max_associations_per_address),
                64,
            ),
            max_connections_per_address: per_address(
                self.max_connections_per_address.or(file.max_connections_per_address),
                512,
            ),
            max_pdu: max_pdu.0 as u32,
            artim_timeout: second(self.artim_timeout, file.artim_timeout, 30),
            idle_timeout: second(self.idle_timeout, file.idle_timeout, 300),
            drain_timeout: second(self.drain_timeout, file.drain_timeout, 30),
            duplicates: self.duplicates.or(file.duplicates).unwrap_or(Duplicates::KeepBoth),
            allow_delete: self.allow_delete.or(file.allow_delete).unwrap_or(false),
            delete_grace: second(self.delete_grace, file.delete_grace, 24 * 3600),
            private_destinations: check::networks(
                "private_destinations",
                &self.private_destinations.or(file.private_destinations).unwrap_or_default(),
            )?,
            delivery_retention: second(
                self.delivery_retention,
                file.delivery_retention,
                90 * 24 * 3600,
            ),
            order_retention: second(self.order_retention, file.order_retention, 365 * 24 * 3600),
            commitment_wait: second(self.commitment_wait, file.commitment_wait, 3600),
            settle_after: second(self.settle_after, file.settle_after, 60),
            audit_syslog: self
                .audit_syslog
                .or(file.audit_syslog)
                .map(|text| text.parse().map_err(|error| anyhow!("audit_syslog: {error}")))
                .transpose()?,
            workitem_retention: second(
                self.workitem_retention,
                file.workitem_retention,
                30 * 24 * 3600,
            ),
            sop_classes: self.sop_classes.or(file.sop_classes).unwrap_or(SopClasses::All),
            unlabelled_charset,
            source_charsets: self.source_charsets.or(file.source_charsets).unwrap_or_default(),
            max_object: self.max_object.or(file.max_object).map_or(64 << 30, |size| size.0),
            spool_memory: self.spool_memory.or(file.spool_memory).map_or(64 << 20, |size| size.0),
            pixel_memory: self.pixel_memory.or(file.pixel_memory).map_or(1 << 30, |size| size.0),
            spool: self.spool.or(file.spool).unwrap_or_else(|| absolute.join("spool")),
            indexed_attributes,
            database_connections: self
                .database_connections
                .or(file.database_connections)
                .unwrap_or(8),
            log: self.log.or(file.log).unwrap_or_else(|| "info".into()),
            log_format: self.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            data: absolute,
        };
        check::check(&config)?;
        Ok(config)
    }
}
