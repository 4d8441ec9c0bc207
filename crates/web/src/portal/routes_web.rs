//! DICOMweb destinations of `/routes` and `/api/routes/web`: what can be one, and the forms of the page. Secrets go in
//! and never come out. What listens beside the server is the operator's, who registers it on the command line.

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use qianli_catalog::routing::WebAuth;
use qianli_model::address::is_public;
use qianli_model::peer::Network;
use qianli_model::routing::{is_name, is_safe_url};
use serde::Deserialize;

use super::login::redirect;
use super::page::Frame;
use super::routes::answer;
use super::routes_text::RouteTexts;
use crate::WebState;
use crate::caller::Caller;
use crate::origin::SameSite;

/// Longest login and secret (bytes).
const LONGEST: usize = 16 << 10;

/// Longest address (bytes).
const LONGEST_URL: usize = 2048;

/// A DICOMweb destination that is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGoal {
    pub(super) name: String,
    pub(super) url: String,
    /// A bearer token.
    #[serde(default)]
    token: String,
    #[serde(default)]
    login: String,
    #[serde(default)]
    password: String,
}

/// Why it cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Name,
    Url,
    /// Its address is in a network of the server's own.
    Inside,
    Secret,
}

impl NewGoal {
    /// How it is called, if it can be: `allowed` are networks beyond the public internet.
    pub(super) fn read(&self, allowed: &[Network]) -> Result<WebAuth, Wrong> {
        let Self { name, url, token, login, password } = self;
        if !is_name(name) {
            return Err(Wrong::Name);
        }
        if url.len() > LONGEST_URL || !is_safe_url(url) || !url.starts_with("https://") {
            return Err(Wrong::Url);
        }
        // Names are judged when they are looked up, each time.
        let parsed = reqwest::Url::parse(url).map_err(|_| Wrong::Url)?;
        let host = parsed.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse()
            && !is_public(address)
            && !allowed.iter().any(|network| network.contains(address))
        {
            return Err(Wrong::Inside);
        }
        let legal = |text: &String| {
            text.len() <= LONGEST && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
        };
        if ![token, login, password].into_iter().all(legal) {
            return Err(Wrong::Secret);
        }
        match (token.is_empty(), login.is_empty()) {
            (true, true) if password.is_empty() => Ok(WebAuth::Nothing),
            (false, true) if password.is_empty() => Ok(WebAuth::Bearer(token.clone())),
            (true, false) => Ok(WebAuth::Basic(login.clone(), password.clone())),
            _ => Err(Wrong::Secret),
        }
    }
}

/// Which destination is meant.
#[derive(Deserialize)]
pub(super) struct Named {
    name: String,
}

/// `POST /routes/web`: adds a DICOMweb destination, or changes the one of that name.
pub(super) async fn set(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(new): Form<NewGoal>,
) -> Response {
    let frame = frame.at("routes");
    let t = RouteTexts::of(frame.t);
    let auth = match new.read(&state.config().private_destinations) {
        Ok(auth) => auth,
        Err(wrong) => {
            let problem = match wrong {
                Wrong::Name => t.web_bad_name,
                Wrong::Url => t.web_bad_url,
                Wrong::Inside => t.web_inside,
                Wrong::Secret => t.web_bad_secret,
            };
            return answer(&state, &caller, &frame, StatusCode::BAD_REQUEST, Some(problem)).await;
        }
    };
    let catalog = state.archive().catalog();
    match catalog.set_web_goal(&caller.scope, &new.name, &new.url, &auth, false).await {
        Ok(()) => redirect("/routes"),
        Err(error) => frame.failed(error),
    }
}

/// `POST /routes/web/remove`: removes a DICOMweb destination that no rule needs.
pub(super) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    _: SameSite,
    frame: Frame,
    Form(which): Form<Named>,
) -> Response {
    let frame = frame.at("routes");
    match state.archive().catalog().remove_web_goal(&caller.scope, &which.name).await {
        Ok(true) => redirect("/routes"),
        Ok(false) => {
            let problem = Some(RouteTexts::of(frame.t).web_needed);
            answer(&state, &caller, &frame, StatusCode::CONFLICT, problem).await
        }
        Err(error) => frame.failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_public_and_have_one_kind_of_credentials() {
        let goal = |url: &str, token: &str, login: &str, password: &str| NewGoal {
            name: "county".into(),
            url: url.into(),
            token: token.into(),
            login: login.into(),
            password: password.into(),
        };
        let networks: [Network; 1] = ["10.1.0.0/16".parse().unwrap()];
        let at = |url: &str| goal(url, "", "", "").read(&networks);
        assert_eq!(at("https://pacs.example/dicom-web"), Ok(WebAuth::Nothing));
        assert_eq!(at("https://10.1.2.3:8443/"), Ok(WebAuth::Nothing));
        for url in
            ["https://10.2.2.3/", "https://127.1/", "https://[fd00::1]/", "https://0xa9fea9fe/"]
        {
            assert_eq!(at(url), Err(Wrong::Inside), "{url}");
        }
        for url in ["http://localhost/", "https://a:b@c/", "https://", "ftp://a/"] {
            assert_eq!(at(url), Err(Wrong::Url), "{url}");
        }
        let with =
            |token, login, password| goal("https://a.example/", token, login, password).read(&[]);
        assert_eq!(with("t", "", ""), Ok(WebAuth::Bearer("t".into())));
        assert_eq!(with("", "l", "p"), Ok(WebAuth::Basic("l".into(), "p".into())));
        for (token, login, password) in [("t", "l", "p"), ("", "", "p"), ("a\nb", "", "")] {
            assert_eq!(with(token, login, password), Err(Wrong::Secret));
        }
        let bad = NewGoal { name: "a b".into(), ..goal("https://a.example/", "", "", "") };
        assert_eq!(bad.read(&[]), Err(Wrong::Name));
    }
}
