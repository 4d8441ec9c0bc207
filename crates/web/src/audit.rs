//! What HTTP requests leave in the audit trail: every read, and every change that was refused or
//! failed. Changes that were made have a row of their transaction's own.
//!
//! The gate in front of each route knows from method and route what is done; the UIDs are in the path,
//! and the outcome is the answer's status. The answer goes out when its entry is on its way into
//! the trail, not before.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use qianli_catalog::{AuditEntry, audit_is_off};
use qianli_model::audit::{Action, Outcome};
use qianli_model::query::Path;
use qianli_model::{SeriesUid, SopInstanceUid, StudyUid};
use serde_json::json;

use crate::WebState;
use crate::caller::Caller;
use crate::dicomweb::params;
use crate::error::HttpError;

/// How long an answer waits for its entry to be taken, when the trail cannot be written.
const PATIENCE: Duration = Duration::from_secs(20);

/// Attributes of a search that are named in its entry.
const NAMED: usize = 16;

/// What has a row of its transaction's own when it is done.
const OWN_ROWS: [Action; 18] = [
    Action::Store,
    Action::Delete,
    Action::Restore,
    Action::SettleConflict,
    Action::CreateWorkitem,
    Action::ChangeWorkitem,
    Action::ChangeOrder,
    Action::ChangeReading,
    Action::ChangeUser,
    Action::ChangeRole,
    Action::ChangeToken,
    Action::ChangePeer,
    Action::ChangeRoute,
    Action::ChangeGrant,
    Action::ChangeLink,
    Action::ChangeTenant,
    Action::BreakGlass,
    Action::Logout,
];

/// What is known of a request before it is answered.
pub(crate) struct Noting {
    action: Action,
    who: Who,
    uri: Uri,
}

/// Who sent it.
enum Who {
    Known(Caller),
    /// Nobody knows; from this address.
    Nobody(Option<IpAddr>),
}

impl Noting {
    /// `None` when nothing is to be noted.
    pub(crate) fn begin(request: &Request, action: Action) -> Option<Self> {
        if audit_is_off() {
            return None;
        }
        let extensions = request.extensions();
        let who = match extensions.get::<Caller>() {
            Some(caller) => Who::Known(caller.clone()),
            None => {
                let peer = extensions.get::<ConnectInfo<SocketAddr>>();
                Who::Nobody(peer.map(|info| info.0.ip()))
            }
        };
        Some(Self { action, who, uri: request.uri().clone() })
    }

    /// Notes what the request did or tried to do, and gives the answer out. `template` is that of the
    /// request's path.
    pub(crate) async fn end(
        self,
        state: &WebState,
        template: &str,
        response: Response,
    ) -> Response {
        let Self { action, who, uri } = self;
        let outcome = Outcome::of_status(response.status().as_u16());
        let entry = match who {
            Who::Known(_) if outcome == Outcome::Success && OWN_ROWS.contains(&action) => {
                return response;
            }
            Who::Known(caller) => {
                let mut entry = AuditEntry::new(&caller.scope, action, outcome, now_ms());
                let about = About::of(template, uri.path(), uri.query().unwrap_or_default());
                about.fill(&mut entry, action);
                entry
            }
            // The guard turned them away, or led them to the login. What they typed into the path is
            // not taken over.
            Who::Nobody(peer) => {
                let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
                let entry = AuditEntry::of_nobody(&peer, Action::AccessDenied, now_ms());
                entry.with(&json!({ "tried": action.as_str() }))
            }
        };
        let noted = state.archive().catalog().note_audit(entry);
        match tokio::time::timeout(PATIENCE, noted).await {
            Ok(Ok(())) => response,
            // What was read without a trace is not given out.
            Ok(Err(_)) | Err(_) => {
                tracing::error!("the audit trail takes no entries; a request was refused");
                HttpError::unavailable("the audit trail cannot be written now").into_response()
            }
        }
    }
}

