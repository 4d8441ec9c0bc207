//! `/people`: the members of the tenant and what they are to it.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use qianli_catalog::CatalogError;
use qianli_catalog::access::{Change, NewPerson, Person};
use qianli_model::Role;
use serde::Deserialize;

use super::login::redirect;
use super::page::Frame;
use super::{format, invitations};
use crate::access::{login, now_ms, secret};
use crate::caller::Caller;
use crate::origin::SameSite;
use crate::{HttpError, WebState};

/// Longest login and longest name (characters).
pub(super) const LONGEST: usize = 64;

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage<'a> {
    frame: &'a Frame,
    people: Vec<Line>,
    /// Name and label.
    roles: Vec<(&'static str, &'static str)>,
    /// What was just made, shown this once.
    made: Option<Made>,
    invitations: Vec<invitations::Line>,
    days: [i64; 3],
    /// Whether there is a use for invitations.
    passwords: bool,
    /// Whether the tenant asks for second factors.
    second_factor: bool,
    offer: Option<Offer<'a>>,
    problem: Option<&'a str>,
}

/// What is shown once.
pub(super) enum Made {
    /// Login and password of an account.
    Account(String, String),
    /// An invitation.
    Link(String),
}

struct Line {
    second_factor: bool,
    login: String,
    name: String,
    made: String,
    disabled: bool,
    locked: bool,
    must_change: bool,
    itself: bool,
    /// Name, label, and whether the person has it.
    roles: Vec<(&'static str, &'static str, bool)>,
    has: String,
}

/// A form as pairs, since roles come many times.
pub(super) type Pairs = Vec<(String, String)>;

pub(super) fn value<'p>(pairs: &'p Pairs, name: &str) -> &'p str {
    pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
}

pub(super) fn chosen(pairs: &Pairs) -> Vec<Role> {
    pairs.iter().filter(|(key, _)| key == "role").filter_map(|(_, v)| Role::parse(v)).collect()
}

/// Who is meant.
/// Somebody who can be made a member.
pub(super) struct Offer<'a> {
    login: &'a str,
    roles: Vec<&'static str>,
}

#[derive(Deserialize)]
pub(super) struct Whom {
    login: String,
    #[serde(default)]
    disabled: bool,
}

/// `GET /people`.
pub(super) async fn show(State(state): State<WebState>, caller: Caller, frame: Frame) -> Response {
    let frame = frame.at("people");
    answer(&state, &caller, &frame, StatusCode::OK, (None, None, None)).await
}

/// Whether a login may be one.
pub(super) fn is_login(text: &str) -> bool {
    let fine = |b: char| b.is_alphanumeric() || matches!(b, '.' | '-' | '_' | '@');
    (1..=LONGEST).contains(&text.chars().count()) && text.chars().all(fine)
}

