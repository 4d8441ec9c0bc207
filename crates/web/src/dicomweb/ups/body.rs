//! Reading bodies with attributes of a workitem: JSON, XML, XML in one part.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use qianli_model::dataset::Limits;
use qianli_model::workitem::DataSet;
use qianli_model::{tag, xml};

use super::super::accept::ContentType;
use super::super::multipart::{BodyError, MultipartError, MultipartReader};
use super::super::respond::DICOM_JSON;
use crate::error::HttpError;

/// Most bytes of a body. Real workitems have a few thousand.
const MAX_BODY: usize = 1 << 20;

/// Reads a body that must be there.
pub(super) async fn required(headers: &HeaderMap, body: Body) -> Result<DataSet, HttpError> {
    let bytes = receive(headers, body).await?;
    if bytes.is_empty() {
        return Err(HttpError::bad_request("the request has no body"));
    }
    read(headers, bytes).await
}

/// Reads a body that may be left out.
pub(super) async fn optional(headers: &HeaderMap, body: Body) -> Result<DataSet, HttpError> {
    let bytes = receive(headers, body).await?;
    if bytes.is_empty() { Ok(DataSet::default()) } else { read(headers, bytes).await }
}

async fn receive(headers: &HeaderMap, body: Body) -> Result<Bytes, HttpError> {
    let encoded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        let message = "bodies with a Content-Encoding are not taken here";
        return Err(HttpError::unsupported_media_type(message));
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(HttpError::too_large(format!("a workitem may have {MAX_BODY} bytes here")))
        }
        Err(_) => Err(HttpError::bad_request("the body could not be received")),
    }
}

async fn read(headers: &HeaderMap, bytes: Bytes) -> Result<DataSet, HttpError> {
    let unsupported =
        || HttpError::unsupported_media_type(format!("taken here: {}", super::TAKES.join(", ")));
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = text.and_then(ContentType::parse).ok_or_else(unsupported)?;
    let json = match content_type.essence.as_str() {
        DICOM_JSON | "application/json" => bytes,
        xml::MEDIA_TYPE => from_xml(&bytes)?,
        "multipart/related" => {
            let of_xml = content_type
                .parameter("type")
                .is_none_or(|media| media.eq_ignore_ascii_case(xml::MEDIA_TYPE));
            if !of_xml {
                return Err(unsupported());
            }
            let boundary = content_type.parameter("boundary").unwrap_or_default();
            let part = first_part(bytes, boundary)
                .await
                .map_err(|error| HttpError::bad_request(format!("the multipart body: {error}")))?;
            from_xml(&part)?
        }
        _ => return Err(unsupported()),
    };
    let mut data =
        DataSet::parse(&json).map_err(|error| HttpError::bad_request(error.to_string()))?;
    // What is kept is UTF-8, whatever the client's own charset was.
    data.remove(tag::SPECIFIC_CHARACTER_SET);
    Ok(data)
}

fn from_xml(bytes: &[u8]) -> Result<Bytes, HttpError> {
    let limits =
        Limits { max_depth: 32, max_elements: 20_000, max_json: 4 << 20, ..Limits::default() };
    xml::to_json(bytes, &limits)
        .map(Bytes::from)
        .map_err(|error| HttpError::bad_request(error.to_string()))
}

/// The content of the first part.
async fn first_part(bytes: Bytes, boundary: &str) -> Result<Vec<u8>, MultipartError> {
    let stream = stream::iter([Ok::<_, BodyError>(bytes)]);
    let mut reader = MultipartReader::new(stream, boundary)?;
    let mut part = Vec::new();
    if reader.next_part().await?.is_some() {
        while let Some(chunk) = reader.chunk().await? {
            part.extend_from_slice(&chunk);
        }
    }
    Ok(part)
}
