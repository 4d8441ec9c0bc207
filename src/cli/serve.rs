//! `qianli serve`: starts every listener and worker, says where they are, and stops gracefully.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use metrics_exporter_prometheus::PrometheusBuilder;
use qianli_catalog::AuditEntry;
use qianli_dimse::{Scp, ScpConfig};
use qianli_model::audit::{Action, Outcome};
use qianli_model::{Scope, TenantId};
use qianli_web::access::login::{FIRST, first_administrator};
use qianli_web::server::{CurrentTls, Door};
use qianli_web::{NodeInfo, WebConfig, WebState};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admin::NEWEST;
use super::people;
use super::say::say;
use crate::app::{App, OtherAttributes, now_ms};
use crate::audit::ship::Shipper;
use crate::config::Config;
use crate::hl7::Hl7;
use crate::outbound::implementation;
use crate::peers::{Gate, Policy};
use crate::services::NodeServices;
use crate::tls::dimse::DimseTls;
use crate::tls::{Tls, TlsFiles};

/// Files that the demonstration loads at a time.
const DEMO_PARALLEL: usize = 4;

/// Runs the node until SIGTERM or SIGINT.
pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let metrics = PrometheusBuilder::new().install_recorder().context("start the metrics")?;
    let stop = CancellationToken::new();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let https = match &config.tls {
        Some(files) => Some(tls("https", files, &[b"h2", b"http/1.1"], &stop)?),
        None => None,
    };
    let secure = match (config.dimse_tls, &config.dimse_tls_files) {
        (Some(address), Some(files)) => Some((address, tls("dimse-tls", files, &[], &stop)?)),
        _ => None,
    };
    let app = App::open_as(config.clone(), OtherAttributes::Refuse).await?;
    // Before anybody can come in.
    if !config.no_auth && !config.demo {
        people::refuse_demonstration(app.archive.catalog()).await?;
    }
    let http = bind("http", config.http).await?;
    let dimse = bind("dimse", config.dimse).await?;
    let (http_address, dimse_address) = (http.local_addr()?, dimse.local_addr()?);
    let stop = CancellationToken::new();
    let (gate, keeper) = Gate::open(app.archive.catalog(), Policy::of(&config))
        .await
        .context("read the register of DICOM peers")?;
    let mut hl7_tasks = JoinSet::new();
    let mut hl7_addresses = Vec::new();
    for settings in &config.hl7 {
        let listener = bind("hl7", settings.address).await?;
        hl7_addresses.push(listener.local_addr()?);
        let secure = match (settings.tls, &config.tls) {
            (true, Some(files)) => Some(tls("hl7", files, &[], &stop)?),
            _ => None,
        };
        let hl7 = Hl7::new(&app, settings.clone(), secure).await?;
        hl7_tasks.spawn(hl7.run(listener, stop.clone()));
    }
    let state = WebState::new(
        app.archive.clone(),
        WebConfig {
            public_url: config.public_url.clone(),
            max_part_size: config.max_object,
            cors_origins: config.cors_origins.clone(),
            allow_delete: config.allow_delete,
            logins: config.logins(),
            password_login: config.password_login,
            providers: config.oidc.clone(),
            machines: config.machines.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            requests_per_second: config.requests_per_second,
            private_destinations: config.private_destinations.clone(),
            audit_message: Some(crate::audit::message::message),
            echo: Some(crate::outbound::asking(&config)),
            node: NodeInfo {
                aet: config.aet.to_string(),
                dimse: dimse_address.to_string(),
                http: http_address.to_string(),
                database: app.archive.catalog().kind().to_owned(),
                store: app.archive.blobs().describe().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                viewer: config.viewer.clone(),
            },
            ..WebConfig::default()
        },
    )?;
    let mut scp = Scp::new(
        dimse,
        ScpConfig {
            max_associations: config.max_associations as usize,
            max_pdu: config.max_pdu,
            artim_timeout: config.artim_timeout,
            idle_timeout: config.idle_timeout,
            drain_timeout: config.drain_timeout,
            max_associations_per_address: config.max_associations_per_address,
            ..ScpConfig::new(implementation())
        },
        Arc::new(NodeServices {
            archive: app.archive.clone(),
            gate,
            outbound: app.outbound.clone(),
            people: state.clone(),
            commitment_wait: config.commitment_wait,
        }),
    );
    let mut secure_address = None;
    if let Some((address, tls)) = secure {
        let listener = bind("dimse-tls", address).await?;
        secure_address = Some(listener.local_addr()?);
        scp = scp.also_secure(listener, Arc::new(DimseTls(tls)));
    }
    // Notes of associations are written to the end of the last of them.
    let keeping = CancellationToken::new();
    let keeper = tokio::spawn(keeper.run(keeping.clone()));
    let mut scp_task = tokio::spawn(scp.run(stop.clone()));
    let render = metrics.clone();
    let lines = state.clone();
    let stopping = stop.clone();
    tokio::spawn(async move {
        stopping.cancelled().await;
        lines.close_live();
    });
    let web = qianli_web::server::serve(
        http,
        qianli_web::router(state),
        Arc::new(move || render.render()),
        Door {
            per_address: config.max_connections_per_address,
            tls: https.map(|tls| -> CurrentTls { Arc::new(move || tls.current()) }),
            trusted: config.trusted_proxies.clone(),
        },
        stop.clone().cancelled_owned(),
    );
    let mut web_task = tokio::spawn(web);
    let mut jobs_task = tokio::spawn(crate::jobs::run(app.clone(), stop.clone()));
    let routing = tokio::spawn(crate::routing::run(app.clone(), stop.clone()));
    let reading = tokio::spawn(crate::reading::run(app.clone(), stop.clone()));
    note(&app, Action::Start).await?;
    let shipper = config.audit_syslog.clone().map(|destination| {
        let catalog = app.archive.catalog().clone();
        Shipper::new(catalog, destination, config.aet.as_str()).run(stop.clone())
    });
    let shipping = tokio::spawn(async move {
        if let Some(shipper) = shipper {
            shipper.await;
        }
    });
    let upkeep = tokio::spawn(async move {
        // Without upkeep the exporter's histograms would grow for ever.
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            metrics.run_upkeep();
        }
    });

    warn_of_lost_index(&app).await;
    let first = match (config.no_auth, config.demo) {
        (true, _) => None,
        // The demonstration has its own accounts.
        (false, true) => None,
        // A password would open nothing.
        (false, false) if !config.password_login => None,
        (false, false) => {
            let password = first_administrator(app.archive.catalog()).await?;
            password.map(|password| (FIRST.to_owned(), password))
        }
    };
    say!("http: {scheme}://{http_address}");
    if let Some(address) = secure_address {
        say!("dimse-tls: {}@{address}", config.aet);
    }
    for address in &hl7_addresses {
        say!("hl7: {address}");
    }
    say!("dimse: {}@{dimse_address}", config.aet);
    if let Some((login, password)) = &first {
        say!();
        say!(
            "Nobody had an account. Log in at {scheme}://{http_address}/login and choose your own password:"
        );
        say!("  login     {login}");
        say!("  password  {password}");
        say!(
            "It is shown this once and kept nowhere. `qianli user password {login}` makes another."
        );
        say!();
    }
    tracing::info!(http = %http_address, dimse = %dimse_address, aet = %config.aet,
        database = config.database_for_people(), store = config.store, "ready");
    if config.demo {
        demo(&app, &format!("{scheme}://{http_address}"), &dimse_address.to_string()).await?;
    }

    // A node without one of its parts is worse than none: whoever watches it starts it again.
    let part = tokio::select! {
        signal = wait_for_signal() => { signal?; None }
        _ = &mut scp_task => Some("the DIMSE listener"),
        _ = &mut web_task => Some("the web listener"),
        _ = &mut jobs_task => Some("the worker"),
        Some(_) = hl7_tasks.join_next() => Some("the HL7 listener"),
    };
    if let Some(part) = part {
        app.archive.catalog().close().await;
        bail!("{part} stopped unexpectedly; the log says why");
    }
    tracing::info!("stopping: no new connections, work under way may finish");
    stop.cancel();
    let drained = tokio::time::timeout(config.drain_timeout, async {
        let all = tokio::join!(scp_task, web_task, jobs_task, shipping, routing, reading);
        let (scp, web, jobs, ..) = all;
        scp.context("the DIMSE listener")?;
        web.context("the web listener")?.context("the web listener")?;
        while hl7_tasks.join_next().await.is_some() {}
        jobs.context("the worker")
    })
    .await;
    app.outbound.close().await;
    upkeep.abort();
    keeping.cancel();
    if keeper.await.is_err() {
        tracing::error!("the register of DICOM peers was not followed to the end");
    }
    if let Err(error) = note(&app, Action::Stop).await {
        tracing::warn!("the stop is not in the audit trail: {error:#}");
    }
    app.archive.catalog().close().await;
    match drained {
        Ok(result) => result?,
        Err(_) => tracing::warn!("some connections were still open and are cut now"),
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Adds the start or stop of this node to the audit trail.
async fn note(app: &App, action: Action) -> anyhow::Result<()> {
    let scope = Scope::system(TenantId::DEFAULT, "serve");
    let entry = AuditEntry::new(&scope, action, Outcome::Success, now_ms());
    let entry = entry.with(&json!({
        "aet": app.config.aet.as_str(), "version": env!("CARGO_PKG_VERSION")
    }));
    app.archive.catalog().write_audit(vec![entry]).await.context("write to the audit trail")
}

/// An empty index beside a store that holds objects is what a lost or mistyped database looks like.
async fn warn_of_lost_index(app: &App) {
    let empty = app.archive.totals(&app.scope()).await.is_ok_and(|totals| totals.instances == 0);
    match app.archive.blobs().is_empty().await {
        Ok(false) if empty => tracing::error!(
            store = app.config.store,
            "the index is empty but the store is not: the database was lost or is the wrong one; \
             stop, put the right one back, or make the rows again with `qianli rebuild`"
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::error!(%error, store = app.config.store, "the store does not answer")
        }
    }
    if let Ok(checked) = app.archive.check_objects(Some(NEWEST)).await
        && checked.lost > 0
    {
        tracing::error!(
            lost = checked.lost,
            of = checked.rows,
            store = app.config.store,
            "the newest objects are not all in the store: it is the wrong one, or it lost them; \
             `qianli doctor` names them, sending them again heals them"
        );
    }
}

/// Opens the certificates of a listener and keeps an eye on their files.
fn tls(
    name: &'static str,
    files: &TlsFiles,
    alpn: &'static [&'static [u8]],
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Tls>> {
    let tls = Tls::open(name, files.clone(), alpn)
        .with_context(|| format!("the certificate for {name} cannot be used"))?;
    tokio::spawn(Arc::clone(&tls).watch(stop.clone()));
    Ok(tls)
}

async fn bind(name: &str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "listen on {address} for {name}; choose another with --{name}, or port 0 for a free one"
        )
    })
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Loads the samples into an empty archive and says what to try.
async fn demo(app: &App, http: &str, dimse: &str) -> anyhow::Result<()> {
    let totals = app.archive.totals(&app.scope()).await?;
    let folder = &app.config.demo_folder;
    if totals.instances == 0 && folder.is_dir() {
        let bar = ProgressBar::hidden();
        let paths = [folder.clone()];
        let summary =
            crate::import::import(&app.archive, &app.scope(), &paths, DEMO_PARALLEL, &bar).await?;
        say!("loaded {} sample instances from {}", summary.stored, folder.display());
    } else if totals.instances == 0 {
        say!(
            "No sample images are loaded: there is no folder {}. The samples come with the source \
             code (sample-dicom); name the folder with --demo-folder, or send images of your own.",
            folder.display()
        );
    }
    let program = std::env::args().next().unwrap_or_else(|| "qianli".into());
    let (title, port) = (&app.config.aet, dimse.rsplit(':').next().unwrap_or_default());
    say!();
    say!("Qianli is running. Press Ctrl+C to stop.");
    say!("  pages     {http}/");
    say!("  DICOMweb  {http}/dicom-web");
    say!("  DIMSE     AE title {title}, host 127.0.0.1, port {port}");
    say!();
    let credentials = match app.config.no_auth {
        true => String::new(),
        false => {
            let token = people::demonstrate(app).await?;
            say!(
                "Accounts of this demonstration, all with the password {}:",
                people::DEMO_PASSWORD
            );
            for (login, _, what) in people::DEMO {
                say!("  {login:<9} {what}");
            }
            say!();
            format!("-u :{token} ")
        }
    };
    say!("Try next:");
    say!("  1. Open {http}/studies and click a study.");
    say!("  2. Send your own images: {program} send {title}@127.0.0.1:{port} FOLDER");
    say!("  3. Ask over DICOMweb: curl {credentials}'{http}/dicom-web/studies?PatientName=*'");
    Ok(())
}
