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

use qianli_catalog::types::{Detail, Location, Target};

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

/// What is to be taken away as files, which is more than looking at it.
async fn to_keep(
    state: &WebState,
    caller: &Caller,
    target: &Target,
) -> Result<Vec<Location>, HttpError> {
    let scope = caller.scope.clone().to_download();
    let locations = state.archive().locate(&scope, target).await?;
    if !locations.is_empty() {
        return Ok(locations);
    }
    let shown = scope.viewer().is_some()
        && !state.archive().locate(&caller.scope, target).await?.is_empty();
    Err(match shown {
        true => HttpError::forbidden(
            "this was shared to be looked at, not to be taken away; ask whoever shared it",
        ),
        false => nothing_here(),
    })
}

fn nothing_here() -> HttpError {
    HttpError::not_found("nothing is stored under this path")
}
