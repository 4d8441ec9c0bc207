//! Studies that were shared without the patient's identity: they are listed by what cannot tell who
//! it is, and leave as a zip file, under the pseudonyms of their project.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use qianli_archive::Pseudonymous;
use qianli_catalog::AuditEntry;
use qianli_catalog::grants::Project;
use qianli_catalog::types::Target;
use qianli_model::audit::{Action, Outcome};
use qianli_model::deidentify::{self, Options};
use qianli_model::query::Level;
use qianli_model::{Query, Scope, StudyUid};
use serde_json::json;

use super::format;
use super::page::Frame;
use super::shared;
use crate::WebState;
use crate::access::now_ms;
use crate::caller::Caller;
use crate::dicomweb::zip;
use crate::error::HttpError;

/// Most studies of a project in a list.
const MOST: u32 = 200;

/// A study that can be had.
pub(super) struct Line {
    pub project: String,
    pub modalities: Vec<String>,
    pub content: String,
    pub href: String,
}

fn pseudonymous(project: &Project) -> Result<Pseudonymous, HttpError> {
    let project = deidentify::Project::new(&project.name, project.secret.as_bytes());
    Ok(Pseudonymous::new(Arc::new(project.map_err(HttpError::internal)?), Options::default()))
}

async fn projects(state: &WebState, scope: &Scope) -> Result<Vec<Project>, HttpError> {
    let Some(viewer) = scope.viewer() else { return Ok(Vec::new()) };
    Ok(state.archive().catalog().projects_of(viewer, scope.tenant(), now_ms()).await?)
}

/// What the viewer of a scope can have under pseudonyms; paths begin with `root`.
pub(super) async fn lines(
    state: &WebState,
    scope: &Scope,
    root: &str,
    frame: &Frame,
) -> Result<Vec<Line>, HttpError> {
    let mut lines = Vec::new();
    for project in projects(state, scope).await? {
        let how = pseudonymous(&project)?;
        let scope = scope.clone().under_pseudonyms(project.id);
        for row in state.archive().find(&scope, &Query::all(Level::Study, MOST)).await? {
            let study = row.study;
            let counts = (study.series_count, study.instance_count);
            lines.push(Line {
                href: format!("{root}/{}/{}", project.name, how.how().uid(&study.uid)),
                content: format::content(counts.0, counts.1, &study.modalities, frame.language),
                modalities: study.modalities,
                project: project.name.clone(),
            });
        }
    }
    Ok(lines)
}

/// The study of a pseudonym, as a zip file.
async fn answer(
    state: &WebState,
    scope: &Scope,
    (project, pseudonym): (&str, &str),
) -> Result<Response, HttpError> {
    let missing = || HttpError::not_found("nothing of this kind is shared with you");
    let projects = projects(state, scope).await?;
    let project = projects.into_iter().find(|one| one.name == project).ok_or_else(missing)?;
    let how = pseudonymous(&project)?;
    let scope = scope.clone().under_pseudonyms(project.id).to_download();
    let archive = state.archive();
    let found = archive.find(&scope, &Query::all(Level::Study, MOST)).await?;
    let study = found.into_iter().find(|row| how.how().uid(&row.study.uid) == pseudonym);
    let study = StudyUid::parse(&study.ok_or_else(missing)?.study.uid).map_err(|_| missing())?;
    let target = Target { study: study.clone(), series: None, instance: None };
    let locations = archive.locate(&scope, &target).await?;
    // The gate notes the pseudonym; the owner wants to know whose images left.
    let entry = AuditEntry::new(&scope, Action::Export, Outcome::Success, now_ms())
        .about_study(&study)
        .with(&json!({"project": project.name}));
    archive.catalog().note_audit(entry).await?;
    Ok(zip::pseudonymous(state, scope, how, locations, pseudonym))
}

/// `GET /links/{link}/pseudonyms/{project}/{uid}`.
pub(super) async fn of_link(
    State(state): State<WebState>,
    caller: Caller,
    Path((_, project, uid)): Path<(String, String, String)>,
) -> Result<Response, HttpError> {
    answer(&state, &caller.scope, (&project, &uid)).await
}

/// `GET /shared/{tenant}/{project}/{uid}`.
pub(super) async fn of_tenant(
    State(state): State<WebState>,
    caller: Caller,
    Path((tenant, project, uid)): Path<(String, String, String)>,
) -> Result<Response, HttpError> {
    if caller.person.as_ref().is_some_and(|person| person.must_change || person.must_enrol) {
        return Err(HttpError::forbidden(
            "your account asks something of you first: open /account",
        ));
    }
    let viewer = shared::viewer(&caller);
    let sharers = state.archive().catalog().sharers(&viewer, now_ms()).await?;
    let sharer = sharers.into_iter().find(|one| one.tenant.name == tenant);
    let sharer =
        sharer.ok_or_else(|| HttpError::not_found("nothing of this kind is shared with you"))?;
    answer(&state, &shared::inside(&caller, viewer, &sharer), (&project, &uid)).await
}
