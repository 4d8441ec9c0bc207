//! What a route needs of its caller, and what happens to those who lack it.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use qianli_model::Permission;
use qianli_model::scope::Principal;

use crate::caller::Caller;
use crate::error::HttpError;

/// What a route needs of its caller. There is no default: a route without one does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: the route gives no data away.
    Nothing,
    /// To be somebody.
    SignIn,
    /// A permission in the tenant of the request.
    Permission(Permission),
    /// To have opened the share link that the path names.
    Visit,
}

impl Needs {
    /// As documents name it, behind "Needs".
    pub(crate) fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".into(),
            Self::SignIn => "a login".into(),
            Self::Permission(permission) => format!("the permission {permission}"),
            Self::Visit => "an opened share link".into(),
        }
    }
}

/// Why a request does not pass.
enum Lack {
    Login,
    NewPassword,
    SecondFactor,
    Permission(Permission),
    /// A person, who can be asked about it.
    Person,
    /// An opened link.
    Visit,
}

fn judge(needs: Needs, caller: Option<&Caller>) -> Result<(), Lack> {
    let permission = match needs {
        Needs::Nothing => return Ok(()),
        Needs::SignIn => None,
        Needs::Permission(permission) => Some(permission),
        Needs::Visit => {
            let visits = |caller: &Caller| matches!(caller.scope.principal(), Principal::Link(..));
            return if caller.is_some_and(visits) { Ok(()) } else { Err(Lack::Visit) };
        }
    };
    let caller = caller.ok_or(Lack::Login)?;
    match permission {
        // A program that could make accounts would be above all that its token says.
        Some(Permission::Administer)
            if matches!(caller.scope.principal(), Principal::Token(..) | Principal::Machine(_)) =>
        {
            Err(Lack::Person)
        }
        Some(permission) if !caller.scope.allows(permission) => {
            if caller.person.as_ref().is_some_and(|person| person.must_change) {
                return Err(Lack::NewPassword);
            }
            if caller.person.as_ref().is_some_and(|person| person.must_enrol) {
                return Err(Lack::SecondFactor);
            }
            Err(Lack::Permission(permission))
        }
        _ => Ok(()),
    }
}

/// In front of what programs ask: 401 for nobody, 403 for those who may not.
pub(crate) fn guard(needs: Needs, caller: Option<&Caller>) -> Result<(), HttpError> {
    judge(needs, caller).map_err(|lack| refusal(&lack))
}

/// Asks for a permission that only some requests of a route need.
///
/// # Errors
///
/// 403.
pub(crate) fn require(caller: &Caller, permission: Permission) -> Result<(), HttpError> {
    judge(Needs::Permission(permission), Some(caller)).map_err(|lack| refusal(&lack))
}

fn refusal(lack: &Lack) -> HttpError {
    match lack {
        Lack::Login => HttpError::unauthorized(
            "log in first: send an API token as Authorization: Bearer, or open /login in a browser",
        ),
        Lack::NewPassword => HttpError::forbidden(
            "your password was set by somebody else; choose your own at /account first",
        ),
        Lack::Visit => HttpError::unauthorized(
            "this share link is not open in this browser, or it has ended; open it again",
        ),
        Lack::SecondFactor => HttpError::forbidden(
            "your hospital asks for a second factor; set one up at /account first",
        ),
        Lack::Person => HttpError::forbidden(
            "accounts and tokens are managed by people: log in at /login, not with an API token",
        ),
        Lack::Permission(permission) => HttpError::forbidden(format!(
            "you do not have the permission {permission} here; ask an administrator of your tenant"
        )),
    }
}

/// In front of pages: nobody is sent to the login, and comes back after it.
pub(crate) fn guard_page(
    needs: Needs,
    caller: Option<&Caller>,
    uri: &Uri,
) -> Result<(), Box<Response>> {
    let Err(lack) = judge(needs, caller) else { return Ok(()) };
    let to = match lack {
        Lack::Login => {
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            let next =
                percent_encoding::utf8_percent_encode(target, percent_encoding::NON_ALPHANUMERIC);
            format!("/login?next={next}")
        }
        Lack::NewPassword | Lack::SecondFactor => "/account".to_owned(),
        // Whoever may not see studies still has an account to look at.
        Lack::Permission(_) if uri.path() == "/" => "/account".to_owned(),
        // The page of links that open nothing.
        Lack::Visit => "/l/ended".to_owned(),
        Lack::Permission(_) | Lack::Person => {
            return Err(refusal(&lack).into_response().into());
        }
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Err(response.into())
}
