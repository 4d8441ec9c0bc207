//! STOW-RS of metadata with bulk values, and of zip archives.

use axum::http::{Method, header};
use serde_json::{Value, json};

use super::data::Instance;
use super::node::{Answer, Node};

const SC: &str = "1.2.840.10008.5.1.4.1.1.7";

/// Metadata of an image that leaves out what its pixels say.
fn metadata(uid: &str, uri: &str) -> Value {
    json!({
        "00080016": {"vr": "UI", "Value": [SC]},
        "00080018": {"vr": "UI", "Value": [uid]},
        "00080060": {"vr": "CS", "Value": ["OT"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^Wu", "Ideographic": "王^五"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.826.1"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.826.1.1"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": uri},
    })
}

fn without(mut json: Value, tag: &str) -> Value {
    json.as_object_mut().expect("an object").remove(tag);
    json
}

fn with(mut json: Value, tag: &str, vr: &str, value: Value) -> Value {
    json[tag] = json!({"vr": vr, "Value": [value]});
    json
}

/// A baseline JPEG header of 4 x 3 pixels with nothing behind it: it is stored, not decoded.
fn jpeg(samples: u8) -> Vec<u8> {
    let mut out = vec![0xFF, 0xD8, 0xFF, 0xC0, 0, 8 + 3 * samples, 8, 0, 3, 0, 4, samples];
    for index in 0..samples {
        out.extend([index + 1, if index == 0 { 0x22 } else { 0x11 }, 0]);
    }
    out.extend([0xFF, 0xDA, 0, 6 + 2 * samples, samples]);
    for index in 0..samples {
        out.extend([index + 1, 0]);
    }
    out.extend([0, 63, 0, 1, 2, 3, 0xFF, 0xD9]);
    out
}

async fn post(node: &Node, kind: &str, parts: &[(&str, &str, Vec<u8>)]) -> Answer {
    post_as(node, kind, "*/*", parts).await
}

async fn post_as(node: &Node, kind: &str, accept: &str, parts: &[(&str, &str, Vec<u8>)]) -> Answer {
    let mut body = Vec::new();
    for (media, location, content) in parts {
        body.extend(format!("\r\n--XX\r\nContent-Type: {media}\r\n").into_bytes());
        if !location.is_empty() {
            body.extend(format!("Content-Location: {location}\r\n").into_bytes());
        }
        body.extend(b"\r\n");
        body.extend(content);
    }
    body.extend(b"\r\n--XX--\r\n");
    let kind = format!("multipart/related; type=\"{kind}\"; boundary=XX");
    let headers = [(header::CONTENT_TYPE, kind.as_str()), (header::ACCEPT, accept)];
    node.request(Method::POST, "/dicom-web/studies", &headers, body).await
}

const JSON: &str = "application/dicom+json";

fn path(uid: &str) -> String {
    format!("/dicom-web/studies/1.2.826.1/series/1.2.826.1.1/instances/{uid}")
}

async fn stored(node: &Node, uid: &str) -> Value {
    let answer = node.get(&format!("{}/metadata", path(uid))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[0].clone()
}

#[tokio::test]
async fn uncompressed_pixels_come_back_as_they_were_sent() {
    let node = Node::start().await;
    let mut first = metadata("1.2.3.1", "bulk/1");
    for (tag, value) in [
        ("00280002", json!(1)),
        ("00280010", json!(2)),
        ("00280011", json!(3)),
        ("00280100", json!(16)),
        ("00280101", json!(16)),
        ("00280102", json!(15)),
        ("00280103", json!(0)),
    ] {
        first = with(first, tag, "US", value);
    }
    first = with(first, "00280004", "CS", json!("MONOCHROME2"));
    first["00091002"] = json!({"vr": "UN", "BulkDataURI": "bulk/2"});
    first["00090010"] = json!({"vr": "LO", "Value": ["ACME"]});
    let second = with(first.clone(), "00080018", "UI", json!("1.2.3.2"));
    let pixels: Vec<u8> = (1..=12).collect();
    let both = json!([first, second]).to_string().into_bytes();
    let octets = "application/octet-stream";
    let parts =
        [(JSON, "", both), (octets, "bulk/2", b"odd".to_vec()), (octets, "bulk/1", pixels.clone())];
    let answer = post(&node, JSON, &parts).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["00081199"]["Value"].as_array().map(Vec::len), Some(2));
    for uid in ["1.2.3.1", "1.2.3.2"] {
        let frames = format!("{}/frames/1", path(uid));
        assert_eq!(node.get_as(&frames, "application/octet-stream").await.body, pixels);
        let json = stored(&node, uid).await;
        assert_eq!(json["00100010"]["Value"][0]["Ideographic"], "王^五");
        assert_eq!(json["00080005"]["Value"][0], "ISO_IR 192");
        assert_eq!(json["00091002"]["InlineBinary"], "b2RkAA==");
    }
    // The same again is no new content.
    let again = post(&node, JSON, &parts).await;
    assert_eq!(again.status, 200);
    assert!(again.header("warning").is_empty());
}

#[tokio::test]
async fn a_jpeg_says_what_the_metadata_leaves_out() {
    let node = Node::start().await;
    let object = without(metadata("1.2.3.1", "x"), "00080016").to_string().into_bytes();
    let answer = post(&node, JSON, &[(JSON, "", object), ("image/jpeg", "x", jpeg(3))]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = stored(&node, "1.2.3.1").await;
    for (tag, value) in [
        ("00080016", json!(SC)),
        ("00280002", json!(3)),
        ("00280004", json!("YBR_FULL_422")),
        ("00280006", json!(0)),
        ("00280010", json!(3)),
        ("00280011", json!(4)),
        ("00280100", json!(8)),
        ("00280102", json!(7)),
        ("00282110", json!("01")),
        ("00282114", json!("ISO_10918_1")),
    ] {
        assert_eq!(json[tag]["Value"][0], value, "{tag}");
    }
    let as_stored = "application/octet-stream; transfer-syntax=*, image/jpeg";
    let frame = node.get_as(&format!("{}/frames/1", path("1.2.3.1")), "image/jpeg").await;
    assert_eq!(frame.body[..jpeg(3).len()], jpeg(3), "{as_stored}");
}

#[tokio::test]
async fn parts_of_one_name_are_frames() {
    let node = Node::start().await;
    let object = metadata("1.2.3.1", "x").to_string().into_bytes();
    let mut parts = vec![(JSON, "", object)];
    parts.extend([1, 1, 1].map(|samples| ("image/jpeg", "x", jpeg(samples))));
    let answer = post(&node, JSON, &parts).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stored(&node, "1.2.3.1").await["00280008"]["Value"][0], 3);
    let third = node.get_as(&format!("{}/frames/3", path("1.2.3.1")), "image/jpeg").await;
    assert_eq!((third.status, &third.body[..2]), (200, b"\xFF\xD8".as_slice()));

    let object = metadata("1.2.3.2", "x").to_string().into_bytes();
    let mixed = [(JSON, "", object), ("image/jpeg", "x", jpeg(1)), ("image/jpeg", "x", jpeg(3))];
    let answer = post(&node, JSON, &mixed).await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.json()["00081198"]["Value"][0]["00081197"]["Value"][0], 0xC000);
}

