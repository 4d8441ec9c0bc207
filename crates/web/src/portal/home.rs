//! `/`: what is here, how to send images, and whether the node is well.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::grants::Which;
use qianli_model::Query;
use qianli_model::query::Level;

use super::format;
use super::page::Frame;
use super::studies::StudyCard;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};

/// How many of the latest studies are shown.
const RECENT: u32 = 10;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    frame: &'a Frame,
    /// Somebody broke the glass, and nobody has looked at it.
    unreviewed: bool,
    /// Label and number.
    totals: [(&'static str, String); 5],
    empty: bool,
    recent: Vec<StudyCard>,
    send: Send<'a>,
    ready: bool,
    database: String,
    store: &'a str,
    version: &'a str,
    viewer: bool,
}

/// What a sender needs to know.
struct Send<'a> {
    aet: &'a str,
    host: &'a str,
    /// Empty when the DICOM listener is off.
    port: &'a str,
    /// URL of the DICOMweb root.
    web: &'a str,
}

impl Send<'_> {
    fn dcmsend(&self) -> String {
        let Self { aet, host, port, .. } = self;
        format!("TCP_NODELAY=1 dcmsend -v -nh -aec {aet} \\\n  {host} {port} +sd +r ./folder")
    }

    fn stow(&self) -> String {
        format!("{}/studies", self.web)
    }

    /// Curl adds the boundary to a multipart type that is given by hand.
    fn curl(&self) -> String {
        format!(
            "curl -H 'Content-Type: multipart/related; type=\"application/dicom\"' \\\n  \
             -F 'file=@image.dcm;type=application/dicom' \\\n  {}",
            self.stow()
        )
    }
}

/// `GET /`.
pub(super) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    frame: Frame,
) -> Response {
    // Whoever sees only what was shared has no overview.
    if caller.scope.viewer().is_some() {
        return super::login::redirect("/shared");
    }
    let frame = frame.at("home");
    let archive = state.archive();
    let query = Query::all(Level::Study, RECENT);
    let (totals, found, ready) = tokio::join!(
        archive.totals(&caller.scope),
        archive.find(&caller.scope, &query),
        archive.ready(),
    );
    let (totals, found) = match (totals, found) {
        (Ok(totals), Ok(found)) => (totals, found),
        (Err(cause), _) | (_, Err(cause)) => return frame.failed(cause),
    };
    let unreviewed = match frame.administers() {
        true => archive.catalog().grants(&caller.scope, Which::Unreviewed).await,
        false => Ok(Vec::new()),
    };
    let unreviewed = match unreviewed {
        Ok(unreviewed) => !unreviewed.is_empty(),
        Err(cause) => return frame.failed(cause),
    };
    // A hospital that has a title of its own is called by it: what comes to another is not its own.
    let titles = archive.catalog().tenant_titles(&caller.scope).await.unwrap_or_default();
    let node = &state.config().node;
    let t = frame.t;
    let page = HomePage {
        frame: &frame,
        unreviewed,
        totals: [
            (t.total_patients, format::count(totals.patients)),
            (t.total_studies, format::count(totals.studies)),
            (t.total_series, format::count(totals.series)),
            (t.total_instances, format::count(totals.instances)),
            (t.total_bytes, format::bytes(totals.bytes)),
        ],
        empty: found.is_empty(),
        recent: found.iter().map(|row| StudyCard::new(&row.study, &frame)).collect(),
        send: Send {
            aet: titles.first().map_or(node.aet.as_str(), String::as_str),
            host: frame.host(),
            port: port(&node.dimse),
            web: base.as_str(),
        },
        ready: ready.is_ok(),
        database: database(&node.database),
        store: &node.store,
        version: &node.version,
        viewer: node.viewer.is_some(),
    };
    frame.answer(StatusCode::OK, &page)
}

/// Port of a listening address.
fn port(address: &str) -> &str {
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    if port.bytes().all(|byte| byte.is_ascii_digit()) { port } else { "" }
}

/// The database's proper name.
fn database(kind: &str) -> String {
    match kind.to_ascii_lowercase().as_str() {
        "sqlite" => "SQLite".to_owned(),
        "postgres" | "postgresql" => "PostgreSQL".to_owned(),
        _ => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_from_addresses() {
        for (address, expected) in
            [("0.0.0.0:11112", "11112"), ("[::]:104", "104"), ("", ""), ("off", ""), ("a:b", "")]
        {
            assert_eq!(port(address), expected, "{address}");
        }
    }
}
