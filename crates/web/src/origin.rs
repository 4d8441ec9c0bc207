//! Where a browser's request comes from.
//!
//! A page of another site can make a browser open a WebSocket here, or send a request without a body,
//! and nothing asks this server first: cross-origin rules apply to neither. Both carry the Origin of
//! that page, and are turned away by it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use crate::error::HttpError;
use crate::{WebConfig, WebState};

/// Says that no page of another site is behind the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SameSite;

impl FromRequestParts<WebState> for SameSite {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, HttpError> {
        let target = parts.uri.authority().map(|authority| authority.as_str());
        check(&parts.headers, target, state.config()).map(|()| Self)
    }
}

/// Refuses a request that a page of another site leads. `target` is the authority of its URL, where
/// it has one.
pub(crate) fn check(
    headers: &HeaderMap,
    target: Option<&str>,
    config: &WebConfig,
) -> Result<(), HttpError> {
    if is_ours(headers, target, config) {
        return Ok(());
    }
    Err(HttpError::new(
        StatusCode::FORBIDDEN,
        "this request comes from a page of another site; if that site may use this server, name \
         its origin in cors_origins",
    ))
}

fn is_ours(headers: &HeaderMap, target: Option<&str>, config: &WebConfig) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
    // Only browsers send it; anything else is not led by pages.
    if origins.peek().is_none() {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(target);
    let public = config.public_url.as_deref().and_then(authority);
    origins.all(|origin| {
        let Ok(origin) = origin.to_str() else { return false };
        let allowed = config.cors_origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
        let own = authority(origin).is_some_and(|site| {
            [host, public].into_iter().flatten().any(|ours| ours.eq_ignore_ascii_case(site))
        });
        allowed || own
    })
}

/// `host[:port]` of a URL or origin.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        let config = WebConfig {
            public_url: Some("https://pacs.example/imaging".into()),
            cors_origins: vec!["https://viewer.example".into()],
            ..WebConfig::default()
        };
        for (origin, expected) in [
            (None, true),
            (Some("http://localhost:8042"), true),
            (Some("https://pacs.example"), true),
            (Some("https://viewer.example"), true),
            (Some("http://localhost"), false),
            (Some("http://localhost:8042.evil.example"), false),
            (Some("https://evil.example"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:8042".parse().expect("a header"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().expect("a header"));
            }
            assert_eq!(is_ours(&headers, None, &config), expected, "{origin:?}");
        }
    }
}
