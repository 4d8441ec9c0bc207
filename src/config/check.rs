//! Which values can work. Every refusal names the setting, the value, what is wrong, and an example.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use qianli_archive::Blobs;
use qianli_model::address::is_loopback;
use qianli_model::peer::Network;
use qianli_model::query::Path as AttributePath;
use qianli_web::{TrustedProxies, WebConfig};

use super::{Config, Size, Span, UnknownPeers};
use crate::tls::TlsFiles;

const NO_TIME: Span = Span(Duration::ZERO);
const SECOND: Span = Span(Duration::from_secs(1));
const MINUTE: Span = Span(Duration::from_secs(60));
const HOUR: Span = Span(Duration::from_secs(3600));
const DAY: Span = Span(Duration::from_secs(24 * 3600));
const YEAR: Span = Span(Duration::from_secs(365 * 24 * 3600));
/// What is longer is a slip: a hundred years.
const CENTURY: Span = Span(Duration::from_secs(36_500 * 24 * 3600));

/// Checks what the type of a setting cannot, before anything is opened or bound.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    if config.spool.as_os_str().is_empty() {
        bail!("spool is empty; write for example spool = \"/var/tmp/qianli\", or leave it out");
    }
    exposure(config)?;
    if !config.password_login && config.oidc.is_empty() {
        bail!(
            "password_login = false without any [[oidc]]: nobody could log in; name an identity \
             provider in the settings file, or leave it out"
        );
    }
    database(&config.database)?;
    Blobs::check_url(&config.store)
        .with_context(|| format!("store = {:?} cannot be used", config.store))?;
    let web = WebConfig {
        public_url: config.public_url.clone(),
        cors_origins: config.cors_origins.clone(),
        ..WebConfig::default()
    };
    web.check()?;
    log(&config.log)?;

    between("database_connections", config.database_connections, 1, 1000, "8")?;
    between("max_associations", config.max_associations, 1, 65_535, "256")?;
    let per_address = config.max_associations_per_address.remote;
    between("max_associations_per_address", per_address, 1, 65_535, "64")?;
    let per_address = config.max_connections_per_address.remote;
    between("max_connections_per_address", per_address, 1, 65_535, "512")?;
    between("artim_timeout", Span(config.artim_timeout), SECOND, HOUR, "30s")?;
    between("idle_timeout", Span(config.idle_timeout), SECOND, DAY, "5m")?;
    between("session_lifetime", Span(config.session_lifetime), MINUTE, YEAR, "12h")?;
    between("session_idle", Span(config.session_idle), MINUTE, YEAR, "2h")?;
    // With 0s nothing is waited for, which is a way to stop.
    between("drain_timeout", Span(config.drain_timeout), NO_TIME, HOUR, "30s")?;
    // With 0s objects go at the next turn of the worker.
    between("settle_after", Span(config.settle_after), SECOND, DAY, "60s")?;
    between("commitment_wait", Span(config.commitment_wait), SECOND, YEAR, "1h")?;
    between("delivery_retention", Span(config.delivery_retention), DAY, CENTURY, "90d")?;
    between("order_retention", Span(config.order_retention), DAY, CENTURY, "365d")?;
    between("delete_grace", Span(config.delete_grace), NO_TIME, CENTURY, "24h")?;
    between("workitem_retention", Span(config.workitem_retention), SECOND, CENTURY, "30d")?;
    between("max_object", Size(config.max_object), Size(1 << 10), Size(16 << 40), "64GiB")?;
    between("spool_memory", Size(config.spool_memory), Size(1 << 20), Size(1 << 40), "64MiB")?;
    between("pixel_memory", Size(config.pixel_memory), Size(16 << 20), Size(1 << 40), "1GiB")
}

/// Refuses a value beyond what makes sense.
pub(super) fn between<T: PartialOrd + Display>(
    setting: &str,
    value: T,
    least: T,
    most: T,
    example: &str,
) -> anyhow::Result<()> {
    if value < least || value > most {
        let flag = setting.replace('_', "-");
        bail!(
            "{setting} = {value} makes no sense: it can be from {least} to {most}; write for example \
             --{flag} {example}, or leave it out"
        );
    }
    Ok(())
}

/// Where the index is. What stands behind the scheme is the database's own business.
fn database(url: &str) -> anyhow::Result<()> {
    let known = ["sqlite:", "postgres://", "postgresql://"];
    // The value may hold a password and stays out of the message.
    let Some(rest) = known.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        bail!(
            "database must begin with sqlite: or postgres://; write for example database = \
             \"sqlite:/var/lib/qianli/qianli.db\" or \"postgres://qianli@db.example/qianli\""
        );
    };
    if url.starts_with("sqlite:") && rest.trim_start_matches('/').is_empty() {
        bail!(
            "database = {url:?} names no file; write for example database = \
             \"sqlite:/var/lib/qianli/qianli.db\""
        );
    }
    Ok(())
}

