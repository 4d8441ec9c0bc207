//! STOW-RS through the router.

use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use futures_util::stream;

use super::data::{self, Instance};
use super::node::Node;
use crate::WebConfig;

#[tokio::test]
async fn stored_instances_are_named_and_found() {
    let node = Node::start().await;
    let all: Vec<_> = (1..=9).map(|number| Instance::new(1, 1, number)).collect();
    let files: Vec<_> = all.iter().map(Instance::file).collect();
    let answer = node.post("/dicom-web/studies/1.2.826.1", &files).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/dicom+json");
    let body = answer.json();
    assert_eq!(body["00081190"]["Value"][0], "http://localhost/dicom-web/studies/1.2.826.1");
    let items = body["00081199"]["Value"].as_array().expect("items");
    for (item, instance) in items.iter().zip(&all) {
        assert_eq!(item["00081150"]["Value"][0], data::CT);
        assert_eq!(item["00081155"]["Value"][0], instance.uid, "in the order of the parts");
        assert_eq!(item["00081190"]["Value"][0], format!("http://localhost{}", instance.path()));
    }
    assert_eq!(items.len(), 9);
    let found = node.get("/dicom-web/instances").await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(9));
}

#[tokio::test]
async fn the_same_again_is_success_and_other_content_is_not_silent() {
    let node = Node::start().await;
    let instance = Instance::new(1, 1, 1);
    for _ in 0..2 {
        assert_eq!(node.post("/dicom-web/studies", &[instance.file()]).await.status, 200);
    }
    let mut changed = instance.clone();
    changed.number = 7;
    let answer = node.post("/dicom-web/studies", &[changed.file()]).await;
    assert_eq!(answer.status, 202);
    assert!(answer.header("warning").starts_with("299 "));
    assert_eq!(answer.json()["00081199"]["Value"][0]["00081196"]["Value"][0], 0xB007);
    let found = node.get("/dicom-web/instances").await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert_eq!(found[0]["00200013"]["Value"][0], 7);
}

#[tokio::test]
async fn one_instance_as_the_whole_body() {
    let node = Node::start().await;
    let kind = [(header::CONTENT_TYPE, "application/dicom")];
    let file = Instance::new(1, 1, 1).file();
    let answer = node.request(Method::POST, "/dicom-web/studies", &kind, file).await;
    assert_eq!(answer.status, 200);
    let empty = node.request(Method::POST, "/dicom-web/studies", &kind, Vec::new()).await;
    assert_eq!(empty.status, 400);
}

#[tokio::test]
async fn failures_have_reasons_and_spare_the_others() {
    let node = Node::start().await;
    let good = Instance::new(1, 1, 1);
    let mut no_study = Instance::new(1, 1, 2);
    no_study.study = String::new();
    let garbage = vec![b'x'; 2000];
    let files = [garbage.clone(), no_study.file(), good.file()];
    let answer = node.post("/dicom-web/studies", &files).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["00081199"]["Value"].as_array().map(Vec::len), Some(1));
    let failed = &body["00081198"]["Value"][0];
    assert_eq!(failed["00081155"]["Value"][0], no_study.uid);
    assert_eq!(failed["00081197"]["Value"][0], 0xA900);
    assert_eq!(body["0008119A"]["Value"][0]["00081197"]["Value"][0], 0xC000);

    let none = node.post("/dicom-web/studies", &[garbage]).await;
    assert_eq!(none.status, 409);
}

#[tokio::test]
async fn an_instance_of_another_study_than_the_url_is_refused() {
    let node = Node::start().await;
    let answer = node.post("/dicom-web/studies/1.2.3", &[Instance::new(1, 1, 1).file()]).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.json()["00081198"]["Value"][0]["00081197"]["Value"][0], 0xA900);
    assert_eq!(node.get("/dicom-web/studies").await.text(), "[]");
}

