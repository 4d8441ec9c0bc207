//! `/studies/{uid}`: one study with its series.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::types::SeriesRow;
use qianli_model::query::{Indexed, Level};
use qianli_model::{Query, StudyUid};

use super::documents::{self, Documents, Link};
use super::format::{self, Attributes};
use super::page::{Frame, encode};
use super::studies::StudyCard;
use crate::WebState;
use crate::caller::{BaseUrl, Caller};

/// Most series on a page; the viewer has no such limit.
const MAX_SERIES: u32 = 200;

#[derive(Template)]
#[template(path = "study.html")]
struct StudyPage<'a> {
    frame: &'a Frame,
    study: StudyCard,
    referrer: String,
    series: Vec<SeriesCard>,
    more: bool,
    web: String,
    /// Whether it may be taken away.
    keeps: bool,
}

struct SeriesCard {
    uid: String,
    number: String,
    modality: String,
    description: String,
    body_part: String,
    content: String,
    /// Empty when there is no picture to ask for.
    thumbnail: String,
    /// Pages and documents of what has no picture.
    documents: Vec<Link>,
    /// Not every document is linked.
    more_documents: bool,
    /// Where the picture leads: to the viewer, or to the only document.
    opens: String,
    web: String,
}

impl SeriesCard {
    fn new(study: &str, row: &SeriesRow, documents: Documents, frame: &Frame) -> Self {
        let attributes = Attributes::parse(&row.json);
        let uid = encode(&row.uid).replace("%2E", ".");
        let web = format!("/dicom-web/studies/{study}/series/{uid}");
        let modality = attributes.text("00080060");
        // Of very many documents in a study only the first are known: the modality tells, too.
        let only_documents =
            !format::has_picture(&modality) || documents.count >= row.instance_count;
        let of_documents = if only_documents { row.instance_count } else { documents.count };
        let thumbnail = if !only_documents {
            format!("{web}/thumbnail?viewport=320,320")
        } else {
            String::new()
        };
        Self {
            number: attributes.text("00200011"),
            modality,
            description: attributes.text("0008103E"),
            body_part: attributes.text("00180015"),
            content: format::objects(
                row.instance_count - of_documents,
                of_documents,
                frame.language,
            ),
            thumbnail,
            opens: match documents.links.as_slice() {
                [only] if only_documents => only.href.clone(),
                _ => super::studies::viewer(study),
            },
            more_documents: (documents.links.len() as i64) < of_documents,
            documents: documents.links,
            web: format!("{web}/metadata"),
            uid: row.uid.clone(),
        }
    }
}

/// `GET /studies/{uid}`.
pub(super) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    base: BaseUrl,
    frame: Frame,
    Path(uid): Path<String>,
) -> Response {
    let frame = frame.at("studies");
    let Ok(uid) = StudyUid::parse(&uid) else {
        return frame.missing();
    };
    let of_study =
        |level, limit| Query::all(level, limit).equals(Indexed::StudyInstanceUid, uid.as_str());
    let (studies, series) = (of_study(Level::Study, 1), of_study(Level::Series, MAX_SERIES));
    let readable = documents::query(&uid);
    let archive = state.archive();
    let keep = caller.scope.clone().to_download();
    let (studies, series, readable, kept) = tokio::join!(
        archive.find(&caller.scope, &studies),
        archive.find(&caller.scope, &series),
        archive.find(&caller.scope, &readable),
        async {
            match keep.viewer() {
                None => Ok(true),
                Some(_) => archive.find(&keep, &studies).await.map(|found| !found.is_empty()),
            }
        },
    );
    let (studies, series, readable, keeps) = match (studies, series, readable, kept) {
        (Ok(studies), Ok(series), Ok(readable), Ok(keeps)) => (studies, series, readable, keeps),
        (Err(cause), ..) | (_, Err(cause), ..) | (_, _, Err(cause), _) | (.., Err(cause)) => {
            return frame.failed(cause);
        }
    };
    let mut readable = documents::by_series(&uid, &readable, frame.language);
    let Some(found) = studies.first() else {
        return frame.missing();
    };
    let attributes = Attributes::parse(&found.study.json);
    let referrer = attributes.name("00080090", frame.language);
    let cards: Vec<SeriesCard> = series
        .iter()
        .filter_map(|row| row.series.as_ref())
        .map(|row| {
            let documents = readable.remove(&row.uid).unwrap_or_default();
            SeriesCard::new(uid.as_str(), row, documents, &frame)
        })
        .collect();
    let page = StudyPage {
        study: StudyCard::new(&found.study, &frame),
        referrer: referrer.map(|name| name.main).unwrap_or_default(),
        more: (cards.len() as i64) < found.study.series_count,
        series: cards,
        web: base.study(&uid),
        keeps,
        frame: &frame,
    };
    frame.answer(StatusCode::OK, &page)
}
