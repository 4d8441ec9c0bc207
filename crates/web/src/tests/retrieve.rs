//! WADO-RS through the router.

use axum::http::{Method, header};
use serde_json::Value;

use super::data::{self, Instance, Pixels};
use super::node::{Answer, Node};

const FRAME_OF_OHIF: &str = "multipart/related; type=application/octet-stream; transfer-syntax=*";

fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The data set of a DICOM file, which is what must come back unchanged.
fn data_set(file: &[u8]) -> &[u8] {
    let start = file.windows(6).position(|w| w == [8, 0, 5, 0, b'C', b'S']);
    let start = start.or_else(|| file.windows(6).position(|w| w == [8, 0, 5, 0, 10, 0]));
    let start = start.or_else(|| file.windows(6).position(|w| w == [0, 8, 0, 5, b'C', b'S']));
    &file[start.expect("Specific Character Set")..]
}

async fn with(instance: &Instance) -> Node {
    let node = Node::start().await;
    node.store(std::slice::from_ref(instance)).await;
    node
}

fn announced(answer: &Answer) -> usize {
    answer.header("content-length").parse().expect("a Content-Length")
}

#[tokio::test]
async fn objects_come_back_as_they_were_sent() {
    let mut implicit = Instance::new(1, 1, 2);
    implicit.syntax = data::IMPLICIT;
    let all = [Instance::new(1, 1, 1), implicit, Instance::new(1, 2, 1)];
    let node = Node::start().await;
    node.store(&all).await;
    let study = "/dicom-web/studies/1.2.826.1";
    for (path, expected) in [
        (study.to_owned(), all.as_slice()),
        (format!("{study}/series/1.2.826.1.1"), &all[..2]),
        (all[2].path(), &all[2..]),
    ] {
        let accept = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
        let answer = node.get_as(&path, accept).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(announced(&answer), answer.body.len());
        let parts = answer.parts();
        assert_eq!(parts.len(), expected.len());
        for ((head, part), instance) in parts.iter().zip(expected) {
            let file = instance.file();
            assert_eq!(data_set(part), data_set(&file));
            let kind = format!("application/dicom; transfer-syntax={}", instance.syntax);
            assert!(head.contains(&kind), "{head}");
            assert!(head.contains(&format!("http://localhost{}", instance.path())), "{head}");
        }
    }
}

#[tokio::test]
async fn one_instance_alone_and_by_default() {
    let instance = Instance::new(1, 1, 1);
    let node = with(&instance).await;
    let single = node.get_as(&instance.path(), "application/dicom").await;
    assert!(single.header("content-type").starts_with("application/dicom; transfer-syntax="));
    assert_eq!(&single.body[128..132], b"DICM");
    assert_eq!(announced(&single), single.body.len());
    for accept in ["*/*", "multipart/related; type=application/dicom"] {
        let answer = node.get_as(&instance.path(), accept).await;
        assert!(answer.header("content-type").starts_with("multipart/related; type=\"application"));
    }
    let other =
        "multipart/related; type=\"application/dicom\"; transfer-syntax=1.2.840.10008.1.2.4.102";
    let refused = node.get_as(&instance.path(), other).await;
    assert_eq!(refused.status, 406);
    assert!(refused.text().contains(data::EXPLICIT), "{}", refused.text());
    let head = node.request(Method::HEAD, &instance.path(), &[], Vec::new()).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(announced(&head) > 0);
}

