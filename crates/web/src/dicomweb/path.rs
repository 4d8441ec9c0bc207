//! The UIDs in a DICOMweb path, checked once.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use qianli_catalog::types::Target;
use qianli_model::uid::UidError;
use qianli_model::{SeriesUid, SopInstanceUid, StudyUid};
use serde::Deserialize;

use crate::error::HttpError;

/// What a path addresses: a study, a series or an instance.
#[derive(Debug, Clone)]
pub(crate) struct At(pub(crate) Target);

/// An instance and what follows it in the path (a frame list, a bulk value's path), or nothing.
#[derive(Debug, Clone)]
pub(crate) struct InstanceAt {
    pub(crate) study: StudyUid,
    pub(crate) series: SeriesUid,
    pub(crate) instance: SopInstanceUid,
    pub(crate) rest: String,
}

#[derive(Deserialize)]
struct Segments {
    study: String,
    series: Option<String>,
    instance: Option<String>,
    #[serde(alias = "frames", alias = "tag")]
    rest: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        read(parts, state).await.map(|(target, _)| Self(target))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InstanceAt {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let (target, rest) = read(parts, state).await?;
        match target {
            Target { study, series: Some(series), instance: Some(instance) } => {
                Ok(Self { study, series, instance, rest: rest.unwrap_or_default() })
            }
            _ => Err(HttpError::not_found("no such resource")),
        }
    }
}

async fn read<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<(Target, Option<String>), HttpError> {
    let Path(segments) = Path::<Segments>::from_request_parts(parts, state)
        .await
        .map_err(|_| HttpError::bad_request("the path cannot be read"))?;
    let target = Target {
        study: StudyUid::parse(&segments.study).map_err(|e| bad_uid("study", &e))?,
        series: segments
            .series
            .map(|uid| SeriesUid::parse(&uid))
            .transpose()
            .map_err(|e| bad_uid("series", &e))?,
        instance: segments
            .instance
            .map(|uid| SopInstanceUid::parse(&uid))
            .transpose()
            .map_err(|e| bad_uid("instance", &e))?,
    };
    Ok((target, segments.rest))
}

fn bad_uid(level: &str, error: &UidError) -> HttpError {
    HttpError::bad_request(format!("the {level} in the path: {error}"))
}
