//! `qianli doctor ae`: what a DICOM peer did lately, whether it would be let in now, and what to do.

use std::net::IpAddr;
use std::process::ExitCode;

use qianli_catalog::peers::{IncidentsOf, Noted, PeerRow};
use qianli_dimse::Rejection;
use qianli_model::incident::{Kind, Tongue};
use qianli_model::peer::{Admission, Calling};
use qianli_model::{AeTitle, Scope};
use serde_json::{Value, json};

use super::people::{open, tenant};
use super::say::say;
use crate::audit::time;
use crate::config::Config;
use crate::peers::Policy;

/// Incidents that are shown.
const SHOWN: u32 = 200;

/// Arguments of `qianli doctor ae`.
#[derive(clap::Args)]
pub(super) struct AeArguments {
    /// Its calling AE title, or its address.
    name: String,
    /// The AE title that it calls; as a rule this server's.
    #[arg(long, value_name = "TITLE")]
    called: Option<AeTitle>,
    /// The address that it calls from; as a rule the one it was last seen at.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// The tenant.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Whether a peer would be let in now.
struct Verdict {
    called: AeTitle,
    address: IpAddr,
    decided: Result<Admission, Rejection>,
}

/// Runs `qianli doctor ae`. Exit code 1 when the peer would be refused now.
pub(super) async fn run(config: Config, arguments: AeArguments) -> anyhow::Result<ExitCode> {
    let policy = Policy::of(&config);
    let catalog = open(config).await?;
    let scope = Scope::local(tenant(&catalog, &arguments.tenant).await?.id);
    let name = arguments.name.trim();
    let noted = catalog.incidents(&scope, IncidentsOf::Peer(name), SHOWN).await?;
    let title = AeTitle::parse(name).ok().filter(|_| name.parse::<IpAddr>().is_err());
    let mut rows = catalog.peers(&scope).await?;
    rows.retain(|row| match &title {
        Some(title) => row.rule.calling.matches(title),
        None => {
            row.seen_from == name
                || row.rule.network.is_some_and(|network| {
                    name.parse().is_ok_and(|address| network.contains(address))
                })
        }
    });
    let last = noted.iter().find(|one| !one.incident.calling.is_empty());
    let calling = title.or_else(|| AeTitle::parse(&last?.incident.calling).ok());
    let called = arguments.called.or_else(|| AeTitle::parse(&last?.incident.called).ok());
    let called = called.unwrap_or_else(|| policy.aet.clone());
    let seen = rows.iter().max_by_key(|row| row.seen_ms).and_then(|row| row.seen_from.parse().ok());
    let address = arguments
        .address
        .or_else(|| name.parse().ok())
        .or_else(|| last?.incident.address.parse().ok())
        .or(seen);
    let register = catalog.peer_register(0).await?.unwrap_or_default();
    let verdict = calling.as_ref().zip(address).map(|(calling, address)| {
        let who = Calling { calling, called: &called, address, certificate: None };
        Verdict { decided: policy.decide(&register, &who), called, address }
    });
    catalog.close().await;
    if arguments.json {
        say!("{}", told(name, &rows, verdict.as_ref(), &noted));
    } else {
        tell(name, &rows, verdict.as_ref(), &noted);
    }
    let refused = verdict.is_some_and(|verdict| verdict.decided.is_err());
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn any(text: Option<String>) -> String {
    text.unwrap_or_else(|| "any".into())
}

fn tell(name: &str, rows: &[PeerRow], verdict: Option<&Verdict>, noted: &[Noted]) {
    match verdict {
        Some(Verdict { called, address, decided: Ok(admission) }) => {
            let by = match admission.rule {
                Some(rule) => format!("by row {rule} of the register"),
                None => "without a row, by unknown_peers and calling_aets".to_owned(),
            };
            say!(
                "{name} from {address} to {called}: would be let in {by}; may {}",
                admission.permissions.names()
            );
        }
        Some(Verdict { called, address, decided: Err(rejection) }) => {
            say!("{name} from {address} to {called}: would be refused: {}", rejection.detail);
            say!("    what to do: {}", rejection.cause.advice(Tongue::English));
        }
        None => say!("{name}: nothing was heard of it; --address ADDRESS says what would happen"),
    }
    for row in rows {
        let rule = &row.rule;
        say!(
            "row {}{}: {} to {} from {}, may {}{}",
            rule.id,
            if rule.disabled { " (off)" } else { "" },
            rule.calling,
            any(rule.called.as_ref().map(ToString::to_string)),
            any(rule.network.as_ref().map(ToString::to_string)),
            rule.permissions.names(),
            match row.seen_ms {
                0 => ", never seen".to_owned(),
                at => format!(", seen {} from {}", time(at), row.seen_from),
            }
        );
    }
    for row in rows.iter().filter(|row| !row.rule.coercions.is_none()) {
        say!("row {} reads its objects so: {}", row.rule.id, row.rule.coercions);
    }
    if noted.iter().all(|one| one.incident.cause.kind() == Kind::Admitted) {
        say!("nothing went wrong in the last 30 days");
    }
    for one in noted {
        let incident = &one.incident;
        let about = match incident.subject_named().as_str() {
            "" => String::new(),
            subject => format!(": {subject}"),
        };
        let status = match incident.status_shown().as_str() {
            "" => String::new(),
            status => format!(" (status {status})"),
        };
        say!();
        say!("{}  {} time(s) since {}", time(one.last_ms), one.times, time(one.first_ms));
        say!(
            "    {} at {} {}{about}{status}",
            if incident.calling.is_empty() { "a peer" } else { &incident.calling },
            incident.address,
            incident.cause.what(Tongue::English),
        );
        if !incident.software().is_empty() {
            say!("    its software: {}", incident.software());
        }
        if !incident.detail.is_empty() {
            say!("    {}", incident.detail);
        }
        for proposed in incident.proposed_named() {
            say!("      {proposed}");
        }
        if incident.cause.kind() != Kind::Admitted {
            say!("    what to do: {}", incident.cause.advice(Tongue::English));
        }
    }
}

fn told(name: &str, rows: &[PeerRow], verdict: Option<&Verdict>, noted: &[Noted]) -> Value {
    let row = |row: &PeerRow| {
        let rule = &row.rule;
        json!({
            "row": rule.id, "calling": rule.calling.as_str(), "disabled": rule.disabled,
            "called": rule.called.as_ref().map(ToString::to_string),
            "network": rule.network.as_ref().map(ToString::to_string),
            "permissions": rule.permissions.names(), "coercions": rule.coercions.to_json(),
            "seen": (row.seen_ms > 0).then(|| time(row.seen_ms)), "seen_from": row.seen_from,
        })
    };
    let verdict = verdict.map(|Verdict { called, address, decided }| match decided {
        Ok(admission) => json!({
            "admitted": true, "called": called.as_str(), "address": address.to_string(),
            "row": admission.rule, "permissions": admission.permissions.names(),
        }),
        Err(rejection) => json!({
            "admitted": false, "called": called.as_str(), "address": address.to_string(),
            "cause": rejection.cause.name(), "detail": rejection.detail,
            "advice": rejection.cause.advice(Tongue::English),
        }),
    });
    let incidents: Vec<Value> = noted.iter().map(|one| one.to_json(time)).collect();
    json!({
        "peer": name, "now": verdict, "rows": rows.iter().map(row).collect::<Vec<_>>(),
        "incidents": incidents,
    })
}
