//! What every page shares: the frame around it, its language, its headers, and the error pages.

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;

use qianli_model::{Permission, Permissions};

use super::assets::{Asset, ICON, LINK_SCRIPT, SCRIPT, STYLE};
use super::language::{self, Language};
use super::reading_text::{self, Texts as ReadingTexts};
use super::text::Texts;
use crate::caller::{Caller, Person};
use crate::dicomweb::params;
use crate::headers;

/// The frame around a page: what its request says about the reader.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Language of the page.
    pub language: Language,
    /// Words of the page.
    pub t: &'static Texts,
    /// Which entry of the navigation is current.
    pub current: &'static str,
    path: String,
    query: String,
    host: String,
    remember: bool,
    /// Who is logged in.
    pub person: Option<Person>,
    may: Permissions,
    by_grant: bool,
}

impl<S: Sync> FromRequestParts<S> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let language = Language::choose(&query, &parts.headers);
        let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let caller = parts.extensions.get::<Caller>();
        Ok(Self {
            person: caller.and_then(|caller| caller.person.clone()),
            may: caller.map(|caller| caller.scope.permissions()).unwrap_or_default(),
            by_grant: caller.is_some_and(|caller| caller.scope.viewer().is_some()),
            language,
            t: language.texts(),
            current: "",
            path: parts.uri.path().to_owned(),
            remember: language::asked(&query).is_some(),
            host: host.unwrap_or_default().to_owned(),
            query,
        })
    }
}

impl Frame {
    /// Marks the navigation's current entry.
    pub fn at(mut self, current: &'static str) -> Self {
        self.current = current;
        self
    }

    /// For somebody who has just left.
    pub fn nobody(mut self) -> Self {
        self.person = None;
        self.may = Permissions::NONE;
        self
    }

    /// Whether the reader may see studies.
    pub fn reads(&self) -> bool {
        self.may.allow(Permission::Read)
    }

    /// Whether the reader may see every study of the tenant.
    pub fn reads_all(&self) -> bool {
        self.reads() && !self.by_grant
    }

    /// Whether the reader may let others see studies. Without logins there are no others.
    pub fn shares(&self) -> bool {
        self.person.is_some() && self.may.allow(Permission::Share)
    }

    /// Whether the reader may enter and settle orders.
    pub fn orders(&self) -> bool {
        self.may.allow(Permission::Order)
    }

    /// Whether the reader may see what is to be read.
    pub fn has_worklist(&self) -> bool {
        self.may.allow(Permission::Worklist)
    }

    /// Whether the reader may ask for a reading.
    pub fn asks_readings(&self) -> bool {
        self.may.allow(Permission::Share) && !self.by_grant
    }