#[tokio::test]
async fn what_is_not_here_is_404() {
    let instance = Instance::new(1, 1, 1);
    let node = with(&instance).await;
    for path in [
        "/dicom-web/studies/9.9".to_owned(),
        "/dicom-web/studies/9.9/metadata".to_owned(),
        "/dicom-web/studies/1.2.826.1/series/9.9/metadata".to_owned(),
        "/dicom-web/studies/9.9/thumbnail".to_owned(),
        "/dicom-web/nothing".to_owned(),
        format!("{}/frames/0", instance.path()),
        format!("{}/frames/2", instance.path()),
        format!("{}/frames/1,99999999999", instance.path()),
        format!("{}/bulkdata/00091001", instance.path()),
        format!("{}9/frames/1", instance.path()),
    ] {
        let answer = node.get(&path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.header("content-type").starts_with("text/plain"), "{path}");
    }
    for list in ["a", "1-2", "1,,2"] {
        let answer = node.get(&format!("{}/frames/{list}", instance.path())).await;
        assert_eq!(answer.status, 400, "{list}");
    }
}

#[tokio::test]
async fn metadata_names_its_bulk_data_and_all_of_it_can_be_fetched() {
    let mut instance = Instance::new(1, 1, 1);
    instance.private_bytes = 10_001;
    let node = with(&instance).await;
    let odd = "application/dicom+json, multipart/related; type=application/octet-stream; \
               transfer-syntax=*; transfer-syntax=*";
    for path in [
        "/dicom-web/studies/1.2.826.1/metadata".to_owned(),
        "/dicom-web/studies/1.2.826.1/series/1.2.826.1.1/metadata/".to_owned(),
        format!("{}/metadata", instance.path()),
    ] {
        let answer = node.get_as(&path, odd).await;
        assert_eq!(answer.status, 200);
        let sets = answer.json();
        assert_eq!(sets.as_array().map(Vec::len), Some(1));
        assert_eq!(sets[0]["00100010"]["Value"][0]["Ideographic"], "王^五");
        assert_eq!(sets[0]["00280010"]["Value"][0], 2);
        for (tag, expected) in [
            ("7FE00010", words(&[1, 2, 3, 0x1234])),
            ("00091001", (0..10_001).map(|i| i as u8).chain([0]).collect()),
        ] {
            let uri = sets[0][tag]["BulkDataURI"].as_str().expect("a reference");
            let path = uri.strip_prefix("http://localhost").expect("this server");
            let single = node.get(path).await;
            assert_eq!(single.status, 200, "{path}");
            assert_eq!(single.body, expected);
            assert_eq!(announced(&single), expected.len());
            let multipart = node.get_as(path, FRAME_OF_OHIF).await;
            let parts = multipart.parts();
            assert_eq!(parts.len(), 1);
            assert_eq!(parts[0].1, expected);
        }
    }
}

#[tokio::test]
async fn what_the_client_holds_is_not_sent_again() {
    let instance = Instance::new(1, 1, 1);
    let node = with(&instance).await;
    for path in [
        instance.path(),
        format!("{}/metadata", instance.path()),
        format!("{}/frames/1", instance.path()),
        format!("{}/bulkdata/7FE00010", instance.path()),
        format!("{}/rendered", instance.path()),
    ] {
        let first = node.get(&path).await;
        assert_eq!(first.status, 200, "{path}");
        assert!(first.header("cache-control").contains("no-cache"), "{path}");
        let tag = first.header("etag").to_owned();
        let again = [(header::IF_NONE_MATCH, tag.as_str())];
        let second = node.request(Method::GET, &path, &again, Vec::new()).await;
        assert_eq!((second.status, second.body.len()), (304, 0), "{path}");
    }
    // Other content under the same UID has another tag.
    let path = format!("{}/metadata", instance.path());
    let tag = node.get(&path).await.header("etag").to_owned();
    let mut changed = instance.clone();
    changed.pixels = Pixels::Words(vec![[9, 9, 9, 9]]);
    assert_eq!(node.post("/dicom-web/studies", &[changed.file()]).await.status, 202);
    let again = [(header::IF_NONE_MATCH, tag.as_str())];
    assert_eq!(node.request(Method::GET, &path, &again, Vec::new()).await.status, 200);
    let path = format!("{}/frames/1", instance.path());
    let frame = node.get_as(&path, "application/octet-stream").await;
    assert_eq!(frame.body, words(&[9, 9, 9, 9]));
}

