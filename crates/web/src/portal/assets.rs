//! Style sheet, script and icon: embedded, addressed by their content so that browsers keep them
//! for ever.

use std::fmt;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file that is part of the program.
pub(super) struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    hash: u64,
}

impl Asset {
    const fn new(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, content_type, bytes, hash: fnv1a(bytes) }
    }
}

/// Writes the path under which the asset is served; templates use it.
impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/static/{:016x}/{}", self.hash, self.name)
    }
}

/// The style sheet.
pub(super) static STYLE: Asset =
    Asset::new("style.css", "text/css; charset=utf-8", include_bytes!("../../static/style.css"));
/// The script.
pub(super) static SCRIPT: Asset = Asset::new(
    "script.js",
    "text/javascript; charset=utf-8",
    include_bytes!("../../static/script.js"),
);
/// The script of the viewer that a share link opens.
pub(super) static LINK_SCRIPT: Asset =
    Asset::new("link.js", "text/javascript; charset=utf-8", include_bytes!("../../static/link.js"));
/// The script of the live worklist.
pub(super) static READING_SCRIPT: Asset = Asset::new(
    "reading.js",
    "text/javascript; charset=utf-8",
    include_bytes!("../../static/reading.js"),
);
/// The icon.
pub(super) static ICON: Asset =
    Asset::new("icon.svg", "image/svg+xml", include_bytes!("../../static/icon.svg"));

/// `GET /static/{hash}/{name}`.
pub(super) async fn serve(Path((hash, name)): Path<(String, String)>) -> Response {
    let Some(asset) = [&STYLE, &SCRIPT, &LINK_SCRIPT, &READING_SCRIPT, &ICON]
        .into_iter()
        .find(|asset| asset.name == name)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // A page of another version asks by another hash: it gets today's file, but not for ever.
    let current = hash == format!("{:016x}", asset.hash);
    answer(asset, if current { "public, max-age=31536000, immutable" } else { "no-cache" })
}

/// `GET /favicon.ico`, which browsers ask for on their own.
pub(super) async fn icon() -> Response {
    answer(&ICON, "public, max-age=86400")
}

fn answer(asset: &Asset, caching: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, asset.bytes).into_response()
}

/// FNV-1a: tells versions of a file apart, no more is asked of it, and it can run while compiling.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01B3);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn caching(path: &str) -> Option<String> {
        let mut parts = path.trim_start_matches("/static/").split('/').map(str::to_owned);
        let path = (parts.next().unwrap(), parts.next().unwrap());
        let response = serve(Path(path)).await;
        let value = response.headers().get(header::CACHE_CONTROL)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn only_the_current_hash_is_kept_for_ever() {
        let now = caching(&STYLE.to_string()).await.unwrap();
        assert!(now.contains("immutable"));
        let old = caching("/static/0000000000000000/style.css").await.unwrap();
        assert_eq!(old, "no-cache");
        assert_eq!(caching("/static/0000000000000000/other.css").await, None);
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for asset in [&STYLE, &SCRIPT] {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", asset.name);
        }
    }
}
