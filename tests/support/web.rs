//! A DICOMweb client for the tests: thin over HTTP, so that a test sees the very headers and bytes.

use super::synth::Instance;
use reqwest::blocking::{Body, Client, RequestBuilder, Response};
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::io::{Cursor, Read};
use std::sync::OnceLock;
use std::time::Duration;

/// Where the DICOMweb services are.
pub const ROOT: &str = "/dicom-web";

const BOUNDARY: &str = "qianli-test-boundary-7f3a";

/// The HTTP client that all tests of the process share.
pub fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .timeout(Duration::from_secs(600))
            .no_proxy()
            // Whether a certificate is right is the business of the tests of TLS, which ask themselves.
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("an HTTP client")
    })
}

/// A node's web face.
#[derive(Debug, Clone)]
pub struct Web {
    base: String,
    token: Option<String>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

/// A request that is being put together.
pub struct Request(RequestBuilder);

/// One part of a multipart answer.
#[derive(Debug)]
pub struct Part {
    /// The value of its Content-Type.
    pub content_type: String,
    /// Its bytes.
    pub body: Vec<u8>,
}

impl Web {
    /// For the node at `http://host:port`.
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), token: None }
    }

    /// The same for a tenant, by its name in the path.
    pub fn of_tenant(&self, name: &str) -> Self {
        Self { base: format!("{}/tenants/{name}", self.base), token: self.token.clone() }
    }

    /// The same with an API token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { base: self.base.clone(), token: Some(token.to_owned()) }
    }

    /// A request of any method to a path from the root of the server.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let method = method.parse().expect("a method");
        let builder = client().request(method, self.url(path));
        Request(match &self.token {
            Some(token) => builder.bearer_auth(token),
            None => builder,
        })
    }

    /// GET of a path from the root of the server.
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// GET of a path under the DICOMweb root.
    pub fn dicom(&self, path: &str) -> Request {
        self.get(&format!("{ROOT}{path}"))
    }

    /// GET that must give DICOM JSON: the array's elements.
    #[track_caller]
    pub fn json(&self, path: &str) -> Vec<Value> {
        let answer = self.dicom(path).accept("application/dicom+json").send();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json_array()
    }

    /// POST of a raw body to a path under the DICOMweb root.
    pub fn post(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Request {
        let request = self.request("POST", &format!("{ROOT}{path}")).body(body);
        request.header("Content-Type", content_type).accept("application/dicom+json")
    }

    /// STOW-RS of whole files.
    pub fn stow<'a>(&self, files: impl IntoIterator<Item = &'a [u8]>) -> Answer {
        let mut body = Vec::new();
        for file in files {
            body.extend(part_head("application/dicom"));
            body.extend(file);
        }
        body.extend(tail());
        self.post("/studies", &content_type(), body).send()
    }

    /// STOW-RS of one instance; panics unless it is stored without a warning.
    #[track_caller]
    pub fn stow_instance(&self, instance: &Instance) {
        let answer = self.stow([instance.part10().as_slice()]);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// STOW-RS of one file that is never held whole.
    pub fn stow_stream(&self, file: impl Read + Send + 'static, length: u64) -> Answer {
        let (head, tail) = (part_head("application/dicom"), tail());
        let total = head.len() as u64 + length + tail.len() as u64;
        let body = Cursor::new(head).chain(file).chain(Cursor::new(tail));
        self.post("/studies", &content_type(), Body::sized(body, total)).send()
    }

    /// The one file of an instance, as stored.
    #[track_caller]
    pub fn file(&self, instance: &Instance) -> Vec<u8> {
        let answer =
            self.dicom(&instance.path()).accept("application/dicom; transfer-syntax=*").send();
        assert_eq!(answer.status, 200, "{}: {}", instance.path(), answer.text());
        answer.body
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl Request {
    /// Sets the Accept header.
    #[must_use]
    pub fn accept(self, value: &str) -> Self {
        self.header("Accept", value)
    }

    /// Sets a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: impl Into<Body>) -> Self {
        Self(self.0.body(body))
    }

    /// Sends and reads the whole answer.
    #[track_caller]
    pub fn send(self) -> Answer {
        self.try_send().unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends and reads the whole answer, or says why there is none.
    pub fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.0.send()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes()?.to_vec() })
    }

    /// Sends; the answer must be 200.
    #[track_caller]
    pub fn send_ok(self) -> Answer {
        let answer = self.send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    /// Sends and leaves the body to be read bit by bit.
    #[track_caller]
    pub fn stream(self) -> Response {
        self.0.send().unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }
}

impl Answer {
    /// A header's value, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body as a JSON array.
    #[track_caller]
    pub fn json_array(&self) -> Vec<Value> {
        match self.json() {
            Value::Array(elements) => elements,
            other => panic!("not an array: {other}"),
        }
    }

    /// The parts of a multipart body; panics when the body is not what its header says.
    #[track_caller]
    pub fn parts(&self) -> Vec<Part> {
        let content_type = self.header("Content-Type");
        assert!(content_type.starts_with("multipart/related"), "{content_type}");
        let boundary = parameter(content_type, "boundary").expect("a boundary");
        let marker = format!("--{boundary}").into_bytes();
        let mut parts = Vec::new();
        let mut at = find(&self.body, &marker).expect("the first boundary") + marker.len();
        while self.body.get(at..at + 2) == Some(b"\r\n") {
            let next = find(&self.body[at..], &[b"\r\n", marker.as_slice()].concat());
            let end = at + next.expect("the next boundary");
            let part = &self.body[at + 2..end];
            let blank = find(part, b"\r\n\r\n").expect("headers of the part");
            let head = String::from_utf8_lossy(&part[..blank]).into_owned();
            let content_type = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
            });
            parts.push(Part {
                content_type: content_type.expect("a Content-Type in every part"),
                body: part[blank + 4..].to_vec(),
            });
            at = end + 2 + marker.len();
        }
        assert_eq!(self.body.get(at..at + 2), Some(&b"--"[..]), "the closing boundary");
        parts
    }
}

/// A parameter of a header value, with or without quotes.
pub fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        let found = key.trim().eq_ignore_ascii_case(name);
        found.then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Content-Type of a STOW-RS request made of [`part_head`], files and [`tail`].
pub fn content_type() -> String {
    format!("multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}")
}

/// What precedes each file of a STOW-RS request.
pub fn part_head(content_type: &str) -> Vec<u8> {
    format!("\r\n--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n").into_bytes()
}

/// What ends a STOW-RS request.
pub fn tail() -> Vec<u8> {
    format!("\r\n--{BOUNDARY}--\r\n").into_bytes()
}

/// The first value of an attribute in DICOM JSON, as text.
pub fn value(data_set: &Value, tag: &str) -> String {
    match &data_set[tag]["Value"][0] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