/// A mistyped level would be the name of a module to the filter, and silence everything else.
fn log(filter: &str) -> anyhow::Result<()> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in filter.split(',').map(str::trim) {
        let bare = !directive.contains(['=', '[', ':']);
        let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        if bare && !known && !directive.starts_with("qianli") {
            bail!(
                "log = {filter:?}: {directive:?} is no level; write error, warn, info, debug or \
                 trace, or a filter such as log = \"info,qianli_dimse=debug\""
            );
        }
    }
    Ok(())
}

/// Nothing is served beyond loopback without knowing who asks (DESIGN section 3, invariant 10).
fn exposure(config: &Config) -> anyhow::Result<()> {
    let secure = config.dimse_tls.map(|address| ("dimse-tls", address));
    let listeners = [("http", config.http), ("dimse", config.dimse)];
    for (name, address) in listeners.into_iter().chain(secure) {
        if is_loopback(address.ip()) {
            continue;
        }
        let open = match (config.no_auth, config.demo) {
            (true, _) => "--no-auth lets everybody in",
            (_, true) => "--demo makes accounts whose passwords everybody knows",
            _ => "",
        };
        if !open.is_empty() {
            bail!(
                "refusing to listen on {address} ({name}): {open}, so only loopback addresses such \
                 as 127.0.0.1 are allowed with it"
            );
        }
    }
    if !is_loopback(config.http.ip()) && !config.is_https() {
        bail!(
            "refusing to listen on {} (http): passwords would cross the network in the clear; write \
             tls_cert and tls_key, or put a proxy in front that ends TLS and write public_url = \
             \"https://…\", the URL that people use",
            config.http
        );
    }
    let anyone = config.unknown_peers == UnknownPeers::Accept && config.calling_aets.is_empty();
    if !is_loopback(config.dimse.ip()) && anyone {
        bail!(
            "refusing to listen on {} (dimse): any machine of the network could store; write \
             unknown_peers = \"refuse\" and register those that may (`qianli peer add`), or name \
             them, for example calling_aets = [\"CT1\", \"MR1\"]",
            config.dimse
        );
    }
    let anybody =
        config.dimse_tls_files.as_ref().is_some_and(|files| files.client_ca.is_none() && anyone);
    if let Some(address) = config.dimse_tls
        && !is_loopback(address.ip())
        && anybody
    {
        bail!(
            "refusing to listen on {address} (dimse_tls): any machine of the network could store; \
             write dimse_tls_client_ca = \"/etc/qianli/hospital-ca.pem\" so that peers show a \
             certificate, or unknown_peers = \"refuse\", or name those that may call, for example calling_aets = [\"CT1\", \"MR1\"]"
        );
    }
    Ok(())
}

/// A certificate and its key, which go together.
pub(super) fn tls_pair(
    name: &str,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> anyhow::Result<Option<TlsFiles>> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key, client_ca: None })),
        (None, None) => Ok(None),
        (given, _) => {
            let missing = if given.is_some() { "key" } else { "cert" };
            bail!(
                "{name}_cert and {name}_key go together, and {name}_{missing} is missing; write for \
                 example {name}_cert = \"/etc/qianli/chain.pem\" and {name}_key = \
                 \"/etc/qianli/key.pem\""
            )
        }
    }
}

/// The proxies that are believed.
pub(super) fn trusted_proxies(list: &[String]) -> anyhow::Result<TrustedProxies> {
    TrustedProxies::parse(list).map_err(|entry| {
        anyhow::anyhow!(
            "trusted_proxies: {entry:?} is neither an address nor a network; write for example \
             trusted_proxies = [\"127.0.0.1\", \"10.1.0.0/16\"]"
        )
    })
}

/// Addresses and networks.
pub(super) fn networks(setting: &str, list: &[String]) -> anyhow::Result<Vec<Network>> {
    let read = |text: &String| text.parse().map_err(|error| anyhow::anyhow!("{setting}: {error}"));
    list.iter().map(read).collect()
}

/// Attributes that can be indexed, or what is wrong with the first that cannot.
pub(super) fn indexed_attributes(names: &[String]) -> anyhow::Result<Vec<AttributePath>> {
    if names.len() > MAX_INDEXED {
        bail!("indexed_attributes: more than {MAX_INDEXED}; each costs time and room at ingest");
    }
    let path = |name: &String| {
        let path = AttributePath::parse(name).with_context(|| {
            format!(
                "indexed_attributes: {name:?} is no attribute; write a keyword, a tag such as \
                 0018,1030, or a path such as RequestAttributesSequence.ScheduledProcedureStepID"
            )
        })?;
        if path.kind().is_none() {
            bail!(
                "indexed_attributes: {name:?} holds no values that can be compared; write for \
                 example indexed_attributes = [\"StationName\"]"
            );
        }
        Ok(path)
    };
    names.iter().map(path).collect()
}

/// Most attributes of `indexed_attributes`.
const MAX_INDEXED: usize = 32;
