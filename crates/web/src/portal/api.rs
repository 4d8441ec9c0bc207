//! `/api`: what DICOMweb can be asked, for people.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::language::Language;
use super::page::Frame;
use crate::caller::BaseUrl;
use crate::dicomweb::routes::{GROUPS, Route};

#[derive(Template)]
#[template(path = "api.html")]
struct ApiPage<'a> {
    frame: &'a Frame,
    base: &'a str,
    groups: Vec<Group>,
}

struct Group {
    name: &'static str,
    rows: Vec<Row>,
}

struct Row {
    method: &'static str,
    path: String,
    section: &'static str,
    says: &'static str,
    query: String,
    takes: &'static [&'static str],
    gives: &'static [&'static str],
}

impl Row {
    fn new(route: &Route, language: Language) -> Self {
        let [english, chinese] = route.says;
        Self {
            method: route.verb.name(),
            path: route.shown(),
            section: route.section,
            says: match language {
                Language::English => english,
                Language::Chinese => chinese,
            },
            query: route.query.join(", "),
            takes: route.takes,
            gives: route.gives,
        }
    }
}

/// `GET /api`.
pub(super) async fn show(base: BaseUrl, frame: Frame) -> Response {
    let frame = frame.at("api");
    let language = frame.language;
    let group = |(english, chinese, routes): &(&'static str, &'static str, &[Route])| Group {
        name: match language {
            Language::English => english,
            Language::Chinese => chinese,
        },
        rows: routes.iter().map(|route| Row::new(route, language)).collect(),
    };
    let groups = GROUPS.iter().map(group).collect();
    frame.answer(StatusCode::OK, &ApiPage { frame: &frame, base: base.as_str(), groups })
}