#[tokio::test]
async fn what_metadata_and_image_say_must_agree() {
    let node = Node::start().await;
    for (tag, vr, value) in
        [("00280010", "US", json!(9)), ("00280008", "IS", json!(2)), ("00280103", "US", json!(1))]
    {
        let object = with(metadata("1.2.3.1", "x"), tag, vr, value).to_string().into_bytes();
        let answer = post(&node, JSON, &[(JSON, "", object), ("image/jpeg", "x", jpeg(1))]).await;
        assert_eq!(answer.status, 409, "{tag}");
        let failed = &answer.json()["00081198"]["Value"][0];
        assert_eq!(failed["00081197"]["Value"][0], 0xA900, "{tag}");
        assert_eq!(failed["00081155"]["Value"][0], "1.2.3.1");
    }
}

#[tokio::test]
async fn documents_are_wrapped() {
    let node = Node::start().await;
    let mut object = without(without(metadata("1.2.3.1", "x"), "7FE00010"), "00080016");
    object["00420011"] = json!({"vr": "OB", "BulkDataURI": "doc"});
    let object = json!([object]).to_string().into_bytes();
    let file = [b"%PDF-1.7 ".as_slice(), &[b'.'; 5000]].concat();
    let answer =
        post(&node, JSON, &[(JSON, "", object), ("application/pdf", "doc", file.clone())]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = stored(&node, "1.2.3.1").await;
    assert_eq!(json["00080016"]["Value"][0], "1.2.840.10008.5.1.4.1.1.104.1");
    assert_eq!(json["00420012"]["Value"][0], "application/pdf");
    assert_eq!(json["00420015"]["Value"][0], file.len());
    let rendered = node.get(&format!("{}/rendered", path("1.2.3.1"))).await;
    assert_eq!((rendered.status, rendered.header("content-type")), (200, "application/pdf"));
    assert!(rendered.body.starts_with(&file));
}

/// Modality is of type 1: whether the SOP class was sent or found out makes no difference.
#[tokio::test]
async fn modality_follows_from_the_class() {
    let node = Node::start().await;
    let pdf = "1.2.840.10008.5.1.4.1.1.104.1";
    for (number, class, media, modality) in [
        (1, Some(SC), "image/jpeg", "OT"),
        (2, None, "image/jpeg", "OT"),
        (3, Some(pdf), "application/pdf", "DOC"),
        (4, None, "application/pdf", "DOC"),
    ] {
        let uid = format!("1.2.3.{number}");
        let mut object = without(without(metadata(&uid, "x"), "00080060"), "00080016");
        if let Some(class) = class {
            object = with(object, "00080016", "UI", json!(class));
        }
        let content = if media == "image/jpeg" { jpeg(1) } else { b"%PDF-1.7 ".repeat(20) };
        if modality == "DOC" {
            object = without(object, "7FE00010");
            object["00420011"] = json!({"vr": "OB", "BulkDataURI": "x"});
            object["00080060"] = json!({"vr": "CS"});
        }
        let parts = [(JSON, "", object.to_string().into_bytes()), (media, "x", content)];
        let answer = post(&node, JSON, &parts).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        let json = stored(&node, &uid).await;
        assert_eq!(json["00080060"]["Value"], json!([modality]), "{number}");
        let converted = if modality == "OT" { json!(["WSD"]) } else { Value::Null };
        assert_eq!(json["00080064"]["Value"], converted, "{number}");
    }
    // What is sent stays, and nothing is guessed of other classes.
    let object = with(metadata("1.2.3.5", "x"), "00080060", "CS", json!("XC"));
    let object = with(object, "00080064", "CS", json!("DV")).to_string().into_bytes();
    assert_eq!(
        post(&node, JSON, &[(JSON, "", object), ("image/jpeg", "x", jpeg(1))]).await.status,
        200
    );
    let json = stored(&node, "1.2.3.5").await;
    assert_eq!(
        (&json["00080060"]["Value"][0], &json["00080064"]["Value"][0]),
        (&json!("XC"), &json!("DV"))
    );
}

#[tokio::test]
async fn films_are_one_stream_and_need_their_size() {
    let node = Node::start().await;
    let film = metadata("1.2.3.1", "x");
    let part = || ("video/mp4", "x", b"\0\0\0\x18ftypmp42".to_vec());
    let answer = post(&node, JSON, &[(JSON, "", film.to_string().into_bytes()), part()]).await;
    assert_eq!(answer.status, 409);
    let film = with(with(film, "00280010", "US", json!(480)), "00280011", "US", json!(640));
    let film = without(with(film, "00280008", "IS", json!(100)), "00080016");
    let answer = post(&node, JSON, &[(JSON, "", film.to_string().into_bytes()), part()]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = stored(&node, "1.2.3.1").await;
    assert_eq!(json["00080016"]["Value"][0], "1.2.840.10008.5.1.4.1.1.77.1.4.1");
    assert_eq!(json["00080060"]["Value"][0], "OT", "what the metadata says stays");
}

#[tokio::test]
async fn optional_attributes_that_cannot_be_kept_are_a_warning() {
    let node = Node::start().await;
    let object = with(metadata("1.2.3.1", "x"), "00180050", "DS", json!({"not": "a number"}));
    let parts = [(JSON, "", object.to_string().into_bytes()), ("image/jpeg", "x", jpeg(1))];
    let answer = post(&node, JSON, &parts).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["00081199"]["Value"][0]["00081196"]["Value"][0], 0xB006);
    assert!(answer.json().get("00081198").is_none());
    assert!(stored(&node, "1.2.3.1").await.get("00180050").is_none());
}

#[tokio::test]
async fn failures_are_told_and_spare_the_others() {
    let node = Node::start().await;
    let good = metadata("1.2.3.1", "x");
    let nowhere = metadata("1.2.3.2", "y");
    let nameless = without(metadata("1.2.3.3", "x"), "0020000D");
    let unnamed = without(metadata("1.2.3.4", "x"), "00080018");
    let all = json!([good, nowhere, nameless, unnamed]).to_string().into_bytes();
    let answer = post(&node, JSON, &[(JSON, "", all), ("image/jpeg", "x", jpeg(1))]).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    let reasons: Vec<_> = body["00081198"]["Value"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| (item["00081155"]["Value"][0].clone(), item["00081197"]["Value"][0].clone()))
        .collect();
    let expected = [(json!("1.2.3.2"), json!(0xC000)), (json!("1.2.3.3"), json!(0xA900))];
    assert_eq!(reasons, expected);
    assert_eq!(body["0008119A"]["Value"][0]["00081197"]["Value"][0], 0xA900);

    for (kind, bytes) in [(JSON, "[{\"0008"), (JSON, "[5]"), ("application/dicom+xml", "<html/>")] {
        let answer = post(&node, kind, &[(kind, "", bytes.into())]).await;
        assert_eq!(answer.status, 400, "{bytes}: {}", answer.text());
    }
    let object = metadata("1.2.3.9", "x").to_string().into_bytes();
    for (media, location) in [("image/gif", "x"), ("image/jpeg", "")] {
        let parts = [(JSON, "", object.clone()), (media, location, jpeg(1))];
        let answer = post(&node, JSON, &parts).await;
        assert_eq!(answer.status, 409, "{media} {location}");
    }
    let alone = post(&node, "application/dicom", &[("image/jpeg", "x", jpeg(1))]).await;
    assert_eq!(alone.status, 409);
}

#[tokio::test]
async fn xml_metadata_and_an_answer_in_xml() {
    let node = Node::start().await;
    let xml = "application/dicom+xml";
    let mut document = Vec::new();
    let object = metadata("1.2.3.1", "x").to_string();
    qianli_model::xml::from_json(object.as_bytes(), "", &mut document).expect("a document");
    let parts = [(xml, "", document), ("image/jpeg", "x", jpeg(1))];
    let answer = post_as(&node, xml, xml, &parts).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, xml), "{}", answer.text());
    assert!(answer.text().contains("ReferencedSOPSequence"), "{}", answer.text());
    assert_eq!(stored(&node, "1.2.3.1").await["00280010"]["Value"][0], 3);
}