/// Whether a method only reads.
pub(crate) fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// What a route does; `None` where nothing of a patient can be seen or changed.
pub(crate) fn action(method: &Method, route: &str) -> Option<Action> {
    if let Some(route) = route.strip_prefix("/dicom-web") {
        return if is_read(method) { of_reading(route) } else { of_changing(method, route) };
    }
    match (is_read(method), route) {
        // The first page lists the latest studies.
        (true, "/" | "/studies" | "/studies/") => Some(Action::Search),
        (true, "/studies/{study}" | "/studies/{study}/share" | "/grants") => Some(Action::ReadPage),
        (true, "/orders") => Some(Action::ReadOrder),
        (true, path) if path.starts_with("/api/orders") => Some(Action::ReadOrder),
        (false, path) if path.starts_with("/orders") || path.starts_with("/api/orders") => {
            Some(Action::ChangeOrder)
        }
        // These name nobody: who reads what is asked for by what they lead to.
        (true, "/reading/live" | "/api/reading/events" | "/api/reading/workload") => None,
        (true, "/reading/rules" | "/api/reading/rules" | "/studies/{study}/reading") => None,
        (true, path) if path.starts_with("/reading") || path.starts_with("/api/reading") => {
            Some(Action::ReadReading)
        }
        (false, "/reading/views") => None,
        (false, "/studies/{study}/reading") => Some(Action::ChangeReading),
        (false, path) if path.starts_with("/reading") || path.starts_with("/api/reading") => {
            Some(Action::ChangeReading)
        }
        (true, "/links/{link}") => Some(Action::ReadPage),
        (true, "/links/{link}/pseudonyms/{project}/{uid}" | "/shared/{tenant}/{project}/{uid}") => {
            Some(Action::Export)
        }
        (false, "/studies/{study}/share" | "/grants" | "/grants/revoke" | "/grants/review") => {
            Some(Action::ChangeGrant)
        }
        (false, "/shared/pass-on" | "/shared/take-back") => Some(Action::ChangeGrant),
        (false, "/studies/{study}/links" | "/grants/links/revoke") => Some(Action::ChangeLink),
        (false, "/api/links" | "/api/links/{id}") => Some(Action::ChangeLink),
        (false, "/api/grants" | "/api/grants/{id}") => Some(Action::ChangeGrant),
        (false, "/grants/emergency") => Some(Action::ChangeTenant),
        (false, "/emergency") => Some(Action::BreakGlass),
        (_, "/audit" | "/audit/export" | "/audit/verify") | (true, "/api/audit") => {
            Some(Action::ReadAudit)
        }
        (false, "/people" | "/people/password" | "/people/disabled" | "/account/password") => {
            Some(Action::ChangeUser)
        }
        (false, "/people/factor" | "/people/invite" | "/people/invite/revoke") => {
            Some(Action::ChangeUser)
        }
        (false, "/account/factor" | "/account/factor/confirm" | "/account/factor/remove") => {
            Some(Action::ChangeUser)
        }
        (false, "/people/factors") => Some(Action::ChangeTenant),
        (false, "/people/roles") => Some(Action::ChangeRole),
        (false, "/tokens" | "/tokens/revoke") => Some(Action::ChangeToken),
        (false, "/peers/of/{name}") => None,
        (false, path) if path.starts_with("/peers") => Some(Action::ChangePeer),
        (false, route) if route == "/routes" || route.starts_with("/routes/") => {
            Some(Action::ChangeRoute)
        }
        (false, route) if route == "/api/routes" || route.starts_with("/api/routes/") => {
            Some(Action::ChangeRoute)
        }
        (false, "/api/peers" | "/api/peers/{id}") => Some(Action::ChangePeer),
        (false, "/logout" | "/account/sessions") => Some(Action::Logout),
        // Who logs in is nobody before: the login notes itself.
        _ => None,
    }
}