    /// Words of the pages about reading.
    pub fn r(&self) -> &'static ReadingTexts {
        match self.language {
            Language::English => &reading_text::ENGLISH,
            Language::Chinese => &reading_text::CHINESE,
        }
    }

    /// Whether the reader may see who did what.
    pub fn audits(&self) -> bool {
        self.may.allow(Permission::Audit)
    }

    /// Whether the page is in English.
    pub fn is_english(&self) -> bool {
        self.language == Language::English
    }

    /// Whether the reader manages accounts. Without logins there are none.
    pub fn administers(&self) -> bool {
        self.person.is_some() && self.may.allow(Permission::Administer)
    }

    /// Query string of the request.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Host and port as the client reaches this server; `localhost` when it does not say.
    pub fn authority(&self) -> &str {
        let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let fine = !self.host.is_empty() && self.host.bytes().all(plausible);
        if fine { &self.host } else { "localhost" }
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            // The colons of a bare IPv6 address are inside brackets.
            Some((host, port)) if !port.contains(']') => host,
            _ => authority,
        }
    }

    /// Entries of the language switch: tag, name, whether current, and the same page in it.
    pub fn switch(&self) -> Vec<(&'static str, &'static str, bool, String)> {
        Language::ALL
            .into_iter()
            .map(|language| {
                let href = self.link(&[(language::NAME, language.tag())]);
                (language.tag(), language.name(), language == self.language, href)
            })
            .collect()
    }

    /// This page with parameters of the query replaced; an empty value removes one.
    pub fn link(&self, changes: &[(&str, &str)]) -> String {
        let changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
        let kept = params::pairs(&self.query).filter(|(name, _)| !changed(name));
        let new = changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let pairs: Vec<String> = kept
            .chain(new)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{}={}", encode(&name), encode(&value)))
            .collect();
        // A path that starts with two slashes would name another host.
        let path = format!("/{}", self.path.trim_start_matches('/'));
        if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
    }

    /// The style sheet's path.
    pub fn style(&self) -> &'static Asset {
        &STYLE
    }

    /// The script's path.
    pub fn script(&self) -> &'static Asset {
        &SCRIPT
    }

    /// The path of the script of shared pictures.
    pub fn link_script(&self) -> &'static Asset {
        &LINK_SCRIPT
    }

    /// The icon's path.
    pub fn icon(&self) -> &'static Asset {
        &ICON
    }

    /// Renders a page.
    pub fn answer(&self, status: StatusCode, page: &impl Template) -> Response {
        let body = match page.render() {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "page cannot be rendered");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        let mut response = (status, body).into_response();
        let given = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            // Pages hold patient data: neither proxies nor shared browsers keep them.
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, headers::PAGE),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "same-origin"),
            (header::VARY, "accept-language, cookie"),
        ] {
            given.insert(name, HeaderValue::from_static(value));
        }
        given.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(self.language.tag()));
        if self.remember {
            let cookie = match self.language {
                Language::English => "lang=en; Path=/; Max-Age=31536000; SameSite=Lax",
                Language::Chinese => "lang=zh-CN; Path=/; Max-Age=31536000; SameSite=Lax",
            };
            given.insert(header::SET_COOKIE, HeaderValue::from_static(cookie));
        }
        response
    }

    /// The page for what is not here.
    pub fn missing(&self) -> Response {
        let (title, text) = (self.t.missing_title, self.t.missing_text);
        self.answer(StatusCode::NOT_FOUND, &MessagePage { frame: self, title, text, code: "404" })
    }

    /// A page that says one thing.
    pub fn message(&self, status: StatusCode, (title, text): (&str, &str)) -> Response {
        let code = status.as_str().to_owned();
        self.answer(status, &MessagePage { frame: self, title, text, code: &code })
    }

    /// The page for a failure of this server; logs the cause.
    pub fn failed(&self, cause: impl std::fmt::Display) -> Response {
        tracing::error!(%cause, "page cannot be answered");
        let (title, text) = (self.t.failed_title, self.t.failed_text);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.answer(status, &MessagePage { frame: self, title, text, code: "503" })
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    frame: &'a Frame,
    title: &'a str,
    text: &'a str,
    code: &'a str,
}

/// Percent-encodes a name or value of a query.
pub(super) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    async fn frame(uri: &str, host: &str) -> Frame {
        let request = Request::get(uri).header(header::HOST, host).body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        match Frame::from_request_parts(&mut parts, &()).await {
            Ok(frame) => frame,
            Err(never) => match never {},
        }
    }

    #[tokio::test]
    async fn links_keep_the_rest_of_the_query() {
        let frame = frame("/studies?name=%E7%8E%8B&page=3&lang=en", "h").await;
        assert_eq!(frame.link(&[("page", "4")]), "/studies?name=%E7%8E%8B&lang=en&page=4");
        assert_eq!(frame.link(&[("page", ""), ("lang", ""), ("name", "")]), "/studies");
        assert!(frame.switch()[0].3.ends_with("lang=zh%2DCN"));
    }

    #[tokio::test]
    async fn paths_never_turn_into_other_hosts() {
        assert_eq!(frame("http://h//evil.example/x", "h").await.link(&[]), "/evil.example/x");
    }

    #[tokio::test]
    async fn hosts_come_without_their_port_and_are_not_believed_blindly() {
        for (header, host) in [
            ("pacs.example:8080", "pacs.example"),
            ("pacs.example", "pacs.example"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("a'b\"c", "localhost"),
            ("", "localhost"),
        ] {
            assert_eq!(frame("/", header).await.host(), host, "{header}");
        }
    }
}
