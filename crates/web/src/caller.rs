//! Who calls and how the answer names this server: what handlers know of their caller, and the one
//! place that builds base URLs.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use qianli_model::{Role, Scope, SeriesUid, SopInstanceUid, StudyUid};

use crate::WebState;
use crate::access::{LinkPath, TenantPath};
use crate::error::HttpError;
use crate::forwarded::Reached;

/// The caller of an HTTP request, as [`crate::access`] found it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Identity>);

/// Who it is.
#[derive(Debug)]
pub struct Identity {
    /// What the caller may see and do.
    pub scope: Scope,
    /// Network address, or empty when the server was not told.
    pub peer: String,
    /// Who it is, when it is a person in a browser.
    pub(crate) person: Option<Person>,
}

impl Caller {
    pub(crate) fn new(identity: Identity) -> Self {
        Self(Arc::new(identity))
    }
}

impl Deref for Caller {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

/// A person who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// Key in the catalog.
    pub(crate) id: i64,
    /// Login name.
    pub(crate) login: String,
    /// Name for people; may be empty.
    pub(crate) name: String,
    /// Whether the password must be changed before anything else.
    pub(crate) must_change: bool,
    /// Whether a second factor must be set up before anything else.
    pub(crate) must_enrol: bool,
    /// Digest that names the session.
    pub(crate) session: String,
    /// The tenant, as people call it.
    pub(crate) tenant: String,
    /// What the person is to it.
    pub(crate) roles: Vec<Role>,
}

impl Person {
    /// What the pages call the person.
    pub(crate) fn shown(&self) -> &str {
        if self.name.is_empty() { &self.login } else { &self.name }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        let caller = parts.extensions.get::<Self>();
        caller.cloned().ok_or_else(|| HttpError::unauthorized("log in first"))
    }
}

/// URL of the DICOMweb root as the client reaches it, without a trailing slash.
///
/// Configured, or from the Host header and how the request came, which `forwarded` settles.
/// Holds no character that JSON or a header would have to escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// URL of a study.
    pub fn study(&self, study: &StudyUid) -> String {
        format!("{}/studies/{study}", self.0)
    }

    /// URL of a series.
    pub fn series(&self, study: &StudyUid, series: &SeriesUid) -> String {
        format!("{}/studies/{study}/series/{series}", self.0)
    }

    /// URL of an instance.
    pub fn instance(
        &self,
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> String {
        format!("{}/studies/{study}/series/{series}/instances/{instance}", self.0)
    }

    /// URL of this server as the client reaches it; empty when the client does not say. For pages,
    /// which are below no tenant.
    pub(crate) fn root(&self) -> &str {
        self.0.trim_end_matches("/dicom-web")
    }

    /// The root itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A base URL without a request.
    #[cfg(test)]
    pub(crate) fn for_tests(public_url: &str) -> Self {
        Self::new(Some(public_url), None, Reached::default(), "")
    }

    /// From the setting, the Host of the request and the address on which this node listens.
    fn new(
        public_url: Option<&str>,
        host: Option<&str>,
        reached: Reached,
        listening: &str,
    ) -> Self {
        let scheme = if reached.https { "https" } else { "http" };
        let root = match (public_url, host) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(host)) if is_host(host) => {
                // A proxy has a port of its own, and says it where it is not the scheme's.
                let port = match reached.proxied {
                    true => String::new(),
                    false => missing_port(host, reached, listening),
                };
                format!("{scheme}://{host}{port}")
            }
            // A path alone is a legal reference too, and right from wherever it was fetched.
            (None, _) => String::new(),
        };
        Self(root + "/dicom-web")
    }
}

impl FromRequestParts<WebState> for BaseUrl {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, Infallible> {
        let header = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        // HTTP/2 carries the host in the request target.
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        let config = state.config();
        let host = header.or(authority);
        let reached = parts.extensions.get::<Reached>().copied().unwrap_or_default();
        let public = config.public_url.as_deref();
        let mut base = Self::new(public, host, reached, &config.node.http);
        if let Some(TenantPath(name)) = parts.extensions.get() {
            let root = base.0.trim_end_matches("/dicom-web");
            base = Self(format!("{root}/tenants/{name}/dicom-web"));
        }
        if let Some(LinkPath(link)) = parts.extensions.get() {
            let root = base.0.trim_end_matches("/dicom-web");
            base = Self(format!("{root}/links/{link}/dicom-web"));
        }
        Ok(base)
    }
}

/// `:port` of the address on which we listen, for a Host without one; else nothing.
///
/// Without `public_url` clients come straight to this node, so a Host without a port (the Python
/// dicomweb-client sends none) still means ours. A proxy that is not trusted and has the scheme's own
/// port has to be named by `public_url`.
fn missing_port(host: &str, reached: Reached, listening: &str) -> String {
    let usual = if reached.https { "443" } else { "80" };
    let named = host.rsplit_once(']').map_or(host, |(_, rest)| rest).contains(':');
    match listening.rsplit_once(':') {
        Some((_, port)) if !named && port != usual => format!(":{port}"),
        _ => String::new(),
    }
}

/// Whether a text is a host with an optional port and nothing else: it comes back in answers.
pub(crate) fn is_host(text: &str) -> bool {
    let legal =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_then_host_then_path_alone() {
        let check = |public, host, expected: &str| {
            let direct = Reached::default();
            assert_eq!(BaseUrl::new(public, host, direct, "[::]:8080").as_str(), expected);
        };
        check(None, Some("localhost"), "http://localhost:8080/dicom-web");
        check(None, Some("[::1]"), "http://[::1]:8080/dicom-web");
        check(None, Some("pacs.local:8042"), "http://pacs.local:8042/dicom-web");
        check(None, Some("[::1]:80"), "http://[::1]:80/dicom-web");
        check(Some("https://a.example/x/"), Some("evil"), "https://a.example/x/dicom-web");
        for host in [None, Some(""), Some("a/b"), Some("a\"b"), Some("user@host"), Some("a b")] {
            check(None, host, "/dicom-web");
        }
    }

    #[test]
    fn schemes_and_ports_are_those_that_the_client_used() {
        let check = |https, proxied, host, listening, expected: &str| {
            let url = BaseUrl::new(None, Some(host), Reached { https, proxied }, listening);
            assert_eq!(url.as_str(), expected);
        };
        check(true, false, "a:8443", "[::]:8443", "https://a:8443/dicom-web");
        check(true, false, "a", "[::]:8443", "https://a:8443/dicom-web");
        check(true, false, "a", "[::]:443", "https://a/dicom-web");
        check(true, true, "a", "[::]:8080", "https://a/dicom-web");
        check(false, true, "a", "[::]:8080", "http://a/dicom-web");
        check(true, true, "a:8443", "[::]:8080", "https://a:8443/dicom-web");
    }

    #[test]
    fn resources_have_their_urls() {
        let base = BaseUrl::new(None, Some("h"), Reached::default(), "127.0.0.1:80");
        let study = StudyUid::parse("1.2").expect("a UID");
        let series = SeriesUid::parse("1.3").expect("a UID");
        let instance = SopInstanceUid::parse("1.4").expect("a UID");
        assert_eq!(
            base.instance(&study, &series, &instance),
            "http://h/dicom-web/studies/1.2/series/1.3/instances/1.4"
        );
        assert_eq!(base.series(&study, &series), "http://h/dicom-web/studies/1.2/series/1.3");
    }
}