#[tokio::test]
async fn wrong_types_and_malformed_bodies() {
    let node = Node::start().await;
    let file = Instance::new(1, 1, 1).file();
    let multipart = "multipart/related; type=\"application/dicom\"; boundary=XX";
    for (kind, body, status) in [
        ("text/plain", file.clone(), 415),
        ("multipart/related; type=image/jpeg; boundary=XX", file.clone(), 415),
        ("multipart/related; type=application/dicom", file.clone(), 400),
        (multipart, b"no boundary here".to_vec(), 400),
        (multipart, b"--XX--\r\n".to_vec(), 400),
        (multipart, [b"--XX\r\n\r\n".as_slice(), &file].concat(), 400),
    ] {
        let headers = [(header::CONTENT_TYPE, kind)];
        let answer = node.request(Method::POST, "/dicom-web/studies", &headers, body).await;
        assert_eq!(answer.status, status, "{kind}: {}", answer.text());
    }
    assert_eq!(node.get("/dicom-web/studies").await.text(), "[]");
}

#[tokio::test]
async fn what_was_whole_before_the_body_broke_off_is_reported() {
    let node = Node::start().await;
    let first = Instance::new(1, 1, 1).file();
    let second = Instance::new(1, 1, 2).file();
    let body = [
        b"--XX\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n",
        first.as_slice(),
        b"\r\n--XX\r\nContent-Type: application/dicom\r\n\r\n",
        &second[..second.len() - 20],
    ]
    .concat();
    let kind = "multipart/related; type=\"application/dicom\"; boundary=\"XX\"";
    let headers = [(header::CONTENT_TYPE, kind)];
    let answer = node.request(Method::POST, "/dicom-web/studies", &headers, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["00081199"]["Value"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer.json()["0008119A"]["Value"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn limits_are_413_whether_announced_or_not() {
    let file = Instance::new(1, 1, 1).file();
    let small_part = WebConfig { max_part_size: 500, ..WebConfig::default() };
    let node = Node::start_with(small_part).await;
    let answer = node.post("/dicom-web/studies", std::slice::from_ref(&file)).await;
    assert_eq!(answer.status, 413);

    let node = Node::start_with(WebConfig { max_body: 500, ..WebConfig::default() }).await;
    let answer = node.post("/dicom-web/studies", std::slice::from_ref(&file)).await;
    assert_eq!(answer.status, 413);
    let chunks: Vec<Result<Bytes, std::io::Error>> =
        file.chunks(100).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let request = Request::builder()
        .method(Method::POST)
        .uri("/dicom-web/studies")
        .header("host", "localhost")
        .header("content-type", "application/dicom")
        .body(Body::from_stream(stream::iter(chunks)))
        .expect("a request");
    assert_eq!(node.send(request).await.status, 413);
    assert_eq!(node.get("/dicom-web/studies").await.text(), "[]");
}

#[tokio::test]
async fn the_parts_of_a_request_are_bounded() {
    let node = Node::start().await;
    let first = Instance::new(1, 1, 1).file();
    let mut body = [b"--XX\r\nContent-Type: application/dicom\r\n\r\n", first.as_slice()].concat();
    body.extend(b"\r\n--XX\r\nContent-Type: a/b\r\n\r\n".repeat(20_000));
    // No closing boundary: nothing after the last part that is taken is looked at.
    let kind = "multipart/related; type=\"application/dicom\"; boundary=XX";
    let headers = [(header::CONTENT_TYPE, kind)];
    let answer = node.request(Method::POST, "/dicom-web/studies", &headers, body).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("20000 parts"), "{}", answer.text());
    let found = node.get("/dicom-web/instances").await.json();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "what was taken stays");
}

#[tokio::test]
async fn compressed_bodies_are_415() {
    let node = Node::start().await;
    let headers = [(header::CONTENT_TYPE, "application/dicom"), (header::CONTENT_ENCODING, "gzip")];
    let file = Instance::new(1, 1, 1).file();
    let answer = node.request(Method::POST, "/dicom-web/studies", &headers, file).await;
    assert_eq!(answer.status, 415);
    assert!(answer.text().contains("gzip"), "{}", answer.text());
}

/// Which of two types a body has nobody can say.
#[tokio::test]
async fn two_content_types_are_refused() {
    let node = Node::start().await;
    let kinds =
        [(header::CONTENT_TYPE, "application/dicom"), (header::CONTENT_TYPE, "application/zip")];
    let body = Instance::new(1, 1, 1).file();
    let answer = node.request(Method::POST, "/dicom-web/studies", &kinds, body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("Content-Type"), "{}", answer.text());
}
