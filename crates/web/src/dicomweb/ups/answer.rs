//! Writing workitems in the representation that the client takes (PS3.18 section 11.1.3).

use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use qianli_model::xml;

use super::super::accept::{Accept, Offer};
use super::super::respond::{self, DICOM_JSON, Framing};
use crate::error::HttpError;

/// How workitems are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// An array in this media type.
    Json(&'static str),
    /// One document as the whole body.
    Xml,
    /// A part for each.
    XmlParts,
}

impl Shape {
    /// What the client takes, for one workitem or for many.
    pub(super) fn choose(accept: &Accept, one: bool) -> Result<Self, HttpError> {
        let parts = Offer { multipart: true, ..Offer::plain(xml::MEDIA_TYPE) };
        let mut offers = vec![
            (Offer::plain(DICOM_JSON), Self::Json(DICOM_JSON)),
            (Offer::plain("application/json"), Self::Json("application/json")),
            (parts, Self::XmlParts),
        ];
        if one {
            offers.push((Offer::plain(xml::MEDIA_TYPE), Self::Xml));
        }
        let plain: Vec<Offer<'_>> = offers.iter().map(|(offer, _)| offer.clone()).collect();
        let chosen = accept.choose(&plain).and_then(|index| offers.get(index));
        chosen.map(|(_, shape)| *shape).ok_or_else(|| {
            let list = if one { super::GIVES } else { super::FINDS };
            HttpError::not_acceptable(format!("available here: {}", list.join(", ")))
        })
    }

    /// A 200 answer with workitems (DICOM JSON objects, each with the URL of its resource).
    pub(super) fn answer(self, workitems: &[(String, String)]) -> Result<Response, HttpError> {
        let mut response = match self {
            Self::Json(media) => {
                let objects: Vec<&str> = workitems.iter().map(|(json, _)| json.as_str()).collect();
                respond::json(media, Bytes::from(format!("[{}]", objects.join(","))))
            }
            Self::Xml => {
                let mut document = Vec::new();
                if let Some((json, _)) = workitems.first() {
                    write(json, &mut document)?;
                }
                respond::pieces(xml::MEDIA_TYPE, vec![document.into()])
            }
            Self::XmlParts => {
                let framing = Framing::new();
                let mut pieces = Vec::with_capacity(workitems.len() * 2 + 1);
                for (index, (json, url)) in workitems.iter().enumerate() {
                    let mut document = Vec::new();
                    write(json, &mut document)?;
                    pieces.push(framing.header(index == 0, xml::MEDIA_TYPE, None, url));
                    pieces.push(document.into());
                }
                pieces.push(framing.closing());
                respond::pieces(&framing.content_type(xml::MEDIA_TYPE), pieces)
            }
        };
        // A worklist is true for a moment only.
        let headers = response.headers_mut();
        respond::set(headers, header::CACHE_CONTROL, "no-store");
        respond::set(headers, header::VARY, "accept");
        Ok(response)
    }
}

fn write(json: &str, document: &mut Vec<u8>) -> Result<(), HttpError> {
    xml::from_json(json.as_bytes(), "", document).map_err(HttpError::internal)
}