/// The page, perhaps with what was made or what is wrong.
pub(super) async fn answer(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    status: StatusCode,
    (made, problem, offer): (Option<Made>, Option<&str>, Option<Offer<'_>>),
) -> Response {
    let catalog = state.archive().catalog();
    let found = async {
        let people = catalog.people(&caller.scope).await?;
        let invitations = catalog.invitations(&caller.scope).await?;
        let required = catalog.requires_second_factor(caller.scope.tenant()).await?;
        Ok::<_, CatalogError>((people, invitations, required))
    };
    let (people, invitations, second_factor) = match found.await {
        Ok(found) => found,
        Err(error) => return frame.failed(error),
    };
    let now = now_ms();
    let itself = caller.person.as_ref().map(|person| person.id);
    let t = frame.t;
    let label = |role: &Role| t.role(*role);
    let line = |person: Person| Line {
        has: person.roles.iter().map(label).collect::<Vec<_>>().join(", "),
        roles: Role::ALL
            .into_iter()
            .map(|role| (role.name(), t.role(role), person.roles.contains(&role)))
            .collect(),
        made: format::instant(person.created_ms),
        disabled: person.disabled,
        locked: person.locked_until_ms > now || state.guesses().slowed(&person.login),
        must_change: person.must_change,
        itself: itself == Some(person.id),
        second_factor: person.second_factor,
        login: person.login,
        name: person.name,
    };
    let page = PeoplePage {
        frame,
        people: people.into_iter().map(line).collect(),
        roles: Role::ALL.into_iter().map(|role| (role.name(), t.role(role))).collect(),
        made,
        invitations: invitations::lines(invitations, label),
        days: invitations::DAYS,
        passwords: state.config().password_login,
        second_factor,
        problem,
        offer,
    };
    frame.answer(status, &page)
}

/// `POST /people`: makes an account, and shows its password once.
pub(super) async fn add(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(pairs): Form<Pairs>,
) -> Response {
    let (who, name, roles) = (value(&pairs, "login"), value(&pairs, "name"), chosen(&pairs));
    let refuse = async |problem| {
        answer(&state, &caller, &frame, StatusCode::BAD_REQUEST, (None, Some(problem), None)).await
    };
    if !is_login(who) {
        return refuse(frame.t.people_bad_login).await;
    }
    if name.chars().count() > LONGEST || name.chars().any(char::is_control) {
        return refuse(frame.t.people_bad_name).await;
    }
    if roles.is_empty() {
        return refuse(frame.t.people_no_role).await;
    }
    let password = secret::password();
    let hashed = match hashed(&state, password.clone()).await {
        Ok(hashed) => hashed,
        Err(error) => return error.into_response(),
    };
    let new = NewPerson {
        login: who.to_owned(),
        name: name.to_owned(),
        password: hashed,
        must_change: true,
        roles,
        at_ms: now_ms(),
    };
    match state.archive().catalog().add_person(&caller.scope, &new).await {
        Ok(Some(_)) => {
            let made = Some(Made::Account(who.to_owned(), password));
            answer(&state, &caller, &frame, StatusCode::OK, (made, None, None)).await
        }
        Ok(None) => taken(&state, &caller, &frame, &new, !value(&pairs, "join").is_empty()).await,
        Err(error) => frame.failed(error),
    }
}

/// Somebody has that login. Who it is, only those are told who administer another tenant of that
/// person too; they can make the person a member here.
async fn taken(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    new: &NewPerson,
    join: bool,
) -> Response {
    let login = new.login.to_lowercase();
    let both = match administers_both(state, caller, &login).await {
        Ok(both) => both,
        Err(error) => return frame.failed(error),
    };
    let catalog = state.archive().catalog();
    let (problem, offer) = match catalog.person(&caller.scope, &login).await {
        Err(error) => return frame.failed(error),
        Ok(Some(_)) => (frame.t.people_member, None),
        Ok(None) if !both => (frame.t.people_taken, None),
        Ok(None) if join => {
            let changed = catalog.change_roles(&caller.scope, &login, &new.roles).await;
            return done(state, caller, frame, changed).await;
        }
        Ok(None) => {
            let roles = new.roles.iter().map(|role| role.name()).collect();
            (frame.t.people_join_text, Some(Offer { login: &login, roles }))
        }
    };
    answer(state, caller, frame, StatusCode::BAD_REQUEST, (None, Some(problem), offer)).await
}

/// Whether the caller administers another tenant of the person, too.
async fn administers_both(
    state: &WebState,
    caller: &Caller,
    login: &str,
) -> Result<bool, CatalogError> {
    let catalog = state.archive().catalog();
    let Some(own) = &caller.person else { return Ok(false) };
    let Some(other) = catalog.credentials(login).await? else { return Ok(false) };
    for tenant in catalog.tenants_of(other.id).await? {
        if catalog.roles(own.id, tenant.id).await?.contains(&Role::Administrator) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn hashed(state: &WebState, password: String) -> Result<String, HttpError> {
    let hashed = login::computed(state, move || secret::hash(&password)).await?;
    hashed.map_err(HttpError::internal)
}

/// `POST /people/roles`: sets what somebody is to the tenant; nothing ends the membership.
pub(super) async fn set_roles(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(pairs): Form<Pairs>,
) -> Response {
    let (who, roles) = (value(&pairs, "login").to_lowercase(), chosen(&pairs));
    let catalog = state.archive().catalog();
    match catalog.person(&caller.scope, &who).await {
        // Only members: others belong to other tenants, or are nobody.
        Ok(None) => return frame.missing(),
        Err(error) => return frame.failed(error),
        Ok(Some(person)) => {
            let own = caller.person.as_ref().is_some_and(|own| own.id == person.id);
            // Nobody locks everybody out by a slip.
            if own && !roles.contains(&Role::Administrator) {
                let problem = Some(frame.t.people_not_yourself);
                return answer(
                    &state,
                    &caller,
                    &frame,
                    StatusCode::BAD_REQUEST,
                    (None, problem, None),
                )
                .await;
            }
        }
    }
    let changed = catalog.change_roles(&caller.scope, &who, &roles).await;
    done(&state, &caller, &frame, changed).await
}

/// What a change to somebody else's account leads to.
async fn done(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    changed: Result<Change, CatalogError>,
) -> Response {
    match changed {
        Ok(Change::Done) => {
            state.door().forget();
            redirect("/people")
        }
        Ok(Change::NoSuchPerson) => frame.missing(),
        Ok(Change::LastAdministrator) => {
            let problem = Some(frame.t.people_last);
            answer(state, caller, frame, StatusCode::CONFLICT, (None, problem, None)).await
        }
        Err(error) => frame.failed(error),
    }
}

/// Somebody whom the caller may reset or switch off: a member of this tenant and of no other, since
/// the account opens the other tenants too.
async fn own_member(
    state: &WebState,
    caller: &Caller,
    frame: &Frame,
    login: &str,
) -> Result<Person, Response> {
    let catalog = state.archive().catalog();
    let person = catalog.person(&caller.scope, login).await.map_err(|error| frame.failed(error))?;
    let Some(person) = person else { return Err(frame.missing()) };
    let tenants = catalog.tenants_of(person.id).await.map_err(|error| frame.failed(error))?;
    let problem = if tenants.len() > 1 {
        frame.t.people_elsewhere
    } else if caller.person.as_ref().is_some_and(|own| own.id == person.id) {
        frame.t.people_not_yourself
    } else {
        return Ok(person);
    };
    Err(answer(state, caller, frame, StatusCode::FORBIDDEN, (None, Some(problem), None)).await)
}

/// `POST /people/password`: gives somebody a new password, shown once.
pub(super) async fn reset(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(whom): Form<Whom>,
) -> Response {
    let person = match own_member(&state, &caller, &frame, &whom.login).await {
        Ok(person) => person,
        Err(response) => return response,
    };
    // A password would be a second way in, past the provider.
    match state.archive().catalog().has_identity(person.id).await {
        Ok(false) => {}
        Ok(true) => {
            let problem = Some(frame.t.people_of_provider);
            return answer(&state, &caller, &frame, StatusCode::FORBIDDEN, (None, problem, None))
                .await;
        }
        Err(error) => return frame.failed(error),
    }
    let password = secret::password();
    let hash = match hashed(&state, password.clone()).await {
        Ok(hash) => hash,
        Err(error) => return error.into_response(),
    };
    match state
        .archive()
        .catalog()
        .set_password(&caller.scope, person.id, &hash, true, now_ms())
        .await
    {
        Ok(()) => {
            state.door().forget();
            let made = Some(Made::Account(person.login, password));
            answer(&state, &caller, &frame, StatusCode::OK, (made, None, None)).await
        }
        Err(error) => frame.failed(error),
    }
}

/// `POST /people/factor`: takes somebody's second factor away, who lost the phone. The password stays;
/// whoever cannot be sure gives a new one too.
pub(super) async fn reset_factor(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(whom): Form<Whom>,
) -> Response {
    let person = match own_member(&state, &caller, &frame, &whom.login).await {
        Ok(person) => person,
        Err(response) => return response,
    };
    match state.archive().catalog().remove_totp(&caller.scope, person.id).await {
        Ok(_) => {
            state.door().forget();
            redirect("/people")
        }
        Err(error) => frame.failed(error),
    }
}

/// Whether something is asked of everybody.
#[derive(Deserialize)]
pub(super) struct Required {
    required: bool,
}

/// `POST /people/factors`: asks everybody of the tenant for a second factor, or no longer.
pub(super) async fn require_factors(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(given): Form<Required>,
) -> Response {
    let catalog = state.archive().catalog();
    match catalog.require_second_factor(&caller.scope, given.required).await {
        Ok(()) => {
            state.door().forget();
            redirect("/people")
        }
        Err(error) => frame.failed(error),
    }
}

/// `POST /people/disabled`: switches an account off or on.
pub(super) async fn disable(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(whom): Form<Whom>,
) -> Response {
    let person = match own_member(&state, &caller, &frame, &whom.login).await {
        Ok(person) => person,
        Err(response) => return response,
    };
    let catalog = state.archive().catalog();
    let changed = catalog.change_disabled(&caller.scope, person.id, whom.disabled).await;
    done(&state, &caller, &frame, changed).await
}
