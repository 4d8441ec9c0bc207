//! The one error type of the HTTP faces: a status and a sentence for the client. Causes of server
//! errors are logged here, once, and never sent.

use std::borrow::Cow;
use std::fmt::Display;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use qianli_archive::ArchiveError;
use qianli_catalog::CatalogError;

/// An answer other than success. The message is plain text, in English, free of patient data and
/// of causes inside the server.
#[derive(Debug)]
pub struct HttpError {
    status: StatusCode,
    message: Cow<'static, str>,
}

impl HttpError {
    /// Any status; for the few that have no constructor.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: nobody is behind the request, or somebody who is not who they say.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403: whoever is behind the request may not do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: what is asked for is not here.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 406: nothing that can be had is acceptable; the message lists what can be had.
    pub fn not_acceptable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, message)
    }

    /// 413: the body exceeds a limit.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 415: the body is of a type that is not taken here.
    pub fn unsupported_media_type(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 503: busy or something below is down; trying again later can succeed.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 500. Logs the cause, which the client does not get to see.
    pub fn internal(cause: impl Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed to answer this request")
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence for the client.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.message.into_owned() + "\n").into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            // Not Basic, for which browsers would ask by a window of their own.
            let challenge = HeaderValue::from_static("Bearer realm=\"Qianli\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

impl From<CatalogError> for HttpError {
    fn from(error: CatalogError) -> Self {
        ArchiveError::from(error).into()
    }
}

/// The catalog or the blob store is usually down only for a while, so clients are told to try
/// again; an object that is damaged or lost will not mend by itself.
impl From<ArchiveError> for HttpError {
    fn from(error: ArchiveError) -> Self {
        if matches!(error, ArchiveError::Damaged(_) | ArchiveError::Lost(_)) {
            tracing::error!(cause = %error, "an object is damaged or lost: an operator must look");
            return Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "what is stored of this is damaged or lost. Trying again does not help: the operator \
                 of the archive has to look, its log names the object",
            );
        }
        if let ArchiveError::Forbidden(permission) = error {
            tracing::error!(%permission, "a request came past its guard without the permission");
            return Self::forbidden(format!("you do not have the permission {permission} here"));
        }
        if let ArchiveError::Catalog(CatalogError::TooBroad) = error {
            // PS3.18 table 10.6.3-1: 413 asks for a narrower query.
            return Self::too_large(
                "the query is too broad: it matches an attribute that is not indexed. Narrow it by \
                 an indexed one, such as PatientID or StudyDate, or have the operator list the \
                 attribute in indexed_attributes",
            );
        }
        tracing::error!(cause = %error, "archive does not answer");
        Self::unavailable("the archive cannot answer now; try again")
    }
}