fn of_reading(route: &str) -> Option<Action> {
    const PIXELS: [&str; 5] = ["/frames/", "/rendered", "/thumbnail", "/bulkdata", "/pixeldata"];
    if PIXELS.iter().any(|part| route.contains(part)) {
        return Some(Action::ReadPixels);
    }
    let last = route.rsplit('/').next().unwrap_or_default();
    match (route, last) {
        ("" | "/" | "/openapi.json", _) => None,
        ("/workitems/{workitem}", _) => Some(Action::ReadWorkitem),
        ("/conflicts/{study}", _) => Some(Action::ReadMetadata),
        ("/conflicts" | "/deletions" | "/workitems", _) => Some(Action::Search),
        (_, "{aetitle}") => Some(Action::Subscribe),
        (_, "studies" | "series" | "instances") => Some(Action::Search),
        (_, "metadata") => Some(Action::ReadMetadata),
        (_, "{study}" | "{series}" | "{instance}" | "wado") => Some(Action::ReadObjects),
        // What nobody thought of is better noted under a wrong name than not at all.
        _ => Some(Action::ReadMetadata),
    }
}

fn of_changing(method: &Method, route: &str) -> Option<Action> {
    if method == Method::OPTIONS {
        return None;
    }
    Some(match route {
        "/workitems" => Action::CreateWorkitem,
        _ if route.contains("/subscribers/") => Action::Subscribe,
        _ if route.starts_with("/workitems/") => Action::ChangeWorkitem,
        _ if route.starts_with("/conflicts/") => Action::SettleConflict,
        _ if route.starts_with("/deletions/") => Action::Restore,
        _ if method == Method::DELETE => Action::Delete,
        _ => Action::Store,
    })
}

/// What a request is about. Only what is a UID is taken over: a path can hold anything.
#[derive(Debug, Default, PartialEq, Eq)]
struct About {
    study: String,
    series: String,
    instance: String,
    attributes: Vec<String>,
}

impl About {
    fn of(route: &str, path: &str, query: &str) -> Self {
        let mut about = Self::default();
        for (name, value) in route.split('/').zip(path.split('/')) {
            match name {
                "{study}" => about.study = study(value),
                "{series}" => about.series = series(value),
                // A workitem's UID stands where an instance's does.
                "{instance}" | "{workitem}" => about.instance = instance(value),
                _ => {}
            }
        }
        for (name, value) in params::pairs(query) {
            match name.to_ascii_lowercase().as_str() {
                "studyuid" | "studyinstanceuid" | "0020000d" => about.study = study(&value),
                "seriesuid" => about.series = series(&value),
                "objectuid" => about.instance = instance(&value),
                _ => {}
            }
            // What was searched for names patients; by which attributes does not.
            let known = name.len() <= 128 && Path::parse(&name).is_some();
            if known && about.attributes.len() < NAMED && !about.attributes.contains(&name) {
                about.attributes.push(name);
            }
        }
        about.attributes.sort();
        about
    }

    fn fill(self, entry: &mut AuditEntry, action: Action) {
        entry.study = self.study;
        entry.series = self.series;
        entry.instance = self.instance;
        if action == Action::Search && !self.attributes.is_empty() {
            *entry = entry.clone().with(&json!({ "by": self.attributes }));
        }
    }
}

fn study(text: &str) -> String {
    StudyUid::parse(text).map(|uid| uid.to_string()).unwrap_or_default()
}

fn series(text: &str) -> String {
    SeriesUid::parse(text).map(|uid| uid.to_string()).unwrap_or_default()
}

