//! Entity tags of the viewer's files.
//!
//! Packages give all their files one fixed time, so time and size, which the file service would make
//! its tags of, can be the same for two versions of the viewer: a browser would keep the old one.
//! Tags are made of the content instead.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use quick_cache::sync::Cache;

use crate::dicomweb::respond;

/// What tells one content of a file from the next without reading it: device, inode, size, and the
/// time of the last change of any kind (seconds, nanoseconds), which no tool can set.
type Identity = (u64, u64, u64, i64, i64);

/// Files whose hashes are kept: more than a viewer has.
const KEPT: usize = 4_096;

static HASHES: LazyLock<Cache<(PathBuf, Identity), String>> = LazyLock::new(|| Cache::new(KEPT));

/// Answers `request` by `service`, with a tag of the content of the file at `path` in place of the
/// service's own tag and date.
pub(super) async fn serve(
    path: &Path,
    mut request: Request,
    service: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let asked = request.headers().clone();
    let headers = request.headers_mut();
    // Conditions are about our tags. A range under a condition becomes the whole file.
    if headers.remove(header::IF_RANGE).is_some() {
        headers.remove(header::RANGE);
    }
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        headers.remove(name);
    }
    let mut response = service(request).await;
    let headers = response.headers_mut();
    headers.remove(header::ETAG);
    headers.remove(header::LAST_MODIFIED);
    if !matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return response;
    }
    let path = path.to_owned();
    let Ok(Ok(hash)) = tokio::task::spawn_blocking(move || hash(path)).await else {
        return response;
    };
    let tag = respond::entity_tag([hash.as_str()], "viewer");
    if response.status() == StatusCode::OK
        && let Some(unchanged) = respond::conditional(&asked, &tag)
    {
        return unchanged;
    }
    respond::set(response.headers_mut(), header::ETAG, &tag);
    response
}

/// Hash of a file's content, read again only when the file is another.
fn hash(path: PathBuf) -> std::io::Result<String> {
    let file = File::open(&path)?;
    let data = file.metadata()?;
    let identity = (data.dev(), data.ino(), data.size(), data.ctime(), data.ctime_nsec());
    HASHES.get_or_insert_with(&(path, identity), || {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        Ok(hasher.finalize().to_hex().to_string())
    })
}
