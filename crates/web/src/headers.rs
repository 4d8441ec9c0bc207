//! What browsers are told about every answer: the one place that knows the policies.
//!
//! Handlers of pages name the policy of theirs; everything else is data, and gets the strictest.
//! DICOM objects come from strangers: whatever of them a browser can show runs in a sandbox, apart
//! from this server's own pages.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Our own pages: scripts, styles and pictures come from this server only, nothing stands in the
/// page itself, and nobody frames them.
pub(crate) const PAGE: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Pages that stay true by themselves: their script asks this server what happened.
pub(crate) const LIVE: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// The page that a share link opens: its script asks this server what there is to show.
pub(crate) const SHARED: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// Everything that is no page: pictures, JSON, parts, errors.
const DATA: &str = "default-src 'none'; sandbox; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self'";

/// Pages that we make of DICOM objects: nothing in them runs or is sent. Their pictures are this
/// server's, and need the reader's session, which a sandbox keeps only with `allow-same-origin`;
/// without scripts that opens nothing.
pub(crate) const REPORT: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; \
    sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox allow-downloads; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Documents that came inside DICOM objects: they may look as they like and do nothing.
const DOCUMENT: &str = "default-src 'none'; sandbox; style-src 'unsafe-inline'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Browsers show no PDF in a sandbox or where plug-ins are forbidden, and run none of it in this
/// server's name either.
const PDF: &str = "base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// The OHIF viewer and its files, from which its workers take their policy: WebAssembly for the
/// codecs, which make the glue around it from text (in workers, and for segmentations in the page as
/// well), workers and pictures that scripts make, and styles that stand in elements.
pub(crate) const VIEWER: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' blob: data:; font-src 'self' data:; media-src 'self' blob:; \
    connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'self' blob:; \
    frame-src 'self' blob:; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; \
    script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'";

/// The viewer's `document`: scripts inside it are allowed by what they say.
pub(crate) fn viewer(document: &str) -> HeaderValue {
    let scripts =
        document.split("<script>").skip(1).filter_map(|rest| rest.split_once("</script>"));
    let policy = scripts.fold(VIEWER.to_owned(), |policy, (script, _)| {
        let digest = STANDARD.encode(Sha256::digest(script));
        policy + " 'sha256-" + &digest + "'"
    });
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(VIEWER))
}

/// A year; sub-domains are not ours to decide about.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What no page of ours, and not the viewer, asks a browser for.
const PERMISSIONS: &str = "accelerometer=(), autoplay=(self), camera=(), display-capture=(), \
    fullscreen=(self), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), \
    payment=(), publickey-credentials-get=(self), usb=()";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Completes the headers of an answer, which goes out by HTTPS or not.
pub(crate) fn complete(response: &mut Response, https: bool) {
    const VALUES: [(HeaderName, HeaderValue); 6] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        // What does not know frame-ancestors knows this.
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
        (PERMISSIONS_POLICY, HeaderValue::from_static(PERMISSIONS)),
        (OPENER, HeaderValue::from_static("same-origin")),
        (RESOURCE, HeaderValue::from_static("same-origin")),
    ];
    let headers = response.headers_mut();
    let policy = match media(headers) {
        "application/pdf" => PDF,
        "text/html" | "application/xhtml+xml" | "image/svg+xml" => DOCUMENT,
        _ => DATA,
    };
    // Room for all at once.
    headers.reserve(VALUES.len() + 4);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
    // Whatever says nothing of it may name patients.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in VALUES {
        headers.entry(name).or_insert(value);
    }
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
}

/// Type and subtype of an answer.
fn media(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    text.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}
