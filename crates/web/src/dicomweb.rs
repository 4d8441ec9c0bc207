//! DICOMweb (PS3.18): the routes under `/dicom-web`.

pub(crate) mod accept;
mod json;
mod multipart;
pub(crate) mod params;
mod path;
mod qido;
pub(crate) mod respond;
mod stow;
mod wado;

use axum::Router;
use axum::routing::get;

use crate::WebState;
use crate::error::HttpError;

/// The routes, relative to `/dicom-web`, each group with the section of PS3.18 that defines it.
pub(crate) fn router() -> Router<WebState> {
    const STUDY: &str = "/studies/{study}";
    const SERIES: &str = "/studies/{study}/series/{series}";
    const INSTANCE: &str = "/studies/{study}/series/{series}/instances/{instance}";
    let mut router = Router::new()
        // 10.6 Search, 10.5 Store.
        .route("/studies", get(qido::studies).post(stow::store))
        .route("/series", get(qido::series))
        .route("/instances", get(qido::instances))
        .route("/studies/{study}/series", get(qido::series_of))
        .route("/studies/{study}/instances", get(qido::instances_of))
        .route("/studies/{study}/series/{series}/instances", get(qido::instances_of))
        // 10.4 Retrieve.
        .route(STUDY, get(wado::objects::retrieve).post(stow::store_into))
        .route(SERIES, get(wado::objects::retrieve))
        .route(INSTANCE, get(wado::objects::retrieve));
    for level in [STUDY, SERIES, INSTANCE] {
        router = router
            .route(&format!("{level}/metadata"), get(wado::metadata::metadata))
            .route(&format!("{level}/thumbnail"), get(wado::rendered::thumbnail));
    }
    router
        .route(&format!("{INSTANCE}/frames/{{rest}}"), get(wado::frames::frames))
        .route(&format!("{INSTANCE}/frames/{{rest}}/rendered"), get(wado::rendered::frame))
        .route(
            &format!("{INSTANCE}/frames/{{rest}}/thumbnail"),
            get(wado::rendered::frame_thumbnail),
        )
        .route(&format!("{INSTANCE}/rendered"), get(wado::rendered::instance))
        .route(&format!("{INSTANCE}/bulkdata/{{*rest}}"), get(wado::bulk::bulk))
        .fallback(async || HttpError::not_found("there is no such DICOMweb resource"))
}