fn instance(text: &str) -> String {
    SopInstanceUid::parse(text).map(|uid| uid.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicomweb::routes;

    /// Only these tell nothing of patients.
    const SILENT: [(&str, &str); 3] = [("OPTIONS", "/"), ("GET", "/"), ("GET", "/openapi.json")];

    /// Pages that change nothing, or only what nobody was before.
    const SILENT_FORMS: [&str; 2] = ["/login", "/l/{token}"];

    /// A new form is noted under some name, or it stands above.
    #[test]
    fn every_form_leaves_an_entry() {
        for page in crate::portal::PAGES {
            let form = page.path.starts_with("/people")
                || page.path.starts_with("/tokens")
                || (page.path.starts_with("/peers") && page.path != "/peers/of/{name}")
                || page.path.starts_with("/routes")
                || page.path.starts_with("/api/routes")
                || page.path.starts_with("/account/")
                || page.path.starts_with("/grants")
                || ["/api/peers", "/api/peers/{id}"].contains(&page.path)
                || page.path.starts_with("/api/links")
                || page.path.starts_with("/api/grants")
                || page.path.starts_with("/audit")
                || (page.path.starts_with("/reading") && page.path != "/reading/views")
                || page.path.starts_with("/api/reading")
                || page.path.starts_with("/orders")
                || page.path.starts_with("/api/orders")
                || ["/shared/pass-on", "/shared/take-back"].contains(&page.path)
                || page.path.starts_with("/studies/{study}/")
                || ["/emergency", "/l/{token}"].contains(&page.path)
                || ["/login", "/logout"].contains(&page.path);
            let noted = action(&Method::POST, page.path).is_some();
            assert_eq!(noted, form && !SILENT_FORMS.contains(&page.path), "{}", page.path);
        }
    }

    /// A new route is noted under some name, or it stands above.
    #[test]
    fn every_route_leaves_an_entry() {
        for route in routes::all() {
            let method = Method::from_bytes(route.verb.name().as_bytes()).unwrap();
            let noted = action(&method, &format!("/dicom-web{}", route.path));
            let silent = SILENT.contains(&(route.verb.name(), route.path));
            assert_eq!(noted.is_none(), silent, "{} {}", route.verb.name(), route.path);
        }
    }

    #[test]
    fn routes_are_what_they_do() {
        let check = |method: Method, route: &str, expected: Action| {
            assert_eq!(action(&method, route), Some(expected), "{method} {route}");
        };
        check(Method::GET, "/dicom-web/studies", Action::Search);
        check(Method::HEAD, "/dicom-web/studies/{study}/series", Action::Search);
        check(Method::GET, "/dicom-web/studies/{study}/metadata", Action::ReadMetadata);
        check(Method::GET, "/dicom-web/studies/{study}", Action::ReadObjects);
        check(Method::GET, "/dicom-web/wado", Action::ReadObjects);
        let frames = "/dicom-web/studies/{study}/series/{series}/instances/{instance}/frames/{f}";
        check(Method::GET, frames, Action::ReadPixels);
        check(Method::POST, "/dicom-web/studies", Action::Store);
        check(Method::DELETE, "/dicom-web/studies/{study}", Action::Delete);
        check(Method::POST, "/dicom-web/deletions/{id}/restore", Action::Restore);
        check(Method::PUT, "/dicom-web/workitems/{workitem}/state", Action::ChangeWorkitem);
        check(Method::GET, "/studies/{study}", Action::ReadPage);
        check(Method::POST, "/people/roles", Action::ChangeRole);
        check(Method::GET, "/api/audit", Action::ReadAudit);
        assert_eq!(action(&Method::GET, "/healthz"), None);
    }

    #[test]
    fn only_uids_and_names_of_attributes_are_taken_over() {
        let route = "/dicom-web/studies/{study}/series/{series}/metadata";
        let about = About::of(route, "/dicom-web/studies/1.2.3/series/Wang/metadata", "");
        assert_eq!((about.study.as_str(), about.series.as_str()), ("1.2.3", ""));
        let query = "PatientName=Wang*&00100020=P1&StudyInstanceUID=1.9&limit=5&Wang=1";
        let about = About::of("/dicom-web/studies", "/dicom-web/studies", query);
        assert_eq!(about.study, "1.9");
        assert_eq!(about.attributes, ["00100020", "PatientName", "StudyInstanceUID"]);
        let query = "requestType=WADO&studyUID=1.1&seriesUID=1.2&objectUID=1.3";
        let about = About::of("/dicom-web/wado", "/dicom-web/wado", query);
        assert_eq!([about.study, about.series, about.instance], ["1.1", "1.2", "1.3"]);
    }
}
