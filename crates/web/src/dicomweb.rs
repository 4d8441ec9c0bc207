//! DICOMweb (PS3.18): the routes under `/dicom-web`. Which there are says [`routes`].

pub(crate) mod accept;
pub(crate) mod capabilities;
mod conflicts;
mod delete;
mod json;
mod multipart;
pub(crate) mod params;
mod path;
pub(crate) mod qido;
pub(crate) mod respond;
pub(crate) mod routes;
pub(crate) mod stow;
pub(crate) mod ups;
mod wado;

pub(crate) use wado::zip;

pub(crate) use qido::TOTAL_COUNT;
pub(crate) use routes::router;
