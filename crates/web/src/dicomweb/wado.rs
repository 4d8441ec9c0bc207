//! WADO-RS (PS3.18 section 10.4): what is stored, on its way out. One file per kind of resource.

pub(crate) mod bulk;
pub(crate) mod frames;
pub(crate) mod media;
pub(crate) mod metadata;
pub(crate) mod objects;
mod range;
pub(crate) mod rendered;
pub(crate) mod uri;
pub(crate) mod zip;

use std::sync::Arc;

use qianli_catalog::types::Detail;

use super::path::InstanceAt;
use crate::WebState;
use crate::caller::Caller;
use crate::error::HttpError;

/// Location, frames and bulk values of the instance that a path addresses.
async fn detail(
    state: &WebState,
    caller: &Caller,
    at: &InstanceAt,
) -> Result<Arc<Detail>, HttpError> {
    let found = state.archive().detail(&caller.scope, &at.study, &at.series, &at.instance).await?;
    found.ok_or_else(nothing_here)
}

fn nothing_here() -> HttpError {
    HttpError::not_found("nothing is stored under this path")
}
