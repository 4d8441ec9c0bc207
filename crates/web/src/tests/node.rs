//! A node without sockets, and answers that are easy to look at.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use qianli_archive::{Archive, ArchiveConfig, Blobs, BlobsConfig};
use qianli_catalog::{Catalog, CatalogConfig};
use serde_json::Value;
use tower::ServiceExt;

use super::data::Instance;
use crate::{WebConfig, WebState, router};

/// A router over its own archive.
pub(super) struct Node {
    router: Router,
    pub(super) catalog: Catalog,
    folder: tempfile::TempDir,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Node {
    pub(super) async fn start() -> Self {
        Self::start_with(WebConfig::default()).await
    }

    pub(super) async fn start_with(config: WebConfig) -> Self {
        let node = Self::start_upgraded(config).await;
        node.catalog.prepare_search().await.expect("an index");
        node
    }

    /// A node after an upgrade: what is stored in it before [`Catalog::backfill`] counts as older.
    pub(super) async fn start_upgraded(config: WebConfig) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = Catalog::connect(CatalogConfig::new("sqlite::memory:"));
        let catalog = catalog.await.expect("a catalog");
        catalog.migrate().await.expect("migrations");
        let blobs = folder.path().join("blobs");
        std::fs::create_dir(&blobs).expect("a folder for blobs");
        let blobs = Blobs::open(&BlobsConfig { url: format!("file://{}", blobs.display()) });
        let spool = ArchiveConfig::new(folder.path().join("spool"));
        let archive = Archive::new(catalog.clone(), blobs.expect("a blob store"), spool);
        let state = WebState::new(archive.expect("an archive"), config).expect("legal settings");
        // Answers are read to their end: the live worklist says what it has, and ends.
        state.close_live();
        Self { router: router(state), catalog, folder }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.send(request.body(Body::from(body)).expect("a request")).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], Vec::new()).await
    }

    pub(super) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.request(Method::GET, path, &[(header::ACCEPT, accept)], Vec::new()).await
    }

    /// Posts files as one multipart body.
    pub(super) async fn post(&self, path: &str, files: &[Vec<u8>]) -> Answer {
        let mut body = Vec::new();
        for file in files {
            body.extend_from_slice(b"\r\n--XX\r\nContent-Type: application/dicom\r\n\r\n");
            body.extend_from_slice(file);
        }
        body.extend_from_slice(b"\r\n--XX--\r\n");
        let kind = "multipart/related; type=\"application/dicom\"; boundary=XX";
        self.request(Method::POST, path, &[(header::CONTENT_TYPE, kind)], body).await
    }

    /// Takes every stored object away behind the node's back.
    pub(super) fn lose_objects(&self) {
        let mut folders = vec![self.folder.path().join("blobs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                match entry.file_type().expect("a type").is_dir() {
                    true => folders.push(entry.path()),
                    false => std::fs::remove_file(entry.path()).expect("a file to remove"),
                }
            }
        }
    }

    /// Stores instances, all of which must be taken.
    pub(super) async fn store(&self, instances: &[Instance]) {
        let files: Vec<_> = instances.iter().map(Instance::file).collect();
        let answer = self.post("/dicom-web/studies", &files).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Header lines and content of each part of a multipart body, cut by hand.
    pub(super) fn parts(&self) -> Vec<(String, Vec<u8>)> {
        let kind = self.header("content-type");
        let boundary = kind.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next());
        let delimiter = format!("\r\n--{}", boundary.expect("a boundary"));
        let body = [b"\r\n".as_slice(), &self.body].concat();
        let mut parts = Vec::new();
        let mut rest = body.as_slice();
        while let Some(at) = find(rest, delimiter.as_bytes()) {
            if at > 0 {
                let part = &rest[..at];
                let blank = find(part, b"\r\n\r\n").expect("a blank line");
                let head = String::from_utf8_lossy(&part[2..blank]).into_owned();
                parts.push((head, part[blank + 4..].to_vec()));
            }
            rest = &rest[at + delimiter.len()..];
        }
        assert!(rest.starts_with(b"--"), "the closing delimiter");
        parts
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