/// The checksum of zip archives, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    !crc
}

/// A zip archive of files as they are.
fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, content) in files {
        let offset = out.len() as u32;
        let mut common = b"\x14\0\0\0\0\0\0\0\0\0".to_vec();
        common.extend(crc32(content).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(content);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (out.len() as u32, files.len() as u16);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

async fn post_zip(node: &Node, files: &[(&str, Vec<u8>)]) -> Answer {
    let kind = [(header::CONTENT_TYPE, "application/zip")];
    node.request(Method::POST, "/dicom-web/studies", &kind, zip(files)).await
}

#[tokio::test]
async fn zip_archives_are_unpacked() {
    let node = Node::start().await;
    let files = [
        ("a/b/one.dcm", Instance::new(1, 1, 1).file()),
        ("README.txt", b"not an image".to_vec()),
        ("../two", Instance::new(1, 1, 2).file()),
    ];
    let answer = post_zip(&node, &files).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["00081199"]["Value"].as_array().map(Vec::len), Some(2));
    assert!(answer.header("warning").contains("1 files of the zip archive are not DICOM"));
    let nothing = post_zip(&node, &files[1..2]).await;
    assert_eq!(nothing.status, 400);
    let kind = [(header::CONTENT_TYPE, "application/zip")];
    let bytes = b"PK\x03\x04 cut".to_vec();
    let cut = node.request(Method::POST, "/dicom-web/studies", &kind, bytes).await;
    assert_eq!(cut.status, 400);
}

/// A picture that nothing names would be lost behind a plain success.
#[tokio::test]
async fn a_bulk_value_that_nothing_names_is_reported() {
    let node = Node::start().await;
    let named = metadata("1.2.3.1", "bulk/1");
    let body = named.to_string().into_bytes();
    let parts =
        [(JSON, "", body), ("image/jpeg", "bulk/1", jpeg(3)), ("image/jpeg", "zz", jpeg(3))];
    let answer = post(&node, JSON, &parts).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["0008119A"]["Value"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer.json()["00081199"]["Value"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_part_that_is_not_taken_fails_its_instance_once_and_says_why() {
    let node = Node::start().await;
    let of = |uid: &str, uri: &str| metadata(uid, uri).to_string().into_bytes();
    let parts = [(JSON, "", of("1.2.3.1", "one")), ("image/gif", "one", b"GIF89a".to_vec())];
    let answer = post(&node, JSON, &parts).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    let body = answer.json();
    let failed = body["00081198"]["Value"].as_array().expect("failures");
    assert_eq!((failed.len(), body.get("0008119A")), (1, None), "{body}");
    assert_eq!(failed[0]["00081155"]["Value"][0], "1.2.3.1");
    let comment = failed[0]["00000902"]["Value"][0].as_str().expect("words");
    assert!(comment.contains("image/gif") && comment.len() <= 64, "{comment}");
    assert!(answer.header("warning").contains("image/gif"), "{}", answer.header("warning"));
    // One that no instance names fails for itself.
    let parts = [(JSON, "", of("1.2.3.1", "one")), ("image/gif", "two", b"GIF89a".to_vec())];
    let body = post(&node, JSON, &parts).await.json();
    assert_eq!(body["0008119A"]["Value"].as_array().map(Vec::len), Some(1), "{body}");
}

#[tokio::test]
async fn documents_are_what_they_are_sent_as() {
    let node = Node::start().await;
    for (number, media, content, status) in [
        (1, "application/pdf", "%PDF-1.7\n", 200),
        (2, "application/pdf", "\n\n%PDF-1.4", 200),
        (3, "application/pdf", "<html><body>", 409),
        (4, "text/xml", "<?xml version=\"1.0\"?><ClinicalDocument/>", 200),
        (5, "text/xml", "<!DOCTYPE html><html>", 409),
        (6, "text/xml", "%PDF-1.7", 409),
    ] {
        let uid = format!("1.2.3.{number}");
        let mut document = without(without(metadata(&uid, "x"), "7FE00010"), "00080016");
        document["00420011"] = json!({"vr": "OB", "BulkDataURI": "doc"});
        let parts = [(JSON, "", document.to_string().into_bytes()), (media, "doc", content.into())];
        let answer = post(&node, JSON, &parts).await;
        assert_eq!(answer.status, status, "{media} {content}: {}", answer.text());
        if status == 409 {
            let failed = &answer.json()["00081198"]["Value"][0];
            assert_eq!(failed["00081197"]["Value"][0], 0xA900, "{failed}");
        }
    }
}