#[tokio::test]
async fn native_frames_in_every_spelling_of_the_request() {
    let mut instance = Instance::new(1, 1, 1);
    instance.pixels = Pixels::Words(vec![[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]);
    let node = with(&instance).await;
    for accept in [
        "",
        "*/*",
        FRAME_OF_OHIF,
        "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
        "multipart/related; type=\"application/octet-stream\"; transfer-syntax=\"*\"",
        "multipart/related; type=\"application/octet-stream\"",
        "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2",
        "multipart/related; type=\"*/*\"",
    ] {
        let answer = node.get_as(&format!("{}/frames/1,3", instance.path()), accept).await;
        assert_eq!(answer.status, 200, "{accept}: {}", answer.text());
        assert_eq!(announced(&answer), answer.body.len());
        let parts = answer.parts();
        assert_eq!(parts.len(), 2, "{accept}");
        assert_eq!(parts[0].1, words(&[1, 2, 3, 4]));
        assert_eq!(parts[1].1, words(&[9, 10, 11, 12]));
        assert!(parts[0].0.contains("application/octet-stream; transfer-syntax=1.2.840.10008.1.2"));
    }
    let frame = format!("{}/frames/2", instance.path());
    let single = node.get_as(&frame, "application/octet-stream").await;
    assert_eq!(single.body, words(&[5, 6, 7, 8]));
    let other = node.get_as(&frame, "multipart/related; type=\"image/jxl\"").await;
    assert_eq!(other.status, 406);
    assert!(other.text().contains("application/octet-stream"));
}

#[tokio::test]
async fn other_native_encodings_become_little_endian() {
    for syntax in [data::IMPLICIT, data::BIG_ENDIAN] {
        let mut instance = Instance::new(1, 1, 1);
        instance.syntax = syntax;
        instance.pixels = Pixels::Words(vec![[1, 2, 3, 4], [5, 6, 7, 0x1234]]);
        let node = with(&instance).await;
        let answer = node.get_as(&format!("{}/frames/1,2", instance.path()), FRAME_OF_OHIF).await;
        let parts = answer.parts();
        assert_eq!(parts[0].1, words(&[1, 2, 3, 4]), "{syntax}");
        assert_eq!(parts[1].1, words(&[5, 6, 7, 0x1234]), "{syntax}");
        assert!(parts[1].0.contains("transfer-syntax=1.2.840.10008.1.2.1\r\n"), "{}", parts[1].0);
        let bulk = node.get(&format!("{}/bulkdata/7FE00010", instance.path())).await;
        assert_eq!(bulk.body, words(&[1, 2, 3, 4, 5, 6, 7, 0x1234]), "{syntax}");
    }
}

#[tokio::test]
async fn the_last_of_an_odd_number_of_big_endian_bytes() {
    let mut instance = Instance::new(1, 1, 1);
    instance.syntax = data::BIG_ENDIAN;
    instance.pixels = Pixels::OddBytes([1, 2, 3]);
    let node = with(&instance).await;
    let path = format!("{}/frames/1", instance.path());
    let frame = node.get_as(&path, "application/octet-stream").await;
    assert_eq!((frame.status, frame.body), (200, vec![1, 2, 3]));
    assert_eq!(node.get(&format!("{}/rendered", instance.path())).await.status, 200);
}

#[tokio::test]
async fn packed_frames_start_on_a_byte() {
    let mut instance = Instance::new(1, 1, 1);
    // Frames of three bits: 101, 011, 110, lowest bit first.
    let packed = vec![0b1001_1101, 0b0000_0001];
    instance.pixels = Pixels::Bits { frames: 3, packed };
    let node = with(&instance).await;
    let answer = node.get_as(&format!("{}/frames/1,2,3", instance.path()), FRAME_OF_OHIF).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let frames: Vec<_> = answer.parts().into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(frames, [[0b101], [0b011], [0b110]]);
}

#[tokio::test]
async fn compressed_frames_as_stored_or_decoded() {
    let mut instance = Instance::new(1, 1, 1);
    instance.syntax = data::RLE;
    let frames = vec![data::rle_frame([1, 2, 3, 4]), data::rle_frame([5, 6, 7, 8])];
    instance.pixels = Pixels::Fragments(frames.clone());
    let node = with(&instance).await;
    let both = format!("{}/frames/1,2", instance.path());
    for (accept, media) in [
        ("*/*", "image/dicom-rle"),
        ("multipart/related; type=\"image/*\"; transfer-syntax=*", "image/dicom-rle"),
        ("multipart/related; type=\"image/x-dicom-rle\"", "image/x-dicom-rle"),
        (FRAME_OF_OHIF, "application/octet-stream"),
    ] {
        let parts = node.get_as(&both, accept).await.parts();
        assert_eq!((&parts[0].1, &parts[1].1), (&frames[0], &frames[1]), "{accept}");
        let kind = format!("{media}; transfer-syntax={}", data::RLE);
        assert!(parts[0].0.contains(&kind), "{accept}: {}", parts[0].0);
    }
    for accept in [
        "multipart/related; type=\"application/octet-stream\"",
        "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
    ] {
        let parts = node.get_as(&both, accept).await.parts();
        assert_eq!((&parts[0].1[..], &parts[1].1[..]), (&[1, 2, 3, 4][..], &[5, 6, 7, 8][..]));
        assert!(parts[0].0.contains("transfer-syntax=1.2.840.10008.1.2.1\r\n"));
    }
    // As bulk data it is one part per frame.
    let bulk = node.get(&format!("{}/bulkdata/7FE00010", instance.path())).await;
    assert_eq!(bulk.parts().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_406_and_says_what_can_be_had() {
    let mut instance = Instance::new(1, 1, 1);
    instance.syntax = data::J2K;
    instance.pixels = Pixels::Fragments(vec![vec![0xFF, 0x4F, 0xFF, 0x51]]);
    let node = with(&instance).await;
    let path = format!("{}/frames/1", instance.path());
    let stored = node.get_as(&path, FRAME_OF_OHIF).await;
    assert_eq!(stored.parts()[0].1, [0xFF, 0x4F, 0xFF, 0x51]);
    let plain = node.get_as(&path, "multipart/related; type=application/octet-stream").await;
    assert_eq!(plain.status, 406);
    assert!(plain.text().contains("image/jp2"), "{}", plain.text());
    let answer = node.get(&format!("{}/rendered", instance.path())).await;
    assert_eq!(answer.status, 406);
    assert!(answer.text().contains("JPEG 2000"), "{}", answer.text());
    let thumbnail = node.get(&format!("{}/thumbnail", instance.path())).await;
    assert_eq!((thumbnail.status, thumbnail.header("content-type")), (200, "image/jpeg"));
}

#[tokio::test]
async fn pictures_in_the_formats_that_browsers_take() {
    let mut without_image = Instance::new(1, 2, 1);
    without_image.pixels = Pixels::None;
    let instance = Instance::new(1, 1, 1);
    let node = Node::start().await;
    node.store(&[instance.clone(), without_image.clone()]).await;
    let study = "/dicom-web/studies/1.2.826.1";
    for (path, accept, kind) in [
        (format!("{}/rendered", instance.path()), "*/*", "image/jpeg"),
        (format!("{}/frames/1/rendered", instance.path()), "image/png", "image/png"),
        (format!("{}/thumbnail", instance.path()), "", "image/jpeg"),
        (format!("{}/thumbnail?accept=image/jpeg", instance.path()), "image/png", "image/jpeg"),
        (format!("{study}/thumbnail"), "image/png", "image/png"),
        (format!("{study}/series/1.2.826.1.1/thumbnail"), "image/*", "image/jpeg"),
    ] {
        for _ in 0..2 {
            let answer = node.get_as(&path, accept).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(answer.header("content-type"), kind, "{path}");
            let magic: &[u8] = if kind == "image/png" { b"\x89PNG" } else { b"\xFF\xD8\xFF" };
            assert!(answer.body.starts_with(magic), "{path}");
        }
    }
    for (path, status) in [
        (format!("{}/rendered", without_image.path()), 200),
        (format!("{}/rendered?accept=image/jpeg", without_image.path()), 406),
        (format!("{study}/series/1.2.826.1.2/thumbnail"), 200),
        (format!("{}/rendered?quality=200", instance.path()), 400),
        (format!("{}/frames/2/rendered", instance.path()), 404),
        (format!("{}/frames/1,1/rendered", instance.path()), 400),
    ] {
        assert_eq!(node.get(&path).await.status, status, "{path}");
    }
    let html = node.get_as(&format!("{}/rendered", instance.path()), "text/html").await;
    assert_eq!(html.status, 406);
}

#[tokio::test]
async fn metadata_is_compressed_for_those_who_can() {
    let node = Node::start().await;
    let all: Vec<_> = (1..=20).map(|number| Instance::new(1, 1, number)).collect();
    node.store(&all).await;
    let path = "/dicom-web/studies/1.2.826.1/metadata";
    let plain = node.get(path).await;
    assert_eq!(plain.header("content-encoding"), "");
    let sets = plain.json();
    assert_eq!(sets.as_array().map(Vec::len), Some(20));
    let numbers =
        sets.as_array().into_iter().flatten().map(|set| set["00200013"]["Value"][0].as_i64());
    assert!(numbers.eq((1..=20).map(Some)), "in the order of instance numbers");
    let gzip = [(header::ACCEPT_ENCODING, "gzip")];
    let compressed = node.request(Method::GET, path, &gzip, Vec::new()).await;
    assert_eq!(compressed.header("content-encoding"), "gzip");
    assert!(compressed.body.len() < plain.body.len() / 2);
    // Pixels are not: a range of bytes stays a range of bytes.
    let frame = format!("{}/frames/1", all[0].path());
    let frame = node.request(Method::GET, &frame, &gzip, Vec::new()).await;
    assert_eq!(frame.header("content-encoding"), "");
}

#[tokio::test]
async fn a_configured_url_stands_in_every_answer() {
    let config = crate::WebConfig {
        public_url: Some("https://pacs.example/x/".into()),
        ..crate::WebConfig::default()
    };
    let node = Node::start_with(config).await;
    let instance = Instance::new(1, 1, 1);
    node.store(std::slice::from_ref(&instance)).await;
    let sets: Value = node.get(&format!("{}/metadata", instance.path())).await.json();
    let uri = sets[0]["7FE00010"]["BulkDataURI"].as_str().unwrap_or_default();
    assert!(uri.starts_with("https://pacs.example/x/dicom-web/studies/"), "{uri}");
    let rows = node.get("/dicom-web/studies").await.json();
    assert_eq!(
        rows[0]["00081190"]["Value"][0],
        "https://pacs.example/x/dicom-web/studies/1.2.826.1"
    );
}

/// A client that holds nothing must not be told that it is still right.
#[tokio::test]
async fn conditions_do_not_hide_that_nothing_is_here() {
    let node = Node::start().await;
    for level in ["/studies/1.2.3", "/studies/1.2.3/series/1.2.4"] {
        let path = format!("/dicom-web{level}/metadata");
        for condition in [header::IF_NONE_MATCH, header::IF_MATCH] {
            let headers = [(condition.clone(), "*")];
            let answer = node.request(Method::GET, &path, &headers, Vec::new()).await;
            assert_eq!(answer.status, 404, "{path} {condition}");
        }
    }
}
